"""Token ids: exactly one BOS and one EOS in every row, EOS trained, the prompt masked."""

from pathlib import Path

import pytest
from helpers import ROOT, SFT_CSV, problems_of, rows_of
from transformers import AutoTokenizer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.preference_pairs import Pair, rejected_figures
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
    return [(row["input_data"], row["output_data"]) for row in rows_of(SFT_CSV)[:50]]


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


def fitting_pairs(tokenizer, pair: Pair, max_length: int = 1536):
    """What `encode_fitting` makes of one pair: the pair and its ids, or None if it is left out."""
    return next(iter(encode_fitting(tokenizer, [pair], max_length)), None)


def test_a_pair_whose_chosen_answer_is_too_long_or_has_a_special_token_is_left_out(tokenizer, rows):
    (prompt, answer), (_, other) = rows[:2]
    pair = Pair(prompt, answer, other, 0.5)
    length = len(encode_row(tokenizer, prompt, answer)["input_ids"])
    assert fitting_pairs(tokenizer, pair, length) is not None
    assert fitting_pairs(tokenizer, pair, length - 1) is None
    assert fitting_pairs(tokenizer, Pair(prompt, answer + tokenizer.eos_token, other, 0.5)) is None
    assert fitting_pairs(tokenizer, Pair(prompt + tokenizer.eos_token, answer, other, 0.5)) is None


def test_a_rejected_answer_that_never_ended_has_no_eos(tokenizer, rows):
    (prompt, answer), (_, other) = rows[:2]
    unended = other[: len(other) * 2 // 3]
    pair, encoded = fitting_pairs(tokenizer, Pair(prompt, answer, unended, 0.5, rejected_ended=False))
    assert tokenizer.decode(encoded["rejected"]) == unended and pair.rejected_fits
    assert encoded["chosen"][-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("ended", [True, False])
def test_a_rejected_answer_that_is_too_long_is_cut_to_fit_without_eos(tokenizer, rows, ended):
    prompt, answer = rows[0]
    length = len(encode_row(tokenizer, prompt, answer)["input_ids"])
    endless = "\n".join([rows[1][1]] * 20)
    pair, encoded = fitting_pairs(tokenizer, Pair(prompt, answer, endless, 0.5, ended), length)
    assert not pair.rejected_fits and tokenizer.eos_token_id not in encoded["rejected"]
    assert len(encoded["prompt"]) + len(encoded["rejected"]) == length
    assert encoded["rejected"] == encode_completion(tokenizer, endless)[: len(encoded["rejected"])]


@pytest.mark.parametrize("ended", [True, False])
def test_a_rejected_answer_that_spells_a_special_token_is_cut_in_front_of_it(tokenizer, rows, ended):
    (prompt, answer), (_, other) = rows[:2]
    spelled = f"{other}\n{tokenizer.eos_token}\n{other}"
    pair, encoded = fitting_pairs(tokenizer, Pair(prompt, answer, spelled, 0.5, ended))
    assert tokenizer.decode(encoded["rejected"]) == f"{other}\n" and not pair.rejected_fits


@pytest.mark.parametrize("shown", [0, 0.5, 1])
def test_a_rejected_answer_of_which_only_good_tokens_are_left_makes_no_pair(tokenizer, rows, shown):
    prompt, answer = rows[0]
    part = answer[: int(shown * len(answer))]
    assert fitting_pairs(tokenizer, Pair(prompt, answer, part, 0.5, rejected_ended=False)) is None
    assert fitting_pairs(tokenizer, Pair(prompt, answer, part + tokenizer.eos_token, 0.5)) is None


def test_answers_that_ended_keep_their_ids(tokenizer, rows):
    (prompt, answer), (_, other) = rows[:2]
    for rejected in (other, "", answer[: len(answer) // 2]):
        pair = Pair(prompt, answer, rejected, 0.5)
        assert fitting_pairs(tokenizer, pair) == (pair, encode_pair(tokenizer, pair))
        assert encode_pair(tokenizer, pair)["rejected"] == encode_completion(tokenizer, rejected)


def test_runaway_answers_of_a_foreign_file_train_with_the_real_tokenizer():
    if not REAL.is_dir():
        pytest.skip(f"the real tokenizer is not at {REAL}")
    tokenizer = AutoTokenizer.from_pretrained(REAL)
    pairs = [
        Pair(row["prompt"], row["chosen"], row["rejected"], 1.0, rejected_ended=False)
        for row in rows_of(Path(__file__).parent / "runaway_pairs.csv")
    ]
    kept = list(encode_fitting(tokenizer, pairs, 1536))
    assert (len(pairs), len(kept)) == (30, 29)  # one chosen answer is too long
    assert rejected_figures(pair for pair, _ in kept) == {
        "rejected answers that never ended": 29,
        "rejected answers cut to fit": 29,
    }


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
