"""`pixi run mirror`: make of pixi.lock a channel that is proven to install offline."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from scripts.channel.users import read_users
from scripts.core.command import KEPT, run_task, task_parser
from scripts.core.console import Console
from scripts.core.file_lock import file_lock
from scripts.core.report import Json, Line, Report
from scripts.fetch.stage import ask_before_first, fetch
from scripts.index.stage import index
from scripts.keep.relayout import relayout
from scripts.lock.model import LockFile
from scripts.lock.parse_cache import keep_parse
from scripts.lock.read import read_lock
from scripts.lock.satisfiability import accept_committed_lock
from scripts.lock.select import select
from scripts.verify.stage import VerifyOptions, add_verify_options, verify, verify_options
from scripts.workspace.pixi import is_run_by_pixi
from scripts.workspace.settings import add_setting_options, overrides_from
from scripts.workspace.workspace import Workspace, open_workspace


def main(argv: Sequence[str] | None = None, *, asks: bool = False) -> int:
    """Run the task with these arguments; `asks`: before it makes a first mirror."""
    parser = task_parser(
        "mirror", "fetch, index and verify: make of pixi.lock a channel that installs offline"
    )
    add_setting_options(parser, "mirror")
    for flag, help_ in (
        ("--relayout", "arrange the channel anew in the layout that is set"),
        ("--drop-retained", "with --relayout: leave out what has no place"),
        ("--yes", "do not ask before a first mirror, as `pixi mirror` without a task does"),
    ):
        parser.add_argument(flag, action="store_true", help=help_)
    add_verify_options(parser)
    parser.set_defaults(asks=asks)
    return run_task("mirror", parser, partial(run, parser), argv, interrupted=KEPT)


def run(parser: argparse.ArgumentParser, options: argparse.Namespace, console: Console) -> Report:
    """Mirror the workspace that the options name."""
    if options.drop_retained and not options.relayout:
        parser.error("--drop-retained goes with --relayout")
    workspace = open_workspace(options.manifest_path, overrides_from(options))
    lock = read_lock(workspace.lock_path, workspace.place.cache)
    unchecked: Sequence[str] = ()
    if not is_run_by_pixi(os.environ, workspace.manifest_path):
        unchecked = accept_committed_lock(workspace, lock, console)
    asks = options.asks and not options.yes
    said = asks and ask_before_first(workspace, select(lock, workspace.settings), console)
    stages = partial(chain, workspace, lock, verify_options(options), console, is_announced=said)
    with file_lock(workspace.place.lock, workspace.settings.channel_dir):
        arranged = Report()
        if options.relayout:
            arranged = relayout(workspace, lock, console, drop_retained=options.drop_retained)
            if arranged.problems:
                return arranged
            console.report(arranged)
        report = stages()
    data = {"not-checked": unchecked, **arranged.data, **report.data}
    return dataclasses.replace(report, data=data)


def chain(
    workspace: Workspace,
    lock: LockFile,
    options: VerifyOptions,
    console: Console,
    *,
    is_announced: bool = False,
) -> Report:
    """Run the stages on the workspace's lock; the first one with a problem is the last.

    What `options` want verified and earlier runs have proven is not proven again. Each stage's
    lines are printed as it ends, what several say but once; the report has the data of all. The
    caller holds the channel's lock file. `is_announced`: as of `fetch`.
    """
    selection = select(lock, workspace.settings)
    users = read_users(workspace, lock)
    again = partial(read_users, workspace, lock)  # the index has moved on what waits
    options = dataclasses.replace(options, remembers=True)
    download = partial(fetch, is_announced=is_announced, again="pixi run mirror")
    stages: tuple[tuple[str, Callable[[], Report]], ...] = (
        ("fetch", lambda: download(workspace, selection, console)),
        ("index", lambda: index(workspace, selection, console, users=users)),
        ("verify", lambda: verify(workspace, selection, options, console, users=again())),
    )
    data, said = dict[str, Json](), set[Line]()
    for name, stage in stages:
        report = stage()
        data[name] = report.data
        for line in (each for each in report.lines if each not in said):
            console.result(line)
        said.update(report.lines)
        if report.problems:
            return dataclasses.replace(report, lines=(), data=data)
    keep_parse(workspace.place.cache, workspace.lock_path, lock)
    closing = f"mirror: {workspace.settings.channel_dir} holds what pixi.lock names"
    left = options.not_proven
    closing += f"; not proven: {', '.join(left)}" if left else ", verified"
    return Report(lines=(closing,), data=data)


if __name__ == "__main__":
    sys.exit(main())
