"""`pixi run mirror`: make of pixi.lock a channel that is proven to install offline."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from functools import partial

from scripts.channel.locks import add_kept_locks_option, keep_parses
from scripts.channel.selection import read_selection, with_digests
from scripts.channel.users import read_users
from scripts.core.command import run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Json, Line, Report, attempt, join_reports
from scripts.fetch.stage import INTERRUPTED, confirm_first_mirror, fetch, read_renewed_locks
from scripts.index.stage import index
from scripts.keep.take_snapshot import finish_snapshot, take_snapshot
from scripts.lock.mirrored import MirroredLock
from scripts.lock.satisfiability import refuse_outdated_locks
from scripts.lock.select import left_out_lines
from scripts.verify.stage import VerifyOptions, add_verify_options, verify, verify_options
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import Workspace, workspace_from


def main(argv: Sequence[str] | None = None, *, asks: bool = False) -> int:
    """Run the task with these arguments; `asks`: before it makes a first mirror."""
    parser = task_parser("mirror", "fetch, index, verify what the locks name (before it: `plan`)")
    add_setting_options(parser, "mirror")
    for flag, help_ in (
        ("--relayout", "arrange the channel anew in the layout that is set"),
        ("--drop-retained", "with --relayout: leave out what has no place"),
        ("--yes", "do not ask before a first mirror, as `pixi mirror` without a task does"),
    ):
        parser.add_argument(flag, action="store_true", help=help_)
    add_kept_locks_option(parser)
    add_verify_options(parser)
    parser.set_defaults(asks=asks, words=argv or ())
    return run_task("mirror", parser, partial(run, parser), argv, interrupted=INTERRUPTED)


def run(parser: argparse.ArgumentParser, options: argparse.Namespace, console: Console) -> Report:
    """Mirror the workspace that the options name."""
    if options.drop_retained and not options.relayout:
        parser.error("--drop-retained goes with --relayout")
    workspace = workspace_from(options)
    renew = partial(read_renewed_locks, kept=options.kept_locks, again="pixi run mirror")
    locks = renew(workspace, console, relayout=options.relayout)
    unchecked = refuse_outdated_locks(workspace, locks, console, "mirror")
    asks = options.asks and not options.yes
    said = asks and confirm_first_mirror(workspace, locks, options.words, console)
    stages = partial(chain, workspace, locks, verify_options(options), console, is_announced=said)
    with workspace.channel_lock():
        arranged = Report()
        if options.relayout:
            from scripts.keep.relayout import relayout

            arranged = relayout(workspace, locks, console, drop_retained=options.drop_retained)
            if arranged.problems:
                return arranged
            console.report(arranged)
        report = stages()
        keep_parses(workspace, locks)
    data = {"not-checked": unchecked, **arranged.data, **report.data}
    return dataclasses.replace(report, data=data)


def chain(
    workspace: Workspace,
    locks: Sequence[MirroredLock],
    options: VerifyOptions,
    console: Console,
    *,
    is_announced: bool = False,
    made_by: str = "mirror",
) -> Report:
    """Run the stages on the mirror's locks up to the first with a problem, then take a snapshot.

    Nothing is proven twice. Each stage's lines are printed as it ends, what several say but once;
    the report has the data of all. `made_by`, the caller, holds the channel's lock file.
    """
    selection = read_selection(workspace, locks)
    users = read_users(workspace, locks)
    seen = partial(with_digests, workspace, selection)  # of downloads that the lock has none of
    again = partial(read_users, workspace, locks)  # the index has moved on what waits
    options = dataclasses.replace(options, remembers=True)
    download = partial(fetch, state=users.state, is_announced=is_announced, again="pixi run mirror")
    stages: tuple[tuple[str, Callable[[], Report]], ...] = (
        ("fetch", lambda: download(workspace, selection, console)),
        ("index", lambda: index(workspace, seen(), console, users=users)),
        ("verify", lambda: verify(workspace, seen(), options, console, users=again())),
    )
    data, said, taken = dict[str, Json](), set[Line](left_out_lines(selection)), Report()
    for name, stage in stages:
        report = attempt(stage) if "index" in data else stage()
        data[name] = report.data
        for line in (each for each in report.lines if each not in said):  # `fetch` notes them
            console.result(line)
        said.update(report.lines)
        if name == "index":  # what is published has a snapshot, however `verify` ends
            taken = take_snapshot(workspace, console, made_by=made_by, locks=locks)
        if report.problems:
            break
    if "index" in data:
        failed = bool(report.problems)
        taken = finish_snapshot(workspace, taken, locks, seen(), data, has_failed=failed)
        console.report(dataclasses.replace(taken, problems=()))
        data, report = {**data, **taken.data}, join_reports(report, taken)
    if report.problems:
        return dataclasses.replace(report, lines=(), data=data)
    named = f"{len(locks)} locks name" if len(locks) > 1 else f"{locks[0].location} names"
    closing = f"mirror: {workspace.settings.channel_dir} holds what {named}"
    closing += f"; not proven: {', '.join(left)}" if (left := options.not_proven) else ", verified"
    return Report(lines=(closing,), data=data)


if __name__ == "__main__":
    sys.exit(main())
