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
from fine_tuning.embedded_model.build_tokenizer import CHAT_TEMPLATE
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
    return [pretraining_row(rng, 16) for _ in range(5000)]


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
    assert not {row["input_data"] for row in rows} & {prompt for prompt, _ in pretraining_rows}


def test_no_kind_has_its_house_look_before_fine_tuning():
    assert BASE_STYLE.keys() == HOUSE_STYLE.keys()
    assert not [kind for kind in HOUSE_STYLE if BASE_STYLE[kind] == HOUSE_STYLE[kind]]


def test_it_is_pretrained_on_well_formed_diagrams(tokenizer, pretraining_rows):
    for _, answer in pretraining_rows[:500]:
        assert not parse(answer).problems
        assert decode_answer(tokenizer, encode_completion(tokenizer, answer)) == (answer, True)


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
