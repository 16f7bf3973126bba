"""`pixi run prune`: remove what the index names and no workspace does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

from scripts.core.command import parse_path, run_task, task_parser
from scripts.core.console import Console
from scripts.core.report import Report, join_reports
from scripts.keep.prune import adopt, forget, preview_prune, prune, read_for_prune, refuse_plan
from scripts.keep.prune_plan import read_plan
from scripts.keep.retention import prune_trees
from scripts.keep.take_snapshot import take_snapshot
from scripts.workspace.settings import add_setting_options
from scripts.workspace.workspace import workspace_from


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task with these arguments."""
    parser = task_parser(
        "prune", "remove retained artifacts: those that the index names and no workspace does"
    )
    add_setting_options(parser, "prune")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be removed, then stop"
    )
    parser.add_argument(
        "--now",
        action="store_true",
        help="remove at once what waits for its removal; clients at work may fail",
    )
    parser.add_argument(
        "--drop",
        action="append",
        type=_artifact_path,
        default=[],
        metavar="PATH",
        help="drop this retained artifact alone, as when it is damaged (repeatable)",
    )
    parser.add_argument(
        "--output",
        type=parse_path,
        metavar="FILE",
        help="also write what --dry-run says would be removed, as a plan for --apply",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--adopt",
        action="store_true",
        help="take all that is indexed for this workspace's alone, and list it; removes nothing",
    )
    which.add_argument(
        "--forget",
        metavar="NAME",
        help="drop a workspace that no longer shares the channel; removes nothing",
    )
    which.add_argument(
        "--apply",
        type=parse_path,
        metavar="FILE",
        help="do just what this plan says; refused where anything has moved since",
    )
    parser.set_defaults(words=sys.argv[1:] if argv is None else argv)
    return run_task("prune", parser, partial(run, parser), argv)


def run(parser: argparse.ArgumentParser, options: argparse.Namespace, console: Console) -> Report:
    """Prune the mirror of the workspace that the options name."""
    removes_nothing = options.adopt or options.forget is not None
    if removes_nothing and (options.dry_run or options.now or options.drop):
        parser.error("--adopt and --forget remove nothing: no --dry-run, --now or --drop with them")
    if options.apply is not None and (options.dry_run or options.now or options.drop):
        parser.error("--apply does what its plan says: no --dry-run, --now or --drop with it")
    if options.output is not None and not options.dry_run:
        parser.error("--output writes what --dry-run says: no --output without it")
    if options.forget == "":
        parser.error("--forget needs the name of a workspace")
    workspace, locks = read_for_prune(workspace_from(options), console)
    drop = tuple(options.drop)
    at_once, trees = options.now or not workspace.settings.grace, None  # dropped, it is due then
    if options.dry_run:
        return preview_prune(
            workspace,
            locks,
            console,
            options.output,
            at_once=at_once,
            drop=drop,
            words=options.words,
        )
    plan = None if options.apply is None else read_plan(options.apply)
    with workspace.channel_lock():
        if options.forget is not None:
            return forget(workspace, options.forget)
        if options.adopt:
            return adopt(workspace, locks, console)
        if plan is not None:
            refuse_plan(workspace, locks, console, options.apply, plan)
            at_once, drop, trees = plan.at_once, plan.drop, plan.trees
        report = prune(workspace, locks, console, at_once=at_once, drop=drop, approved=plan)
        taken = take_snapshot(workspace, console, made_by="prune", locks=locks)
        return join_reports(join_reports(report, taken), prune_trees(workspace, only=trees))


def _artifact_path(text: str) -> PurePosixPath:
    return PurePosixPath(parse_path(text).as_posix())


if __name__ == "__main__":
    sys.exit(main())
