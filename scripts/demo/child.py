"""Run a task of this template as its user would, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scripts.core.console import Console, Loudness
from scripts.core.errors import ExitCode, Problem
from scripts.core.report import Json, Report

_LOUDNESS: Final = {Loudness.QUIET: ["-q"], Loudness.NORMAL: [], Loudness.VERBOSE: ["-v"]}
_GRACE: Final = 0.5  # seconds until the child is told that nobody waits for it any more
# Those that a Problem can ask for; any other end is that of a program that failed.
_ASKED_FOR: Final = frozenset({ExitCode.NO, ExitCode.USAGE, ExitCode.NETWORK, ExitCode.PROGRAM})


def run_task_on(workspace: Path, task: str, env: Mapping[str, str], console: Console) -> Report:
    """Run a task on a workspace; the report has its JSON, and a problem where it failed.

    For people, what it prints is shown as it comes; what it has to say on stderr it says itself.
    """
    options = [*_LOUDNESS[console.loudness], *(["--json"] if console.json_wanted else [])]
    command = [sys.executable, "-P", "-m", f"tasks.{task}", "--manifest-path", str(workspace)]
    lines = []
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, text=True, encoding="utf-8", env=dict(env)
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                lines.append(line)
                console.result(line.rstrip("\n"))
        except BaseException:  # Ctrl-C as a rule, of which a terminal tells the child as well
            try:
                child.wait(_GRACE)
            except subprocess.TimeoutExpired:
                child.terminate()
                child.wait()
            raise
    data = _parsed("".join(lines)) if console.json_wanted else None
    return Report(data={task: data}, problems=_problems(task, child.returncode))


def _parsed(text: str) -> Json:
    """Read what a task printed under --json; it may have ended before it printed anything."""
    try:
        document: Json = json.loads(text)
    except ValueError:
        return None
    return document


def _problems(task: str, code: int) -> tuple[Problem, ...]:
    if code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code == ExitCode.OK:
        return ()
    ours = ExitCode(code) if code in _ASKED_FOR else ExitCode.PROGRAM
    trouble = f"ended with exit code {code}, for the reason it gave"
    return (Problem(subject=f"the demo's {task}", trouble=trouble, code=ours),)
