"""`pixi run rollback`: publish the index of an earlier snapshot again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.file_lock import file_lock
from scripts.core.report import Report
from scripts.keep.rollback import rollback
from scripts.workspace.settings import add_setting_options, overrides_from
from scripts.workspace.workspace import open_workspace


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
    workspace = open_workspace(options.manifest_path, overrides_from(options))
    with file_lock(workspace.place.lock, workspace.settings.channel_dir):
        return rollback(workspace, options.snapshot, console)


if __name__ == "__main__":
    sys.exit(main())
