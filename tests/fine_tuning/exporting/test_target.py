"""The folder of an export: it appears as a whole, and no file of the user is lost."""

import json

import pytest
from helpers import problems_of

from fine_tuning.exporting.target import check_target, files_of, is_exported, new_export

FACTS = {"format": "merged", "adapter sha256": "a"}


def export(folder, facts=FACTS, text="weights"):
    check_target(folder)
    with new_export(folder, facts) as new:
        (new / "model.safetensors").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_export_holds_its_files_and_says_what_it_was_made_from(tmp_path):
    export(tmp_path / "models" / "merged")
    assert files_of(tmp_path / "models" / "merged") == {"model.safetensors": 7}
    assert is_exported(tmp_path / "models" / "merged", FACTS)
    assert names(tmp_path / "models") == ["merged"]


def test_an_export_of_something_else_is_replaced(tmp_path):
    export(tmp_path / "merged")
    other = FACTS | {"adapter sha256": "b"}
    assert not is_exported(tmp_path / "merged", other)
    export(tmp_path / "merged", other, "new")
    assert is_exported(tmp_path / "merged", other) and names(tmp_path) == ["merged"]


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_export_is_made_again(tmp_path, damage):
    export(tmp_path / "merged")
    weights = tmp_path / "merged" / "model.safetensors"
    weights.write_text("we") if damage == "cut" else weights.unlink()
    assert not is_exported(tmp_path / "merged", FACTS)
    export(tmp_path / "merged")
    assert is_exported(tmp_path / "merged", FACTS)


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "merged").mkdir()
    export(tmp_path / "merged")
    assert is_exported(tmp_path / "merged", FACTS)


@pytest.mark.parametrize("file", ["notes.txt", "adapter_config.json", ".hidden"])
def test_a_folder_with_other_files_is_refused(tmp_path, file):
    export(tmp_path / "merged")
    (tmp_path / "merged" / file).write_text("mine")
    (problem,) = problems_of(check_target, tmp_path / "merged")
    assert f"no export wrote, such as {file}" in problem


@pytest.mark.parametrize("record", ["{", "[]", '{"export": 1, "files": []}'])
def test_a_folder_with_a_damaged_record_is_refused(tmp_path, record):
    export(tmp_path / "merged")
    (tmp_path / "merged" / "export.json").write_text(record)
    assert len(problems_of(check_target, tmp_path / "merged")) == 1


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_the_way_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    (problem,) = problems_of(check_target, tmp_path / place)
    assert f"{tmp_path / 'file'} is a file" in problem


def test_a_failed_export_leaves_the_earlier_one_and_no_leftover(tmp_path):
    export(tmp_path / "merged")
    with pytest.raises(OSError), new_export(tmp_path / "merged", {"format": "new"}) as new:
        (new / "half").write_text("half")
        raise OSError("disk full")
    assert is_exported(tmp_path / "merged", FACTS) and names(tmp_path) == ["merged"]


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path):
    (tmp_path / ".merged.tmp").mkdir()
    (tmp_path / ".merged.tmp" / "half").write_text("half")
    export(tmp_path / "merged")
    assert names(tmp_path) == ["merged"] and names(tmp_path / "merged") == ["export.json", "model.safetensors"]


def test_the_earlier_export_comes_back_if_a_kill_fell_between_the_two_renamings(tmp_path):
    export(tmp_path / "merged")
    (tmp_path / "merged").rename(tmp_path / ".merged.replaced")
    with pytest.raises(OSError), new_export(tmp_path / "merged", {"format": "new"}):
        raise OSError("disk full")
    assert is_exported(tmp_path / "merged", FACTS) and names(tmp_path) == ["merged"]


def test_every_file_can_be_read_like_the_record(tmp_path):
    with new_export(tmp_path / "merged", FACTS) as new:
        (new / "private").touch(mode=0o600)
    assert (tmp_path / "merged" / "private").stat().st_mode == (tmp_path / "merged" / "export.json").stat().st_mode
    assert json.loads((tmp_path / "merged" / "export.json").read_text())["files"] == {"private": 0}
