"""`pixi run index`: describe the artifacts of the mirror as conda channels."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.channel.locks import keep_parses, read_locks
from scripts.channel.selection import read_selection
from scripts.channel.users import read_users
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report, join_reports
from scripts.index.stage import index
from scripts.keep.take_snapshot import take_snapshot
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "index", "write the repodata and shards that make the mirror a conda channel, or several"
    )
    add_setting_options(parser, "index")
    return run_task("index", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Index the mirror of the workspace that the options name."""
    workspace = workspace_from(options)
    locks = read_locks(workspace, console, believes_cache=True)
    selection = read_selection(workspace, locks)
    with workspace.channel_lock():
        users = read_users(workspace, locks)
        report = index(workspace, selection, console, users=users)
        taken = take_snapshot(workspace, console, made_by="index", locks=locks)
        keep_parses(workspace, locks)
    return join_reports(report, taken)


if __name__ == "__main__":
    sys.exit(main())
