"""`pixi run prune`: remove what the index names and no workspace does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from scripts.channel.owners import by_settings
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.file_lock import exclusive
from scripts.core.report import Report
from scripts.keep.prune import PruneOptions, adopt, forget, prune
from scripts.lock.read import read_lock
from scripts.workspace.workspace import add_setting_options, open_workspace, overrides_from

SETTINGS = ("channel-dir", "grace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "prune", "remove retained artifacts: those that the index names and no workspace does"
    )
    add_setting_options(parser, *SETTINGS)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--dry-run", action="store_true", help="say what would be removed, then stop"
    )
    parser.add_argument(
        "--now",
        action="store_true",
        help="remove at once what waits for its removal; clients at work may fail",
    )
    parser.add_argument(
        "--drop",
        action="append",
        type=PurePosixPath,
        default=[],
        metavar="PATH",
        help="drop this artifact alone, as when it is damaged (repeatable)",
    )
    which.add_argument(
        "--adopt",
        action="store_true",
        help="take all that is indexed for this workspace's alone, and list it; removes nothing",
    )
    which.add_argument(
        "--forget",
        metavar="NAME",
        help="drop a workspace that no longer shares the channel; removes nothing",
    )
    return run_task("prune", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Prune the mirror of the workspace that the options name."""
    workspace = open_workspace(options.manifest_path, overrides_from(options))
    selection = by_settings(workspace, read_lock(workspace.lock_path))
    asked = PruneOptions(dry_run=options.dry_run, at_once=options.now, drop=tuple(options.drop))
    if options.dry_run:
        return prune(workspace, selection, asked, console)
    with exclusive(workspace.place.lock, workspace.settings.channel_dir):
        if options.forget:
            return forget(workspace, options.forget)
        if options.adopt:
            return adopt(workspace, selection, console)
        return prune(workspace, selection, asked, console)


if __name__ == "__main__":
    sys.exit(main())
