"""Turn the rows of a table into examples, and say why a row is none."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from diagram import examine_reference, format, parse
from diagram.labels import TOO_LONG
from fine_tuning.data.importing.answers import answer_of
from fine_tuning.data.importing.cells import Refused, is_empty, messages_in, read_chat, text_of
from fine_tuning.data.importing.layouts import Layout, find_layout
from fine_tuning.data.importing.scores import are_labels, check_scale, score_of
from fine_tuning.data.importing.table_files import Table
from fine_tuning.data.importing.words import ENDED, SPLITS
from fine_tuning.data.row import MAX_FAMILY_LENGTH
from fine_tuning.run.errors import about

MAX_FAMILIES = 20  # a column with more different values does not name kinds of diagrams


@dataclass(slots=True)
class Example:
    """One row of a file: a prompt and its answer, with a score, or with a rejected answer, or with neither.

    place   where it comes from, for messages: "row 3", or "data.csv, row 3" if there are several files
    extra   cells of dest_shape_info, ended and split, where the file has them
    """

    place: str
    prompt: str
    answer: str
    score: float | None = None
    rejected: str | None = None
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def split(self) -> str:
        return self.extra.get("split", "")


@dataclass(slots=True)
class Report:
    """What became of the rows: how many were read, which were not taken and why, and how many were mended."""

    rows: int = 0
    fences: int = 0
    texts_around: int = 0
    rewritten: int = 0
    refused: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # kind: places and details
    notes: list[str] = field(default_factory=list)

    def refuse(self, place: str, kind: str, detail: str = "") -> None:
        """Note a row that is not taken."""
        self.refused.setdefault(kind, []).append((place, detail))


def reference_text(text: str) -> tuple[str, str | None]:
    """The text to use as a reference, and why it cannot be one, or None. Flaws of layout are no reason.

    Lines that deviate from the format but have only one meaning, such as one with a comma after it, are written anew:
    otherwise the model would learn the deviation. A label that is too long is not cut: it would lose its meaning.
    """
    fault, _ = examine_reference(text)
    if fault is None:
        return text, None
    diagram = parse(text)
    if any(problem.kind == "unread" or problem.message == TOO_LONG for problem in diagram.problems):
        return text, fault
    exact = format(diagram)
    return (text, fault) if examine_reference(exact).fault else (exact, None)


def examples_of(table: Table, named: Mapping[str, str], report: Report, name: str = "") -> tuple[Layout, list[Example]]:
    """The layout of a table and its examples. Rows that are none go into the report.

    `named` as in `find_layout`; `name` is the file's name, if there are several files. Raises UserError if no layout
    fits.
    """
    with about(table.path):
        layout = find_layout(table.columns, named)
        if layout.label:
            is_score = not layout.score and are_labels(layout.of(cells, "label") for _, cells in table.rows)
            layout = replace(layout, score=layout.label if is_score else layout.score, label="")
        if layout.score:
            scores = [layout.of(cells, "score") for _, cells in table.rows]
            check_scale(scores, layout.score)
            layout = replace(layout, score="") if all(map(is_empty, scores)) else layout
    families = _families(table, layout)
    examples = []
    start = f"{name}, " if name else ""
    report.rows += len(table.rows) + len(table.unread)
    for number, kind in table.unread:
        report.refuse(f"{start}row {number}", *_kind_and_detail(kind))
    for number, cells in table.rows:
        place = f"{start}row {number}"
        try:
            examples.append(_example(place, cells, layout, families, report))
        except Refused as refused:
            report.refuse(place, refused.kind, refused.detail)
    return layout, examples


def _kind_and_detail(text: str) -> tuple[str, str]:
    kind, _, detail = text.partition(" (")
    return kind, detail.removesuffix(")")


def _example(place: str, cells: Mapping[str, Any], layout: Layout, families: set[str], report: Report) -> Example:
    split = _word(layout.of(cells, "split"), SPLITS, "split")
    if split == "test":
        raise Refused("split is test: there is no test set; step 3 validates on held-out prompts")
    prompt, answer, rejected = _texts(cells, layout)
    if not prompt:
        raise Refused("no prompt")
    name = "the chosen answer" if layout.chosen else "the answer"
    score = score_of(layout.of(cells, "score")) if layout.score else None
    is_reference = score in (None, 1)
    read = answer_of(answer, name, text_around=is_reference)
    if not read.text:
        raise Refused(f"{name} is empty")
    extra = {"split": split, "dest_shape_info": _info(cells, layout, families)}
    example = Example(place, prompt, read.text, score, extra=extra)
    fenced = read.fenced
    if layout.chosen:
        # An explanation around both answers is no reason to prefer one of them.
        other = answer_of(rejected, "the rejected answer", text_around=read.surrounded)
        if not other.text:
            raise Refused("the rejected answer is empty")
        example.rejected = other.text
        fenced |= other.fenced
    else:
        extra["ended"] = _word(layout.of(cells, "ended"), ENDED, "ended")
    if is_reference:
        example.answer, reason = reference_text(read.text)
        if reason:
            raise Refused(f"{name} is not a diagram", reason)
    if example.rejected in (read.text, example.answer):
        raise Refused("the chosen and the rejected answer are the same")
    report.rewritten += read.listed or example.answer != read.text
    report.fences += fenced
    report.texts_around += read.surrounded
    return example


def _texts(cells: Mapping[str, Any], layout: Layout) -> tuple[str, object, object]:
    """The prompt as text, and the cells of the answer and of the rejected answer."""
    if layout.chat:
        messages = messages_in(layout.of(cells, "chat"))
        if messages is None:
            raise Refused(f"{layout.chat} is not a list of messages with role and content")
        return *read_chat(messages, layout.chat), None
    prompt, _ = _unpacked(layout.of(cells, "prompt"), "the prompt")
    if not prompt:
        prompt = text_of(layout.of(cells, "prompt"), "the prompt")
    if addition := text_of(layout.of(cells, "addition"), "the input"):
        prompt = f"{prompt}\n\n{addition}".strip()
    if layout.answer:
        return prompt, _unpacked(layout.of(cells, "answer"), "the answer")[1], None
    asked, chosen = _unpacked(layout.of(cells, "chosen"), "the chosen answer")
    asked_rejected, rejected = _unpacked(layout.of(cells, "rejected"), "the rejected answer")
    if asked and asked_rejected and asked != asked_rejected:
        raise Refused("the chosen and the rejected answer are to different prompts")
    return prompt or asked or asked_rejected, chosen, rejected


def _unpacked(cell: object, name: str) -> tuple[str, object]:
    """The prompt and the answer in a cell that holds messages; else no prompt, and the cell."""
    messages = messages_in(cell)
    return ("", cell) if messages is None else read_chat(messages, name)


def _word(cell: object, words: Mapping[str, str], column: str) -> str:
    word = text_of(cell, column).lower()
    if word not in words:
        known = ", ".join(dict.fromkeys(filter(None, words.values())))
        raise Refused(f"{column} is not one of {known}", repr(word[:40]))
    return words[word]


def _info(cells: Mapping[str, Any], layout: Layout, families: set[str]) -> str:
    """The row's dest_shape_info as text; made from its family if it has none."""
    info = layout.of(cells, "info")
    if isinstance(info, dict | list):
        try:
            return json.dumps(info)
        except (TypeError, ValueError):
            return ""
    if not is_empty(info):
        return text_of(info, "dest_shape_info")
    family = layout.of(cells, "family")
    return json.dumps({"task_name": family.strip()}) if isinstance(family, str) and family in families else ""


def _families(table: Table, layout: Layout) -> set[str]:
    """The values of the column that names families; empty if one is too long, or if they are too many."""
    values = [layout.of(cells, "family") for _, cells in table.rows]
    texts = {value for value in values if isinstance(value, str) and value.strip()}
    fit = all(text.strip().isprintable() and len(text.strip()) <= MAX_FAMILY_LENGTH for text in texts)
    return texts if fit and len(texts) <= MAX_FAMILIES else set()
