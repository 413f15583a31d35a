"""One run at a time on a workspace: a lock that the kernel drops when its process ends, however it ends.

The lock file is empty and stays where it is; only the kernel's lock on it counts.
"""

import errno
import os
import sys
from pathlib import Path

_held: dict[Path, int] = {}  # open for as long as this process lives


def take_lock(path: Path) -> str | None:
    """Lock a file, which is made where it is missing, until this process ends.

    Returns None once it is held, or who else holds it. A file system without locks is noted and let pass. Raises
    OSError where the file cannot be made.
    """
    if path in _held:
        return None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor)
    except OSError as error:
        inode = os.fstat(descriptor).st_ino
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return _holder(inode)
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            print(f"note: {path.parent} cannot be locked; see that no other run works there", file=sys.stderr)
            return None
        raise
    _held[path] = descriptor
    return None


def _lock(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(inode: int) -> str:
    """The process that holds a lock, as Linux tells it: lines of `1: FLOCK ADVISORY WRITE pid device:inode ...`."""
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "FLOCK" in fields and fields[5].endswith(f":{inode}"):
                command = Path(f"/proc/{fields[4]}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
                return f"process {fields[4]} ({command.decode(errors='replace')})"
    except (OSError, IndexError):
        pass
    return "another process"
