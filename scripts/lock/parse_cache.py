"""Keep what parsing a lock gave, so that the next run does not parse an unchanged lock again.

A kept parse only saves time. Its digest covers the lock's bytes, Python's version and our own files
that read a lock: where one of these has changed, or the parse is damaged, the lock is parsed.
"""

from __future__ import annotations

import contextlib
import copyreg
import dataclasses
import hashlib
import io
import os
import pickle
import sys
from pathlib import Path
from typing import Final

from scripts.core.errors import MirrorError
from scripts.core.file_name import FileName
from scripts.core.files import read_regular, write_atomically
from scripts.core.record import PypiRecord, Record
from scripts.lock import model
from scripts.lock.model import LockFile
from scripts.workspace.settings import IncompleteKind

_LARGEST: Final = 256 << 20  # bytes; a parse has about the lock's
_DIGEST: Final = 32  # bytes, the first ones
_READERS: Final = ("core", "lock", "workspace")  # rooms that decide what a parse gives
# What a parse is made of, by module and name.
_CLASSES: Final[dict[tuple[str, str], type]] = {
    (each.__module__, each.__qualname__): each
    for each in (
        *(LockFile, model.LockedEnvironment, model.PlatformPackages, model.LockPlatform),
        *(model.LockedPackage, model.BuildSet, model.Unmirrorable, IncompleteKind),
        *(Record, PypiRecord, FileName),
    )
}

# By its value, as later versions of Python do; before 3.11.5 they write a call of `getattr`.
copyreg.pickle(IncompleteKind, lambda kind: (IncompleteKind, (kind.value,)))


class _Unpickler(pickle.Unpickler):
    """Makes what a parse is made of, and nothing else; a pickle could otherwise call anything."""

    def find_class(self, module: str, name: str) -> type:
        return _CLASSES[module, name]


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
    lock: LockFile = _Unpickler(io.BytesIO(written)).load()
    return dataclasses.replace(lock, data=data, is_kept=True)


def keep_parse(cache: Path, path: Path, lock: LockFile) -> None:
    """Keep the parse of a lock; where it cannot be written, the next run parses again."""
    if lock.is_kept:
        return
    written = pickle.dumps(dataclasses.replace(lock, data=b""))
    with contextlib.suppress(OSError, MirrorError):
        write_atomically(parse_file(cache, path), _digest(lock.data, written) + written)


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
