"""Commands that are the work of one process refuse a launcher with several, in one line and once."""

import pytest
from helpers import contents
from launching import launch


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("ask", ["--model", "embedded", "two boxes"]),
        ("page", ["--model", "embedded"]),
        ("export", ["--model", "embedded", "--to", "merged"]),
        ("import_dataset", ["rows.csv", "--workspace", "w"]),
    ],
)
def test_other_commands_name_themselves_without_the_launcher(environment, script, flags):
    path = f"fine_tuning/{script}.py"
    first, second = launch(2, path, *flags, PYTHONPATH=environment["PYTHONPATH"])
    typed = " ".join(["python", path, *(f"'{flag}'" if " " in flag else flag for flag in flags)])
    said = f"{script}.py is the work of one process, and a launcher has started 2"
    assert first == (2, "", f"error: {said}. Start it without the launcher: {typed}\n")
    assert second == (2, "", "")


def test_run_all_names_the_three_steps_with_the_launcher(environment, tmp_path):
    flags = ["--model", "embedded", "--workspace", str(tmp_path / "w")]
    first, second = launch(2, "fine_tuning/run_all.py", *flags, PYTHONPATH=environment["PYTHONPATH"])
    assert second == (2, "", "") and not contents(tmp_path)
    launched = "torchrun --nproc_per_node 2 fine_tuning/{}.py " + " ".join(flags)
    steps = map(launched.format, ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning"))
    said = "a launcher cannot start the steps through fine_tuning/run_all.py. Start them one by one: "
    assert first == (2, "", f"error: {said}{' && '.join(steps)}\n")
