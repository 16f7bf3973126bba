"""A year of weekly mirrors, and of bundles to a far side, with all that goes wrong in a year.

The first weeks in a normal run; all 52, every lock proven each week, with `--deep`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.channel.state import read_state
from scripts.core.channel_paths import ChannelPaths
from scripts.keep.snapshots import read_snapshot_files, read_snapshots, tree_of
from tests.support.snapshots import wrong_newest_snapshot, wrong_snapshots
from tests.support.upstream import Upstream
from tests.support.year import (
    KILLED,
    LOST,
    PRUNED_EVERY,
    QUARTER,
    ROLLED_BACK,
    Week,
    Year,
    live,
    make_year,
    rows_of,
)

WEEKS, SAMPLE = 52, 8
WHOLE, QUICK = ("--client", "rattler"), ("--level", "files,index")
KEPT = 10  # trees of snapshots

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a process that makes a copy of itself")


def test_a_year(tmp_path: Path, upstream: Upstream, *, deep: bool) -> None:
    proofs = WHOLE if deep else QUICK
    year = make_year(tmp_path / "year", upstream.folder, upstream.url, *proofs)
    lived, locked = list[Week](), list[set[str]]()
    for number in range(WEEKS if deep else SAMPLE):
        week = live(year, number)
        lived.append(week)
        locked.append(_locked(year))
        found = [*_far_differs(year), *_left(year.builder), *_left(year.far)]
        is_lost = number % QUARTER == LOST and week.carried > 0
        assert bool(found) is is_lost, (number, found)
        assert list(_grown(year, week, locked)) == [], number
        assert week.carried <= week.artifacts + week.index + (64 << 10) + 300 * week.files, week
    assert any(each.is_killed for each in lived if each.number % QUARTER in KILLED)
    tasks = {each.made_by for each in read_snapshots(year.builder)}
    assert tasks == {"mirror", "prune", "rollback"}
    _what_is_wrong_would_be_seen(year, lived[1], locked)


def _what_is_wrong_would_be_seen(year: Year, week: Week, locked: list[set[str]]) -> None:
    """The control, on what the year has left."""
    for wrong in (b"", None):
        file = year.far.folder / "noarch" / "repodata.json"
        file.unlink() if wrong is None else file.write_bytes(wrong)
        assert list(_far_differs(year)) == ["noarch/repodata.json"]
    (year.builder.folder / "noarch" / "left").touch()
    assert list(_left(year.builder)) == ["left: noarch/left"]
    (year.far.state / "x.0.pixi-mirror.tmp").touch()
    assert any("x.0.pixi-mirror.tmp" in each for each in _left(year.far))
    tree = tree_of(year.builder, read_snapshots(year.builder)[-1])
    artifact = next(tree.rglob("*.conda"))
    data = artifact.read_bytes()
    artifact.unlink()
    artifact.write_bytes(data)
    path = artifact.relative_to(tree).as_posix()
    assert set(_grown(year, week, locked)) == {f"twice on the disk: {path}"}


def _locked(year: Year) -> set[str]:
    return {each.path.name for lock in year.locked.values() for each in lock.values()}


def _far_differs(year: Year) -> Iterator[str]:
    """Yield what the builder's snapshot names and the far side has not, byte for byte."""
    rows = rows_of(year.builder)
    for path in sorted(rows.keys() | rows_of(year.far).keys()):
        here, there = year.builder.folder / path, year.far.folder / path
        if path not in rows or not there.is_file() or here.read_bytes() != there.read_bytes():
            yield path


def _left(place: ChannelPaths) -> Iterator[str]:
    """Yield what is there and nobody names, in the channel or in the state beside it."""
    known = rows_of(place).keys() | {str(each.path) for each in read_state(place).removals}
    for file in (each for each in sorted(place.folder.rglob("*")) if each.is_file()):
        path = file.relative_to(place.folder).as_posix()
        if path not in known:
            yield f"left: {path}"
    yield from (f"left: {each}" for each in place.root.rglob("*.tmp"))
    for folder in ("incoming", "parts"):
        yield from (f"left: {x}" for x in (place.cache / folder).rglob("*") if x.is_file())


def _grown(year: Year, week: Week, locked: list[set[str]]) -> Iterator[str]:
    """Yield what takes room on the builder's disk that is not meant to.

    What `prune` has dropped goes with the next publication, once its time is over.
    """
    place, number = year.builder, week.number
    yield from wrong_snapshots(place)
    yield from wrong_newest_snapshot(place)
    kept = [each for each in read_snapshots(place) if tree_of(place, each).is_dir()]
    if number % PRUNED_EVERY == PRUNED_EVERY - 1 and len(kept) > KEPT + 1:  # a rollback came after
        yield f"{len(kept)} trees"
    before = max(number - 1, 0)
    is_rolled_back = ROLLED_BACK in {number % QUARTER, before % QUARTER}
    if number > 0 and number % PRUNED_EVERY == 0 and week.carried > 0 and not is_rolled_back:
        there = {each.name for each in place.folder.rglob("*.conda")}
        pruned = there - locked[number] - locked[before]
        yield from (f"pruned, and yet there: {each}" for each in sorted(pruned))
    named = {(str(x.path), x.size) for each in kept for x in read_snapshot_files(place, each)}
    waiting = {str(each.path) for each in read_state(place).removals}
    previous: dict[tuple[str, int], int] = {}
    for folder in (*(tree_of(place, each) for each in kept), place.folder):
        inodes = dict[tuple[str, int], int]()
        for file in folder.rglob("*.conda"):
            path, status = file.relative_to(folder).as_posix(), file.stat()
            inodes[path, status.st_size] = status.st_ino
            if (path, status.st_size) not in named and path not in waiting:
                yield f"held for nobody: {path}"
        yield from (
            f"twice on the disk: {path}"
            for (path, size), inode in inodes.items()
            if previous.get((path, size), inode) != inode
        )
        previous = inodes
