"""Run another program to its end, from a folder that exists. Acts."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

Done = subprocess.CompletedProcess[bytes]

CANNOT_START: Final = 126  # as a shell ends, and `unshare`
_ROOT: Final = Path(__file__).resolve().parents[2]


def run_program(
    command: Sequence[str],
    environment: Mapping[str, str],
    given: bytes = b"",
    patience: float | None = None,
) -> Done:
    """Run a program to its end; `given` is its stdin. One that cannot be started ends with 126.

    Raises subprocess.TimeoutExpired after `patience` seconds. Then, and where this task is
    interrupted, the program is ended, and on POSIX all that it has started.
    """
    is_posix = os.name == "posix"
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=existing_folder(),
            process_group=0 if is_posix else None,
        )
    except OSError as error:
        trouble = f"{error.filename or command[0]}: cannot be started: {error.strerror}"
        return subprocess.CompletedProcess(list(command), CANNOT_START, b"", trouble.encode())
    with process:
        try:
            output, errors = process.communicate(given, patience)
        except BaseException:
            if is_posix:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def existing_folder() -> Path | None:
    """Return where to start a program: None, here; or a folder of ours where here is gone.

    Programs fail in many ways in a current folder that somebody has removed.
    """
    try:
        Path.cwd()
    except OSError:
        return _ROOT
    return None


def out_of_patience(patience: float) -> str:
    """Say of a program that it was ended, since it seemed to hang."""
    return f"was ended, since it had not finished after {patience / 60:.0f} minutes"
