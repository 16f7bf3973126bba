"""The level `index`: what the channel says of its artifacts, beside the lock.

repodata.json, its zst and the shards must agree with each other, with the lock's records and
with the files that are there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.channel.digest_cache import DigestCache
from scripts.core.channel_paths import ChannelPaths
from scripts.core.errors import Problem
from scripts.core.record import Record
from scripts.core.subdir import NOARCH
from scripts.index.build import read_locked_records
from scripts.index.compare import compare_records, normalise_specs
from scripts.index.files import Channel, read_channels
from scripts.index.readback import IndexReading, read_subdir_index
from scripts.index.repodata import REPODATA, SHARDS, damaged
from scripts.lock.select import Selection
from scripts.verify.findings import Finding, Level, LevelResult, UsageIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subdir:
    """The index of one subdir, and the records that the lock wants in it.

    `whole` are to be met to the letter; of `absent` artifacts, which may leave things open that
    only their bytes could tell, the records are not to contradict the lock.
    """

    path: PurePosixPath
    reading: IndexReading
    whole: Mapping[PurePosixPath, Record]
    absent: Mapping[PurePosixPath, Record]
    on_disk: frozenset[PurePosixPath]

    def expected(self) -> Mapping[PurePosixPath, Record]:
        """Return all records that the lock wants."""
        return {**self.whole, **self.absent}


def check_index(
    place: ChannelPaths,
    selection: Selection,
    uses: UsageIndex,
    waiting: AbstractSet[PurePosixPath] = frozenset(),
) -> LevelResult:
    """Compare the index of every channel of the mirror, but for files that wait for removal."""
    found: list[tuple[PurePosixPath, Problem]] = []
    subdirs: list[_Subdir] = []
    digests = DigestCache(Path(os.devnull), writes=False)  # none known from before is believed
    for channel in read_channels(place.folder, selection, waiting):
        whole, problems = read_locked_records(place.folder, channel, digests)
        found += [(PurePosixPath(each.subject).parent, each) for each in problems]
        subdirs += _read(channel, whole, place.folder)
    normal = normalise_specs(
        {path: record for each in subdirs for path, record in each.expected().items()},
        {path: row for each in subdirs for path, row in (each.reading.records or {}).items()},
    )
    for each in subdirs:
        found += [(each.path, problem) for problem in _problems(each, normal)]
    return LevelResult(
        findings=tuple(
            Finding(
                level=Level.INDEX,
                problem=problem,
                places=uses.places(PurePosixPath(problem.subject), path),
            )
            for path, problem in found
        )
    )


def _read(
    channel: Channel, records: Mapping[PurePosixPath, Record], folder: Path
) -> Iterator[_Subdir]:
    """Read the index of each subdir that has one or needs one; foreign artifacts need none."""
    subdirs = {channel.path / NOARCH, *(each.path.parent for each in channel.artifacts)}
    subdirs |= {
        each.parent.parent if each.parent.name == SHARDS else each.parent
        for each in channel.index_files
    }
    for path in sorted(subdirs):
        locked = {
            each.path: each.conda_record for each in channel.artifacts if each.path.parent == path
        }
        yield _Subdir(
            path=path,
            reading=read_subdir_index(folder / path, path),
            whole={each: records[each] for each in locked if each in records},
            absent={each: record for each, record in locked.items() if each not in records},
            on_disk=frozenset(channel.there),
        )


def _problems(each: _Subdir, normal: Mapping[str, str]) -> Iterator[Problem]:
    """Yield all that is wrong with the index of one subdir."""
    yield from each.reading.problems
    records = each.reading.records
    if records is None:
        return
    yield from compare_records(each.whole, records, normal, is_complete=True)
    yield from compare_records(each.absent, records, normal, is_complete=False)
    for path in sorted(records.keys() - each.expected().keys() - each.on_disk):
        yield from damaged(str(path), f"has a record in {REPODATA}, but is not there").problems
