"""The command page.py as a user starts it. Torch must not be imported before the first request."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest
from helpers import ROOT, finish_step_1
from page_helpers import request

from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.web.examples import held_out_requests

PAGE = "fine_tuning/page.py"


@contextmanager
def opened(environment, workspace, *flags: str):
    """A page that has just been started: its process and its address. Torch ends the process if it is imported."""
    command = [sys.executable, str(ROOT / PAGE), "--model", "embedded", "--workspace", str(workspace), "--port", "0"]
    process = subprocess.Popen(
        [*command, *flags], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        first = process.stdout.readline()
        assert first.startswith("the page is at http://127.0.0.1:"), first + process.stderr.read()
        yield process, first.split()[4]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_opens_before_step_1_has_run_says_what_to_run_and_ends_cleanly(environment, tmp_path, number):
    with opened(environment, tmp_path / "new") as (process, address):
        state = json.loads(request(f"{address}state").body)
        assert "there is no adapter of step 1. Run it first: python fine_tuning/sft_fine_tuning.py" in state["problem"]
        (event,) = request(f"{address}ask", {"request": "a chain"}).events()
        assert event == {"event": "error", "problems": [state["problem"]]}
        assert [step["state"] for step in json.loads(request(f"{address}runs").body)["steps"]] == ["none"] * 3
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output.splitlines()[-1]) == (0, "the page has ended")
    assert errors == f"note: {state['problem']}\n"
    assert not (tmp_path / "new").exists()


def test_the_page_opens_beside_a_step_that_is_at_work(environment, workspace):
    holder = "from pathlib import Path; from fine_tuning.run.lock import take_lock; import sys, time\n"
    holder += f"take_lock(Path({str(workspace / '.lock')!r})); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holder], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as step:
        assert step.stdout.readline() == "held\n"
        with opened(environment, workspace) as (_, address):
            assert request(f"{address}runs").status == 200
        step.stdin.close()


def test_a_port_that_is_taken_is_refused_in_one_line(refused, workspace):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (message,) = refused(PAGE, "--model", "embedded", "--workspace", workspace, "--port", str(port))
    assert message.startswith(f"error: --port {port}: Address already in use.")


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_refused(refused, workspace, port):
    (message,) = refused(PAGE, "--model", "embedded", "--workspace", workspace, f"--port={port}")
    assert message.endswith("is not a whole number from 0 to 65535")


def test_the_default_model_without_a_gpu_is_refused_in_one_line(refused, workspace):
    (message,) = refused(PAGE, "--workspace", workspace)
    assert "CUDA" in message and "--model embedded" in message


def test_examples_are_requests_that_step_1_holds_out_from_every_family(tmp_path):
    options = to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(tmp_path / "new")]))
    requests = held_out_requests(options)
    from fine_tuning.data.sft_csv import read_sft_rows
    from fine_tuning.data.split import split_prompts

    rows = read_sft_rows(options).rows
    _, held_out = split_prompts(rows, options.seed)
    families = set()
    for words in requests:
        (row,) = [row for row in rows if row.prompt.startswith(f"{words}\n")]
        assert row.prompt in held_out
        families.add(row.family)
    assert len(set(requests)) == 6 and len(families) == 2


def test_examples_are_of_the_split_that_step_1_had(workspace):
    from helpers import DIAGRAM, SFT_HEADER

    rows = "".join(f"draw {number},{DIAGRAM}\n" for number in range(40))
    (workspace / "create_dataset" / "sft_dataset_llm.csv").write_text(SFT_HEADER + rows)
    options = to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(workspace)]))
    before = held_out_requests(options)
    finish_step_1(workspace)
    path = workspace / "models" / "sft" / "run.json"
    stored = json.loads(path.read_text())
    stored["settings"]["seed"] = 7
    path.write_text(json.dumps(stored))
    assert before and held_out_requests(options) and held_out_requests(options) != before


def test_without_a_csv_there_are_no_examples(workspace):
    (workspace / "create_dataset" / "sft_dataset_llm.csv").unlink()
    options = to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(workspace)]))
    assert held_out_requests(options) == []


def test_the_page_imports_no_network_library_and_no_torch_at_its_start():
    program = "import sys, fine_tuning.page; print(sorted({'torch', 'transformers', 'requests'} & sys.modules.keys()))"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert run.stdout == "[]\n"
