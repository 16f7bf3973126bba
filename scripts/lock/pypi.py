"""The PyPI rows of a lock: how one is read, which of them are mirrored, and where their files go.

A row of an index, or of a direct URL, is mirrored under the path that its URL has on its host:
that is what pixi asks a mirror of the host for. A file beside the lock is carried along.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final

from scripts.core.artifact import Artifact, pypi_artifact
from scripts.core.channel_url import PYPI_FOLDER, file_segments
from scripts.core.errors import MirrorError, Problem, usage_error, usage_problem
from scripts.core.record import PypiRecord
from scripts.core.redact import redact, without_secrets
from scripts.lock.conda_rows import Row, dependencies_v1
from scripts.lock.location import is_path, is_sound_url
from scripts.lock.model import PlatformPackages, Unmirrorable
from scripts.workspace.settings import Kind, Settings

FILES: Final = PurePosixPath(PYPI_FOLDER, "files")
"""Folder of the files, by host, below the channel folder."""
ARCHIVES: Final = re.compile(
    r"\.(?:whl|zip|tgz|tbz|tlz|txz|tar|tar\.(?:gz|bz2|xz|lz|lzma|zst))\Z", re.IGNORECASE
)
"""How an archive's name ends for uv (crates/uv-distribution-filename/src/extension.rs)."""
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_FRAGMENT: Final = re.compile(r"#(?:.*&)?sha256=([0-9A-Fa-f]{64})(?:&|\Z)")
_SCHEMES: Final = frozenset({"http", "https", "file"})


def parse_pypi(row: Row, location: str) -> PypiRecord:
    """Read a row of any lock version; `location` is as the lock writes it."""
    from packaging.utils import canonicalize_name  # most locks have no such row

    location = location.removeprefix("direct+")
    if not is_sound_url(location):
        message = f"{redact(location)} is not a URL"
        raise usage_error(row.subject, message, ("in", redact(row.where)))
    fragment = _FRAGMENT.search(location)
    sha256 = row.digest("sha256", "sha256") or _hash_v1(row)
    index = row.string("index")
    return PypiRecord(
        name=canonicalize_name(row.string("name") or location.rpartition("/")[2]),
        version=row.string("version"),
        location=location,
        index=None if index is None else index.rstrip("/"),
        sha256=sha256 or (fragment[1].lower() if fragment else None),
        requires_dist=row.strings("requires_dist") or dependencies_v1(row),
        requires_python=row.string("requires_python"),
    )


def _hash_v1(row: Row) -> str | None:
    found = row.table("hash")
    return Row(row.subject, row.where, found.fields).digest("sha256", "sha256")


def without_left_out(rows: PlatformPackages, settings: Settings) -> PlatformPackages:
    """Return the rows with those of PyPI that are not mirrored among what is left out."""
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


def _why_not(record: PypiRecord, settings: Settings) -> tuple[Kind | None, str | None]:
    """Say why a row is not mirrored; its kind None: nobody needs it from a mirror."""
    scheme, plain = record.location.partition("://")[0], re.split(r"[?#]", record.location)[0]
    is_local = is_path(record.location) or scheme == "file"
    if is_local and not ARCHIVES.search(plain):
        return None, "part of the project"
    has_hash = is_local or record.sha256 is not None or settings.allow_unhashed
    wrong = {
        "and pypi = false": not settings.pypi,
        "built from git": scheme.startswith("git+"),
        f"and {scheme} is no way to fetch it": not is_local and scheme not in _SCHEMES,
        "whose URL names no file": file_segments(plain) is None or not ARCHIVES.search(plain),
        "of which the lock has no hash (allow-unhashed takes it)": not has_hash,
    }
    reason = next((reason for reason, holds in wrong.items() if holds), None)
    return Kind.PYPI, None if reason is None else f"a PyPI package {reason}"


def pypi_artifacts(record: PypiRecord) -> Iterator[Artifact]:
    """Yield the places of a mirrored row's file.

    pixi asks a mirror for a direct URL with its fragment as part of the name, so such a file has
    a second place (tried with pixi 0.77).
    """
    plain, mark, fragment = record.location.partition("#")
    segments = file_segments(plain)
    assert segments is not None  # it would have been left out
    path = FILES.joinpath(*segments)
    yield pypi_artifact(path, record)
    if mark and file_segments(f"{plain}%23{fragment}"):
        yield pypi_artifact(path.with_name(f"{path.name}#{fragment}"), record)


def is_project_name(name: str) -> bool:
    """Tell whether this is a normalised name (PEP 503) that a folder can have."""
    return bool(_NAME.fullmatch(name)) and file_segments(name) is not None


@functools.lru_cache(maxsize=256)  # a lock of thousands of rows has a few indexes
def index_folder(index: str) -> PurePosixPath | None:
    """Name the folder of an index: its host and the path there; None of one that is a folder."""
    if not index.startswith(("http://", "https://")):
        return None
    segments = file_segments(f"{without_secrets(index)}/index.html")
    if segments is None:
        message = "this index has a path of which not every part can be a folder's name"
        raise usage_error(redact(index), message)
    return PurePosixPath(*segments[:-1])


def refuse_shared_folders(records: Iterable[PypiRecord]) -> None:
    """Refuse two indexes whose pages would be in one place: the errors of exit code 2."""
    taken: dict[PurePosixPath, str] = {}
    problems: dict[PurePosixPath, Problem] = {}
    for record in records:
        folder = None if record.index is None else index_folder(record.index)
        if folder is None or record.index is None:
            continue
        index = without_secrets(record.index)
        for place, url in ((folder, index), (folder / record.name, f"{index}/{record.name}")):
            other = taken.setdefault(place, url)
            if other != url:
                problems[place] = usage_problem(
                    f"{index}/",
                    "would have its pages where those of another index are",
                    ("other", f"{other}/"),
                    ("folder", str(place)),
                    help="write both as one URL in the manifest, then `pixi lock`; or mirror them"
                    " in two workspaces",
                )
    if problems:
        raise MirrorError(*problems.values())
