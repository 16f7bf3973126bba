"""`pixi run upstream`: what has become, where it came from, of what the locks name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.channel.locks import read_locks
from scripts.channel.selection import add_only_option, read_selection
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.keep.upstream import upstream
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "upstream",
        "tell what upstream has withdrawn, re-uploaded, hotfixed or yanked since it was locked, and"
        " what it has that is newer within the manifest; change nothing",
    )
    add_setting_options(parser, "upstream")
    add_only_option(parser)
    return run_task("upstream", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Ask upstream for what the locks of the workspace name; nothing need be fetched yet."""
    workspace = workspace_from(options)
    locks = read_locks(workspace, console, believes_cache=True)
    selection = read_selection(workspace, locks, only=options.only)
    return upstream(workspace, selection, console, is_whole=options.only is None)


if __name__ == "__main__":
    sys.exit(main())
