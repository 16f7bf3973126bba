"""Let a built index become visible: packages' shards first, repodata.json last.

Files whose bytes are the same stay as they are; what is stale is left to wait for its removal.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.channel.prepare import clear_staging
from scripts.core.channel_paths import ChannelPlace
from scripts.core.files import make_durable, naming, read_regular, replace, write_atomically
from scripts.index.repodata import LARGEST, REPODATA, REPODATA_ZST, SHARD_INDEX, SHARDS


@contextlib.contextmanager
def staging_folder(place: ChannelPlace) -> Iterator[Path]:
    """Give a folder of this run alone, in which an index is made unseen.

    Its name is new each time: the indexer of a killed run may still be writing to its own.
    """
    place.staging.mkdir(parents=True, exist_ok=True)
    try:
        yield Path(tempfile.mkdtemp(dir=place.staging))
    finally:
        clear_staging(place)


def publish(
    shards: Mapping[str, tuple[str, ...]], staged: Path, channel: Path, *, is_durable: bool
) -> frozenset[str]:
    """Rename the index files of one channel from the staging folder into place.

    `shards` are those of each subdir. `is_durable`: each repodata.json is on the disk before it
    replaces another; it alone has the records of artifacts that are in no lock. Returns the names
    of all index files (`<subdir>/<name>`).
    A client that reads meanwhile finds every file that an index names. Killed at any moment, a
    second run ends with the same bytes.
    """
    packages = [f"{subdir}/{name}" for subdir, names in shards.items() for name in names]
    others = [f"{subdir}/{name}" for subdir in shards for name in (REPODATA_ZST, SHARD_INDEX)]
    repodata = [f"{subdir}/{REPODATA}" for subdir in shards]
    for subdir, names in shards.items():
        folder = channel / subdir
        (folder / SHARDS if names else folder).mkdir(parents=True, exist_ok=True)
    for name in repodata if is_durable else ():
        with naming(staged / name), (staged / name).open("rb+") as opened:
            make_durable(opened.fileno())
    names_in_order = (*packages, *others, *repodata)
    for name in names_in_order:
        _replace(staged / name, channel / name)
    return frozenset(names_in_order)


def _replace(source: Path, target: Path) -> None:
    """Put a file in its place, unless the same bytes are there."""
    data = source.read_bytes()
    with contextlib.suppress(OSError):  # none is there, or the rename will tell
        if not target.is_symlink() and read_regular(target, LARGEST) == data:
            return
    try:
        replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the channel folder is on a file system of its own
            raise
        write_atomically(target, data)
