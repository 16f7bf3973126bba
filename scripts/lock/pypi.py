"""The PyPI rows of a lock: read one, choose which are mirrored, and where their files go.

A row of an index, or of a direct URL, is mirrored under the path that its URL has on its host:
that is what pixi asks a mirror of the host for. A file beside the lock is carried along.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final

from scripts.core.artifact import Artifact, artifact_of
from scripts.core.channel_url import PYPI_FOLDER, is_conda_forge, mirror_path_segments
from scripts.core.errors import Problem, raise_problems, usage_error, usage_problem
from scripts.core.pep508 import parse_version, pypi_name
from scripts.core.record import PypiRecord
from scripts.core.redact import redact, without_secrets
from scripts.lock.conda_rows import Row, dependencies_v1, refuse_unsound_urls
from scripts.lock.location import is_path, is_remote
from scripts.lock.model import LockedPackage, PlatformPackages, Unmirrorable
from scripts.workspace.model import DEFAULT_INDEX
from scripts.workspace.settings import IncompleteKind, Settings

FILES: Final = PurePosixPath(PYPI_FOLDER, "files")
"""Folder of the files, by host, below the channel folder."""
_ARCHIVE: Final = r"\.(?:whl|zip|tgz|tbz|tlz|txz|tar|tar\.(?:gz|bz2|xz|lz|lzma|zst))"
ARCHIVES: Final = re.compile(rf"{_ARCHIVE}\Z", re.IGNORECASE)
"""How an archive's name ends for uv (crates/uv-distribution-filename/src/extension.rs)."""
_SECOND_PLACE: Final = re.compile(rf"(.*?{_ARCHIVE})#", re.IGNORECASE | re.DOTALL)
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_PURL: Final = re.compile(r"pkg:pypi/([^@?#]+)")
_FRAGMENT: Final = re.compile(r"#(?:.*&)?sha256=([0-9A-Fa-f]{64})(?:&|\Z)")
# What a fragment is known to say (PEP 508, 610; pip's `egg`): anything else may be a secret.
_PUBLIC_PART: Final = r"(?:sha256=[0-9A-Fa-f]+|(?:egg|subdirectory)=[\w./+~%-]+)"
_PUBLIC_FRAGMENT: Final = re.compile(f"{_PUBLIC_PART}(?:&{_PUBLIC_PART})*", re.ASCII)
_PYPI_FILES: Final = "https://files.pythonhosted.org/"
_SCHEMES: Final = frozenset({"http", "https", "file"})
UNHASHED: Final = " of which the lock has no hash (allow-unhashed takes it)"
"""The end of the reason for which a row without a digest is left out."""


def parse_pypi(row: Row, location: str) -> PypiRecord:
    """Read a row of any lock version; `location` is as the lock writes it.

    Raises the error of exit code 2 for an invalid name, version or URL, as rattler_lock does.
    Requirements are only parsed where they are needed.
    """
    from packaging.utils import InvalidName, canonicalize_name  # most locks have no such row

    version, index = row.string("version"), row.string("index")
    is_of_none = "+" in location.partition("://")[0] or not is_remote(location)
    if is_of_none and is_remote(index or ""):  # written where a lock is renewed (rattler_lock 0.32)
        index = None
    location = location.removeprefix("direct+")
    refuse_unsound_urls(row, location, index)
    try:
        name = canonicalize_name(row.required("name"), validate=True)
    except InvalidName:
        raise row.wrong("name", "the name of a Python package (PEP 508)") from None
    if version and parse_version(version) is None:
        raise row.wrong("version", "a version of a Python package (PEP 440)")
    fragment = _FRAGMENT.search(location)
    sha256 = row.digest("sha256", "sha256") or row.table("hash").digest("sha256", "sha256")
    return PypiRecord(
        name=name,
        version=version,
        location=location,
        index=None if index is None else index.rstrip("/"),
        sha256=sha256 or (fragment[1].lower() if fragment else None),
        requires_dist=row.strings("requires_dist") or dependencies_v1(row),
        requires_python=row.string("requires_python") or None,
    )


