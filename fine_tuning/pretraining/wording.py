"""The flowchart requests that the embedded model is pre-trained on. No prompt is the same as one of the CSVs.

They share the graphs, the topics and nouns of names, and many verbs and phrases with the requests of the CSVs. They
differ in the requests as a whole and in how topics and nouns are combined. The names in a request are marked
(mentions.py).
"""

from collections.abc import Callable
from random import Random
from typing import cast

import networkx as nx

from create_dataset.graphs import FORMS, flowchart
from create_dataset.names import FIELDS, KIND_OF_NOUN
from create_dataset.wording import NUMBER_WORDS, enumerate_words
from fine_tuning.pretraining.mentions import mark, renumber, shapes_in

TOPICS = tuple(
    dict.fromkeys(topic for kinds in FIELDS.values() for _, topics, _ in kinds.values() for topic in topics.split())
)
NOUNS = tuple(KIND_OF_NOUN)
_SYLLABLES = (
    "ba be ci co da di fe fo ga go ha hi ja ke ki la lo ma mi na no pa pe ra ri sa se ta to va ve wi zo".split()  # noqa: SIM905
)
OPENERS = (
    "Picture this:", "A chart of shapes.", "Turn this into a diagram.", "Lay this out.", "Shapes wanted:",
    "As a diagram:", "Draw", "Please sketch", "Show", "Make", "I need", "Can you draw", "Here is a flow.",
    "Flowchart of", "A diagram of",
    "For my slides,", "I would like to see", "Here is what our pipeline does:", "Sketch the following system.",
)  # fmt: skip
_DOWN = (
    "downward,",
    "as a column",
    "one below the other",
    "top to bottom",
    "upright",
    "in portrait format",
    "vertical",
)
_RIGHT = ("as a row", "side by side", "left to right", "in landscape format", "from left to right", "horizontal")
_AFTER = (
    "takes", "reads", "uses", "gets", "follows", "receives", "is fed by", "comes after", "depends on", "needs", "wants",
    "is made from", "is built on", "stands behind", "draws on", "listens to",
)  # fmt: skip
_BEFORE = (
    "feeds", "goes to", "leads to", "points to", "passes on to", "is followed by", "is connected to", "sends to",
    "gives to", "serves", "fills", "calls", "writes to", "starts", "triggers", "flows into",
)  # fmt: skip
_MEET = (
    "feed", "lead to", "meet in", "come together in", "run into", "end in", "join", "flow into", "are merged into",
    "are collected by", "go on to", "connect to",
)  # fmt: skip
_DONE = (
    "kept by", "sent along to", "drawn in", "checked by", "copied to", "handled by", "passed to", "mixed into",
    "loaded into", "handed over to", "used by", "written to", "read by", "put into", "split by", "followed by",
)  # fmt: skip
_AGAIN = (
    "One arrow returns from {} to {}", "And from {} back to {}", "Then repeat: {} to {}", "A way from {} to {} again",
    "On failure, {} goes back to {}", "A feedback loop runs from {} to {}",
)  # fmt: skip
_LEAD = ("Then", "Next", "After that", "Finally", "Also", "Now", "Later", "Second", "And then")
_SOURCE = (
    "First comes", "It starts with", "We begin with", "There is also", "Another source is", "Add", "Take", "Given",
)  # fmt: skip


def framed(rng: Random, body: str, down: bool | None) -> str:
    """Put an opening before the request, and where it runs, if `down` is not None, before or behind it."""
    parts = [rng.choice(OPENERS), body]
    if down is not None:
        parts.insert(rng.randrange(3), rng.choice(_DOWN if down else _RIGHT))
    return " ".join(parts) + rng.choice((".", "", "", "?", ", please."))


def in_words(rng: Random, value: int) -> str:
    """Write a number as a word or as digits."""
    return str(value) if value >= len(NUMBER_WORDS) or rng.random() < 0.5 else NUMBER_WORDS[value]


