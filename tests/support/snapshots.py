"""What is wrong with the snapshots of a mirror, read from the disk. Acts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from scripts.channel.state import read_state
from scripts.core.channel_paths import ChannelPaths, Layout
from scripts.core.console import Console
from scripts.keep.published import read_published
from scripts.keep.snapshots import (
    digest_of,
    newest_snapshot,
    read_snapshot_files,
    read_snapshots,
    tree_of,
)


def wrong_snapshots(place: ChannelPaths) -> Iterator[str]:
    """Yield what is wrong with any that has a record: its rows, or the files of its tree."""
    for snapshot in read_snapshots(place):
        rows = read_snapshot_files(place, snapshot)
        tree = tree_of(place, snapshot)
        if tree.is_dir():
            expected = {str(each.path): (each.size, each.sha256) for each in rows}
            if _files(tree) != expected:
                yield f"snapshot {snapshot.id}: its tree is not what its record says"


def wrong_newest_snapshot(place: ChannelPaths) -> Iterator[str]:
    """Yield how the newest one is not what is published, and what belongs to none."""
    newest, state = newest_snapshot(place), read_state(place)
    layout = state.layout or Layout.FLAT
    files = read_published(place, layout, Console())
    if newest is None or newest.content_digest != digest_of(files):
        yield f"snapshot {newest and newest.id}: another one is published"
    ids = {each.id for each in read_snapshots(place)}
    ends = ("", ".jsonl", ".locks", ".later.json")
    ours = {f"{each}{end}" for each in ids for end in ends}
    yield from (f"left: {each}" for each in place.snapshots.iterdir() if each.name not in ours)


def _files(folder: Path) -> dict[str, tuple[int, str]]:
    data = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    return {
        each.relative_to(folder).as_posix(): (
            len(data[each]),
            hashlib.sha256(data[each]).hexdigest(),
        )
        for each in data
    }
