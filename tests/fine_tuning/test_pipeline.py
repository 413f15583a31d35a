"""The three steps as a user starts them, with the embedded model and a few rows."""

import csv
import json
import re
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import EMBEDDED_RUN, ORPO_CSV, ROOT, SFT_CSV, STEP_1, STEP_2, STEP_3, rows_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from create_dataset.create_dataset import INSTRUCTION
from diagram import parse
from diagram.drawio import drawio
from diagram.pictures import picture_bytes
from diagram.svg import svg
from fine_tuning.data.prompt_frame import PromptFrame
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.files import sha256
from fine_tuning.web.answering import answer
from fine_tuning.web.asked import Asked
from fine_tuning.web.tuned import TunedModel

ASK = "fine_tuning/ask.py"
REPORTED = ("--report-to", "tensorboard")
SEVERAL = {"top": 2, "samples": 3, "seed": 7}
ROWS = 24  # 72 samples: more than one batch
OURS = PromptFrame("", f"\n\n{INSTRUCTION}")
LOGS = ("log_train_final_sft", "log_create_orpo_dataset", "log_train_final_orpo")


def command(script: str, workspace: Path, *flags: str) -> list[str]:
    return [script, *EMBEDDED_RUN, str(workspace), "--max-rows", str(ROWS), *flags]


