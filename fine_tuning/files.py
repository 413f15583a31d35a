"""Files that are whole or not there, and their fingerprints."""

import hashlib
import os
import time
from pathlib import Path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace a file so that a crash leaves either the old or the new content, on disk, never a mixture."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    for attempt in range(5):
        try:
            os.replace(temporary, path)
            return
        except PermissionError:  # on Windows while another program has the file open
            if attempt == 4:
                raise
            time.sleep(0.1)


def sync_folder(folder: Path) -> None:
    """Have everything in a folder on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "r+b") as file:
                os.fsync(file.fileno())


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
