"""Several processes share out a validation, and its answers and figures are those of one process."""

import json


def validated(forked_job, folder, count: int) -> list[dict]:
    folder.mkdir()
    job = forked_job(count, "validating", [str(folder)], folder)
    assert job.end() == 0, job.errors()
    return [json.loads((folder / f"{process}.json").read_text()) for process in range(count)]


def test_every_prompt_is_answered_once_and_every_process_has_all_answers_in_order(forked_job, tmp_path):
    (alone,) = validated(forked_job, tmp_path / "one", 1)
    assert alone["asked"] == len(alone["answers"]) == 5
    shared = validated(forked_job, tmp_path / "three", 3)
    assert [process["asked"] for process in shared] == [2, 2, 1]
    assert all(process["answers"] == alone["answers"] for process in shared)
    assert all(process["figures"] == alone["figures"] for process in shared)


def test_more_processes_than_batches_are_no_mistake(forked_job, tmp_path):
    shared = validated(forked_job, tmp_path / "four", 4)
    assert [process["asked"] for process in shared] == [2, 2, 1, 0]
    assert all(len(process["answers"]) == 5 for process in shared)
