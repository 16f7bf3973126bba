"""`pixi run why NAME`: which locks have a package, and who needs it."""

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
from scripts.verify.why import why_report
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "why",
        "tell which locks, environments and platforms have a package, and who needs it, up to what "
        "a manifest requires",
    )
    help_ = "the package's name, of conda or of PyPI"
    parser.add_argument("name", type=_name, metavar="NAME", help=help_)
    add_setting_options(parser, "why")
    add_only_option(parser)
    return run_task("why", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Tell by the locks and their manifests; nothing need be fetched yet."""
    workspace = workspace_from(options)
    # What a flat mirror is refused for is to be asked about, too.
    locks = read_locks(workspace, console, believes_cache=True)
    selection = read_selection(workspace, locks, only=options.only, layout=Layout.BY_CHANNEL)
    return why_report(options.name, selection, only=options.only)


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of a package is needed")
    return text


if __name__ == "__main__":
    sys.exit(main())
