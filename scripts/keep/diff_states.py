"""Read what `diff` compares: the channel, a snapshot, the mirror's locks, or one lock."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.inventory import SEE_TO_DISK
from scripts.channel.locks import mirrored_lock, read_locks
from scripts.channel.selection import chosen_locks, read_whole_selection
from scripts.channel.state import read_channel_state, read_state
from scripts.channel.users import last_mirrored
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import is_pypi_path
from scripts.core.console import Console
from scripts.core.errors import MirrorError, usage_error
from scripts.core.file_name import parse_file_name
from scripts.core.files import disk_errors, exists, is_dir, read_regular
from scripts.core.pep508 import pypi_name
from scripts.keep.bundle_sources import LARGEST_RECEIPT, base_by_receipt
from scripts.keep.diff import CONDA, INDEX, PYPI, ComparedFile, Package, build_number
from scripts.keep.snapshot_locks import lock_in, locks_of
from scripts.keep.snapshots import (
    INDEX_KIND,
    Snapshot,
    SnapshotFile,
    find_snapshot,
    newest_snapshot,
    read_snapshot_files,
    tree_of,
)
from scripts.lock.mirrored import MirroredLock
from scripts.lock.model import LockFile
from scripts.lock.pypi import ARCHIVES, first_place
from scripts.lock.read import read_lock
from scripts.lock.select import path_of
from scripts.workspace.settings import LockEntry
from scripts.workspace.workspace import Workspace

CHANNEL: Final = "channel"
"""How people name the channel as it is, and the one channel of a flat mirror."""
LOCK: Final = "lock"
NAMES: Final = (
    "`channel`, `lock`, the path of a lock or of a receipt, or a snapshot's id or how that begins"
)
"""What can be compared, for people."""
_NAME: Final = f"name {NAMES}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedState:
    """One of the two states that are compared."""

    name: str
    """As people know it: `channel`, `lock`, `snapshot ID`, the path of a lock."""
    files: tuple[ComparedFile, ...]
    others: tuple[ComparedFile, ...] = ()
    """What it has besides, and what is not compared: of a channel beside a lock, all that is
    retained or that other workspaces name; beside one lock alone, all that it does not name."""
    is_lock: bool = False


def read_states(
    workspace: Workspace, before: str, after: str, console: Console, *, only: str | None
) -> tuple[ComparedState, ComparedState]:
    """Read both, each by one of `NAMES`.

    Beside a lock the channel is what this workspace was last mirrored by. `only` is the label of a
    lock: then of the channel, and of snapshots, it is what they keep of that lock. Raises the
    errors of exit code 2 of what is not there or cannot be read.
    """
    with disk_errors(workspace.place.folder, SEE_TO_DISK, "read"):
        layout = read_channel_state(workspace.place).layout or workspace.settings.layout
        workspace = replace(workspace, settings=replace(workspace.settings, layout=layout))
        locks = functools.cache(
            lambda: chosen_locks(read_locks(workspace, console, believes_cache=True), only)
        )
        one, other = (_read(workspace, name, locks, console, only=only) for name in (before, after))
        if only is None and one.is_lock and other.name == CHANNEL:
            other = _as_last_mirrored(workspace, other, locks)
        if only is None and other.is_lock and one.name == CHANNEL:
            one = _as_last_mirrored(workspace, one, locks)
    return one, other


def files_to_carry(before: ComparedState, after: ComparedState) -> tuple[ComparedFile, ...]:
    """Return what the later state has and the earlier one has not, the same bytes once.

    Index files are among them where none of the two is a lock's.
    """
    had = {each.path: each for each in (*before.files, *before.others)}
    known = {each.sha256 for each in had.values()} - {None}
    found: dict[str, ComparedFile] = {}
    for each in after.files:
        there = had.get(each.path)
        is_there = there is not None and not there.has_other_bytes(each)
        is_left_out = each.is_index and (before.is_lock or after.is_lock)
        if not (is_there or is_left_out or each.sha256 in known):
            found.setdefault(each.sha256 or str(each.path), each)
    return tuple(found.values())


def _read(
    workspace: Workspace,
    name: str,
    locks: Callable[[], Sequence[MirroredLock]],
    console: Console,
    *,
    only: str | None,
) -> ComparedState:
    """Read one state; `locks` reads those of the mirror that count."""
    place = workspace.place
    if not name:
        raise usage_error("diff", "an empty name", help=_NAME)
    if name == LOCK:
        return _of_locks(workspace, name, locks())
    is_receipt = _is_receipt(Path(name))
    if name == CHANNEL:
        from scripts.keep.published import read_published  # two locks need none of it

        snapshot = newest_snapshot(place)
        files = read_published(place, workspace.settings.layout, console)
        compared = ComparedState(name=name, files=_of_snapshot(files, place.folder))
    elif _is_path(name) and not is_receipt:
        return _of_locks(workspace, name, (_read_lock(workspace, name),))
    else:
        snapshot = base_by_receipt(place, Path(name)) if is_receipt else find_snapshot(place, name)
        files = read_snapshot_files(place, snapshot)
        folders, known_as = (tree_of(place, snapshot), place.folder), f"snapshot {snapshot.id}"
        if snapshot.made_by == "unbundle":
            files = _with_licenses(known_as, files, folders, console)
        compared = ComparedState(name=known_as, files=_of_snapshot(files, *folders))
    if only is None:
        return compared
    if snapshot is None or not is_dir(locks_of(place, snapshot)):
        message = "the locks that it was made by are not kept, so it is compared as a whole alone"
        raise usage_error(compared.name, message, help="leave --only out")
    return _only_named(compared, _named_in(workspace, snapshot, locks()))


def _is_path(name: str) -> bool:
    """Tell a lock's path from the id of a snapshot, which is the name of no file."""
    return name.endswith(".lock") or os.sep in name or "/" in name or Path(name).is_file()


