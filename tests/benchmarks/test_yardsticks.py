"""The yardsticks from outside: examples in the prompt, graphs in DOT, and layouts by Graphviz."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest
from helpers import ROOT, problems_of
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import yardsticks
from benchmarks.few_shot import Turn, answers_after_examples, choose_examples, encode_conversation
from benchmarks.graph_text import MAX_EDGES, kinds_of, read_graph, shapes_of, write_graph
from benchmarks.graphviz_layout import draw_graph, place, place_again, place_all_again
from diagram import Diagram, Node, format, parse, score_diagram
from diagram.nodes import MAX_LINES
from diagram.same_graph import same_graph
from fine_tuning.data.csv_rows import Row, read_rows
from fine_tuning.data.prompt_frame import PromptFrame

needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
LOOK = ("rectangle", 90, 50, "solid arrow", (240, 240, 240), (99, 99, 99))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return read_rows(ROOT / "create_dataset" / "sft_dataset_llm.csv", scored=False, remedy="")


@pytest.fixture(scope="module")
def kinds(rows):
    return kinds_of(row.answer for row in rows)


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(ROOT / "fine_tuning" / "embedded_model")


class CannedDecoder:
    """Gives the same answer to every task."""

    def __init__(self, tokenizer, text: str, positions: int = 2048) -> None:
        self.tokenizer, self.batch_size, self.text = tokenizer, 2, text
        config = SimpleNamespace(max_position_embeddings=positions)
        config.get_text_config = lambda: config
        self.model = SimpleNamespace(config=config)

    def answer_batches(self, batches, temperature, seed):
        from fine_tuning.sampling.generation import Answer

        assert temperature == 0
        for batch in batches:
            yield [Answer(self.text, True, 5) for _ in batch]


def shapes(count: int, *edges: tuple[int, int], width: int = 90, label: str | None = None) -> list[Node]:
    look = (LOOK[0], width, *LOOK[2:])
    return [
        Node(number, 50, 50, *look, tuple(end for start, end in edges if start == number), label)
        for number in range(count)
    ]


# examples


def test_examples_are_short_and_show_all_families_first(rows):
    chosen = choose_examples(rows)
    assert {row.family for row in chosen[:2]} == {row.family for row in rows}
    lengths = sorted(len(row.prompt) + len(row.answer) for row in rows)
    assert all(len(row.prompt) + len(row.answer) < lengths[len(rows) // 2] for row in chosen)


def test_the_third_example_shows_the_most_new_looks():
    def row(number: int, *widths: int) -> Row:
        nodes = tuple(Node(k, 50, 50, "circle", w, 50, *LOOK[3:], ()) for k, w in enumerate(widths))
        return Row("p" * number, format(Diagram(nodes)), 1.0, "a", {}, number)

    chosen = choose_examples([row(number, *widths) for number, widths in enumerate([(10, 10), (10, 20), (10, 30, 40)])])
    assert len(chosen) == 1  # of a quarter of three rows
    many = [row(1, 10), row(2, 20), row(3, 10, 30, 40), *(row(k, *[10] * 9) for k in range(4, 13))]
    assert [row.number for row in choose_examples(many)] == [3, 2, 1]


def test_there_may_be_fewer_rows_than_examples(rows):
    assert choose_examples(rows[:1]) == rows[:1] and choose_examples([]) == []


def test_examples_are_answered_requests_in_the_chat_format(tokenizer):
    from fine_tuning.data.tokens import encode_prompt

    ids = encode_conversation(tokenizer, [Turn("a circle", "[0]")], "a box")
    example = f"### Instruction:\na circle\n### Response:\n[0]\n{tokenizer.eos_token}\n"
    request = "### Instruction:\na box\n### Response:\n"
    assert tokenizer.decode(ids) == f"{tokenizer.bos_token}{example}{request}"
    assert encode_conversation(tokenizer, [], "a box") == encode_prompt(tokenizer, "a box")


def test_a_template_that_takes_no_examples_is_refused_by_name(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{{ raise_exception('one message only') }}")
    assert "takes no examples" in problems_of(encode_conversation, tokenizer, [], "a")[0]


def test_prompts_that_do_not_fit_into_the_context_are_not_answered(tokenizer):
    asked = [Turn("a box", "[0]"), Turn("word " * 300, "[0]"), Turn("a circle", "[0]")]
    found = answers_after_examples(CannedDecoder(tokenizer, "x", 200), [], asked, 1, "title")
    assert [answer and answer.text for answer in found] == ["x", None, "x"]


# graphs


def test_every_committed_graph_survives_being_written_and_read(rows, kinds):
    for row in rows[::5]:
        drawn = shapes_of(read_graph(write_graph(row.answer, kinds)), kinds)
        assert same_graph(drawn, parse(row.answer))


def test_labels_survive_whatever_they_contain(kinds):
    labels = ['say "hi"', "back\\slash", "a -> {b} [c=1];", "그림", "label=x // no comment"]
    text = format(Diagram(tuple(Node(k, 50, 50, *LOOK, (), label) for k, label in enumerate(labels))))
    labelled = kinds_of([text])
    assert [node.label for node in shapes_of(read_graph(write_graph(text, labelled)), labelled).nodes] == labels


@pytest.mark.parametrize(
    ("text", "nodes", "edges"),
    [
        ("digraph G { a -> b -> c; }", ["a", "b", "c"], [("a", "b"), ("b", "c")]),
        ("strict graph { rankdir=LR; node [shape=box] a -- b [label=x] }", ["a", "b"], [("a", "b")]),
        ("digraph { a; a -> {b; c} }", ["a", "b", "c"], [("a", "b"), ("a", "c")]),
        ('digraph { "first shape" -> b:n // x -> y\n/* z */ }', ["first shape", "b"], [("first shape", "b")]),
        ("subgraph cluster_0 { label=x; a }", ["a"], []),
        ("a -> a; a -> b; a -> b", ["a", "b"], [("a", "a"), ("a", "b")]),
        ("0 -> {1 2", ["0", "1", "2"], [("0", "1"), ("0", "2")]),  # cut off
        ("0 ->", ["0"], []),
        ('0 [label="cut', ["0"], []),
        ("", [], []),
    ],
)
def test_dot_is_read_as_graphviz_reads_it_and_what_is_cut_off_as_far_as_it_goes(text, nodes, edges):
    graph = read_graph(text)
    assert list(graph.nodes) == nodes and list(graph.edges) == edges


def test_attributes_belong_to_their_node(kinds):
    graph = read_graph('0 [label="a", kind = database]; 0 [KIND="model"]\n0 -> 1 [label="not a node\'s"]')
    assert graph.nodes == {"0": {"label": "a", "kind": "model"}, "1": {}}


def test_a_kind_gives_the_look_and_an_unknown_kind_the_usual_one(kinds):
    known, unknown = shapes_of(read_graph('a [kind="Database"] b [kind="cloud"]'), kinds).nodes
    assert known.look == kinds.looks["database"] and unknown.look == kinds.usual


def test_a_kind_may_have_words_in_front_of_it(kinds):
    first, second = shapes_of(read_graph('a [kind="product  data"] b [kind="metadata"]'), kinds).nodes
    assert first.look == kinds.looks["data"] and second.look == kinds.usual


def test_a_shape_grows_until_its_label_fits():
    kinds = kinds_of([format(Diagram(tuple(shapes(1, width=40, label="a"))))])
    (node,) = shapes_of(read_graph('a [label="a rather long name of a thing"]'), kinds).nodes
    assert node.width > 40 and score_diagram(format(Diagram((node,))), format(Diagram((node,)))).fits == 1


def test_looks_that_the_house_style_lacks_have_names_of_their_own():
    nodes = [*shapes(1), *shapes(1, width=123)]
    kinds = kinds_of([format(Diagram((nodes[0],))), format(Diagram((nodes[1],)))])
    assert len(kinds.looks) == 2 and all(kinds.looks)


def test_references_without_a_shape_have_no_kinds():
    with pytest.raises(ValueError, match="no shape"):
        kinds_of(["none"])


def test_a_huge_graph_is_read_up_to_a_limit():
    graph = read_graph("\n".join(f"{k} -> {{{' '.join(map(str, range(50)))}}}" for k in range(200)))
    assert len(graph.nodes) == MAX_LINES and len(graph.edges) == MAX_EDGES


@given(st.text(alphabet='ab01 "\\[]{}=->,;:/*\n', max_size=60))
def test_reading_a_graph_never_fails(text):
    graph = read_graph(text)
    assert all(end in graph.nodes for edge in graph.edges for end in edge)


# layouts


@needs_graphviz
def test_a_right_graph_gets_the_full_score(rows, kinds):
    for row in rows[:12]:
        drawn = draw_graph(shapes_of(read_graph(write_graph(row.answer, kinds)), kinds))
        assert score_diagram(drawn, row.answer).total == 1


@needs_graphviz
def test_only_the_places_of_an_answer_change():
    text = format(Diagram(tuple(shapes(3, (0, 1), (1, 2), label="x"))))
    before, after = parse(text).nodes, parse(place_again(text)).nodes
    assert [(n.number, n.label, n.look, n.targets) for n in before] == [
        (n.number, n.label, n.look, n.targets) for n in after
    ]
    assert score_diagram(text, text).apart < 1 and score_diagram(place_again(text), text).apart == 1


@needs_graphviz
def test_lines_that_cannot_be_read_stay_where_they_are():
    first, second = format(Diagram(tuple(shapes(2, (0, 1))))).split("\n")
    lines = place_again(f"Here it is:\n{first}\n\n{second}\n[2, 40").split("\n")
    assert (lines[0], lines[2], lines[4]) == ("Here it is:", "", "[2, 40")
    assert parse("\n".join(lines)).problems == parse(f"Here it is:\n{first}\n\n{second}\n[2, 40").problems


@needs_graphviz
def test_a_graph_that_is_too_large_for_the_canvas_is_pushed_onto_it():
    placed = place(shapes(30, *((k, k + 1) for k in range(29))))
    score = score_diagram(format(Diagram(tuple(placed))), format(Diagram(tuple(placed))))
    assert score.inside == 1


@needs_graphviz
def test_graphviz_runs_for_many_answers_at_once_and_keeps_their_order():
    texts = [format(Diagram(tuple(shapes(count)))) for count in (1, 2, 3, 4)] + ["nothing"]
    assert place_all_again(texts) == [place_again(text) for text in texts]
    assert place_all_again(texts)[-1] == "nothing"


def test_nothing_that_a_model_wrote_reaches_graphviz(monkeypatch):
    given_to = []

    def record(command, **options):
        given_to.append(options["input"])
        return subprocess.CompletedProcess(command, 1, "", "")

    monkeypatch.setattr(subprocess, "run", record)
    place(shapes(2, (0, 1), label='"]; image="/etc/passwd'))
    assert given_to and all("passwd" not in source for source in given_to)


def test_an_answer_for_which_graphviz_takes_too_long_stays_as_it_is(monkeypatch):
    def too_slow(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", too_slow)
    text = format(Diagram(tuple(shapes(2))))
    assert place_again(text) == text and draw_graph(parse(text)) == ""


def test_without_graphviz_a_note_names_the_command_that_installs_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not yardsticks.has_graphviz()
    assert "apt install graphviz" in capsys.readouterr().err
    assert "apt install graphviz" in problems_of(place, shapes(1))[0]


def test_a_graph_with_too_many_connections_is_not_laid_out():
    assert place(shapes(30, *((a, b) for a in range(30) for b in range(30)))) is None


# the yardsticks


def test_the_base_model_with_diagrams_in_its_prompt_is_scored_like_any_other(tokenizer, rows):
    decoder = CannedDecoder(tokenizer, rows[0].answer)
    found = yardsticks.with_diagrams(decoder, rows[5:6], rows[:2], 1, "title", score_diagram)
    assert found.validation.scores[0].total == 1 and found.validation.scores[1].total < 1
    assert found.written == [rows[0].answer] * 2


@needs_graphviz
def test_graphs_are_drawn_before_they_are_scored(tokenizer, rows, kinds):
    graph = write_graph(rows[0].answer, kinds)
    decoder = CannedDecoder(tokenizer, graph)
    frame = PromptFrame("", "\n\nAnswer with one line per shape")
    found = yardsticks.with_graphs(decoder, rows[5:6], rows[:1], 1, "title", score_diagram, frame, kinds)
    assert found.validation.scores[0].total == 1 and found.written == [graph]
    assert parse(found.validation.answers[0].text).nodes


def test_a_model_that_writes_no_graph_scores_nothing(tokenizer, rows, kinds):
    decoder = CannedDecoder(tokenizer, "")
    found = yardsticks.with_graphs(decoder, [], rows[:2], 1, "title", score_diagram, PromptFrame(), kinds)
    assert [score.total for score in found.validation.scores] == [0, 0]


@needs_graphviz
def test_answers_laid_out_again_keep_whether_they_ended(rows):
    found = yardsticks.placed_again(rows[:2], [rows[0].answer, ""], [True, False], score_diagram)
    assert [answer.ended for answer in found.validation.answers] == [True, False]
    assert found.validation.scores[0].total == 1
