"""One GET over http(s) with requests: redirects, resumption, credentials.

Nothing is taken from the surroundings here (`trust_env` is off): which proxy, which
credentials and which certificates to use is decided for each URL by its `Routes`.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urljoin, urlsplit

from scripts.core.parse_int import parse_digits
from scripts.core.redact import redact
from scripts.fetch.failure import DownloadError, ErrorKind, Patience, kind_of_status, mismatch
from scripts.fetch.reason import is_reached, proxy_kind, said, sentence, shortened, tls_kind
from scripts.network.tls_choice import Trust

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

_MOST_REDIRECTS: Final = 10
# bytes; read1 takes what has come, and a large room lets much come at once
_CHUNK: Final = 1 << 19
_BEGINNING: Final = 4096  # bytes that are read of what a server says of a refusal
_SOON: Final = 2.0  # seconds
_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]+/(?:[0-9]+|\*)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to send one request: the URL without its credentials, headers, proxy."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    proxy: str | None = None


class Routes(Protocol):
    """Decides how a URL is requested."""

    def route(self, url: str) -> Route:
        """Return the route of the first request, credentials included."""

    def redirected(self, url: str) -> Route:
        """Return the route to another host that a server sent us to: no credentials."""

    def adapter(self) -> HTTPAdapter:
        """Make an adapter that trusts the right certificates and nothing of the environment."""

    @property
    def trust(self) -> Trust:
        """Which certificates these are, and who said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A body about to be read: where it starts, and what identifies this version of the file.

    `encoding` is a Content-Encoding that nobody asked for, which may be true or not; `is_page`:
    it is called a web page. Iterate over `chunks`, or the connection stays open.
    """

    start: int
    etag: str | None
    encoding: str | None
    is_page: bool
    chunks: Generator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to ask for: the bytes from `start` on, of the version that had this `etag`.

    `size` is what the whole file must have, where that is known.
    """

    start: int = 0
    etag: str | None = None
    size: int | None = None