def _is_receipt(file: Path) -> bool:
    """Tell what a far side has written, or somebody has typed off, from a lock."""
    with contextlib.suppress(OSError):  # PowerShell writes UTF-16
        data = read_regular(file, LARGEST_RECEIPT).replace(b"\0", b"")
        return b"content-digest" in data.lower()
    return False


def _read_lock(workspace: Workspace, name: str) -> MirroredLock:
    """Read a lock that is taken for one of this workspace's: an earlier one, or a proposed one.

    The settings hold, as far as it has the environments and platforms that they name.
    """
    path = Path(name).resolve()
    if not exists(path):
        raise usage_error(name, "there is no such lock file", help=_NAME)
    file = read_lock(path, name)
    return _limited(workspace, mirrored_lock(name, path.parent, None, file), file)


def _limited(workspace: Workspace, lock: MirroredLock, file: LockFile) -> MirroredLock:
    """Take a file for an earlier or a proposed state of a lock.

    What is mirrored of that holds, as far as it has the environments and platforms that are named.
    """
    wanted = lock.wanted(workspace.manifest.settings)
    platforms = [rows.platform for each in file.environments for rows in each.platforms]
    names = {name for each in platforms for name in (each.name, each.subdir)}
    entry = LockEntry(
        location=lock.location,
        environments=_known(wanted.environments, {each.name for each in file.environments}),
        exclude_environments=wanted.exclude_environments,
        platforms=_known(wanted.platforms, names),
    )
    label = lock.label or lock.location
    return replace(lock, label=label, file=file, environments=file.environments, entry=entry)


def _known(wanted: tuple[str, ...] | None, there: AbstractSet[str]) -> tuple[str, ...] | None:
    """Leave out what is not there; not where nothing is left, which is an error to be told."""
    if wanted is None:
        return None
    return tuple(each for each in wanted if each in there) or wanted


def _of_locks(workspace: Workspace, name: str, locks: Sequence[MirroredLock]) -> ComparedState:
    """Describe what locks want; sizes that none of them has are those that servers have told."""
    artifacts, sizes = read_whole_selection(workspace, locks).artifacts, dict[str, int]()
    if any(each.size is None for each in artifacts):
        from scripts.fetch.sizes import read_sizes  # heavy

        sizes = read_sizes(workspace.place.sizes)
    files = list[ComparedFile]()
    for each in artifacts:
        sha256 = each.digest_hex("sha256")
        size = sizes.get(sha256 or "") if each.size is None else each.size
        files.append(_file(each, size, sha256, (workspace.place.folder,)))
    return ComparedState(name=name, files=tuple(files), is_lock=True)


