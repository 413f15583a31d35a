"""Results are saved by section, and a new result replaces only its own section."""

import json

from benchmarks.report import keep_section, report
from fine_tuning.run.markdown import table


def test_a_section_is_appended_or_replaced_and_all_other_sections_stay(tmp_path):
    path = tmp_path / "RESULTS.md"
    for title, body in (("Memory", "1 GiB"), ("Speed (ORPO)", "2 x"), ("Memory", "3 GiB")):
        keep_section(path, title, body)
    text = path.read_text()
    assert text.startswith("# Results\n")
    assert text.endswith("## Memory\n\n3 GiB\n\n## Speed (ORPO)\n\n2 x\n")


def test_a_report_prints_its_figures_as_the_last_line(capsys):
    report("Memory", "python benchmarks/memory.py", table(["a", "b"], [[1, 2]]), {"peak": 1.5}, record=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.replace(" ", "") for line in lines if line.startswith("| ")] == ["|a|b|", "|1|2|"]
    assert json.loads(lines[-1]) == {"peak": 1.5}
