"""`unbundle` and `receipt` as tasks: what unbundle.py does alone, and the tree of the snapshot."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from scripts.core.channel_paths import ChannelPaths
from scripts.core.command import parse_path
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.file_lock import file_lock
from scripts.core.report import Json, Report
from scripts.keep import unbundle as far
from scripts.keep.snapshot_trees import build_tree, clear_leftovers
from scripts.keep.snapshots import read_snapshot_files, read_snapshots, tree_of


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
) -> Report:
    """Bring a channel to what a bundle carries, and keep the files of its snapshot, too.

    Nobody may hold the lock file. Raises the error of exit code 1 where the bundle or the channel
    is not what it must be, of 2 where the user must change something, of 4 without ssh-keygen.
    """
    with _refusing():
        outcome = far.unbundle(
            str(folder),
            str(place.folder),
            signers=None if signers is None else str(signers),
            grace=int(grace.total_seconds()),
            say=console.result,
        )
    with file_lock(place.lock, str(place.folder)):
        _keep_tree(place)
    return Report(
        data={
            "changed": outcome.is_changed,
            "signer": outcome.signer,
            "receipt": _receipt_to_json(outcome.receipt),
        }
    )


def receipt(place: ChannelPaths, console: Console) -> Report:
    """Read every file of a channel, and write what was found.

    Raises the error of exit code 1 where one is wrong, of 2 where none is known to be right.
    """
    with _refusing():
        found = far.write_receipt(str(place.folder), console.result)
    return Report(data={"receipt": _receipt_to_json(found)})


def _keep_tree(place: ChannelPaths) -> None:
    """Build the tree of the newest snapshot, unless it is there, or its disk has no hard links."""
    *earlier, newest = read_snapshots(place)
    if tree_of(place, newest).is_dir():
        return
    clear_leftovers(place)
    before = earlier[-1] if earlier else None
    files_before = () if before is None else read_snapshot_files(place, before)
    build_tree(place, newest, read_snapshot_files(place, newest), before, files_before)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Make our error of what unbundle.py refuses."""
    try:
        yield
    except far.Refused as refused:
        labels = ("found", *[""] * len(refused.details))
        problem = Problem(
            subject=refused.subject,
            message=refused.message,
            code=ExitCode(refused.code),
            details=tuple(zip(labels, refused.details, strict=False)),
            help=refused.help,
        )
        raise MirrorError(problem) from None


def _receipt_to_json(found: far.Receipt) -> Json:
    return dict(zip(far.RECEIPT_KEYS, found, strict=True))
