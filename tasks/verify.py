"""`pixi run verify`: prove that the channel holds what pixi.lock names."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from scripts.channel.locks import read_locks
from scripts.channel.selection import add_only_option, read_selection
from scripts.channel.users import read_users
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.errors import ExitCode, usage_error
from scripts.core.file_lock import last_run
from scripts.core.report import Report
from scripts.keep.rollback import undone_rollback
from scripts.verify.stage import REPORT_FORMS, add_verify_options, verify, verify_options
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser("verify", "prove that the channel holds what pixi.lock names; only look")
    add_setting_options(parser, "verify")
    add_verify_options(parser)
    add_only_option(parser)
    parser.add_argument(
        "--self-check",
        action="store_true",
        help="break copies of the channel, and see whether each break is noticed; goes"
        " with none of --level, --client, --report, --strict",
    )
    parser.add_argument(
        "--report",
        type=_report_file,
        action="append",
        metavar="FILE",
        help="also write a report for those who approve a transfer: FILE.md or FILE.html"
        " (repeatable)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="untracked files in the channel folder are findings",
    )
    return run_task("verify", parser, partial(run, parser), argv)


def run(parser: argparse.ArgumentParser, options: argparse.Namespace, console: Console) -> Report:
    """Verify the mirror of the workspace that the options name."""
    if options.self_check and (options.level or options.client or options.report or options.strict):
        parser.error("--self-check goes with none of --level, --client, --report, --strict")
    workspace = workspace_from(options)
    locks = read_locks(workspace, console)
    selection = read_selection(workspace, locks, only=options.only)
    users = read_users(workspace, locks)  # refuses what has another layout
    if options.self_check:
        from scripts.verify.self_check.stage import self_check

        with workspace.channel_lock():
            return self_check(workspace, selection, console)
    wanted = dataclasses.replace(
        verify_options(options),
        reports=tuple(dict.fromkeys(options.report or ())),
        strict=options.strict,
        not_looked_at=tuple(x.label for x in locks if options.only not in {None, x.label}),
    )
    if options.only:  # another lock may say more of what is in both
        united = {each.path: each for each in read_selection(workspace, locks).artifacts}
        artifacts = tuple(united.get(each.path, each) for each in selection.artifacts)
        selection = dataclasses.replace(selection, artifacts=artifacts)
    lock_file, subject = workspace.place.lock, workspace.settings.channel_dir
    before = last_run(lock_file, subject)
    report = verify(workspace, selection, wanted, console, users=users)
    if report.problems and last_run(lock_file, subject) != before:
        # what it found may be what that run had not yet finished
        raise usage_error(subject, "another run was at work on it meanwhile", help="run this again")
    if report.problems and (undone := undone_rollback(workspace, locks)) is not None:
        # it is why, and what helps each finding would undo the rollback
        message = "was rolled back, and what is locked is not"
        finding = dataclasses.replace(undone, message=message, code=ExitCode.FINDINGS)
        report = dataclasses.replace(report, problems=(finding,))
    return report


def _report_file(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in REPORT_FORMS:
        raise argparse.ArgumentTypeError(f"{text!r} ends in neither {' nor '.join(REPORT_FORMS)}")
    return path


if __name__ == "__main__":
    sys.exit(main())
