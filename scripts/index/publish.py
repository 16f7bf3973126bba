"""Let a built index become visible: packages' shards first, repodata.json last. Acts.

Files whose bytes are the same stay as they are; what is stale goes last.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from scripts.core.files import make_durable, read_regular, write_atomically
from scripts.core.subdir import KNOWN_SUBDIRS
from scripts.index.build import BuiltSubdir
from scripts.index.contents import ChannelContents
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    SHARD_INDEX,
    SHARDS,
)


def publish(
    built: Sequence[BuiltSubdir], staged: Path, channel: Path, before: ChannelContents
) -> None:
    """Rename the index files of one channel from the staging folder into place.

    A client that reads meanwhile finds every file that an index names. Killed at any moment, a
    second run ends with the same bytes.
    """
    for each in built:
        folder = channel / each.subdir
        (folder / SHARDS if each.shards else folder).mkdir(parents=True, exist_ok=True)
        for shard in each.shards:
            _replace(staged / each.subdir / shard, folder / shard)
    for each in built:
        source, target = staged / each.subdir, channel / each.subdir
        _replace(source / REPODATA_ZST, target / REPODATA_ZST)
        _replace(source / SHARD_INDEX, target / SHARD_INDEX)
    for each in built:
        _replace(staged / each.subdir / REPODATA, channel / each.subdir / REPODATA)
    _remove_stale(built, channel, before)


def _replace(source: Path, target: Path) -> None:
    """Put a file in its place, unless the same bytes are there."""
    data = source.read_bytes()
    if _present(target) == data:
        return
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the channel folder is on a file system of its own
            raise
        write_atomically(target, data)


def _present(target: Path) -> bytes | None:
    """Read the index file that is there; None where it is no file of its own, or too large."""
    try:
        return None if target.is_symlink() else read_regular(target, LARGEST)
    except OSError:  # the rename will tell
        return None


def make_repodata_durable(built: Sequence[BuiltSubdir], staged: Path) -> None:
    """Have each repodata.json on the disk before it replaces another.

    It alone holds the records of artifacts kept from before; all others come from the lock again.
    """
    for each in built:
        with (staged / each.subdir / REPODATA).open("rb+") as opened:
            make_durable(opened.fileno())


def _remove_stale(built: Sequence[BuiltSubdir], channel: Path, before: ChannelContents) -> None:
    """Remove shards that no index names, and all index files of subdirs that have become empty."""
    named = {
        f"{each.subdir}/{name}"
        for each in built
        for name in (*each.shards, REPODATA, REPODATA_ZST, SHARD_INDEX)
    }
    stale = [name for name, _ in before.index_files() if name not in named]
    # repodata.json sorts first, so what it promises goes after it
    for name in sorted(stale, key=lambda name: (not name.endswith(REPODATA), name)):
        (channel / name).unlink(missing_ok=True)
    for subdir in {name.partition("/")[0] for name in stale}:
        for folder in (channel / subdir / SHARDS, channel / subdir):
            remove_if_empty(folder)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder with nothing in it; leave any other."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove_empty_channel(folder: Path, path: PurePosixPath) -> None:
    """Remove the folders of a channel, and those above it, that have nothing left in them."""
    for subdir in KNOWN_SUBDIRS:
        remove_if_empty(folder / path / subdir)
    for each in (path, *path.parents):
        if each != PurePosixPath():
            remove_if_empty(folder / each)
