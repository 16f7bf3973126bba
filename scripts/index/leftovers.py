"""Artifacts in the channel that the lock does not name: kept from before, or foreign. Acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.channel.state import ChannelPlace
from scripts.core.console import Console
from scripts.core.errors import MirrorError, usage_error
from scripts.core.files import read_regular
from scripts.index.contents import look_into_channel
from scripts.index.readback import read_vouched_records
from scripts.index.records import Record
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    DamagedIndexError,
    parse_repodata,
    parse_zst,
)
from scripts.index.stamp import ChannelStamp, parse_stamps
from scripts.index.work import ChannelWork, plan_work
from scripts.lock.select import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An artifact kept from before: it has a record, but the lock names it no more."""

    path: PurePosixPath
    size: int
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What is in a mirror's subdirs beside what the lock names; paths are relative to the folder.

    `foreign` is what pixi-mirror did not put there: it is never indexed and never removed.
    """

    kept: tuple[Kept, ...]
    foreign: tuple[PurePosixPath, ...]


def read_stamps(place: ChannelPlace) -> tuple[ChannelStamp, ...]:
    """Read what the indexes were last made from; nothing where that is not known."""
    path = place.index_stamp
    try:
        return parse_stamps(path.read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        trouble = f"cannot be read: {error.strerror}"
        raise usage_error(str(path), trouble, help="remove it; it is made again") from None


def look_into_mirror(place: ChannelPlace, selection: Selection) -> tuple[ChannelWork, ...]:
    """List all conda channels of the mirror: those of the lock, and those indexed earlier."""
    earlier = {PurePosixPath(stamp.summary.channel) for stamp in read_stamps(place)}
    inside = {path for path in earlier if not path.is_absolute() and ".." not in path.parts}
    paths = sorted(inside.union(selection.channels))
    try:
        channels = [look_into_channel(place.folder, path) for path in paths]
    except OSError as error:
        raise _unreadable(error, place.folder) from None
    return plan_work(selection, channels)


def _unreadable(error: OSError, folder: Path) -> MirrorError:
    return usage_error(str(error.filename or folder), f"cannot be read: {error.strerror}")


def find_leftovers(place: ChannelPlace, selection: Selection, console: Console) -> Leftovers:
    """Find what the lock does not name, in all channels of the mirror."""
    found = [
        leftovers_of(work, place.folder, console) for work in look_into_mirror(place, selection)
    ]
    return Leftovers(
        kept=tuple(kept for each in found for kept in each.kept),
        foreign=tuple(path for each in found for path in each.foreign),
    )


def leftovers_of(work: ChannelWork, folder: Path, console: Console) -> Leftovers:
    """Sort one channel's unlocked files by whether its present repodata has a record of them."""
    kept: list[Kept] = []
    foreign = list(work.others())
    records: dict[str, Mapping[str, Record]] = {}
    for subdir, name, status in work.unlocked():
        if subdir not in records:
            records[subdir] = _present_records(folder, work.path / subdir, console)
        record, path = records[subdir].get(name), work.path / subdir / name
        if record is None:
            foreign.append(path)
        else:
            kept.append(Kept(path=path, size=status.st_size, record=record))
    return Leftovers(
        kept=tuple(sorted(kept, key=lambda each: each.path)), foreign=tuple(sorted(foreign))
    )


def _present_records(folder: Path, subdir: PurePosixPath, console: Console) -> Mapping[str, Record]:
    """Read the records of the present index: of repodata.json, else of its zst, else none.

    What the index vouches for goes before what repodata.json says, which a disk may have altered.
    """
    try:
        path = subdir / REPODATA
        data = read_regular(folder / path, LARGEST)
    except FileNotFoundError:
        return {}
    except OSError as error:  # what it says must not be lost only because it cannot be read now
        raise _unreadable(error, folder) from None
    vouched = read_vouched_records(folder / subdir, subdir)
    try:
        records = parse_repodata(data, str(path)).records
    except DamagedIndexError as error:
        trouble = error.problems[0]
    else:
        # Until repodata.json, the last to become visible, it may name more than the others.
        return {**records, **(vouched or {})}
    if vouched is not None:
        return vouched
    try:
        path = subdir / REPODATA_ZST
        data = parse_zst(read_regular(folder / path, LARGEST), str(path))
        return parse_repodata(data, str(path)).records
    except (OSError, DamagedIndexError):
        console.warn(
            f"{trouble.subject}: {trouble.trouble}; what it said of artifacts that the lock does"
            " not name is lost"
        )
        return {}
