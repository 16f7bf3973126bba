"""Undo a Content-Encoding that a server put around a file, or says that it did.

What the label means is known only by trying: stores put one on archives whose bytes are as they
should be, and proxies compress what nobody asked to be compressed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

from scripts.core.files import CHUNK

_DEFLATE: Final = "deflate"
SUPPORTED_ENCODINGS: Final = frozenset({"gzip", "x-gzip", _DEFLATE, "zstd"})


class NotEncodedError(ValueError):
    """The bytes are not what their label says, not all of them, or of more than they may."""


def decode(file: BinaryIO, encoding: str, most: int) -> Iterator[bytes]:
    """Yield a file's content without its encoding, a supported one, in pieces of a bounded size.

    Raises NotEncodedError, perhaps after some pieces, where it is none or of more than `most`
    bytes.
    """
    import zstandard

    try:
        for chunk in _decoded(file, encoding):
            most -= len(chunk)
            if most < 0:
                raise NotEncodedError("it is too long")
            yield chunk
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise NotEncodedError(str(error)) from None


def _decoded(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    import zstandard

    if encoding == _DEFLATE:
        yield from _inflated(file)
        return
    reader: BinaryIO = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
    if encoding == "zstd":
        decompressor = zstandard.ZstdDecompressor()
        reader = decompressor.stream_reader(file, read_across_frames=True, closefd=False)
    with reader:
        while chunk := reader.read(CHUNK):
            yield chunk


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
