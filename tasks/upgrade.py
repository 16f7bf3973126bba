"""`pixi run upgrade`: bring a builder up to another pixi-mirror."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.core.command import parse_path, run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.template.upgrade import read_newer, upgrade
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser("upgrade", "bring a builder's tasks up to another pixi-mirror")
    parser.add_argument(
        "--from",
        dest="source",
        type=parse_path,
        metavar="PATH",
        help="its pixi-mirror.pyz, or a checkout (default: the one that runs this)",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="take over its tables of tools and tasks whatever was changed in them, and `run`",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would change; change no byte"
    )
    return run_task("upgrade", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Upgrade the builder that the options name."""
    del console  # nothing is under way
    workspace = open_workspace(options.manifest_path, SettingOverrides())
    newer = read_newer(options.source, workspace.root)
    if options.dry_run:
        return upgrade(workspace, newer, replace=options.replace, dry_run=True)
    with workspace.channel_lock():
        return upgrade(workspace, newer, replace=options.replace, dry_run=False)


if __name__ == "__main__":
    sys.exit(main())
