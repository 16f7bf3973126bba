"""`pixi run lock`: renew pixi.lock and say what changed since the channel was last made."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.keep.changes import add_markdown_option, changes_report, known_before
from scripts.lock.update import renew_lock
from scripts.workspace.pixi import need_pixi
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser("lock", "renew pixi.lock and say what changed for the channel")
    add_setting_options(parser, "lock")
    add_markdown_option(parser)
    return run_task("lock", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Lock the workspace that the options name."""
    workspace = workspace_from(options)
    markdown: Path | None = options.markdown
    pixi = need_pixi(os.environ, "lock")
    before = known_before(workspace)
    console.note("lock: running `pixi lock`")
    after = renew_lock(pixi, workspace)
    return changes_report(before, after, workspace, markdown)


if __name__ == "__main__":
    sys.exit(main())
