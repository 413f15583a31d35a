"""What a tokenizer's chat template writes around requests and answers, found by rendering a probe.

The token that ends an answer is the one that the template puts there, which is not always `eos_token`.
"""

import datetime
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from fine_tuning.run.errors import UserError

# What a template must pass on unchanged: quotes, brackets, line breaks, and spaces before a word.
PROBE_REQUEST = "Draw \"two\" boxes: 'a' -> 'b' & {c} <d>.\n\n  Answer as in [0, 100, 'circle', (0, 0, 0)]."
# A second, longer conversation, to notice what depends on a text or on its length.
OTHER_REQUEST = "\n".join(f"Draw box {number}: 'a' -> \"b\" & {{c}}." for number in range(60))
OTHER_ANSWER = "\n".join(f"[{number}, 'b', 100, 300, 'box', 80, 80, 'line', (0, 9, 0), []]" for number in range(60))
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
    return render(tokenizer, PROBE_REQUEST), render(tokenizer, PROBE_REQUEST, PROBE_ANSWER)


def dated_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template, with a fixed date if it asks for today's. Raises ValueError if no template is the default."""
    template: str = tokenizer.get_chat_template()
    is_dated = "strftime_now" in template and not template.startswith(FIXED_DATE)
    return FIXED_DATE + template if is_dated else template


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that fills up a batch: the tokenizer's padding token, or else the one that ends an answer."""
    padding: int | None = tokenizer.pad_token_id
    return chat_format(tokenizer).end if padding is None else padding


def render(tokenizer: PreTrainedTokenizerBase, request: str, answer: str | None = None) -> str:
    """The chat template's text: a generation prompt or, with an answer, a whole conversation.

    Raises UserError if the template fails.
    """
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
        raise UserError(f"the chat template fails: {type(error).__name__}: {' '.join(str(error).split())}") from error
    return str(text)


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of a text as it stands, without a BOS in front of it."""
    return list(tokenizer(text, add_special_tokens=False).input_ids)


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
    _check_frame(tokenizer, lead, after)
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
    if not set(stop).isdisjoint(token_ids(tokenizer, f"{lead}{PROBE_ANSWER}{closing}")):
        raise UserError("the token that ends an answer also occurs in the middle of answers")
    body = f"{lead}{PROBE_ANSWER}{closing}"
    tail = _tail(tokenizer, prompt, special)
    is_split = token_ids(tokenizer, prompt + body) == token_ids(tokenizer, prompt) + token_ids(tokenizer, body)
    return ChatFormat(lead, closing, end, stop, frozenset(special | set(stop)), "" if is_split else tail)


def _check_frame(tokenizer: PreTrainedTokenizerBase, lead: str, after: str) -> None:
    """Raise UserError unless the template writes the same text around every answer: every row is trained with it."""
    prompt, conversation = render(tokenizer, OTHER_REQUEST), render(tokenizer, OTHER_REQUEST, OTHER_ANSWER)
    if PROBE_ANSWER in after or conversation != f"{prompt}{lead}{OTHER_ANSWER}{after}":
        raise UserError(
            "what the chat template writes around an answer depends on the text of the request or the answer, or the "
            "template cuts or repeats a long text. Correct the template, or choose another model"
        )


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
