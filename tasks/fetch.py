"""`pixi run fetch`: download what pixi.lock names and the channel lacks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.channel.locks import add_kept_locks_option, keep_parses
from scripts.channel.selection import read_selection
from scripts.channel.users import read_users
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.fetch.stage import INTERRUPTED, fetch, read_renewed_locks
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "fetch", "download every artifact that pixi.lock names and the channel lacks"
    )
    add_setting_options(parser, "fetch")
    add_kept_locks_option(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be downloaded, then stop"
    )
    return run_task("fetch", parser, run, argv, interrupted=INTERRUPTED)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Fetch for the workspace that the options name."""
    workspace = workspace_from(options)
    locks = read_renewed_locks(workspace, console, kept=options.kept_locks)
    selection = read_selection(workspace, locks)
    if options.dry_run:
        read_users(workspace, locks)
        return fetch(workspace, selection, console, dry_run=True)
    with workspace.channel_lock():
        users = read_users(workspace, locks)  # refuses what cannot share a channel
        report = fetch(workspace, selection, console, state=users.state)
        keep_parses(workspace, locks)
    return report


if __name__ == "__main__":
    sys.exit(main())
