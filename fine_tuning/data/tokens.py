"""Turn prompts and answers into token ids. Every decision about special tokens is made here.

A row is the chat template's text, tokenised in two parts. So training sees exactly the prompt that generation starts
from:

    prompt       BOS system "### Instruction:\n" request "\n### Response:\n"
    completion   answer "\n" EOS

One BOS, one EOS. The EOS belongs to the completion and is trained, so the model learns to stop. The newline that the
template writes after EOS is left out: nothing is ever generated after it. A sampled answer that never ended has
neither the newline nor EOS.
"""

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.problems import Problems, rows_text
from fine_tuning.run.errors import UserError

ROW_PARTS = ("input_ids", "labels")
MAX_SHARE_TOO_LONG = 0.1  # of the rows: beyond this share, refuse instead of dropping them


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a whole prompt in the chat template, ready for generation.

    Raises UserError if the prompt contains one of the tokenizer's special tokens.
    """
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    _check_no_special(tokenizer, tokenizer(prompt, add_special_tokens=False).input_ids, "prompt")
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def encode_completion(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """Token ids of an answer, EOS last. Raises UserError if the answer contains a special token."""
    ids = tokenizer(f"{answer}\n", add_special_tokens=False).input_ids
    _check_no_special(tokenizer, ids, "answer")
    return [*ids, tokenizer.eos_token_id]


def encode_unended_answer(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """Token ids of an answer that never ended, without EOS. If it spells a special token, only the ids before it."""
    ids = list(tokenizer(answer, add_special_tokens=False).input_ids)
    special = set(tokenizer.all_special_ids)
    return ids[: next((k for k, token in enumerate(ids) if token in special), len(ids))]


def encode_row(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> dict[str, list[int]]:
    """A row's `input_ids` and `labels`. The labels of the prompt are -100, so the loss is on the answer alone."""
    prompt_ids, completion_ids = encode_prompt(tokenizer, prompt), encode_completion(tokenizer, answer)
    return {"input_ids": prompt_ids + completion_ids, "labels": [-100] * len(prompt_ids) + completion_ids}


def encode_rows(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], max_length: int, problems: Problems | None = None
) -> Iterator[tuple[Row, dict[str, list[int]]]]:
    """Yield the rows of at most `max_length` tokens, each with its ids and labels from `encode_row`.

    Longer rows are left out, and noted in `problems`. After the last row, raises UserError if they are more than
    MAX_SHARE_TOO_LONG of all, or if a row contains a special token; unless `problems.skip`, which leaves all these out.
    """
    problems = Problems() if problems is None else problems
    # No token encodes more characters than its name has. So very long rows are recognised without encoding them.
    longest_token = max(map(len, tokenizer.get_vocab()))
    too_long: list[int] = []
    for row in rows:
        try:
            if len(row.prompt) + len(row.answer) > max_length * longest_token:
                too_long.append(row.number)
                continue
            example = encode_row(tokenizer, row.prompt, row.answer)
        except UserError as error:
            message = f"{error}: {row.prompt[:60]!r}. Remove it from the text"
            problems.add_row(row.number, "a special token of this model is in the text", message)
            continue
        if len(example["input_ids"]) <= max_length:
            yield row, example
        else:
            too_long.append(row.number)
    if too_long:
        problems.add_left_out(too_long, f"more than {max_length} tokens")
    if len(too_long) > MAX_SHARE_TOO_LONG * len(rows) and not problems.skip:
        problems.add(
            f"{len(too_long)} of {len(rows)} rows are longer than {max_length} tokens ({rows_text(too_long)}). "
            f"Up to {MAX_SHARE_TOO_LONG:.0%} would be left out, but these are more: shorten or delete them, or add "
            "--skip-bad-rows"
        )
    problems.raise_if_any()


def decode_answer(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> tuple[str, bool]:
    """The answer in generated ids (without the prompt), and whether it ended by itself, that is, with EOS."""
    ended = tokenizer.eos_token_id in ids
    if ended:
        ids = ids[: ids.index(tokenizer.eos_token_id)]
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    return text.removesuffix("\n"), ended


def _check_no_special(tokenizer: PreTrainedTokenizerBase, ids: list[int], what: str) -> None:
    found = set(ids) & set(tokenizer.all_special_ids)
    if found:
        names = ", ".join(tokenizer.convert_ids_to_tokens(sorted(found)))
        raise UserError(f"the {what} contains {names}, a special token of this model")
