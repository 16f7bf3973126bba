"""Which trees of snapshots are kept, what they hold, and what goes with them.

A record outlives its tree until it is forgotten; the newest tree never goes. The bytes of a file
are free when its last hard link goes.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.inventory import cannot_read
from scripts.channel.removals import now, removal_errors
from scripts.core.console import Console
from scripts.core.errors import MirrorError, Problem, usage_error
from scripts.core.files import is_dir
from scripts.core.report import Json, Line, Report, counted, human_size, table
from scripts.index.file_classes import ChannelFiles
from scripts.keep.published import moved_problems
from scripts.keep.snapshot_locks import LOCKS
from scripts.keep.snapshot_trees import remove_snapshot, remove_tree, remove_unfinished
from scripts.keep.snapshots import (
    Snapshot,
    find_record,
    later_of,
    proven_text,
    read_records,
    read_snapshot_files,
    read_snapshots,
    tree_of,
)
from scripts.workspace.settings import Settings
from scripts.workspace.workspace import Workspace

_MOST_DAYS: Final = 36_500  # which is for ever, and no time is too late to add them


def trees_to_keep(
    snapshots: Sequence[Snapshot], settings: Settings, when: datetime, *, coming: bool = False
) -> tuple[Snapshot, ...]:
    """Choose the newest `keep-snapshots`, and all of the last `keep-days`; oldest first.

    `coming`: one more snapshot is about to be taken, and counts.
    """
    first = len(snapshots) + coming - settings.keep_snapshots
    days = _days(settings)
    return tuple(
        each
        for at, each in enumerate(snapshots)
        if at >= first or (days and when - each.created < days)
    )


def _days(settings: Settings) -> timedelta:
    return timedelta(days=min(settings.keep_days or 0, _MOST_DAYS))


def prune_trees(
    workspace: Workspace,
    *,
    removing: Collection[PurePosixPath] = (),
    coming: bool = False,
    dry_run: bool = False,
    only: Collection[str] | None = None,
) -> Report:
    """Remove the trees that are kept no longer; `dry_run`: only say it.

    `removing` are files of the channel that will be gone by then, and `coming`: one more snapshot
    will have been taken by then; `only` trees of these ids. Raises the error of exit code 2 where
    the disk refuses.
    """
    place = workspace.place
    snapshots = read_snapshots(place)
    kept = trees_to_keep(snapshots, workspace.settings, now(), coming=coming)
    goes = [x for x in snapshots if x not in kept and (only is None or x.id in only)]
    goes = [each for each in goes if is_dir(tree_of(place, each))]
    before = [*statuses(place.folder / each for each in removing)]
    of_trees = statuses(x for each in goes for x in _files_below(tree_of(place, each)))
    room = freed_bytes(chain(before, of_trees)) - freed_bytes(before)
    if not dry_run:
        with removal_errors():
            remove_unfinished(place)
            for each in goes:
                remove_tree(tree_of(place, each))
    lines: list[Line] = []
    if goes:
        removed = "would remove" if dry_run else "removed"
        # Index files that do not change will be those of the snapshot that is about to be taken.
        most = "at most " if dry_run and snapshots[-1] in goes else ""
        what = f"{counted(len(goes), 'tree')} of older snapshots, {most}{human_size(room)}"
        lines.append((f"{removed} {what}; their records stay", *(f"  {x.id}" for x in goes)))
    ids: list[Json] = [each.id for each in goes]
    return Report(lines=tuple(lines), data={"trees": ids, "tree-bytes": room})


def held_by_trees(
    workspace: Workspace,
    paths: Collection[PurePosixPath],
    files: ChannelFiles,
    *,
    coming: bool,
) -> tuple[Mapping[PurePosixPath, int], str]:
    """Return those files of the channel that trees hold which stay, with bytes; and until when.

    What one of `files` that stays is a link to, as after a relayout, the channel itself holds.
    `coming`: one more snapshot is about to be taken, without these `paths`.
    """
    place, settings, when = workspace.place, workspace.settings, now()
    snapshots = read_snapshots(place)
    held, last = dict[PurePosixPath, int](), None
    kept = trees_to_keep(snapshots, settings, when, coming=coming)
    found = {path: x for path in paths for x in statuses([place.folder / path])}
    if found:  # else nobody looks at thousands of files
        named = {x.path for x in (*files.mirrored, *files.retained, *files.others)}
        there = statuses(place.folder / path for path in named.difference(paths))
        stay = {(x.st_dev, x.st_ino) for x in there}
        found = {path: x for path, x in found.items() if (x.st_dev, x.st_ino) not in stay}
    for snapshot in kept:
        for path, status in found.items():
            in_tree = statuses([tree_of(place, snapshot) / path])
            if any(os.path.samestat(each, status) for each in in_tree):
                held[path], last = status.st_size, snapshot
    return held, "" if last is None else _until(
        last, len(snapshots) - 1 + coming - snapshots.index(last), settings, when
    )


def _until(last: Snapshot, newer: int, settings: Settings, when: datetime) -> str:
    """Say when the tree of a snapshot goes; `newer` is the number of newer snapshots."""
    left = settings.keep_snapshots - newer
    ends = last.created + _days(settings)
    said = [f"{ends:%Y-%m-%d}"] if settings.keep_days and ends > when else []
    said += [f"{left} more {'is' if left == 1 else 'are'} taken"] if left > 0 else []
    return " and ".join(said)


def statuses(files: Iterable[os.PathLike[str]]) -> Iterator[os.stat_result]:
    """Yield the status of each of these files that is there, no link followed."""
    for each in files:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield os.lstat(each)


def freed_bytes(files: Iterable[os.stat_result]) -> int:
    """Sum the bytes that would be free without these files: those of which no other link is left.

    Each link is a file of its own.
    """
    size, links = 0, Counter[tuple[int, int]]()
    for each in files:
        inode = each.st_dev, each.st_ino
        links[inode] += 1
        size += each.st_size if links[inode] == each.st_nlink else 0
    return size


def snapshots_report(workspace: Workspace, console: Console) -> Report:
    """List all snapshots, oldest first, and say which of them is published."""
    place = workspace.place
    records = read_records(place)
    found = [each for _, each in records if each is not None]
    newest, published = records[-1][1] if records else None, None
    moved = problems = tuple[Problem, ...]()
    try:
        if newest is not None:
            moved = moved_problems(place, newest, read_snapshot_files(place, newest), console)
            published = None if moved else newest
    except MirrorError as error:  # who has such an index wants to see the list
        problems = error.problems
    damaged = [snapshot_id for snapshot_id, each in records if each is None]
    trees = {x.id: tree for x in found if is_dir(tree := tree_of(place, x))}
    own = dict(zip(trees, _own_bytes(trees.values()), strict=True))
    cells = [
        (
            each.id,
            f"{each.created:%Y-%m-%d %H:%M}",
            f"{each.made_by}{', published' if each is published else ''}",
            counted(each.artifacts, "package"),
            human_size(each.size),
            f"{human_size(own[each.id])} of its own" if each.id in own else "record only",
            proven_text(each),
        )
        for each in found
    ]
    lines = [*table(cells)] if records else ["no snapshots yet: `pixi run mirror` leaves one"]
    lines += (
        f"{x}  its record is damaged (`pixi run snapshots --forget {x}`), or of a newer version"
        for x in damaged
    )
    lines += (f"what is published {each.message}: {each.help}" for each in moved)
    rows: list[Json] = [_snapshot_to_json(each, own.get(each.id)) for each in found]
    # Each line alone: none is cut.
    data: dict[str, Json] = {"snapshots": rows, "damaged": damaged}
    return Report(lines=tuple(lines), data=data, problems=problems)


def _snapshot_to_json(snapshot: Snapshot, own_bytes: int | None) -> Json:
    return {
        "id": snapshot.id,
        "created": snapshot.created.isoformat(),
        "parent": snapshot.parent,
        "made-by": snapshot.made_by,
        "layout": snapshot.layout.value,
        "content-digest": snapshot.content_digest,
        "packages": snapshot.artifacts,
        "files": snapshot.files,
        "bytes": snapshot.size,
        "own-bytes": own_bytes,
        "proven": [
            {"level": x.level, "client": x.client, "proven": x.proven.isoformat()}
            for x in snapshot.proven
        ],
        "locks": [
            {"lock": x.label, "lock-sha256": x.lock_sha256, "manifest-sha256": x.manifest_sha256}
            for x in snapshot.locks
        ],
    }


def _own_bytes(trees: Collection[Path]) -> Iterator[int]:
    """Yield for each tree the bytes that would be free without it alone.

    A file that two trees have is neither's own: it is not even asked for its links. All trees are
    on one disk.
    """
    inodes = ({file.inode() for file in _files_below(each)} for each in trees)
    trees_with = Counter(inode for some in inodes for inode in some)
    for each in trees:
        files = (file for file in _files_below(each) if trees_with[file.inode()] == 1)
        yield freed_bytes(statuses(files))


def forget_snapshot(workspace: Workspace, name: str) -> Report:
    """Remove a snapshot, record and all; the newest is refused: it tells what is there now.

    One whose record is damaged tells nothing. Raises the error of exit code 2 for that, and where
    no snapshot, or several, have such an id.
    """
    place = workspace.place
    record = find_record(place, name)
    newest_id, newest = read_records(place)[-1]
    if newest is not None and newest_id == record.stem:
        raise usage_error(
            record.stem,
            "is the newest snapshot: what the channel holds now",
            help="pixi run snapshots",
        )
    folders = (record.with_suffix(""), record.with_suffix(LOCKS))
    files = chain((record, later_of(record)), *map(_files_below, folders))
    room = freed_bytes(statuses(files))
    with removal_errors():
        remove_snapshot(place, record)
    return Report(
        lines=(f"forgotten: {record.stem}, {human_size(room)}",),
        data={"forgotten": [record.stem], "bytes": room},
    )


def _files_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield each file below a folder; nothing of one that is not there.

    Raises the error of exit code 2 where one may not look.
    """
    open_ = [str(folder)]
    while open_:
        here = open_.pop()
        try:
            with os.scandir(here) as entries:
                for each in entries:
                    if each.is_dir(follow_symlinks=False):
                        open_.append(each.path)
                    else:
                        yield each
        except FileNotFoundError:
            pass
        except PermissionError as error:
            raise cannot_read(error, Path(here)) from None
