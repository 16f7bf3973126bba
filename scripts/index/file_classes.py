"""The files of the channel folder in five classes, and the conda channels that are there.

Mirrored is what a workspace names, index what describes it, retained what the index names but no
workspace does, waiting what only an earlier index named, untracked all else.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.inventory import cannot_read, files_below, regular_status
from scripts.channel.removals import removals_of, still_waiting
from scripts.channel.state import Removal, newest_tree
from scripts.channel.users import ChannelUsers
from scripts.core.artifact import Artifact, artifact_of
from scripts.core.channel_paths import FLAT_CHANNEL, Layout, channel_path, folders_of, is_pypi_path
from scripts.core.console import Console
from scripts.core.errors import MirrorError
from scripts.core.file_name import is_artifact_name
from scripts.core.files import FileStatus, read_regular
from scripts.core.record import PypiRecord, Record
from scripts.core.report import Json, counted_files, to_json
from scripts.core.scratch import is_scratch
from scripts.core.subdir import NOARCH, is_known_subdir
from scripts.core.symlinks import check_output_paths
from scripts.index.pypi_index import read_pypi_index, read_retained
from scripts.index.pypi_pages import METADATA, is_pypi_artifact_path, is_pypi_index_path
from scripts.index.readback import read_repodata_zst
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    SHARD_END,
    SHARD_INDEX,
    SHARDS,
    DamagedIndexError,
    index_problem,
    parse_shard_index,
    parsed_repodata,
)
from scripts.lock.model import fill
from scripts.lock.select import Selection, are_other_bytes

INDEX_FILES: Final = (REPODATA, REPODATA_ZST, SHARD_INDEX)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFile:
    """A file of the channel folder; `size` in bytes."""

    path: PurePosixPath
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedArtifact(ChannelFile):
    """An artifact that the index names but this run's locks do not; `size` is that of the file."""

    record: Record | PypiRecord
    rows: tuple[PypiRecord, ...] = ()
    """Of a wheel or sdist those of all indexes; `record` is one of them."""

    @property
    def artifact(self) -> Artifact:
        """The artifact that its record describes, without a URL: no lock gives one."""
        return artifact_of(self.record, self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFiles:
    """All files below the channel folder, each in one class, sorted by path."""

    mirrored: tuple[ChannelFile, ...]
    index: tuple[ChannelFile, ...]
    retained: tuple[IndexedArtifact, ...]
    waiting: tuple[Removal, ...]
    untracked: tuple[ChannelFile, ...]
    others: tuple[IndexedArtifact, ...]
    """The mirrored ones of other workspaces: the index names them, this run's locks do not."""
    is_unbundled: bool
    """Whether the channel came out of a bundle."""
    is_behind: bool
    """Whether what a workspace names waits for its removal, as after a rollback, or is lost."""
    is_adopted: bool
    """Whether no workspace that is unknown here can name any of it."""

    def removed_by(self, what: str, after: str = "") -> str:
        """Say how what is retained is removed; `after` what."""
        if self.is_unbundled:
            return f"the next bundle removes {what}, once pruned on the builder"
        if self.is_behind or not self.is_adopted:
            after = " after `pixi run mirror` in each workspace"
        if not self.is_adopted:
            after += " and `pixi run prune --adopt`"
        return f"`pixi run prune`{after} removes {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One conda channel: what the lock wants in it, and what is there."""

    path: PurePosixPath
    artifacts: tuple[Artifact, ...]
    """Those of the lock."""
    there: Mapping[PurePosixPath, FileStatus]
    """All files named like an artifact, by path."""
    index_files: tuple[PurePosixPath, ...]
    """What rattler-index writes, and temporary files of it that a killed run left."""
    is_wanted: bool
    """Whether it must be a channel even without artifacts."""
    lock_version: int


def read_channels(
    folder: Path,
    selection: Selection,
    gone: Collection[PurePosixPath] = (),
    files: Sequence[tuple[PurePosixPath, FileStatus]] | None = None,
) -> tuple[Channel, ...]:
    """Return all conda channels of the mirror: those of the selection, and those on the disk.

    Only those of the selection's layout: others are left from another one. Files that are `gone`
    are skipped. `files` are all below the folder, where they are known already.
    """
    there: dict[PurePosixPath, dict[PurePosixPath, FileStatus]] = {}
    index_files: dict[PurePosixPath, list[PurePosixPath]] = {}
    for path, found in files_below(folder) if files is None else files:
        if is_pypi_path(path):
            continue
        is_index = is_index_path(path)
        channel = _channel_of(path)
        if not (is_index or is_artifact_path(path)) or not _is_of(selection.layout, channel):
            continue
        status = regular_status(folder, path, found)
        if status is None or path in gone:
            continue
        there.setdefault(channel, {})
        if is_index:
            index_files.setdefault(channel, []).append(path)
        else:
            there[channel][path] = status
    artifacts: dict[PurePosixPath, list[Artifact]] = {}
    for artifact in selection.conda_artifacts:
        artifacts.setdefault(_channel_of(artifact.path), []).append(artifact)
    return tuple(
        Channel(
            path=path,
            artifacts=tuple(artifacts.get(path, ())),
            there=there.get(path, {}),
            index_files=tuple(sorted(index_files.get(path, ()))),
            is_wanted=path in selection.channels,
            lock_version=selection.lock_version,
        )
        for path in sorted({*there, *selection.channels})
    )


def _channel_of(path: PurePosixPath) -> PurePosixPath:
    return _folder_of(path)[2]


def _folder_of(path: PurePosixPath) -> tuple[bool, bool, PurePosixPath]:
    """Return whether a file's folder is (in) a known subdir, whether it holds shards, its channel.

    A folder has thousands of files, so its answer is cached.
    """
    return _folder_kind(str(path).rpartition("/")[0])


@functools.lru_cache(maxsize=1024)
def _folder_kind(text: str) -> tuple[bool, bool, PurePosixPath]:
    folder = PurePosixPath(text)
    has_shards = folder.name == SHARDS
    subdir = folder.parent if has_shards else folder
    return is_known_subdir(subdir.name), has_shards, subdir.parent


def _is_of(layout: Layout, channel: PurePosixPath) -> bool:
    return (layout is Layout.FLAT) == (channel == FLAT_CHANNEL)


def refuse_links(folder: Path, channels: Iterable[Channel]) -> None:
    """Refuse (exit code 2) links and folders where index files go, in empty subdirs, too."""
    subdirs: set[PurePosixPath] = set()
    for channel in channels:
        subdirs |= {channel.path / NOARCH, *folders_of(each.path for each in channel.artifacts)}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names = [each.name for each in (folder / channel.path).iterdir()]
            subdirs |= {channel.path / name for name in names if is_known_subdir(name)}
    check_output_paths(
        folder,
        [subdir / name for subdir in subdirs for name in INDEX_FILES],
        [subdir / SHARDS for subdir in subdirs],
    )


def waiting_files(folder: Path, users: ChannelUsers) -> tuple[Removal, ...]:
    """Return what waits for its removal.

    Of a killed relayout, too: what it has made where this is still the old layout, else what it has
    left in the old layout.
    """
    state = users.state
    waiting = still_waiting(folder, state.removals, users.named())
    if state.before_relayout is None or state.layout is not users.own.layout:
        return waiting
    known = {*state.before_relayout, *(each.path for each in waiting)}
    made = files_of_layout(folder, users.own.layout.other) - known
    return (*waiting, *removals_of(folder, sorted(made), None))


def waiting_whoever_names_it(folder: Path, users: ChannelUsers) -> tuple[Removal, ...]:
    """Return also what other workspaces' locks name, or this one's last.

    A rollback has put it on the list, and no index that is made here names it.
    """
    return waiting_files(folder, replace(users, last=None, others=()))


def files_of_layout(folder: Path, layout: Layout) -> set[PurePosixPath]:
    """Return all artifacts and index files in the channels on the disk that have a layout."""
    channels = read_channels(folder, Selection(layout=layout))
    return {path for each in channels for path in (*each.there, *each.index_files)}


def is_artifact_path(path: PurePosixPath) -> bool:
    """Tell whether a path is that of an artifact: by its name, in a subdir or in PyPI's part."""
    if is_pypi_path(path):
        return is_pypi_artifact_path(path)
    is_subdir, has_shards, _ = _folder_of(path)
    return is_subdir and not has_shards and is_artifact_name(path.name)


def is_index_path(path: PurePosixPath) -> bool:
    """Tell whether a path is that of an index file, of a subdir or of PyPI.

    Or of a temporary one that a killed run left, where a subdir is a file system of its own.
    """
    if is_pypi_path(path):
        return is_pypi_index_path(path)
    name, (is_subdir, has_shards, _) = path.name, _folder_of(path)
    if has_shards:
        return is_subdir and (name.endswith(SHARD_END) or is_scratch(name))
    is_index = name in INDEX_FILES or (name.startswith(INDEX_FILES) and is_scratch(name))
    return is_subdir and is_index


def read_indexed(
    folder: Path,
    channel: Channel,
    console: Console,
    extra_records: Mapping[PurePosixPath, Record] | None = None,
) -> list[IndexedArtifact]:
    """Return the artifacts of a channel that its present index names but the lock does not.

    `extra_records` are added to those of the index.
    """
    unlocked = channel.there.keys() - {each.path for each in channel.artifacts}
    records = dict(extra_records or {})
    for subdir in sorted(folders_of(unlocked)):
        records |= _present_records(folder, subdir, console)
    return [
        IndexedArtifact(path=path, size=channel.there[path].st_size, record=record)
        for path, record in records.items()
        if path in unlocked
    ]


def fill_from_index(
    folder: Path,
    selection: Selection,
    shared: Collection[PurePosixPath],
    extra_records: Mapping[PurePosixPath, Record] | None = None,
) -> Selection:
    """Take what this run's locks do not say from the index, of what is `shared`.

    pixi writes `purls` where an environment has PyPI packages, which another workspace's may have,
    and `run_exports` since version 7. `extra_records` are of artifacts that no index in this layout
    has yet.
    """
    records = {x.path: x.conda_record for x in selection.conda_artifacts if x.path in shared}
    silent = {x: y for x, y in records.items() if not y.purls or y.run_exports is None}
    said = dict(extra_records or {})
    for subdir in folders_of(silent):
        said |= readable_records(folder, subdir)
    filled = {
        path: fill(record, said[path], ("run_exports",))._replace(
            purls=record.purls or said[path].purls or record.purls
        )
        for path, record in silent.items()
        if path in said and not are_other_bytes(record, said[path])
    }
    artifacts = (replace(x, record=filled.get(x.path, x.record)) for x in selection.artifacts)
    return replace(selection, artifacts=tuple(artifacts)) if filled else selection


def lost_artifacts(folder: Path, channel: Channel) -> tuple[PurePosixPath, ...]:
    """Name what the present index of a channel names, no lock does, and is gone from the folder."""
    known = channel.there.keys() | {each.path for each in channel.artifacts}
    subdirs = (each.parent for each in channel.index_files if each.name == REPODATA)
    named = (path for each in subdirs for path in readable_records(folder, each))
    return tuple(x for x in named if x not in known and not os.path.lexists(folder / x))


def readable_records(folder: Path, subdir: PurePosixPath) -> dict[PurePosixPath, Record]:
    """Read the records of a repodata.json; none where it cannot be read: of damage others tell."""
    with contextlib.suppress(OSError, MirrorError):
        data = read_regular(folder / subdir / REPODATA, LARGEST)
        rows = parsed_repodata(data, str(subdir / REPODATA)).records
        return {channel_path(f"{subdir}/{name}"): record for name, record in rows.items()}
    return {}


def _present_records(
    folder: Path, subdir: PurePosixPath, console: Console
) -> dict[PurePosixPath, Record]:
    """Read the records of the present index: of repodata.json, else of its zst, else none.

    Records with a checksum in the shard index win over those of repodata.json, which has none.
    """
    data, records, damage = b"", dict[str, Record](), None
    try:
        data = read_regular(folder / subdir / REPODATA, LARGEST)
        records = {**parsed_repodata(data, str(subdir / REPODATA)).records}
    except FileNotFoundError:
        if not (folder / subdir / REPODATA_ZST).exists():  # there is no index yet, or any more
            return readable_records(newest_tree(folder), subdir)
        damage = index_problem(str(subdir / REPODATA), "is missing")
    except OSError as error:  # what it says must not be lost only because it cannot be read now
        raise cannot_read(error, folder) from None
    except DamagedIndexError as error:
        [damage] = error.problems
    try:
        zst = read_repodata_zst(folder / subdir, subdir, is_checksummed=damage is None)
        if zst != data:  # which is replaced last: until then it has what the zst no longer has
            records |= parsed_repodata(zst, "").records
    except DamagedIndexError:
        if damage is not None:
            console.warn(
                f"{damage.subject}: {damage.message}; what it said of artifacts that the lock"
                " does not name is lost"
            )
    return {channel_path(f"{subdir}/{name}"): record for name, record in records.items()}


def classify_files(
    folder: Path,
    selection: Selection,
    users: ChannelUsers,
    console: Console,
    files: Iterable[tuple[PurePosixPath, FileStatus]] | None = None,
    *,
    is_strict: bool = False,
) -> ChannelFiles:
    """Put every file of the channel folder into its class; `files` are they, where known.

    `is_strict`: what only has the name of a shard, or of METADATA, is untracked.
    """
    named, layout = users.named(), selection.layout
    waiting = {each.path: each for each in waiting_files(folder, users)}
    files = sorted(
        files_below(folder) if files is None else files, key=lambda each: str(each[0]).split("/")
    )
    channels = read_channels(folder, selection, waiting, files)
    found = [each for channel in channels for each in read_indexed(folder, channel, console)]
    pypi = read_pypi_index(folder, selection, files, waiting)
    found += (
        IndexedArtifact(path=path, size=pypi.there[path].st_size, record=rows[-1], rows=tuple(rows))
        for path, rows in read_retained(folder, pypi, console).items()
    )
    indexed = {each.path: each for each in sorted(found, key=lambda each: each.path)}
    # A link in place of one of these folders must not count as untracked.
    folders = {above for each in folders_of(named) for above in (each, *each.parents)}
    folders |= {each.path / NOARCH for each in channels}
    folders |= {each / SHARDS for each in folders if is_known_subdir(each.name)}
    mirrored, index, untracked = list[ChannelFile](), list[ChannelFile](), list[ChannelFile]()
    there, removals = {path for path, _ in files}, users.state.removals
    strays = _strays(folder, there, named.union(indexed)) if is_strict else ()
    for path, status in files:
        if path in waiting:
            continue
        if path in named or path in folders:
            kind = mirrored
        elif path in indexed:
            continue
        elif is_index_path(path) and (is_pypi_path(path) or _is_of(layout, _channel_of(path))):
            kind = untracked if path in strays else index
        else:
            kind = untracked
        kind.append(ChannelFile(path=path, size=status.st_size))
    locked = replace(users, last=None).named() if removals else set()
    return ChannelFiles(
        mirrored=tuple(mirrored),
        index=tuple(index),
        retained=tuple(each for path, each in indexed.items() if path not in named),
        waiting=tuple(each for path, each in sorted(waiting.items()) if path in there),
        untracked=tuple(untracked),
        others=tuple(each for path, each in indexed.items() if path in named),
        is_unbundled=users.state.is_unbundled,
        is_behind=bool(users.state.lost) or any(x.path in locked for x in removals),
        is_adopted=users.state.is_adopted,
    )


def _strays(
    folder: Path, paths: Collection[PurePosixPath], known: Collection[PurePosixPath]
) -> set[PurePosixPath]:
    """Return shards that no shard index names, and METADATA of wheels that are not `known`."""
    named, folders = set[PurePosixPath](), set[PurePosixPath]()
    for path in (x for x in paths if x.name == SHARD_INDEX):
        with contextlib.suppress(OSError, MirrorError):  # the level `index` tells of damage
            shards = parse_shard_index(read_regular(folder / path, LARGEST), "").shards
            folders.add(path.parent / SHARDS)
            named |= {path.parent / SHARDS / f"{x}{SHARD_END}" for x in shards.values()}
    found = {x for x in paths if x.parent in folders} - named
    return found | {x for x in paths if x.suffix == METADATA and x.with_suffix("") not in known}


def channel_files_to_json(files: ChannelFiles) -> Json:
    """Return how many files and bytes each class has, and the names of what no lock names.

    `dropped` is when the index was published that no longer names the file (ISO 8601, UTC).
    """

    def summed(files: Sequence[ChannelFile | Removal]) -> dict[str, Json]:
        return {"files": len(files), "bytes": sum(each.size for each in files)}

    waiting = [
        {**row, "dropped": to_json(each.dropped)}
        for row, each in zip(file_rows(files.waiting), files.waiting, strict=True)
    ]
    return {
        "mirrored": summed(files.mirrored),
        "index": summed(files.index),
        "retained": {**summed(files.retained), "paths": file_rows(files.retained)},
        "waiting-for-removal": {**summed(files.waiting), "paths": waiting},
        "untracked": {**summed(files.untracked), "paths": file_rows(files.untracked)},
    }


def file_rows(files: Iterable[ChannelFile | Removal]) -> list[dict[str, Json]]:
    """Give path and size of files, for `--json`."""
    return [{"path": str(each.path), "size": each.size} for each in files]


def retained_line(files: ChannelFiles, after: str = "") -> str:
    """Write how many artifacts and bytes are indexed but in no lock; `after`: prune, after what."""
    said = counted_files(files.retained, "artifact")
    return f"retained (indexed, in no lock): {said}; {files.removed_by('them', after)}"
