"""An artifact on its way: written beside the channel, hashed while written, then renamed. Acts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.core.files import CHUNK, make_durable

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)


class PartFile:
    """A file that grows towards one known digest and appears in the channel whole or not at all.

    Use as a context manager. Bytes of an earlier try are kept and hashed first, so a download
    can go on behind them. Leaving the context keeps the part for the next try. The system's own
    calls are used: a file object asks the system seven things more, for each artifact.
    """

    def __init__(self, path: Path, algorithm: str) -> None:
        """Name the part; nothing is opened yet."""
        self._path = path
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self.size = 0

    def __enter__(self) -> Self:
        """Open the part and hash what it holds already."""
        try:
            descriptor = os.open(self._path, _FLAGS, 0o666)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, _FLAGS, 0o666)
        self._descriptor: int | None = descriptor
        while chunk := os.read(descriptor, CHUNK):
            self._hash.update(chunk)
            self.size += len(chunk)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the part."""
        self._close()

    @property
    def hex(self) -> str:
        """The digest of all bytes so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes and hash them."""
        self._hash.update(data)
        written = os.write(self._fileno, data)
        while written < len(data):  # the system may take less than it is given
            written += os.write(self._fileno, memoryview(data)[written:])
        self.size += len(data)

    def restart(self) -> None:
        """Forget all bytes."""
        os.lseek(self._fileno, 0, os.SEEK_SET)
        os.ftruncate(self._fileno, 0)
        self._hash = hashlib.new(self._algorithm, usedforsecurity=False)
        self.size = 0

    def place(self, target: Path, *, durable: bool) -> os.stat_result:
        """Rename the part to its place and return its status; `durable`: on the disk before that.

        The part must be complete: whoever calls this has compared the digest.
        """
        if durable:
            make_durable(self._fileno)
        status = os.fstat(self._fileno)
        self._close()  # Windows renames no open file
        try:
            self._path.replace(target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._path.replace(target)
        return status

    def discard(self) -> None:
        """Remove the part."""
        self._close()
        self._path.unlink(missing_ok=True)

    @property
    def _fileno(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self._path} is closed")
        return self._descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
