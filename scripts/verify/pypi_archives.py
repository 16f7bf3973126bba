"""What makes a wheel or an sdist sound, for the level `archives`.

pixi, uv and pip take a wheel whose RECORD has a wrong hash, lacks a file or names an absent one.
The rules are those of the Binary distribution format (packaging.python.org, PEP 427).
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.archive import BadArchiveError, told_as_bad_archive
from scripts.core.files import CHUNK
from scripts.core.record import PypiRecord
from scripts.index.distribution import (
    DIST_INFO,
    Distribution,
    dist_info_folder,
    identity_of,
    is_wheel,
    read_distribution,
    read_member,
    read_record,
)

# "Sha256 or better": those that hashlib has and the format allows.
_ALGORITHMS: Final = ("sha256", "sha384", "sha512")
_SIGNATURES: Final = ("RECORD.jws", "RECORD.p7s")


def read_pypi_identity(file: Path, record: PypiRecord) -> str:
    """Return `name version` of what it says that it is, in the row's words where they are equal.

    Raises BadArchiveError where it cannot be opened or, of a wheel, a line of RECORD is missing
    or wrong, and OSError where the file cannot be read.
    """
    found = read_distribution(file)
    if is_wheel(file):
        with told_as_bad_archive(), zipfile.ZipFile(file) as archive:
            _check_wheel(archive, found)
    return identity_of(found, record)


def _check_wheel(archive: zipfile.ZipFile, distribution: Distribution) -> None:
    """Raise BadArchiveError at the first thing that is wrong."""
    from packaging.utils import canonicalize_name

    folder = dist_info_folder(archive)
    if canonicalize_name(folder.removesuffix(DIST_INFO).rpartition("-")[0]) != distribution.name:
        raise BadArchiveError(f"its {folder} is not named after {distribution.name}")
    read_member(archive, f"{folder}/WHEEL")
    lines = {path: line for path, *line in read_record(archive, folder)}
    unlisted = {f"{folder}/{name}" for name in ("RECORD", *_SIGNATURES)}
    there: set[str] = set()
    for member in archive.infolist():
        name = member.filename
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise BadArchiveError(f"its {name} would be outside of where it is installed")
        if name in there:
            raise BadArchiveError(f"it has two files {name}")
        there.add(name)
        if name in unlisted or member.is_dir():
            continue
        if name not in lines:
            raise BadArchiveError(f"RECORD does not list {name}")
        _check_member(archive, member, *lines[name])
    for name in sorted(lines.keys() - there):
        raise BadArchiveError(f"RECORD lists {name}, which it does not have")


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, said: str, size: str) -> None:
    algorithm, _, expected = said.partition("=")
    if algorithm not in _ALGORITHMS:
        raise BadArchiveError(f"RECORD has no sha256 of {member.filename}")
    digest, count = hashlib.new(algorithm), 0
    with archive.open(member) as stream:
        while data := stream.read(CHUNK):
            digest.update(data)
            count += len(data)
    actual = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    if actual != expected.rstrip("="):
        raise BadArchiveError(f"{algorithm} of {member.filename} differs from RECORD")
    if size and size != str(count):
        raise BadArchiveError(f"{member.filename} has {count} bytes, RECORD says {size}")
