"""`pixi run update-mirror`: move the mirrored packages on, then make the channel."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.channel.locks import read_locks
from scripts.channel.users import read_users
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.errors import MirrorError
from scripts.core.report import Report
from scripts.fetch.stage import INTERRUPTED
from scripts.keep.changes import STDOUT, add_markdown_option, changes_report, known_before
from scripts.lock.read import read_lock
from scripts.lock.update import plan_update, renew_lock, try_update
from scripts.verify.stage import add_verify_options, verify_options
from scripts.workspace.pixi import need_pixi
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from
from tasks import mirror


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser("update-mirror", "run `pixi update` on what is mirrored, then mirror it")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="update these alone")
    for short, word in (("-e", "environment"), ("-p", "platform")):
        parser.add_argument(
            *(short, f"--{word}"),
            dest=f"update_{word}s",
            action="append",
            default=[],
            metavar=word.upper(),
            help=f"update this {word} alone (repeatable), as `pixi update` does",
        )
    add_setting_options(parser, "mirror", short=False)
    add_verify_options(parser)
    add_markdown_option(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would change; change no byte"
    )
    return run_task("update-mirror", parser, run, argv, interrupted=INTERRUPTED)


def run(options: argparse.Namespace, console: Console) -> Report:
    """Update and mirror the workspace that the options name."""
    workspace = workspace_from(options)
    pixi = need_pixi(os.environ, "update-mirror")
    lock = read_lock(workspace.lock_path)
    read_users(workspace, read_locks(workspace, console))  # refuses, before the lock is changed
    plan = plan_update(
        workspace.manifest,
        lock,
        workspace.settings,
        packages=tuple(options.packages),
        environments=tuple(options.update_environments),
        platforms=tuple(options.update_platforms),
    )
    for line in plan.notes:
        console.note(line)
    before = known_before(workspace)
    if options.dry_run:
        console.note(f"update-mirror: trying `pixi {' '.join(plan.arguments)}` on a copy")
        after = try_update(pixi, workspace, plan.arguments)
        would = dataclasses.replace(before, since=f"{before.since}, were this update made")
        return changes_report(would, after, workspace, options.markdown)
    with workspace.channel_lock():
        console.note(f"update-mirror: running `pixi {' '.join(plan.arguments)}`")
        after = renew_lock(pixi, workspace, plan.arguments)
        for_stages = _for_stages(console, options.markdown)
        try:
            locks = read_locks(workspace, console)
            mirrored = mirror.chain(
                workspace, locks, verify_options(options), for_stages, made_by="update-mirror"
            )
        except MirrorError as error:  # what has changed is told all the same
            mirrored = Report(problems=error.problems)
        changes = changes_report(before, after, workspace, options.markdown)
    return Report(
        lines=(*mirrored.lines, *changes.lines) if options.markdown != STDOUT else changes.lines,
        data={**changes.data, **mirrored.data},
        problems=mirrored.problems,
    )


def _for_stages(console: Console, markdown: Path | None) -> Console:
    """Keep stdout for the Markdown where that is to go there."""
    if markdown != STDOUT:
        return console
    return Console(verbosity=console.verbosity, json_wanted=True)


if __name__ == "__main__":
    sys.exit(main())
