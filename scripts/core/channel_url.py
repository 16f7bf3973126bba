"""Channel base URLs (CEP 26) and the folder each gets in a mirror. Decides; does no I/O."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from scripts.core.redact import without_secrets

ANACONDA: Final = "https://conda.anaconda.org"
_ODD: Final = re.compile(r"[^A-Za-z0-9_.+~=@-]")


def channel_base_url(text: str) -> str:
    """Write a channel as a URL without trailing slash; a bare name is one of conda.anaconda.org.

    Secrets in it stay: this is the URL for requests, not for people or paths.
    """
    text = text.strip().rstrip("/")
    if "://" in text:
        return text
    if text.startswith(("/", "./", "../", "~")) or re.match(r"[A-Za-z]:[\\/]", text):
        return text
    return f"{ANACONDA}/{text}"


def channel_folder(url: str) -> str:
    """Name the folder of a channel in the by-channel layout, as a relative POSIX path.

    `conda-forge` and `nvidia/label/cuda-11.8.0` for channels of conda.anaconda.org, `host/path`
    for other hosts (`host_8080/path` with a port), `local/path` for files. Never holds a user,
    password, token, colon, `.` or `..`.
    """
    plain = without_secrets(channel_base_url(url))
    parts = urlsplit(plain)
    is_url = "://" in plain
    path = parts.path if is_url else plain.replace("\\", "/")
    segments = [_safe(unquote(segment)) for segment in path.split("/")]
    segments = [segment for segment in segments if segment]
    if not is_url or parts.scheme == "file":
        return "/".join(["local", *segments])
    if parts.netloc != urlsplit(ANACONDA).netloc:
        host = f"{parts.scheme}_{parts.netloc}" if parts.scheme in {"s3", "oci"} else parts.netloc
        segments.insert(0, _safe(host.lower()))
    return "/".join(segments) or "channel"


def _safe(segment: str) -> str:
    """Make one path segment that no file system can misread; empty for `.` and `..`."""
    segment = _ODD.sub("_", segment)
    return "" if segment.strip(".") == "" else segment
