"""Every file of the channel folder, by who it belongs to; what is there of each conda channel.

Mirrored is what a workspace names, index what describes it, retained what the index names and no
workspace does, waiting what an earlier index named, untracked all else.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISLNK, S_ISREG
from typing import Final

from scripts.channel.inventory import cannot_read, files_below
from scripts.channel.removals import still_waiting
from scripts.channel.state import Removal
from scripts.channel.users import ChannelUsers
from scripts.core.artifact import Artifact
from scripts.core.console import Console
from scripts.core.file_name import parse_file_name
from scripts.core.files import read_regular
from scripts.core.layout import FLAT_CHANNEL, Layout
from scripts.core.record import Record
from scripts.core.report import Json, counted, human_size
from scripts.core.scratch import is_scratch
from scripts.core.subdir import NOARCH, is_known_subdir
from scripts.index.readback import read_checksummed_records
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    SHARD_END,
    SHARD_INDEX,
    SHARDS,
    DamagedIndexError,
    parse_repodata,
    parse_zst,
)
from scripts.lock.select import Selection

OLDEST_COMPLETE: Final = 6  # the first lock version whose rows leave nothing open
INDEX_FILES: Final = (REPODATA, REPODATA_ZST, SHARD_INDEX)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFile:
    """A file of the channel folder; `size` in bytes."""

    path: PurePosixPath
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedArtifact(ChannelFile):
    """An artifact that the index names and this run's lock does not; `size` is the file's."""

    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFiles:
    """All files below the channel folder, each in one class, sorted by path."""

    mirrored: tuple[ChannelFile, ...]
    index: tuple[ChannelFile, ...]
    retained: tuple[IndexedArtifact, ...]
    waiting: tuple[Removal, ...]
    untracked: tuple[ChannelFile, ...]
    others: tuple[IndexedArtifact, ...]
    """Those of the mirrored ones that the index names and this run's lock does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One conda channel: what the lock wants in it, and what is there."""

    path: PurePosixPath
    artifacts: tuple[Artifact, ...]
    """Those of the lock."""
    there: Mapping[PurePosixPath, os.stat_result]
    """All files named like an artifact, by path."""
    index_files: tuple[PurePosixPath, ...]
    """What rattler-index writes, or a killed run left of it."""
    subdirs: frozenset[PurePosixPath]
    """Folders that these are in or must come to be in, and links in place of such."""
    is_wanted: bool
    """It must be a channel even with nothing in it."""
    lock_version: int


def read_channels(
    folder: Path,
    selection: Selection,
    gone: Collection[PurePosixPath] = (),
    files: Sequence[tuple[PurePosixPath, os.stat_result]] | None = None,
) -> tuple[Channel, ...]:
    """List all conda channels of the mirror: those of the lock, and those that are there.

    Only of the selection's layout: what is not is left from another one. Files that are `gone`
    are passed over. `files` are all below the folder, where they are known.
    """
    is_flat = selection.layout is Layout.FLAT
    there: dict[PurePosixPath, dict[PurePosixPath, os.stat_result]] = {}
    index_files: dict[PurePosixPath, list[PurePosixPath]] = {}
    links: set[PurePosixPath] = set()
    for path, found in files_below(folder) if files is None else files:
        if is_known_subdir(path.name) and S_ISLNK(found.st_mode):
            links.add(path)
        is_index = is_index_path(path)
        status = _regular(folder / path, found) if is_index or is_artifact_path(path) else None
        if status is None or path in gone:
            continue
        channel = path.parents[2 if path.parent.name == SHARDS else 1]
        if is_flat == (channel == FLAT_CHANNEL):
            there.setdefault(channel, {})
            if is_index:
                index_files.setdefault(channel, []).append(path)
            else:
                there[channel][path] = status
    artifacts: dict[PurePosixPath, list[Artifact]] = {}
    for artifact in selection.artifacts:
        artifacts.setdefault(artifact.channel, []).append(artifact)
    channels = []
    for path in sorted({*there, *selection.channels}):
        own = [each.path for each in artifacts.get(path, ())]
        inside = (*own, *there.get(path, ()), *index_files.get(path, ()))
        subdirs = {path / each.relative_to(path).parts[0] for each in inside}
        subdirs |= {path / NOARCH, *(each for each in links if each.parent == path)}
        one = Channel(
            path=path,
            artifacts=tuple(artifacts.get(path, ())),
            there=there.get(path, {}),
            index_files=tuple(sorted(index_files.get(path, ()))),
            subdirs=frozenset(subdirs),
            is_wanted=path in selection.channels,
            lock_version=selection.lock_version,
        )
        channels.append(one)
    return tuple(channels)


def _regular(file: Path, status: os.stat_result) -> os.stat_result | None:
    """Follow a link in place of a file; what is neither is none of ours."""
    if S_ISLNK(status.st_mode):
        try:
            status = file.stat()
        except OSError:
            return None
    return status if S_ISREG(status.st_mode) else None


def is_artifact_path(path: PurePosixPath) -> bool:
    """Tell whether an artifact could be here: named like one, in a subdir."""
    return is_known_subdir(path.parent.name) and parse_file_name(path.name) is not None