def _as_last_mirrored(
    workspace: Workspace, channel: ComparedState, locks: Callable[[], Sequence[MirroredLock]]
) -> ComparedState:
    """Set apart what this workspace did not name when what is published now was made.

    Where nobody knows that, nothing is set apart.
    """
    place, newest = workspace.place, newest_snapshot(workspace.place)
    if newest is not None and newest.is_rollback:
        if not is_dir(locks_of(place, newest)):
            return channel
        named = _named_in(workspace, newest, locks())
    else:
        last = last_mirrored(workspace)
        if last is None and not read_state(place).workspaces:
            return channel
        artifacts = last.with_layout(workspace.settings.layout).artifacts if last else ()
        named = frozenset(each.path for each in artifacts)
    return _only_named(channel, named, with_index=True)


def _named_in(
    workspace: Workspace, snapshot: Snapshot, locks: Iterable[MirroredLock]
) -> frozenset[PurePosixPath]:
    """Return the paths of all that these locks named, as the snapshot keeps them."""
    kept = [
        _limited(workspace, lock, read_lock(file))
        for lock in locks
        if (file := lock_in(workspace, snapshot, lock)) is not None
    ]
    artifacts = read_whole_selection(workspace, kept).artifacts
    return frozenset(path_of(snapshot.layout, each) for each in artifacts)


def _only_named(
    state: ComparedState, named: AbstractSet[PurePosixPath], *, with_index: bool = False
) -> ComparedState:
    """Set apart what is not at these paths; the files of the index are of all of them."""
    files, others = list[ComparedFile](), list[ComparedFile]()
    for each in state.files:
        (files if each.path in named or (with_index and each.is_index) else others).append(each)
    return replace(state, files=tuple(files), others=tuple(others))


def _of_snapshot(files: Iterable[SnapshotFile], *folders: Path) -> tuple[ComparedFile, ...]:
    return tuple(_file(each, each.size, each.sha256, folders) for each in files)


def _with_licenses(
    name: str, files: Sequence[SnapshotFile], folders: Iterable[Path], console: Console
) -> tuple[SnapshotFile, ...]:
    """Take the licences of conda packages from its index, where that is kept: no record has them.

    It is noted where a file of that index is in none of these folders any more.
    """
    from scripts.index.repodata import LARGEST, REPODATA, parsed_repodata  # heavy

    licenses, lost = dict[PurePosixPath, str | None](), list[str]()
    for each in (x for x in files if x.is_index and x.path.name == REPODATA):
        for file in (folder / each.path for folder in folders):
            with contextlib.suppress(OSError, MirrorError):  # gone, or nobody can read it
                data = read_regular(file, LARGEST)
                if hashlib.sha256(data).hexdigest() == each.sha256:
                    rows = parsed_repodata(data, str(each.path)).records
                    licenses |= {each.path.parent / x: row.license for x, row in rows.items()}
                    break
        else:
            lost.append(str(each.path))
    if lost:
        said = "its index is not kept whole, and of its conda packages nobody knows the licence"
        console.note(f"{name}: {said}: {', '.join(lost)}")
    return tuple(replace(each, license=licenses.get(each.path)) for each in files)


def _file(
    each: SnapshotFile | Artifact, size: int | None, sha256: str | None, folders: tuple[Path, ...]
) -> ComparedFile:
    path = first_place(each.path)  # a direct URL's second place is no other file
    package, version, build = _identify(path, each.kind)
    folder, slash, file_name = str(path).rpartition("/")
    return ComparedFile(
        package=package,
        version=version,
        build=build,
        build_number=build_number(build),
        origin=(f"({file_name})", f"({folder}{slash}{file_name})"),
        path=each.path,
        size=size,
        sha256=sha256,
        license=each.license,
        folders=folders,
    )


def _identify(path: PurePosixPath, kind: str) -> tuple[Package, str, str]:
    """Tell by its path of what package a file is, of which version and build."""
    folder, _, file_name = str(path).rpartition("/")
    if kind == INDEX_KIND:
        return Package("", "", 0, file_name, INDEX), "", ""
    file = None if is_pypi_path(path) else parse_file_name(file_name)
    if file is not None:
        channel, _, subdir = folder.rpartition("/")
        return Package(channel or ".", subdir, 0, file.name, CONDA), file.version, file.build
    # PEP 427: name-version-…; PEP 625: name-version.
    stem = ARCHIVES.sub("", file_name)
    parts = stem.split("-") if file_name.lower().endswith(".whl") else stem.rsplit("-", 1)
    name, version = (parts[0], parts[1]) if len(parts) > 1 else (stem, "")
    return Package("PyPI", "/".join(path.parts[2:3]), 0, pypi_name(name), PYPI), version, ""
