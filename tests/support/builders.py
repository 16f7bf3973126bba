"""Templates and builders made for a test: a copy that is changed, tasks run as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a task printed, and its exit code."""

    code: int
    out: str
    err: str


def run_task(root: Path, task: str, *arguments: str, cwd: Path | None = None) -> Done:
    """Run a task of this template or builder with the Python that tests it."""
    done = subprocess.run(
        [sys.executable, "-P", "-B", "-m", f"tasks.{task}", *arguments],
        cwd=root if cwd is None else cwd,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


def make_builder(template: Path, folder: Path, *arguments: str) -> Path:
    """Make a builder by a template's own task."""
    done = run_task(template, "new", str(folder), *arguments)
    assert done.code == 0, done.err
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but git's own, Python's caches and the tasks' working state."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {".git", "__pycache__", ".pixi-mirror"} & set(path.parts)
    }