class Http:
    """A client for one thread: one adapter of requests, connections kept open.

    A session around it would keep cookies, read netrc, and read the whole body of a redirect,
    however long: nothing that we want, for half of the time that a request takes.
    """

    def __init__(self, router: Routes, patience: Patience) -> None:
        """Make the adapter."""
        self._router = router
        self._patience = patience
        self._adapter = router.adapter()

    def close(self) -> None:
        """Close the connections."""
        self._adapter.close()

    def get(self, url: str, wish: Wish) -> Body:
        """Ask for a file; its body may start at 0 though more was wished. Raises DownloadError."""
        response = self._follow(url, _headers(wish))
        try:
            return self._body(response, wish)
        except BaseException:
            response.close()
            raise

    def _follow(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Send the request and go where redirects lead; credentials stay with their host."""
        route = self._router.route(url)
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._send(route, headers)
            if not response.is_redirect:
                return response
            response.close()
            target = _redirected(route.url, response.headers["location"])
            if _origin(target) == _origin(route.url):
                route = Route(url=target, headers=route.headers, proxy=route.proxy)
            else:
                route = self._router.redirected(target)
        raise DownloadError(ErrorKind.REDIRECT, f"redirected more than {_MOST_REDIRECTS} times")

    def _send(self, route: Route, headers: Mapping[str, str]) -> requests.Response:
        import requests
        import urllib3.exceptions

        try:
            request = requests.PreparedRequest()
            request.prepare_method("GET")
            request.prepare_url(route.url, None)
            request.prepare_headers({**headers, **route.headers})
            response = self._adapter.send(
                request,
                proxies={"http": route.proxy, "https": route.proxy} if route.proxy else {},
                timeout=(self._patience.connect, self._patience.read),
                stream=True,
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise DownloadError(ErrorKind.BAD_URL, sentence(error)) from None
        except requests.exceptions.SSLError as error:
            trust = self._router.trust
            kind = tls_kind(error, by_setting=trust.written)
            raise DownloadError(kind, f"TLS: {sentence(error)}", *trust.facts) from None
        except requests.exceptions.ProxyError as error:
            text = f"proxy {redact(route.proxy or '')}: {sentence(error)}"
            raise DownloadError(proxy_kind(error), text) from None
        except requests.exceptions.RequestException as error:
            kind = ErrorKind.CUT_OFF if is_reached(error) else ErrorKind.UNREACHED
            raise DownloadError(kind, sentence(error)) from None
        except (urllib3.exceptions.HTTPError, UnicodeError) as error:  # a host that is no name
            raise DownloadError(ErrorKind.BAD_URL, sentence(error)) from None
        if response.status_code >= 400:
            with response:
                raise _refusal(response, route)
        return response

    def _body(self, response: requests.Response, wish: Wish) -> Body:
        """Check status and headers of the final response."""
        if response.status_code not in {200, 206}:
            text = f"HTTP {response.status_code} {shortened(response.reason or '')}".rstrip()
            raise DownloadError(ErrorKind.REFUSED, text, status=response.status_code)
        encoding: str | None = response.headers.get("Content-Encoding", "").strip().lower()
        encoding = None if encoding in {"identity", ""} else encoding
        is_page = response.headers.get("Content-Type", "").lower().startswith("text/html")
        begins = 0
        if response.status_code == 206:
            match = _RANGE.match(response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != wish.start:
                text = "HTTP 206 with another range than was asked for"
                raise DownloadError(ErrorKind.REFUSED, text, status=416)
            begins = wish.start
        length = parse_digits(response.headers.get("Content-Length", ""))
        is_length_known = length is not None and wish.size is not None and encoding is None
        if is_length_known and begins + (length or 0) != wish.size:
            if is_page:
                raise web_page_error()
            raise DownloadError(
                ErrorKind.WRONG_BYTES,
                "size differs from pixi.lock",
                *mismatch(f"{wish.size} bytes", f"{begins + (length or 0)} bytes"),
            )
        return Body(
            start=begins,
            etag=_strong(response.headers.get("ETag")),
            encoding=encoding,
            is_page=is_page,
            chunks=self._chunks(response),
        )

    def _chunks(self, response: requests.Response) -> Generator[bytes]:
        """Read the body; a stalled, dripping or cut one is a connection error."""
        import urllib3.exceptions

        watch = _Speed(self._patience)
        with response:
            try:
                # read1 hands on what has come; read would wait for a whole chunk, drip by drip.
                while chunk := response.raw.read1(_CHUNK, decode_content=False):
                    watch.saw(len(chunk))
                    yield chunk
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise DownloadError(ErrorKind.CUT_OFF, sentence(error)) from None


class _Speed:
    """Notices a body that only drips: the read timeout starts anew with each byte."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._since = time.monotonic()
        self._bytes = 0

    def saw(self, count: int) -> None:
        """Count bytes; raise where a whole span went by below the least speed."""
        self._bytes += count
        span = time.monotonic() - self._since
        if span < self._patience.slow_span:
            return
        if self._bytes < self._patience.least_speed * span:
            raise DownloadError(
                ErrorKind.CUT_OFF, f"too slow: {self._bytes} bytes in {span:.0f} seconds"
            )
        self._since += span
        self._bytes = 0


def web_page_error() -> DownloadError:
    """Make the error of a page that came instead of a file."""
    text = "a web page came instead of the artifact (a login page?)"
    return DownloadError(ErrorKind.WEB_PAGE, text)


def _refusal(response: requests.Response, route: Route) -> DownloadError:
    """Make the error of a response that is none, with the beginning of what the server says."""
    status, reason = response.status_code, shortened(response.reason or "")
    text = f"HTTP {status} {reason}".rstrip()
    words = said(
        _beginning(response),
        response.headers.get("Content-Type", ""),
        hidden=(*route.headers.values(), *(route.url, route.proxy or "")),
        known=text,
    )
    return DownloadError(
        kind_of_status(status),
        text,
        *(() if words is None else (("said", words),)),
        status=status,
        retry_after=_retry_after(response.headers.get("Retry-After")),
    )


def _beginning(response: requests.Response) -> bytes:
    """Read the first bytes of a body, as far as they come soon."""
    import urllib3.exceptions

    body, until = b"", time.monotonic() + _SOON
    with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
        while len(body) < _BEGINNING and time.monotonic() < until:
            chunk = response.raw.read1(_BEGINNING, decode_content=True)
            if not chunk:
                break
            body += chunk
    return body[:_BEGINNING]


def _headers(wish: Wish) -> dict[str, str]:
    """Ask for the bytes as they are: a compressed transfer breaks ranges and sizes."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "pixi-mirror"}
    if wish.start:
        headers["Range"] = f"bytes={wish.start}-"
        if wish.etag:
            headers["If-Range"] = wish.etag
    return headers


def _strong(etag: str | None) -> str | None:
    """Keep only a tag that promises equal bytes (RFC 9110, 8.8.1)."""
    return etag if etag and not etag.startswith("W/") else None


def _redirected(url: str, location: str) -> str:
    """Return where a redirect leads; refuse what is no http URL."""
    try:
        target = urljoin(url, location)
        _origin(target)
    except ValueError:
        raise DownloadError(ErrorKind.REDIRECT, "redirected to what is no URL") from None
    if urlsplit(target).scheme not in {"http", "https"}:
        text = f"redirected away from http, to {redact(target)}"
        raise DownloadError(ErrorKind.REDIRECT, text)
    return target


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _retry_after(text: str | None) -> float | None:
    """Read Retry-After: seconds, or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    seconds = parse_digits(text.strip())
    if seconds is not None:
        return float(seconds)
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        wanted = parsedate_to_datetime(text)
        if wanted.tzinfo is None:
            wanted = wanted.replace(tzinfo=UTC)
        return max(0.0, (wanted - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):  # no date, or one that no calendar has
        return None
