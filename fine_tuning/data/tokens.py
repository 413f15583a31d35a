"""Turn prompts and answers into token ids. Every decision about special tokens is made here.

A row is the chat template's text, tokenised in two parts. So training sees exactly the prompt that generation starts
from. With deepseek-coder's template:

    prompt       BOS system "### Instruction:\n" request "\n### Response:\n"
    completion   answer "\n" EOS

The completion ends with the token that the template puts after an answer, which is not always `eos_token`. This token
is trained, so the model learns to stop. What the template writes after it is left out: nothing is ever generated there.
`chat_format` finds these parts by rendering a probe. Padding is masked everywhere, so any token can serve as padding.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from fine_tuning.data.csv_rows import MAX_PROBLEMS_SHOWN, Row
from fine_tuning.run.errors import UserError

MAX_SHARE_TOO_LONG = 0.1  # of the rows: beyond this share, refuse instead of dropping them
# What a template must pass on unchanged: quotes, brackets, line breaks, and spaces before a word.
PROBE_REQUEST = "Draw \"two\" boxes: 'a' -> 'b' & {c} <d>.\n\n  Answer as in [0, 100, 'circle', (0, 0, 0)]."
RENDERINGS = 10  # of the probe, to notice a template that draws random words
PROBE_ANSWER = "[0, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), [1]]\n[1, 200, 'box', []]"
# Templates that write today's date get this one, Llama's own default: a run must see the same prompts tomorrow. A macro
# hides transformers' function of the same name, which cannot be replaced through apply_chat_template.
TODAY = datetime.datetime(2024, 7, 26)
FIXED_DATE = (
    "{%+ macro strftime_now(format) +%}{{ format"
    + "".join(f" | replace('%{x}', '{TODAY.strftime(f'%{x}')}')" for x in ("-d", "-m", *"aAbBdHIjmMpSyY"))
    + " }}{%+ endmacro +%}"
)


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """What a chat template writes around an answer.

    lead      text between the generation prompt and the answer, such as an empty block of thoughts; it is trained
    closing   text between the answer and the token that ends it
    end       the token that ends an answer
    stop      tokens at which generation stops: `end` and EOS
    reserved  special tokens, which no text of the user may contain
    anchor    the end of the prompt's text if a completion has other ids behind it than alone, else empty
    """

    lead: str
    closing: str
    end: int
    stop: tuple[int, ...]
    reserved: frozenset[int]
    anchor: str


def chat_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """How the tokenizer's chat template writes an answer. Raises UserError if no model can be trained with it."""
    return _chat_format(tokenizer, repr(tokenizer.chat_template), tokenizer.eos_token_id, len(tokenizer))


