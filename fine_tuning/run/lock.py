"""One run at a time per workspace. The kernel releases the lock when its process ends, even if it is killed."""

import errno
import os
import sys
from pathlib import Path

from filelock import FileLock, Timeout

_held: dict[Path, FileLock] = {}  # released when this process ends


def take_lock(path: Path) -> str | None:
    """Lock a file until this process ends. Creates the file if it is missing and never deletes it.

    Returns None if this process holds the lock now, else a description of the process that does. On a file system
    without locks it prints a note and returns None. Raises OSError if the file cannot be created.
    """
    if path in _held:
        return None
    lock = FileLock(path, timeout=0, mode=0o666, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return _holder(path)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print(f"note: {path.parent} cannot be locked; make sure that no other run uses it", file=sys.stderr)
        return None
    _held[path] = lock
    return None


def _holder(path: Path) -> str:
    """The process that holds a lock, read from Linux's list of lines `1: FLOCK ADVISORY WRITE pid device:inode ...`.

    filelock does not say who holds a lock.
    """
    try:
        inode = os.stat(path).st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "FLOCK" in fields and fields[5].endswith(f":{inode}"):
                command = Path(f"/proc/{fields[4]}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
                return f"process {fields[4]} ({command.decode(errors='replace')})"
    except (OSError, IndexError):
        pass
    return "another process"