def flow(rng: Random, more_forms: bool = False) -> tuple[str, nx.DiGraph]:
    """Return a marked request for a flowchart, and its graph, numbered in the order in which the request names shapes.

    Each node has a `kind` and the `name` that the request uses. With `more_forms`, half of the requests are in other
    forms, such as sentences with several sources, and sentences about loops at the end.
    """
    graph = flowchart(rng, rng.choice(FORMS))
    _name_shapes(rng, graph)
    counted = f"{in_words(rng, len(graph))} shapes: " if rng.random() < 0.2 else ""
    is_chain = not graph.graph["back"] and max(graph.out_degree(number) for number in graph) == 1
    is_chain = is_chain and max(graph.in_degree(number) for number in graph) == 1
    form = rng.choice((_arrows, _arrows, _sentences, _sentences, _table, _forward, _pairs, _mapping))
    if is_chain and rng.random() < 0.6:
        form = _chain
    elif more_forms and rng.random() < 0.5:
        form = rng.choice((_merged, _merged, _merged, _told, _told, _looped, _paths, _two_lines, _ids))
    return _renumbered(counted + form(rng, graph), graph)


def _name_shapes(rng: Random, graph: nx.DiGraph) -> None:
    """Give each node a `kind` and a `name`: a noun after one topic (75 % of the draws), none (12.5 %) or two (12.5 %).

    A fifth of the topics are words that do not exist. No name is equal to another one or the end of one.
    """
    names: list[str] = []
    for number in graph:
        while True:
            topics = [_word(rng) for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 1, 2)))]
            noun = rng.choice(NOUNS)
            name = " ".join([*topics, noun])
            if not any(f" {a}".endswith(f" {b}") for other in names for a, b in ((other, name), (name, other))):
                break
        names.append(name)
        graph.nodes[number].update(kind=KIND_OF_NOUN[noun], name=name)


def _word(rng: Random) -> str:
    if rng.random() < 0.8:
        return rng.choice(TOPICS)
    word = "".join(rng.choices(_SYLLABLES, k=rng.randint(1, 3)))
    return word.upper() if rng.random() < 0.2 else word


def _renumbered(text: str, graph: nx.DiGraph) -> tuple[str, nx.DiGraph]:
    """Number the shapes in the order in which the marked text mentions them first."""
    order = shapes_in(text)
    number = {old: new for new, old in enumerate(order)}
    renumbered: nx.DiGraph[int] = nx.DiGraph()
    renumbered.add_nodes_from((number[old], graph.nodes[old]) for old in order)
    renumbered.add_edges_from((number[start], number[end]) for start, end in graph.edges)
    renumbered.graph["unmarked"] = graph.graph.get("unmarked", False)
    return renumber(text, number), renumbered


def _named(graph: nx.DiGraph, shape: int, source: int | None = None, target: int | None = None) -> str:
    return mark(graph.nodes[shape]["name"], shape, source, target)


def _chain(rng: Random, graph: nx.DiGraph) -> str:
    names = [_named(graph, number) for number in nx.topological_sort(graph)]
    form = rng.randrange(4)
    if form == 0:
        return "\n" + "\n".join(f"{k}{rng.choice(')/')} {name}" for k, name in enumerate(names, rng.randint(0, 1)))
    if form == 1:
        return f"start at the {names[0]}, go on with the {', the '.join(names[1:-1])}, end at the {names[-1]}"
    return rng.choice((" -> ", ", then ", " => ", ", ", " to ", " > ", ", then the ", " | ")).join(names)


def _arrows(rng: Random, graph: nx.DiGraph) -> str:
    """All shapes, then arrows between their names, or between letters that label them."""
    marks = rng.choice(("ABCDEFGHIJKLMNOPQRST", "abcdefghijklmnopqrst", [str(k) for k in range(1, 21)], None))
    letters: dict[int, str] = {}

    def label(shape: int, source: int | None = None) -> str:
        return mark(letters[shape], shape, source) if letters else _named(graph, shape, source)

    after_letter = rng.choice((": ", " = ", ") "))
    order = list(graph)
    if rng.random() < 0.3:
        rng.shuffle(order)
    if marks:
        letters = {number: marks[k] for k, number in enumerate(order)}
    listed = [f"{label(number)}{after_letter}" * bool(letters) + _named(graph, number) for number in order]
    arrow = rng.choice((" -> ", " to ", " => ", " into ", " > "))
    arrows = [
        f"{label(a)}{arrow}{enumerate_words([label(b, source=a) for b in sorted(graph.successors(a))])}"
        for a in graph
        if graph.out_degree(a)
    ]
    return (
        rng.choice((", ", "\n", "; ")).join(listed)
        + rng.choice((". ", "\n", ". Links: "))
        + rng.choice((", ", "; ", "\n")).join(arrows)
    )