def with_index(records: tuple[PypiRecord, ...], pages: tuple[str, ...]) -> tuple[PypiRecord, ...]:
    """Add the environment's index to rows of versions before 7, where no row names its index.

    Not where `pages`, its indexes and those of `find-links`, are several: nobody knows which. Where
    PyPI's own is to be added, its files are of it: pixi may call them the default index's.
    """
    if len(pages) != 1:
        return records
    if pages == (DEFAULT_INDEX,):
        records = tuple(
            dataclasses.replace(each, index=None) if each.location.startswith(_PYPI_FILES) else each
            for each in records
        )
    return tuple(one for each in records for one in of_every_index(each, pages))


def of_every_index(record: PypiRecord, pages: Iterable[str]) -> Iterator[PypiRecord]:
    """Yield a row as of each of the indexes that it may be from; most rows name their own."""
    is_open = record.index is None and is_remote(record.location) and not is_direct(record)
    named = [dataclasses.replace(record, index=each) for each in pages] if is_open else []
    yield from named or [record]


def leave_out_pypi(rows: PlatformPackages, settings: Settings) -> PlatformPackages:
    """Move the PyPI rows that are not mirrored to what is left out."""
    mirrored, others, left_out = list[PypiRecord](), list[PypiRecord](), list(rows.unmirrorable)
    for record in rows.pypi:
        kind, reason = _why_not(record, settings)
        if reason is None:
            mirrored.append(record)
            continue
        others.append(record)
        name = f"{record.name} {record.version or ''}".rstrip()
        left_out.append(Unmirrorable(kind=kind, name=name, location=record.location, reason=reason))
    return dataclasses.replace(
        rows,
        pypi=tuple(mirrored),
        pypi_left_out=tuple(others),
        unmirrorable=tuple(left_out),
    )


def _why_not(record: PypiRecord, settings: Settings) -> tuple[IncompleteKind | None, str | None]:
    """Return why a row is not mirrored (None: it is), and its kind, as in `Unmirrorable`."""
    scheme = record.location.partition("://")[0].lower()
    if is_folder(record):
        return None, "part of the project"
    is_local = not is_remote(record.location)
    is_named = _is_archive(record) and _places(record.location) != ()
    has_hash = is_local or record.sha256 is not None or settings.allow_unhashed
    wrong = {
        ", and pypi is false": not settings.pypi,
        " built from git": scheme.startswith("git+"),
        f", and {scheme} is no way to fetch it": not is_local and scheme not in _SCHEMES,
        " whose URL no file can be named after": not is_named,
        " whose name no folder can have": not is_project_name(record.name),
        UNHASHED: not has_hash,
    }
    reason = next((reason for reason, holds in wrong.items() if holds), None)
    return IncompleteKind.PYPI, None if reason is None else f"a PyPI package{reason}"


def is_folder(record: PypiRecord) -> bool:
    """Tell whether it is a folder of the project, which is there where the lock is."""
    return not is_remote(record.location) and not _is_archive(record)


def _is_archive(record: PypiRecord) -> bool:
    return ARCHIVES.search(without_secrets(record.location, of_pypi=True)) is not None


def pypi_artifacts(record: PypiRecord) -> Iterator[Artifact]:
    """Yield the artifacts of a mirrored row: its file, perhaps in a second place.

    pixi asks a mirror for a direct URL with its fragment as part of the name (tried with pixi
    0.77), so such a file has a second place, unless that is no file name, or may hold a secret.
    """
    for path in _places(record.location):
        yield artifact_of(record, path, (record.location,))


@functools.lru_cache(maxsize=1 << 15)  # asked several times in a run for each row
def _places(location: str) -> tuple[PurePosixPath, ...]:
    locations = [location]
    if (fragment := public_fragment(location)) and not is_path(location):
        locations.append(f"{location.partition('#')[0]}%23{fragment}")
    return tuple(
        FILES.joinpath(*each) for each in filter(None, map(mirror_path_segments, locations))
    )


def first_place(path: PurePosixPath) -> PurePosixPath:
    """Return the place of a file's URL without the fragment that its second place has.

    The fragment may have slashes in it (`…tar.gz#subdirectory=py/x`).
    """
    found = _SECOND_PLACE.match(str(path))
    return path if found is None else PurePosixPath(found[1])


