"""Read index files back from the disk and compare all that they say.

The indexer may end well and yet have dropped a whole seed; nor does it mend a damaged shard.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from scripts.channel.inventory import SEE_TO_DISK
from scripts.core.errors import ExitCode, Problem
from scripts.core.files import read_regular
from scripts.core.record import Record
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    SHARD_END,
    SHARD_INDEX,
    SHARDS,
    DamagedIndexError,
    Repodata,
    ShardIndex,
    damaged,
    is_as_written,
    newest_time,
    parse_repodata,
    parse_shard,
    parse_shard_index,
    parse_zst,
)

_Read = TypeVar("_Read")

# The shards beside their index; the artifacts in its own folder (CEP 16).
_SHARD_FOLDERS: Final = frozenset({SHARDS, f"{SHARDS}/", f"./{SHARDS}", f"./{SHARDS}/"})
_SAME_FOLDER: Final = frozenset({"", ".", "./"})


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReading:
    """What the index files of one subdir say, and how they contradict each other."""

    records: Mapping[PurePosixPath, Record] | None
    """Those of repodata.json by path; None where it is missing or damaged."""
    shards: tuple[str, ...]
    """Names (`shards/<sha256>.msgpack.zst`) of those that the shard index names."""
    problems: tuple[Problem, ...]


def read_subdir_index(folder: Path, shown: PurePosixPath) -> IndexReading:
    """Read repodata.json, its zst and all shards of the subdir in `folder`, and compare them.

    `shown` is the subdir's path in problems (exit code 1), of which it returns all. Each file
    vouches for others: the shard index, which has a checksum, for the zst and the shards, and
    the zst for repodata.json. So what is blamed is the one that is damaged.
    """
    problems: list[Problem] = []

    def attempt(read: Callable[[], _Read]) -> _Read | None:
        try:
            return read()
        except DamagedIndexError as error:
            problems.extend(error.problems)
            return None

    index = attempt(partial(_read_shard_index, folder, shown))
    zst = attempt(partial(_read_zst, folder, shown, index))
    plain = attempt(partial(_read, folder / REPODATA, shown / REPODATA))
    repodata = None
    if plain is not None:
        repodata = attempt(partial(parse_repodata, plain, str(shown / REPODATA)))
    agrees = zst is None or plain == zst
    if repodata is not None:
        if not agrees and index is not None:
            message = f"is not the one that {REPODATA_ZST} holds"
            problems += damaged(str(shown / REPODATA), message).problems
        elif not agrees:  # nothing vouches for the zst, and so for neither
            message = f"holds another {REPODATA} than the one here"
            problems += damaged(str(shown / REPODATA_ZST), message).problems
        problems += _misleading(shown / REPODATA, repodata.subdir, repodata.base_url or "")
    if index is not None:
        path = shown / SHARD_INDEX
        records, damage = _read_shards(folder, shown, index.shards)
        problems += damage
        problems += _misleading(path, index.subdir, index.base_url, index.shards_base_url)
        if repodata is not None and agrees:
            problems += _compare_shard_index(index, repodata, path)
            if not damage:
                problems += _compare_shards(repodata.records, records, shown)
    return IndexReading(
        records=None
        if repodata is None
        else {shown / name: each for name, each in repodata.records.items()},
        shards=tuple(
            f"{SHARDS}/{digest}{SHARD_END}" for digest in (index.shards if index else {}).values()
        ),
        problems=tuple(sorted(problems, key=lambda problem: problem.subject)),
    )


def _read(file: Path, shown: PurePosixPath) -> bytes:
    try:
        return read_regular(file, LARGEST)
    except FileNotFoundError:
        raise damaged(str(shown), "is missing") from None
    except OSError as error:
        [problem] = damaged(str(shown), f"cannot be read: {error.strerror}").problems
        if file.is_dir():
            message, help_line = (
                "a folder is where a file must go",
                "remove it, then pixi run index",
            )
            problem = dataclasses.replace(problem, message=message, help=help_line)
        else:  # of the machine, which is no finding
            problem = dataclasses.replace(problem, code=ExitCode.USAGE, help=SEE_TO_DISK)
        raise DamagedIndexError(problem) from None


def _read_shard_index(folder: Path, shown: PurePosixPath) -> ShardIndex:
    subject = str(shown / SHARD_INDEX)
    data = _read(folder / SHARD_INDEX, shown / SHARD_INDEX)
    index = parse_shard_index(data, subject)
    if not is_as_written(data, subject):
        raise damaged(subject, "is not in the form in which pixi-mirror writes it")
    return index


def _read_zst(folder: Path, shown: PurePosixPath, index: ShardIndex | None) -> bytes:
    """Unpack repodata.json.zst; where the shard index is whole, only what that vouches for."""
    name = shown / REPODATA_ZST
    data = _read(folder / REPODATA_ZST, name)
    unpacked = parse_zst(data, str(name))
    if index is not None and hashlib.sha256(data).hexdigest() != index.zst_sha256:
        raise damaged(str(name), f"has another sha256 than {SHARD_INDEX} says")
    return unpacked


def read_checksummed_records(folder: Path, shown: PurePosixPath) -> Mapping[str, Record] | None:
    """Return the records for which the shard index of a subdir vouches; None where it does not."""
    try:
        data = _read_zst(folder, shown, _read_shard_index(folder, shown))
        return parse_repodata(data, str(shown / REPODATA_ZST)).records
    except DamagedIndexError:
        return None


def _misleading(
    path: PurePosixPath, subdir: str | None, base_url: str, shards_base_url: str = SHARDS
) -> Iterator[Problem]:
    """Yield what in an index file would lead a client to another place."""
    if subdir != path.parent.name:
        yield from damaged(str(path), f"says that its subdir is {subdir}").problems
    if base_url not in _SAME_FOLDER:
        yield from damaged(str(path), f"leads to artifacts at {base_url}").problems
    if shards_base_url not in _SHARD_FOLDERS:
        yield from damaged(str(path), f"leads to shards at {shards_base_url}").problems


def _compare_shard_index(
    index: ShardIndex, repodata: Repodata, path: PurePosixPath
) -> Iterator[Problem]:
    newest = newest_time(repodata.records.values())
    if index.created_at != newest:
        yield dataclasses.replace(
            damaged(str(path), "created_at is not the newest timestamp of its records").problems[0],
            details=(("expected", newest), ("actual", str(index.created_at))),
        )
    if index.revisions != repodata.revisions:
        message = f"has other repodata_revisions than {REPODATA}"
        yield from damaged(str(path), message).problems


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
                message = f"the shard of {name} holds {file_name}"
                problems += damaged(subject, message).problems
            records[file_name] = record
    return records, problems


def _compare_shards(
    records: Mapping[str, Record], in_shards: Mapping[str, Record], shown: PurePosixPath
) -> Iterator[Problem]:
    for file_name in sorted(records.keys() | in_shards.keys()):
        if records.get(file_name) != in_shards.get(file_name):
            message = f"the shards and {REPODATA} say different things of it"
            yield from damaged(str(shown / file_name), message).problems