def is_index_path(path: PurePosixPath) -> bool:
    """Tell whether this is where an index file of a subdir lies, by its name alone.

    Or what a kill left of one where a subdir is a file system of its own.
    """
    name, above = path.name, path.parent
    if above.name == SHARDS:
        is_index = name.endswith(SHARD_END) or is_scratch(name)
        return is_index and is_known_subdir(above.parent.name)
    is_index = name in INDEX_FILES or (name.startswith(INDEX_FILES) and is_scratch(name))
    return is_index and is_known_subdir(above.name)


def read_indexed(
    folder: Path,
    channel: Channel,
    console: Console,
    extra_records: Mapping[PurePosixPath, Record] | None = None,
) -> list[IndexedArtifact]:
    """Return the artifacts of a channel that its present index names, and the lock does not.

    The index is to have `extra_records` from now on.
    """
    locked = {each.path for each in channel.artifacts}
    unlocked = {path: status for path, status in channel.there.items() if path not in locked}
    records = dict(extra_records or {})
    for subdir in sorted({path.parent for path in unlocked}):
        found = _present_records(folder, subdir, console)
        records |= {subdir / name: record for name, record in found.items()}
    return [
        IndexedArtifact(path=path, size=status.st_size, record=records[path])
        for path, status in sorted(unlocked.items())
        if path in records
    ]


def _present_records(folder: Path, subdir: PurePosixPath, console: Console) -> Mapping[str, Record]:
    """Read the records of the present index: of repodata.json, else of its zst, else none.

    What the index vouches for goes before what repodata.json says, which a disk may have altered.
    """
    path = subdir / REPODATA
    try:
        data = read_regular(folder / path, LARGEST)
    except FileNotFoundError:
        return {}
    except OSError as error:  # what it says must not be lost only because it cannot be read now
        raise cannot_read(error, folder) from None
    checksummed = read_checksummed_records(folder / subdir, subdir)
    try:
        # Until repodata.json, the last to become visible, it may name more than the others.
        return {**parse_repodata(data, str(path)).records, **(checksummed or {})}
    except DamagedIndexError as error:
        [message] = error.problems
    if checksummed is not None:
        return checksummed
    path = subdir / REPODATA_ZST
    try:
        data = parse_zst(read_regular(folder / path, LARGEST), str(path))
        return parse_repodata(data, str(path)).records
    except (OSError, DamagedIndexError):
        console.warn(
            f"{message.subject}: {message.message}; what it said of artifacts that the lock does"
            " not name is lost"
        )
        return {}


def classify_files(
    folder: Path, selection: Selection, users: ChannelUsers, console: Console
) -> ChannelFiles:
    """Put every file of the channel folder into its class."""
    named = users.named()
    waiting = {each.path: each for each in still_waiting(folder, users.state.removals, named)}
    files = sorted(files_below(folder), key=lambda each: each[0])
    channels = read_channels(folder, selection, waiting, files)
    indexed = {
        each.path: each for channel in channels for each in read_indexed(folder, channel, console)
    }
    # A link in place of a folder is none of its files, and yet not to be moved away.
    folders = {above for path in named for above in path.parents}
    folders |= {each.path / NOARCH for each in channels}
    folders |= {each / SHARDS for each in folders if is_known_subdir(each.name)}
    mirrored: list[ChannelFile] = []
    index: list[ChannelFile] = []
    untracked: list[ChannelFile] = []
    still: list[Removal] = []
    for path, status in files:
        file = ChannelFile(path=path, size=status.st_size)
        if path in waiting:
            still.append(waiting[path])
        elif path in named or path in folders:
            mirrored.append(file)
        elif path not in indexed:
            (index if is_index_path(path) else untracked).append(file)
    return ChannelFiles(
        mirrored=tuple(mirrored),
        index=tuple(index),
        retained=tuple(each for path, each in sorted(indexed.items()) if path not in named),
        waiting=tuple(still),
        untracked=tuple(untracked),
        others=tuple(each for path, each in sorted(indexed.items()) if path in named),
    )


def channel_files_to_json(files: ChannelFiles) -> Json:
    """Give all five classes: how many files and bytes each has, and by name what is not the lock's.

    `dropped` is when the publication was that no longer names the file (ISO 8601, UTC).
    """

    def counted(files: Sequence[ChannelFile | Removal]) -> dict[str, Json]:
        return {"files": len(files), "bytes": sum(each.size for each in files)}

    def listed(files: Sequence[ChannelFile | Removal]) -> dict[str, Json]:
        rows: list[Json] = []
        for each in files:
            row: dict[str, Json] = {"path": str(each.path), "size": each.size}
            if isinstance(each, Removal):
                row["dropped"] = None if each.dropped is None else each.dropped.isoformat()
            rows.append(row)
        return {**counted(files), "paths": rows}

    return {
        "mirrored": counted(files.mirrored),
        "index": counted(files.index),
        "retained": listed(files.retained),
        "waiting-for-removal": listed(files.waiting),
        "untracked": listed(files.untracked),
    }


def retained_line(retained: Sequence[IndexedArtifact]) -> str:
    """Say how much is indexed that no lock names."""
    return (
        f"retained (indexed, in no lock): {counted(len(retained), 'artifact')},"
        f" {human_size(sum(each.size for each in retained))};"
        " `pixi run prune` removes them"
    )
