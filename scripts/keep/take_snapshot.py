"""Take a snapshot of what the published index names, if it is another than the newest one has."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.channel.digest_cache import Fingerprint
from scripts.channel.inventory import files_below
from scripts.channel.removals import now
from scripts.channel.selection import read_whole_selection
from scripts.channel.state import MirrorState, read_channel_state
from scripts.core.channel_paths import ChannelPaths
from scripts.core.console import Console
from scripts.core.errors import MirrorError
from scripts.core.files import FileStatus, holds, is_dir, is_file, link_or_copy, write_atomically
from scripts.core.report import Json, Line, Report
from scripts.keep.snapshot_trees import (
    build_tree,
    clear_leftovers,
    disk_problem,
    ensure_tree,
    locks_of,
)
from scripts.keep.snapshots import (
    Snapshot,
    SnapshotLock,
    SnapshotProof,
    digest_of,
    new_snapshot,
    newest_snapshot,
    read_snapshot_files,
    tree_of,
    write_later,
    write_snapshot,
)
from scripts.lock.mirrored import MirroredLock
from scripts.lock.select import Selection
from scripts.verify.findings import Level
from scripts.workspace.workspace import LOCK_NAME, Workspace

_BY_LOCKS: Final = frozenset({"index", "mirror", "update-mirror"})  # tasks
_NO_LINKS: Final = (
    "its disk has no hard links, so of snapshots only the records are kept: a rollback works as far"
    " as the files are still there"
)


def take_snapshot(
    workspace: Workspace,
    console: Console,
    *,
    made_by: str,
    locks: Sequence[MirroredLock] = (),
    proofs: tuple[SnapshotProof, ...] = (),
    restored: Snapshot | None = None,
    has_failed: bool = False,
) -> Report:
    """Leave a snapshot of what the index names now; name the newest where that is the same.

    To be called as a run ends, by who holds the channel's lock file. `made_by` is its task; `locks`
    are what it was made by, which tell where artifacts are from. `restored` is an earlier snapshot
    with the same files, whose locks it takes over. `has_failed`: tell the way back.
    Without an index none is taken. If the disk refuses, the report has the problem (exit code 2).
    """
    place = workspace.place
    try:
        state, there = read_channel_state(place), tuple(files_below(place.folder))
        seen, before = _fingerprint(state, there), newest_snapshot(place)
        if before is not None and _last_seen(place) == [seen, before.id]:
            return _report_standing(place, before, made_by, locks, proofs)
        from scripts.keep.published import read_published, urls_of  # not where nothing has changed

        rows_before = () if before is None else read_snapshot_files(place, before)
        layout = state.layout or workspace.settings.layout
        urls = urls_of(read_whole_selection(workspace, locks)) if locks else {}
        known = (*rows_before, *(() if restored is None else read_snapshot_files(place, restored)))
        files = read_published(
            place, layout, console, removals=state.removals, files=there, urls=urls, before=known
        )
        if before is not None and digest_of(files) == before.content_digest:
            _note_seen(place, seen, before)
            return _report_standing(place, before, made_by, locks, proofs)
        if before is None and not files:
            return Report()
        snapshot = new_snapshot(
            files,
            made_by=made_by,
            layout=layout,
            before=before,
            when=now(),
            locks=tuple(map(_describe_lock, locks)) if restored is None else restored.locks,
            proofs=proofs,
        )
        clear_leftovers(place)
        _keep_locks(place, snapshot, locks, restored, before)
        is_linked = build_tree(place, snapshot, files, before, rows_before)
        if not is_linked and (before is None or is_dir(tree_of(place, before))):
            console.warn(f"{workspace.settings.channel_dir}: {_NO_LINKS}")
        write_snapshot(place, snapshot, files)
        _note_seen(place, seen, snapshot)
        return _report(snapshot, before, is_new=True, has_failed=has_failed)
    except MirrorError as error:
        return Report(problems=error.problems)
    except OSError as error:
        return Report(problems=(disk_problem(place, error, "no snapshot was taken"),))


def _report_standing(
    place: ChannelPaths,
    snapshot: Snapshot,
    made_by: str,
    locks: Sequence[MirroredLock],
    proofs: tuple[SnapshotProof, ...],
) -> Report:
    """Note by which locks the newest snapshot is mirrored now, and what is proven of it by now.

    Where somebody has removed its tree, it is built again.
    """
    ensure_tree(place, snapshot)
    is_known = {(each.level, each.client) for each in proofs} <= {
        (each.level, each.client) for each in snapshot.proofs
    }
    # To read and hash all locks and manifests takes time: only where there may be something new.
    if locks and made_by in _BY_LOCKS and (snapshot.is_rollback or not is_known):
        described = tuple(map(_describe_lock, locks))
        if described != snapshot.mirrored_by or not is_known:
            kept = snapshot.proofs if is_known else proofs
            write_later(place, replace(snapshot, mirrored_by=described, proofs=kept))
    return _report(snapshot, None, is_new=False)


def _report(
    snapshot: Snapshot, before: Snapshot | None, *, is_new: bool, has_failed: bool = False
) -> Report:
    """Name it; say where a rollback has been undone, and the way back from what has failed."""
    row: Json = {"id": snapshot.id, "new": is_new, "content-digest": snapshot.content_digest}
    line = f"snapshot {snapshot.id}{'' if is_new else ' stands'}"
    if before is not None and before.is_rollback and snapshot.made_by in _BY_LOCKS:
        line += f"; it is not what was rolled back to any more: `pixi run rollback {before.id}`"
    lines: tuple[Line, ...] = (line,)
    if has_failed and before is not None:
        lines += (f"published all the same; back: `pixi run rollback {before.id}`",)
    return Report(lines=lines, data={"snapshot": row})


def proofs_of(
    workspace: Workspace,
    locks: Sequence[MirroredLock],
    selection: Selection,
    reported: Mapping[str, Json],
) -> tuple[SnapshotProof, ...]:
    """Say what was proven, by the data that the stages of `mirror` reported.

    These are levels that passed for every environment; the level `install` only where no client
    failed, each with its version. Nothing where options have narrowed the selection, something
    of it cannot be held and may not be missing, or `verify` was not reached.
    """
    verified: Any = reported.get("verify")
    whole = read_whole_selection(workspace, locks)
    if verified is None or selection.environments != whole.environments:
        return ()
    rows, when = verified["environments"], now()
    if not all(row["complete"] for row in rows):
        return ()
    dates: dict[tuple[str, str | None], list[str | None]] = {}
    for level in verified["levels"]:
        if rows and all(row.get(level) is True for row in rows):
            dates[level, None] = [row["proven"].get(level) for row in rows]
    tried = [x for row in rows for x in row["install"] if x["installed"] is not None]
    for each in tried if all(x["installed"] for x in tried) else ():
        client = f"{each['client']} {each['version'] or ''}".rstrip()
        dates.setdefault((Level.INSTALL, client), []).append(each["proven"])
    return tuple(
        SnapshotProof(
            level=level,
            client=client,
            proven=min(when if x is None else datetime.fromisoformat(x) for x in some),
        )
        for (level, client), some in dates.items()
    )


def _describe_lock(lock: MirroredLock) -> SnapshotLock:
    """Describe a lock and the manifest beside it; there is none beside a remote lock."""
    file = lock.manifest_path
    data = None if file is None or not is_file(file) else file.read_bytes()
    return SnapshotLock(
        label=lock.label,
        lock_sha256=hashlib.sha256(lock.file.data).hexdigest() if lock.file.data else None,
        manifest_sha256=None if data is None else hashlib.sha256(data).hexdigest(),
        manifest=None if data is None else str(file),
    )


def _keep_locks(
    place: ChannelPaths,
    snapshot: Snapshot,
    locks: Sequence[MirroredLock],
    restored: Snapshot | None,
    before: Snapshot | None,
) -> None:
    """Keep locks and manifests, in the order in which the record has them, from 1 up.

    Those that the snapshot restored, or the one before, has at the same place are linked, and take
    no room.
    """
    folder, older = locks_of(place, snapshot), restored or before
    there = folder if older is None else locks_of(place, older)
    files = [] if restored is None else [each for each in there.rglob("*") if each.is_file()]
    kept = {each.relative_to(there): each.read_bytes() for each in files}
    for number, (lock, said) in enumerate(zip(locks, snapshot.locks, strict=False), 1):
        if said.manifest is not None:
            kept[Path(str(number), Path(said.manifest).name)] = Path(said.manifest).read_bytes()
        if lock.file.data:
            kept[Path(str(number), LOCK_NAME)] = lock.file.data
    for path, data in kept.items():
        if holds(there / path, data):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(there / path, folder / path)
        else:
            write_atomically(folder / path, data)


def _fingerprint(state: MirrorState, files: Iterable[tuple[PurePosixPath, FileStatus]]) -> str:
    """Digest what decides a snapshot, as far as the disk tells it without reading a file."""
    digest = hashlib.sha256(repr((state.layout, [*map(str, state.removals)])).encode())
    for path, status in files:
        row = f"{path}\0{Fingerprint.of(status)}\n"
        digest.update(row.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _last_seen(place: ChannelPaths) -> object:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return json.loads(_seen_file(place).read_bytes())
    return None


def _note_seen(place: ChannelPaths, seen: str, snapshot: Snapshot) -> None:
    """Remember what the channel was like when this snapshot stood; losing it costs time alone."""
    with contextlib.suppress(OSError):
        write_atomically(_seen_file(place), json.dumps([seen, snapshot.id]).encode())


def _seen_file(place: ChannelPaths) -> Path:
    return place.cache / "snapshot.json"
