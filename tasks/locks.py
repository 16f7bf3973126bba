"""`pixi run locks`: the locks that are mirrored, and what each of them alone adds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.channel.locks import read_locks
from scripts.channel.selection import read_selection
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console, Verbosity
from scripts.core.report import Report
from scripts.lock.report import lock_report
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "locks", "show each lock that is mirrored, what it holds, and what it alone adds"
    )
    add_setting_options(parser, "locks")
    return run_task("locks", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Show the locks; nothing need be fetched yet, but for remote ones."""
    workspace = workspace_from(options)
    locks = read_locks(workspace, console, believes_cache=True)
    selection = read_selection(workspace, locks)
    is_whole = console.verbosity is Verbosity.VERBOSE
    return lock_report(selection, workspace.place.folder, is_whole=is_whole)


if __name__ == "__main__":
    sys.exit(main())
