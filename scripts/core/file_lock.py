"""One run at a time on one channel: a lock file held by the operating system."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from scripts.core.errors import MirrorError, usage_error

_FAR_BEHIND: Final = 1 << 30  # times 4 GiB
_LOCK_VIOLATION: Final = 33  # how Windows says that somebody else has it


@contextlib.contextmanager
def file_lock(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file while the block runs; refuse where another process holds it.

    The system lets go of it when the process ends, however it ends, so a killed run leaves
    nothing to clean up. The file itself stays and holds the last holder's process id.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a+b", buffering=0))
            is_mine = try_lock(file.fileno())
        except OSError as error:  # or a file system without locks
            raise usage_error(
                what,
                f"cannot be kept to one run at a time: {error.strerror}",
                ("lock file", str(path)),
                help="set channel-dir to a folder you may write to",
            ) from None
        if not is_mine:
            raise _at_work(what, path, file)
        with contextlib.suppress(OSError):  # a full disk; the number only informs people
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        yield


def last_run(path: Path, what: str) -> int | None:
    """Return when the last run began, in nanoseconds; refuse (exit code 2) where one is at work.

    For tasks that only read: the lock file is not written. None: there was no run yet, or the lock
    file cannot be read or locked.
    """
    try:
        with path.open("rb", buffering=0) as file:
            if not try_lock(file.fileno()):
                raise _at_work(what, path, file)
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:  # a file system without locks, or one that may not be looked at
        return None


def _at_work(what: str, path: Path, file: IO[bytes]) -> MirrorError:
    file.seek(0)
    return usage_error(
        what,
        "another run is at work on it",
        ("process", file.read().decode("ascii", "replace").strip() or "unknown"),
        ("lock file", str(path)),
        help="wait until it has ended, then run this again",
    )


def try_lock(fileno: int) -> bool:
    """Lock the open file without waiting; False where somebody else has it.

    The lock belongs to this opening of the file: another one, in the same process too, is refused.
    Raises OSError where the file system has no locks.
    """
    if sys.platform == "win32":
        import ctypes
        import msvcrt

        # A byte far behind any content: what is locked nobody else can read or write. `msvcrt`
        # itself gets no further than 2 GiB, where an artifact may well have bytes.
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = ctypes.c_void_p(msvcrt.get_osfhandle(fileno))
        is_mine = kernel32.LockFile(handle, 0, _FAR_BEHIND, 1, 0)
        if is_mine or ctypes.get_last_error() == _LOCK_VIOLATION:
            return bool(is_mine)
        raise ctypes.WinError(ctypes.get_last_error())
    import fcntl

    try:
        fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
