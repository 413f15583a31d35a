"""Recognise the layout of a table by the names of its columns."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fine_tuning.run.errors import UserError

PROMPTS = ("input_data", "prompt", "instruction", "question", "request", "query", "input")
ANSWERS = ("output_data", "completion", "response", "answer", "output")
CHATS = ("messages", "conversations", "conversation")
FAMILIES = ("task_name", "family", "category")
LABEL = "label"  # true for good answers, false for bad ones
KEPT = ("score", "split", "ended", "dest_shape_info")
KNOWN = {*PROMPTS, *ANSWERS, *CHATS, *FAMILIES, *KEPT, "chosen", "rejected"}
LAYOUTS = (
    "input_data, output_data; prompt, completion (or response, answer); instruction, output (and input); "
    "prompt, chosen, rejected; messages; conversations"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table that are used, as the file names them; "" where it has none.

    Either `answer`, or `chosen` and `rejected`, or `chat` is there. `addition` is joined to the prompt.
    """

    prompt: str = ""
    addition: str = ""
    answer: str = ""
    chosen: str = ""
    rejected: str = ""
    chat: str = ""
    score: str = ""
    split: str = ""
    ended: str = ""
    info: str = ""
    family: str = ""
    label: str = ""

    def of(self, cells: Mapping[str, Any], name: str) -> Any:
        """The cell of a row for one of these columns; None if the table has no such column."""
        column = getattr(self, name)
        return cells.get(column) if column else None  # a column without a name is "" too

    def used(self) -> list[str]:
        """All columns that are used."""
        names = (getattr(self, name) for name in self.__slots__)
        return [name for name in names if name]


def plain_name(column: str) -> str:
    """A column's name as it is compared: lower case, without spaces around it, `_` for spaces and hyphens in it."""
    return re.sub(r"[\s-]+", "_", column.strip().strip("\ufeff").casefold())


def count_known(columns: Sequence[str], named: Mapping[str, str]) -> int:
    """How many columns of a header are known or named by the user."""
    known = KNOWN | set(map(plain_name, named.values()))
    return len({plain_name(column) for column in columns} & known)


def find_layout(columns: Sequence[str], named: Mapping[str, str]) -> Layout:
    """The layout of a table.

    `named` gives the columns that the user named, by the flag's word: prompt, answer, chosen, rejected. Raises
    UserError if no layout fits, or if a column that is used is there twice.
    """
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(plain_name(column), column)

    def first(names: Sequence[str]) -> str:
        return next((by_name[name] for name in names if name in by_name), "")

    own: dict[str, str] = {}
    for word, column in named.items():
        if plain_name(column) not in by_name:
            raise UserError(f"--{word}-column {column}: there is no such column. It has {_list(columns)}")
        if by_name[plain_name(column)] in own.values():
            raise UserError(f"--{word}-column {column}: another flag names the same column. Each needs its own")
        own[word] = by_name[plain_name(column)]
    chosen, rejected = own.get("chosen") or first(["chosen"]), own.get("rejected") or first(["rejected"])
    if ("chosen" in own or "rejected" in own) and not (chosen and rejected):
        missing = "rejected" if chosen else "chosen"
        raise UserError(f"pairs need a column {missing}; name it with --{missing}-column. It has {_list(columns)}")
    answer = own.get("answer") or first([name for name in ANSWERS if by_name.get(name) != own.get("prompt")])
    prompt = own.get("prompt") or first([name for name in PROMPTS if by_name.get(name) != answer])
    addition = by_name.get("input", "") if prompt and prompt == by_name.get("instruction") else ""
    judged = {"score": first(["score"]), "ended": first(["ended"]), "label": first([LABEL])}
    if chosen and rejected and "answer" not in own:
        layout = Layout(prompt, addition, chosen=chosen, rejected=rejected)
    elif prompt and answer:
        layout = Layout(prompt, addition, answer, **judged)
    elif chat := first(CHATS):
        layout = Layout(chat=chat, **judged)
    else:
        raise UserError(
            f"no layout fits its columns: {_list(columns)}. The first line must name the columns. Layouts: "
            f"{LAYOUTS}. Rename the columns, or name them: --prompt-column NAME --answer-column NAME, or "
            "--prompt-column, --chosen-column and --rejected-column"
        )
    layout = replace(layout, split=first(["split"]), info=first(["dest_shape_info"]), family=first(FAMILIES))
    count = Counter(map(plain_name, columns))
    if repeated := [column for column in layout.used() if count[plain_name(column)] > 1]:
        raise UserError(*(f"{count[plain_name(c)]} columns are named {c!r}; rename all but one" for c in repeated))
    return layout


def _list(columns: Sequence[str]) -> str:
    names = [repr(str(column)[:40]) if str(column).strip() else "(no name)" for column in columns]
    return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
