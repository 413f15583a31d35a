"""Which of several processes this one is, and what each of them prints."""

import signal
import sys

import pytest
from launching import end_several, launch, start_several

from fine_tuning.run.commands import launched, set_launcher
from fine_tuning.run.errors import UserError
from fine_tuning.run.gpus import gpu_of
from fine_tuning.run.processes import Processes, read_processes

TWO = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
FOUR_ON_TWO_MACHINES = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29501",
}
HEAD = (
    "import os, sys, time\nfrom fine_tuning.run.entry_point import run\nfrom fine_tuning.run.errors import UserError\n"
)


def program(body: str) -> list[str]:
    """A script whose `main` has this body."""
    return ["-c", f"{HEAD}def main():\n" + "".join(f"    {line}\n" for line in body.splitlines()) + "run(main)"]


def test_without_a_launcher_there_is_one_process():
    assert read_processes({"PATH": "/bin"}) == Processes()
    assert not Processes().are_several


def test_a_launcher_says_which_process_this_is():
    here = read_processes(TWO)
    assert (here.rank, here.count, here.local_rank, here.local_count, here.is_main) == (1, 2, 1, 2, False)


def test_each_item_belongs_to_one_process():
    shares = [Processes(rank=rank, count=3).share("abcdefgh") for rank in range(3)]
    assert shares == [["a", "d", "g"], ["b", "e", "h"], ["c", "f"]]


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "0"},
        {"WORLD_SIZE": "2"},
        {"LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2"},
        TWO | {"RANK": "2"},
        TWO | {"RANK": "-1"},
        TWO | {"WORLD_SIZE": "two"},
        TWO | {"WORLD_SIZE": "0"},
        TWO | {"RANK": ""},
        TWO | {"RANK": "0"},
    ],
)
def test_variables_that_no_launcher_sets_together_are_refused_in_one_line(variables):
    with pytest.raises(UserError, match="RANK, WORLD_SIZE, LOCAL_RANK are") as error:
        read_processes(variables)
    assert "\n" not in str(error.value)


def test_a_launcher_that_starts_one_process_instead_of_several_is_not_taken_for_success():
    with pytest.raises(UserError, match="Add --multi_gpu"):
        read_processes({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"})


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (TWO, "torchrun --nproc_per_node 2"),
        (TWO | {"ACCELERATE_MIXED_PRECISION": "no"}, "accelerate launch --multi_gpu --num_processes 2"),
        (
            FOUR_ON_TWO_MACHINES,
            "torchrun --nproc_per_node 2 --nnodes 2 --node_rank 1 --master_addr 10.0.0.1 --master_port 29501",
        ),
        (
            FOUR_ON_TWO_MACHINES | {"ACCELERATE_MIXED_PRECISION": "no"},
            "accelerate launch --multi_gpu --num_processes 4 --num_machines 2 --machine_rank 1 "
            "--main_process_ip 10.0.0.1 --main_process_port 29501",
        ),
        (TWO | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, ""),
    ],
)
def test_the_launcher_that_started_the_processes_is_known(variables, words):
    assert " ".join(read_processes(variables).launcher) == words


def test_suggested_commands_begin_with_the_launcher():
    set_launcher(["torchrun", "--nproc_per_node", "2"])
    try:
        assert launched(["python", "a.py"]) == ["torchrun", "--nproc_per_node", "2", "a.py"]
        assert launched(["text-to-diagram", "sft"])[3:] == ["--no_python", "text-to-diagram", "sft"]
    finally:
        set_launcher(())


@pytest.mark.parametrize(
    ("here", "visible", "gpu"),
    [
        (Processes(), None, "0"),
        (Processes(), "3,1", "3"),
        (Processes(), "", ""),
        (Processes(on_cpu=True), "0", ""),
        (Processes(1, 2, 1, 2), "0,1,2", "1"),
        (Processes(1, 2, 1, 2), "GPU-a,GPU-b", "GPU-b"),
        (Processes(1, 2, 1, 2), "", ""),
        (Processes(1, 2, 1, 2, on_cpu=True), "0", ""),
        (Processes(3, 4, 1, 2), "4,6", "6"),
    ],
)
def test_each_process_sees_one_gpu_its_own(here, visible, gpu):
    assert gpu_of(here, visible) == gpu


