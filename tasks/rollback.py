"""`pixi run rollback`: publish the index of an earlier snapshot again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.channel.locks import read_locks
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.errors import MirrorError
from scripts.core.files import exists
from scripts.core.report import Report
from scripts.keep.rollback import rollback
from scripts.lock.mirrored import MirroredLock
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "rollback", "publish the index of an earlier snapshot again; pixi.lock stays as it is"
    )
    parser.add_argument(
        "snapshot", metavar="ID", help="the id of a snapshot, or how it alone begins"
    )
    add_setting_options(parser, "rollback")
    return run_task("rollback", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Roll back the mirror of the workspace that the options name."""
    workspace = workspace_from(options)
    locks: tuple[MirroredLock, ...] = ()
    try:
        locks = read_locks(workspace, console, believes_cache=True)
    except MirrorError as error:
        if workspace.settings.locks or exists(workspace.lock_path):  # a far side has none
            first = error.problems[0]
            console.warn(
                f"which locks have moved on is not known: {first.subject}: {first.message}"
            )
    with workspace.channel_lock():
        return rollback(workspace, options.snapshot, console, locks=locks)


if __name__ == "__main__":
    sys.exit(main())
