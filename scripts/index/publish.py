"""Build the index of channels in a scratch folder, read it back, and only then publish it.

The records are the lock's, and those of artifacts that stay indexed. Only for locks before version
6, which say too little, artifacts are read; what the lock says wins, since it has the hotfixes.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.channel.digest_cache import DigestCache
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPaths
from scripts.core.errors import ExitCode, MirrorError, Problem, raise_problems, usage_problem
from scripts.core.files import (
    filename_in_errors,
    fsync_file,
    holds,
    write_atomically,
)
from scripts.core.files import replace as replace_file
from scripts.core.record import Record, record_to_json
from scripts.core.scratch import scratch_folder
from scripts.core.subdir import NOARCH
from scripts.index.compare import compare_records, normalise_specs
from scripts.index.file_classes import Channel, IndexedArtifact
from scripts.index.indexer import Indexer, run_indexer
from scripts.index.pypi_index import size_problem
from scripts.index.pypi_pages import INDEX, PAGE_JSON
from scripts.index.readback import read_subdir_index
from scripts.index.records import BadRecordError, parse_record, read_index_record
from scripts.index.repodata import (
    REPODATA,
    REPODATA_ZST,
    SHARD_END,
    SHARD_INDEX,
    SHARDS,
    DamagedIndexError,
    index_problem,
    newest_time,
    parse_shard_index,
    render_repodata,
    render_shard_index,
    render_zst,
    sort_shard,
)
from scripts.lock.model import OLDEST_COMPLETE

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


def rebuild_indexes(
    place: ChannelPaths,
    channels: Iterable[tuple[Channel, Sequence[IndexedArtifact]]],
    *,
    indexer: Indexer,
    named: Collection[PurePosixPath],
) -> Iterator[tuple[Channel, list[PurePosixPath], list[Problem]]]:
    """Build the index of each channel in a scratch folder; then publish one after the other.

    Yields each as it is published, with its files. Beside a channel are artifacts in no lock, that
    stay indexed: those whose size is not that of their record are among the problems. `named` is
    all that any workspace names. Raises, with nothing published, the error of exit code 4 with all
    that is not as it should be in a channel, or of 2 with all records that could not be indexed, or
    of 1 with every artifact that had to be read and could not be.
    """
    digests = functools.cache(lambda: DigestCache(place.digests))
    built = list[tuple[Channel, dict[PurePosixPath, Path], bool, list[Problem]]]()
    with contextlib.ExitStack() as until_published:
        for channel, indexed in channels:
            locked, problems = read_locked_records(place.folder, channel, digests)
            raise_problems(problems)
            right = [each for each in indexed if each.artifact.size in {None, each.size}]
            retained = {each.path: each.artifact.conda_record for each in right}
            _validate_records(locked, retained, named)
            staged = until_published.enter_context(scratch_folder(place.cache))
            try:
                names = _build(channel, locked, retained, indexer=indexer, target=staged)
            except MirrorError:  # a field may be the cause
                _validate_records(locked, retained, named, has_failed=True)
                raise
            files = {channel.path / name: staged / name for name in names}
            wrong = (each for each in indexed if each.path not in retained)
            unlike = [size_problem(each.path, each.artifact.size, each.size) for each in wrong]
            built.append((channel, files, bool(retained), unlike))
        for channel, files, is_durable, unlike in built:
            publish(place.folder, files, is_durable=is_durable)
            yield channel, [*files], unlike


def _build(
    channel: Channel,
    locked: Mapping[PurePosixPath, Record],
    retained: Mapping[PurePosixPath, Record],
    *,
    indexer: Indexer,
    target: Path,
) -> list[str]:
    """Stage records in `target`, run the indexer on them and compare every record and shard.

    Returns the names of all index files (`<subdir>/<name>`) in the order in which they are to be
    published: shards, then the files that name them, then each repodata.json.
    """
    records = {**locked, **retained}
    subdirs = {path.parent: dict[PurePosixPath, Record]() for path in records}
    if subdirs or channel.is_wanted:
        subdirs.setdefault(channel.path / NOARCH, {})  # without it, it is no channel (CEP 26)
    if not subdirs:
        return []
    for path, record in records.items():
        subdirs[path.parent][path] = record
    write_index(target, subdirs, indexer)
    found: list[Problem] = []
    names: list[str] = []
    actual: dict[PurePosixPath, Record] = {}
    for subdir, inside in sorted(subdirs.items()):
        reading = read_subdir_index(target / subdir.name, subdir)
        found += reading.problems
        names += [f"{subdir.name}/{name}" for name in reading.shards]
        if reading.records is None:  # which is among the problems
            records = {path: each for path, each in records.items() if path not in inside}
        actual |= reading.records or {}
    normal = normalise_specs(records, actual)
    for expected, is_complete in ((locked, True), (retained, False)):
        read = {path: each for path, each in expected.items() if path in records}
        found += compare_records(read, actual, normal, is_complete=is_complete)
    for path in sorted(actual.keys() - records.keys()):
        found.append(index_problem(str(path), f"has a record in {REPODATA}, but no place"))
    raise_problems(_of_the_indexer(problem, indexer) for problem in found)
    folders = [each.name for each in sorted(subdirs)]
    names += [f"{each}/{name}" for each in folders for name in (REPODATA_ZST, SHARD_INDEX)]
    return [*names, *(f"{each}/{REPODATA}" for each in folders)]


def write_index(
    target: Path,
    subdirs: Mapping[PurePosixPath, Mapping[PurePosixPath, Record]],
    indexer: Indexer,
) -> None:
    """Write the index files of these records, by subdir and path, below the empty folder `target`.

    What the indexer makes of them is not looked at. Raises the errors of `run_indexer`.
    """
    for subdir, inside in subdirs.items():
        _stage(target / subdir.name, inside)
    run_indexer(indexer, target, sum(map(len, subdirs.values())))
    for subdir, inside in subdirs.items():
        _make_reproducible(target / subdir.name, inside.values())


def read_locked_records(
    folder: Path, channel: Channel, digests: Callable[[], DigestCache]
) -> tuple[dict[PurePosixPath, Record], list[Problem]]:
    """Return the records of the lock's artifacts that are there, and a problem for each unreadable.

    Artifacts are only read, and `digests` called, where the lock says too little.
    """

    def read(artifact: Artifact) -> Record | MirrorError:
        if channel.lock_version >= OLDEST_COMPLETE:
            return artifact.conda_record
        try:
            said = read_index_record(folder / artifact.path, str(artifact.path))
        except MirrorError as error:
            return error
        return backfill(artifact.conda_record, said, channel.lock_version)

    records: dict[PurePosixPath, Record] = {}
    problems: list[Problem] = []
    there = [each for each in channel.artifacts if each.path in channel.there]
    with ThreadPoolExecutor() as pool:
        # nothing is read of what a complete lock names
        run = map if channel.lock_version >= OLDEST_COMPLETE else pool.map
        for artifact, record in zip(there, run(read, there), strict=True):
            if isinstance(record, MirrorError):
                problems += record.problems
                continue
            path = artifact.path
            records[path] = record
            if record.size is None or record.sha256 is None:
                sha256 = record.sha256 or digests().digest_of(
                    folder, path, "sha256"
                )  # no md5 counts
                size = channel.there[path].st_size if record.size is None else record.size
                records[path] = record._replace(size=size, sha256=sha256)
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
    return record._replace(**missing)


def _stage(subdir: Path, records: Mapping[PurePosixPath, Record]) -> None:
    """Make a subdir with their repodata.json, and an empty file in place of each artifact.

    The indexer takes a record for every file that is there and opens none that has one. The files
    are links to one, as far as the system goes: to make a new one costs much more.
    """
    subdir.mkdir(parents=True)
    empty = str(subdir)
    for name in (f"{subdir}/{path.name}" for path in records):  # a Path takes longer
        try:
            os.link(empty, name)
        except OSError:  # the first, and where it has as many links as a file may have
            empty = name
            Path(empty).touch(exist_ok=False)
    rows = ((path.name, record) for path, record in records.items())
    with filename_in_errors(subdir / REPODATA):
        (subdir / REPODATA).write_bytes(render_repodata(subdir.name, rows))


def _make_reproducible(subdir: Path, records: Collection[Record]) -> None:
    """Write the zst, and rewrite shards and shard index so that they depend on the records alone.

    Rows are sorted; the shard index is dated by the newest record, and has the sha256 of the zst.
    """
    index_file, rows = subdir / SHARD_INDEX, Counter(each.name.lower() for each in records)
    try:
        data, plain = index_file.read_bytes(), (subdir / REPODATA).read_bytes()
        index = parse_shard_index(data, SHARD_INDEX)
        several = [(name, digest) for name, digest in index.shards.items() if rows[name] > 1]
        with ThreadPoolExecutor() as pool:  # compression frees the interpreter lock
            packed = pool.submit(render_zst, plain)
            sorted_ = {name: _sort_rows(subdir / SHARDS, digest) for name, digest in several}
            zst = packed.result()
        with filename_in_errors(subdir / REPODATA_ZST):
            (subdir / REPODATA_ZST).write_bytes(zst)
        zst_sha256, newest = hashlib.sha256(zst).hexdigest(), newest_time(records)
        shards = {**index.shards, **sorted_}
        index = replace(index, created_at=newest, zst_sha256=zst_sha256, shards=shards)
        with filename_in_errors(index_file):
            index_file.write_bytes(render_shard_index(index))
    except (FileNotFoundError, DamagedIndexError):
        pass  # the reading back will tell


def _sort_rows(shards: Path, digest: str) -> str:
    """Sort the rows of the shard with this sha256, and return the one that it has then."""
    shard = shards / f"{digest}{SHARD_END}"
    after = sort_shard(before := shard.read_bytes(), shard.name)
    if after == before:
        return digest
    # Into its blocks: to free them is what costs most on a disk that discards them.
    with filename_in_errors(shard), shard.open("r+b") as file:
        file.write(after)
        file.truncate()
    digest = hashlib.sha256(after).hexdigest()
    replace_file(shard, shards / f"{digest}{SHARD_END}")
    return digest


def _of_the_indexer(problem: Problem, indexer: Indexer) -> Problem:
    """Blame the indexer for a problem of its index, of which nothing is published."""
    if problem.code is not ExitCode.FINDINGS:
        return problem
    return replace(
        problem,
        code=ExitCode.PROGRAM,
        details=(*problem.details, ("indexer", indexer.identity)),
        help="nothing was changed in the channel; try another version of the indexer",
    )


def _validate_records(
    locked: Mapping[PurePosixPath, Record],
    retained: Mapping[PurePosixPath, Record],
    named: Collection[PurePosixPath],
    *,
    has_failed: bool = False,
) -> None:
    """Raise the error of exit code 2 with every record that rattler cannot read.

    rattler-index drops a whole repodata.json for one wrong type or version in it, in silence, and
    ends at the first requirement that is no MatchSpec; old ones keep that. Fields of other kinds
    are looked at where a record has one of these, or the indexer `has_failed`.
    """
    from scripts.core.rattler_child import call_rattler

    records = {**locked, **retained}
    if not records:
        return
    specs = {spec for record in records.values() for _, spec in _specs(record)}
    versions = {record.version for record in records.values()}
    reply = call_rattler("refusals", {"specs": sorted(specs), "versions": sorted(versions)})
    assert isinstance(reply, dict)
    problems = []
    for path, record in records.items() if has_failed or any(reply.values()) else ():
        help_line = "pixi run prune, which removes it"
        if path in locked:
            help_line = f"pixi update {record.name}, or correct its row in pixi.lock"
        elif path in named:
            help_line = f"pixi update {record.name}, in the workspace that names it"
        source = "pixi.lock" if path in locked else "the index of before"
        problems += [
            usage_problem(
                path, message, ("from", source), ("reason", reason.splitlines()[0]), help=help_line
            )
            for message, reason in _refused(record, reply)
        ]
    raise_problems(problems)


def _specs(record: Record) -> Iterator[tuple[str, str]]:
    """Yield every MatchSpec, and the field that it is in."""
    yield from (("depends", spec) for spec in record.depends)
    yield from (("constrains", spec) for spec in record.constrains)
    for group, specs in record.extra_depends:
        yield from ((f"extra_depends of {group}", spec) for spec in specs)


def _refused(record: Record, refused: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a record, and why; `refused` is rattler's answer on all records."""
    for field, spec in _specs(record) if refused["specs"] else ():
        if (reason := refused["specs"].get(spec)) is not None:
            yield f"{field} of its record holds {spec!r}, which is no MatchSpec", reason
    if (reason := refused["versions"].get(record.version)) is not None:
        yield f"the version of its record is {record.version!r}, which is none", reason
    try:
        parse_record(record_to_json(record))
    except BadRecordError as error:
        yield "its record cannot be indexed", str(error)


