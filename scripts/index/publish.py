"""Let a built index become visible: packages' shards first, repodata.json last.

Files whose bytes are the same stay as they are; what is stale is left to wait for its removal.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from scripts.core.files import make_durable, naming, read_regular, replace, write_atomically
from scripts.index.build import BuiltSubdir
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    SHARD_INDEX,
    SHARDS,
)


def publish(built: Sequence[BuiltSubdir], staged: Path, channel: Path) -> None:
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


def _replace(source: Path, target: Path) -> None:
    """Put a file in its place, unless the same bytes are there."""
    data = source.read_bytes()
    if _present(target) == data:
        return
    try:
        replace(source, target)
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

    It alone holds the records of retained artifacts; all others come from the lock again.
    """
    for each in built:
        path = staged / each.subdir / REPODATA
        with naming(path), path.open("rb+") as opened:
            make_durable(opened.fileno())


def published_names(built: Sequence[BuiltSubdir]) -> frozenset[str]:
    """Return all index files that were built, as `<subdir>/<name>`."""
    return frozenset(
        f"{each.subdir}/{name}"
        for each in built
        for name in (*each.shards, REPODATA, REPODATA_ZST, SHARD_INDEX)
    )
