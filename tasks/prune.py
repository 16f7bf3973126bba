"""`pixi run prune`: remove the artifacts that the lock names no more. Acts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.exclusive import exclusive
from scripts.core.report import Report
from scripts.keep.prune import preview, prune
from scripts.lock.read import read_lock
from scripts.lock.select import select
from scripts.manifest.workspace import add_setting_options, open_workspace, overrides_from

SETTINGS = ("channel-dir", "layout", "environments", "exclude-environments", "platforms")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "prune",
        "remove artifacts kept from before: those indexed once that pixi.lock names no more",
    )
    add_setting_options(parser, *SETTINGS)
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be removed, then stop"
    )
    return run_task("prune", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Prune the mirror of the workspace that the options name."""
    workspace = open_workspace(options.manifest_path, overrides_from(options))
    selection = select(read_lock(workspace.lock_path), workspace.settings)
    if options.dry_run:
        return preview(workspace, selection, console)
    with exclusive(workspace.place.lock, workspace.settings.channel_dir):
        return prune(workspace, selection, console)


if __name__ == "__main__":
    sys.exit(main())
