"""What makes a wheel or an sdist sound, for the level `archives`.

pixi, uv and pip take a wheel whose RECORD has a wrong hash, lacks a file or names an absent one.
The rules are those of the Binary distribution format (packaging.python.org, PEP 427).
"""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.archive import BadArchiveError, told_as_bad_archive
from scripts.core.pep508 import pypi_name
from scripts.core.record import PypiRecord
from scripts.index.distribution import (
    DIST_INFO,
    Distribution,
    dist_info_folder,
    hash_member,
    identity_of,
    is_wheel,
    read_distribution,
    read_member,
    read_record,
)

# "Sha256 or better": those that hashlib has and the format allows.
_ALGORITHMS: Final = ("sha256", "sha384", "sha512")
_SIGNATURES: Final = ("RECORD.jws", "RECORD.p7s")
# With what a zip begins and ends, but for its comment (APPNOTE 4.3.7, 4.3.16); sizes in bytes.
_FIRST: Final = b"PK\3\4"
_END: Final = b"PK\5\6"
_END_SIZE: Final = 22


class BadWheelRecordError(BadArchiveError):
    """A wheel whose RECORD is not right, and that is sound otherwise; `identity` as it says."""

    def __init__(self, message: str, identity: str) -> None:
        """Take what is wrong, and what it says that it is."""
        super().__init__(message)
        self.identity = identity


def read_pypi_identity(file: Path, record: PypiRecord) -> str:
    """Return `name version` of what it says that it is, in the row's words where they are equal.

    Raises BadArchiveError where it cannot be opened, BadWheelRecordError where a line of a wheel's
    RECORD is missing or wrong, and OSError where the file cannot be read.
    """
    found = read_distribution(file, record.location)
    identity = identity_of(found, record)
    if is_wheel(file):
        with told_as_bad_archive(), zipfile.ZipFile(file) as archive:
            _refuse_surroundings(file, len(archive.comment))
            if wrong := list(_check_wheel(archive, found)):
                raise BadWheelRecordError(wrong[0], identity)
    return identity


def _refuse_surroundings(file: Path, comment: int) -> None:
    """Refuse bytes before the zip, and others than 0 behind it, as uv and pixi do; pip does not."""
    with file.open("rb") as raw:
        first = raw.read(len(_FIRST))
        raw.seek(max(file.stat().st_size - _END_SIZE - 0xFFFF, 0))
        last = raw.read()
    behind = last[last.rindex(_END) + _END_SIZE + comment :].strip(b"\0")
    if first != _FIRST or behind:
        where = "behind" if behind else "before"
        raise BadArchiveError(f"something is {where} its zip, with which uv and pixi refuse it")


def _check_wheel(archive: zipfile.ZipFile, distribution: Distribution) -> Iterator[str]:
    """Yield what is wrong with RECORD; raise BadArchiveError at the first other thing."""
    folder = dist_info_folder(archive)
    if pypi_name(folder.removesuffix(DIST_INFO).rpartition("-")[0]) != distribution.name:
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
        if name not in unlisted and not member.is_dir():
            yield from _check_member(archive, member, lines.get(name))
    yield from (f"RECORD lists {x}, which it does not have" for x in sorted(lines.keys() - there))


def _check_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, line: Sequence[str] | None
) -> Iterator[str]:
    """Read a file, so that a damaged one is noticed, and hold it against its line of RECORD."""
    said, size = line or ("", "")
    algorithm, _, expected = said.partition("=")
    is_known = algorithm in _ALGORITHMS
    digest, count = hash_member(archive, member, algorithm if is_known else _ALGORITHMS[0])
    actual = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if line is None:
        yield f"RECORD does not list {member.filename}"
    elif not is_known:
        yield f"RECORD has no sha256 of {member.filename}"
    elif actual != expected.rstrip("="):
        yield f"{algorithm} of {member.filename} differs from RECORD"
    elif size and size != str(count):
        yield f"{member.filename} has {count} bytes, RECORD says {size}"
