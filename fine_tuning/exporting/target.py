"""The folder of an export. It appears as a whole, and replaces only what an earlier export wrote."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fine_tuning.run.errors import UserError
from fine_tuning.run.files import make_folder, sync_entries, sync_folder, write_atomically

RECORD = "export.json"  # says what an export was made from and compared with, and lists its files
COMPARISON = ("compared", "not compared")


def check_target(folder: Path) -> None:
    """Raise UserError if no export can be written to `folder`, or if it holds anything but an earlier export."""
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise UserError(f"--output {folder}: {nearest} is a file. Name a new folder")
    place = folder.parent if nearest == folder else nearest
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"--output {folder}: no folder can be made in {place}. Change its permissions, or name another")
    if nearest != folder:
        return
    record = _read_record(folder)
    listed = {RECORD, *(record["files"] if record else ())}
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in listed)
    if foreign:
        raise UserError(
            f"--output {folder}: this folder holds files that no export wrote, such as {foreign[0]}. Move them, or "
            "name a new folder"
        )


def is_exported(folder: Path, facts: Mapping[str, Any]) -> bool:
    """True if `folder` holds a whole export that was made from the same things."""
    record = _read_record(folder)
    if record is None or record["export"] != json.loads(json.dumps(facts)):
        return False
    return all((folder / name).is_file() and (folder / name).stat().st_size == n for name, n in record["files"].items())


def comparison_of(folder: Path) -> dict[str, Any]:
    """What the record of an export says about its comparison with base model and adapter."""
    record = _read_record(folder) or {}
    return {name: record[name] for name in COMPARISON if name in record}


def files_of(folder: Path) -> dict[str, int]:
    """The files of an export and their sizes in bytes, without the record."""
    paths = sorted(path for path in folder.iterdir() if path.name != RECORD)
    return {path.name: path.stat().st_size for path in paths}


@contextlib.contextmanager
def new_export(folder: Path, facts: Mapping[str, Any], comparison: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Yield a hidden folder beside `folder` to write into. At the end, it takes the place of `folder`.

    `comparison` may be filled until then; it becomes a part of the record, under the names in COMPARISON.
    An error leaves an earlier export as it was. What a killed export left is removed by the next one.
    """
    make_folder(folder.parent)
    temporary, replaced = (folder.with_name(f".{folder.name}.{word}") for word in ("tmp", "replaced"))
    if replaced.exists() and not folder.exists():  # a kill fell between the two renamings below
        os.replace(replaced, folder)
    for leftover in (temporary, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        record = {"export": facts, "files": files_of(temporary), **(comparison or {})}
        write_atomically(temporary / RECORD, json.dumps(record, indent=1) + "\n")
        for name in record["files"]:  # safetensors makes its files private; other users may have to read the export
            (temporary / name).chmod((temporary / RECORD).stat().st_mode)
        sync_folder(temporary)
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(temporary, folder)
        sync_entries(folder.parent)
    except BaseException:
        if replaced.exists() and not folder.exists():
            os.replace(replaced, folder)
        shutil.rmtree(temporary, ignore_errors=True)  # a nearly full disk needs its space
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _read_record(folder: Path) -> dict[str, Any] | None:
    """The record of an export; None if there is none or it is damaged."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if isinstance(record["export"], dict) and isinstance(record["files"], dict):
            return dict(record)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    return None
