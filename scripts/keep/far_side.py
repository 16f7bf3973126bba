"""`unbundle` and `receipt` as tasks: what unbundle.py does alone, and the tree of the snapshot."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from scripts.core.channel_paths import ChannelPaths
from scripts.core.command import parse_path
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem, raise_problems
from scripts.core.file_lock import file_lock
from scripts.core.files import exists, unlink
from scripts.core.report import Json, Report
from scripts.keep import unbundle as program
from scripts.keep.snapshot_trees import disk_problem, ensure_tree, mend_tree
from scripts.keep.snapshots import read_snapshot_files, read_snapshots


def add_channel_argument(parser: argparse.ArgumentParser) -> None:
    """Add `CHANNEL`, a folder that need not be a workspace's."""
    parser.add_argument(
        "channel",
        type=parse_path,
        nargs="?",
        metavar="CHANNEL",
        help="the channel folder (default: that of the workspace)",
    )


def unbundle(
    place: ChannelPaths,
    folder: Path,
    console: Console,
    *,
    signers: Path | None,
    grace: timedelta,
    allow_older: bool = False,
) -> Report:
    """Bring a channel to what a bundle carries, and keep the files of its snapshot, too.

    `allow_older`: the bundle may be older than what was unbundled last. Nobody may hold the
    lock file. Where the disk refuses the files of the snapshot, the report has the problem. Raises
    the error of exit code 1 where the bundle or the channel is not what it must be, of 2 where the
    user must change something, of 4 without ssh-keygen.
    """
    with _telling(console) as say:
        outcome = program.unbundle(
            str(folder),
            str(place.folder),
            signers=None if signers is None else str(signers),
            grace=int(grace.total_seconds()),
            allow_older=allow_older,
            say=say,
        )
        problems = _keep_tree(place)
    placed, waiting, removed = outcome.counts
    return Report(
        data={
            "changed": placed is not None,
            "signer": outcome.signer,
            "placed": placed or 0,
            "waiting": waiting,
            "removed": removed,
            "receipt": _receipt_to_json(outcome.receipt),
        },
        problems=problems,
    )


def receipt(place: ChannelPaths, console: Console) -> Report:
    """Read every file of a channel, and write what was found.

    Raises the error of exit code 1 where one is wrong, of 2 where none is known to be right.
    """
    with _telling(console) as say:
        try:
            found = program.write_receipt(str(place.folder), say)
        except program.Refused as refused:
            if refused.code == ExitCode.FINDINGS and not exists(place.unbundled):
                refused.help = "pixi run verify"  # it is made here, from no bundle
            raise
    return Report(data={"receipt": _receipt_to_json(found)})


def remove_receipt(place: ChannelPaths) -> tuple[str, ...]:
    """Remove a receipt that is of what is published no longer; return the line that says so."""
    files = [place.state / f"receipt.{each}" for each in ("json", "txt")]
    there = [each for each in files if exists(each)]
    for each in there:
        unlink(each)
    said = "the receipt was of what was published before, and is removed: `pixi run receipt`"
    return (f"{said} writes it anew",) if there else ()


def _keep_tree(place: ChannelPaths) -> tuple[Problem, ...]:
    """Build the tree of the newest snapshot, unless its disk has no hard links, or mend it."""
    try:
        with file_lock(place.lock, str(place.folder)):
            newest = read_snapshots(place)[-1]
            ensure_tree(place, newest)
            mend_tree(place, newest, read_snapshot_files(place, newest))
    except OSError as error:
        return (disk_problem(place, error, "the files of the snapshot are not kept"),)
    return ()


@contextlib.contextmanager
def _telling(console: Console) -> Iterator[Callable[[str], None]]:
    """Give the function that prints a line; make a MirrorError of what unbundle.py refuses.

    A line that cannot be printed stops nothing that is under way: that error is raised at the end.
    """
    unsaid = list[Problem]()

    def say(line: str) -> None:
        try:
            console.result(line)
        except MirrorError as error:
            unsaid.extend(error.problems)

    try:
        yield say
    except program.Refused as refused:
        labels = ("found", *[""] * len(refused.details))
        problem = Problem(
            subject=refused.subject,
            message=refused.message,
            code=ExitCode(refused.code),
            details=tuple(zip(labels, refused.details, strict=False)),
            help=refused.help,
        )
        raise MirrorError(problem, *unsaid) from None
    raise_problems(unsaid)


def _receipt_to_json(found: program.Receipt) -> Json:
    return dict(zip(program.RECEIPT_KEYS, found, strict=True))
