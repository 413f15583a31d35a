"""The committed embedded model, and what it was pre-trained on."""

import csv
import functools
import sys
from itertools import permutations
from random import Random

import pytest
import torch
from helpers import ROOT
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from create_dataset.create_dataset import INSTRUCTION
from create_dataset.graphs import MAX_SHAPES
from create_dataset.house_style import HOUSE_STYLE
from diagram import parse
from fine_tuning.data.tokens import decode_answer, encode_completion
from fine_tuning.pretraining import build, stages
from fine_tuning.pretraining.batches import IGNORE, SIGN, batches_of
from fine_tuning.pretraining.build_tokenizer import CHAT_TEMPLATE
from fine_tuning.pretraining.rows import BASE_STYLE, MANY_SHAPES, Mix, pretraining_row
from fine_tuning.pretraining.stages import EASY_SHAPES, GROUP, LAST, MORE_LISTS, STAGES, rows_of

FOLDER = ROOT / "fine_tuning" / "embedded_model"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def rows():
    found = []
    for name in ("sft_dataset_llm.csv", "orpo_dataset_llm.csv"):
        with open(ROOT / "create_dataset" / name, encoding="utf-8", newline="") as file:
            found += list(csv.DictReader(file))
    return found


@pytest.fixture(scope="module")
def pretraining_rows():
    rng = Random(1)
    return [pretraining_row(rng, MAX_SHAPES, Mix(flows=9, lists=0.3, more_forms=True)) for _ in range(5000)]


def test_it_is_at_most_8_megabytes_and_loads_as_an_ordinary_llama():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.suffix != ".py") <= 8_000_000
    assert AutoModelForCausalLM.from_pretrained(FOLDER).config.model_type == "llama"


def test_its_special_tokens_are_all_different_and_its_chat_template_is_that_of_the_build(tokenizer):
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_the_instruction_of_every_prompt_is_one_token(tokenizer):
    assert len(tokenizer(f"\n\n{INSTRUCTION}", add_special_tokens=False).input_ids) == 1


def test_its_tokenizer_decodes_to_the_original_text(tokenizer, rows):
    for row in rows:
        for column in ("input_data", "output_data"):
            assert tokenizer.decode(tokenizer(row[column], add_special_tokens=False).input_ids) == row[column]
    strange = "tab\there, 내 diagram 🙂  twice  spaced\r\n"
    assert tokenizer.decode(tokenizer(strange, add_special_tokens=False).input_ids) == strange


def test_a_node_takes_fewer_than_18_tokens_on_average(tokenizer, rows):
    answers = [row["output_data"] for row in rows]
    tokens = sum(len(encode_completion(tokenizer, answer)) for answer in answers)
    assert tokens / sum(answer.count("\n") + 1 for answer in answers) < 18


def test_no_prompt_of_the_csvs_occurs_in_pretraining_rows(rows, pretraining_rows):
    assert not {row["input_data"] for row in rows} & {row.prompt for row in pretraining_rows}


