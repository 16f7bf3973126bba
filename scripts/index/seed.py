"""The records that an index is to have: the lock's, and those of artifacts kept.

Read are only artifacts of which the lock says too little.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.channel.digest_cache import Digests
from scripts.core.artifact import Artifact
from scripts.core.errors import MirrorError, Problem
from scripts.core.record import Record
from scripts.index.account import Indexed
from scripts.index.artifact import read_index_record
from scripts.index.complete import OLDEST_COMPLETE, complete
from scripts.index.work import ChannelWork, depends_on_bytes, subdirs_to_write


@dataclass(frozen=True, slots=True, kw_only=True)
class SubdirSeed:
    """The records of one subdir by file name: of locked artifacts, and of kept ones."""

    subdir: str
    locked: Mapping[str, Record]
    kept: Mapping[str, Record]

    def records(self) -> Iterator[tuple[str, Record]]:
        """Yield all records."""
        yield from self.locked.items()
        yield from self.kept.items()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSeed:
    """The records of one conda channel, for every subdir that gets an index."""

    path: PurePosixPath
    subdirs: tuple[SubdirSeed, ...]


def make_seed(
    work: ChannelWork, kept: tuple[Indexed, ...], folder: Path, digests: Digests
) -> ChannelSeed:
    """Make all records of a channel.

    Raises a MirrorError with every artifact that had to be read and could not be.
    """
    locked: dict[str, dict[str, Record]] = {}
    for artifact, record in zip(work.artifacts, _locked(work, folder, digests), strict=True):
        locked.setdefault(artifact.path.parent.name, {})[artifact.path.name] = record
    earlier: dict[str, dict[str, Record]] = {}
    for each in kept:
        earlier.setdefault(each.path.parent.name, {})[each.path.name] = each.record
    return ChannelSeed(
        path=work.path,
        subdirs=tuple(
            SubdirSeed(subdir=subdir, locked=locked.get(subdir, {}), kept=earlier.get(subdir, {}))
            for subdir in subdirs_to_write(work, locked.keys() | earlier.keys())
        ),
    )


def _locked(work: ChannelWork, folder: Path, digests: Digests) -> list[Record]:
    """Make the records of the lock's artifacts, reading side by side those that must be read."""
    problems: list[Problem] = []

    def read(artifact: Artifact) -> Record | None:
        try:
            return _record(artifact, work, folder)
        except MirrorError as error:
            problems.extend(error.problems)
            return None

    if any(depends_on_bytes(artifact, work) for artifact in work.artifacts):
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            records = list(pool.map(read, work.artifacts))
    else:
        records = [read(artifact) for artifact in work.artifacts]
    if problems:
        raise MirrorError(*sorted(problems, key=lambda problem: problem.subject))
    return [
        _with_sha256(artifact, record, folder, digests)
        for artifact, record in zip(work.artifacts, records, strict=True)
        if record is not None
    ]


def _record(artifact: Artifact, work: ChannelWork, folder: Path) -> Record:
    """Make one record; its size is the file's where the lock names none."""
    subdir, name = artifact.path.parent.name, artifact.path.name
    record = artifact.conda_record
    if work.lock_version < OLDEST_COMPLETE:
        said = read_index_record(folder / artifact.path, str(artifact.path))
        record = complete(record, said, work.lock_version)
    if record.size is None:
        size = work.contents.subdir(subdir).artifacts[name].st_size
        record = dataclasses.replace(record, size=size)
    return record


def _with_sha256(artifact: Artifact, record: Record, folder: Path, digests: Digests) -> Record:
    """Give a record that has only a md5 the sha256 of the file: clients trust no md5."""
    if record.sha256 is not None:
        return record
    return dataclasses.replace(record, sha256=digests.digest_of(folder, artifact.path, "sha256"))