def _sentences(rng: Random, graph: nx.DiGraph) -> str:
    article = rng.choice(("the ", "the ", "", "a "))
    after, before = rng.choice(_AFTER), rng.choice(_BEFORE)
    parts = []
    if rng.random() < 0.3:
        parts.append(", ".join(_named(graph, number) for number in graph))
        parts += _leading_to(graph, article, before)
    else:
        for number in graph:
            sources = [article + _named(graph, source, target=number) for source in sorted(graph.predecessors(number))]
            lead = rng.choice(_LEAD if sources else _SOURCE)
            parts.append(
                f"{lead} {article}{_named(graph, number)}" + (f" {after} {enumerate_words(sources)}" if sources else "")
            )
    return rng.choice((". ", "; ", ".\n")).join(parts) + "."


def _table(rng: Random, graph: nx.DiGraph) -> str:
    word = rng.choice(("from", "after", "input:", "<-", "behind", "fed by"))
    opening, closing = rng.choice(((" (", ")"), (", ", ""), (" ", "")))
    lines = []
    for number in graph:
        sources = [_named(graph, source, target=number) for source in sorted(graph.predecessors(number))]
        lines.append(
            _named(graph, number) + (f"{opening}{word} {enumerate_words(sources)}{closing}" if sources else "")
        )
    bullet = rng.choice(("- ", "* ", "", "+ "))
    return "\n" + "\n".join(bullet + line for line in lines)


def _forward(rng: Random, graph: nx.DiGraph) -> str:
    article, before = rng.choice(("the ", "the ", "", "a ")), rng.choice(_BEFORE)
    return rng.choice((". ", "; ", ".\n")).join(_leading_to(graph, article, before)) + "."


def _leading_to(graph: nx.DiGraph, article: str, before: str) -> list[str]:
    """Return a text such as "A feeds B and C" for each shape with outgoing connections."""
    return [
        f"{article}{_named(graph, number)} {before} "
        + enumerate_words([article + _named(graph, end, source=number) for end in sorted(graph.successors(number))])
        for number in graph
        if graph.out_degree(number)
    ]


def _pairs(rng: Random, graph: nx.DiGraph) -> str:
    """One connection per line."""
    opening, arrow, closing = rng.choice((
        ("", " -> ", ""), ("", " => ", ""), ("", ", ", ""), ("* ", " to ", ""), ('"', '" --> "', '"'),
        ("(", ", ", ")"), ("link ", " with ", ""), ('arrow("', '", "', '")'), ("", "\t", ""),
    ))  # fmt: skip
    return "\n" + "\n".join(
        f"{opening}{_named(graph, a)}{arrow}{_named(graph, b, source=a)}{closing}" for a, b in graph.edges
    )


def _mapping(rng: Random, graph: nx.DiGraph) -> str:
    """For each shape the list of its targets, or of its sources."""
    lines = []
    before, between, after = rng.choice((("[", ", ", "]"), ("", " + ", ""), ("", ", ", ""), ('["', '", "', '"]')))
    if rng.random() < 0.5:
        for a in graph:
            if targets := [_named(graph, b, source=a) for b in sorted(graph.successors(a))]:
                lines.append(f"{_named(graph, a)}: {before}{between.join(targets)}{after}")
    else:
        word = rng.choice((" <- ", " from ", " = "))
        for b in graph:
            if sources := [_named(graph, a, target=b) for a in sorted(graph.predecessors(b))]:
                lines.append(f"{_named(graph, b)}{word}{before}{between.join(sources)}{after}")
    return "\n" + "\n".join(lines)


def _looped(rng: Random, graph: nx.DiGraph) -> str:
    """All forward connections, then one sentence for each that leads back."""
    return _with_loops(rng, graph, rng.choice((_sentences, _forward)))


