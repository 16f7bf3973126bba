"""The tree of a snapshot: its files as a channel folder of its own, as long as it is kept.

Artifacts are hard links to those of the channel and take no room; index files are copies, linked to
those of the tree before where they are the same. A tree is built, and removed, as `<id>.part`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from scripts.channel.digest_cache import DigestCache
from scripts.channel.inventory import SEE_TO_DISK
from scripts.core.channel_paths import ChannelPaths, folders_of
from scripts.core.errors import Problem, usage_problem
from scripts.core.files import (
    exists,
    filename_in_errors,
    fsync,
    hard_link,
    is_dir,
    remove_folder,
    replace,
    unlink,
)
from scripts.core.scratch import clear_scratch, scratch_folder
from scripts.keep.snapshot_locks import LOCKS
from scripts.keep.snapshots import (
    Snapshot,
    SnapshotFile,
    is_snapshot_id,
    later_of,
    read_snapshot_files,
    read_snapshots,
    record_of,
    tree_of,
)

_PART: Final = ".part"
_TOO_MANY_LINKS: Final = 1142  # of Windows, for which Python has no errno
_THREADS: Final = 8  # copies made durable side by side, which is many times faster


def build_tree(
    place: ChannelPaths,
    snapshot: Snapshot,
    files: Sequence[SnapshotFile],
    before: Snapshot | None,
    files_before: Iterable[SnapshotFile],
) -> bool:
    """Build the tree of a snapshot from the channel as it is; `before` is the one before it.

    Returns False, with nothing left behind, where hard links are impossible. Raises an OSError
    where the disk refuses.
    """
    from concurrent.futures import ThreadPoolExecutor

    tree = tree_of(place, snapshot)
    part = tree.with_name(f"{tree.name}{_PART}")
    older = None if before is None else tree_of(place, before)
    there = {(each.path, each.sha256) for each in files_before}

    def copy(index_file: SnapshotFile) -> None:
        path = index_file.path
        if older is not None and (path, index_file.sha256) in there:
            with contextlib.suppress(OSError):  # it is gone, or has all the links that it may have
                os.link(older / path, part / path)
                return
        _copy(place.folder / path, part / path)

    try:
        part.mkdir(parents=True)
        for folder in folders_of(each.path for each in files):
            (part / folder).mkdir(parents=True, exist_ok=True)
        for path in (each.path for each in files if not each.is_index):
            if not _link(f"{place.folder}/{path}", f"{part}/{path}"):  # a Path takes longer
                remove_folder(part)
                return False
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            # `list` raises what one of them has raised
            list(pool.map(copy, (each for each in files if each.is_index)))
        replace(part, tree)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return True


def _link(source: str, target: str) -> bool:
    """Link an artifact; a file that has all the links it may have is copied (1,024 on NTFS)."""
    try:
        hard_link(source, target)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}:
            raise
        if error.errno != errno.EMLINK and getattr(error, "winerror", None) != _TOO_MANY_LINKS:
            return False
        _copy(Path(source), Path(target))
    return True


def _copy(source: Path, target: Path) -> None:
    """Copy a file durably."""
    # Only the reading is unbuffered: a raw write may leave something over, and say nothing.
    with (
        filename_in_errors(target),
        source.open("rb", buffering=0) as read,
        target.open("wb") as copy,
    ):
        shutil.copyfileobj(read, copy)
        copy.flush()
        fsync(copy.fileno())


def disk_problem(place: ChannelPaths, error: OSError, what: str) -> Problem:
    """Make the problem of what was not done, as the disk refused (exit code 2)."""
    name = error.filename2 or error.filename or place.state  # what was written, not read
    reason = error.strerror or error
    message = f"{what}, as this cannot be read or written: {reason}"
    return usage_problem(name, message, help=SEE_TO_DISK)


def ensure_tree(place: ChannelPaths, newest: Snapshot) -> None:
    """Build the tree of the newest snapshot, unless it is there or its disk has no hard links.

    Raises an OSError where the disk refuses.
    """
    if is_dir(tree_of(place, newest)):
        return
    remove_unfinished(place)
    before = next((x for x in reversed(read_snapshots(place)) if x.id != newest.id), None)
    files_before = () if before is None else read_snapshot_files(place, before)
    build_tree(place, newest, read_snapshot_files(place, newest), before, files_before)


def mend_tree(place: ChannelPaths, newest: Snapshot, files: Iterable[SnapshotFile]) -> None:
    """Link anew what the newest tree has damaged, and the channel has had fetched anew."""
    tree, digests = tree_of(place, newest), DigestCache(place.digests, writes=False)
    for path, sha256 in ((each.path, each.sha256) for each in files if not each.is_index):
        with contextlib.suppress(OSError):  # it is gone, or has all the links that it may have
            if (tree / path).samefile(place.folder / path):
                continue
            if digests.digest_of(place.folder, path, "sha256") == sha256:
                with scratch_folder(place.snapshots) as made:
                    hard_link(place.folder / path, made / path.name)
                    replace(made / path.name, tree / path)


def remove_tree(tree: Path) -> None:
    """Remove the tree of a snapshot, whose record stays; killed meanwhile, it is gone all the same.

    Raises an OSError where the disk refuses.
    """
    part = tree.with_name(f"{tree.name}{_PART}")
    if is_dir(tree):
        replace(tree, part)
        remove_folder(part)


def remove_snapshot(place: ChannelPaths, record: Path) -> None:
    """Remove tree, record and locks of a snapshot; killed meanwhile, `remove_unfinished` ends it.

    Its record is not read: it may be damaged.
    """
    remove_tree(record.with_suffix(""))
    unlink(later_of(record), missing_ok=True)
    unlink(record, missing_ok=True)
    remove_unfinished(place)


def remove_unfinished(place: ChannelPaths) -> None:
    """Remove what killed runs left: trees half built or half removed, or of no record; scratch."""
    clear_scratch(place.snapshots)
    try:
        found = [each for each in place.snapshots.iterdir() if is_dir(each)]
    except FileNotFoundError:
        return
    for each in found:
        snapshot_id = each.name.removesuffix(_PART).removesuffix(LOCKS)
        is_left = each.name.endswith(_PART) or not exists(record_of(place, snapshot_id))
        if is_left and is_snapshot_id(snapshot_id):
            remove_folder(each)
