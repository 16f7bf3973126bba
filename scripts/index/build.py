"""Build the index of one channel in a staging folder, and believe it only when read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.files import naming
from scripts.index.compare import contradictions, differences
from scripts.index.indexer import Indexer, run_indexer
from scripts.index.readable import refuse_unreadable
from scripts.index.readback import (
    IndexReading,
    compare_records,
    normalise,
    read_subdir_index,
    unlike_specs_of,
)
from scripts.index.repodata import (
    REPODATA,
    REPODATA_ZST,
    SHARD_INDEX,
    DamagedIndexError,
    damaged,
)
from scripts.index.seed import ChannelSeed, SubdirSeed
from scripts.index.shard_index import rewrite_shard_index
from scripts.index.staging import stage_channel


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltSubdir:
    """The index of one subdir, built and compared; `shards` are relative names."""

    subdir: str
    shards: tuple[str, ...]


def build_index(
    folder: Path,
    seed: ChannelSeed,
    indexer: Indexer,
    target: Path,
    named: AbstractSet[PurePosixPath],
) -> tuple[BuiltSubdir, ...]:
    """Stage a channel in `target`, run the indexer on it and compare every record and shard.

    `named` is all that any workspace names.
    Raises the error of exit code 4 with all that is not as it should be, or of 2 with all records
    that could not be indexed.
    """
    refuse_unreadable(seed, named)
    stage_channel(folder, seed, target)
    run_indexer(indexer, target, sum(1 for each in seed.subdirs for _ in each.records()))
    for each in seed.subdirs:
        _rewrite_shard_index(target / each.subdir, each)
    readings = [
        (each, read_subdir_index(target / each.subdir, seed.path / each.subdir))
        for each in seed.subdirs
    ]
    normal = normalise(
        text
        for each, reading in readings
        if reading.repodata is not None
        for text in unlike_specs_of(dict(each.records()), reading.repodata.records)
    )
    problems = [
        problem for each, reading in readings for problem in _problems(each, reading, normal, seed)
    ]
    if problems:
        raise MirrorError(*(_of_the_indexer(problem, indexer) for problem in problems))
    return tuple(
        BuiltSubdir(subdir=each.subdir, shards=reading.shards) for each, reading in readings
    )


def _rewrite_shard_index(subdir: Path, seed: SubdirSeed) -> None:
    """Make the shard index tell no time but the records', and vouch for the zst beside it."""
    file = subdir / SHARD_INDEX
    try:
        data, zst = file.read_bytes(), (subdir / REPODATA_ZST).read_bytes()
        records = (record for _, record in seed.records())
        with naming(file):
            file.write_bytes(rewrite_shard_index(data, SHARD_INDEX, records, zst))
    except (FileNotFoundError, DamagedIndexError):
        pass  # the reading back will tell


def _problems(
    each: SubdirSeed, reading: IndexReading, normal: Mapping[str, str], seed: ChannelSeed
) -> Iterator[Problem]:
    """Yield all that the index of a subdir has wrong: the lock's records to the letter."""
    yield from reading.problems
    if reading.repodata is None:
        return
    records, shown = reading.repodata.records, seed.path / each.subdir
    yield from compare_records(each.locked, records, normal, differences, shown)
    yield from compare_records(each.kept, records, normal, contradictions, shown)
    for name in sorted(records.keys() - each.locked.keys() - each.kept.keys()):
        yield from damaged(str(shown / name), f"has a record in {REPODATA}, but no place").problems


def _of_the_indexer(problem: Problem, indexer: Indexer) -> Problem:
    """Say that the indexer did this: nothing of it has become visible."""
    return replace(
        problem,
        code=ExitCode.PROGRAM,
        facts=(*problem.facts, ("indexer", indexer.identity)),
        help="nothing was changed in the channel; try another version of the indexer",
    )
