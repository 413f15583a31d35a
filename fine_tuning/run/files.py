"""Files that are whole or not there, also after a power cut, and their fingerprints."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path


class DamagedFile(Exception):
    """A file that this project wrote does not hold what it should any more; the message says what to do."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace a file so that a crash leaves either the old or the new content, on disk, never a mixture.

    The temporary file lies beside the file itself, also where `path` is a link to another drive. Its name is always the
    same, so that what a crash leaves of it is overwritten; a workspace has one writer at a time.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with naming(path), open(temporary, "wb") as file:
            file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # on a full disk it would take the room that is left
        raise
    sync_entries(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an error while a file is written name it; the system itself names files only when they are opened."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _replace(temporary: Path, path: Path) -> None:
    for attempt in range(5):
        try:
            os.replace(temporary, path)
            return
        except PermissionError:  # on Windows while another program has the file open
            if attempt == 4 or os.name != "nt":
                raise
            time.sleep(0.1)


def sync_entries(folder: Path) -> None:
    """Have a folder's list of names on disk: without it a power cut can undo that a file was made or replaced."""
    if os.name == "nt":  # cannot open folders, and does this by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, so that a power cut cannot undo it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_entries(path.parent)


def sync_folder(folder: Path) -> None:
    """Have everything in a folder on disk, the contents first and then the names."""
    folders = [folder]
    for path in folder.rglob("*"):
        if path.is_dir():
            folders.append(path)
        else:
            with open(path, "r+b") as file:
                os.fsync(file.fileno())
    for path in folders:
        sync_entries(path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
