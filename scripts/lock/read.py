"""Read a pixi.lock from the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from scripts.core.errors import usage_error
from scripts.core.files import read_text
from scripts.lock.model import LockFile
from scripts.lock.parse import parse_lock

# bytes; the largest real lock seen has 5 MB, and 20 MB cost nine seconds to parse
_LARGEST: Final = 48 << 20


def read_lock(path: Path) -> LockFile:
    """Read and parse a lock file; every fault of it is an error of exit code 2."""
    text = read_lock_text(path)
    return replace(parse_lock(text, path.name), data=text.encode())


def read_lock_text(path: Path) -> str:
    """Read the text of a lock file."""
    if not path.exists():
        raise usage_error(
            str(path), "cannot read this lock file: there is no such file", help="pixi lock"
        )
    return read_text(path, limit=_LARGEST, what="lock file")
