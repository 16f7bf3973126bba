"""Bring the published index back to what a snapshot says: artifacts first, then index files.

What the index named until then waits for its removal. No lock is read, and none is changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.digest_cache import DigestCache
from scripts.channel.folders import prepare
from scripts.channel.inventory import ArtifactStatus, Expected, cannot_read, check_artifacts
from scripts.channel.removals import now, removals_of, still_waiting
from scripts.channel.state import (
    GOES_ON,
    MirrorState,
    Removal,
    read_state,
    write_channel,
    write_first_seen,
    write_removals,
)
from scripts.channel.users import note_layout, read_users_of
from scripts.core.channel_paths import ChannelPaths
from scripts.core.child_process import quoted
from scripts.core.console import Console
from scripts.core.errors import (
    MirrorError,
    Problem,
    first_details,
    raise_problems,
    usage_error,
    usage_problem,
)
from scripts.core.files import disk_errors, holds, is_file
from scripts.core.record import Digest
from scripts.core.report import Line, Report, counted, counted_files, join_reports
from scripts.core.symlinks import check_output_paths
from scripts.fetch.download import place_again
from scripts.index.file_classes import files_of_layout, is_index_path
from scripts.index.publish import publish, staged_files
from scripts.index.stage import index
from scripts.keep.published import read_published
from scripts.keep.snapshot_locks import known_as, lock_in
from scripts.keep.snapshots import (
    ROLLBACK,
    Snapshot,
    SnapshotFile,
    find_snapshot,
    newest_snapshot,
    read_snapshot_files,
    read_snapshots,
    tree_of,
)
from scripts.keep.take_snapshot import take_snapshot
from scripts.keep.unbundle import publish_order
from scripts.lock.mirrored import MirroredLock
from scripts.lock.select import Selection
from scripts.workspace.settings import TABLE
from scripts.workspace.workspace import Workspace

_SHOWN: Final = 5  # files that an error names


def rollback(
    workspace: Workspace, name: str, console: Console, *, locks: Sequence[MirroredLock] = ()
) -> Report:
    """Publish the index of a snapshot, and leave a new one; `name` is, or begins, its id.

    Killed at any moment, run again it ends the same. Raises the error of exit code 2, with nothing
    changed, where a file of it is nowhere any more, or not as it was.
    """
    place, target = workspace.place, find_snapshot(workspace.place, name)
    newest = newest_snapshot(place)
    with disk_errors(place.folder, GOES_ON):
        report = _roll_back(workspace, target, console, locks)
    # What was proven was proven of other bytes where the index was made anew.
    proofs = () if report.data["index-made-anew"] else target.proofs
    stands = newest is not None and newest.content_digest == target.content_digest
    restored = None if stands and not report.data["changed"] else target
    taken = take_snapshot(workspace, console, made_by=ROLLBACK, proofs=proofs, restored=restored)
    return join_reports(report, taken)


def undone_rollback(workspace: Workspace, locks: Sequence[MirroredLock]) -> Problem | None:
    """Return the problem where an index made by these locks would undo a rollback; else None."""
    newest = newest_snapshot(workspace.place)
    if newest is None or not newest.is_rollback:
        return None
    moved = _moved(workspace, newest, locks)
    if not moved and len(_locked_in(workspace, newest)) == len({*map(_sha256, locks)}):
        return None
    back = " and ".join(f"`{each}`" for some in moved.values() for each in some)
    return usage_problem(
        workspace.settings.channel_dir,
        "was rolled back, and what is locked is not: the rollback would be undone",
        ("rolled back by", newest.id),
        help=(f"{back}, then this again; or " if moved and all(moved.values()) else "")
        + "`pixi run mirror`, which moves the channel on to the lock",
    )


def _roll_back(
    workspace: Workspace, target: Snapshot, console: Console, locks: Sequence[MirroredLock]
) -> Report:
    """Do all but the snapshot."""
    place, state = workspace.place, read_state(workspace.place)
    files, digests = read_snapshot_files(place, target), DigestCache(place.digests)
    artifacts = [each for each in files if not each.is_index]
    index_files = [each for each in files if each.is_index]
    found = _find(place, target, artifacts, digests)
    found |= _find(place, target, index_files, DigestCache(place.digests, writes=False))
    missing = [each for each in files if each.path not in found]
    layout = state.layout or target.layout
    published = read_published(place, layout, console)
    known = {(each.path, each.sha256) for each in published}
    is_known = layout is target.layout and all((x.path, x.sha256) in known for x in artifacts)
    if missing and not (is_known and all(each.is_index for each in missing)):
        raise _lost(workspace, target, missing, locks)
    paths = frozenset(each.path for each in files)
    check_output_paths(place.folder, paths)
    prepare(place)
    dropped = _named_until_now(place, state, target, published) - paths
    sources = {x: found[x.path] for x in files if x.path in found}
    sources = {x: source for x, source in sources.items() if source != place.folder / x.path}
    to_link = {each: source for each, source in sources.items() if not each.is_index}
    to_publish = {each: source for each, source in sources.items() if each.is_index}
    is_changed = bool(sources or missing or dropped or layout is not target.layout)
    if missing:
        _place(place, to_link, digests)
        _make_index_anew(workspace, target, dropped, console)
    else:
        state = _begin(workspace, state, target)
        in_order = sorted(to_publish, key=lambda each: publish_order(str(each.path)))
        contents = ((each.path, to_publish[each].read_bytes()) for each in in_order)
        with staged_files(place, contents) as staged:
            _switch(place, state, to_link, staged, digests=digests, dropped=dropped, paths=paths)
        done = replace(state, layout=target.layout, before_relayout=None)
        write_channel(place, done)
    _note_seen(place, state, files)
    lines: list[Line] = [_headline(workspace, target, is_changed=is_changed)]
    if to_link:
        lines.append(f"brought back: {counted(len(to_link), 'artifact')}")
    if missing:
        lines.append("its index files are gone: the index was made anew by the present records")
    state = read_state(place)
    if waiting := _waiting(place, state, target):
        goes = "`pixi run prune` removes them when they are due"
        lines.append(f"waiting for removal: {counted_files(waiting)}; {goes}")
    return Report(
        lines=(*lines, *_differences(workspace, state, target, paths, locks)),
        data={
            "rolled-back-to": target.id,
            "changed": is_changed,
            "layout": target.layout,
            "brought-back": sorted(str(each.path) for each in to_link),
            "published": len(to_publish),
            "index-made-anew": bool(missing),
            "waiting-for-removal": [str(each.path) for each in waiting],
        },
    )


def _find(
    place: ChannelPaths, target: Snapshot, wanted: Sequence[SnapshotFile], digests: DigestCache
) -> dict[PurePosixPath, Path]:
    """Return, by their paths, where these files are with the right bytes, as far as they are."""
    found = dict[PurePosixPath, Path]()
    for folder, paths in _places(place, target):
        there = {
            each: each.path if paths is None else paths.get(each.sha256)
            for each in wanted
            if each.path not in found
        }
        expected = [
            Expected(path=path, size=each.size, digest=Digest("sha256", each.sha256))
            for each, path in there.items()
            if path is not None
        ]
        checked = check_artifacts(folder, expected, digests)
        right = {each.path for each in checked if each.status is ArtifactStatus.RIGHT}
        found |= {each.path: folder / path for each, path in there.items() if path in right}
        if len(found) == len(wanted):
            break
    return found


def _places(
    place: ChannelPaths, target: Snapshot
) -> Iterator[tuple[Path, Mapping[str, PurePosixPath] | None]]:
    """Yield the folders to look in, and where in them a sha256 is; None: at its own place.

    The records of other snapshots are read only by who does not find all in the first two.
    """
    yield place.folder, None
    yield tree_of(place, target), None
    for snapshot in reversed(read_snapshots(place)):
        try:
            paths = {each.sha256: each.path for each in read_snapshot_files(place, snapshot)}
        except MirrorError:  # damaged, and perhaps not needed
            continue
        yield tree_of(place, snapshot), paths
        yield place.folder, paths  # in another layout


def _lost(
    workspace: Workspace,
    target: Snapshot,
    missing: Sequence[SnapshotFile],
    locks: Sequence[MirroredLock],
) -> MirrorError:
    for file in (workspace.place.folder / each.path for each in missing):
        try:
            file.open("rb").close()
        except PermissionError as error:  # it is there, and nobody knows whether it is right
            return cannot_read(error, file)
        except OSError:
            pass
    commands = [each for some in _moved(workspace, target, locks).values() for each in some]
    other = "pixi run mirror with its lock; where it came out of a bundle, unbundle a --full one"
    return usage_error(
        target.id,
        f"{counted(len(missing), 'file')} of it can be found nowhere, or not as recorded;"
        " nothing was changed",
        *first_details([("missing", str(each.path)) for each in missing], _SHOWN),
        help=" && ".join((*commands, "pixi run mirror")) if commands else other,
    )


def _named_until_now(
    place: ChannelPaths, state: MirrorState, target: Snapshot, published: Iterable[SnapshotFile]
) -> frozenset[PurePosixPath]:
    """Name what is there that the index names, or named before a run that was killed."""
    named = {each.path for each in published}
    newest = newest_snapshot(place)
    for each in () if newest is None else read_snapshot_files(place, newest):
        file = place.folder / each.path
        if os.path.lexists(file) and file.lstat().st_size == each.size:
            named.add(each.path)
    if state.before_relayout is not None and state.layout is target.layout:
        made = files_of_layout(place.folder, target.layout.other)  # by a relayout that was killed
        named |= made.difference(state.before_relayout)
    return frozenset(named)


def _begin(workspace: Workspace, state: MirrorState, target: Snapshot) -> MirrorState:
    """Note the layout, or that it changes: what a killed run leaves is known by that."""
    place = workspace.place
    if state.layout is None:
        note_layout(workspace, state, target.layout)
    elif state.layout is not target.layout and state.before_relayout is None:
        before = files_of_layout(place.folder, target.layout) - {x.path for x in state.removals}
        write_channel(place, replace(state, before_relayout=tuple(sorted(before))))
    return read_state(place)


def _switch(
    place: ChannelPaths,
    state: MirrorState,
    to_link: Mapping[SnapshotFile, Path],
    staged: Mapping[PurePosixPath, Path],
    *,
    digests: DigestCache,
    dropped: frozenset[PurePosixPath],
    paths: frozenset[PurePosixPath],
) -> None:
    """Place artifacts, publish the index, and let what it no longer names wait for its removal.

    `paths` are all that it names. Until it is published, the list of removals has all that no index
    may name if the run is killed.
    """
    new = {each.path for each in to_link}
    waiting = still_waiting(place.folder, state.removals, new)
    listed = [replace(x, dropped=None) if x.path in paths else x for x in waiting]
    listed += [
        Removal(path=each.path, size=each.size, mtime_ns=source.stat().st_mtime_ns, dropped=None)
        for each, source in to_link.items()
    ]
    write_removals(place, listed)
    _place(place, to_link, digests)
    dropped = dropped.difference(each.path for each in listed)
    listed += removals_of(place.folder, sorted(dropped), None)
    write_removals(place, listed)
    publish(place.folder, staged, is_durable=True)
    when = now()
    left = [x for x in listed if x.path not in paths]
    write_removals(place, [replace(each, dropped=each.dropped or when) for each in left])


def _place(place: ChannelPaths, to_link: Mapping[SnapshotFile, Path], digests: DigestCache) -> None:
    """Link artifacts to their places in the channel, or copy them where that is impossible."""
    for each, source in to_link.items():
        place_again(place, source, each.path, Digest("sha256", each.sha256), digests)


def _note_seen(place: ChannelPaths, state: MirrorState, files: Iterable[SnapshotFile]) -> None:
    """Hold artifacts of which the lock has no digest against these bytes from now on."""
    seen = {x.path: Digest("sha256", x.sha256) for x in files if x.path in state.first_seen}
    if seen:
        write_first_seen(place, {**state.first_seen, **seen})


def _make_index_anew(
    workspace: Workspace, target: Snapshot, dropped: Iterable[PurePosixPath], console: Console
) -> None:
    """Publish an index of the artifacts of the snapshot, by the records of the present one."""
    users = read_users_of(workspace, Selection(layout=target.layout))
    users = replace(users, own=users.last or users.own)  # what is locked stays as it is
    dropping = sorted(each for each in dropped if not is_index_path(each))
    selection = Selection(layout=target.layout)
    report = index(workspace, selection, console, users=users, dropping=dropping)
    raise_problems(report.problems)


def _headline(workspace: Workspace, target: Snapshot, *, is_changed: bool) -> str:
    done = f"rolled back to {target.id}" if is_changed else "nothing to do"
    snapshots, digest = read_snapshots(workspace.place), target.content_digest
    alike = (x.made_by for x in (target, *snapshots) if x.content_digest == digest)
    made_by = next((each for each in alike if each != ROLLBACK), ROLLBACK)
    return f"{done}: {workspace.settings.channel_dir} is as `{made_by}` left it then"


def _waiting(place: ChannelPaths, state: MirrorState, target: Snapshot) -> list[Removal]:
    """Return what waits for its removal, is there, and is named by no workspace."""
    users = (each.with_layout(target.layout) for each in state.workspaces)
    locked = {x.path for each in users for x in each.artifacts}
    waiting = [each for each in state.removals if each.path not in locked]
    return [each for each in waiting if os.path.lexists(place.folder / each.path)]


def _differences(
    workspace: Workspace,
    state: MirrorState,
    target: Snapshot,
    paths: frozenset[PurePosixPath],
    locks: Sequence[MirroredLock],
) -> Iterator[str]:
    """Say what a rollback leaves as it is: what locks name besides, the layout set, the locks."""
    for each in state.workspaces:
        unnamed = {x.path for x in each.with_layout(target.layout).artifacts} - paths
        if unnamed:
            number = counted(len(unnamed), "artifact")
            yield f"not in this index, and kept: {number} that the lock of {each} names"
    if workspace.settings.layout is not target.layout:
        layout = f'set layout = "{target.layout}" under [{TABLE}]'
        yield f"the layout is {target.layout} now: {layout}"
    moved = _moved(workspace, target, locks)
    if moved:
        were = "was left as it is" if len(moved) == 1 else "were left as they are"
        commands = [each for some in moved.values() for each in some]
        unless = ", unless you say" if commands else ""
        names = ", ".join(each.location for each in moved)
        yield f"{names} {were}: `pixi run mirror` moves the channel on to it{unless}"
        yield from (f"  {each}" for each in commands)


def _moved(
    workspace: Workspace, snapshot: Snapshot, locks: Sequence[MirroredLock]
) -> dict[MirroredLock, list[str]]:
    """Return which of these locks are others than in a snapshot, and how to get each back.

    Where the snapshot knows none of this workspace's locks, all are others.
    """
    known = _locked_in(workspace, snapshot)
    moved = (each for each in locks if _sha256(each) not in known)
    return {each: _copies(workspace, snapshot, each) for each in moved}


def _locked_in(workspace: Workspace, snapshot: Snapshot) -> frozenset[str | None]:
    """Return the sha256 of this workspace's locks in a snapshot."""
    own = {known_as(workspace, snapshot), None}
    return frozenset(each.lock_sha256 for each in snapshot.locks if each.mirrored_by in own)


def _copies(workspace: Workspace, snapshot: Snapshot, lock: MirroredLock) -> list[str]:
    """Write how to get back a lock of a snapshot, and its manifest where that has changed.

    Empty where it has none, or of a remote lock, which nobody here can write.
    """
    file = lock_in(workspace, snapshot, lock)
    if file is None or (lock.entry is not None and lock.entry.is_remote):
        return []
    pairs, beside = [(file, lock.location)], lock.manifest_path
    kept = beside and file.with_name(beside.name)
    if beside and kept and lock.manifest and is_file(kept) and not holds(beside, kept.read_bytes()):
        pairs.append((kept, lock.manifest.file_name))
    copy = "copy" if os.name == "nt" else "cp"
    return [f"{copy} {_relative(x, workspace.root)} {quoted(str(Path(y)))}" for x, y in pairs]


def _relative(file: Path, root: Path) -> str:
    with contextlib.suppress(ValueError):  # on another drive of Windows
        file = Path(os.path.relpath(file, root))
    return quoted(str(file))


def _sha256(lock: MirroredLock) -> str:
    return hashlib.sha256(lock.file.data).hexdigest()
