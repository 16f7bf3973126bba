"""Read what `diff` compares: the channel, a snapshot, the mirror's locks, or one lock."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.locks import read_locks
from scripts.channel.selection import read_whole_selection
from scripts.channel.state import read_state
from scripts.channel.users import last_mirrored
from scripts.core.console import Console
from scripts.core.errors import usage_error
from scripts.core.files import exists, read_regular
from scripts.core.pep508 import parse_version
from scripts.core.rattler_child import rank_versions
from scripts.keep.bundle_sources import LARGEST_RECEIPT, base_by_receipt
from scripts.keep.channel_diff import CHANNEL, ComparedState, LockedFile, Ranks, StateFile
from scripts.keep.snapshot_trees import locks_of
from scripts.keep.snapshots import (
    find_snapshot,
    newest_snapshot,
    read_snapshot_files,
    tree_of,
)
from scripts.keep.unbundle import parse_receipt
from scripts.lock.mirrored import MirroredLock
from scripts.lock.read import read_lock
from scripts.lock.select import Selection
from scripts.verify.licences import read_license
from scripts.workspace.settings import LockEntry
from scripts.workspace.workspace import LOCK_NAME, Workspace

LOCK: Final = "lock"
NAMES: Final = (
    "`channel`, `lock`, the path of a lock or of a receipt, or a snapshot's id or how that begins"
)
"""What can be compared, for people."""
_NAME: Final = f"name {NAMES}"


def read_states(
    workspace: Workspace, before: str, after: str, console: Console
) -> tuple[ComparedState, ComparedState]:
    """Read both, each by one of `NAMES`.

    Beside a lock the channel is what this workspace was last mirrored by. Raises the errors of exit
    code 2 of what is not there or cannot be read.
    """
    states = [_read(workspace, name, console) for name in (before, after)]
    if any(each.is_lock for each in states):
        states = [
            _as_last_mirrored(workspace, each) if each.name == CHANNEL else each for each in states
        ]
    return states[0], states[1]


def order_versions(versions: Collection[tuple[str, str]]) -> Ranks:
    """Ask for the order of versions, each with its source: conda's, or PyPI's (PEP 440)."""
    conda = rank_versions(version for source, version in versions if source == "conda")
    ranks = {("conda", version): rank for version, rank in conda.items()}
    return {**ranks, **_rank_pypi(version for source, version in versions if source == "pypi")}


def read_pypi_license(state: ComparedState, file: StateFile) -> str | None:
    """Read the licence of a wheel or sdist, where the very file is still there."""
    for folder in state.folders:
        found = folder / file.path
        if found.is_file() and found.stat().st_size == (file.size or found.stat().st_size):
            return read_license(found)
    return None


def _read(workspace: Workspace, name: str, console: Console) -> ComparedState:
    place = workspace.place
    if not name:
        raise usage_error("diff", "an empty name", help=_NAME)
    if name == CHANNEL:
        from scripts.keep.published import read_published  # two locks need none of it

        state = read_state(place)
        files = read_published(
            place, state.layout or workspace.settings.layout, console, removals=state.removals
        )
        return ComparedState(name=name, files=files, folders=(place.folder,))
    if name == LOCK:
        return _of_locks(workspace, name, read_locks(workspace, console, believes_cache=True))
    is_receipt = _is_receipt(Path(name))
    if _is_path(name) and not is_receipt:
        return _of_locks(workspace, name, (_read_lock(workspace, name),))
    snapshot = base_by_receipt(place, Path(name)) if is_receipt else find_snapshot(place, name)
    files = read_snapshot_files(place, snapshot)
    folders = (tree_of(place, snapshot), place.folder)
    return ComparedState(name=f"snapshot {snapshot.id}", files=files, folders=folders)


def _is_path(name: str) -> bool:
    """Tell a lock's path from the id of a snapshot, which is the name of no file."""
    return name.endswith(".lock") or os.sep in name or "/" in name or Path(name).is_file()


