"""`pixi run upgrade`: bring a builder's tasks up to a newer template."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.core.command import folder_of, run_task, task_parser
from scripts.core.console import Console
from scripts.core.errors import ExitCode, usage_error
from scripts.core.file_lock import exclusive
from scripts.core.report import Report
from scripts.core.template_files import TEMPLATE
from scripts.template.builder_files import check_template
from scripts.template.upgrade import UpgradeOptions, upgrade
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments, or have the template do it that they name."""
    parser = task_parser(
        "upgrade", "bring a builder's tasks up to a newer template; your changes stay"
    )
    for option, help_ in (
        ("--from", "the folder of the newer template (default: the one that runs this)"),
        ("--base", "the template the folder was copied from, where .template.json does not say"),
    ):
        parser.add_argument(
            option, dest=f"{option[2:]}_folder", type=folder_of, metavar="DIR", help=help_
        )
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="NAME",
        help="a file or table whose difference you have dealt with: yours stays (repeatable)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would change; change no byte"
    )
    arguments = sys.argv[1:] if argv is None else list(argv)
    newer = _newer(parser.parse_args(arguments))
    if newer is not None:
        return _by(newer, arguments)
    return run_task("upgrade", parser, run, argv)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Upgrade the builder that the options name, by the template that this file is part of."""
    del console  # nothing is under way
    workspace = open_workspace(options.manifest_path, SettingOverrides())
    if options.from_folder is not None:
        check_template(options.from_folder)
    if workspace.root == TEMPLATE:
        raise usage_error(
            str(TEMPLATE),
            "its own tasks run, so there is nothing newer to compare it with",
            help="name the folder of a newer template: pixi run upgrade --from DIR",
        )
    wishes = UpgradeOptions(
        base=options.base_folder,
        keep=frozenset(options.keep),
        command=_command(options),
        dry_run=options.dry_run,
    )
    if options.dry_run:
        return upgrade(workspace, wishes)
    with exclusive(workspace.place.lock, workspace.settings.channel_dir):
        return upgrade(workspace, wishes)


def _command(options: argparse.Namespace) -> str:
    """Write what was said, but for what is said once, to be pasted again."""
    words = ["pixi", "run", "upgrade"]
    for option, value in (
        ("--manifest-path", options.manifest_path),
        ("--from", options.from_folder),
    ):
        words += [] if value is None else [option, str(value)]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _newer(options: argparse.Namespace) -> Path | None:
    """Return the template that is to do it instead of this one; None where there is none such."""
    folder: Path | None = options.from_folder
    if folder is None or not (folder / "tasks" / "upgrade.py").is_file():
        return None  # what is wrong with it is told as all else is
    folder = folder.resolve()
    return None if folder == TEMPLATE else folder


def _by(newer: Path, arguments: Sequence[str]) -> int:
    """Let the newer template do it: it knows what belongs to it, and is not what is replaced."""
    command = [sys.executable, "-P", "-B", "-m", "tasks.upgrade", *arguments]
    try:
        return subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(newer)}, check=False
        ).returncode
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
