"""`pixi run snapshots`: what the channel was like after each run that changed its index."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.keep.retention import forget_snapshot, snapshots_report
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "snapshots", "list the snapshots of the mirror: what its index named, oldest first"
    )
    add_setting_options(parser, "snapshots")
    parser.add_argument(
        "--forget", metavar="ID", help="remove this snapshot, with its record and its files"
    )
    return run_task("snapshots", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """List the snapshots of the workspace's mirror, or forget one."""
    workspace = workspace_from(options)
    if options.forget is None:
        return snapshots_report(workspace, console)
    with workspace.channel_lock():
        return forget_snapshot(workspace, options.forget)


if __name__ == "__main__":
    sys.exit(main())
