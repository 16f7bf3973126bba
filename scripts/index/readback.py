"""Read index files back from the disk and compare all that they say. Acts.

The indexer may end well and yet have dropped a whole seed; nor does it mend a damaged shard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.files import read_regular
from scripts.index.compare import Difference, unlike_specs
from scripts.index.records import Record
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    SHARD_END,
    SHARD_INDEX,
    SHARDS,
    DamagedIndexError,
    Repodata,
    damaged,
    parse_repodata,
    parse_shard,
    parse_shard_index,
    parse_zst,
)

Comparison = Callable[[Record, Record, Mapping[str, str]], Iterator[Difference]]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReading:
    """What the index files of one subdir say, and how they contradict each other.

    `repodata` is None where repodata.json itself is missing or damaged. `shards` are the names
    (`shards/<sha256>.msgpack.zst`) of those that the shard index names.
    """

    repodata: Repodata | None
    shards: tuple[str, ...]
    problems: tuple[Problem, ...]


def read_subdir_index(folder: Path, shown: PurePosixPath) -> IndexReading:
    """Read repodata.json, its zst and all shards of the subdir in `folder`, and compare them.

    `shown` is the subdir's path in problems (exit code 1), of which it returns all.
    """
    problems: list[Problem] = []
    repodata, shards = None, tuple[str, ...]()
    try:
        plain = _read(folder / REPODATA, shown / REPODATA)
        repodata = parse_repodata(plain, str(shown / REPODATA))
        name = shown / REPODATA_ZST
        zst = parse_zst(_read(folder / REPODATA_ZST, name), str(name))
        if zst != plain:
            raise damaged(str(shown / REPODATA_ZST), f"holds another {REPODATA} than the one here")
    except DamagedIndexError as error:
        problems += error.problems
    try:
        index = parse_shard_index(
            _read(folder / SHARD_INDEX, shown / SHARD_INDEX), str(shown / SHARD_INDEX)
        )
        shards = tuple(f"{SHARDS}/{digest}{SHARD_END}" for digest in index.shards.values())
        records, damage = _read_shards(folder, shown, index.shards)
        problems += damage
        if repodata is not None and not damage:
            problems += _compare_shards(repodata.records, records, shown)
    except DamagedIndexError as error:
        problems += error.problems
    return IndexReading(repodata=repodata, shards=shards, problems=tuple(problems))


def _read(file: Path, shown: PurePosixPath) -> bytes:
    try:
        return read_regular(file, LARGEST)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        trouble = "is missing" if missing else f"cannot be read: {error.strerror}"
        raise damaged(str(shown), trouble) from None


def _read_shards(
    folder: Path, shown: PurePosixPath, shards: Mapping[str, str]
) -> tuple[dict[str, Record], list[Problem]]:
    """Read every shard; its name must be its sha256, and its records of one package name."""
    records: dict[str, Record] = {}
    problems: list[Problem] = []
    for name, digest in sorted(shards.items()):
        place = f"{SHARDS}/{digest}{SHARD_END}"
        subject = str(shown / place)
        try:
            data = _read(folder / place, shown / place)
            if hashlib.sha256(data).hexdigest() != digest:
                raise damaged(subject, f"the shard of {name} has another sha256 than its name")
            found = parse_shard(data, subject).records
        except DamagedIndexError as error:
            problems += error.problems
            continue
        for file_name, record in found.items():
            if record.name.lower() != name:
                trouble = f"the shard of {name} holds {file_name}"
                problems += damaged(subject, trouble).problems
            records[file_name] = record
    return records, problems


def _compare_shards(
    records: Mapping[str, Record], in_shards: Mapping[str, Record], shown: PurePosixPath
) -> Iterator[Problem]:
    for file_name in sorted(records.keys() | in_shards.keys()):
        if records.get(file_name) != in_shards.get(file_name):
            trouble = f"the shards and {REPODATA} say different things of it"
            yield from damaged(str(shown / file_name), trouble).problems


def unlike_specs_of(expected: Mapping[str, Record], actual: Mapping[str, Record]) -> set[str]:
    """Gather the MatchSpecs to normalise before these records are compared."""
    return {
        text
        for name in expected.keys() & actual.keys()
        for text in unlike_specs(expected[name], actual[name])
    }


def normalise(specs: Iterable[str]) -> Mapping[str, str]:
    """Ask rattler how it writes these MatchSpecs; no process is started for none."""
    from scripts.core.rattler_child import RattlerRefusedError, call_rattler

    texts = sorted(specs)
    if not texts:
        return {}
    try:
        result = call_rattler("normalise", {"specs": texts})
    except RattlerRefusedError as error:
        raise MirrorError(
            Problem(subject="py-rattler (normalise)", trouble=str(error), code=ExitCode.PROGRAM)
        ) from None
    return (
        {str(key): str(value) for key, value in result.items()}
        if isinstance(result, Mapping)
        else {}
    )


def compare_records(
    expected: Mapping[str, Record],
    actual: Mapping[str, Record],
    normal: Mapping[str, str],
    comparison: Comparison,
    shown: PurePosixPath,
) -> Iterator[Problem]:
    """Yield a problem (exit code 1) for each expected record that is missing or differs."""
    for name, record in sorted(expected.items()):
        found, subject = actual.get(name), str(shown / name)
        if found is None:
            yield from damaged(subject, f"has no record in {REPODATA}").problems
            continue
        for each in comparison(record, found, normal):
            yield Problem(
                subject=subject,
                trouble=f"{each.field} in {REPODATA} is not what it should be",
                code=ExitCode.NO,
                facts=(("expected", each.expected), ("actual", each.actual)),
                help="pixi run index",
            )
