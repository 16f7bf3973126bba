"""A process that ends, or fails, at each of its file-changing calls in turn. POSIX alone.

    while killed_at(step, root, run): ...

The calls are those that Python tells its audit hooks of: a hook is for good, so it is set in a
child that is a copy of this process.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CHANGES: Final = frozenset(
    {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "os.symlink"}
)
_WRITES: Final = os.O_WRONLY | os.O_RDWR


def killed_at(step: int, root: Path, run: Callable[[], object]) -> bool:
    """Run it and kill it (SIGKILL) before the change of this number; False: it ended before."""
    return _at(step, root, run, _kill) == -signal.SIGKILL


def failing_at(step: int, root: Path, run: Callable[[], int], errno: int) -> tuple[bool, int]:
    """Run it and let the change of this number fail; tell whether it came to that, and the code."""
    read, write = os.pipe()

    def fail(path: str) -> None:
        os.write(write, b"!")
        raise OSError(errno, os.strerror(errno), path)

    code = _at(step, root, run, fail)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        return bool(told.read()), code


def _kill(_path: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _at(step: int, root: Path, run: Callable[[], object], do: Callable[[str], None]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code: object = 70
        try:
            _watch(step, str(root), do)
            code = run()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _watch(step: int, root: str, do: Callable[[str], None]) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITES:
                return
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if not isinstance(path, (str, os.PathLike)) or not str(path).startswith(root):
            return
        seen += 1
        if seen == step:
            do(str(path))

    sys.addaudithook(hook)
