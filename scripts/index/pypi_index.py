"""The PyPI part of a mirror: what is there, and bringing its pages up to date.

What says nothing new is not opened, rendered or written again. The pages name what the lock names,
and what they named before and is still there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.digest_cache import DigestCache
from scripts.channel.folders import check_case
from scripts.channel.inventory import cannot_read, regular_status
from scripts.channel.state import newest_tree
from scripts.core.artifact import Artifact, ArtifactKind
from scripts.core.channel_paths import ChannelPaths, is_pypi_path
from scripts.core.console import Console
from scripts.core.errors import Problem
from scripts.core.file_name import parse_file_name
from scripts.core.files import FileStatus, read_regular
from scripts.core.record import PypiRecord
from scripts.core.symlinks import check_output_paths
from scripts.fetch.archives import check_new_archives, remembered
from scripts.index.pypi_pages import (
    INDEX,
    MAPPING,
    PAGE,
    PAGE_JSON,
    PypiFile,
    distinct,
    is_pypi_artifact_path,
    is_pypi_index_path,
    metadata_path,
    parse_mapping,
    parse_page,
    public_record,
    render_mapping,
    render_pages,
)
from scripts.index.repodata import LARGEST, DamagedIndexError, index_problem
from scripts.lock.pypi import is_second_place, pypi_artifacts
from scripts.lock.select import Selection

_FORMAT: Final = 1  # goes up when the same inputs would give other pages than before
# In the journal where an algorithm stands: the sha256 of a wheel's METADATA, and what an sdist is
# built with, a requirement a line.
_METADATA_SHA256: Final = "metadata"
_BUILD_REQUIRES: Final = "build-requires"
_fields_of = attrgetter("name", "version", "location", "index", "sha256", "requires_python")


@dataclass(frozen=True, slots=True, kw_only=True)
class PypiIndex:
    """The wheels and sdists of the mirror: what the lock wants, and what is there."""

    artifacts: tuple[Artifact, ...]
    """Those of the lock."""
    rows: tuple[PypiRecord, ...]
    """Its rows, each once; several may be of one file."""
    conda_artifacts: tuple[Artifact, ...]
    """Those of the lock, for what they are called on PyPI."""
    there: Mapping[PurePosixPath, FileStatus]
    """All files named like a wheel or sdist, by path."""
    index_files: tuple[PurePosixPath, ...]
    """What describes them, or a killed run left of it."""
    other_names: frozenset[str]
    """What conda packages are there besides those of the lock; asked where there are PyPI ones."""
    find_links: frozenset[PurePosixPath] = frozenset()
    """The folders of the pages of `find-links` that it is to have."""

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is of PyPI, and nothing is to be."""
        return not (self.artifacts or self.index_files or self.there)


@dataclass(frozen=True, slots=True, kw_only=True)
class PypiPlan:
    """What index files there are to be, in the order in which they are to become visible.

    None in place of the bytes of one that is right already. `damaged` is what nobody can open;
    then there is no plan. `problems` are of what is in no lock, and is on the pages no more, as is
    what is `lost`: it is gone from the channel folder.
    `is_durable`: the pages hold what no lock names, and cannot be made again.
    """

    files: Mapping[PurePosixPath, bytes | None] = field(default_factory=dict)
    damaged: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    lost: tuple[PurePosixPath, ...] = ()
    is_durable: bool = False


def read_pypi_index(
    folder: Path,
    selection: Selection,
    files: Sequence[tuple[PurePosixPath, FileStatus]],
    gone: Collection[PurePosixPath],
) -> PypiIndex:
    """Choose the files that are of PyPI of all below the channel folder, but for those `gone`."""
    there: dict[PurePosixPath, FileStatus] = {}
    index_files: list[PurePosixPath] = []
    for path, status in files:
        if not is_pypi_path(path) or path in gone:
            continue
        is_index = is_pypi_index_path(path)
        if not (is_index or is_pypi_artifact_path(path)):
            continue
        found = regular_status(folder, path, status)
        if found is None:
            continue
        if is_index:
            index_files.append(path)
        else:
            there[path] = found
    others = frozenset[str]()
    if selection.pypi_artifacts or index_files:
        locked = {each.path for each in selection.conda_artifacts}
        rest = (path for path, _ in files if path not in locked and path not in gone)
        parsed = (parse_file_name(path.name) for path in rest if not is_pypi_path(path))
        others = frozenset(each.name for each in parsed if each is not None)
    return PypiIndex(
        artifacts=selection.pypi_artifacts,
        rows=selection.pypi_rows,
        conda_artifacts=selection.conda_artifacts,
        there=there,
        index_files=tuple(sorted(index_files)),
        other_names=others,
    )


