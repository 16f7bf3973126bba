"""`pixi run unbundle`: bring a channel to what a bundle carries."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.core.channel_paths import channel_paths
from scripts.core.command import parse_path, run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.keep.far_side import add_channel_argument, unbundle
from scripts.workspace.settings import Settings, add_setting_options, override, overrides_from
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "unbundle", "check a bundle, bring a channel to what it carries, and write its receipt"
    )
    parser.add_argument(
        "bundle", type=parse_path, metavar="BUNDLE", help="the folder of the bundle"
    )
    add_channel_argument(parser)
    add_setting_options(parser, "unbundle")
    parser.add_argument(
        "--allowed-signers",
        type=parse_path,
        metavar="FILE",
        help="refuse a bundle that none of these has signed, as ssh-keygen -Y has them",
    )
    parser.add_argument(
        "--allow-older",
        action="store_true",
        help="take a bundle that is older than what was unbundled last, too",
    )
    interrupted = "interrupted; run this again: it goes on where it stopped"
    return run_task("unbundle", parser, run, argv, interrupted=interrupted)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Unbundle into the channel that the options name, or that of the workspace."""
    if options.channel is None:
        workspace = workspace_from(options)
        place, settings = workspace.place, workspace.settings
    else:
        place = channel_paths(Path(os.path.realpath(options.channel)))
        settings = override(Settings(), overrides_from(options))
    return unbundle(
        place,
        options.bundle,
        console,
        signers=options.allowed_signers,
        grace=settings.grace,
        allow_older=options.allow_older,
    )


if __name__ == "__main__":
    sys.exit(main())
