"""The program `pixi-mirror`, which pixi runs as `pixi mirror`: a task by its name.

The wheel carries this template in a folder of its own, where Python would not look for `scripts`
and `tasks`. This module is the entry point, under its long name, and from here on they are found:
before those that the user's folder, PYTHONPATH or site-packages may have.
"""

import os
import signal
import sys

# While we and a task still import, Ctrl-C ends it all without a traceback: as tasks/__init__.py.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem, exit_code_of
from scripts.core.invocation import EXTENSION, PROGRAM, VARIABLE
from scripts.core.version import version
from scripts.launch import (
    ON_THE_TEMPLATE,
    ON_WORKSPACES,
    described_tasks,
    module_of,
    nearest_task,
    task_rows,
)


def main(called: str | None = None) -> int:
    """Do what the command line says; return the exit code.

    `called` is what stands before a task's name in what the user can paste.
    """
    called = os.environ[VARIABLE] = called or _called()
    name, options = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    console = Console()
    if name in {"-h", "--help"}:
        return _print(console, _overview(called))
    if name in {"-V", "--version"}:
        return _print(console, [f"{PROGRAM} {version()}"])
    if name not in described_tasks(ON_WORKSPACES):
        console.problem(_refusal(name, called))
        return ExitCode.USAGE
    from importlib import import_module

    code: int = import_module(module_of(name)).main(options)
    return code


def _print(console: Console, lines: list[str]) -> int:
    try:
        for line in lines:
            console.result(line)
    except MirrorError as error:  # a full disk
        for problem in error.problems:
            console.problem(problem)
        return exit_code_of(error.problems)
    return ExitCode.OK


def _called() -> str:
    """Tell what the user can paste: pixi leaves no trace of having started us, so by PATH."""
    import shutil

    found = all(shutil.which(program) is not None for program in ("pixi", PROGRAM))
    return EXTENSION if found else PROGRAM


def _overview(called: str) -> list[str]:
    """Write what the program prints without a task."""
    return [
        f"usage: {called} NAME [options]    ({called} NAME --help for its options)",
        "",
        *task_rows(described_tasks(ON_WORKSPACES)),
        "",
        "The workspace is that of the nearest manifest upward, or of --manifest-path PATH.",
        "Of its pixi.lock all environments are mirrored, unless [tool.pixi-mirror] says less.",
    ]


def _refusal(name: str, called: str) -> Problem:
    """Say why there is nothing to run, and what there is."""
    trouble, help_ = "there is no such task", f"`{called}` alone lists the tasks"
    if name in described_tasks(ON_THE_TEMPLATE):
        trouble = "this task is for who changes pixi-mirror itself; it has nothing to do here"
        help_ = f"`./run {name}` in a copy of the template"
    elif name.startswith("-"):
        trouble = "no option of this program"
        help_ = f"the task first, then its options: {called} NAME {name}"
    elif near := nearest_task(name, list(described_tasks(ON_WORKSPACES))):
        help_ = f"did you mean `pixi run {near}`?"
    return Problem(subject=name, trouble=trouble, code=ExitCode.USAGE, help=help_)
