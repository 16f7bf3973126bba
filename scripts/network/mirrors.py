"""`[mirrors]` of pixi: the URLs to request in place of an upstream's.

As rattler does it (rattler_networking/src/mirror_middleware.rs), with three differences: a query
string stays one (rattler writes its `?` as `%3F`), a user and password of the original URL are
not handed to a mirror on another host, and `file://` mirrors are copied from. A `/t/TOKEN/` in
the path goes along, as in pixi: a mirror that stands in for its upstream may need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import quote, urlsplit

from scripts.core.channel_url import origin
from scripts.core.errors import usage_error
from scripts.core.redact import redact

Mirrors = tuple[tuple[str, tuple[str, ...]], ...]
"""Pairs of a URL prefix and its replacements in order, each ending in a slash."""


def mirror_urls(
    mirrors: Mirrors, url: str, files: Mapping[str, str] = MappingProxyType({})
) -> tuple[str, ...]:
    """Return the URLs to request for a canonical one, in the order of the configuration.

    Only the longest matching prefix counts; upstream itself is asked only where none matches, or
    where it is among the replacements. Raises the error of exit code 2 for a prefix with an empty
    list, which forbids what is below it; `files` tell, by prefix, where that is written.
    """
    rule = mirror_rule(mirrors, url)
    if rule is None:
        return (url,)
    prefix, replacements = rule
    path, below = url_path(url), urlsplit(prefix).path
    if not replacements:
        raise usage_error(
            f"mirrors.{redact(prefix)}",
            "names no mirror, so nothing below it can be fetched",
            *([("in", files[prefix])] if prefix in files else []),
            help="name a mirror there, or the prefix itself to ask upstream",
        )
    return tuple(_joined(each, path[len(below) :].lstrip("/"), url) for each in replacements)


def mirror_rule(mirrors: Mirrors, url: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the longest prefix that matches a URL, and its replacements; None: none does."""
    if "://" not in url:
        return None
    path = url_path(url)
    fitting = {
        urlsplit(prefix).path: (prefix, replacements)
        for prefix, replacements in mirrors
        if origin(prefix) == origin(url) and path.startswith(urlsplit(prefix).path)
    }
    return fitting[max(fitting, key=len)] if fitting else None


def _joined(mirror: str, rest: str, url: str) -> str:
    base, original = urlsplit(mirror), urlsplit(url)
    netloc, user = base.netloc, original.netloc.rpartition("@")[0]
    if user and "@" not in netloc and origin(mirror) == origin(url):
        netloc = f"{user}@{netloc}"  # upstream itself, named as the last of its own mirrors
    path = f"{base.path.rstrip('/')}/{rest}"
    return base._replace(netloc=netloc, path=path, query=original.query or base.query).geturl()


def url_path(url: str) -> str:
    """Return the path of a URL as rattler's URLs have it; what is encoded stays so."""
    return quote(urlsplit(url).path, safe="!$%&'()*+,/:;=@[]^|") or "/"