def render_probe(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """A generation prompt and a whole conversation, as text. Raises UserError if the template fails."""
    return _render(tokenizer, PROBE_REQUEST), _render(tokenizer, PROBE_REQUEST, PROBE_ANSWER)


def dated_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template, with a fixed date if it asks for today's. Raises ValueError if no template is the default."""
    template: str = tokenizer.get_chat_template()
    is_dated = "strftime_now" in template and not template.startswith(FIXED_DATE)
    return FIXED_DATE + template if is_dated else template


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that fills up a batch: the tokenizer's padding token, or else the one that ends an answer."""
    padding: int | None = tokenizer.pad_token_id
    return chat_format(tokenizer).end if padding is None else padding


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a whole prompt in the chat template, ready for generation.

    Raises UserError if the prompt contains a special token, or if the template does not pass it on unchanged.
    """
    text = _render(tokenizer, prompt)
    _check_no_special(tokenizer, _ids(tokenizer, prompt), "prompt")
    if prompt.strip() not in text:
        raise UserError("the chat template of this model changes the text of the prompt")
    return _ids(tokenizer, text)


def encode_completion(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """Token ids of an answer, followed by the token that ends it. Raises UserError if it contains a special token."""
    form = chat_format(tokenizer)
    _check_no_special(tokenizer, _ids(tokenizer, answer), "answer")
    return [*_completion_ids(tokenizer, form.anchor, f"{form.lead}{answer}{form.closing}"), form.end]


def encode_row(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> dict[str, list[int]]:
    """A row's `input_ids` and `labels`. The labels of the prompt are -100, so the loss is on the answer alone."""
    prompt_ids, completion_ids = encode_prompt(tokenizer, prompt), encode_completion(tokenizer, answer)
    return {"input_ids": prompt_ids + completion_ids, "labels": [-100] * len(prompt_ids) + completion_ids}


def encode_rows(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], max_length: int
) -> list[tuple[Row, dict[str, list[int]]]]:
    """The rows of at most `max_length` tokens, each with its ids and labels from `encode_row`.

    Longer rows are left out. Raises UserError if they are more than MAX_SHARE_TOO_LONG of all, or if a row contains a
    special token.
    """
    # No token encodes more characters than its name has. So very long rows are recognised without encoding them.
    longest_token = max(map(len, tokenizer.get_vocab()))
    kept: list[tuple[Row, dict[str, list[int]]]] = []
    problems: list[str] = []
    too_long: list[int] = []
    for row in rows:
        try:
            if len(row.prompt) + len(row.answer) > max_length * longest_token:
                too_long.append(row.number)
                continue
            example = encode_row(tokenizer, row.prompt, row.answer)
        except UserError as error:
            problems.append(f"row {row.number}: {error}: {row.prompt[:60]!r}. Remove it from the text")
            continue
        if len(example["input_ids"]) <= max_length:
            kept.append((row, example))
        else:
            too_long.append(row.number)
    if len(too_long) > MAX_SHARE_TOO_LONG * len(rows):
        problems.append(
            f"{len(too_long)} of {len(rows)} rows are longer than {max_length} tokens (row "
            f"{', '.join(map(str, too_long[:MAX_PROBLEMS_SHOWN]))}). Up to {MAX_SHARE_TOO_LONG:.0%} would be left out, "
            "but these are more: shorten or delete them"
        )
    if problems:
        more = len(problems) - MAX_PROBLEMS_SHOWN
        raise UserError(*problems[:MAX_PROBLEMS_SHOWN], *([f"and {more} more problems"] if more > 0 else []))
    return kept


