"""The staging folder: a channel of hard links in which an index is made unseen."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts.channel.prepare import clear_staging
from scripts.core.channel_paths import ChannelPlace
from scripts.core.files import link_or_copy, naming
from scripts.core.subdir import NOARCH
from scripts.index.repodata import REPODATA, render_repodata
from scripts.index.seed import ChannelSeed


@contextlib.contextmanager
def fresh_folder(place: ChannelPlace) -> Iterator[Path]:
    """Give a folder of this run alone.

    Its name is new each time: the indexer of a killed run may still be writing to its own.
    """
    place.staging.mkdir(parents=True, exist_ok=True)
    try:
        yield Path(tempfile.mkdtemp(dir=place.staging))
    finally:
        clear_staging(place)


def stage_channel(folder: Path, seed: ChannelSeed, target: Path) -> None:
    """Lay out a channel with just the artifacts of the seed, and the seed as its repodata.

    A foreign file would make the indexer fail, so only what has a record is linked.
    """
    (target / NOARCH).mkdir(parents=True, exist_ok=True)
    for each in seed.subdirs:
        source, subdir = folder / seed.path / each.subdir, target / each.subdir
        subdir.mkdir(exist_ok=True)
        for name, _ in each.records():
            artifact = source / name
            # the indexer lists files, and would pass over a link to one
            link_or_copy(artifact.resolve() if artifact.is_symlink() else artifact, subdir / name)
        with naming(subdir / REPODATA):
            (subdir / REPODATA).write_bytes(render_repodata(each.subdir, each.records()))
