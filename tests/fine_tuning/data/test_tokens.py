"""Token ids: exactly one BOS and one EOS in every row, EOS trained, the prompt masked."""

import csv

import pytest
from helpers import ROOT, problems_of
from transformers import AutoTokenizer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.preference_pairs import Pair
from fine_tuning.data.tokens import decode_answer, encode_completion, encode_prompt, encode_row, encode_rows
from fine_tuning.run.errors import UserError
from fine_tuning.training.pair_batch import encode_fitting, encode_pair

REAL = ROOT.parent / "shared" / "deepseek-coder-1.3b-instruct"


@pytest.fixture(scope="module", params=["embedded", "deepseek-coder-1.3b-instruct"])
def tokenizer(request):
    if request.param == "embedded":
        return AutoTokenizer.from_pretrained(ROOT / "fine_tuning" / "embedded_model")
    if not REAL.is_dir():
        pytest.skip(f"the real tokenizer is not at {REAL}")
    return AutoTokenizer.from_pretrained(REAL)


@pytest.fixture(scope="module")
def rows():
    with open(ROOT / "create_dataset" / "sft_dataset_llm.csv", encoding="utf-8", newline="") as file:
        return [(row["input_data"], row["output_data"]) for row in csv.DictReader(file)][:50]


def test_every_row_has_one_bos_in_front_and_one_eos_at_the_end(tokenizer, rows):
    for prompt, answer in rows:
        ids = encode_row(tokenizer, prompt, answer)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
        assert ids[-1] == tokenizer.eos_token_id and ids.count(tokenizer.eos_token_id) == 1
        assert tokenizer.pad_token_id not in ids


def test_the_labels_are_the_answer_and_its_eos_without_the_prompt(tokenizer, rows):
    for prompt, answer in rows:
        row = encode_row(tokenizer, prompt, answer)
        trained = [label for label in row["labels"] if label != -100]
        assert row["labels"][: len(encode_prompt(tokenizer, prompt))] == [-100] * len(encode_prompt(tokenizer, prompt))
        assert trained[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(trained[:-1]) == answer + "\n"


def test_the_collator_keeps_the_eos_in_the_labels_and_masks_only_padding(tokenizer, rows):
    short, long = sorted((encode_row(tokenizer, *row) for row in rows[:2]), key=lambda row: len(row["input_ids"]))
    batch = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)([short, long])
    padding = len(long["input_ids"]) - len(short["input_ids"])
    assert batch["labels"].tolist() == [short["labels"] + [-100] * padding, long["labels"]]


def test_training_starts_from_exactly_the_prompt_that_generation_gets(tokenizer, rows):
    for prompt, answer in rows:
        prompt_ids = encode_prompt(tokenizer, prompt)
        assert encode_row(tokenizer, prompt, answer)["input_ids"][: len(prompt_ids)] == prompt_ids
        assert tokenizer.decode(prompt_ids).endswith("### Response:\n")


def test_orpo_pairs_hold_the_same_ids(tokenizer, rows):
    (prompt, chosen), (_, rejected) = rows[:2]
    pair = encode_pair(tokenizer, Pair(prompt, chosen, rejected, 0.5))
    for side, answer in (("chosen", chosen), ("rejected", rejected)):
        assert pair["prompt"] + pair[side] == encode_row(tokenizer, prompt, answer)["input_ids"]


def test_a_pair_that_is_too_long_or_contains_a_special_token_is_left_out(tokenizer, rows):
    (prompt, answer), (_, other) = rows[:2]
    pairs = [Pair(prompt, answer, other, 0.5), Pair(prompt, answer, other + tokenizer.eos_token, 0.5)]
    longest = max(len(encode_row(tokenizer, prompt, text)["input_ids"]) for text in (answer, other))
    assert [pair for pair, _ in encode_fitting(tokenizer, pairs, longest)] == pairs[:1]
    assert list(encode_fitting(tokenizer, pairs, longest - 1)) == []


def test_an_answer_is_read_up_to_its_eos(tokenizer):
    ids = encode_completion(tokenizer, "[0, 1]\n[1, 2]")
    assert decode_answer(tokenizer, ids + [tokenizer.pad_token_id] * 3) == ("[0, 1]\n[1, 2]", True)
    assert decode_answer(tokenizer, ids[:-1]) == ("[0, 1]\n[1, 2]", False)


@pytest.mark.parametrize("encode", [encode_prompt, encode_completion])
def test_a_special_token_in_a_users_text_is_refused(tokenizer, encode):
    with pytest.raises(UserError, match="a special token of this model"):
        encode(tokenizer, f"a diagram {tokenizer.eos_token} of this")


def test_special_tokens_of_the_chat_template_are_accepted(rows):
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "fine_tuning" / "embedded_model")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = "<turn>" + tokenizer.chat_template
    assert tokenizer.convert_tokens_to_ids("<turn>") in encode_prompt(tokenizer, rows[0][0])
    with pytest.raises(UserError, match="a special token of this model"):
        encode_prompt(tokenizer, "draw <turn>")


def test_the_real_tokenizers_ids_are_the_published_ones():
    if not REAL.is_dir():
        pytest.skip(f"the real tokenizer is not at {REAL}")
    tokenizer = AutoTokenizer.from_pretrained(REAL)
    row = encode_row(tokenizer, "hello world", "[0]")
    assert (row["input_ids"][0], row["input_ids"][-1]) == (32013, 32021)
    assert tokenizer("hello world", add_special_tokens=False).input_ids == [31702, 1835]


def test_a_few_rows_that_are_too_long_are_left_out_and_many_are_refused(tokenizer, rows):
    good = [Row(*row, 1.0, "flowchart", {}, number) for number, row in enumerate(rows[:20], start=1)]
    long = [
        Row("Draw two shapes. " * factor, rows[0][1], 1.0, "flowchart", {}, number)
        for number, factor in enumerate((1_000, 1_000_000, 1_000, 1_000_000), start=21)
    ]
    assert [row for row, _ in encode_rows(tokenizer, [*good, *long[:2]], 1536)] == good
    (problem,) = problems_of(list, encode_rows(tokenizer, [*good, *long], 1536))
    assert problem.startswith("4 of 24 rows are longer than 1536 tokens (rows 21-24)") and "shorten" in problem


def test_a_row_with_a_special_token_is_named_by_its_number(tokenizer, rows):
    bad = Row(f"Draw {tokenizer.eos_token}", rows[0][1], 1.0, "flowchart", {}, 7)
    (problem,) = problems_of(list, encode_rows(tokenizer, [Row(*rows[0], 1.0, "flowchart", {}, 6), bad], 1536))
    assert problem.startswith(f"row 7: the prompt contains {tokenizer.eos_token}") and "Remove it" in problem
