"""Take a snapshot of what the published index names, if it is another than the newest one has."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Final

from scripts.channel.digest_cache import Fingerprint
from scripts.channel.inventory import files_below
from scripts.channel.removals import now
from scripts.channel.selection import read_whole_selection
from scripts.channel.state import MirrorState, read_channel_state
from scripts.core.console import Console
from scripts.core.errors import MirrorError
from scripts.core.files import (
    FileStatus,
    is_dir,
    keep_json,
    read_json,
)
from scripts.core.report import Json, Report, join_reports
from scripts.keep.far_side import remove_receipt
from scripts.keep.snapshot_locks import describe_locks, keep_locks, kept_locks
from scripts.keep.snapshot_trees import (
    build_tree,
    disk_problem,
    ensure_tree,
    mend_tree,
    remove_unfinished,
)
from scripts.keep.snapshots import (
    Snapshot,
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
from scripts.workspace.workspace import Workspace

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
) -> Report:
    """Leave a snapshot of what the index names now; name the newest where that is the same.

    To be called by who holds the channel's lock file. `locks` tell where artifacts are from.
    `restored` is an earlier one with the same files, whose locks a new one takes over, whatever the
    newest holds. Without an index none is taken. If the disk refuses, the report has the problem.
    """
    place = workspace.place
    seen_file = place.cache / "snapshot.json"  # what the channel was like when which one stood
    try:
        state, there = read_channel_state(place), tuple(files_below(place.folder))
        seen, before = _fingerprint(state, there), newest_snapshot(place)
        if before is not None and read_json(seen_file) == [seen, before.id]:
            return _report_standing(workspace, before, made_by, locks)
        from scripts.keep.published import read_published, urls_of  # not where nothing has changed

        rows_before = () if before is None else read_snapshot_files(place, before)
        layout = state.layout or workspace.settings.layout
        urls = urls_of(read_whole_selection(workspace, locks)) if locks else {}
        known = (*rows_before, *(() if restored is None else read_snapshot_files(place, restored)))
        files = read_published(place, layout, console, files=there, urls=urls, before=known)
        if restored is None and before is not None and digest_of(files) == before.content_digest:
            mend_tree(place, before, rows_before)
            keep_json(seen_file, [seen, before.id])
            return _report_standing(workspace, before, made_by, locks)
        if before is None and not files:
            return Report()
        described = kept_locks(place, restored) if restored else None
        described = described or describe_locks(workspace, locks, before)
        snapshot = new_snapshot(
            files,
            made_by=made_by,
            layout=layout,
            before=before,
            when=now(),
            locks=tuple(lock for lock, _ in described),
            proofs=proofs,
        )
        remove_unfinished(place)
        keep_locks(place, snapshot, described, restored or before)
        is_linked = build_tree(place, snapshot, files, before, rows_before)
        if not is_linked and (before is None or is_dir(tree_of(place, before))):
            console.warn(f"{workspace.settings.channel_dir}: {_NO_LINKS}")
        removed = Report(lines=remove_receipt(place))  # before it: killed, it goes with the next
        write_snapshot(place, snapshot, files)
        keep_json(seen_file, [seen, snapshot.id])
        return join_reports(_report(snapshot, before, is_new=True), removed)
    except MirrorError as error:
        return Report(problems=error.problems)
    except OSError as error:
        return Report(problems=(disk_problem(place, error, "no snapshot was taken"),))


def _report_standing(
    workspace: Workspace, snapshot: Snapshot, made_by: str, locks: Sequence[MirroredLock]
) -> Report:
    """Note by which locks the newest snapshot is mirrored now.

    Where somebody has removed its tree, it is built again.
    """
    ensure_tree(workspace.place, snapshot)
    if locks and made_by in _BY_LOCKS:
        _note(workspace, snapshot, locks)
    return _report(snapshot, None, is_new=False)


def finish_snapshot(
    workspace: Workspace,
    taken: Report,
    locks: Sequence[MirroredLock],
    selection: Selection,
    reported: Mapping[str, Json],
    *,
    has_failed: bool,
) -> Report:
    """Note what is proven of the snapshot that was `taken`, or stands, by what stages `reported`.

    Nothing is noted where options have narrowed the selection, or `verify` was not reached.
    Returns the report of both. `has_failed`: it tells the way back. If the disk refuses, it has the
    problem (exit code 2).
    """
    newest = None if taken.problems else newest_snapshot(workspace.place)
    if newest is None:
        return taken
    row: Any = taken.data["snapshot"]
    if has_failed and row["new"] and newest.parent is not None:
        back = f"published all the same; back: `pixi run rollback {newest.parent}`"
        taken = replace(taken, lines=(*taken.lines, back))
    verified: Any = reported.get("verify")
    is_whole = selection.environments == read_whole_selection(workspace, locks).environments
    if not verified or not is_whole:
        return taken
    proofs, looked_at = _proofs_of(workspace, verified), frozenset(verified["levels"])
    try:
        _note(workspace, newest, locks, proofs, looked_at - {each.level for each in proofs})
    except OSError as error:
        problem = disk_problem(workspace.place, error, "what is proven was not written down")
        return replace(taken, problems=(problem,))
    return taken


def _note(
    workspace: Workspace,
    snapshot: Snapshot,
    locks: Sequence[MirroredLock],
    proofs: tuple[SnapshotProof, ...] = (),
    not_proven: Container[str] = (),
) -> None:
    """Write down the locks and proofs of this workspace, where they are others than before.

    What was proven of other locks is not proven of these, nor are levels that have failed since.
    """
    own = str(workspace.manifest_path)
    described = describe_locks(workspace, locks, snapshot, stands=True)
    known, found = (
        [x for x in some if x.mirrored_by == own]
        for some in (snapshot.locks, [x for x, _ in described])
    )
    kept = {
        (x.level, x.client, x.mirrored_by): x
        for x in snapshot.proofs
        if x.mirrored_by != own or (known == found and x.level not in not_proven)
    }
    fresh = {(x.level, x.client, x.mirrored_by): x for x in proofs}
    rows = tuple(lock for lock, _ in described)
    if (
        rows != snapshot.locks
        or len(kept) < len(snapshot.proofs)
        or not fresh.keys() <= kept.keys()
    ):
        keep_locks(workspace.place, snapshot, described, None)
        in_order = sorted(
            {**kept, **fresh}.values(), key=lambda x: list(Level).index(Level(x.level))
        )
        write_later(workspace.place, replace(snapshot, locks=rows, proofs=tuple(in_order)))


def _report(snapshot: Snapshot, before: Snapshot | None, *, is_new: bool) -> Report:
    """Name it, and say where a rollback has been undone."""
    row: Json = {"id": snapshot.id, "new": is_new, "content-digest": snapshot.content_digest}
    line = f"snapshot {snapshot.id}{'' if is_new else ' stands'}"
    if before is not None and before.is_rollback and snapshot.made_by in _BY_LOCKS:
        line += f"; it is not what was rolled back to any more: `pixi run rollback {before.id}`"
    return Report(lines=(line,), data={"snapshot": row})


def _proofs_of(workspace: Workspace, verified: Mapping[str, Any]) -> tuple[SnapshotProof, ...]:
    """Say what was proven, by the data that `verify` reported.

    These are levels that passed for every environment; the level `install` only where no client
    failed, each with its version. Nothing where something cannot be held and may not be missing.
    """
    rows, when = verified["environments"], now()
    if not all(row["complete"] for row in rows):
        return ()
    dates: dict[tuple[str, str | None], list[str | None]] = {}
    for level in verified["levels"]:
        if rows and all(row.get(level) is True for row in rows):
            dates[level, None] = [row["proven"].get(level) for row in rows]
    tried = [(row["platform"], x) for row in rows for x in row["install"]]
    tried = [(platform, x) for platform, x in tried if x["installed"] is not None]
    every = {row["platform"] for row in rows}
    done = dict[str, set[str]]()
    for platform, each in tried:
        done.setdefault(_client(each), set()).add(platform)
    for _, each in tried if all(x["installed"] for _, x in tried) else ():
        some = done[_client(each)]
        client = _client(each) + ("" if some == every else f" for {', '.join(sorted(some))}")
        dates.setdefault((Level.INSTALL, client), []).append(each["proven"])
    return tuple(
        SnapshotProof(
            level=level,
            client=client,
            proven=min(when if x is None else datetime.fromisoformat(x) for x in some),
            mirrored_by=str(workspace.manifest_path),
        )
        for (level, client), some in dates.items()
    )


def _client(attempt: Mapping[str, Any]) -> str:
    return f"{attempt['client']} {attempt['version'] or ''}".rstrip()


def _fingerprint(state: MirrorState, files: Iterable[tuple[PurePosixPath, FileStatus]]) -> str:
    """Digest what decides a snapshot, as far as the disk tells it without reading a file."""
    digest = hashlib.sha256(repr((state.layout, [*map(str, state.removals)])).encode())
    for path, status in files:
        row = f"{path}\0{Fingerprint.of(status)}\n"
        digest.update(row.encode(errors="surrogateescape"))
    return digest.hexdigest()