def _is_receipt(file: Path) -> bool:
    """Tell what a far side has written from a lock."""
    with contextlib.suppress(OSError, ValueError):
        parse_receipt(read_regular(file, LARGEST_RECEIPT))
        return True
    return False


def _read_lock(workspace: Workspace, name: str) -> MirroredLock:
    """Read a lock that is taken for one of this workspace's: an earlier one, or a proposed one.

    The settings hold, as far as it has the environments and platforms that they name.
    """
    path, settings = Path(name).resolve(), workspace.manifest.settings
    if not exists(path):
        raise usage_error(name, "there is no such lock file", help=_NAME)
    file = read_lock(path, name)
    platforms = [rows.platform for each in file.environments for rows in each.platforms]
    names = {name for each in platforms for name in (each.name, each.subdir)}
    entry = LockEntry(
        location=name,
        environments=_known(settings.environments, {each.name for each in file.environments}),
        exclude_environments=settings.exclude_environments,
        platforms=_known(settings.platforms, names),
    )
    return MirroredLock(
        label=name,
        location=name,
        root=path.parent,
        manifest=None,
        file=file,
        environments=file.environments,
        entry=entry,
    )


def _known(wanted: tuple[str, ...] | None, there: Iterable[str]) -> tuple[str, ...] | None:
    """Leave out what is not there; not where nothing is left, which is an error to be told."""
    if wanted is None:
        return None
    there = frozenset(there)
    return tuple(each for each in wanted if each in there) or wanted


def _of_locks(workspace: Workspace, name: str, locks: tuple[MirroredLock, ...]) -> ComparedState:
    files = _of_selection(workspace, read_whole_selection(workspace, locks))
    return ComparedState(name=name, files=files, folders=(workspace.place.folder,), is_lock=True)


def _of_selection(workspace: Workspace, selection: Selection) -> tuple[LockedFile, ...]:
    """Describe what a selection wants; sizes that no lock has are those that servers have told."""
    sizes: Mapping[str, int] = {}
    if any(each.size is None for each in selection.artifacts):
        from scripts.fetch.sizes import read_sizes  # heavy

        sizes = read_sizes(workspace.place.sizes)
    found = []
    for each in selection.artifacts:
        sha256 = each.digest_hex("sha256")
        size = sizes.get(sha256 or "") if each.size is None else each.size
        found.append(LockedFile(path=each.path, size=size, sha256=sha256, license=each.license))
    return tuple(found)


def _as_last_mirrored(workspace: Workspace, channel: ComparedState) -> ComparedState:
    """Set apart what this workspace did not name when what is published now was made.

    Where nobody knows that, nothing is set apart.
    """
    named = _named_when_published(workspace)
    if named is None:
        return channel
    files, others = list[StateFile](), list[StateFile]()
    for each in channel.files:
        (files if each.is_index or each.path in named else others).append(each)
    return replace(channel, files=tuple(files), others=tuple(others))


def _named_when_published(workspace: Workspace) -> frozenset[PurePosixPath] | None:
    """Name the artifacts that were mirrored as what is published now was made; None: not known."""
    place, newest = workspace.place, newest_snapshot(workspace.place)
    if newest is not None and newest.is_rollback:
        kept = sorted(locks_of(place, newest).glob(f"*/{LOCK_NAME}"))
        locks = tuple(_read_lock(workspace, str(each)) for each in kept)
        selection = read_whole_selection(workspace, locks)
        return frozenset(each.path for each in selection.artifacts) if locks else None
    last = last_mirrored(workspace)
    if last is None:
        return None
    layout = read_state(place).layout or last.layout
    return frozenset(each.path for each in last.with_layout(layout).artifacts)


def _rank_pypi(texts: Iterable[str]) -> Ranks:
    """Rank versions; what is none is left out."""
    found = {text: version for text in texts if (version := parse_version(text)) is not None}
    ranks = {version: rank for rank, version in enumerate(sorted(set(found.values())))}
    return {("pypi", text): ranks[version] for text, version in found.items()}
