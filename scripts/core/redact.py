"""Take secrets out of URLs before anyone sees them. Decides; does no I/O."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_USER_INFO: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s?#'\"<>]*@")
# anaconda.org's tokens (conda/core/url.py); `/t/` stays, as rattler's redaction keeps it.
_TOKEN: Final = re.compile(r"/t/[^/\s?#'\"<>]+")
_QUERY: Final = re.compile(r"(?P<url>[A-Za-z][A-Za-z0-9+.-]*://[^\s?#'\"<>]*)\?[^\s#'\"<>]*")

_HIDDEN: Final = "********"


def redact(text: str) -> str:
    """Hide user names, passwords, tokens and query strings of every URL within a text.

    A query string may be a signature (`?sig=…`), so it is hidden whole.
    """
    if "://" not in text and "/t/" not in text:
        return text
    text = _USER_INFO.sub(rf"\g<scheme>{_HIDDEN}@", text)
    text = _QUERY.sub(rf"\g<url>?{_HIDDEN}", text)
    return _TOKEN.sub(f"/t/{_HIDDEN}", text)


def without_secrets(url: str) -> str:
    """Return the URL with user, password, token segment, query and fragment removed."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    path = _TOKEN.sub("", parts.path)
    return urlunsplit((parts.scheme, host, path, "", ""))
