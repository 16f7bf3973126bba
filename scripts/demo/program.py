"""Run the program that the demo installed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from scripts.core.errors import ExitCode, MirrorError, Problem

_LONGEST: Final = 30  # seconds


def run_program(prefix: Path) -> str:
    """Run `hello` of a prefix and return the line that it says.

    Raises a MirrorError of exit code 1 where it does not run or says nothing.
    """
    program = prefix / ("Scripts/hello.bat" if os.name == "nt" else "bin/hello")
    try:
        done = subprocess.run(
            [str(program)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_LONGEST,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(str(error)) from None
    if done.returncode != 0 or not done.stdout.strip():
        said = done.stderr.strip() or "nothing"
        raise _failed(f"it ended with status {done.returncode} and said {said}")
    return done.stdout.strip()


def _failed(reason: str) -> MirrorError:
    return MirrorError(
        Problem(
            subject="hello",
            trouble="was installed, yet does not run",
            code=ExitCode.NO,
            facts=(("reason", reason),),
        )
    )