def read_pages(
    folder: Path, pypi: PypiIndex, console: Console, shared: Collection[PurePosixPath] = ()
) -> list[PypiFile]:
    """Return the files that the present pages name but the lock does not, there or not.

    And those `shared` ones that the lock names, too.
    """
    locked = {each.path for each in pypi.artifacts}.difference(shared)
    found: list[PypiFile] = []
    pages = [x for x in pypi.index_files if x.name == PAGE_JSON and x.parent.parent == INDEX]
    present = {each.parent.name for each in pages}
    for project in (newest_tree(folder) / INDEX).glob("*") if pypi.there else ():
        if project.name not in present:  # somebody has removed its page
            with contextlib.suppress(OSError, DamagedIndexError):
                data = read_regular(project / PAGE_JSON, LARGEST)
                files = parse_page(data, INDEX / project.name, locked)
                found += (each for each in files if each.path in pypi.there)
    for path in pages:
        try:
            found += parse_page(read_regular(folder / path, LARGEST), path.parent, locked)
        except FileNotFoundError:
            continue
        except OSError as error:  # what it says must not be lost only because it cannot be read now
            raise cannot_read(error, folder / path) from None
        except DamagedIndexError as error:
            [damage] = error.problems
            console.warn(
                f"{damage.subject}: {damage.message}; what it said of files that the lock does not"
                " name is lost"
            )
    return found


def read_retained(
    folder: Path, pypi: PypiIndex, console: Console
) -> dict[PurePosixPath, list[PypiRecord]]:
    """Return the places of all that pages name and the lock does not, with their rows of it."""
    found: dict[PurePosixPath, list[PypiRecord]] = {}
    records = (record for file in read_pages(folder, pypi, console) for record in file.records)
    for record in records:
        for each in pypi_artifacts(record):
            if each.path in pypi.there:
                found.setdefault(each.path, []).append(record)
    return found


def without_unnamed(
    folder: Path, pypi: PypiIndex, console: Console, named: Collection[PurePosixPath]
) -> tuple[PypiIndex, set[PurePosixPath]]:
    """Take out the second places (`pypi_artifacts`) that neither a lock nor what is retained has.

    `named` is what other workspaces name.
    """
    locked = (each.path for each in pypi.artifacts)
    found = set(filter(is_second_place, pypi.there)).difference(locked, named)
    if not found:
        return pypi, found
    found -= read_retained(folder, pypi, console).keys()
    there = {path: each for path, each in pypi.there.items() if path not in found}
    return replace(pypi, there=there), found


def identify_pypi(pypi: PypiIndex) -> str:
    """Digest all that decides the pages, but for the present ones."""
    digests = {each.path: each.digest for each in pypi.artifacts}
    unhashed = {each.path for each in pypi.artifacts if each.is_unhashed}
    purls = [(each.name, each.upstream, each.conda_record.purls) for each in pypi.conda_artifacts]
    rows = [*map(_fields_of, pypi.rows)]
    known = [(str(path), digest) for path, digest in digests.items()]
    more = sorted(pypi.other_names), sorted(map(str, pypi.find_links))
    digest = hashlib.sha256(repr((_FORMAT, rows, known, purls, *more)).encode())
    # Pages name first places alone.
    first = (each for each in pypi.there.items() if not is_second_place(each[0]))
    for path, status in sorted(first):
        time = status.st_mtime_ns if path in unhashed else 0
        digest.update(f"{path}\0{status.st_size}\0{time}\n".encode())
    return digest.hexdigest()


def check_new_distributions(
    folder: Path, artifacts: Iterable[Artifact], digests: DigestCache, note: Callable[[str], None]
) -> tuple[tuple[Problem, ...], Mapping[PurePosixPath, bytes]]:
    """Open what was not opened before; return what is wrong, and the METADATA of the rest."""
    opened: dict[PurePosixPath, bytes] = {}

    def read(file: Path, artifact: Artifact) -> tuple[str, Mapping[str, str]]:
        from scripts.index.distribution import identity_of, read_distribution

        said = read_distribution(file, artifact.pypi_record.location)
        opened[artifact.path] = said.metadata
        kept = {_BUILD_REQUIRES: "\n".join(said.build_requires)}
        if artifact.kind is ArtifactKind.WHEEL:
            kept = {_METADATA_SHA256: hashlib.sha256(said.metadata).hexdigest()}
        return identity_of(said, artifact.pypi_record), kept

    problems, _ = check_new_archives(folder, artifacts, digests, note, read)
    return problems, opened


def read_build_requires(folder: Path, sdist: Artifact, digests: DigestCache) -> tuple[str, ...]:
    """Return what an sdist is built with; nothing of one that cannot be opened."""
    check_new_distributions(folder, [sdist], digests, lambda _: None)
    kept = remembered(folder, sdist, _BUILD_REQUIRES, digests) or ""
    return tuple(filter(None, kept.split("\n")))


