"""`pixi run platforms`: show or change for which platforms environments are locked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.errors import usage_error
from scripts.core.report import Report
from scripts.workspace.platforms import change_platforms, show_platforms, write_platforms
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import read_manifest_text, workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "platforms",
        "show for which platforms each environment is locked, or change those of the mirrored set",
    )
    parser.add_argument(
        "wanted", nargs="*", metavar="PLATFORM", help="mirror for just these, like linux-64 win-64"
    )
    for option, verb in (("--add", "mirror for"), ("--remove", "no longer mirror for")):
        parser.add_argument(
            option,
            action="append",
            default=[],
            metavar="PLATFORM",
            help=f"{verb} this platform (repeatable)",
        )
    add_setting_options(parser, "platforms")
    return run_task("platforms", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Show the platforms, or edit the manifest and say what is to be done next."""
    workspace = workspace_from(options)
    if not options.wanted and not options.add and not options.remove:
        return show_platforms(workspace.manifest, workspace.settings, console)
    if options.wanted and (options.add or options.remove):
        raise usage_error(
            "platforms",
            "either the platforms wanted, or --add and --remove",
            help="pixi run platforms --add linux-aarch64 --remove win-64",
        )
    text, name = read_manifest_text(workspace.manifest_path), workspace.manifest.file_name
    edit = change_platforms(
        text, name=name, wanted=options.wanted, add=options.add, remove=options.remove
    )
    return write_platforms(workspace, edit, console)


if __name__ == "__main__":
    sys.exit(main())
