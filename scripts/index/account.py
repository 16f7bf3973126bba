"""Every file of the channel folder, by who it belongs to.

Mirrored is what a workspace names, index what describes it, retained what the index names and no
workspace does, waiting what an earlier index named, untracked all else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.channel.inventory import cannot_read, files_below, find_channels
from scripts.channel.mirror_state import Removal
from scripts.channel.owners import Owners
from scripts.channel.removals import still_waiting
from scripts.core.channel_paths import ChannelPlace
from scripts.core.console import Console
from scripts.core.errors import ExitCode, Problem
from scripts.core.file_name import parse_file_name
from scripts.core.files import read_regular
from scripts.core.layout import FLAT_CHANNEL, Layout
from scripts.core.record import Record
from scripts.core.report import Json
from scripts.core.subdir import is_known_subdir
from scripts.index.contents import is_index_path, look_into_channel
from scripts.index.readback import read_vouched_records
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    DamagedIndexError,
    parse_repodata,
    parse_zst,
)
from scripts.index.stamp import ChannelStamp
from scripts.index.work import ChannelWork, plan_work
from scripts.lock.select import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFile:
    """A file of the channel folder; `size` in bytes."""

    path: PurePosixPath
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed(ChannelFile):
    """An artifact that the index names and this run's lock does not; `size` is the file's."""

    record: Record

    @property
    def is_whole(self) -> bool:
        """Tell whether the file has the size that its record promises."""
        return self.record.size in {None, self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """All files below the channel folder, each in one class, sorted by path.

    `others` are those of the mirrored ones that the index names and this run's lock does not.
    """

    mirrored: tuple[ChannelFile, ...]
    index: tuple[ChannelFile, ...]
    retained: tuple[Indexed, ...]
    waiting: tuple[Removal, ...]
    untracked: tuple[ChannelFile, ...]
    others: tuple[Indexed, ...]


def look_into_mirror(place: ChannelPlace, selection: Selection) -> tuple[ChannelWork, ...]:
    """List all conda channels of the mirror: those of the lock, and those that are there."""
    there = (each for each in find_channels(place.folder) if _is_of(selection.layout, each))
    try:
        paths = sorted({*there, *selection.channels})
        return plan_work(selection, [look_into_channel(place.folder, path) for path in paths])
    except OSError as error:
        raise cannot_read(error, place.folder) from None


def _is_of(layout: Layout, channel: PurePosixPath) -> bool:
    """Tell whether a channel is arranged so; what is not is left from another layout."""
    return (layout is Layout.FLAT) == (channel == FLAT_CHANNEL)


def untracked_of(
    folder: Path, stamps: Sequence[ChannelStamp], known: AbstractSet[PurePosixPath]
) -> tuple[PurePosixPath, ...]:
    """Return all files that nobody names, no index describes, and that are no index files."""
    indexed = {PurePosixPath(path) for each in stamps for path, _ in each.summary.not_locked}
    return tuple(
        sorted(
            path
            for path, _ in files_below(folder)
            if path not in known and path not in indexed and not is_index_path(path)
        )
    )


def indexed_of(
    work: ChannelWork,
    folder: Path,
    waiting: AbstractSet[PurePosixPath],
    carried: Mapping[PurePosixPath, Record],
    console: Console,
) -> tuple[Indexed, ...]:
    """Return the artifacts of a channel that its present index names, and the selection does not.

    Those that wait for their removal are no longer to be named; `carried` are to be from now on.
    """
    found = []
    records: dict[str, Mapping[str, Record]] = {}
    for subdir, name, status in work.unlocked():
        path = work.path / subdir / name
        if path in waiting:
            continue
        if subdir not in records:
            records[subdir] = _present_records(folder, work.path / subdir, console)
        record = records[subdir].get(name) or carried.get(path)
        if record is not None:
            found.append(Indexed(path=path, size=status.st_size, record=record))
    return tuple(sorted(found, key=lambda each: each.path))


def take_account(
    place: ChannelPlace, selection: Selection, owners: Owners, console: Console
) -> Account:
    """Put every file of the channel folder into its class."""
    named = owners.named()
    waiting = still_waiting(place.folder, owners.state.removals, named)
    by_path = {each.path: each for each in waiting}
    indexed = {
        each.path: each
        for work in look_into_mirror(place, selection)
        for each in indexed_of(work, place.folder, by_path.keys(), {}, console)
    }
    mirrored: list[ChannelFile] = []
    index: list[ChannelFile] = []
    untracked: list[ChannelFile] = []
    still: list[Removal] = []
    for path, status in files_below(place.folder):
        file = ChannelFile(path=path, size=status.st_size)
        if path in by_path:
            still.append(by_path[path])
        elif path in named:
            mirrored.append(file)
        elif path in indexed:
            continue
        elif is_index_path(path):
            index.append(file)
        else:
            untracked.append(file)

    def by_place(each: ChannelFile) -> PurePosixPath:
        return each.path

    return Account(
        mirrored=tuple(sorted(mirrored, key=by_place)),
        index=tuple(sorted(index, key=by_place)),
        retained=tuple(each for path, each in sorted(indexed.items()) if path not in named),
        waiting=tuple(sorted(still, key=lambda each: each.path)),
        untracked=tuple(sorted(untracked, key=by_place)),
        others=tuple(each for path, each in sorted(indexed.items()) if path in named),
    )


def account_json(account: Account) -> Json:
    """Give all five classes: how many files and bytes each has, and by name what is not the lock's.

    `dropped` is when the publication was that no longer names the file (ISO 8601, UTC).
    """

    def counted(files: Sequence[ChannelFile]) -> dict[str, Json]:
        return {"files": len(files), "bytes": sum(each.size for each in files)}

    def listed(files: Sequence[ChannelFile]) -> dict[str, Json]:
        rows: list[Json] = [{"path": str(each.path), "size": each.size} for each in files]
        return {**counted(files), "paths": rows}

    return {
        "mirrored": counted(account.mirrored),
        "index": counted(account.index),
        "retained": listed(account.retained),
        "waiting-for-removal": {
            "files": len(account.waiting),
            "bytes": sum(each.size for each in account.waiting),
            "paths": [
                {
                    "path": str(each.path),
                    "size": each.size,
                    "dropped": None if each.dropped is None else each.dropped.isoformat(),
                }
                for each in account.waiting
            ],
        },
        "untracked": listed(account.untracked),
    }


def damaged_problem(each: Indexed) -> Problem:
    """Say that an artifact is not what the index promises, and how to drop it."""
    return Problem(
        subject=str(each.path),
        trouble="is in no lock, and its size is not that of its record",
        code=ExitCode.NO,
        facts=(("expected", f"{each.record.size} bytes"), ("actual", f"{each.size} bytes")),
        help=f"pixi run prune --drop {each.path}",
    )


def is_artifact_place(path: PurePosixPath) -> bool:
    """Tell whether an artifact could be here: named like one, in a subdir."""
    return is_known_subdir(path.parent.name) and parse_file_name(path.name) is not None


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
        raise cannot_read(error, folder) from None
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
