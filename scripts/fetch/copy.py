"""Artifacts that lie in a folder already: `file://` URLs, paths, another place."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

from scripts.channel.part import PartFile, move
from scripts.core.files import CHUNK, unlink
from scripts.core.record import Digest
from scripts.fetch.failure import DownloadError, ErrorKind, mismatch
from scripts.lock.location import is_path


def local_path(url: str, root: Path) -> Path | None:
    """Return the file that a location means, None for one that is not local.

    A relative path is relative to the lock file's folder, `root`.
    """
    if is_path(url):
        return root / url
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    from urllib.request import url2pathname  # brings all of http.client and email along

    host = "" if parts.netloc in {"", "localhost"} else f"//{parts.netloc}"
    return Path(url2pathname(host + parts.path))


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
        raise DownloadError(kind, text, ("folder", str(folder))) from None
    except OSError as error:
        raise DownloadError(ErrorKind.UNREADABLE, f"{path}: {error.strerror}") from None


def place_again(
    source: Path, target: Path, part: Path, digest: Digest, *, durable: bool
) -> os.stat_result:
    """Give the place `target` the bytes of the artifact at `source` as well, whole or not at all.

    A hard link; where links are impossible a copy, which is hashed as it is written. `part` is
    the name that it has on its way. Returns the status of the new file.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    unlink(part, missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        with PartFile(part, digest.algorithm) as copy:
            for chunk in read_chunks(source):
                copy.write(chunk)
            if copy.hex != digest.hex:
                raise wrong_digest(digest, copy.hex) from None
            return copy.place(target, durable=durable)
    move(part, target)
    unlink(part, missing_ok=True)  # POSIX: to rename one link of a file to another does nothing
    return target.stat()


def wrong_digest(digest: Digest, actual: str) -> DownloadError:
    """Make the error of bytes that are not those of the lock."""
    text = f"{digest.algorithm} differs from pixi.lock"
    return DownloadError(ErrorKind.WRONG_BYTES, text, *mismatch(digest.hex, actual))
