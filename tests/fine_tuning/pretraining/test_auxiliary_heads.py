"""The auxiliary losses of pre-training: targets agree with the row, and attention losses with the model's attention."""

import hashlib
import re
from random import Random

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from create_dataset.flowchart_wording import NOUNS
from diagram import parse
from fine_tuning.pretraining.auxiliary_heads import HEAD, POINTERS, AuxiliaryHeads, losses_of
from fine_tuning.pretraining.batches import IGNORE, MAX_SHAPES, batches_of
from fine_tuning.pretraining.build import _config
from fine_tuning.pretraining.rows import KINDS, Mix, pretraining_row
from fine_tuning.pretraining.stages import GROUP, STAGES, rows_of
from fine_tuning.run.options import EMBEDDED_FOLDER

ROWS = {
    "first": "8aa0767cabd977889bac7d60388113b83e9845aa200b14ffa949ae23c0823017",
    "second": "1ecfeba6128f15e0a4d5bd81818792b2c84c74f06045e8d2857a87317c3d8c91",
    "third": "cc2331ca08c2f9a959e9c8e77569b008f3722574e8e26835f314d8694e448379",
    "fourth": "e2e0f5ef8674cc7a497db739a91da705da6af1775d5a9bdd889f5ab82d5e723a",
    "last": "72b0c90dd481505d4b0cf4813c9009464db0dd32e176f4526a33cfe807145e13",
    "again": "f603a04c08d5a6f3b2a0e489d77c9d80d588a2a7ae06d632e329c9bd2c0f7944",
    "last again": "e92200a1ac9b517a79c81f8fc6d329c68786e37e0f56ddd5a84033d7dc62a584",
    "bracketed": "5eb4d0128acf9272406f7bdbc2fb4ff8061583fc19838db4f0fab341789c0327",
    "last bracketed": "b85e36442d74f473c12a79bbea3d7cdf2ee6e780355aa2a1e4204d3352ba8f42",
    "runs": "968a2aeed563df46af77dd4be7d5661ad5a66e7f605163d24c1d1efb378fd47b",
    "last runs": "ec93879a3f856149f976327161e41d63fdfc8185d08b2261629b37faee0ad13c",
}  # SHA-256 of some rows of each stage
WEIGHTS = "721a540e9bafa419fe8adb86de961ced9197886b84aeb2a7806775e8d383bf5b"  # SHA-256 of the committed weights


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)


@pytest.fixture(scope="module")
def flows():
    """Requests for flowcharts, half of them answered with a shuffled list."""
    rng = Random(3)
    rows = (pretraining_row(rng, MAX_SHAPES, Mix(flows=6, lists=0.5, shuffled=True)) for _ in range(400))
    return [row for row in rows if row.mentions]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = 1 + max([*STAGES[-1].pointers.values(), *STAGES[-1].heads.values()])
    config = LlamaConfig(
        vocab_size=1536, hidden_size=64, intermediate_size=96, num_hidden_layers=layers, num_attention_heads=4
    )
    return LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def networks():
    rng = Random(5)
    mix = Mix(flows=0, lists=0.1, shuffled=True, more_wordings=True, more_networks=True, more_runs=True)
    rows = (pretraining_row(rng, MAX_SHAPES, mix) for _ in range(300))
    return [row for row in rows if row.is_diagram]


def tokens_of(batch, name):
    return getattr(batch, name)[0].tolist()


def words_at(tokenizer, batch, place, phrase):
    """Decode the tokens that end at `place`, one token for each word of the phrase."""
    first = place + 1 - len(phrase.split())
    return tokenizer.decode(batch.ids[0, first : place + 1]).strip()


def phrases_of(row):
    """The words of each mention, in the order of the prompt."""
    return [row.prompt[m.start : m.end] for m in sorted(row.mentions, key=lambda mention: mention.start)]