@pytest.mark.slow
def test_no_prompt_of_the_csvs_occurs_in_the_rows_of_the_committed_model(rows):
    prompts = {row["input_data"] for row in rows}
    for stage in STAGES:
        for group in range(-(-stage.steps // GROUP)):
            assert not prompts & {row.prompt for row in rows_of(stage, group, stage.steps)[1]}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_prompts_are_answered_with_diagrams_and_lists_and_at_the_end_mostly_with_lists(stage):
    """So the instruction does not yet mean that a diagram is wanted."""

    def lists(group):
        _, rows = rows_of(stage, group, stage.steps)
        return sum(not row.is_diagram for row in rows) / len(rows)

    groups = stage.steps // GROUP
    assert lists(groups // 2) == pytest.approx(stage.mix.lists, abs=0.07)
    assert lists(round(LAST * groups) + 1) == pytest.approx(MORE_LISTS, abs=0.07)


def test_the_first_stage_starts_with_easy_diagrams():
    def largest(group):
        return max(len(row.kinds) for row in rows_of(STAGES[0], group, STAGES[0].steps)[1])

    assert largest(0) == EASY_SHAPES < largest(20) < largest(100)


@pytest.mark.parametrize("limit", [6, MAX_SHAPES])
def test_a_share_of_the_rows_has_many_shapes(limit):
    def share(large):
        mix, rng = Mix(flows=9, lists=0, large=large), Random(2)
        sizes = [len(pretraining_row(rng, limit, mix).kinds) for _ in range(1500)]
        assert max(sizes) <= limit
        return sum(size >= min(MANY_SHAPES, limit) for size in sizes) / len(sizes)

    usual = share(0)
    assert 0.05 < usual < 0.5 and share(1) == 1
    assert share(0.5) == pytest.approx(0.5 + 0.5 * usual, abs=0.06)


def test_a_list_names_every_shape_once_and_mostly_not_in_order(pretraining_rows):
    orders = []
    for row in pretraining_rows[:1000]:
        if not row.is_diagram:
            heading, *lines = row.answer.split("\n")
            numbers = [int(line.split()[0]) for line in lines]
            assert heading == "[Shapes:" and sorted(numbers) == list(range(len(row.kinds)))
            orders.append(numbers == sorted(numbers))
    assert sum(orders) < len(orders) / 5


def test_labels_are_the_words_that_the_request_uses(pretraining_rows):
    for row in pretraining_rows[:1000]:
        if row.mentions and row.is_diagram:
            for shape, node in enumerate(parse(row.answer).nodes):
                names = {row.prompt[m.start : m.end] for m in row.mentions if m.shape == shape}
                assert node.label in names, row.prompt


def test_workers_make_the_same_batches_in_the_same_order(tokenizer):
    groups = build._Groups(STAGES[0], 3000, tokenizer)
    from_workers = DataLoader(groups, batch_size=None, sampler=range(4, 6), num_workers=2)
    for group, found in zip(range(4, 6), from_workers, strict=True):
        assert [batch.ids.tolist() for batch in found] == [batch.ids.tolist() for batch in groups[group]]


def test_each_shape_has_one_name_and_shapes_are_first_mentioned_in_the_order_of_their_numbers(pretraining_rows):
    for row in pretraining_rows[:1000]:
        named = {}
        for mention in row.mentions:
            named.setdefault(mention.shape, set()).add(row.prompt[mention.start : mention.end])
        if named:
            assert sorted(named) == list(range(len(named)))
            assert all(len({name for name in names if not SIGN.fullmatch(name)}) == 1 for names in named.values())
        firsts = [min(m.start for m in row.mentions if m.shape == shape) for shape in sorted(named)]
        assert firsts == sorted(firsts)


def test_the_mentioned_connections_are_those_of_the_answer(pretraining_rows):
    checked = 0
    for row in pretraining_rows[:1000]:
        edges = {(m.source, m.shape) for m in row.mentions if m.source is not None}
        edges |= {(m.shape, m.target) for m in row.mentions if m.target is not None}
        if edges and (diagram := parse(row.answer)).nodes:
            assert edges == set(diagram.edges)
            checked += 1
    assert checked > 100


def test_a_request_whose_mentions_state_no_connection_still_states_those_of_the_answer(pretraining_rows):
    """In "the log and the table feed the filter", no name alone tells which other shape it is connected to."""
    unmarked = [row for row in pretraining_rows if row.unmarked and row.is_diagram]
    assert len(unmarked) > 100
    for row in unmarked:
        assert all(mention.source is mention.target is None for mention in row.mentions)
        together = {
            (a.shape, b.shape)
            for a, b in permutations(row.mentions, 2)
            if a.start < b.start and ". " not in row.prompt[a.start : b.end]
        }
        assert set(parse(row.answer).edges) <= together


def test_such_a_request_gives_its_connections_no_targets(tokenizer, pretraining_rows):
    row = next(row for row in pretraining_rows if row.unmarked and row.is_diagram)
    (batch,) = batches_of(tokenizer, [row], size=1)
    for targets in (batch.edges, batch.connects, batch.connected):
        assert targets.unique().tolist() == [IGNORE]


def test_the_targets_of_prompt_tokens_are_the_shapes_and_connections_they_mention(tokenizer, pretraining_rows):
    row = next(row for row in pretraining_rows if any(m.target is not None for m in row.mentions))
    (batch,) = batches_of(tokenizer, [row], size=1)
    targets = {
        (shape, edge)
        for shape, edge in zip(batch.shapes[0].tolist(), batch.edges[0].tolist(), strict=True)
        if shape != IGNORE
    }
    assert targets == {
        (m.shape, 1 + m.source if m.source is not None else 0 if m.target is None else 1 + MAX_SHAPES + m.target)
        for m in row.mentions
    }
    answer = [token for token in batch.labels[0].tolist() if token != IGNORE]
    assert decode_answer(tokenizer, answer) == (row.answer, True)


def test_no_kind_has_its_house_look_in_pretraining_and_nearly_none_its_colours():
    assert BASE_STYLE.keys() == HOUSE_STYLE.keys()
    assert all(BASE_STYLE[kind] != house for kind, house in HOUSE_STYLE.items())

    def colours(look):
        return look.fill, look.outline

    same = {kind for kind, house in HOUSE_STYLE.items() if colours(BASE_STYLE[kind]) == colours(house)}
    assert same == {"service", "decision", "dense layer"}


def test_the_base_style_has_every_colour_of_the_house_style():
    def colours(style):
        return {colour for look in style.values() for colour in (look.fill, look.outline)}

    assert colours(HOUSE_STYLE) <= colours(BASE_STYLE)


def test_every_answer_token_has_a_hidden_state_that_makes_it_almost_certain(tokenizer, rows):
    """An adapter changes hidden states, not embeddings: no fine-tuning can do better than the best hidden state."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    embeddings, scale = model.lm_head.weight.detach(), model.model.norm.weight.detach()
    tokens = torch.tensor(sorted({t for row in rows for t in encode_completion(tokenizer, row["output_data"])}))
    before_norm = (10 * embeddings[tokens]).requires_grad_()
    optimizer = torch.optim.Adam([before_norm], lr=0.05)
    for _ in range(300):
        states = scale * before_norm / before_norm.square().mean(-1, keepdim=True).sqrt()
        loss = torch.nn.functional.cross_entropy(states @ embeddings.T, tokens, reduction="none")
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    assert loss.max() < 0.01


def test_it_is_pretrained_on_well_formed_diagrams(tokenizer, pretraining_rows):
    for row in pretraining_rows[:500]:
        assert not row.is_diagram or not parse(row.answer).problems
        assert decode_answer(tokenizer, encode_completion(tokenizer, row.answer)) == (row.answer, True)


@pytest.fixture
def build_in(tmp_path, monkeypatch):
    """Return a function that builds a model from few rows and steps, with a checkpoint every second step."""
    for module in (build, stages):
        monkeypatch.setattr(module, "BATCH_SIZE", 2)
    monkeypatch.setattr(build, "TOKENIZER_ROWS", 200)
    monkeypatch.setattr(build, "SAVE_STEPS", 2)

    def run(name):
        folders = ["--work", str(tmp_path / name / "work"), "--output", str(tmp_path / name / "out")]
        monkeypatch.setattr(sys, "argv", ["build.py", "--steps", *["3"] * len(STAGES), *folders])
        build.main()
        return load_file(tmp_path / name / "out" / "model.safetensors")

    return run


def test_a_build_that_was_stopped_several_times_ends_with_the_same_weights(build_in, monkeypatch):
    expected = build_in("uninterrupted")
    assert len(expected) > 8 * 7
    stops = ["losses_of", "_save", "save_pretrained", "_save", "save_pretrained"]  # in both stages

    def stopping(owner, name):
        function = getattr(owner, name)

        @functools.wraps(function)
        def stopped(*args, **arguments):
            result = function(*args, **arguments)
            if stops and stops[0] == name:
                stops.pop(0)
                raise KeyboardInterrupt
            return result

        monkeypatch.setattr(owner, name, stopped)

    for owner, name in ((build, "losses_of"), (build, "_save"), (LlamaForCausalLM, "save_pretrained")):
        stopping(owner, name)
    for left in reversed(range(len(stops))):
        with pytest.raises(KeyboardInterrupt):
            build_in("stopped")
        assert len(stops) == left
    found = build_in("stopped")
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