@contextlib.contextmanager
def staged_files(
    place: ChannelPaths, files: Iterable[tuple[PurePosixPath, bytes]]
) -> Iterator[Mapping[PurePosixPath, Path]]:
    """Write index files to where nobody sees them, to be published; but for those that are there.

    They are new files, with the present time: a client asks by time, and would not notice that an
    older file has come back.
    """
    with scratch_folder(place.cache) as folder:
        staged = dict[PurePosixPath, Path]()
        for path, data in files:
            if not holds(place.folder / path, data):
                file = folder / str(len(staged))
                with filename_in_errors(file):
                    file.write_bytes(data)
                staged[path] = file
        yield staged


def publish(folder: Path, files: Mapping[PurePosixPath, Path], *, is_durable: bool) -> None:
    """Rename staged index files to their places in the channel folder, in this order.

    `is_durable`: some of what they say cannot be made again, since no lock says it; those that
    alone are read back are flushed to the disk first. A client that reads meanwhile finds every
    file that an index names. After a kill at any moment, a second run ends with the same bytes.
    """
    for path in files if is_durable else ():
        if path.name == REPODATA or (path.name == PAGE_JSON and INDEX in path.parents):
            fsync_file(files[path])
    for path, staged in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(staged, target)


def _replace(source: Path, target: Path) -> None:
    """Put a file in its place, unless the same bytes are there."""
    data = source.read_bytes()
    if holds(target, data):
        return
    _make_later(source, target)
    try:
        replace_file(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the channel folder is on a file system of its own
            raise
        write_atomically(target, data)


def _make_later(source: Path, target: Path) -> None:
    """Set the time of a file a second after that of the one it replaces, unless it is later.

    HTTP's `If-Modified-Since` knows whole seconds: two indexes of one second are the same to it.
    """
    with contextlib.suppress(FileNotFoundError):
        before, second = target.stat().st_mtime_ns, 10**9
        if source.stat().st_mtime_ns // second <= before // second:
            later = (before // second + 1) * second
            os.utime(source, ns=(later, later))
