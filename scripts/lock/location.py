"""Locations as a lock writes them: URLs, and paths relative to the lock file.

The rules are those of rattler_lock (src/utils/derived_fields.rs).
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from scripts.core.channel_url import origin
from scripts.core.redact import without_secrets
from scripts.core.subdir import is_known_subdir

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters up: C:/ is a drive
_WITH_SUBDIR: Final = frozenset({"http", "https", "file"})


@dataclass(frozen=True, slots=True)
class Location:
    """The parts of a location: its last segment decoded, the subdir and channel it shows."""

    last: str
    subdir: str | None = None
    channel: str | None = None


@functools.lru_cache(maxsize=2)  # a row is looked at twice
def parse_location(location: str) -> Location:
    """Take a location of the lock apart."""
    url = _URL.match(location)
    if url is None:
        return Location(re.split(r"[/\\]", location)[-1])
    head, last = _head(location)
    channel = sys.intern(head.rpartition("/")[0])
    folder = head.rpartition("/")[2] if url[1].lower() in _WITH_SUBDIR else ""
    subdir = sys.intern(folder) if is_known_subdir(folder) else None
    return Location(unquote(last), subdir, channel if len(channel) > url.end() else None)


def url_subdir(location: str) -> str | None:
    """Return the subdir that a URL of any scheme leads into; a record may have another one."""
    folder = _head(location)[0].rpartition("/")[2]
    return folder if is_known_subdir(folder) and not is_path(location) else None


def keeps_path(location: str, path: PurePosixPath) -> bool:
    """Tell whether a path ends with the URL's subdir and file name, which `[mirrors]` keeps."""
    asked = location.split("/")[-2:]  # a query or fragment as well: a part of the name to pixi
    return tuple(map(unquote, asked)) == path.parts[-2:]


def _head(location: str) -> tuple[str, str]:
    """Split a location before its last segment; what follows the path is left out."""
    head, _, last = location.partition("#")[0].partition("?")[0].rpartition("/")
    return head, last


def is_path(location: str) -> bool:
    """Tell whether a location is a path rather than a URL."""
    return _URL.match(location) is None


def is_remote(location: str) -> bool:
    """Tell whether a location is a URL of any scheme but `file`, which `[mirrors]` can replace."""
    return not is_path(location) and urlsplit(location).scheme != "file"


def local_path(url: str, root: Path) -> Path | None:
    """Return the file on this machine that a location names; None where it is elsewhere.

    A relative path is relative to the lock file's folder, `root`.
    """
    if is_path(url):
        return root / url
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    host = "" if parts.netloc in {"", "localhost"} else f"//{parts.netloc}"
    if os.name != "nt":  # url2pathname fails there for a host, from Python 3.14 on
        return Path(unquote(host + parts.path))
    from urllib.request import url2pathname  # brings all of http.client and email along

    return Path(url2pathname(host + parts.path))


def is_sound_url(location: str) -> bool:
    """Tell whether the host and port of a URL make sense; those of a path always do.

    rattler's URLs cannot be anything else, and Python's fail only when somebody looks closer.
    """
    url = _URL.match(location)
    if url is None:  # Python may see a host all the same: `//[`, `c://[`
        return _is_sound(location)
    authority = re.split(r"[/?#]", location[url.end() :], maxsplit=1)[0]
    return _is_sound(f"//{authority}")


@functools.lru_cache(maxsize=256)
def _is_sound(text: str) -> bool:
    try:
        return urlsplit(text).port != 0
    except ValueError:
        return False


def is_no_url(text: str) -> bool:
    """Tell whether it is a path, or what nobody can ask for."""
    return is_path(text) or not is_sound_url(text)


def plain_url(url: str) -> str:
    """Write a URL so that two of them that lead to one file are equal strings, secrets left out.

    What is none leads nowhere, so it is equal to nothing else.
    """
    if is_no_url(url):
        return url
    plain = without_secrets(url)
    path = urlsplit(plain).path
    if "/." in path:  # two slashes side by side stay, in every URL
        path = posixpath.normpath(path)
    return f"{origin(plain)}{unquote(path).rstrip('/')}"
