"""The part file of an artifact: written beside the channel, hashed while written, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Self

from scripts.core.file_lock import try_lock
from scripts.core.files import CHUNK, filename_in_errors, fsync, replace, unlink

_ENDING: Final = ".part"
_CLOSED: Final = -1  # no file has this number
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)


class PartFile:
    """A file that grows towards one known digest and appears in the channel whole or not at all.

    Use as a context manager. Bytes of an earlier try are kept and hashed first, so a download
    can go on behind them. Leaving the context keeps the part for the next try. The system's own
    calls are used: a file object asks the system seven things more, for each artifact.

    A part has one writer: a lock of the operating system is held on it, against another thread
    and against another process. What is placed is known by the digest of the file's own bytes.
    """

    def __init__(self, path: Path, algorithm: str) -> None:
        """Name the part; nothing is opened yet."""
        self.path = path
        self._algorithm = algorithm

    def __enter__(self) -> Self:
        """Open the part, lock it and hash what it holds already.

        Raises OSError (EBUSY) where somebody else is writing to it.
        """
        try:
            self._fileno = os.open(self.path, _FLAGS, 0o666)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fileno = os.open(self.path, _FLAGS, 0o666)
        try:
            self._lock()
            self.reread()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close the part."""
        self._close()

    @property
    def hex(self) -> str:
        """The digest of the file's bytes.

        What was hashed while it was written is what is there only while nobody has moved the
        position or the end of the file; else all of it is read again.
        """
        position = os.lseek(self._fileno, 0, os.SEEK_CUR)
        if not position == os.fstat(self._fileno).st_size == self.size:
            self.reread()
        return self._hash.hexdigest()

    def reread(self) -> None:
        """Hash all that is in the file, whoever has written it."""
        os.lseek(self._fileno, 0, os.SEEK_SET)
        self._hash = hashlib.new(self._algorithm, usedforsecurity=False)
        self.size = 0
        while chunk := os.read(self._fileno, CHUNK):
            self._hash.update(chunk)
            self.size += len(chunk)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes and hash them."""
        self._hash.update(data)
        with filename_in_errors(self.path):
            written = os.write(self._fileno, data)
            while written < len(data):  # the system may take less than it is given
                written += os.write(self._fileno, memoryview(data)[written:])
        self.size += len(data)

    @contextlib.contextmanager
    def content(self) -> Iterator[BinaryIO]:
        """Open what is there for reading from the beginning; nothing is written meanwhile."""
        os.lseek(self._fileno, 0, os.SEEK_SET)
        with open(self._fileno, "rb", closefd=False) as file:
            yield file

    def restart(self) -> None:
        """Forget all bytes."""
        with filename_in_errors(self.path):
            os.ftruncate(self._fileno, 0)
        self.reread()

    def place(self, target: Path, *, durable: bool) -> os.stat_result:
        """Rename the part to its place, return its status; `durable`: flush it to the disk first.

        The part must be complete: whoever calls this has compared the digest. Raises OSError
        (ESTALE) where another file has got the part's name, so that not these bytes would move.
        """
        if durable:
            with filename_in_errors(self.path):
                fsync(self._fileno)
        status = os.fstat(self._fileno)
        if not os.path.samestat(status, self.path.stat()):
            raise OSError(errno.ESTALE, "another file has taken its place", str(self.path))
        if os.name == "nt":  # which renames no open file; elsewhere the lock is held until then
            self._close()
        move(self.path, target)
        self._close()
        return status

    def discard(self) -> None:
        """Remove the part."""
        self._close()
        unlink(self.path, missing_ok=True)

    def _lock(self) -> None:
        """Lock the part; refuse one that somebody else has, or has just placed or removed."""
        if try_lock(self._fileno):
            try:
                if os.path.samestat(os.fstat(self._fileno), self.path.stat()):
                    return
            except FileNotFoundError:
                pass
        raise OSError(errno.EBUSY, "another run is writing to it", str(self.path))

    def _close(self) -> None:
        fileno, self._fileno = self._fileno, _CLOSED
        if fileno != _CLOSED:
            os.close(fileno)


def part_path(folder: Path, hex_digest: str) -> Path:
    """Return the path of the part of an artifact with this digest; a later run goes on with it."""
    return folder / f"{hex_digest}{_ENDING}"


def part_sizes(folder: Path) -> dict[str, int]:
    """Return the sizes in bytes of the parts in a folder, by the hex digest of their artifact."""
    sizes = {}
    with contextlib.suppress(OSError):  # the download tells of a folder that cannot be read
        for path in folder.glob(f"*{_ENDING}"):
            with contextlib.suppress(OSError):  # placed meanwhile, by another run
                sizes[path.name.removesuffix(_ENDING)] = path.stat().st_size
    return sizes


def move(path: Path, target: Path) -> None:
    """Rename a whole file to its place; make the folder for it where it is missing."""
    try:
        replace(path, target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace(path, target)