def _merged(rng: Random, graph: nx.DiGraph) -> str:
    """One sentence for each shape with incoming connections: its sources together, then the shape.

    The names are marked without their connections: at a source, its target is not known yet.
    """
    article, meet = rng.choice(("the ", "the ", "")), rng.choice(_MEET)
    graph.graph["unmarked"] = True

    def sentences(rng: Random, graph: nx.DiGraph) -> str:
        parts = []
        for number in graph:
            if sources := [article + _named(graph, source) for source in sorted(graph.predecessors(number))]:
                parts.append(f"{enumerate_words(sources)} {meet} {article}{_named(graph, number)}")
        return ". ".join(parts)

    return _with_loops(rng, graph, sentences, states=False)


def _told(rng: Random, graph: nx.DiGraph) -> str:
    """As _forward, with another verb for each target."""
    article, verb = rng.choice(("the ", "the ", "")), rng.choice(("is", "are", "gets", "will be"))

    def sentences(rng: Random, graph: nx.DiGraph) -> str:
        parts = []
        for number in graph:
            ends = [
                f"{rng.choice(_DONE)} {article}{_named(graph, end, source=number)}"
                for end in sorted(graph.successors(number))
            ]
            if ends:
                parts.append(f"{article}{_named(graph, number)} {verb} {enumerate_words(ends)}")
        return ". ".join(parts)

    return _with_loops(rng, graph, sentences)


def _with_loops(
    rng: Random, graph: nx.DiGraph, body: Callable[[Random, "nx.DiGraph[int]"], str], states: bool = True
) -> str:
    """The text of `body` for the forward connections, then sentences for those that lead back.

    `states` tells whether marks state connections.
    """
    back = graph.graph["back"]
    forward = cast("nx.DiGraph[int]", nx.restricted_view(graph, [], back))
    sentences = [
        rng.choice(_AGAIN).format(_named(graph, a), _named(graph, b, source=a if states else None)) for a, b in back
    ]
    return ". ".join([body(rng, forward).removesuffix("."), *sentences])


def _paths(rng: Random, graph: nx.DiGraph) -> str:
    """Lines such as "a > b > c" that cover every connection once."""
    arrow = rng.choice((" > ", " -> ", " to ", ", then ", " | ", " >> "))
    left = {number: sorted(graph.successors(number)) for number in graph}
    lines = []
    for number in graph:
        while left[number]:
            at, path = number, [_named(graph, number)]
            while left[at]:
                end = left[at].pop(0)
                path.append(_named(graph, end, source=at))
                at = end
            lines.append(arrow.join(path))
    return "\n" + "\n".join(lines)


def _two_lines(rng: Random, graph: nx.DiGraph) -> str:
    """Each shape, and in a line of its own what it gets."""
    shape, gets = rng.choice((("shape", "source"), ("- box", "from"), ("part:", "input:"), ("* task:", "uses:")))
    opening, closing = rng.choice((("[", "]"), ("", "")))
    lines = []
    for number in graph:
        lines.append(f"{shape} {_named(graph, number)}")
        if sources := [_named(graph, source, target=number) for source in sorted(graph.predecessors(number))]:
            lines.append(f"    {gets} {opening}{', '.join(sources)}{closing}")
    return "\n" + "\n".join(lines)


def _ids(rng: Random, graph: nx.DiGraph) -> str:
    """Each shape with an id such as v3, then the connections between the ids."""
    letter, first = rng.choice("bknqsvwx"), rng.randint(0, 1)
    opening, closing = rng.choice((("(", ")"), ("[", "]"), (' "', '"'), (": ", "")))
    arrow = rng.choice((" -> ", " --> ", " to ", " - "))
    lines = [
        f"{mark(f'{letter}{number + first}', number)}{opening}{_named(graph, number)}{closing}" for number in graph
    ]
    lines += [
        f"{mark(f'{letter}{a + first}', a)}{arrow}{mark(f'{letter}{b + first}', b, source=a)}" for a, b in graph.edges
    ]
    return "\n" + "\n".join(lines)
