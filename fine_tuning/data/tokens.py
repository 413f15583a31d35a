"""Turn prompts and answers into token ids. With `chat_format`, this is where special tokens are decided.

A row is the chat template's text, tokenised in two parts. So training sees exactly the prompt that generation starts
from. With deepseek-coder's template:

    prompt       BOS system "### Instruction:\n" request "\n### Response:\n"
    completion   answer "\n" EOS

The completion ends with the token that the template puts after an answer, which is not always `eos_token`. This token
is trained, so the model learns to stop. What the template writes after it is left out: nothing is ever generated there.
A sampled answer that never ended has neither the newline nor EOS. `chat_format` finds these parts by rendering a probe.
Padding is masked everywhere, so any token can serve as padding.
"""

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from fine_tuning.data.chat_format import ChatFormat, chat_format, render, token_ids
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.problems import Problems, rows_text
from fine_tuning.run.errors import UserError

ROW_PARTS = ("input_ids", "labels")
MAX_SHARE_TOO_LONG = 0.1  # of the rows: beyond this share, refuse instead of dropping them


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a whole prompt in the chat template, ready for generation.

    Raises UserError if the prompt contains a special token, or if the template does not pass it on unchanged.
    """
    text = render(tokenizer, prompt)
    _check_no_special(tokenizer, token_ids(tokenizer, prompt), "prompt")
    if prompt.strip() not in text:
        raise UserError("the chat template of this model changes the text of the prompt")
    return token_ids(tokenizer, text)


def encode_completion(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """Token ids of an answer, followed by the token that ends it. Raises UserError if it contains a special token."""
    form = chat_format(tokenizer)
    _check_no_special(tokenizer, token_ids(tokenizer, answer), "answer")
    return [*_completion_ids(tokenizer, form.anchor, f"{form.lead}{answer}{form.closing}"), form.end]


def encode_unended_answer(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """Token ids of an answer that never ended, without EOS. If it spells a special token, only the ids before it."""
    form = chat_format(tokenizer)
    ids = _completion_ids(tokenizer, form.anchor, form.lead + answer)
    special = [k for k, token in enumerate(ids) if token in form.reserved]
    in_lead = sum(token in form.reserved for token in token_ids(tokenizer, form.lead))
    return ids[: special[in_lead]] if len(special) > in_lead else ids


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
            problems.add_row(row.number, str(error), message)
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
            f"Up to {MAX_SHARE_TOO_LONG:.0%} would be left out, but these are more: shorten or delete them, "
            "allow more tokens with --set max_length, or add --skip-bad-rows"
        )
    problems.raise_if_any()


def decode_answer(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> tuple[str, bool]:
    """The answer in generated ids (without the prompt), and whether it ended by itself, that is, with a stop token."""
    form = chat_format(tokenizer)
    end = _end_of_answer(form, ids)
    text = _decode_completion(tokenizer, form.anchor, ids[:end])
    lead = _decode(tokenizer, token_ids(tokenizer, form.lead)) if form.lead else ""
    return text.removeprefix(lead).removesuffix(form.closing), end is not None


def answer_length(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> int:
    """The number of generated tokens, up to the one that ended the answer."""
    end = _end_of_answer(chat_format(tokenizer), ids)
    return len(ids) if end is None else end + 1


def _end_of_answer(form: ChatFormat, ids: list[int]) -> int | None:
    return next((k for k, token in enumerate(ids) if token in form.stop), None)


def _completion_ids(tokenizer: PreTrainedTokenizerBase, anchor: str, text: str) -> list[int]:
    """The ids of a completion as they are behind the prompt. Some tokenizers put a space before every text."""
    if anchor:
        before, whole = token_ids(tokenizer, anchor), token_ids(tokenizer, anchor + text)
        if whole[: len(before)] == before:
            return whole[len(before) :]
    return token_ids(tokenizer, text)


def _decode_completion(tokenizer: PreTrainedTokenizerBase, anchor: str, ids: list[int]) -> str:
    """The text of a completion as it is behind the prompt. Some tokenizers drop the first space of every text."""
    if anchor:
        before = token_ids(tokenizer, anchor)
        return _decode(tokenizer, before + ids).removeprefix(_decode(tokenizer, before))
    return _decode(tokenizer, ids)


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    # Some tokenizers are set to "clean up": they would drop the space before 's of 'solid arrow'.
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _check_no_special(tokenizer: PreTrainedTokenizerBase, ids: list[int], what: str) -> None:
    found = set(ids) & chat_format(tokenizer).reserved
    if found:
        names = ", ".join(tokenizer.convert_ids_to_tokens(sorted(found)))
        raise UserError(f"the {what} contains {names}, a special token of this model")
