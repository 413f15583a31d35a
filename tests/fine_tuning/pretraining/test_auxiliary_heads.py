"""The auxiliary losses of pre-training: targets agree with the row, and attention losses with the model's attention."""

import hashlib
import re
from random import Random

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from create_dataset.graphs import MAX_SHAPES
from create_dataset.names import KIND_OF_NOUN
from diagram import parse
from fine_tuning.pretraining.auxiliary_heads import POINTERS, AuxiliaryHeads, losses_of
from fine_tuning.pretraining.batches import IGNORE, batches_of
from fine_tuning.pretraining.build import _config
from fine_tuning.pretraining.rows import KINDS, Mix, pretraining_row
from fine_tuning.pretraining.stages import GROUP, STAGES, rows_of
from fine_tuning.run.options import EMBEDDED_FOLDER

ROWS = {  # SHA-256 of some rows of each stage
    "first": "a054d032d60149733c57a2f62a06b0d4936eca5fe083c5c42e2b012881659766",
    "more": "f5a5078c6f9861587d0fe988e4bd890e2abbf84f3df27acc37f7674cf203a702",
}
WEIGHTS = "14ae26ff24147401b2bfae5ee32ba20b50922b53f0984eb888d163369c3b2639"  # SHA-256 of the committed weights


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)


@pytest.fixture(scope="module")
def flows():
    """Requests for flowcharts, half of them answered with a list."""
    rng = Random(3)
    rows = (pretraining_row(rng, MAX_SHAPES, Mix(flows=9, lists=0.5)) for _ in range(400))
    return [row for row in rows if row.mentions]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = 1 + max([*(layer for layer, _ in STAGES[0].pointers.values()), *STAGES[0].heads.values()])
    config = LlamaConfig(
        vocab_size=1792, hidden_size=64, intermediate_size=96, num_hidden_layers=layers, num_attention_heads=4
    )
    return LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def networks():
    rng = Random(5)
    rows = (pretraining_row(rng, MAX_SHAPES, Mix(flows=0, lists=0.1)) for _ in range(300))
    return [row for row in rows if row.is_diagram]


def tokens_of(batch, name):
    return getattr(batch, name)[0].tolist()


def is_name(words):
    """False for a letter or a number that stands for a shape."""
    return len(words) > 1 and not words.isdigit()


def words_at(tokenizer, batch, place, phrase):
    """Decode the tokens that end at `place`, as many as the phrase has."""
    text = ""
    while phrase not in text:
        text = tokenizer.decode(batch.ids[0, place]) + text
        place -= 1
    return text.strip("\"', ")


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
            assert all(KIND_OF_NOUN[noun] == KINDS[row.kinds[shape]] for shape, noun in nouns.items())


def test_the_last_token_of_a_mention_has_keys_for_its_words_and_its_shape(tokenizer, flows):
    for row in flows[:100]:
        (batch,) = batches_of(tokenizer, [row], size=1)
        mentions = sorted(row.mentions, key=lambda mention: mention.start)
        phrases, groups = tokens_of(batch, "phrases"), tokens_of(batch, "groups")
        places = [place for place, phrase in enumerate(phrases) if phrase != IGNORE]
        decoded = [
            words_at(tokenizer, batch, place, words) for place, words in zip(places, phrases_of(row), strict=True)
        ]
        assert decoded == phrases_of(row)
        numbers = {words: phrases[place] for words, place in zip(decoded, places, strict=True)}
        assert [phrases[place] for place in places] == [numbers[words] for words in decoded]
        assert len(set(numbers.values())) == len(numbers)
        for mention, words, place in zip(mentions, decoded, places, strict=True):
            assert groups[place] == (mention.shape if is_name(words) else IGNORE)
        assert sum(shape != IGNORE for shape in groups) == sum(map(is_name, decoded))


def test_only_the_first_use_of_words_has_a_target_in_firsts(tokenizer, flows):
    for row in flows[:100]:
        (batch,) = batches_of(tokenizer, [row], size=1)
        tokens = zip(*(tokens_of(batch, name) for name in ("ids", "firsts")), strict=True)
        firsts = tokenizer.decode([token for token, first in tokens if first != IGNORE])
        expected = "".join(dict.fromkeys(phrases_of(row)))
        assert re.sub(r"\W", "", firsts) == re.sub(r"\W", "", expected)


