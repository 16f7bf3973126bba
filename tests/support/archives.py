"""Archives that are the same bytes on every machine, whatever libraries are there.

Nothing is compressed by a library whose next release may compress otherwise: zstd frames hold
raw blocks and runs of zeros, zips store. Only bzip2 is left, which has had one implementation.
"""

from __future__ import annotations

import bz2
import io
import re
import struct
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_ZSTD_BLOCK: Final = 128 << 10  # the largest there is (RFC 8878, 3.1.1.2.4)
_FEWEST_ZEROS: Final = 64
_ZEROS: Final = re.compile(rb"(\0{%d,})" % _FEWEST_ZEROS)
_TAR_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive; `path` with forward slashes."""

    path: str
    data: bytes
    mode: int = 0o644


def zstd(data: bytes) -> bytes:
    """Wrap bytes as one zstd frame of raw blocks, and RLE blocks for zeros (RFC 8878, 3.1.1)."""
    # Frame_Header_Descriptor: content size in 8 bytes, no checksum; a window of 1 MiB.
    frame = [b"\x28\xb5\x2f\xfd", b"\xc0", b"\x50", struct.pack("<Q", len(data))]
    for run in _ZEROS.split(data):
        is_rle = len(run) >= _FEWEST_ZEROS and not any(run[:_FEWEST_ZEROS])
        for start in range(0, len(run), _ZSTD_BLOCK):
            block = run[start : start + _ZSTD_BLOCK]
            header = len(block) << 3 | is_rle << 1
            frame += [header.to_bytes(3, "little"), b"\0" if is_rle else block]
    frame.append(b"\1\0\0")  # the last block: raw and empty
    return b"".join(frame)


def tar(members: Sequence[Member]) -> bytes:
    """Write a POSIX ustar archive: no owner, no time, no padding to whole records."""
    pieces = []
    for member in members:
        info = tarfile.TarInfo(member.path)
        info.size = len(member.data)
        info.mode = member.mode
        header = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
        pieces += [header, member.data, bytes(-len(member.data) % _TAR_BLOCK)]
    return b"".join([*pieces, bytes(2 * _TAR_BLOCK)])


def stored_zip(members: Sequence[Member]) -> bytes:
    """Write a zip that stores its members, dated as early as the format allows."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.path, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = member.mode << 16
            archive.writestr(info, member.data)
    return buffer.getvalue()


def conda(distribution: str, info: Sequence[Member], payload: Sequence[Member]) -> bytes:
    """Write a `.conda` artifact (conda package format version 2)."""
    return stored_zip(
        (
            Member("metadata.json", b'{"conda_pkg_format_version": 2}'),
            Member(f"pkg-{distribution}.tar.zst", zstd(tar(payload))),
            Member(f"info-{distribution}.tar.zst", zstd(tar(info))),
        )
    )


def tar_bz2(info: Sequence[Member], payload: Sequence[Member]) -> bytes:
    """Write a `.tar.bz2` artifact."""
    return bz2.compress(tar((*info, *payload)), 9)
