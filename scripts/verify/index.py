"""The level `index`: what the channel says of its artifacts, beside the lock.

repodata.json, its zst and the shards must agree with each other, with the lock's records and
with the files that are there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.channel.digest_cache import Digests
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPlace
from scripts.core.errors import MirrorError, Problem
from scripts.core.record import Record
from scripts.core.subdir import NOARCH
from scripts.index.account import look_into_mirror
from scripts.index.compare import contradictions, differences
from scripts.index.readback import (
    IndexReading,
    compare_records,
    normalise,
    read_subdir_index,
    unlike_specs_of,
)
from scripts.index.repodata import REPODATA, damaged
from scripts.index.seed import make_seed
from scripts.index.work import ChannelWork, without
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
    whole: Mapping[str, Record]
    absent: Mapping[str, Record]
    on_disk: frozenset[str]

    def expected(self) -> Mapping[str, Record]:
        """Return all records that the lock wants."""
        return {**self.whole, **self.absent}


def check_index(
    place: ChannelPlace,
    selection: Selection,
    uses: UsageIndex,
    waiting: AbstractSet[PurePosixPath] = frozenset(),
) -> LevelResult:
    """Compare the index of every channel of the mirror, but for files that wait for removal."""
    found: list[tuple[PurePosixPath, Problem]] = []
    subdirs: list[_Subdir] = []
    for each_work in look_into_mirror(place, selection):
        work = dataclasses.replace(each_work, contents=without(each_work.contents, waiting))
        if not work.is_wanted and work.contents.is_empty:
            continue
        whole, problems = _records(work, place.folder)
        found += [(PurePosixPath(each.subject).parent, each) for each in problems]
        subdirs += _read(work, whole, place.folder)
    normal = normalise(
        text
        for each in subdirs
        if each.reading.repodata is not None
        for text in unlike_specs_of(each.expected(), each.reading.repodata.records)
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


def _records(
    work: ChannelWork, folder: Path
) -> tuple[Mapping[PurePosixPath, Record], tuple[Problem, ...]]:
    """Make the records of all artifacts that are there, as the stage `index` makes them.

    Where old locks say too little, the artifacts are read; what cannot be read is a problem.
    """
    readable = tuple(each for each in work.artifacts if _is_there(each, work))
    problems: tuple[Problem, ...] = ()
    try:
        seed = make_seed(_only(work, readable), (), folder, _no_digests())
    except MirrorError as error:
        problems = error.problems
        damage = {problem.subject for problem in problems}
        readable = tuple(each for each in readable if str(each.path) not in damage)
        seed = make_seed(_only(work, readable), (), folder, _no_digests())
    records = {
        work.path / each.subdir / name: record
        for each in seed.subdirs
        for name, record in each.locked.items()
    }
    return records, problems


def _is_there(artifact: Artifact, work: ChannelWork) -> bool:
    return artifact.path.name in work.contents.subdir(artifact.path.parent.name).artifacts


def _only(work: ChannelWork, artifacts: tuple[Artifact, ...]) -> ChannelWork:
    return dataclasses.replace(work, artifacts=artifacts)


def _no_digests() -> Digests:
    """Believe no digest known from before, and remember none."""
    return Digests(Path(os.devnull), writes=False)


def _read(
    work: ChannelWork, records: Mapping[PurePosixPath, Record], folder: Path
) -> Iterator[_Subdir]:
    """Read the index of each subdir that has one or needs one; foreign artifacts need none."""
    artifacts = {each.path: each for each in work.artifacts}
    wanted = {path.parent.name for path in artifacts}
    indexed = {name for name, each in work.contents.subdirs.items() if each.index_files}
    for subdir in sorted({NOARCH} | wanted | indexed):
        path = work.path / subdir
        locked = {each: artifacts[each] for each in artifacts if each.parent == path}
        yield _Subdir(
            path=path,
            reading=read_subdir_index(folder / path, path),
            whole={each.name: records[each] for each in locked if each in records},
            absent={
                each.name: artifact.conda_record
                for each, artifact in locked.items()
                if each not in records
            },
            on_disk=frozenset(work.contents.subdir(subdir).artifacts),
        )


def _problems(each: _Subdir, normal: Mapping[str, str]) -> Iterator[Problem]:
    """Yield all that is wrong with the index of one subdir."""
    yield from each.reading.problems
    repodata = each.reading.repodata
    if repodata is None:
        return
    yield from compare_records(each.whole, repodata.records, normal, differences, each.path)
    yield from compare_records(each.absent, repodata.records, normal, contradictions, each.path)
    for name in sorted(repodata.records.keys() - each.expected().keys() - each.on_disk):
        trouble = f"has a record in {REPODATA}, but is not there"
        yield from damaged(str(each.path / name), trouble).problems
