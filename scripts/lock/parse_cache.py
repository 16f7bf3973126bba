"""Keep what parsing a lock gave, so that the next run does not parse an unchanged lock again.

A kept parse only saves time. Its digest covers the lock's bytes, Python's version and our own files
that read a lock: where one of these has changed, or the parse is damaged, the lock is parsed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import marshal
import os
import sys
from enum import Enum
from pathlib import Path
from typing import Any, Final

from scripts.core.errors import MirrorError
from scripts.core.file_name import FileName
from scripts.core.files import read_regular, write_atomically
from scripts.core.record import PypiRecord, Record
from scripts.lock import model
from scripts.lock.model import LockFile
from scripts.workspace.settings import IncompleteKind

_LARGEST: Final = 256 << 20  # bytes; some one and a half times the lock's
_DIGEST: Final = 32  # bytes, the first ones
_READERS: Final = ("core", "lock", "workspace")  # rooms that decide what a parse gives
# What is written down: rows of a number, of what, and its values. Where a value is not plain, a
# list has its row's number in its place; for a tuple of such values, the list of their numbers.
_MAKERS: Final[tuple[Any, ...]] = (
    *(LockFile, model.LockedEnvironment, model.PlatformPackages, model.LockPlatform),
    *(model.LockedPackage, model.BuildSet, model.Unmirrorable, IncompleteKind),
    *(Record, PypiRecord, FileName),
)


def parse_file(cache: Path, path: Path) -> Path:
    """Return the file in a cache folder that keeps the parse of the lock at `path`."""
    return cache / f"lock-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.parsed"


def load_parse(cache: Path, path: Path, data: bytes) -> LockFile | None:
    """Return the kept parse of a lock of these bytes; None where there is none."""
    try:
        kept = read_regular(parse_file(cache, path), _LARGEST)
    except OSError:
        return None
    digest, written = kept[:_DIGEST], kept[_DIGEST:]
    if digest != _digest(data, written):
        return None
    names = [_names(each) for each in _MAKERS]
    made: list[Any] = []
    for number, *values in marshal.loads(written):  # noqa: S302 -- ours, as its digest shows
        for place, value in enumerate(values):
            if type(value) is list:
                is_one = type(value[0]) is int
                values[place] = made[value[0]] if is_one else tuple(made[x] for x in value[0])
        made.append(_MAKERS[number](**dict(zip(names[number], values, strict=True))))
    lock: LockFile = dataclasses.replace(made[-1], data=data, is_kept=True)
    return lock


def keep_parse(cache: Path, path: Path, lock: LockFile) -> None:
    """Keep the parse of a lock; where it cannot be written, the next run parses again."""
    if lock.is_kept:
        return
    rows: list[list[Any]] = []
    _add(dataclasses.replace(lock, data=b""), rows, {})
    written = marshal.dumps(rows)
    with contextlib.suppress(OSError, MirrorError):
        write_atomically(parse_file(cache, path), _digest(lock.data, written) + written)


def _add(value: Any, rows: list[list[Any]], known: dict[int, int]) -> int:
    """Add the row of a value behind those of its parts, each once; return its number."""
    if id(value) not in known:
        kind = type(value)
        row: list[Any] = [_MAKERS.index(kind)]
        for each in (getattr(value, name) for name in _names(kind)):
            if type(each) in _MAKERS:
                row.append([_add(each, rows, known)])
            elif type(each) is tuple and each and type(each[0]) in _MAKERS:
                row.append([[_add(one, rows, known) for one in each]])
            else:
                row.append(each)
        rows.append(row)
        known[id(value)] = len(rows) - 1
    return known[id(value)]


def _names(kind: Any) -> tuple[str, ...]:
    if issubclass(kind, Enum):
        return ("value",)
    return tuple(each.name for each in dataclasses.fields(kind))


def _digest(data: bytes, written: bytes) -> bytes:
    ours = Path(__file__).parents[1]
    files = (each for name in _READERS for each in os.scandir(ours / name))
    sources = sorted(
        (each.path, (status := each.stat()).st_size, status.st_mtime_ns)
        for each in files
        if each.name.endswith(".py")
    )
    digest = hashlib.sha256(repr((sys.version, sources)).encode())
    digest.update(hashlib.sha256(data).digest() + written)
    return digest.digest()
