"""`pixi run receipt`: read every file of a channel, and write what was found."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.core.channel_paths import channel_paths
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.keep.far_side import add_channel_argument, receipt
from scripts.workspace.workspace import open_workspace


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "receipt", "read every file of a channel, and write the receipt that a delta is made by"
    )
    add_channel_argument(parser)
    return run_task("receipt", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Write the receipt of the channel that the options name, or of the workspace's."""
    if options.channel is None:
        return receipt(open_workspace(options.manifest_path, {}).place, console)
    return receipt(channel_paths(Path(os.path.realpath(options.channel))), console)


if __name__ == "__main__":
    sys.exit(main())