def test_every_line_of_a_network_has_the_same_key_as_the_name_of_its_group(tokenizer, networks):
    for row in networks:
        (batch,) = batches_of(tokenizer, [row], size=1)
        names = sorted(row.groups, key=lambda mention: mention.start)
        places = [place for place, group in enumerate(tokens_of(batch, "groups")) if group != IGNORE]
        for mention, place in zip(names, places, strict=True):
            words = row.prompt[mention.start : mention.end]
            assert words.endswith(tokenizer.decode(batch.ids[0, place]).strip(", \n*"))
            assert tokens_of(batch, "groups")[place] == mention.group
            assert tokens_of(batch, "starts")[place] == mention.shape == row.members.index(mention.group)
        lines, grouped = tokens_of(batch, "lines"), tokens_of(batch, "grouped")
        assert all(
            group == (row.members[shape] if shape != IGNORE else IGNORE)
            for shape, group in zip(lines, grouped, strict=True)
        )
        assert set(row.members) == {mention.group for mention in names}


def test_the_token_before_one_of_a_label_has_the_same_key_as_the_same_token_of_the_name(tokenizer, flows, networks):
    checked = {"flowchart": 0, "network": 0}
    for row in [*flows[:100], *networks[:100]]:
        if not row.is_diagram:
            continue
        (batch,) = batches_of(tokenizer, [row], size=1)
        lines, copied = tokens_of(batch, "lines"), set(tokens_of(batch, "copied"))
        written, missing = {}, set()
        for place, key in enumerate(tokens_of(batch, "copies")):
            if key != IGNORE:
                shape = lines[place + 1]
                written[shape] = written.get(shape, "") + tokenizer.decode(batch.ids[0, place + 1])
                if key not in copied:
                    missing.add(shape)
        labels = [node.label for node in parse(row.answer).nodes]
        assert [written[shape] for shape in range(len(labels))] == labels
        if row.mentions:  # a flowchart: every word is in the request
            assert not missing, row.prompt
            checked["flowchart"] += len(labels)
        names = {mention.group: row.prompt[mention.start : mention.end] for mention in row.groups}
        for shape, group in enumerate(row.members):  # a network: some requests name its layers, some only sizes
            if re.search(rf"\b{re.escape(labels[shape])}\b", names[group]):
                assert shape not in missing, row.prompt
                checked["network"] += 1
    assert min(checked.values()) > 200, checked


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


@pytest.mark.parametrize(("stage", "loss"), [(stage, loss) for stage in STAGES[:1] for loss in stage.pointers])
def test_an_attention_loss_agrees_with_the_models_own_attention(tokenizer, flows, model, stage, loss):
    wanted, offered = POINTERS[loss]
    (batch,) = batches_of(tokenizer, flows[:4], size=4)
    with torch.no_grad():
        found = losses_of(stage, model, AuxiliaryHeads(model.config.hidden_size, stage.heads), batch)[loss]
        layer, head = stage.pointers[loss]
        attention = model(batch.ids, output_attentions=True).attentions[layer][:, head]
    shares = []
    for row in range(len(batch.ids)):
        keys = getattr(batch, offered)[row].tolist()
        for place, key in enumerate(getattr(batch, wanted)[row].tolist()):
            if key != IGNORE:
                goals = [k for k in range(place) if keys[k] == key] or [0]
                shares.append(attention[row, place, goals].sum())
    torch.testing.assert_close(found, -torch.stack(shares).log().mean())
    assert len(shares) > 4


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_an_auxiliary_loss_trains_only_the_layers_up_to_its_own(tokenizer, flows, networks, model, stage):
    auxiliary = AuxiliaryHeads(model.config.hidden_size, stage.heads)
    (batch,) = batches_of(tokenizer, [*flows[:2], *networks[:2]], size=4)
    pointers = {name: layer for name, (layer, _) in stage.pointers.items()}
    for name, layers in {**stage.heads, **pointers}.items():
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
    stage = STAGES[0]
    losses = losses_of(stage, model, AuxiliaryHeads(model.config.hidden_size, stage.heads), batch)
    assert losses["again"] == losses["firsts"] == losses["edges"] == 0
    assert losses["answer"] > 0 and all(loss.isfinite() for loss in losses.values())


def test_the_auxiliary_losses_of_a_stage_use_only_layers_that_its_model_has(tokenizer):
    layers = _config(tokenizer).num_hidden_layers
    for stage in STAGES:
        assert max(stage.heads.values(), default=0) <= layers
        assert max(layer for layer, _ in stage.pointers.values()) < layers


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_each_stage_still_generates_the_rows_that_the_committed_model_was_trained_on(stage):
    digest = hashlib.sha256()
    for share in (0, 0.1, 0.5, 0.95):
        for row in rows_of(stage, int(share * stage.steps / GROUP), stage.steps)[1][:100]:
            digest.update(f"{row.prompt}\0{row.answer}\0".encode())
    assert digest.hexdigest() == ROWS[stage.name]


def test_the_committed_weights_are_those_that_these_stages_produced():
    assert hashlib.sha256((EMBEDDED_FOLDER / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS
