"""Write files so that a crash or a power cut leaves the old or the new content; hash files."""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path


def write_atomically(path: Path, content: bytes | str | Iterable[bytes]) -> None:
    """Replace a file, keeping its permissions. A crash leaves the old or the new content on disk, never a mixture.

    The temporary file is in the same folder as the file, even if `path` is a link to another drive. It always has the
    same name, so the next write overwrites what a crash left. That is safe: a workspace has one writer at a time.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with naming(path), open(temporary, "wb") as file:
            if isinstance(content, str):
                content = content.encode(errors="backslashreplace")
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # a new file, or a drive without permissions
            shutil.copymode(path, temporary)
        _replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a nearly full disk needs its space
        raise
    sync_entries(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the file's name to an OSError raised while writing it; only errors of `open` have it already."""
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
        except PermissionError:  # on Windows, while another program has the file open
            if attempt == 4 or os.name != "nt":
                raise
            time.sleep(0.1)


def sync_entries(folder: Path) -> None:
    """fsync a folder: without it, a power cut can undo the creation or replacement of a file in it."""
    if os.name == "nt":  # Windows cannot open folders, and syncs them by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents; a power cut does not undo it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_entries(path.parent)


def sync_folder(folder: Path) -> None:
    """fsync a folder with everything in it: first all files, then all folders."""
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
