"""The program `pixi-mirror`, which pixi runs as `pixi mirror`: a task by its name, in this process.

The wheel carries this template in a folder of its own, where Python would not look for `scripts`
and `tasks`. This module is the entry point, under its long name, and from here on they are found:
before those that the user's folder, PYTHONPATH or site-packages may have.
"""

import os
import signal
import sys
from collections.abc import Callable

# While we and a task still import, Ctrl-C ends it all without a traceback: as tasks/__init__.py.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from scripts.core.console import Console
from scripts.core.invocation import EXTENSION, LAUNCHER_VARIABLE, PROGRAM
from scripts.launch import (
    ON_WORKSPACES,
    described_tasks,
    module_of,
    no_such_task,
    run_main,
    show_tasks,
)

_OWN_OPTIONS = frozenset({"-h", "--help", "-V", "--version"})
_ALL = "All environments of pixi.lock are mirrored, unless [tool.pixi-mirror] says less."
_ALONE = "Without NAME it is mirror; before a first mirror it asks, unless --yes is given."


def main(invocation: str | None = None) -> int:
    """Do what the command line says; return the exit code.

    `invocation` is what stands before a task's name in what the user can paste.
    """
    os.environ[LAUNCHER_VARIABLE] = invocation or _find_invocation()
    return run_main(_run)


def _run(arguments: list[str]) -> int:
    invocation = os.environ[LAUNCHER_VARIABLE]
    is_builder = invocation not in {PROGRAM, EXTENSION}  # its pixi.toml names the tasks
    names_none = not arguments or arguments[0].startswith("-")
    if names_none and not is_builder and _OWN_OPTIONS.isdisjoint(arguments[:1]):
        return _main_of("mirror")(arguments, asks=True)
    name, *options = arguments or ["--help"]
    if name in {"-h", "--help"}:
        if is_builder:
            return show_tasks(invocation, "NAME", _ALL)
        return show_tasks(invocation, "[NAME]", f"{_ALONE}\n{_ALL}")
    if name in {"-V", "--version"}:
        from scripts.core.invocation import version

        Console().result(f"{PROGRAM} {version()}")
        return 0
    if name not in described_tasks(ON_WORKSPACES):
        listing = "pixi task list" if is_builder else f"{invocation} --help"
        raise no_such_task(name, invocation, listing, ON_WORKSPACES)
    return _main_of(name)(options)


def _main_of(task: str) -> Callable[..., int]:
    from importlib import import_module

    main: Callable[..., int] = import_module(module_of(task)).main
    return main


def _find_invocation() -> str:
    """Tell what the user can paste: pixi leaves no trace of having started us, so by where we are.

    It looks for us on PATH, and where `pixi global install` puts programs.
    """
    import shutil

    of_pixi = os.environ.get("PIXI_HOME") or os.path.expanduser("~/.pixi")
    path = os.pathsep.join((os.environ.get("PATH", ""), os.path.join(of_pixi, "bin")))
    found = all(shutil.which(program, path=path) is not None for program in ("pixi", PROGRAM))
    return EXTENSION if found else PROGRAM
