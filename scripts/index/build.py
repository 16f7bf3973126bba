"""Build the index of one channel in a staging folder, read it back, and only then publish it.

The records are the lock's, and those of artifacts that stay indexed. Read are only artifacts of
which the lock says too little: versions before 6. What the lock says wins: it has the hotfixes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.channel.digest_cache import DigestCache
from scripts.channel.prepare import clear_staging
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPlace
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.files import (
    link_or_copy,
    make_durable,
    naming,
    read_regular,
    write_atomically,
)
from scripts.core.files import replace as replace_file
from scripts.core.record import Record, record_to_json
from scripts.core.subdir import NOARCH
from scripts.index.compare import compare_records, normalise_specs
from scripts.index.files import OLDEST_COMPLETE, Channel, IndexedArtifact
from scripts.index.indexer import Indexer, run_indexer
from scripts.index.readback import read_subdir_index
from scripts.index.records import BadRecordError, parse_record, read_index_record
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    SHARD_INDEX,
    SHARDS,
    DamagedIndexError,
    damaged,
    render_repodata,
    rewrite_shard_index,
)

_FIRST_V4: Final = 4  # before, `noarch` may be the lock reader's guess
_SINGLE: Final = (
    "noarch",
    "license",
    "license_family",
    "timestamp",
    "python_site_packages_path",
)
# The very first locks have none of these, nor size nor timestamp; later, empty means empty.
_MANY: Final = ("constrains", "track_features", "features")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubdirRecords:
    """The records of one subdir by path: of the lock, and of other artifacts that stay indexed."""

    path: PurePosixPath
    locked: Mapping[PurePosixPath, Record]
    kept: Mapping[PurePosixPath, Record]

    def records(self) -> Iterator[tuple[PurePosixPath, Record]]:
        """Yield all records."""
        yield from self.locked.items()
        yield from self.kept.items()


def rebuild_index(
    place: ChannelPlace,
    channel: Channel,
    kept: Sequence[IndexedArtifact],
    *,
    digests: DigestCache,
    indexer: Indexer,
    named: Collection[PurePosixPath],
) -> list[PurePosixPath]:
    """Build the index of a channel where nobody sees it, and then publish it; return its files.

    `kept` are artifacts in no lock that stay indexed, `named` is all that any workspace names.
    Raises the error of exit code 4 with all that is not as it should be, or of 2 with all records
    that could not be indexed, or of 1 with every artifact that had to be read and could not be.
    """
    folder = place.folder
    locked, problems = read_locked_records(folder, channel, digests)
    if problems:
        raise MirrorError(*problems)
    subdirs = _by_subdir(channel, locked, {each.path: each.record for each in kept})
    _validate_records(subdirs, named)
    place.staging.mkdir(parents=True, exist_ok=True)
    try:
        # Its name is new each time: the indexer of a killed run may still be writing to its own.
        staged = Path(tempfile.mkdtemp(dir=place.staging))
        shards = _build(folder, subdirs, indexer, staged) if subdirs else {}
        names = _publish(shards, staged, folder / channel.path, is_durable=bool(kept))
    finally:
        clear_staging(place)
    return sorted(channel.path / name for name in names)


def _build(
    folder: Path, subdirs: Sequence[SubdirRecords], indexer: Indexer, target: Path
) -> Mapping[str, tuple[str, ...]]:
    """Stage records in `target`, run the indexer on them and compare every record and shard.

    Returns the shards of each subdir.
    """
    _stage(folder, subdirs, target)
    run_indexer(indexer, target, sum(1 for each in subdirs for _ in each.records()))
    for each in subdirs:
        _rewrite_shard_index(target / each.path.name, each)
    readings = [(each, read_subdir_index(target / each.path.name, each.path)) for each in subdirs]
    normal = normalise_specs(
        {path: record for each in subdirs for path, record in each.records()},
        {path: row for _, reading in readings for path, row in (reading.records or {}).items()},
    )
    found: list[Problem] = []
    for each, reading in readings:
        found += reading.problems
        if reading.records is not None:
            found += compare_records(each.locked, reading.records, normal, is_complete=True)
            found += compare_records(each.kept, reading.records, normal, is_complete=False)
            for path in sorted(reading.records.keys() - dict(each.records()).keys()):
                found += damaged(str(path), f"has a record in {REPODATA}, but no place").problems
    if found:
        raise MirrorError(*(_of_the_indexer(problem, indexer) for problem in found))
    return {each.path.name: reading.shards for each, reading in readings}


def read_locked_records(
    folder: Path, channel: Channel, digests: DigestCache
) -> tuple[dict[PurePosixPath, Record], list[Problem]]:
    """Make the records of the lock's artifacts that are there, reading those that must be read.

    Also returns a problem for each that cannot be read.
    """
    there = [each for each in channel.artifacts if each.path in channel.there]
    is_old = channel.lock_version < OLDEST_COMPLETE

    def read(artifact: Artifact) -> Record | MirrorError:
        if not is_old:
            return artifact.conda_record
        try:
            said = read_index_record(folder / artifact.path, str(artifact.path))
        except MirrorError as error:
            return error
        return backfill(artifact.conda_record, said, channel.lock_version)

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        found = list(pool.map(read, there) if is_old else map(read, there))
    records: dict[PurePosixPath, Record] = {}
    problems: list[Problem] = []
    for artifact, record in zip(there, found, strict=True):
        path = artifact.path
        if isinstance(record, MirrorError):
            problems += record.problems
            continue
        if record.size is None:
            record = replace(record, size=channel.there[path].st_size)  # noqa: PLW2901
        if record.sha256 is None:  # clients trust no md5
            sha256 = digests.digest_of(folder, path, "sha256")
            record = replace(record, sha256=sha256)  # noqa: PLW2901
        records[path] = record
    return records, sorted(problems, key=lambda problem: problem.subject)


def backfill(record: Record, artifact: Record, lock_version: int) -> Record:
    """Fill what an old lock's row leaves open from the artifact's own `info/index.json`."""
    missing: dict[str, Any] = {
        key: getattr(artifact, key) for key in _SINGLE if getattr(record, key) is None
    }
    if lock_version < _FIRST_V4 and artifact.noarch is not None:
        missing["noarch"] = artifact.noarch
    if record.timestamp is None and record.size is None:
        missing |= {
            key: getattr(artifact, key) for key in _MANY if getattr(record, key) in (None, ())
        }
    return replace(record, **missing)


def _by_subdir(
    channel: Channel,
    locked: Mapping[PurePosixPath, Record],
    kept: Mapping[PurePosixPath, Record],
) -> list[SubdirRecords]:
    """Sort records into subdirs: those with any, and `noarch`, without which it is no channel."""
    paths = {path.parent for path in (*locked, *kept)}
    if paths or channel.is_wanted:
        paths.add(channel.path / NOARCH)  # CEP 26
    return [
        SubdirRecords(
            path=path,
            locked={each: record for each, record in locked.items() if each.parent == path},
            kept={each: record for each, record in kept.items() if each.parent == path},
        )
        for path in sorted(paths)
    ]


def _stage(folder: Path, subdirs: Sequence[SubdirRecords], target: Path) -> None:
    """Lay out a channel with just the artifacts that have a record, and their repodata.

    Another file would make the indexer fail.
    """
    for each in subdirs:
        subdir = target / each.path.name
        subdir.mkdir(parents=True)
        for path, _ in each.records():
            artifact = folder / path
            # the indexer lists files, and would pass over a link to one
            link_or_copy(
                artifact.resolve() if artifact.is_symlink() else artifact, subdir / path.name
            )
        rows = ((path.name, record) for path, record in each.records())
        with naming(subdir / REPODATA):
            (subdir / REPODATA).write_bytes(render_repodata(each.path.name, rows))


def _rewrite_shard_index(subdir: Path, records: SubdirRecords) -> None:
    """Make the shard index tell no time but the records', and vouch for the zst beside it."""
    file = subdir / SHARD_INDEX
    try:
        data, zst = file.read_bytes(), (subdir / REPODATA_ZST).read_bytes()
        with naming(file):
            rows = (record for _, record in records.records())
            file.write_bytes(rewrite_shard_index(data, SHARD_INDEX, rows, zst))
    except (FileNotFoundError, DamagedIndexError):
        pass  # the reading back will tell


