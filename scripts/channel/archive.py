"""Read conda artifacts, whole or single files of `info/`; nothing is unpacked to the disk.

Reading one whole tells that it can be opened: every byte is decompressed, which compares the
checksums of zip, zstd and bzip2, and every member of the tar archives is visited.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import functools
import io
import json
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import IO, Final, cast

from scripts.core.errors import MirrorError, finding_problem
from scripts.core.files import CHUNK

INDEX_JSON: Final = "info/index.json"
PATHS: Final = "info/paths.json"
FILES: Final = "info/files"
WANTED: Final = frozenset({INDEX_JSON, PATHS, FILES})
LARGEST_INFO: Final = 64 << 20  # bytes of one file; a paths.json has some millions at most
# All that these libraries raise for bytes that are not what they should be (RuntimeError: zip
# features such as encryption that no artifact has).
UNREADABLE: Final = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    OverflowError,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
_MARKS: Final = {".conda": b"PK\3\4", ".tar.bz2": b"BZh"}
_SHOWN: Final = 24  # first bytes of a file that is something else
_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = b"\xff" * _BLOCK  # no header, nor what else a tar archive ends with
_WITHOUT_DATA: Final = b"123456"  # types of links, devices, folders, pipes


class BadArchiveError(ValueError):
    """An artifact that cannot be opened; the text says why, as the end of a sentence."""


def read_identity(file: Path) -> str:
    """Read an artifact whole; return `name version build` of its own `info/index.json`.

    Raises BadArchiveError for what cannot be opened, and OSError where the file cannot be read.
    """
    with told_as_bad_archive():
        return _identity(_read_whole(file))


@contextlib.contextmanager
def told_as_bad_archive() -> Iterator[None]:
    """Turn what the archive libraries raise into BadArchiveError, not an OSError of the disk."""
    try:
        yield
    except BadArchiveError:
        raise
    except UNREADABLE as error:
        # The disk, not the archive; EINVAL is what a damaged one makes zipfile get for its seek.
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise
        raise BadArchiveError(str(error) or type(error).__name__) from None


def _read_whole(file: Path) -> Mapping[str, bytes]:
    """Read every member to its end, where checksums are compared; return those of WANTED."""
    extension = next(each for each in _MARKS if file.name.endswith(each))
    with file.open("rb") as raw:
        head = raw.read(_SHOWN)
        if not head.startswith(_MARKS[extension]):
            raise BadArchiveError(f"it begins with {head!r}, as no {extension} does")
        raw.seek(0)
        if extension == ".tar.bz2":
            with bz2.open(raw) as stream:
                return walk_tar(stream, WANTED.__contains__)[0]
        found: dict[str, Mapping[str, bytes]] = {}
        with zipfile.ZipFile(raw) as archive:
            for member in archive.infolist():
                with archive.open(member) as packed:
                    if member.filename.endswith(".tar.zst"):
                        if not member.file_size:
                            raise BadArchiveError(f"its {member.filename} is empty")
                        files = _walk_zst(packed, WANTED)
                        found[member.filename.partition("-")[0]] = files
                    while packed.read(CHUNK):
                        pass
    missing = {"info", "pkg"} - found.keys()
    if missing:
        raise BadArchiveError(f"it has no {min(missing)}-….tar.zst")
    return found["info"]


class _WithEnd:
    """Compressed bytes, followed by a frame of ours that only comes out if they are whole.

    zstandard's reader takes a frame that is cut short for one that has ended.
    """

    def __init__(self, packed: IO[bytes], end: bytes) -> None:
        self._packed, self._end = packed, io.BytesIO(end)

    def read(self, size: int = -1) -> bytes:
        return self._packed.read(size) or self._end.read(size)


@functools.cache  # it takes as long as to open a small artifact
def _end_frame() -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(_END)


def _walk_zst(packed: IO[bytes], names: AbstractSet[str]) -> Mapping[str, bytes]:
    import zstandard

    source = cast("IO[bytes]", _WithEnd(packed, _end_frame()))
    try:
        with zstandard.ZstdDecompressor().stream_reader(
            source, read_size=CHUNK, read_across_frames=True
        ) as unpacked:
            found, tail = walk_tar(unpacked, names.__contains__)
    except zstandard.ZstdError as error:
        raise BadArchiveError(str(error)) from None
    if tail != _END:
        raise BadArchiveError("its compressed data end too early")
    return found


def walk_tar(
    stream: IO[bytes], is_wanted: Callable[[str], bool], *, most: int | None = None
) -> tuple[Mapping[str, bytes], bytes]:
    """Read a tar archive to the end of the stream; return the wanted files, and its last block.

    tarfile itself takes a damaged header in the middle for the end. `most`: stop after so many
    wanted files. Raises one of UNREADABLE where it is damaged.
    """
    found: dict[str, bytes] = {}
    while (header := stream.read(_BLOCK)) and header != _END and header.strip(b"\0"):
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        if member.type in _WITHOUT_DATA:
            continue
        name = member.name.removeprefix("./")
        is_kept = is_wanted(name)
        if is_kept and member.size > LARGEST_INFO:
            raise BadArchiveError(f"its {name} has more than {LARGEST_INFO >> 20} MiB")
        data = _take(stream, member.size, keep=is_kept)
        if is_kept:
            found[name] = data
        if len(found) == most:
            return found, b""
        _take(stream, -member.size % _BLOCK)
    tail = header
    while rest := stream.read(CHUNK):
        tail = (tail + rest)[-_BLOCK:]
    return found, tail


def _take(stream: IO[bytes], size: int, *, keep: bool = False) -> bytes:
    """Read just `size` bytes; return them with `keep`, else nothing."""
    kept = []
    while size > 0:
        data = stream.read(min(size, CHUNK))
        if not data:
            raise BadArchiveError("it ends in the middle of a file")
        size -= len(data)
        if keep:
            kept.append(data)
    return b"".join(kept)


def _identity(info: Mapping[str, bytes]) -> str:
    """Parse `info/index.json` as far as every client needs it, and look at where files would go."""
    for path, _ in package_files(info):
        if path.startswith("/") or ".." in path.replace("\\", "/").split("/"):
            # rattler would panic, or even remove what is there
            raise BadArchiveError(f"its {path} would be outside of where it is installed")
    if INDEX_JSON not in info:
        raise BadArchiveError(f"it has no {INDEX_JSON}")
    try:
        fields = json.loads(info[INDEX_JSON])
    except (ValueError, RecursionError):
        raise BadArchiveError(f"its {INDEX_JSON} is no JSON") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("build_number"), int):
        raise BadArchiveError(f"its {INDEX_JSON} has no build_number")
    for key in ("name", "version", "build"):
        if not isinstance(fields.get(key), str):
            raise BadArchiveError(f"its {INDEX_JSON} has no {key}")
    return " ".join(fields[key] for key in ("name", "version", "build"))


def package_files(info: Mapping[str, bytes]) -> Iterator[tuple[str, str | None]]:
    """Yield path and sha256 of the files in `info/paths.json`, or, old ones, `info/files`.

    The sha256 is None where the bytes may differ once installed; that of a link is its target's.
    Folders are left out: an empty one proves nothing. Raises ValueError for a damaged list.
    """
    if PATHS not in info:
        lines = info.get(FILES, b"").decode("utf-8").splitlines()
        yield from ((line.strip(), None) for line in lines if line.strip())
        return
    document = None
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(info[PATHS])
    rows = document.get("paths") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("_path"), str) for row in rows
    ):
        raise ValueError(f"{PATHS} is not a list of paths")
    for row in rows:
        if row.get("path_type") != "directory":
            sha256 = row.get("sha256")
            if row.get("prefix_placeholder") or row.get("path_type") == "softlink":
                sha256 = None
            yield row["_path"], sha256.lower() if isinstance(sha256, str) else None


def read_info_files(
    file: Path,
    subject: str,
    names: AbstractSet[str],
    message: str = "cannot be read as an artifact",
) -> Mapping[str, bytes]:
    """Return these files (`info/…`) of an artifact, as far as it has them.

    Raises the error of exit code 1, of `subject` and with `message`, where it cannot be read.
    """
    try:
        if file.name.endswith(".tar.bz2"):
            with bz2.open(file) as stream:
                return walk_tar(stream, names.__contains__, most=len(names))[0]
        with zipfile.ZipFile(file) as archive:
            name = next((each for each in archive.namelist() if each.startswith("info-")), None)
            if name is None:
                raise BadArchiveError("not a .conda artifact")
            with archive.open(name) as packed:
                return _walk_zst(packed, names)
    except UNREADABLE as error:
        raise damaged_artifact(subject, f"{message}: {error}") from None


def damaged_artifact(subject: str, message: str) -> MirrorError:
    """Make the error of exit code 1 for an artifact that is damaged."""
    return MirrorError(finding_problem(subject, message, help="pixi run fetch"))
