"""How a run ends early: one line, the right exit status, and the command that continues it."""

import errno
import os
import signal
import subprocess
import sys

import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.run.commands import COMMAND, COMMAND_ONCE_RESTARTED, STEPS
from fine_tuning.run.entry_point import one_line, printable
from fine_tuning.run.errors import explain
from fine_tuning.run_all import commands_to_continue

WAIT = "print('ready', flush=True); time.sleep(60)"


def program(body: str, *flags: str) -> list[str]:
    """A script whose `main` has this body."""
    head = "import os, sys, time\nfrom fine_tuning.run.commands import stop_suggesting_restart\n"
    head += "from fine_tuning.run.entry_point import run\n"
    main = "def main():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return [sys.executable, "-c", f"{head}{main}run(main)", *flags]


def interrupted(command: list[str], number: int) -> tuple[int, list[str]]:
    """Send a signal once the program prints "ready". Returns the exit status and the lines on stderr."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    errors = process.communicate(timeout=10)[1]
    return process.returncode, errors.splitlines()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_run_and_prints_the_command_that_continues_it(number, status):
    ended = interrupted(program(WAIT, "--workspace", "내 diagrams"), number)
    assert ended == (status, ["stopped. To continue: python -c --workspace '내 diagrams'"])


def test_code_that_catches_every_exception_cannot_delay_an_interrupt():
    body = f"while True:\n    try:\n        {WAIT}\n    except BaseException:\n        pass"
    assert interrupted(program(body), signal.SIGINT)[0] == 130


@pytest.mark.parametrize(("body", "suggested"), [(WAIT, True), (f"stop_suggesting_restart()\n{WAIT}", False)])
def test_restart_is_suggested_only_until_the_earlier_run_is_discarded(body, suggested):
    _, (line,) = interrupted(program(body, "--restart", "--seed", "7"), signal.SIGINT)
    assert line == f"stopped. To continue: python -c{' --restart' if suggested else ''} --seed 7"


def test_a_step_of_run_all_suggests_the_command_that_run_all_has_set(monkeypatch):
    monkeypatch.setenv(COMMAND, "all")
    monkeypatch.setenv(COMMAND_ONCE_RESTARTED, "what is left")
    assert interrupted(program(WAIT), signal.SIGINT)[1] == ["stopped. To continue: all"]
    body = f"stop_suggesting_restart()\n{WAIT}"
    assert interrupted(program(body), signal.SIGINT)[1] == ["stopped. To continue: what is left"]


def test_a_stopped_restart_of_run_all_continues_with_the_remaining_steps(monkeypatch):
    first, second, third = (f"python fine_tuning/{step}.py --seed 7" for step in STEPS)
    monkeypatch.setattr(sys, "argv", ["fine_tuning/run_all.py", "--restart", "--seed", "7"])
    assert commands_to_continue(1) == (
        "python fine_tuning/run_all.py --restart --seed 7",
        f"{first} && {second} --restart && {third} --restart",
    )
    assert commands_to_continue(2) == (f"{second} --restart && {third} --restart", f"{second} && {third} --restart")
    assert commands_to_continue(3) == (f"{third} --restart", third)
    monkeypatch.setattr(sys, "argv", ["fine_tuning/run_all.py", "--seed", "7"])
    assert commands_to_continue(2) == ("python fine_tuning/run_all.py --seed 7",) * 2


def test_an_interrupt_between_two_steps_does_not_suggest_repeating_the_finished_one(monkeypatch):
    monkeypatch.setenv(COMMAND, "all")
    monkeypatch.setenv(COMMAND_ONCE_RESTARTED, "what is left")
    finished_step = "import subprocess\nfrom fine_tuning.run_all import pass_interrupts_to\n"
    finished_step += "step = subprocess.Popen([sys.executable, '-c', ''])\nstep.wait()\npass_interrupts_to(step)\n"
    assert interrupted(program(finished_step + WAIT), signal.SIGINT) == (130, ["stopped. To continue: what is left"])


def test_the_message_is_printed_below_a_progress_bar():
    body = f"from tqdm import tqdm\nbar = tqdm(total=9, mininterval=0)\nbar.update(1)\n{WAIT}"
    status, lines = interrupted(program(body), signal.SIGTERM)
    assert (status, lines[-1]) == (143, "stopped. To continue: python -c")


def test_run_all_adds_no_message_to_that_of_the_step_and_exits_with_its_status(tmp_path):
    command = [sys.executable, "fine_tuning/run_all.py", "--model", "embedded", "--workspace", str(tmp_path / "w")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = iter(process.stdout.readline, "")
    assert any("rows to train on" in line for line in lines)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    messages = [line for line in errors.splitlines() if "topped" in line or "Traceback" in line]
    assert messages == [
        f"stopped. To continue: python fine_tuning/run_all.py --model embedded --workspace {tmp_path / 'w'}"
    ]


def test_a_closed_output_pipe_ends_the_run_without_a_message():
    body = "while True:\n    print('line', flush=True)"
    process = subprocess.Popen(program(body), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=10) == 141


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_error_is_reported_with_file_remedy_and_command(number):
    body = f"raise OSError({number}, os.strerror({number}), '/data/log.md')"
    ended = subprocess.run(program(body), cwd=ROOT, capture_output=True, text=True)
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert line.startswith(f"error: /data/log.md: {os.strerror(number)}. ") and line.endswith(
        ". Then continue: python -c"
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "--load-in-4bit"),
        (MemoryError(), "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"), "out of memory"),
        (RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors"), "nvidia-smi"),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"), "Free some space"),
        (Exception("Error while serializing: I/O error: No space left on device (os error 28)"), "Free some space"),
    ],
    ids=["GPU memory", "memory", "CPU memory", "GPU failure", "torch on a full disk", "safetensors on a full disk"],
)
def test_an_error_of_the_machine_is_explained_on_one_line_with_a_remedy(error, expected):
    assert expected in explain(error) and "\n" not in explain(error)


def test_a_bug_keeps_its_traceback():
    assert explain(RuntimeError("shapes cannot be multiplied")) is None
    ended = subprocess.run(program("raise RuntimeError('mine')"), cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1 and "Traceback" in ended.stderr


@given(st.text())
def test_text_for_a_terminal_has_no_control_characters(text):
    assert one_line(text).isprintable()
    assert all(line.isprintable() for line in printable(text).split("\n"))
    assert printable(text).count("\n") == text.count("\n")
    assert not text.isprintable() or one_line(text) == text


@pytest.mark.parametrize("text", ["\x1b[2J", "\x1b]0;title\x07", "\u202eright to left", "a\rb", "\x9b31m", "\ud800"])
def test_control_characters_are_shown_escaped(text):
    assert "\\" in one_line(text) and one_line(text).isprintable()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler. Please specify via CC environment variable or set triton.knobs."),
        subprocess.CalledProcessError(1, ["/usr/bin/gcc", "/tmp/driver.c"]),
    ],
)
def test_a_gpu_kernel_that_cannot_be_compiled_is_explained(error):
    assert "Install a C compiler and Python's headers" in explain(error)