def _of_the_indexer(problem: Problem, indexer: Indexer) -> Problem:
    """Say that the indexer did this: nothing of it has become visible."""
    if problem.code is not ExitCode.FINDINGS:  # the disk
        return problem
    return replace(
        problem,
        code=ExitCode.PROGRAM,
        details=(*problem.details, ("indexer", indexer.identity)),
        help="nothing was changed in the channel; try another version of the indexer",
    )


def _validate_records(subdirs: Sequence[SubdirRecords], named: Collection[PurePosixPath]) -> None:
    """Raise the error of exit code 2 with every record that rattler cannot read.

    rattler-index drops a whole repodata.json for one wrong type or version in it, in silence, and
    ends at the first requirement that is no MatchSpec.
    """
    from scripts.core.rattler_child import call_rattler

    records = {path: record for each in subdirs for path, record in each.records()}
    if not records:
        return
    specs = {spec for record in records.values() for _, spec in _specs(record)}
    versions = {record.version for record in records.values()}
    reply = call_rattler("refusals", {"specs": sorted(specs), "versions": sorted(versions)})
    assert isinstance(reply, Mapping)
    refused: Mapping[str, Any] = reply
    locked = {path for each in subdirs for path in each.locked}
    problems = []
    for path, record in records.items():
        help_line = "pixi run prune, which removes it"
        if path in locked:
            help_line = f"pixi update {record.name}, or correct its row in pixi.lock"
        elif path in named:
            help_line = f"pixi update {record.name}, in the workspace that names it"
        problems += [
            Problem(
                subject=str(path),
                message=message,
                code=ExitCode.USAGE,
                details=(
                    ("from", "pixi.lock" if path in locked else "the index of before"),
                    ("reason", reason.splitlines()[0]),
                ),
                help=help_line,
            )
            for message, reason in _refused(record, refused["specs"], refused["versions"])
        ]
    if problems:
        raise MirrorError(*problems)


def _specs(record: Record) -> Iterator[tuple[str, str]]:
    """Yield every MatchSpec, and the field that it is in."""
    yield from (("depends", spec) for spec in record.depends)
    yield from (("constrains", spec) for spec in record.constrains)
    for group, specs in record.extra_depends:
        yield from ((f"extra_depends of {group}", spec) for spec in specs)


def _refused(
    record: Record, specs: Mapping[str, str], versions: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with it, and why; of these specs and versions rattler has said it."""
    for field, spec in _specs(record):
        if spec in specs:
            yield f"{field} of its record holds {spec!r}, which is no MatchSpec", specs[spec]
    if record.version in versions:
        reason = versions[record.version]
        yield f"the version of its record is {record.version!r}, which is none", reason
    try:
        parse_record(record_to_json(record))
    except BadRecordError as error:
        yield "its record cannot be indexed", str(error)


def _publish(
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
        replace_file(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the channel folder is on a file system of its own
            raise
        write_atomically(target, data)