def started(script: str, workspace: Path, *flags: str) -> subprocess.Popen:
    """A step as a process of its own, which can be killed."""
    words = [sys.executable, *command(script, workspace, *flags)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def run_all(workspace: Path) -> subprocess.CompletedProcess:
    words = [sys.executable, *command("fine_tuning/run_all.py", workspace)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")


def last_json(text: str) -> dict:
    return json.loads(text.splitlines()[-1])


def kill_when(process: subprocess.Popen, happened) -> None:
    """Kill a run, as a power cut would, as soon as something has happened."""
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workspace, with a space and Korean letters in its path, after run_all."""
    workspace = tmp_path_factory.mktemp("runs") / "내 diagrams"
    done = run_all(workspace)
    assert done.returncode == 0, done.stderr
    return workspace, last_json(done.stdout)


def test_training_lowers_the_loss(finished):
    workspace, _ = finished
    epochs = json.loads((workspace / "log" / "log_train_final_sft.json").read_text("utf-8"))["Loss by epoch"]
    assert epochs[-1]["training loss"] < 0.8 * epochs[0]["training loss"]
    assert epochs[-1]["validation loss"] < epochs[0]["validation loss"]


def test_after_training_most_answers_end_by_themselves(finished):
    # Few rows are enough for this. They are not enough to unlearn the lists that the base model also writes.
    _, figures = finished
    assert figures["sft_fine_tuning"]["validation ended by itself"] > 0.5


def test_step_2_appends_three_scored_samples_per_prompt_and_keeps_the_references(finished):
    workspace, _ = finished
    committed = rows_of(ORPO_CSV)
    *references, first = rows_of(workspace / "create_dataset" / "orpo_dataset_llm.csv")[:201]
    assert references == [row | {"ended": ""} for row in committed] and first["ended"] in ("true", "false")
    samples = rows_of(workspace / "create_dataset" / "orpo_dataset_llm.csv")[200:]
    assert len(samples) == 3 * ROWS
    prompts = [row["input_data"] for row in samples]
    assert {prompts.count(prompt) for prompt in prompts} == {3}
    assert all(0 <= float(row["score"]) <= 1 for row in samples)
    assert len({row["output_data"] for row in samples}) > ROWS


def test_logs_contain_result_settings_data_machine_and_pictures(finished):
    workspace, figures = finished
    for name, step in zip(LOGS, figures, strict=False):
        stored = json.loads((workspace / "log" / f"{name}.json").read_text("utf-8"))
        markdown = (workspace / "log" / f"{name}.md").read_text("utf-8")
        assert stored["Result"] == figures[step]
        for section in ("Result", "Settings", "Data", "Machine"):
            assert f"## {section}\n" in markdown and stored[section]
        pictures = [line.split("](")[1].rstrip(")") for line in markdown.splitlines() if line.startswith("![")]
        assert len(pictures) == 2
        for picture in pictures:
            assert (workspace / "log" / picture).read_bytes().startswith(b"\x89PNG")


def test_logs_open_with_the_verdict_then_the_plot_then_the_contact_sheet(finished):
    workspace, _ = finished
    for name, plot, sheet in zip(
        LOGS, ("loss", "scores", "loss"), ("validation", "samples", "validation"), strict=True
    ):
        opening = (workspace / "log" / f"{name}.md").read_text("utf-8").split("\n## ")[0]
        title, verdict, *pictures = opening.strip().split("\n\n")
        assert title.startswith("# ") and all(line.startswith("- ") for line in verdict.splitlines())
        assert 4 <= len(verdict.splitlines()) <= 5 and "peak memory" in verdict
        assert pictures == [f"![Plot]({name}_{plot}.png)", f"![Contact sheet]({name}_{sheet}.png)"]


def test_no_measured_figure_is_in_two_tables_of_a_log(finished):
    workspace, _ = finished
    for name in LOGS:
        _, *sections = (workspace / "log" / f"{name}.md").read_text("utf-8").split("\n## ")
        figures = [set(re.findall(r"\| +(-?\d+\.\d{3,}) ", section)) for section in sections]
        shown_twice = {figure for k, some in enumerate(figures) for other in figures[:k] for figure in some & other}
        assert not {figure for figure in shown_twice if len(figure.strip("-0.")) > 4}  # a short one may occur by chance


def test_the_orpo_log_shows_both_adapters_on_the_same_prompts(finished):
    workspace, _ = finished
    stored = json.loads((workspace / "log" / "log_train_final_orpo.json").read_text("utf-8"))
    before, after = stored["Validation"]
    assert (before["model"], after["model"]) == ("after SFT", "after ORPO")
    assert before["prompts"] == after["prompts"] == stored["Data"]["held-out prompts that are answered"]
    assert stored["Data"]["training pairs"] > 0 and stored["Data"]["validation pairs"] > 0


def test_the_adapters_are_peft_folders_without_local_paths(finished):
    workspace, _ = finished
    for name in ("sft", "orpo"):
        folder = workspace / "models" / name
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "embedded" and config["peft_type"] == "LORA"
        assert (folder / "adapter_model.safetensors").stat().st_size > 0 and (folder / "tokenizer.json").exists()
        for path in folder.glob("*.[jm][sd]*"):
            assert str(ROOT) not in path.read_text("utf-8"), path


def test_orpo_trains_the_adapter_of_step_1_further(finished):
    from safetensors.torch import load_file

    workspace, _ = finished
    sft, orpo = (load_file(workspace / "models" / name / "adapter_model.safetensors") for name in ("sft", "orpo"))
    assert sft.keys() == orpo.keys()
    moved = sum(float((orpo[key] - sft[key]).norm()) for key in sft) / sum(float(sft[key].norm()) for key in sft)
    assert 0 < moved < 0.5


def test_a_finished_run_is_reported_and_not_changed(finished):
    workspace, figures = finished
    before = content(workspace)
    again = run_all(workspace)
    assert again.returncode == 0 and again.stdout.count("is done") == 3
    assert {name: last_json(again.stdout)[name] for name in figures if name != "wall seconds"} == {
        name: value for name, value in figures.items() if name != "wall seconds"
    }
    assert content(workspace) == before


def test_another_seed_is_refused_with_restart_as_the_remedy(finished, forked):
    workspace, _ = finished
    before = content(workspace)
    for script in (STEP_1, STEP_2):
        refused = forked.run(*command(script, workspace, "--seed", "7"))
        assert refused.returncode == 2 and "seed" in refused.stderr and "--restart" in refused.stderr
    assert content(workspace) == before


def test_samples_of_another_adapter_are_refused(finished, forked, tmp_path):
    workspace, _ = finished
    shutil.copytree(workspace, tmp_path / "copy")
    adapter = tmp_path / "copy" / "models" / "sft" / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"\0")
    for script in (STEP_2, STEP_3):
        refused = forked.run(*command(script, tmp_path / "copy"))
        assert refused.returncode == 2 and "--restart" in refused.stderr


def test_training_killed_while_saving_continues_to_the_same_adapter(finished, forked, tmp_path):
    workspace, _ = finished
    process = started(STEP_1, tmp_path / "w", *REPORTED)
    checkpoints = tmp_path / "w" / "models" / "sft" / "checkpoints"
    kill_when(process, lambda: list(checkpoints.glob("checkpoint-*/whole.json")))
    whole = next(path.parent for path in checkpoints.glob("checkpoint-*/whole.json"))
    for name in ("checkpoint-60", "checkpoint-70"):  # as a kill leaves them: one without its state, one empty
        (checkpoints / name).mkdir()
    shutil.copy(whole / "adapter_model.safetensors", checkpoints / "checkpoint-60")
    resumed = forked.run(*command(STEP_1, tmp_path / "w", *REPORTED))
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count(": it is incomplete") >= 2 and f"continuing from {whole}" in resumed.stdout
    adapter = Path("models") / "sft" / "adapter_model.safetensors"
    assert (tmp_path / "w" / adapter).read_bytes() == (workspace / adapter).read_bytes()
    history = json.loads((tmp_path / "w" / "log" / "log_train_final_sft.json").read_text("utf-8"))["history"]
    reader = EventAccumulator(str(tmp_path / "w" / "log" / "tensorboard" / "sft"), size_guidance={"scalars": 0})
    shown = [(event.step, pytest.approx(event.value)) for event in reader.Reload().Scalars("loss")]
    assert [(row["step"], row["loss"]) for row in history] == shown


def test_sampling_killed_after_a_batch_continues_to_the_same_csv(finished, forked, tmp_path):
    workspace, _ = finished
    csv_path = Path("create_dataset") / "orpo_dataset_llm.csv"
    shutil.copytree(workspace / "models" / "sft", tmp_path / "w" / "models" / "sft")
    process = started(STEP_2, tmp_path / "w")
    committed = ORPO_CSV.stat().st_size + len(",ended") + 200 * len(",")
    path = tmp_path / "w" / csv_path
    kill_when(process, lambda: path.exists() and path.stat().st_size > committed)
    with open(path, "ab") as file:  # an incomplete row, as a power cut leaves it
        file.write(b'"Draw a flowch')
    resumed = forked.run(*command(STEP_2, tmp_path / "w"))
    assert resumed.returncode == 0 and "cut off" in resumed.stdout, resumed.stderr
    assert path.read_bytes() == (workspace / csv_path).read_bytes()


def test_a_prompt_too_long_to_train_on_is_counted_and_not_sampled(finished, forked, tmp_path):
    workspace, _ = finished
    shutil.copytree(workspace / "models" / "sft", tmp_path / "w" / "models" / "sft")
    data = tmp_path / "w" / "create_dataset"
    data.mkdir()
    shutil.copy(SFT_CSV, data)
    rows = rows_of(ORPO_CSV)[:12]
    rows[4]["input_data"] = "price " * 2000 + rows[4]["input_data"]
    with open(data / "orpo_dataset_llm.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    done = forked.run(*command(STEP_2, tmp_path / "w"))
    assert done.returncode == 0, done.stderr
    samples = rows_of(data / "orpo_dataset_llm.csv")[12:]
    assert len(samples) == 3 * 11 and rows[4]["input_data"] not in {row["input_data"] for row in samples}
    stored = json.loads((tmp_path / "w" / "log" / "log_create_orpo_dataset.json").read_text("utf-8"))["Data"]
    assert stored["prompts sampled"] == 11 and stored["prompts left out (too long, or with a special token)"] == 1


def test_every_sample_has_problems_or_a_positive_score(finished):
    workspace, _ = finished
    for row in rows_of(workspace / "create_dataset" / "orpo_dataset_llm.csv")[200:]:
        diagram = parse(row["output_data"])
        assert diagram.problems or float(row["score"]) > 0


def test_ask_draws_the_picture_even_if_nobody_reads_its_output(finished, tmp_path):
    workspace, _ = finished
    picture = tmp_path / "그림 1.png"
    ask = [sys.executable, ASK, *EMBEDDED_RUN, str(workspace), "--output", str(picture), "sales data -> price model"]
    process = subprocess.Popen(ask, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read() and process.wait() == 141
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_whether_a_sample_ended_is_in_a_column_and_makes_the_figure(finished):
    workspace, figures = finished
    samples = rows_of(workspace / "create_dataset" / "orpo_dataset_llm.csv")[200:]
    share = sum(row["ended"] == "true" for row in samples) / len(samples)
    assert figures["orpo_create_dataset"]["ended by itself"] == round(share, 4)
    assert "ended" not in json.loads(samples[0]["dest_shape_info"])


def test_step_3_counts_rejected_answers_that_never_ended_or_were_cut(finished):
    workspace, figures = finished
    data = json.loads((workspace / "log" / "log_train_final_orpo.json").read_text("utf-8"))["Data"]
    for name in ("rejected answers that never ended", "rejected answers cut to fit"):
        assert data[name] == figures["orpo_fine_tuning"][name] >= 0


def test_the_program_in_the_adapters_card_answers_like_ask(finished, tmp_path, monkeypatch, capsys):
    workspace, _ = finished
    request = "sales data -> price model"
    picture = tmp_path / "a.drawio"
    ask = ["ask.py", "--model", "embedded", "--workspace", str(workspace), "--output", str(picture), request]
    monkeypatch.setattr(sys, "argv", [*ask, "--samples", "0"])  # the program decodes greedily
    runpy.run_path(str(ROOT / "fine_tuning" / "ask.py"))["main"]()
    asked = capsys.readouterr()
    assert "note: " not in asked.err.replace("note: line", "")  # the frame of the prompts is stored
    assert picture.read_bytes() == drawio(parse(asked.out.removesuffix("\n")))
    card = (workspace / "models" / "orpo" / "README.md").read_text("utf-8")
    program = "\n".join(line[4:] for line in card.splitlines() if line.startswith("    "))
    monkeypatch.chdir(ROOT)
    exec(program.replace("this folder", str(workspace / "models" / "orpo")), {"request": request})
    assert capsys.readouterr().out == asked.out


def test_ask_answers_with_a_whole_diagram_if_told_to(finished, tmp_path, monkeypatch, capsys):
    workspace, _ = finished
    ask = ["ask.py", "--model", "embedded", "--workspace", str(workspace), "--output", str(tmp_path / "a.png")]
    monkeypatch.setattr(sys, "argv", [*ask, "--grammar", "What is the weather like?"])
    runpy.run_path(str(ROOT / "fine_tuning" / "ask.py"))["main"]()
    asked = capsys.readouterr()
    diagram = parse(asked.out)
    assert diagram.nodes and not diagram.problems and "note: line" not in asked.err


@pytest.mark.parametrize(("flags", "asked"), [([], {}), (["--top", "2", "--samples", "3", "--seed", "7"], SEVERAL)])
def test_the_page_answers_like_ask(finished, tmp_path, monkeypatch, capsys, flags, asked):
    workspace, _ = finished
    request = "Draw a network with 2 inputs and 3 outputs, neuron by neuron"
    ask = ["ask.py", "--model", "embedded", "--workspace", str(workspace), "--output", str(tmp_path / "a.svg"), request]
    monkeypatch.setattr(sys, "argv", [*ask, *flags])
    runpy.run_path(str(ROOT / "fine_tuning" / "ask.py"))["main"]()
    printed = capsys.readouterr().out
    options = to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(workspace)]))
    events = []
    shown = answer(TunedModel(options).load(), Asked(request, **asked), events.append, lambda: False)
    if flags:  # the names of the pictures differ
        assert [found.text for found in shown.best] == re.split(r"\n*# a-\d.svg: .*\n", printed.removesuffix("\n"))[1:]
    else:
        assert shown.listing() == printed.removesuffix("\n")
        assert (tmp_path / "a.svg").read_bytes() == svg(shown.best[0].diagram)
    assert events and events[0]["event"] == "drawing"


def test_ask_puts_the_stored_frame_around_the_request(finished, tmp_path, monkeypatch, capsys):
    workspace, _ = finished
    shutil.copytree(workspace / "models", tmp_path / "w" / "models")
    another = PromptFrame("Draw a neural network with 3 inputs and 2 outputs, neuron by neuron.\n\n", "")
    ask = ["ask.py", "--model", "embedded", "--output", str(tmp_path / "a.png"), "sales data -> price model"]
    shown = []
    for frame in (OURS, another):
        for name in ("sft", "orpo"):
            (tmp_path / "w" / "models" / name / "prompt_frame.json").write_text(frame.to_json())
        monkeypatch.setattr(sys, "argv", [*ask, "--workspace", str(tmp_path / "w")])
        runpy.run_path(str(ROOT / "fine_tuning" / "ask.py"))["main"]()
        shown.append(capsys.readouterr().out)
    assert shown[0] != shown[1]


def test_steps_1_and_3_store_the_size_of_the_largest_reference_that_they_trained_on(finished):
    workspace, figures = finished
    sizes = [
        len(parse(row["output_data"]).nodes) for row in rows_of(workspace / "create_dataset" / "sft_dataset_llm.csv")
    ]
    for step in ("sft_fine_tuning", "orpo_fine_tuning"):
        assert 1 <= figures[step]["shapes of the largest training reference"] <= max(sizes)


def test_ask_answers_each_line_of_stdin_and_one_that_it_cannot_answer_stops_no_other(finished, forked, tmp_path):
    workspace, _ = finished
    picture = tmp_path / "net.svg"
    special = json.loads((workspace / "models" / "sft" / "tokenizer_config.json").read_text("utf-8"))["eos_token"]
    lines = f"sales data -> price model\n\n{special}\na network with 2 inputs and 1 output, neuron by neuron\n"
    ask = [ASK, *EMBEDDED_RUN, str(workspace), "--samples", "2", "--output", str(picture)]
    asked = forked.run(*ask, "--requests", "-", stdin=lines)
    assert asked.returncode == 2 and asked.stderr.splitlines()[-1].startswith(
        "error: --requests -: line 3: the prompt "
    )
    first, failed, last = map(json.loads, asked.stdout.splitlines())
    assert [record["line"] for record in (first, failed, last)] == [1, 3, 4]
    assert "error" in failed and not (tmp_path / "net-2.svg").exists()
    for record in (first, last):
        assert Path(record["picture"]).read_bytes() == picture_bytes(parse(record["text"]), ".svg")
        assert record["answers"] == 3
    alone = forked.run(*ask, "sales data -> price model")
    assert alone.stdout == first["text"] + "\n"


def test_ask_draws_the_best_answers_side_by_side(finished, forked, tmp_path):
    workspace, _ = finished
    flags = ["--samples", "4", "--top", "2", "--output", str(tmp_path / "net.svg")]
    request = "a network with 2 inputs and 1 output, neuron by neuron"
    asked = forked.run(ASK, *EMBEDDED_RUN, str(workspace), *flags, request)
    assert asked.returncode == 0, asked.stderr
    names = [line.split(":")[0] for line in asked.stdout.splitlines() if line.startswith("# ")]
    assert names == ["# net-1.svg", "# net-2.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net-1.svg", "net-2.svg"]