def test_the_targets_of_answer_tokens_are_the_shape_and_the_kind_of_their_line(tokenizer, flows):
    for row in flows:
        (batch,) = batches_of(tokenizer, [row], size=1)
        lines = {}
        for token, shape, kind in zip(*(tokens_of(batch, name) for name in ("ids", "lines", "kinds")), strict=True):
            if shape != IGNORE:
                assert kind == row.kinds[shape]
                lines[shape] = lines.get(shape, "") + tokenizer.decode(token)
        if row.is_diagram:
            assert "".join(lines[shape] for shape in range(len(row.kinds))) == row.answer
            assert all(re.match(rf"\D*{shape},", text) for shape, text in lines.items())
        else:
            assert [lines[int(line.split()[0])] for line in row.answer.split("\n")[1:]] == row.answer.split("\n")[1:]
            nouns = {shape: text.split()[-1] for shape, text in lines.items()}
            assert all(noun in NOUNS[KINDS[row.kinds[shape]]] for shape, noun in nouns.items())


def test_the_last_token_of_a_mention_has_keys_for_its_words_and_its_shape(tokenizer, flows):
    for row in flows[:100]:
        (batch,) = batches_of(tokenizer, [row], size=1)
        mentions = sorted(row.mentions, key=lambda mention: mention.start)
        phrases, named = tokens_of(batch, "phrases"), tokens_of(batch, "named")
        places = [place for place, phrase in enumerate(phrases) if phrase != IGNORE]
        decoded = [
            words_at(tokenizer, batch, place, words) for place, words in zip(places, phrases_of(row), strict=True)
        ]
        assert decoded == phrases_of(row)
        numbers = {words: phrases[place] for words, place in zip(decoded, places, strict=True)}
        assert [phrases[place] for place in places] == [numbers[words] for words in decoded]
        assert len(set(numbers.values())) == len(numbers)
        for mention, words, place in zip(mentions, decoded, places, strict=True):
            assert named[place] == (mention.shape if len(words) > 1 else IGNORE)
            assert tokens_of(batch, "groups")[place] == named[place]
        assert sum(shape != IGNORE for shape in named) == sum(len(words) > 1 for words in decoded)


def test_only_the_first_use_of_words_has_a_target_in_firsts(tokenizer, flows):
    for row in flows[:100]:
        (batch,) = batches_of(tokenizer, [row], size=1)
        tokens = zip(*(tokens_of(batch, name) for name in ("ids", "firsts")), strict=True)
        firsts = tokenizer.decode([token for token, first in tokens if first != IGNORE])
        assert firsts.replace(" ", "") == "".join(dict.fromkeys(phrases_of(row))).replace(" ", "")


def test_every_line_of_a_network_has_the_same_key_as_the_name_of_its_group(tokenizer, networks):
    for row in networks:
        (batch,) = batches_of(tokenizer, [row], size=1)
        names = sorted(row.groups, key=lambda mention: mention.start)
        places = [place for place, group in enumerate(tokens_of(batch, "groups")) if group != IGNORE]
        for mention, place in zip(names, places, strict=True):
            words = row.prompt[mention.start : mention.end]
            assert words.endswith(tokenizer.decode(batch.ids[0, place]).strip(", "))
            assert tokens_of(batch, "groups")[place] == mention.group
            assert tokens_of(batch, "starts")[place] == mention.shape == row.members.index(mention.group)
        lines, grouped = tokens_of(batch, "lines"), tokens_of(batch, "grouped")
        assert all(
            group == (row.members[shape] if shape != IGNORE else IGNORE)
            for shape, group in zip(lines, grouped, strict=True)
        )
        assert set(row.members) == {mention.group for mention in names}


def test_the_shapes_of_a_group_have_the_same_kind(networks):
    for row in networks:
        kinds = {}
        for group, kind in zip(row.members, row.kinds, strict=True):
            kinds.setdefault(group, set()).add(kind)
        assert all(len(each) == 1 for each in kinds.values())


def test_the_token_before_a_target_number_has_the_same_key_as_the_mention_of_the_connection(tokenizer, flows):
    checked = 0
    for row in flows:
        if not row.is_diagram:
            continue
        (batch,) = batches_of(tokenizer, [row], size=1)
        wanted = {place: key for place, key in enumerate(tokens_of(batch, "connects")) if key != IGNORE}
        assert [divmod(key, MAX_SHAPES) for key in wanted.values()] == sorted(parse(row.answer).edges)
        for place, key in wanted.items():
            assert re.sub(r"\D", "", tokenizer.decode(batch.ids[0, place + 1])) == str(key % MAX_SHAPES)
        mentioned = [
            (m.shape, m.target) if m.source is None else (m.source, m.shape)
            for m in sorted(row.mentions, key=lambda mention: mention.start)
            if m.source is not None or m.target is not None
        ]
        offered = {place: key for place, key in enumerate(tokens_of(batch, "connected")) if key != IGNORE}
        assert [divmod(key, MAX_SHAPES) for key in offered.values()] == mentioned
        assert all(tokens_of(batch, "phrases")[place] != IGNORE for place in offered)
        checked += bool(offered)  # a chain can be a list of shapes that mentions no connection
    assert checked > 50


