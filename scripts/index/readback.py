"""Read index files back from the disk and compare all that they say.

The indexer may end well though it has dropped a whole seed, and it does not mend a damaged shard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.inventory import SEE_TO_DISK
from scripts.core.channel_paths import channel_path
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
    damaged_index,
    index_problem,
    is_as_written,
    newest_time,
    parse_shard,
    parse_shard_index,
    parse_zst,
    parsed_repodata,
)

# The shards beside their index; the artifacts in its own folder (CEP 16).
_SHARD_FOLDERS: Final = frozenset({SHARDS, f"{SHARDS}/", f"./{SHARDS}", f"./{SHARDS}/"})
_SAME_FOLDER: Final = frozenset({None, "", ".", "./"})


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReading:
    """The records and shards of one subdir's index files, and where the files contradict."""

    records: Mapping[PurePosixPath, Record] | None
    """Those of repodata.json by path; None where it is missing or damaged."""
    shards: tuple[str, ...]
    """Names (`shards/<sha256>.msgpack.zst`) of those that the shard index names."""
    problems: tuple[Problem, ...]


class _Problems(list[Problem]):
    """A list of problems; as a context manager it catches a DamagedIndexError and adds its own."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, DamagedIndexError):
            self.extend(error.problems)
        return isinstance(error, DamagedIndexError)


def read_subdir_index(folder: Path, shown: PurePosixPath) -> IndexReading:
    """Read repodata.json, its zst and all shards of the subdir in `folder`, and compare them.

    `shown` is the subdir's path in problems (exit code 1), all of which are returned. The shard
    index, which has a checksum of its own, vouches for the zst and the shards, and the zst for
    repodata.json: so the file that is blamed is the damaged one.
    """
    problems = _Problems()
    index = zst = plain = repodata = None
    with problems:
        index = _read_shard_index(folder, shown)
    with problems:
        zst = _read_zst(folder, shown, index)
    with problems:
        plain = read_index_file(folder, shown, REPODATA)
        repodata = parsed_repodata(plain, str(shown / REPODATA))
    agrees = zst is None or plain == zst
    if repodata is not None and not agrees:
        name, message = REPODATA, f"is not the one that {REPODATA_ZST} holds"
        if index is None:  # nothing vouches for the zst, and so for neither
            name, message = REPODATA_ZST, f"holds another {REPODATA} than the one here"
        problems.append(index_problem(str(shown / name), message))
    problems += _misleading(shown, repodata, index)
    shards: dict[str, str] = {}
    if index is not None:
        shards = {name: f"{SHARDS}/{each}{SHARD_END}" for name, each in index.shards.items()}
        whole = {} if repodata is None else repodata.records
        unreadable, seen, differing = _Problems(), set[str](), set[str]()
        for name, place in sorted(shards.items()):
            with unreadable:
                for file_name, record in _read_shard(folder, shown, place, name).items():
                    seen.add(file_name)
                    if whole.get(file_name) != record:
                        differing.add(file_name)
        problems += unreadable
        if repodata is not None and agrees:
            differing |= whole.keys() - seen
            problems += _conflicts(shown, repodata, index, () if unreadable else differing)
    records = None
    if repodata is not None:
        rows = repodata.records.items()
        records = {channel_path(f"{shown}/{name}"): record for name, record in rows}
    problems.sort(key=lambda problem: problem.subject)
    return IndexReading(records=records, shards=tuple(shards.values()), problems=tuple(problems))


def _misleading(
    shown: PurePosixPath, repodata: Repodata | None, index: ShardIndex | None
) -> Iterator[Problem]:
    """Yield a problem for each URL and subdir in the index files that would mislead a client."""
    for name, said in ((REPODATA, repodata), (SHARD_INDEX, index)):
        if said is not None and said.subdir != shown.name:
            yield index_problem(str(shown / name), f"says that its subdir is {said.subdir}")
        if said is not None and said.base_url not in _SAME_FOLDER:
            yield index_problem(str(shown / name), f"leads to artifacts at {said.base_url}")
    if index is not None and index.shards_base_url not in _SHARD_FOLDERS:
        message = f"leads to shards at {index.shards_base_url}"
        yield index_problem(str(shown / SHARD_INDEX), message)


def _conflicts(
    shown: PurePosixPath,
    repodata: Repodata,
    index: ShardIndex,
    differing: Iterable[str],
) -> Iterator[Problem]:
    """Yield how the shard index differs from repodata.json, and a problem for each such record."""
    subject, newest = str(shown / SHARD_INDEX), newest_time(repodata.records.values())
    if index.created_at != newest:
        message = "created_at is not the newest timestamp of its records"
        yield index_problem(
            subject, message, ("expected", newest), ("actual", str(index.created_at))
        )
    if index.revisions != repodata.revisions:
        yield index_problem(subject, f"has other repodata_revisions than {REPODATA}")
    for name in differing:
        yield index_problem(
            str(shown / name), f"the shards and {REPODATA} say different things of it"
        )


def read_repodata_zst(folder: Path, shown: PurePosixPath, *, is_checksummed: bool) -> bytes:
    """Return what the zst of a subdir holds; `is_checksummed`: if it is what the shard index says.

    Raises DamagedIndexError where one of them is damaged.
    """
    return _read_zst(folder, shown, _read_shard_index(folder, shown) if is_checksummed else None)


def read_index_file(folder: Path, shown: PurePosixPath, name: str) -> bytes:
    """Read one index file of a folder, `shown` in problems; raises DamagedIndexError.

    Where the system cannot read it, the problem is of exit code 2.
    """
    subject, file = str(shown / name), folder / name
    try:
        return read_regular(file, LARGEST)
    except FileNotFoundError:
        raise damaged_index(subject, "is missing") from None
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        problem = index_problem(subject, message)  # a pipe, which is replaced
        if file.is_dir():
            message = "a folder is where a file must go"
            problem = index_problem(subject, message, help="remove it, then pixi run index")
        elif file.is_file():
            problem = index_problem(subject, message, code=ExitCode.USAGE, help=SEE_TO_DISK)
        raise DamagedIndexError(problem) from None


def _read_shard_index(folder: Path, shown: PurePosixPath) -> ShardIndex:
    subject, data = str(shown / SHARD_INDEX), read_index_file(folder, shown, SHARD_INDEX)
    index = parse_shard_index(data, subject)
    if not is_as_written(data, subject):
        raise damaged_index(subject, "is not in the form in which pixi-mirror writes it")
    return index


def _read_zst(folder: Path, shown: PurePosixPath, index: ShardIndex | None) -> bytes:
    """Unpack repodata.json.zst; where the shard index is whole, check its sha256 in there."""
    subject, data = str(shown / REPODATA_ZST), read_index_file(folder, shown, REPODATA_ZST)
    unpacked = parse_zst(data, subject)
    if index is not None and hashlib.sha256(data).hexdigest() != index.zst_sha256:
        raise damaged_index(subject, f"has another sha256 than {SHARD_INDEX} says")
    return unpacked


def _read_shard(
    folder: Path, shown: PurePosixPath, place: str, package: str
) -> Mapping[str, Record]:
    """Read one shard; its name must be its sha256, and its records of one package name."""
    subject, data = str(shown / place), read_index_file(folder, shown, place)
    if hashlib.sha256(data).hexdigest() not in place:
        raise damaged_index(subject, f"the shard of {package} has another sha256 than its name")
    records = parse_shard(data, subject).records
    for name, record in records.items():
        if record.name.lower() != package:
            raise damaged_index(subject, f"the shard of {package} holds {name}")
    return records
