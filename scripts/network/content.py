"""The bytes of a file: read from a folder, or decoded from a Content-Encoding.

Only trying tells what a Content-Encoding means: stores label archives that are not encoded at all,
and proxies compress what nobody asked to be compressed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from scripts.core.files import CHUNK, exists
from scripts.network.errors import DownloadError, ErrorKind

SUPPORTED_ENCODINGS: Final = frozenset({"gzip", "x-gzip", "zstd"})


def _nothing() -> Generator[bytes]:
    yield from ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Bytes about to be read, and where in the file they start.

    `encoding` is the Content-Encoding, which nobody asked for and which may be wrong; `is_page`:
    the Content-Type is that of a web page; `is_whole`: it ends where the file does, never sooner.
    Read or close `chunks`, or the connection stays open.
    """

    start: int = 0
    encoding: str | None = None
    is_page: bool = False
    is_whole: bool = False
    chunks: Generator[bytes] = field(default_factory=_nothing)


def read_chunks(path: Path, *, is_mirror: bool = False) -> Generator[bytes]:
    """Read a file in pieces; raises DownloadError where it cannot be read.

    `is_mirror`: its path is that of a mirror in `[mirrors]`, not of the lock.
    """
    try:
        if exists(path) and not path.is_file():  # a pipe would be waited for, a device has no end
            raise DownloadError(ErrorKind.NOT_A_FILE, f"{path}: not a file")
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except (FileNotFoundError, NotADirectoryError) as error:
        folder = path.parent.parent
        if folder.exists():
            raise DownloadError(ErrorKind.NO_FILE, f"{path}: {error.strerror}") from None
        kind = ErrorKind.NO_CHANNEL_FOLDER
        text = "its channel is a folder of the machine that locked, and not here"
        if is_mirror:
            kind, text = ErrorKind.NO_MIRROR_FOLDER, "the mirror of its channel is not there"
        raise DownloadError(kind, text, (("folder", str(folder)),)) from None
    except OSError as error:
        raise DownloadError(ErrorKind.UNREADABLE, f"{path}: {error.strerror}") from None


class NotEncodedError(ValueError):
    """The bytes are not encoded as they are said to be, are cut short, or decode to too many."""


def decode(file: BinaryIO, encoding: str, most: int) -> Iterator[bytes]:
    """Decode a file in pieces of a bounded size; `encoding` is one of SUPPORTED_ENCODINGS.

    Raises NotEncodedError, perhaps after some pieces, where it is not encoded so, or has more than
    `most` bytes.
    """
    import zstandard

    reader: Any = gzip.GzipFile(fileobj=file)
    if encoding == "zstd":
        unpacker = zstandard.ZstdDecompressor()
        reader = unpacker.stream_reader(file, read_across_frames=True, closefd=False)
    try:
        while chunk := reader.read(CHUNK):
            most -= len(chunk)
            if most < 0:
                raise NotEncodedError("it is too long")
            yield chunk
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise NotEncodedError(str(error)) from None
