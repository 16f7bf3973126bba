"""What a builder was made from: `.template.json`, committed with it.

It holds the sha256 of each file, and of each table of the manifest, as the template had it when it
was last taken over. What differs from that today, the user has changed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from scripts.core.channel_paths import STATE_FOLDER
from scripts.core.errors import MirrorError, usage_error
from scripts.template.builder_files import LOCK, MANIFEST
from scripts.template.manifest_units import is_unit_name, unit_digests

RECORD: Final = PurePosixPath(".template.json")
_VERSION: Final = 1
# What no template lays down, whatever a file system makes of upper case: it is the user's.
_OF_THE_USER: Final = frozenset({str(RECORD), str(MANIFEST), str(LOCK), ".pixi"})
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The sha256 of files by path, and of the manifest's tables by their dotted names, sorted."""

    files: tuple[tuple[str, str], ...] = ()
    tables: tuple[tuple[str, str], ...] = ()


def digest(data: bytes) -> str:
    """Return the sha256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def record_of(files: Mapping[PurePosixPath, bytes], manifest: str) -> Record:
    """Record files and a manifest as a builder just made of them; the manifest is no file here."""
    digests = {str(path): digest(data) for path, data in files.items() if path != MANIFEST}
    return make_record(digests.items(), unit_digests(manifest).items())


def make_record(files: Iterable[tuple[str, str]], tables: Iterable[tuple[str, str]]) -> Record:
    """Make a record of pairs in any order."""
    return Record(files=tuple(sorted(files)), tables=tuple(sorted(tables)))


def write_record(record: Record) -> bytes:
    """Write it as JSON, a line for each file and table, so that git can merge it."""
    document = {
        "version": _VERSION,
        "files": dict(record.files),
        "tables": dict(record.tables),
    }
    return f"{json.dumps(document, indent=2, ensure_ascii=False)}\n".encode()


def read_record(data: bytes, channel: PurePosixPath | None = None) -> Record:
    """Read it; the error of exit code 2 says what is wrong with it.

    `channel` is the channel folder inside of the builder, where it is there: no file in it, and
    nothing else that is the user's, may be named.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise _wrong("not JSON") from None
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise _wrong(f"its version is not {_VERSION}, the one that this template reads")
    files, tables = _digests(document, "files"), _digests(document, "tables")
    for path in files:
        if not _is_inside(path):
            raise _wrong(f"{path!r} is no path inside of the builder")
        if _is_the_users(PurePosixPath(path.casefold()), channel):
            raise _wrong(f"{path!r} is yours, and of no template")
    for name in tables:
        if not is_unit_name(name):
            raise _wrong(f"{name!r} is no table of a template")
    return make_record(files.items(), tables.items())


def _digests(document: Mapping[str, object], key: str) -> dict[str, str]:
    values = document.get(key)
    if not isinstance(values, dict):
        raise _wrong(f"{key} is no table of sha256")
    for name, value in values.items():
        if re.search("[\ud800-\udfff]", name):
            raise _wrong(f"{key}: {name!r} is no text")
        if not isinstance(value, str) or not _SHA256.match(value):
            raise _wrong(f"{key}: {name} has no sha256")
    return values


def _is_inside(path: str) -> bool:
    """Tell a relative path in its plain form; nothing else is ever written or removed."""
    pure = PurePosixPath(path)
    is_plain = bool(pure.parts) and str(pure) == path and not pure.is_absolute()
    return is_plain and ".." not in pure.parts and not re.search(r"[\\:\x00-\x1f]", path)


def _is_the_users(path: PurePosixPath, channel: PurePosixPath | None) -> bool:
    """Tell what the tasks, pixi and git keep in a builder from files that a template has there."""
    if path.parts[0] in _OF_THE_USER or {".git", STATE_FOLDER} & set(path.parts):
        return True
    return channel is not None and path.is_relative_to(str(channel).casefold())


def _wrong(trouble: str) -> MirrorError:
    return usage_error(
        str(RECORD),
        f"cannot be used: {trouble}",
        help=f"take it back from version control: git checkout {RECORD}",
    )
