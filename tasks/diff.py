"""`pixi run diff [A] [B]`: say what changed between two states of the mirror."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.channel.selection import add_only_option
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.keep.changes import add_markdown_option, states_report
from scripts.keep.diff_states import CHANNEL, LOCK, NAMES, read_states
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "diff",
        "say what changed between two states of the mirror: packages, licences, bytes to carry. "
        f"A state is {NAMES}. Without any: what the next `mirror` changes, `channel lock`",
    )
    parser.add_argument("before", nargs="?", metavar="A", help="the earlier state")
    parser.add_argument(
        "after", nargs="?", metavar="B", help="the later state (default: the channel as it is)"
    )
    add_setting_options(parser, "diff")
    add_only_option(parser)
    add_markdown_option(parser)
    return run_task("diff", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Compare what the options name; nothing is changed."""
    workspace = workspace_from(options)
    names = (CHANNEL, LOCK) if options.before is None else (options.before, options.after)
    before, after = read_states(
        workspace, names[0], names[1] or CHANNEL, console, only=options.only
    )
    return states_report(before, after, options.markdown)


if __name__ == "__main__":
    sys.exit(main())
