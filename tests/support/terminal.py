r"""A real terminal of 80 columns that a program runs on, and somebody who types.

code, said = on_terminal([sys.executable, "-m", "tasks.verify"], ROOT)
code, said = on_terminal(["pixi", "mirror"], folder, typed="y\n")
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path


def on_terminal(
    command: Sequence[str], folder: Path, *, typed: str | None = None, **variables: str
) -> tuple[int, str]:
    """Run it there; return its exit code and all that the terminal got, with what was typed.

    `typed` None: stdout and stderr are the terminal, stdin is none.
    """
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"TERM": "xterm"} | variables,
        stdin=subprocess.DEVNULL if typed is None else theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        with os.fdopen(ours, "r+b", buffering=0) as terminal, contextlib.suppress(OSError):
            if typed is not None:
                terminal.write(typed.encode())
            while chunk := terminal.read(4096):  # EIO, on Linux, is its end
                said += chunk
    return process.returncode, said.decode().replace("\r\n", "\n")


def unbroken(output: str) -> str:
    """Put each row of the table, which is broken at 80 columns, on one line again."""
    return re.sub(r"\n {12,}", "  ", output)
