"""The connections that a flowchart request states are those of its diagram. Requests are read without the generator."""

import re
from collections import Counter
from itertools import pairwise, product

from committed_rows import FLOWCHARTS, edges_of, labels_of, request_of

Edges = set[tuple[int, int]]

# In a request to be read, «3» stands for the name of shape 3.
X = r"«\d+»"
THE_XS = rf"{X}(?:, the {X})*(?: and the {X})?"
XS = rf"{X}(?:, {X})*(?: and {X})?"
ARROW = r" (?:->|=>|-->) "
CHAINS = (
    rf"{X}(?: (?:->|=>|>|-->) {X})+$",
    rf"\bFirst the {X}, (?:then the {X}, )*finally the {X}\.$",
    rf"\bIt goes from the {X} through the {XS} to the {X}\.$",
    rf"\bIn this order: {X}(?:, {X})*\.$",
    rf"(?:\n\d+\. {X})+$",
    rf"(?:\nstep \d+: {X})+$",
    rf"\bIt starts with the {X}, continues with the {XS}, and ends with the {X}\.$",
    rf"\bFrom the {X} to the {X}(?:, from there to the {X})*\.$",
    rf"{X}(?:, then {X})+\. That is all\.$",
)
BACK = re.compile(
    rf" (?:From the ({X}) an arrow goes back to|From the ({X}) there is a way back to"
    rf"|There is also a loop from the ({X}) to|If something is wrong, go from the ({X}) back to"
    rf"|Add an arrow from the ({X}) back to) the ({X})\."
)
SIGN = r"[A-Ta-t]|\d+"


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"«(\d+)»", text)]


def with_numbers(row: dict[str, str]) -> str:
    """The request with «k» in place of the name of shape k."""
    numbers = {label: number for number, label in enumerate(labels_of(row))}
    return re.sub(
        rf"(?<!\w)({'|'.join(map(re.escape, numbers))})(?!\w)", lambda name: f"«{numbers[name[0]]}»", request_of(row)
    )


def stated(text: str) -> tuple[str, Edges]:
    """The form of a flowchart request, and the connections that it states."""
    back = {(numbers_in("".join(filter(None, found)))[0], numbers_in(found[-1])[0]) for found in BACK.findall(text)}
    text = BACK.sub("", text)
    form, edges = _stated_forward(text)
    return f"{form}, then back" if back else form, edges | back


def _stated_forward(text: str) -> tuple[str, Edges]:
    lines = text.split("\n")[1:]
    if lines and all(re.fullmatch(rf"{X}(?:{ARROW}{X})+", line) for line in lines):
        return "paths", {edge for line in lines for edge in pairwise(numbers_in(line))}
    for chain in CHAINS:
        if found := re.search(chain, text):
            return "chain", set(pairwise(numbers_in(found[0])))
    if re.fullmatch(r"from \| to|source \| target|\| from \| to \|", "".join(lines[:1])):
        return "table", {_pair(line, rf"\|? ?({X}) \| ({X})(?: \|)?") for line in lines[1:]}
    if lines[:1] == ["digraph {"] and lines[-1] == "}":
        return "digraph", {_pair(line, rf'  "({X})" -> "({X})";') for line in lines[1:-1]}
    if lines[:1] == ["graph"]:
        ids = dict(re.findall(rf"^  (\w+)\[({X})\]$", text, re.MULTILINE))
        links = re.findall(r"^  (\w+) --> (\w+)$", text, re.MULTILINE)
        assert len(ids) + len(links) == len(lines) - 1, text
        return "graph", {(numbers_in(ids[a])[0], numbers_in(ids[b])[0]) for a, b in links}
    if lines and re.match(r'(?:connect|edge|add_edge)\("', lines[0]):
        return "calls", {_pair(line, rf'\w+\("({X})", "({X})"\)') for line in lines}
    if lines[:1] == ["steps:"]:
        return "notes", _notes(lines[1:])
    if lines and lines[0].startswith("- "):
        return "bullets", _bullets(lines)
    if lines and re.match(rf"(?:{SIGN})(?:: |\) | = )«", lines[0]):
        return "letters", _letters(lines)
    if found := re.search(r"(?:Connections:|Arrows:|Connect|Links:) (.*)\.$", text):
        return "shapes, then arrows", {edge for part in found[1].split("; ") for edge in _from_first(part)}
    return _sentences(text)


def _pair(line: str, pattern: str) -> tuple[int, int]:
    found = re.fullmatch(pattern, line)
    assert found, line
    return numbers_in(found[1])[0], numbers_in(found[2])[0]


def _from_first(text: str) -> Edges:
    first, *others = numbers_in(text)
    return {(first, other) for other in others}


def _notes(lines: list[str]) -> Edges:
    edges: Edges = set()
    name = -1
    for line in lines:
        if found := re.fullmatch(rf"  - (?:name|step|id): ({X})", line):
            name = numbers_in(found[1])[0]
        else:
            assert re.fullmatch(rf"    (?:needs|after|inputs): \[{X}(?:, {X})*\]", line), line
            edges |= {(source, name) for source in numbers_in(line)}
    return edges


def _bullets(lines: list[str]) -> Edges:
    edges: Edges = set()
    for line in lines:
        assert re.fullmatch(rf"- {X}(?: \((?:from|after|input:|needs) {XS}\))?", line), line
        edges |= {(source, target) for target, source in _from_first(line)}
    return edges


def _letters(lines: list[str]) -> Edges:
    *listed, arrows = lines
    number = {line.split(":")[0].split(")")[0].split(" =")[0]: numbers_in(line)[0] for line in listed}
    edges: Edges = set()
    source = ""
    for start, end in re.findall(rf"\b({SIGN})(?: -> | to | --> )|\b({SIGN})\b", arrows):
        source = start or source
        if end:
            edges.add((number[source], number[end]))
    return edges


def _sentences(text: str) -> tuple[str, Edges]:
    """A sentence that begins with a lead, such as "Then", names a shape and its sources, others sources and targets."""
    edges: Edges = set()
    form = "sentences"
    for lead, first, others in re.findall(rf"(?:\b(Then|Next|After that|Finally) the|\bThe) ({THE_XS})([^.]*)\.", text):
        targets, sources = (first, others) if lead else (others, first)
        form = "steps" if lead else form
        edges |= set(product(numbers_in(sources), numbers_in(targets)))
    return form, edges


def test_the_connections_that_a_flowchart_request_states_are_those_of_its_diagram():
    forms: Counter[str] = Counter()
    for row in FLOWCHARTS:
        form, edges = stated(with_numbers(row))
        assert edges == set(edges_of(row)), request_of(row)
        forms[form] += 1
    assert len(FLOWCHARTS) == 540
    plain = ("chain", "table", "digraph", "graph", "calls", "notes", "bullets", "paths", "letters",
             "shapes, then arrows", "steps", "sentences")  # fmt: skip
    assert min(forms[form] for form in plain) >= 8, forms
    assert sum(count for form, count in forms.items() if form.endswith("then back")) >= 40, forms


def test_no_name_of_a_flowchart_is_a_part_of_another_one():
    for row in FLOWCHARTS:
        labels = labels_of(row)
        for a, b in product(labels, labels):
            assert a is b or f" {a} " not in f" {b} ", request_of(row)
