"""A file's bytes: as they lie in a folder, or from beneath a Content-Encoding.

What such a label means is known only by trying: stores put one on archives whose bytes are as
they should be, and proxies compress what nobody asked to be compressed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from scripts.core.files import CHUNK
from scripts.network.errors import DownloadError, ErrorKind

SUPPORTED_ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate", "zstd"})


def _nothing() -> Generator[bytes]:
    yield from ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Bytes about to be read, and where in the file they start.

    `encoding` is a Content-Encoding that nobody asked for, which may be true or not; `is_page`:
    it is called a web page. Iterate over `chunks`, or the connection stays open.
    """

    start: int = 0
    encoding: str | None = None
    is_page: bool = False
    chunks: Generator[bytes] = field(default_factory=_nothing)


def read_chunks(path: Path, *, is_mirror: bool = False) -> Generator[bytes]:
    """Read a file in pieces; a missing one is an error that trying again does not help.

    `is_mirror`: it lies in a mirror that is set here, not where the lock says.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
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
    """The bytes are not what their label says, not all of them, or of more than they may."""


def decode(file: BinaryIO, encoding: str, most: int) -> Iterator[bytes]:
    """Yield a file's content without its encoding, a supported one, in pieces of a bounded size.

    Raises NotEncodedError, perhaps after some pieces, where it is none or of more than `most`
    bytes.
    """
    import zstandard

    if encoding == "deflate":
        chunks = _inflated(file)
    elif encoding == "zstd":
        unpacker = zstandard.ZstdDecompressor()
        reader = unpacker.stream_reader(file, read_across_frames=True, closefd=False)
        chunks = iter(lambda: reader.read(CHUNK), b"")
    else:
        packed = gzip.GzipFile(fileobj=file)
        chunks = iter(lambda: packed.read(CHUNK), b"")
    try:
        for chunk in chunks:
            most -= len(chunk)
            if most < 0:
                raise NotEncodedError("it is too long")
            yield chunk
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise NotEncodedError(str(error)) from None


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """Undo `deflate`: with the head of zlib, as it should be, or without, as many send it."""
    start = file.tell()
    head = file.read(2)
    file.seek(start)
    has_head = len(head) == 2 and head[0] & 0x0F == 8 and int.from_bytes(head) % 31 == 0
    unpacker = zlib.decompressobj(zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS)
    while not unpacker.eof:
        packed = unpacker.unconsumed_tail or file.read(CHUNK)
        if not packed:
            raise NotEncodedError("it ends too soon")
        yield unpacker.decompress(packed, CHUNK)