@pytest.mark.parametrize(("stage", "loss"), [(stage, loss) for stage in STAGES[1:] for loss in stage.pointers])
def test_an_attention_loss_agrees_with_the_models_own_attention(tokenizer, flows, model, stage, loss):
    wanted, offered = POINTERS[loss]
    (batch,) = batches_of(tokenizer, flows[:4], size=4)
    with torch.no_grad():
        found = losses_of(stage, model, AuxiliaryHeads(model.config.hidden_size, stage.heads), batch)[loss]
        attention = model(batch.ids, output_attentions=True).attentions[stage.pointers[loss]][:, HEAD]
    shares = []
    for row in range(len(batch.ids)):
        keys = getattr(batch, offered)[row].tolist()
        for place, key in enumerate(getattr(batch, wanted)[row].tolist()):
            if key != IGNORE:
                goals = [k for k in range(place) if keys[k] == key] or [0]
                shares.append(attention[row, place, goals].sum())
    torch.testing.assert_close(found, -torch.stack(shares).log().mean())
    assert len(shares) > 4


@pytest.mark.parametrize("stage", STAGES[1:], ids=lambda stage: stage.name)
def test_an_auxiliary_loss_trains_only_the_layers_up_to_its_own(tokenizer, flows, networks, model, stage):
    auxiliary = AuxiliaryHeads(model.config.hidden_size, stage.heads)
    (batch,) = batches_of(tokenizer, [*flows[:2], *networks[:2]], size=4)
    for name, layers in {**stage.heads, **stage.pointers}.items():
        model.zero_grad()
        losses_of(stage, model, auxiliary, batch)[name].backward()
        reached = [
            any((w.grad is not None and w.grad.any()) for w in layer.parameters()) for layer in model.model.layers
        ]
        top = layers + (name in stage.pointers)
        assert reached == [k < top for k in range(len(reached))], name
        assert all(w.grad.isfinite().all() for w in model.parameters() if w.grad is not None)


def test_a_row_without_mentions_trains_the_answer_but_not_the_losses_on_mentions(tokenizer, model):
    rng = Random(4)
    row = next(row for row in iter(lambda: pretraining_row(rng, MAX_SHAPES, STAGES[-1].mix), None) if not row.mentions)
    (batch,) = batches_of(tokenizer, [row], size=1)
    stage = next(stage for stage in STAGES if stage.name == "third")
    losses = losses_of(stage, model, AuxiliaryHeads(model.config.hidden_size, stage.heads), batch)
    assert losses["again"] == losses["firsts"] == losses["edges"] == 0
    assert losses["answer"] > 0 and all(loss.isfinite() for loss in losses.values())


def test_the_auxiliary_losses_of_a_stage_use_only_layers_that_its_model_has(tokenizer):
    layers = _config(tokenizer).num_hidden_layers
    for stage in STAGES:
        layers += len(stage.new_layers)
        assert max(stage.new_layers, default=0) < layers
        assert max(stage.heads.values(), default=0) <= layers
        assert max(stage.pointers.values(), default=0) < layers


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_each_stage_still_generates_the_rows_that_the_committed_model_was_trained_on(stage):
    digest = hashlib.sha256()
    for share in (0, 0.1, 0.5, 0.95):
        for row in rows_of(stage, int(share * stage.steps / GROUP), stage.steps)[1][:100]:
            digest.update(f"{row.prompt}\0{row.answer}\0".encode())
    assert digest.hexdigest() == ROWS[stage.name]


def test_the_committed_weights_are_those_that_these_stages_produced():
    assert hashlib.sha256((EMBEDDED_FOLDER / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS
