"""The committed embedded model, and what it was pre-trained on."""

import csv
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from create_dataset.create_dataset import INSTRUCTION
from create_dataset.house_style import HOUSE_STYLE
from diagram import parse
from fine_tuning.chat import decode_answer, encode_completion
from fine_tuning.embedded_model import build
from fine_tuning.embedded_model.build_tokenizer import CHAT_TEMPLATE
from fine_tuning.embedded_model.pretraining_batches import IGNORE, MAX_SHAPES, batches_of
from fine_tuning.embedded_model.pretraining_data import BASE_STYLE, pretraining_row

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = PROJECT / "fine_tuning" / "embedded_model"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def rows():
    found = []
    for name in ("sft_dataset_llm.csv", "orpo_dataset_llm.csv"):
        with open(PROJECT / "create_dataset" / name, encoding="utf-8", newline="") as file:
            found += list(csv.DictReader(file))
    return found[:900]


@pytest.fixture(scope="module")
def pretraining_rows():
    rng = Random(1)
    return [pretraining_row(rng, 16, lists=0.3) for _ in range(5000)]


def test_it_is_at_most_8_megabytes_and_loads_as_an_ordinary_llama():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.suffix != ".py") <= 8_000_000
    assert AutoModelForCausalLM.from_pretrained(FOLDER).config.model_type == "llama"


def test_its_tokenizer_has_the_roles_of_the_real_one(tokenizer):
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_the_instruction_of_every_prompt_is_one_token(tokenizer):
    assert len(tokenizer(f"\n\n{INSTRUCTION}", add_special_tokens=False).input_ids) == 1


def test_its_tokenizer_loses_nothing(tokenizer, rows):
    for row in rows:
        for column in ("input_data", "output_data"):
            assert tokenizer.decode(tokenizer(row[column], add_special_tokens=False).input_ids) == row[column]
    strange = "tab\there, 내 diagram 🙂  twice  spaced\r\n"
    assert tokenizer.decode(tokenizer(strange, add_special_tokens=False).input_ids) == strange


def test_a_node_is_about_a_dozen_tokens(tokenizer, rows):
    answers = [row["output_data"] for row in rows]
    tokens = sum(len(encode_completion(tokenizer, answer)) for answer in answers)
    assert tokens / sum(answer.count("\n") + 1 for answer in answers) < 14


def test_no_prompt_of_the_csvs_is_pretrained_on(rows, pretraining_rows):
    assert not {row["input_data"] for row in rows} & {row.prompt for row in pretraining_rows}


@pytest.mark.slow
def test_no_prompt_of_the_csvs_is_among_the_rows_the_committed_model_saw(rows):
    prompts = {row["input_data"] for row in rows}
    for group in range(-(-build.STEPS // build.GROUP)):
        assert not prompts & {row.prompt for row in build.rows_of(group, build.STEPS)[1]}


def test_the_instruction_decides_nothing_before_fine_tuning(pretraining_rows):
    lists = sum(not parse(row.answer).nodes for row in pretraining_rows)
    assert 0.25 < lists / len(pretraining_rows) < 0.35
    assert build.MORE_LISTS > 0.5


def test_a_request_says_which_shape_is_mentioned_where(pretraining_rows):
    for row in pretraining_rows[:1000]:
        named = {}
        for mention in row.mentions:
            named.setdefault(mention.shape, set()).add(row.prompt[mention.start : mention.end])
        if named:
            assert sorted(named) == list(range(len(named)))
            assert all(len({name for name in names if len(name) > 1}) == 1 for names in named.values())
        firsts = [min(m.start for m in row.mentions if m.shape == shape) for shape in sorted(named)]
        assert firsts == sorted(firsts)  # shapes are numbered in the order named


def test_the_connections_mentioned_are_the_answers(pretraining_rows):
    checked = 0
    for row in pretraining_rows[:1000]:
        edges = {(m.source, m.shape) for m in row.mentions if m.source is not None}
        edges |= {(m.shape, m.target) for m in row.mentions if m.target is not None}
        if edges and (diagram := parse(row.answer)).nodes:
            assert edges == set(diagram.edges)
            checked += 1
    assert checked > 100


def test_tokens_of_a_prompt_carry_what_they_mention(tokenizer, pretraining_rows):
    row = next(row for row in pretraining_rows if any(m.target is not None for m in row.mentions))
    (batch,) = batches_of(tokenizer, [row], size=1)
    read = {
        (shape, edge)
        for shape, edge in zip(batch.shapes[0].tolist(), batch.edges[0].tolist(), strict=True)
        if shape != IGNORE
    }
    assert read == {
        (m.shape, 1 + m.source if m.source is not None else 0 if m.target is None else 1 + MAX_SHAPES + m.target)
        for m in row.mentions
    }
    answer = [token for token in batch.labels[0].tolist() if token != IGNORE]
    assert decode_answer(tokenizer, answer) == (row.answer, True)


def test_no_kind_has_its_house_look_before_fine_tuning():
    assert BASE_STYLE.keys() == HOUSE_STYLE.keys()
    assert not [kind for kind in HOUSE_STYLE if BASE_STYLE[kind] == HOUSE_STYLE[kind]]


def test_it_is_pretrained_on_well_formed_diagrams(tokenizer, pretraining_rows):
    for row in pretraining_rows[:500]:
        assert row.answer.startswith("0: ") or not parse(row.answer).problems
        assert decode_answer(tokenizer, encode_completion(tokenizer, row.answer)) == (row.answer, True)


@pytest.mark.slow
def test_a_build_that_was_interrupted_goes_on_from_its_checkpoint(tmp_path):
    command = [sys.executable, str(FOLDER / "build.py"), "--steps", "260", "--work", str(tmp_path / "work")]
    process = subprocess.Popen([*command, "--output", str(tmp_path / "out")], stderr=subprocess.DEVNULL)
    while not (tmp_path / "work" / "checkpoint-260.pt").exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    done = subprocess.run([*command, "--output", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0 and "250/260" in done.stderr
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