def decode_answer(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> tuple[str, bool]:
    """The answer in generated ids (without the prompt), and whether it ended by itself, that is, with a stop token."""
    form = chat_format(tokenizer)
    end = _end_of_answer(form, ids)
    text = _decode_completion(tokenizer, form.anchor, ids[:end])
    lead = _decode(tokenizer, _ids(tokenizer, form.lead)) if form.lead else ""
    return text.removeprefix(lead).removesuffix(form.closing), end is not None


def answer_length(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> int:
    """The number of generated tokens, up to the one that ended the answer."""
    end = _end_of_answer(chat_format(tokenizer), ids)
    return len(ids) if end is None else end + 1


def _end_of_answer(form: ChatFormat, ids: list[int]) -> int | None:
    return next((k for k, token in enumerate(ids) if token in form.stop), None)


@lru_cache(maxsize=8)
def _chat_format(tokenizer: PreTrainedTokenizerBase, *state: Any) -> ChatFormat:
    """`chat_format`, computed once for each state of a tokenizer."""
    prompt, conversation = render_probe(tokenizer)
    lost = [] if PROBE_REQUEST in prompt else ["request"]
    lost += [] if PROBE_ANSWER in conversation else ["answer"]
    if lost:
        raise UserError(
            f"the chat template changes or leaves out the text of the {' and the '.join(lost)}. Correct the template, "
            "or choose another model"
        )
    if any(render_probe(tokenizer) != (prompt, conversation) for _ in range(RENDERINGS)):
        raise UserError("the chat template writes something else each time, so no run could be continued")
    if not conversation.startswith(prompt):
        raise UserError(
            "the chat template writes another prompt before an answer than for generation, so the model would be "
            "trained on prompts that it never gets"
        )
    lead, _, after = conversation[len(prompt) :].partition(PROBE_ANSWER)
    special: set[int] = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    special |= set(tokenizer.all_special_ids)
    closing, end = _first_token(tokenizer, after, special)
    if end is None:
        end = tokenizer.eos_token_id
    if end is None:
        raise UserError(
            "the chat template puts no special token after an answer and the tokenizer has no eos_token, so the model "
            "would never end its answers. Set eos_token in tokenizer_config.json"
        )
    eos = tokenizer.eos_token_id
    stop = (end,) if eos in (None, end) else (end, eos)
    if not set(stop).isdisjoint(_ids(tokenizer, f"{lead}{PROBE_ANSWER}{closing}")):
        raise UserError("the token that ends an answer also occurs in the middle of answers")
    body = f"{lead}{PROBE_ANSWER}{closing}"
    tail = _tail(tokenizer, prompt, special)
    is_split = _ids(tokenizer, prompt + body) == _ids(tokenizer, prompt) + _ids(tokenizer, body)
    return ChatFormat(lead, closing, end, stop, frozenset(special | set(stop)), "" if is_split else tail)


def _first_token(tokenizer: PreTrainedTokenizerBase, text: str, special: set[int]) -> tuple[str, int | None]:
    """The first special token in a text, and the text before it. An added token that is not blank counts as special:
    some tokenizers do not mark the token that ends a message. Without such a token, ("", None).
    """
    added = {
        number: token.content
        for number, token in tokenizer.added_tokens_decoder.items()
        if number in special or len(token.content.strip()) > 1
    }
    found = [(text.find(name), -len(name), number) for number, name in added.items() if name in text]
    if not found:
        return "", None
    place, _, number = min(found)
    return text[:place], number


def _tail(tokenizer: PreTrainedTokenizerBase, prompt: str, special: set[int]) -> str:
    """The text of a generation prompt after the request and after the last special token."""
    text = prompt[prompt.index(PROBE_REQUEST) + len(PROBE_REQUEST) :]
    for number, token in tokenizer.added_tokens_decoder.items():
        if number in special:
            text = text.split(token.content)[-1]
    return text


def _completion_ids(tokenizer: PreTrainedTokenizerBase, anchor: str, text: str) -> list[int]:
    """The ids of a completion as they are behind the prompt. Some tokenizers put a space before every text."""
    if anchor:
        before, whole = _ids(tokenizer, anchor), _ids(tokenizer, anchor + text)
        if whole[: len(before)] == before:
            return whole[len(before) :]
    return _ids(tokenizer, text)


def _decode_completion(tokenizer: PreTrainedTokenizerBase, anchor: str, ids: list[int]) -> str:
    """The text of a completion as it is behind the prompt. Some tokenizers drop the first space of every text."""
    if anchor:
        before = _ids(tokenizer, anchor)
        return _decode(tokenizer, before + ids).removeprefix(_decode(tokenizer, before))
    return _decode(tokenizer, ids)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    # Some tokenizers are set to "clean up": they would drop the space before 's of 'solid arrow'.
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _render(tokenizer: PreTrainedTokenizerBase, request: str, answer: str | None = None) -> str:
    """The chat template's text: a generation prompt, or a whole conversation."""
    messages = [{"role": "user", "content": request}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    try:
        text = tokenizer.apply_chat_template(
            messages,
            chat_template=dated_template(tokenizer),
            tokenize=False,
            add_generation_prompt=answer is None,
        )
    except Exception as error:  # a template is a program: it can raise anything
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"the chat template fails: {type(error).__name__}: {reason}") from error
    return str(text)


def _check_no_special(tokenizer: PreTrainedTokenizerBase, ids: list[int], what: str) -> None:
    found = set(ids) & chat_format(tokenizer).reserved
    if found:
        names = ", ".join(tokenizer.convert_ids_to_tokens(sorted(found)))
        raise UserError(f"the {what} contains {names}, a special token of this model")
