"""Read what a wheel or an sdist says of itself; nothing is unpacked.

A wheel says it in METADATA (Binary distribution format), an sdist in PKG-INFO (PEP 643) and
pyproject.toml (PEP 518).
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import lzma
import posixpath
import re
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final, cast
from urllib.parse import unquote

from scripts.channel.archive import (
    LARGEST_INFO,
    BadArchiveError,
    told_as_bad_archive,
    walk_tar,
)
from scripts.core.files import CHUNK
from scripts.core.pep508 import parse_version, pypi_name
from scripts.core.record import PypiRecord

if TYPE_CHECKING:
    from email.message import Message

DIST_INFO: Final = ".dist-info"
PKG_INFO: Final = "PKG-INFO"
PYPROJECT: Final = "pyproject.toml"
# One of them is in every sdist, if only in the folder that its URL names (`#subdirectory=`).
_SOURCES: Final = frozenset({PKG_INFO, PYPROJECT, "setup.py"})
# What uv (crates/uv-build-frontend, DEFAULT_BACKEND) and pip take where there is no
# `[build-system]`.
DEFAULT_BUILD_REQUIRES: Final = ("setuptools>=40.8.0",)
_SUBDIRECTORY: Final = re.compile(r"#(?:.*&)?subdirectory=([^&]+)")
_HEAD: Final = 6  # bytes that tell how a tar archive is compressed


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """What the file of a wheel or an sdist says of itself."""

    name: str
    """Normalised (PEP 503); empty where a source archive does not say."""
    version: str
    """As written; empty where a source archive does not say."""
    metadata: bytes
    """METADATA of a wheel, PKG-INFO of an sdist; empty where a source archive has none."""
    build_requires: tuple[str, ...] = ()
    """What it takes to build an sdist, as uv and pip would have it."""


def read_distribution(file: Path, location: str = "") -> Distribution:
    """Read a wheel or an sdist; its name tells which of them it is.

    `location` is that of its row: its fragment may tell in which folder the project is.
    Raises BadArchiveError where it is neither, and OSError where the file cannot be read.
    """
    with told_as_bad_archive():
        if is_wheel(file):
            with zipfile.ZipFile(file) as archive:
                metadata = read_member(archive, f"{dist_info_folder(archive)}/METADATA")
            return _parse_metadata(metadata, "METADATA")
        subdirectory = _SUBDIRECTORY.search(location)
        return parse_sdist(_read_sdist(file, unquote(subdirectory[1]) if subdirectory else ""))


def identity_of(found: Distribution, record: PypiRecord) -> str:
    """Return its own `name version`, the version as the row writes it where both are equal.

    What a source archive does not say is taken from the row.
    """
    name, version = found.name or record.name, found.version or record.version or ""
    said = parse_version(version)  # None: no version; then the texts must be the same
    if record.version is None or (said is not None and said == parse_version(record.version)):
        version = record.version or ""
    return f"{name} {version}".rstrip()


def is_wheel(file: Path) -> bool:
    """Tell a wheel from an sdist, also where its name has the fragment of its URL."""
    return file.name.partition("#")[0].endswith(".whl")


def dist_info_folder(archive: zipfile.ZipFile) -> str:
    """Return the name of the one `.dist-info` folder that every wheel has at its top."""
    tops = {name.partition("/")[0] for name in archive.namelist() if "/" in name}
    found = sorted(each for each in tops if each.endswith(DIST_INFO))
    if len(found) != 1:
        count = "no" if not found else "more than one"
        raise BadArchiveError(f"it has {count} {DIST_INFO} folder")
    return found[0]


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a file of a zip; raises BadArchiveError where it is missing, or too large."""
    if name not in archive.NameToInfo:
        raise BadArchiveError(f"it has no {name}")
    with archive.open(name) as stream:
        data = stream.read(LARGEST_INFO + 1)
    if len(data) > LARGEST_INFO:
        raise BadArchiveError(f"its {name} has more than {LARGEST_INFO >> 20} MiB")
    return data


def hash_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, algorithm: str
) -> tuple[bytes, int]:
    """Return the digest of a file of a zip, and its size in bytes."""
    digest, count = hashlib.new(algorithm), 0
    with archive.open(member) as stream:
        while data := stream.read(CHUNK):
            digest.update(data)
            count += len(data)
    return digest.digest(), count


