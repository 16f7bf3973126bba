"""What is in the channel folder, beside what should be."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from scripts.channel.digest_cache import Digests
from scripts.core.errors import MirrorError, usage_error
from scripts.core.file_name import parse_file_name
from scripts.core.files import hash_file
from scripts.core.subdir import is_known_subdir


class Standing(StrEnum):
    """How a file of the channel stands to what is expected at its place."""

    MISSING = "missing"
    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What should be at a place: size in bytes and digest, as far as they are known."""

    path: PurePosixPath
    size: int | None
    algorithm: str | None
    digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is at that place; `actual` tells a wrong file's digest or size, or its trouble."""

    path: PurePosixPath
    standing: Standing
    actual: str | None = None


def files_below(folder: Path) -> Iterator[tuple[PurePosixPath, os.stat_result]]:
    """Yield every file below a folder, its path relative to it, and its status; no link followed.

    What is neither a file nor a folder counts as a file. Raises the error of exit code 2 where one
    cannot look.
    """
    open_ = [PurePosixPath()]
    while open_:
        above = open_.pop()
        try:
            with os.scandir(folder / above) as entries:
                for entry in sorted(entries, key=lambda each: each.name):
                    if entry.is_dir(follow_symlinks=False):
                        open_.append(above / entry.name)
                        continue
                    with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                        yield above / entry.name, entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # none yet, or gone meanwhile
            continue
        except OSError as error:
            raise cannot_read(error, folder / above) from None


def find_channels(folder: Path) -> tuple[PurePosixPath, ...]:
    """Find the conda channels below a channel folder, relative to it: `.` where it is one itself.

    A channel has a subdir with a repodata.json, or with a file named like an artifact.
    """
    found: set[PurePosixPath] = set()
    open_ = [PurePosixPath()]
    while open_:
        above = open_.pop()
        try:
            with os.scandir(folder / above) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        open_.append(above / entry.name)
                    elif is_known_subdir(above.name) and (
                        entry.name == "repodata.json" or parse_file_name(entry.name) is not None
                    ):
                        found.add(above.parent)
                        break
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise cannot_read(error, folder / above) from None
    return tuple(sorted(found))


def cannot_read(error: OSError, path: Path) -> MirrorError:
    """Make the error of exit code 2 for what the system does not let us read."""
    return usage_error(str(error.filename or path), f"cannot be read: {error.strerror}")


def look(folder: Path, expected: Iterable[Expected], digests: Digests) -> list[Found]:
    """Compare files with what is expected of them, hashing only those not known yet.

    A file without an expected digest is right when its size is; one that cannot be read is wrong.
    """
    found: list[Found] = []
    to_hash: list[tuple[Expected, os.stat_result]] = []
    for each in expected:
        try:
            status = (folder / each.path).stat()
        except (FileNotFoundError, NotADirectoryError):
            found.append(Found(path=each.path, standing=Standing.MISSING))
            continue
        except OSError as error:
            found.append(_unreadable(each, error))
            continue
        if not S_ISREG(status.st_mode):
            found.append(Found(path=each.path, standing=Standing.WRONG, actual="not a file"))
        elif each.size is not None and status.st_size != each.size:
            size = f"{status.st_size} bytes"
            found.append(Found(path=each.path, standing=Standing.WRONG, actual=size))
        elif each.algorithm is None or each.digest is None:
            found.append(Found(path=each.path, standing=Standing.RIGHT))
        else:
            known = digests.known(each.path, each.algorithm, status)
            if known is None:
                to_hash.append((each, status))
            else:
                found.append(_compared(each, known))
    found += _hashed(folder, to_hash, digests)
    return found


def _hashed(
    folder: Path, to_hash: list[tuple[Expected, os.stat_result]], digests: Digests
) -> list[Found]:
    """Hash files side by side (hashing frees the interpreter lock) and remember the digests."""
    if not to_hash:
        return []
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        actual = pool.map(lambda pair: _hash(folder, pair[0]), to_hash)
        found = []
        for (each, status), digest in zip(to_hash, actual, strict=True):
            if isinstance(digest, OSError):
                found.append(_unreadable(each, digest))
                continue
            digests.add_read(folder, each.path, each.algorithm or "sha256", digest, status)
            found.append(_compared(each, digest))
    return found


def _hash(folder: Path, expected: Expected) -> str | OSError:
    try:
        return hash_file(folder / expected.path, expected.algorithm or "sha256")
    except OSError as error:
        return error


def _unreadable(expected: Expected, error: OSError) -> Found:
    actual = f"cannot be read: {error.strerror}"
    return Found(path=expected.path, standing=Standing.WRONG, actual=actual)


def _compared(expected: Expected, actual: str) -> Found:
    if actual == expected.digest:
        return Found(path=expected.path, standing=Standing.RIGHT)
    return Found(path=expected.path, standing=Standing.WRONG, actual=actual)
