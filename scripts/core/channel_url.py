"""Channel base URLs (CEP 26), how URLs compare, and the folder each channel gets in a mirror."""

from __future__ import annotations

import contextlib
import functools
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from scripts.core.redact import without_secrets

ANACONDA: Final = "https://conda.anaconda.org"
_HOST: Final = ANACONDA.partition("://")[2]
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
PYPI_FOLDER: Final = "_pypi"  # below the channel folder: no channel's name
_ODD: Final = re.compile(r"[^A-Za-z0-9_.+~=@-]")
# Versions have `!` in them, and a direct URL's copy `#sha256=…`.
_ODD_IN_FILES: Final = re.compile(r"[^A-Za-z0-9_.+~=@!#&,() -]")
_LONGEST: Final = 255 - len(".metadata")  # ASCII; file systems take names of 255 bytes
# Of a whole path, in characters and in folders; a disk takes some more of both.
_LONGEST_PATH: Final = 1000
_DEEPEST: Final = 64
CUT_BY_CONDA: Final = (
    "has a folder called t in its path: conda takes that and the name behind it for a token, in"
    " file:// URLs, too, and asks without them"
)
# Windows takes these for devices, whatever follows the dot.
_DEVICE: Final = re.compile(r"(?i)\A(con|prn|aux|nul|(?:com|lpt)[0-9])(?=\.|\Z)")


def channel_base_url(text: str) -> str:
    """Write a channel as a URL without trailing slash; a bare name is one of conda.anaconda.org.

    Secrets in it stay: this is the URL for requests, not for people or paths.
    """
    text = text.strip().rstrip("/")
    if "://" in text:
        return text
    if text.startswith(("/", "./", "..", "~", "\\\\")) or re.match(r"[A-Za-z]:[\\/]", text):
        return text
    return f"{ANACONDA}/{text}"


def conda_name(url: str) -> str:
    """Return what conda calls a channel of this URL: `nvidia/label/x`, or the URL; no secrets."""
    return without_secrets(url).removeprefix(f"{ANACONDA}/")


@functools.lru_cache(maxsize=1024)  # asked several times for each artifact
def origin(url: str) -> str:
    """Return scheme, host and port, without user and password, as rattler's URLs compare.

    A name in letters of other scripts is written as DNS has it.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    default = DEFAULT_PORTS.get(parts.scheme)
    host = parts.netloc.rpartition("@")[2].lower()
    if not host.isascii():
        with contextlib.suppress(UnicodeError):  # no name, then
            host = host.encode("idna").decode()
    return f"{parts.scheme}://{host.rpartition(':')[0] if port and port == default else host}"


@functools.lru_cache(maxsize=256)
def channel_folder(url: str) -> str:
    """Name the folder of a channel in the by-channel layout, as a relative POSIX path.

    `conda-forge` and `nvidia/label/cuda-11.8.0` for channels of conda.anaconda.org, `host/path`
    for other hosts (`host_8080/path` with a port), `local/path` for files. Never holds a user,
    password, token, colon, `.` or `..`.
    """
    return "/".join(_segments(url)) or "channel"


def is_conda_forge(channel: str | None) -> bool:
    """Tell whether pixi takes a channel for conda-forge (crates/pypi_mapping/src/channel.rs)."""
    return urlsplit(channel or "").path.startswith("/conda-forge")


def names_folder(url: str) -> bool:
    """Tell whether a folder can be named after a channel: not after a bare conda.anaconda.org."""
    return _segments(url)[:1] not in ([], [PYPI_FOLDER])


def mirror_path_segments(url: str) -> list[str] | None:
    """Turn the location of one file into folders and a file name; None where no disk takes them.

    They are its host (`host_8080` with a port) and the decoded path there, so that a static server
    can answer for that host; of a local file `local` and its path.
    """
    scheme, mark, rest = without_secrets(url, of_pypi=True).partition("://")
    host, _, path = rest.partition("/")
    if mark and scheme != "file":
        first, segments = _safe(host.lower()), unquote(path).split("/")
    else:
        *folders, last = (unquote(path) if mark else url.replace("\\", "/")).split("/")
        first, segments = "local", [*map(_safe, folders), last]
    segments = [first, *(each for each in segments if each not in {"", "."})]
    is_sound = first != "" and 1 < len(segments) <= _DEEPEST and all(map(_can_be_file, segments))
    return segments if is_sound and len("/".join(segments)) <= _LONGEST_PATH else None


def _can_be_file(name: str) -> bool:
    """Tell whether every file system takes a name unchanged, and with `.metadata` (PEP 658)."""
    is_kept = name == name.strip() and _safe(name, _ODD_IN_FILES) == name
    return is_kept and len(name) <= _LONGEST


def _segments(url: str) -> list[str]:
    plain = without_secrets(channel_base_url(url))
    scheme, mark, rest = plain.partition("://")
    host, _, path = rest.partition("/") if mark else ("", "", plain.replace("\\", "/"))
    segments = [_safe(unquote(segment)) for segment in path.split("/")]
    segments = [segment for segment in segments if segment]
    if not mark or scheme == "file":
        return ["local", *segments]
    if host.lower() != _HOST:
        host = f"{scheme}_{host}" if scheme in {"s3", "oci"} else host
        segments.insert(0, _safe(host.lower()) or "_")
    return segments


def _safe(segment: str, odd: re.Pattern[str] = _ODD) -> str:
    """Make a path segment that is safe on every file system; empty for `.` and `..`."""
    segment = odd.sub("_", segment)
    if segment.strip(".") == "":
        return ""
    if segment.endswith("."):  # which Windows drops
        segment = segment[:-1] + "_"
    return _DEVICE.sub(r"\1_", segment)


def is_cut_by_conda(url: str) -> bool:
    """Tell whether conda takes a part of a channel's URL for a token, and asks without it.

    It does so with `/t/` and what follows, of any scheme and anywhere
    (conda/common/url.py, `split_anaconda_token`).
    """
    return "/t/" in f"{url}/"