def read_record(archive: zipfile.ZipFile, dist_info: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, hash and size of each line of a wheel's RECORD, as written."""
    try:
        for row in csv.reader(read_member(archive, f"{dist_info}/RECORD").decode().splitlines()):
            if len(row) not in {0, 3}:
                raise BadArchiveError(f"RECORD has a line of {len(row)} fields: {','.join(row)!r}")
            if row:
                yield row[0], row[1], row[2]
    except csv.Error as error:
        raise BadArchiveError(f"RECORD cannot be read: {error}") from None


def _read_sdist(file: Path, subdirectory: str) -> Mapping[str, bytes]:
    """Read all of an sdist; return PKG-INFO and pyproject.toml of its project, if there.

    That is in the one folder at the top, or in a `subdirectory` of it.
    """
    sources = set[str]()
    told_of = {posixpath.normpath(posixpath.join(subdirectory, x)) for x in (PKG_INFO, PYPROJECT)}

    def is_told(name: str) -> bool:
        sources.update(_SOURCES.intersection([name.rpartition("/")[2]]))
        top, _, inside = name.removeprefix("./").partition("/")
        return bool(top) and inside in told_of

    with file.open("rb") as raw:
        head = raw.peek(_HEAD)[:_HEAD]
        if head.startswith(b"PK"):
            with zipfile.ZipFile(raw) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise BadArchiveError(f"its {damaged} is damaged")
                told = [each for each in archive.namelist() if is_told(each)]
                found: Mapping[str, bytes] = {each: read_member(archive, each) for each in told}
        else:
            with _decompressed(raw, head) as stream:
                found, _ = walk_tar(stream, is_told)
    if not sources:
        raise BadArchiveError(f"it has no {PKG_INFO}, no {PYPROJECT} and no setup.py")
    if len({PurePosixPath(each).parts[0] for each in found}) > 1:
        raise BadArchiveError("it has more than one folder at its top")
    return {PurePosixPath(each).name: data for each, data in found.items()}


def _decompressed(raw: IO[bytes], head: bytes) -> AbstractContextManager[IO[bytes]]:
    """Open a tar archive however it is compressed."""
    if head.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(raw))
    if head.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.open(raw))
    if head.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
        return cast("IO[bytes]", lzma.open(raw))
    if not raw.name.partition("#")[0].endswith(".tar"):
        raise BadArchiveError(f"it begins with {head!r}, as no sdist does")
    return raw


def metadata_fields(data: bytes) -> Message:
    """Parse the headers of METADATA or PKG-INFO alone: below them packaging < 26.3 may stumble."""
    from email.parser import HeaderParser  # most locks have no such row

    return HeaderParser().parsestr(data.decode("utf-8", "replace"))


def _parse_metadata(data: bytes, source: str) -> Distribution:
    fields = metadata_fields(data)
    name, version = fields["Name"], fields["Version"]
    if not name or not version:
        raise BadArchiveError(f"its {source} has no {'Version' if name else 'Name'}")
    return Distribution(name=pypi_name(name), version=version, metadata=data)


def parse_sdist(files: Mapping[str, bytes]) -> Distribution:
    """Take what PKG-INFO and pyproject.toml say, where they are."""
    requires: tuple[str, ...] = DEFAULT_BUILD_REQUIRES
    said = Distribution(name="", version="", metadata=b"")
    if (pyproject := files.get(PYPROJECT)) is not None:
        try:
            document = tomllib.loads(pyproject.decode())
        except (ValueError, RecursionError) as error:
            raise BadArchiveError(f"its {PYPROJECT} is no TOML: {error}") from None
        build, project = document.get("build-system"), document.get("project")
        if isinstance(build, dict) and "requires" in build:
            requires = _strings(build["requires"])
        if isinstance(project, dict):
            said = _parse_project(project)
    if (pkg_info := files.get(PKG_INFO)) is not None:
        said = _parse_metadata(pkg_info, PKG_INFO)
    return replace(said, build_requires=requires)


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise BadArchiveError(f"its {PYPROJECT} has no list of strings for requires")
    return tuple(value)


def _parse_project(project: Mapping[str, object]) -> Distribution:
    """Take the name and version of a source archive that has no PKG-INFO (PEP 621)."""
    name, version = project.get("name"), project.get("version")
    return Distribution(
        name=pypi_name(name) if isinstance(name, str) else "",
        version=version if isinstance(version, str) else "",
        metadata=b"",
    )
