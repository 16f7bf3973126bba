"""Artifacts that lie in a folder already: `file://` URLs and paths of the lock. Acts."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

from scripts.core.files import CHUNK
from scripts.fetch.failure import DownloadError, Fault
from scripts.lock.derive import is_path


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


def read_chunks(path: Path) -> Generator[bytes]:
    """Read a file in pieces; a missing one is an error that trying again does not help."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
            raise DownloadError(Fault.REFUSED, f"{path}: not a file")
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise DownloadError(Fault.REFUSED, f"{path}: {error.strerror}") from None
