"""Artifacts that lie in a folder already: `file://` URLs and paths."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

from scripts.core.files import CHUNK
from scripts.lock.location import is_path
from scripts.network.errors import DownloadError, ErrorKind


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