@pytest.mark.parametrize("local_rank", [0, 1, 2])
def test_more_processes_than_gpus_are_refused_by_each_of_them(local_rank):
    with pytest.raises(UserError, match="3 processes were started on this machine, and there are 2 GPUs for them"):
        gpu_of(Processes(local_rank, 3, local_rank, 3), "0,1")


def test_the_main_process_alone_prints():
    ended = launch(2, *program("print('hello')\nprint('to stderr', file=sys.stderr)"))
    assert ended == [(0, "hello\n", "to stderr\n"), (0, "", "to stderr\n")]


def test_a_mistake_that_all_processes_meet_is_printed_once():
    ended = launch(2, *program("raise UserError('there is no such file')"))
    assert ended == [(2, "", "error: there is no such file\n"), (2, "", "")]


def test_a_mistake_in_a_flag_is_printed_once():
    first, second = launch(2, "fine_tuning/sft_fine_tuning.py", "--seed", "x")
    assert first[0] == 2 and first[2].endswith("argument --seed: 'x' is not a whole number from 0 to 4294967295\n")
    assert second == (2, "", "")


def test_help_is_printed_once_and_without_a_launcher():
    first, second = launch(2, "fine_tuning/sft_fine_tuning.py", "--help")
    assert first[0] == 0 and first[1].startswith("usage: fine_tuning/sft_fine_tuning.py [-h]")
    assert second == (0, "", "")


def test_what_one_process_meets_names_that_process():
    body = "from fine_tuning.run.processes import processes, set_have_met\nset_have_met(True)\n"
    body += "if processes().rank:\n    raise UserError('no memory')"
    ended = launch(2, *program(body))
    assert ended == [(0, "", ""), (2, "", "error: process 1: no memory\n")]


WAIT = "print('ready', file=sys.stderr, flush=True)\n"


@pytest.mark.parametrize("waiting", ["time.sleep(60)", "while True: os.read(os.pipe()[0], 1)"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all_processes_and_is_answered_once(waiting, number, status):
    started = start_several(2, program(WAIT + waiting))
    for process in started:
        assert process.stderr and process.stderr.readline() == "ready\n"
    for process in started:
        process.send_signal(number)
    (first, _, said), (second, _, nothing) = end_several(started, 10)
    assert (first, second, nothing) == (status, status, "")
    assert said == "stopped. To continue: torchrun --nproc_per_node 2 -c\n"


DEADLOCK = """
import ctypes
library, mutex = ctypes.CDLL(None), (ctypes.c_byte * 64)()
library.pthread_mutex_lock(mutex)
library.pthread_mutex_lock(mutex)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the deadlock is made for Linux")
def test_an_interrupt_ends_processes_that_wait_for_others_outside_of_python():
    started = start_several(2, program(WAIT + DEADLOCK.strip()))
    for process in started:
        assert process.stderr and process.stderr.readline() == "ready\n"
    for process in started:
        process.send_signal(signal.SIGINT)
    assert [status for status, *_ in end_several(started, 10)] == [130, 130]


LAUNCHER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, *sys.argv[1:]])
print(child.pid, flush=True)
child.wait()
"""


def test_the_processes_end_when_their_launcher_has_been_killed():
    launcher, other = start_several(2, ["-c", LAUNCHER, *program(WAIT + "time.sleep(60)")])
    other.kill()
    assert launcher.stderr and launcher.stderr.readline() == "ready\n"
    launcher.kill()
    assert launcher.stderr.readlines() == ["stopped. To continue: torchrun --nproc_per_node 2 -c\n"]