def plan_pypi(
    folder: Path,
    pypi: PypiIndex,
    digests: DigestCache,
    console: Console,
    *,
    shared: Collection[PurePosixPath],
) -> PypiPlan:
    """Say what index files there are to be; `shared` is what other workspaces name.

    Opens what was not opened before. Raises the error of exit code 2 where the pages have no place.
    """
    damaged, opened = check_new_distributions(
        folder, pypi.artifacts, digests, lambda said: console.note(f"index: {said}")
    )
    if damaged:
        return PypiPlan(damaged=damaged)
    every = read_pages(folder, pypi, console, shared)
    named = [each for each in every if each.path in pypi.there]
    absent = [each.path for each in every if each.path not in pypi.there]
    locked = {each.path for each in pypi.artifacts}
    sizes = {each.path: pypi.there[each.path].st_size for each in named}
    kept = [each for each in named if each.path not in locked]
    files = {each.path: each for each in kept if each.size == sizes[each.path]}
    wrong = [each for each in kept if each.path not in files]
    files |= _locked_files(folder, pypi, digests, [each for each in named if each.path in shared])
    outputs: dict[PurePosixPath, bytes | None] = {}
    for path, file in files.items():
        if not path.name.endswith(".whl"):
            continue
        said = digests.known(path, _METADATA_SHA256, pypi.there[path]) or file.metadata
        sha256, data = _metadata_of(folder, path, said, opened.get(path))
        files[path] = replace(file, metadata=sha256)
        if sha256 is not None:
            outputs[metadata_path(path)] = data
    if files:
        outputs[MAPPING] = render_mapping(pypi.conda_artifacts, _read_mapping(folder, pypi))
    outputs |= render_pages(files.values(), pypi.find_links)
    check_output_paths(folder, outputs)
    pages = [each for each in outputs if each.name == PAGE and INDEX not in each.parents]
    check_case(folder, pages, console, may_write=True)
    return PypiPlan(
        files=outputs,
        problems=tuple(size_problem(x.path, x.size, sizes[x.path]) for x in wrong),
        lost=tuple(path for path in absent if not os.path.lexists(folder / path)),
        is_durable=bool(files.keys() - locked),
    )


def size_problem(path: PurePosixPath, expected: int | None, actual: int) -> Problem:
    """Say that an artifact is not what the index promises, and how to drop it."""
    return index_problem(
        str(path),
        "is in no lock, and its size is not that of its record",
        ("expected", f"{expected} bytes"),
        ("actual", f"{actual} bytes"),
        help=f"pixi run prune --drop {path}",
    )


def _locked_files(
    folder: Path, pypi: PypiIndex, digests: DigestCache, shared: Iterable[PypiFile]
) -> dict[PurePosixPath, PypiFile]:
    """Describe the files of the lock; of `shared` ones the pages keep other workspaces' rows."""
    artifacts = {each.path: each for each in pypi.artifacts}
    rows: dict[PurePosixPath, list[PypiRecord]] = {}
    for record in pypi.rows:
        path = next(pypi_artifacts(record)).path
        digest = artifacts[path].digest
        sha256 = digest.hex if digest else digests.digest_of(folder, path, "sha256")
        rows.setdefault(path, []).append(public_record(record, sha256))
    for file in shared:
        if file.path in rows and file.record.sha256 == rows[file.path][0].sha256:
            rows[file.path] += file.records
    return {
        path: PypiFile(path=path, size=pypi.there[path].st_size, records=distinct(records))
        for path, records in rows.items()
    }


def _metadata_of(
    folder: Path, path: PurePosixPath, expected: str | None, opened: bytes | None
) -> tuple[str | None, bytes | None]:
    """Return the sha256 of a wheel's METADATA, and its bytes unless they are beside it already.

    Neither of a wheel that nobody can open: it is in no lock of ours, and stays as it is.
    """
    from scripts.channel.archive import BadArchiveError
    from scripts.index.distribution import read_distribution

    file = folder / metadata_path(path)
    with contextlib.suppress(OSError):  # it is written anew
        there = None if file.is_symlink() else read_regular(file, LARGEST)
        if there is not None and hashlib.sha256(there).hexdigest() == expected:
            return expected, None
    try:
        data = read_distribution(folder / path).metadata if opened is None else opened
    except (OSError, BadArchiveError):
        return None, None
    return hashlib.sha256(data).hexdigest(), data


def _read_mapping(folder: Path, pypi: PypiIndex) -> dict[str, str | None]:
    """Read what the mapping says of conda packages that are there and are not the lock's."""
    there = folder if MAPPING in pypi.index_files else newest_tree(folder)
    try:
        said = parse_mapping(read_regular(there / MAPPING, LARGEST))
    except OSError:
        return {}
    return {name: said[name] for name in said.keys() & pypi.other_names}


def publish_pypi(place: ChannelPaths, plan: PypiPlan) -> None:
    """Write what is not there yet: what pages name, then the pages."""
    from scripts.index.publish import publish, staged_files

    files = ((path, data) for path, data in plan.files.items() if data is not None)
    with staged_files(place, files) as staged:
        publish(place.folder, staged, is_durable=plan.is_durable)
