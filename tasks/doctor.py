"""`pixi run doctor`: tell whether somebody's pixi.lock would install from a mirror."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scripts.channel.folders import refuse_no_folder
from scripts.core.command import add_words_option, parse_path, run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report
from scripts.doctor.mirror import MirrorLocation, find_mirror
from scripts.doctor.stage import ConfiguredClient, doctor
from scripts.workspace.settings import add_setting_options, overrides_from
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "doctor", "tell whether a pixi.lock would install from a mirror, and what is missing"
    )
    parser.add_argument(
        "--lock", type=parse_path, required=True, metavar="PATH", help="the consumer's pixi.lock"
    )
    parser.add_argument(
        "--mirror",
        type=_parse_place,
        metavar="PLACE",
        help="a folder, a file:// or an http(s):// URL (default: this workspace's channel folder)",
    )
    clients = f"whose configuration is to lead there: {', '.join(ConfiguredClient)} (default: pixi)"
    add_words_option(parser, "--client", ConfiguredClient, clients)
    add_setting_options(parser, "doctor")
    return run_task("doctor", parser, run, argv)


def _parse_place(text: str) -> str:
    """Read `--mirror`: a path, or a URL, which a Path would alter."""
    parse_path(text)
    return text


def run(options: argparse.Namespace, console: Console) -> Report:
    """Answer for the lock and the mirror that the options name."""
    location = _own_mirror(options) if options.mirror is None else find_mirror(options.mirror)
    clients = frozenset(options.client or (ConfiguredClient.PIXI,))
    return doctor(options.lock, location, overrides_from(options), clients, console)


def _own_mirror(options: argparse.Namespace) -> MirrorLocation:
    """Return the channel folder of the workspace; only here is one needed."""
    workspace = workspace_from(options)
    refuse_no_folder(workspace, "pixi run mirror, or name another mirror: --mirror PLACE")
    return find_mirror(str(workspace.place.folder))


if __name__ == "__main__":
    sys.exit(main())
