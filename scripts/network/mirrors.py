"""Which URLs to ask instead of an upstream's: `[mirrors]` of pixi.

As rattler does it (rattler_networking/src/mirror_middleware.rs), with three differences: a query
string stays one (rattler writes its `?` as `%3F`), a user and password of the original URL are
not handed to a mirror on another host, and `file://` mirrors are copied from. A `/t/TOKEN/` in
the path goes along, as in pixi: a mirror that stands in for its upstream may need it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from scripts.core.errors import usage_error
from scripts.core.redact import redact
from scripts.network.pixi_config_layers import Mirrors

_PORTS: Final = {"http": 80, "https": 443}


def candidates(mirrors: Mirrors, url: str) -> tuple[str, ...]:
    """Return the URLs to ask for a canonical one, in the order of the configuration.

    The longest prefix that fits decides alone; upstream itself is asked only where no prefix
    fits, or where it is named among the replacements. Raises the error of exit code 2 for a
    prefix with an empty list, which forbids what is below it.
    """
    if "://" not in url:
        return (url,)
    parts = urlsplit(url)
    path = parts.path or "/"
    fitting = [
        (prefix, replacements)
        for prefix, replacements in mirrors
        if origin(prefix) == origin(url) and path.startswith(urlsplit(prefix).path)
    ]
    if not fitting:
        return (url,)
    prefix, replacements = max(fitting, key=lambda each: len(urlsplit(each[0]).path))
    if not replacements:
        raise usage_error(
            f"mirrors.{redact(prefix)}",
            "names no mirror, so nothing below it can be fetched",
            help="name a mirror there, or the prefix itself to ask upstream",
        )
    rest = path[len(urlsplit(prefix).path) :].lstrip("/")
    return tuple(_joined(each, rest, parts) for each in replacements)


def _joined(mirror: str, rest: str, original: SplitResult) -> str:
    base = urlsplit(mirror)
    netloc, user = base.netloc, original.netloc.rpartition("@")[0]
    if user and "@" not in netloc and origin(mirror) == origin(original.geturl()):
        netloc = f"{user}@{netloc}"  # upstream itself, named as the last of its own mirrors
    path = f"{base.path.rstrip('/')}/{rest}"
    return base._replace(netloc=netloc, path=path, query=original.query or base.query).geturl()


@functools.lru_cache(maxsize=1024)  # asked several times for each artifact
def origin(url: str) -> str:
    """Return scheme, host and port, without user and password, as rattler's URLs compare."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    default = _PORTS.get(parts.scheme)
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{host.rpartition(':')[0] if port and port == default else host}"


def fails_over(status: int | None) -> bool:
    """Tell whether the next mirror is asked after this HTTP status; None: no answer at all.

    Only server errors and transport errors; 404 does not: what a mirror lacks is missing.
    """
    return status is None or 500 <= status <= 599


def fewest_failures_first(urls: Sequence[str], failures: Mapping[str, int]) -> tuple[str, ...]:
    """Put the mirrors that failed least in front, else keep the order.

    `failures` counts, for each `origin`, what `fails_over` said yes to; so a mirror that is down
    is not asked first for each of a thousand artifacts.
    """
    return tuple(sorted(urls, key=lambda url: failures.get(origin(url), 0)))