def is_second_place(path: PurePosixPath) -> bool:
    """Tell whether a path has its URL's fragment in it."""
    return first_place(path) is not path


def is_direct(record: PypiRecord) -> bool:
    """Tell whether a row has a direct URL; before version 7 no row has to say its index."""
    has_own_hash = record.sha256 is None or "#" in record.location
    return record.index is None and has_own_hash and is_remote(record.location)


def is_named_by_manifest(artifact: Artifact) -> bool:
    """Tell whether a manifest names this very file, by `url` or `path`, so no update moves on."""
    is_own = artifact.is_conda or artifact.is_own_file
    return artifact.upstream is None and (is_own or is_direct(artifact.pypi_record))


def keeps_name(location: str) -> bool:
    """Tell whether the mirror has a file of the name that pixi asks it for, query included."""
    return "?" not in location and ("#" not in location or public_fragment(location) != "")


def public_fragment(location: str) -> str:
    """Return the fragment of a location; empty where it may hold a secret."""
    fragment = location.partition("#")[2]
    return fragment if _PUBLIC_FRAGMENT.fullmatch(fragment) else ""


def conda_pypi_names(package: LockedPackage) -> tuple[str, ...]:
    """Return the names (PEP 503) of the PyPI packages that a conda package counts for.

    Where an old lock has no `purls`, one of conda-forge counts for its own name (pixi:
    `PypiPackageIdentifier::from_package_record`).
    """
    purls = package.record.purls
    if purls is None:
        return (pypi_name(package.name),) if is_conda_forge(package.channel) else ()
    return purl_names(purls)


def purl_names(purls: Iterable[str]) -> tuple[str, ...]:
    """Return the names (PEP 503) of those that are of PyPI."""
    found = (_PURL.match(each) for each in purls)
    return tuple(dict.fromkeys(pypi_name(each[1]) for each in found if each))


def is_project_name(name: str) -> bool:
    """Tell whether this is a normalised name (PEP 503) that a folder can have."""
    return bool(_NAME.fullmatch(name)) and mirror_path_segments(name) is not None


@functools.lru_cache(maxsize=256)  # a lock of thousands of rows has a few indexes
def index_folder(index: str) -> PurePosixPath | None:
    """Name the folder of an index by its host and path; None where the index is a local folder."""
    if not index.startswith(("http://", "https://")):
        return None
    segments = mirror_path_segments(f"{without_secrets(index)}/index.html")
    if segments is None:
        message = "this index has a path of which not every part can be a folder's name"
        help_ = "write another URL of it in the manifest, then `pixi lock`; or take --no-pypi"
        raise usage_error(redact(index), message, help=help_)
    return PurePosixPath(*segments[:-1])


def refuse_shared_folders(records: Iterable[PypiRecord]) -> None:
    """Raise the errors of exit code 2 for two indexes whose pages would be in one place."""
    taken: dict[PurePosixPath, str] = {}
    problems: dict[PurePosixPath, Problem] = {}
    for record in records:
        folder = None if record.index is None else index_folder(record.index)
        if folder is None or record.index is None:
            continue
        index = without_secrets(record.index)
        for place in (folder, folder / record.name):
            other = taken.setdefault(place, index)
            if other != index:
                problems[place] = usage_problem(
                    f"{index}/",
                    "would have its pages where those of another index are",
                    ("other", f"{other}/"),
                    ("folder", str(place)),
                    help="write both as one URL in the manifest, then `pixi lock`; or mirror them"
                    " in two workspaces",
                )
    raise_problems(problems.values())


def refuse_nested_places(artifacts: Iterable[Artifact]) -> None:
    """Raise the errors of exit code 2 where one file's path is a folder in another one's."""
    places = {str(each.path) for each in artifacts}
    raise_problems(
        usage_problem(
            place,
            "no disk can have this file and another",
            ("folder", above),
            help="leave one of them out, or mirror them in two workspaces",
        )
        for place in sorted(places)
        for above in itertools.accumulate(place.split("/"), "{}/{}".format)
        if above in places and above != place
    )
