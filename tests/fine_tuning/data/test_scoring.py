"""Step 1 decides whether style and order are fixed, and later steps score with its decision."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import ROOT

from fine_tuning.data.csv_rows import Row, read_rows
from fine_tuning.data.scoring import Scoring, scoring_of, stored_scoring
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import RunState
from fine_tuning.run.workspace import Workspace

COMMITTED = ROOT / "create_dataset" / "sft_dataset_llm.csv"


def diagram(k: int, numbers: tuple[int, int] = (0, 1)) -> str:
    """Two connected shapes whose colour depends on `k`."""
    first, second = numbers
    return (
        f"[{first}, 150, 300, 'circle', 80, 80, 'solid arrow', ({k}, 0, 0), (0, 0, 0), [{second}]]\n"
        f"[{second}, 450, 300, 'circle', 80, 80, 'solid arrow', ({k}, 0, 0), (0, 0, 0), []]"
    )


def row(answer: str) -> Row:
    return Row("draw it", answer, 1.0, "diagram", {})


ONE_STYLE = [row(diagram(7)) for _ in range(10)]
MANY_STYLES = [row(diagram(k)) for k in range(10)]
NO_ORDER = [row(diagram(7, numbers=(1, 0))) for _ in range(10)]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Options for a workspace with a copy of the committed SFT CSV."""
    workspace = Workspace(tmp_path)
    workspace.sft_csv.parent.mkdir()
    workspace.sft_csv.write_bytes(COMMITTED.read_bytes())
    return Options(model="embedded", workspace=workspace)


def store(options: Options, settings: dict[str, object]) -> None:
    """Write run.json as step 1 does."""
    RunState(options.workspace.sft_model).begin(settings, restart=False)


@pytest.mark.parametrize(
    ("rows", "style_fixed", "order_fixed"),
    [(ONE_STYLE, True, True), (MANY_STYLES, False, True), (NO_ORDER, True, False)],
    ids=["one style", "many styles", "no order"],
)
def test_style_and_order_are_decided_from_the_rows(rows, style_fixed, order_fixed):
    scoring = scoring_of(rows)
    assert (scoring.style_fixed, scoring.order_fixed) == (style_fixed, order_fixed)


def test_the_committed_csv_fixes_style_and_order():
    assert scoring_of(read_rows(COMMITTED, scored=False, remedy="")).settings() == Scoring().settings()
    assert Scoring().settings() == {"style fixed": True, "order fixed": True}


def test_the_facts_for_the_log_say_what_was_decided():
    assert scoring_of(MANY_STYLES).facts == {
        "style": "free: 10 looks, 0 of 20 shapes have one that occurs 5 times or more",
        "order": "fixed: 10 of 10 references with connections number their shapes along the flow",
    }


@pytest.mark.parametrize("style_fixed", [True, False])
@pytest.mark.parametrize("order_fixed", [True, False])
def test_a_stored_decision_is_read_back_whatever_the_csv_says(options, style_fixed, order_fixed):
    decided = Scoring(style_fixed, order_fixed, facts={"style": "decided by step 1"})
    store(options, options.settings() | decided.settings())
    assert stored_scoring(options) == replace(decided, facts=None)


@pytest.mark.parametrize("missing", [{"style fixed", "order fixed"}, {"order fixed"}])
def test_a_run_json_of_an_earlier_version_without_the_decision_takes_it_from_the_csv(options, missing):
    free = Scoring(style_fixed=False, order_fixed=False).settings()
    store(options, {name: value for name, value in (options.settings() | free).items() if name not in missing})
    scoring = stored_scoring(options)
    assert scoring.settings() == {"style fixed": True, "order fixed": True}
    assert scoring.facts is not None and scoring.facts["style"].startswith("fixed: 34 looks")


def test_without_a_run_the_csv_decides(options):
    assert stored_scoring(options).settings() == {"style fixed": True, "order fixed": True}


def test_other_looks_cost_nothing_where_the_rows_leave_the_style_free():
    answer, reference = diagram(1), diagram(2)
    assert scoring_of(MANY_STYLES)(answer, reference).total == 1.0
    assert scoring_of(ONE_STYLE)(answer, reference).total < 1.0


def test_other_numbers_cost_nothing_where_the_rows_leave_the_order_free():
    answer, reference = diagram(7, numbers=(5, 3)), diagram(7)
    assert scoring_of(NO_ORDER)(answer, reference).total == 1.0
    assert scoring_of(ONE_STYLE)(answer, reference).total < 1.0


def test_answers_to_a_csv_with_free_style_are_not_penalised_for_their_look(options):
    path = options.workspace.sft_csv
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["input_data", "output_data"])
        writer.writerows([f"draw it in colour {k}", diagram(k)] for k in range(20))
    scoring = stored_scoring(options)
    scores = [scoring(diagram(k + 100), row.answer) for k, row in enumerate(read_rows(path, scored=False, remedy=""))]
    assert [(score.total, score.style) for score in scores] == [(1.0, 1.0)] * 20
