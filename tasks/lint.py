"""`pixi run lint`, `./run lint`: check style, format and types."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.errors import ExitCode, Problem
from scripts.core.report import Report

_ROOT = Path(__file__).resolve().parents[1]
_PYTHON = tuple(
    name for name in ("scripts", "tasks", "tests", "bench") if any((_ROOT / name).glob("**/*.py"))
)

# The program, its arguments, and what mends its findings.
_CHECKS = (
    ("ruff", ("check", "."), "ruff check --fix"),
    ("ruff", ("format", "--check", "."), "ruff format"),
    ("mypy", _PYTHON, None),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task."""
    parser = task_parser("lint", "Check style, format and types with ruff and mypy.")
    return run_task("lint", parser, _lint, argv)


def _lint(options: argparse.Namespace, console: Console) -> Report:
    """Run all checks on the template this file is part of, whatever the first ones find."""
    problems = []
    for program, arguments, mend in _CHECKS:
        console.note(f"{program} {' '.join(arguments)}")
        done = subprocess.run(
            [sys.executable, "-m", program, *arguments],
            cwd=_ROOT,
            stdout=sys.stderr if options.json else None,
            check=False,
        )
        if done.returncode != 0:
            # Both programs say 1 for findings and more where they themselves failed.
            code = ExitCode.FINDINGS if done.returncode == 1 else ExitCode.PROGRAM
            message = "found something to mend" if code is ExitCode.FINDINGS else "failed"
            help_ = f"{sys.executable} -m {mend}" if mend else None
            problems.append(Problem(subject=program, message=message, code=code, help=help_))
    return Report(problems=tuple(problems))


if __name__ == "__main__":
    sys.exit(main())
