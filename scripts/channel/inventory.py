"""What is in the channel folder, compared with what should be there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from stat import S_ISLNK, S_ISREG
from typing import Final

from scripts.channel.digest_cache import DigestCache
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import channel_path, is_pypi_path
from scripts.core.errors import MirrorError, usage_error
from scripts.core.file_name import is_artifact_name
from scripts.core.files import FileStatus, hash_file
from scripts.core.record import Digest
from scripts.core.subdir import is_known_subdir

SEE_TO_DISK: Final = "see to the disk and its permissions, then run this again"


class ArtifactStatus(StrEnum):
    """Whether the file at a place is what is expected there."""

    MISSING = "missing"
    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What should be at a place: size in bytes and digest, as far as they are known."""

    path: PurePosixPath
    size: int | None
    digest: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedArtifact:
    """What is at a place; `actual` is a wrong file's digest or size, or why it is unreadable."""

    path: PurePosixPath
    status: ArtifactStatus
    actual: str | None = None


def files_below(folder: Path) -> Iterator[tuple[PurePosixPath, FileStatus]]:
    """Yield every file below a folder, its path relative to it, and its status; no link followed.

    What is neither a file nor a folder counts as a file. Raises the error of exit code 2 for a
    folder that cannot be read.
    """
    open_ = [""]
    while open_:
        above = open_.pop()
        try:
            with os.scandir(folder / above) as entries:
                for entry in sorted(entries, key=lambda each: each.name):
                    if entry.is_dir(follow_symlinks=False):
                        open_.append(f"{above}{entry.name}/")
                        continue
                    with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                        # Not the entry's own: on Windows that has no inode, and may be of before.
                        status = FileStatus.of(os.lstat(entry.path))
                        yield channel_path(f"{above}{entry.name}"), status
        except FileNotFoundError:  # none yet, or gone meanwhile
            continue
        except OSError as error:
            raise cannot_read(error, folder / above) from None


def regular_status(folder: Path, path: PurePosixPath, status: FileStatus) -> FileStatus | None:
    """Return the status of a regular file, or of one that a link leads to; else None."""
    if S_ISLNK(status.st_mode):
        try:
            status = FileStatus.of((folder / path).stat())
        except OSError:
            return None
    return status if S_ISREG(status.st_mode) else None


def find_channels(folder: Path) -> tuple[PurePosixPath, ...]:
    """Find the conda channels below a channel folder, relative to it: `.` where it is one itself.

    A channel has a subdir with a repodata.json, or with a file named like an artifact.
    """
    return tuple(
        sorted(
            {
                path.parents[1]
                for path, _ in files_below(folder)
                if not is_pypi_path(path)
                and is_known_subdir(path.parent.name)
                and (path.name == "repodata.json" or is_artifact_name(path.name))
            }
        )
    )


def cannot_read(error: OSError, path: Path) -> MirrorError:
    """Make the error of exit code 2 for a file or folder that cannot be read."""
    message = f"cannot be read: {error.strerror}"
    return usage_error(str(Path(error.filename or path)), message, help=SEE_TO_DISK)


def check_artifacts(
    folder: Path, expected: Iterable[Artifact | Expected], digests: DigestCache
) -> list[CheckedArtifact]:
    """Compare files with what is expected of them, hashing only those not known yet.

    A file without an expected digest is right when its size is; one that cannot be read is wrong.
    Raises the error of exit code 2 for a folder that nobody may look into.
    """
    found: list[CheckedArtifact] = []
    to_hash: list[tuple[PurePosixPath, Digest, os.stat_result]] = []
    for each in expected:
        path, digest, actual = each.path, each.digest, None
        try:
            status = os.stat(f"{folder}/{path}")  # noqa: PTH116 -- a Path costs as much again
        except (FileNotFoundError, NotADirectoryError):
            found.append(CheckedArtifact(path=path, status=ArtifactStatus.MISSING))
            continue
        except PermissionError as error:  # its folder is closed: nobody knows what is there
            raise cannot_read(error, folder / path) from None
        except OSError as error:
            found.append(_found(path, f"cannot be read: {error.strerror}"))
            continue
        if not S_ISREG(status.st_mode):
            actual = "not a file"
        elif each.size not in {None, status.st_size}:
            actual = f"{status.st_size} bytes"
        elif digest is not None:
            known = digests.known(path, digest.algorithm, status)
            if known is None:
                to_hash.append((path, digest, status))
                continue
            actual = None if known == digest.hex else known
        found.append(_found(path, actual))
    return [*found, *_hashed(folder, to_hash, digests)] if to_hash else found


def _hashed(
    folder: Path,
    to_hash: Sequence[tuple[PurePosixPath, Digest, os.stat_result]],
    digests: DigestCache,
) -> Iterator[CheckedArtifact]:
    """Hash files side by side (hashing frees the interpreter lock) and remember the digests."""
    from concurrent.futures import ThreadPoolExecutor

    def digest_of(each: tuple[PurePosixPath, Digest, os.stat_result]) -> str | OSError:
        try:
            return hash_file(folder / each[0], each[1].algorithm)
        except OSError as error:
            return error

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        actual = pool.map(digest_of, to_hash)
        for (path, digest, status), hashed in zip(to_hash, actual, strict=True):
            if isinstance(hashed, OSError):
                yield _found(path, f"cannot be read: {hashed.strerror}")
                continue
            digests.add_read(folder, path, digest.algorithm, hashed, status)
            yield _found(path, None if hashed == digest.hex else hashed)


def _found(path: PurePosixPath, actual: str | None) -> CheckedArtifact:
    """Say what is there: what is expected where `actual` is None."""
    status = ArtifactStatus.RIGHT if actual is None else ArtifactStatus.WRONG
    return CheckedArtifact(path=path, status=status, actual=actual)
