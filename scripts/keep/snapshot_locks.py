"""The locks of a snapshot: which it is of, and the files, `<id>.locks/<n>/pixi.lock` and manifest.

They are those of every workspace that shares the channel, each as of its last run.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from scripts.channel.state import WorkspaceState, read_state
from scripts.channel.users import last_mirrored
from scripts.core.channel_paths import ChannelPaths
from scripts.core.files import (
    exists,
    holds,
    is_dir,
    is_file,
    link_or_copy,
    read_regular,
    unlink,
    write_atomically,
)
from scripts.keep.snapshots import Snapshot, SnapshotLock
from scripts.lock.mirrored import MirroredLock
from scripts.lock.read import LARGEST
from scripts.workspace.workspace import LOCK_NAME, Workspace

LOCKS: Final = ".locks"
"""What the folder of its locks has behind the id."""
DescribedLock = tuple[SnapshotLock, Mapping[str, bytes]]
"""A lock, and its file and manifest by their names."""


def locks_of(place: ChannelPaths, snapshot: Snapshot) -> Path:
    """Name the folder of the locks that it was made by: `<n>/pixi.lock` and the manifest."""
    return place.snapshots / f"{snapshot.id}{LOCKS}"


def lock_in(
    workspace: Workspace, snapshot: Snapshot, lock: MirroredLock | None = None
) -> Path | None:
    """Return a lock, this workspace's own by default, as a snapshot keeps it; None: it has none.

    It is known by the manifest beside it; without one by its label, which is its path then.
    """
    wanted, label = str(workspace.manifest_path), workspace.manifest.name
    if lock is not None and lock.entry is not None:
        wanted, label = str(lock.manifest_path or lock.label), lock.label
    own = known_as(workspace, snapshot)
    known = [
        (each.mirrored_by not in {own, None}, number)
        for number, each in enumerate(snapshot.locks, 1)
        if wanted == (each.manifest or each.label) or (own, label) == (each.mirrored_by, each.label)
    ]
    number = min(known, default=(True, 0))[1]  # another workspace may mirror it, too
    file = locks_of(workspace.place, snapshot) / str(number) / LOCK_NAME
    return file if is_file(file) else None


def known_as(workspace: Workspace, snapshot: Snapshot) -> str:
    """Return the manifest that a snapshot knows this workspace by: its own, or that of before.

    Before a move, or in what this is a copy of: one of its name, and no other one's of the channel.
    """
    own = str(workspace.manifest_path)
    if any(x.mirrored_by == own for x in snapshot.locks):
        return own
    last = last_mirrored(workspace)
    others = {str(x.manifest) for x in read_state(workspace.place).workspaces if x != last}
    named = (x.mirrored_by for x in snapshot.locks if x.label == workspace.manifest.name)
    return next((x for x in named if x and x not in others), own)


def describe_locks(
    workspace: Workspace,
    locks: Sequence[MirroredLock],
    before: Snapshot | None,
    *,
    stands: bool = False,
) -> list[DescribedLock]:
    """Describe these locks, and those of other workspaces as the snapshot `before` has them.

    So stays what came in a bundle, of which no lock is kept, as long as this is its far side.
    Where that snapshot `stands`, nobody has joined since.
    """
    place, own = workspace.place, str(workspace.manifest_path)
    described = [_describe_lock(each, own) for each in locks]
    order = [] if before is None else [each.mirrored_by for each in before.locks]
    if stands and set(order) == {own}:
        return described
    states = {str(x.manifest): x for x in read_state(place).workspaces if str(x.manifest) != own}
    if before is None or (not states and set(order) <= {own}):
        return [*described, *map(_describe_state, states.values())]
    is_far_side = exists(place.unbundled)
    for lock, files in kept_locks(place, before):
        if lock.mirrored_by in states or (lock.mirrored_by is None and is_far_side):
            described.append((lock, files))
    there = {lock.mirrored_by for lock, _ in described}
    described += (_describe_state(each) for path, each in states.items() if path not in there)
    # Two workspaces would change it in turn.
    order = [*order, own, *states]
    return sorted(described, key=lambda each: order.index(each[0].mirrored_by))


def _describe_state(state: WorkspaceState) -> DescribedLock:
    """Describe the own lock of a workspace, of whose locks no snapshot knows yet."""
    lock = SnapshotLock(
        label=state.name,
        lock_sha256=state.lock_sha256,
        manifest_sha256=None,
        mirrored_by=str(state.manifest),
    )
    return lock, {LOCK_NAME: state.lock.read_bytes()} if is_file(state.lock) else {}


@functools.lru_cache(maxsize=64)  # a run describes them as it is indexed, and as it is proven
def _describe_lock(lock: MirroredLock, mirrored_by: str) -> DescribedLock:
    """Describe a lock and the manifest beside it; there is none beside a remote lock."""
    file, files = lock.manifest_path, dict[str, bytes]()
    if lock.file.data:
        files[LOCK_NAME] = lock.file.data
    if file is not None and is_file(file):
        files[file.name] = file.read_bytes()
    sha256 = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = str(file) if file is not None and file.name in files else None
    return SnapshotLock(
        label=lock.label,
        lock_sha256=sha256.get(LOCK_NAME),
        manifest_sha256=None if file is None else sha256.get(file.name),
        manifest=manifest,
        mirrored_by=mirrored_by,
    ), files


def kept_locks(place: ChannelPaths, snapshot: Snapshot) -> list[DescribedLock]:
    """Read the locks of a snapshot, as far as they are kept."""
    found = list[DescribedLock]()
    for number, lock in enumerate(snapshot.locks, 1):
        folder = locks_of(place, snapshot) / str(number)
        there = sorted(folder.iterdir()) if is_dir(folder) else ()
        found.append((lock, {each.name: read_regular(each, LARGEST) for each in there}))
    return found


def keep_locks(
    place: ChannelPaths,
    snapshot: Snapshot,
    described: Iterable[DescribedLock],
    older: Snapshot | None,
) -> None:
    """Keep locks and manifests, in the order in which the snapshot has them, from 1 up.

    Those that an `older` snapshot has at the same place are linked, and take no room.
    """
    folder = locks_of(place, snapshot)
    there = None if older is None else locks_of(place, older)
    kept = {
        Path(str(n), name): data
        for n, (_, files) in enumerate(described, 1)
        for name, data in files.items()
    }
    for path, data in kept.items():
        if there is not None and holds(there / path, data):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(there / path, folder / path)
        elif not holds(folder / path, data):
            write_atomically(folder / path, data)
    for file in [each for each in folder.rglob("*") if each.is_file()]:
        if file.relative_to(folder) not in kept:
            unlink(file)
