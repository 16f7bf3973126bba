"""`pixi run channels`: the channels of each environment in order, and what each serves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.channel.locks import read_locks
from scripts.channel.selection import add_only_option, read_selection
from scripts.core.channel_paths import Layout
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.lock.channels import channel_report
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "channels",
        "show each environment's channels in their order, how many artifacts each serves, and "
        "which of their names other channels of the mirror have too",
    )
    add_setting_options(parser, "channels")
    add_only_option(parser)
    return run_task("channels", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Show the channels by manifest and lock; nothing need be fetched yet."""
    workspace = workspace_from(options)
    # What a flat mirror is refused for is to be seen here, too.
    locks = read_locks(workspace, console, believes_cache=True)
    selection = read_selection(workspace, locks, only=options.only, layout=Layout.BY_CHANNEL)
    return channel_report(selection, is_flat=workspace.settings.layout is Layout.FLAT)


if __name__ == "__main__":
    sys.exit(main())
