"""`pixi run plan`: say what `mirror` would do, and change nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.channel.locks import add_kept_locks_option
from scripts.channel.selection import add_only_option, read_selection
from scripts.channel.users import read_users
from scripts.core.command import parse_path, run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.fetch.stage import read_renewed_locks
from scripts.keep.plan import plan
from scripts.lock.satisfiability import refuse_outdated_locks
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "plan",
        "say what `mirror` would download, what is there, what is retained, what cannot be "
        "mirrored and how much room is left; change nothing",
    )
    add_setting_options(parser, "plan")
    add_kept_locks_option(parser)
    add_only_option(parser)
    parser.add_argument(
        "--offline", action="store_true", help="ask no server for sizes that the lock does not know"
    )
    parser.add_argument(
        "--mapping",
        type=parse_path,
        metavar="FILE",
        help="also write every URL with its path in the channel, size and sha256, as JSON",
    )
    return run_task("plan", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Plan for the workspace that the options name."""
    workspace = workspace_from(options)
    kept = options.kept_locks or options.offline
    locks = read_renewed_locks(workspace, console, kept=kept, again="pixi run plan")
    refuse_outdated_locks(workspace, locks, console, "plan")
    return plan(
        workspace,
        read_selection(workspace, locks, only=options.only),
        console,
        users=read_users(workspace, locks),
        is_offline=options.offline,
        mapping=options.mapping,
    )


if __name__ == "__main__":
    sys.exit(main())
