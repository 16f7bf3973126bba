"""The level `index`: what the channel says of its artifacts, beside the lock.

repodata.json, its zst and the shards must agree with each other, with the lock's records and
with the files that are there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path, PurePosixPath

from scripts.channel.digest_cache import DigestCache, Fingerprint
from scripts.channel.inventory import files_below
from scripts.core.channel_paths import ChannelPaths, folders_of
from scripts.core.errors import Problem
from scripts.core.record import Record
from scripts.core.subdir import NOARCH
from scripts.core.symlinks import link_above
from scripts.index.compare import compare_records, normalise_specs
from scripts.index.file_classes import (
    INDEX_FILES,
    Channel,
    IndexedArtifact,
    is_index_path,
    read_channels,
)
from scripts.index.publish import read_locked_records
from scripts.index.pypi_pages import other_bytes
from scripts.index.readback import read_subdir_index
from scripts.index.repodata import REPODATA, SHARDS, index_problem
from scripts.lock.select import Selection
from scripts.verify.findings import (
    EnvironmentPlatform,
    Level,
    LevelResult,
    UsageIndex,
    level_result,
    link_problem,
    places_of,
)
from scripts.verify.proofs import Proofs
from scripts.verify.pypi_index import check_pypi_index


def check_index(
    place: ChannelPaths,
    selection: Selection,
    uses: UsageIndex,
    waiting: AbstractSet[PurePosixPath],
    proofs: Proofs,
    *,
    kept: Sequence[IndexedArtifact],
) -> LevelResult:
    """Compare the index of every channel of the mirror, but for files that wait for removal.

    `kept` is what the index names and this lock does not.
    """
    folder = place.folder
    key = proofs.key(Level.INDEX, _dependencies(folder, selection, kept, waiting, proofs))
    rows = (*selection.pypi_rows, *(row for each in kept for row in each.rows))
    told = [*other_bytes(rows)]
    caveats = tuple(f"{Level.INDEX}: {each}" for each in told)
    lines = tuple(f"warning: {each}" for each in told)  # as `index` says it
    if proof := proofs.get(key):
        proven = {where: proof.when for _, where, _, _ in places_of(selection)}
        return LevelResult(proven=proven, lines=lines, caveats=caveats)

    found = [*_compare_channels(folder, read_channels(folder, selection, waiting), uses)]
    for problem, files in check_pypi_index(folder, selection, kept, waiting):
        places = (place for each in files for place in uses.places(each))
        found.append((problem, frozenset(places)))
    if not found:
        proofs.add(key)
    return replace(level_result(Level.INDEX, found), lines=lines, caveats=caveats)


def _compare_channels(
    folder: Path, channels: Sequence[Channel], uses: UsageIndex
) -> Iterator[tuple[Problem, frozenset[EnvironmentPlatform]]]:
    """Yield what is wrong with the index of conda channels, and whom it concerns."""

    def diagnose_damage(
        problems: Iterable[Problem], subdir: PurePosixPath | None = None
    ) -> Iterator[tuple[Problem, frozenset[EnvironmentPlatform]]]:
        for each in problems:
            path = PurePosixPath(each.subject)
            yield each, uses.places(path, subdir or path.parent)

    # Of artifacts that are not there the row may leave things open that only their bytes tell.
    whole: dict[PurePosixPath, Record] = {}
    absent: dict[PurePosixPath, Record] = {}
    actual: dict[PurePosixPath, Record] = {}
    there: set[PurePosixPath] = set()
    digests = DigestCache(Path(os.devnull), writes=False)  # none known from before is believed
    for channel in channels:
        records, unreadable = read_locked_records(folder, channel, lambda: digests)
        yield from diagnose_damage(unreadable)
        there |= channel.there.keys()
        locked = {each.path: each.conda_record for each in channel.artifacts}
        for subdir in sorted(_subdirs(channel)):
            if links := list(_links(folder, subdir, channel)):
                yield from diagnose_damage(links, subdir)
                continue
            reading = read_subdir_index(folder / subdir, subdir)
            yield from diagnose_damage(reading.problems, subdir)
            if reading.records is not None:
                inside = [path for path in locked if path.parent == subdir]
                whole |= {path: records[path] for path in inside if path in records}
                absent |= {path: locked[path] for path in inside if path not in records}
                actual |= reading.records
    normal = normalise_specs({**absent, **whole}, actual)
    yield from diagnose_damage(compare_records(whole, actual, normal, is_complete=True))
    yield from diagnose_damage(compare_records(absent, actual, normal, is_complete=False))
    for path in sorted(actual.keys() - whole.keys() - absent.keys() - there):
        missing = index_problem(str(path), f"has a record in {REPODATA}, but is not there")
        yield from diagnose_damage([missing])


def _dependencies(
    folder: Path,
    selection: Selection,
    kept: Sequence[IndexedArtifact],
    waiting: AbstractSet[PurePosixPath],
    proofs: Proofs,
) -> Iterator[object]:
    """Yield all that is compared, and what may have become a link since."""
    files = sorted(files_below(folder), key=lambda each: each[0])
    for path, status in files:
        text = proofs.digests(folder, [path]) if is_index_path(path) else None
        yield path, status.st_mode, Fingerprint.of(status), text
    yield [link_above(folder, each) for each in sorted(folders_of(path for path, _ in files))]
    yield [(each.path, each.record, each.digest) for each in selection.artifacts]
    yield [(each.path, each.record) for each in kept]
    yield selection.channels, sorted(waiting)


def _subdirs(channel: Channel) -> set[PurePosixPath]:
    """Return the subdirs that have an index or need one; foreign artifacts need none."""
    return {
        channel.path / NOARCH,
        *folders_of(each.path for each in channel.artifacts),
        *(x.parents[1] if x.parent.name == SHARDS else x.parent for x in channel.index_files),
    }


def _links(folder: Path, subdir: PurePosixPath, channel: Channel) -> Iterator[Problem]:
    """Yield a problem for each link in place of the subdir, a folder above it, or its index."""
    files = [each for each in channel.index_files if subdir in each.parents]
    files += [subdir / name for name in (*INDEX_FILES, SHARDS)]
    found = {link for each in files if (link := link_above(folder, each)) is not None}
    yield from map(link_problem, sorted(found))
