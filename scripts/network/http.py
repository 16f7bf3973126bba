"""One GET over http(s) with requests: redirects, resumption, a body that must not drip.

Which proxy, credentials and certificates go with each URL is decided by the `Router`. Only adapters
of requests are used, no session, which would take these from the environment, and read the whole
body of a redirect, however long.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from operator import attrgetter
from typing import Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from scripts.core.channel_url import origin
from scripts.core.redact import redact
from scripts.core.typed_values import parse_int
from scripts.network.auth import DENIED
from scripts.network.content import Body
from scripts.network.errors import (
    DownloadError,
    ErrorKind,
    error_message,
    kind_of_error,
    kind_of_status,
    refusal_text,
    shortened,
    size_error,
    web_page_error,
)
from scripts.network.retry import RetryPolicy
from scripts.network.router import Route, Router
from scripts.network.tls import Trust, make_context

_MOST_REDIRECTS: Final = 10
# bytes; read1 takes what has come, and a large room lets much come at once
_CHUNK: Final = 1 << 19
_BEGINNING: Final = 4096  # bytes that are read of what a server says of a refusal
_SOON: Final = 2.0  # seconds that these may take
_AT_ONCE: Final = 16  # documents, or sizes, that are asked for side by side
_KEPT: Final = 128  # servers, and connections to each, that are kept open for the next request
_HEADERS: Final = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # a compressed transfer breaks ranges and sizes
    "User-Agent": "pixi-mirror",
}
# A server that takes GET alone, or whose URL is signed for it.
_NO_HEAD: Final = frozenset({403, 405, 501})
# What a response of urllib3 is read from; a connection that is to be closed has it no longer.
_SOCKET: Final = attrgetter("_fp.fp.raw._sock")
_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")
_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]+/(?:[0-9]+|\*)\Z")


class TlsAdapter(HTTPAdapter):
    """Trusts one TLS context alone; by itself requests adds Mozilla's certificates to any."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._tls: dict[str, Any] = {"ssl_context": context, "cert_reqs": context.verify_mode.name}
        super().__init__(pool_connections=_KEPT, pool_maxsize=_KEPT)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of connections without a proxy."""
        super().init_poolmanager(*args, **(kwargs | self._tls))

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the pools of connections through a proxy, whose certificate counts, too."""
        context = self._tls["ssl_context"]
        return super().proxy_manager_for(proxy, proxy_ssl_context=context, **kwargs, **self._tls)

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """Return where to; the TLS settings are the pool's already."""
        return super().build_connection_pool_key_attributes(*args, **kwargs)[0], {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the connection as the pool made it."""


def _prefixes(host: str) -> Iterator[str]:
    """Yield the URL prefixes that an entry of `allow-insecure-host` stands for.

    As uv reads one (crates/uv-configuration/src/trusted_host.rs): without a port, every port.
    """
    scheme, mark, rest = host.partition("://")
    authority = (rest if mark else host).partition("/")[0]
    if scheme != "http" or not mark:
        yield "https://" if authority == "*" else f"https://{authority}/"
        if ":" not in authority:
            yield f"https://{authority}:"


class HttpClient:
    """A client for any number of threads, which use the connections of each other again."""

    def __init__(self, router: Router, policy: RetryPolicy) -> None:
        """Connect to nobody yet."""
        self._router, self._policy = router, policy
        self._adapter = TlsAdapter(router.context)
        self._insecure_adapter = TlsAdapter(make_context(Trust(verify=False)))
        prefixes = (prefix for each in router.insecure_hosts for prefix in _prefixes(each.lower()))
        self._insecure = tuple(prefixes)
        # Said once, by the router, instead of once for each host.
        if self._insecure or not router.trust.verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """Close the connections."""
        self._adapter.close()
        self._insecure_adapter.close()

    def get(self, url: str, *, start: int = 0, size: int | None = None) -> Body:
        """Request a file's bytes from `start` on; the body may start at 0 all the same.

        `size` is that of the whole file in bytes, where it is known. Raises DownloadError.
        """
        response = self._follow(url, {"Range": f"bytes={start}-"} if start else {})
        return self._body(response, url, start, size)

    def get_unless(
        self, url: str, *, etag: str | None, modified: str | None, accept: str | None
    ) -> tuple[Body, Mapping[str, str]] | None:
        """Request a file and its headers; None where it has not changed (RFC 9110, 13.1).

        `etag` and `modified` are the ETag and Last-Modified of the last answer; with an ETag, the
        other is not sent. `accept` is the header of that name.
        """
        headers = {"If-None-Match": etag} if etag else {}
        if modified and not etag:
            headers["If-Modified-Since"] = modified
        was_there = bool(headers)
        response = self._follow(url, headers | ({"Accept": accept} if accept else {}))
        if response.status_code == HTTPStatus.NOT_MODIFIED and was_there:
            response.close()
            return None
        return self._body(response, url, 0, None), response.headers

    def size_of(self, url: str) -> int | None:
        """Ask for the size of a file in bytes; None where the server does not tell.

        By HEAD; where that is refused, by GET, whose body is not read. Raises DownloadError where
        the server does not answer, or refuses.
        """
        try:
            response = self._follow(url, {}, "HEAD")
        except DownloadError as error:
            if error.status not in _NO_HEAD:
                raise
            response = self._follow(url, {})
        with response:
            headers = response.headers
            if response.status_code != 200 or "Content-Encoding" in headers:
                return None
            is_page = headers.get("Content-Type", "").lower().startswith("text/html")
            return None if is_page else parse_int(headers.get("Content-Length", ""))

    def _follow(
        self, url: str, headers: Mapping[str, str], method: str = "GET"
    ) -> requests.Response:
        """Send the request and go where redirects lead; credentials stay with their host.

        Where we are denied, it is sent once more with what the index of the lock carries.
        """
        route = self._router.route(url)
        for redirects in range(_MOST_REDIRECTS + 1):
            try:
                response = self._send(route, headers, method)
            except DownloadError as error:
                if redirects and error.kind is ErrorKind.BAD_URL:
                    raise _redirected_to_no_url() from None
                if redirects:
                    raise _naming_server(error, url, route.url) from None
                is_denied = error.status in DENIED and not redirects
                private = self._router.route_of_index(url) if is_denied else None
                if private is None or private == route:
                    raise
                response = self._send(private, headers, method)
                route = private
            if not response.is_redirect:
                return response
            response.close()
            target = _redirected(route.url, response.headers["location"])
            if origin(target) == origin(route.url):
                route = Route(target, route.headers, route.proxy)
            else:
                route = self._router.redirected(target)
        raise DownloadError(ErrorKind.REDIRECT, f"redirected more than {_MOST_REDIRECTS} times")

    def _send(self, route: Route, headers: Mapping[str, str], method: str) -> requests.Response:
        request = requests.PreparedRequest()
        try:
            request.prepare(method, route.url, {**_HEADERS, **headers, **route.headers})
            is_insecure = route.url.lower().startswith(self._insecure)
            response = (self._insecure_adapter if is_insecure else self._adapter).send(
                request,
                proxies={"http": route.proxy, "https": route.proxy} if route.proxy else {},
                timeout=(self._policy.connect, self._policy.answer),
                stream=True,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
            raise self._no_answer(error, route) from None
        is_refusal = response.status_code >= 400
        with contextlib.suppress(AttributeError):  # of what has no body, or is read already
            _SOCKET(response.raw).settimeout(_SOON if is_refusal else self._policy.read)
        if is_refusal:
            with response:
                raise _refusal(response, route)
        return response

    def _no_answer(self, error: Exception, route: Route) -> DownloadError:
        kind, text, trust = kind_of_error(error), error_message(error), self._router.trust
        if kind is ErrorKind.TLS_UNTRUSTED and trust.is_explicit:
            kind = ErrorKind.TLS_UNTRUSTED_SETTING
        is_tls = isinstance(error, requests.exceptions.SSLError)
        if isinstance(error, requests.exceptions.ProxyError):
            text = f"proxy {redact(route.proxy or '')}: {text}"
            is_tls = kind not in {ErrorKind.PROXY, ErrorKind.PROXY_CREDENTIALS}
        elif is_tls:
            text = f"TLS: {text}"
        return DownloadError(kind, text, trust.details if is_tls else ())

    def _body(self, response: requests.Response, url: str, start: int, size: int | None) -> Body:
        """Check status and headers of the final response; close it where they are wrong."""
        try:
            return self._checked(response, start, size)
        except DownloadError as error:
            response.close()
            raise _naming_server(error, url, response.url) from None
        except BaseException:
            response.close()
            raise

    def _checked(self, response: requests.Response, start: int, size: int | None) -> Body:
        if response.status_code not in {200, 203, 206}:  # 203: what a proxy has looked at
            raise DownloadError(
                ErrorKind.REFUSED, _status_line(response), status=response.status_code
            )
        label = response.headers.get("Content-Encoding", "").strip().lower()
        encoding = None if label in {"identity", ""} else label
        is_page = response.headers.get("Content-Type", "").lower().startswith("text/html")
        begins = 0
        if response.status_code == 206:
            match = _RANGE.match(response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != start:
                text = "HTTP 206 with another range than was asked for"
                raise DownloadError(ErrorKind.REFUSED, text, status=416)
            begins = start
        length = parse_int(response.headers.get("Content-Length", ""))
        # One that promises too much may still have the right bytes: the digest judges.
        if length is not None and size is not None and not encoding and begins + length < size:
            other = size_error(f"{size} bytes", f"{begins + length} bytes")
            raise web_page_error() if is_page else other
        chunks = self._chunks(response)
        return Body(start=begins, encoding=encoding, is_page=is_page, chunks=chunks)

    def _chunks(self, response: requests.Response) -> Generator[bytes]:
        """Read the body; a stalled, dripping or cut one is a connection error.

        The read timeout starts anew with each byte, so the speed over a whole window counts too.
        """
        since, count = time.monotonic(), 0
        with response:
            try:
                # read1 hands on what has come; read would wait for a whole chunk, drip by drip.
                while chunk := response.raw.read1(_CHUNK, decode_content=False):
                    count += len(chunk)
                    span = time.monotonic() - since
                    if span >= self._policy.min_speed_window:
                        if count < self._policy.min_speed * span:
                            text = f"too slow: {count} bytes in {span:.0f} seconds"
                            raise DownloadError(ErrorKind.CUT_OFF, text)
                        since, count = since + span, 0
                    yield chunk
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise DownloadError(ErrorKind.CUT_OFF, error_message(error)) from None


def ask_all(
    ask: Callable[[_Key], _Answer], keys: Iterable[_Key], *, at_once: int = _AT_ONCE
) -> dict[_Key, _Answer | DownloadError]:
    """Return what `ask` returns for each key, or the DownloadError that it raised."""

    def told(key: _Key) -> tuple[_Key, _Answer | DownloadError]:
        try:
            return key, ask(key)
        except DownloadError as error:
            return key, error

    pool = ThreadPoolExecutor(max_workers=at_once)
    try:
        return dict(pool.map(told, keys))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C: not all the rest


def _naming_server(error: DownloadError, asked: str, answered: str) -> DownloadError:
    """Add to an error where a redirect led, if that is another server: it is that one's."""
    if origin(asked) == origin(answered):
        return error
    details = (*error.details, ("redirected to", redact(origin(answered))))
    return dataclasses.replace(error, details=details)


def _status_line(response: requests.Response) -> str:
    return f"HTTP {response.status_code} {shortened(response.reason or '')}".rstrip()


def _refusal(response: requests.Response, route: Route) -> DownloadError:
    """Make the error of a response of status 400 or more, with the beginning of its text."""
    body = b""
    with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
        body = response.raw.read1(_BEGINNING, decode_content=True)[:_BEGINNING]
    kind, text = response.headers.get("Content-Type", ""), _status_line(response)
    sent = (*route.headers.values(), route.url, route.proxy or "")
    said = refusal_text(body, kind, sent=sent, known=text)
    return DownloadError(
        kind_of_status(response.status_code),
        text,
        details=(("said", said),) if said is not None else (),
        status=response.status_code,
        retry_after=parse_retry_after(response.headers.get("Retry-After")),
    )


def _redirected(url: str, location: str) -> str:
    """Return where a redirect leads; refuse what is no http URL."""
    with contextlib.suppress(UnicodeError):  # http.client reads the bytes, in UTF-8, as Latin-1
        location = location.encode("latin-1").decode()
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        _ = parts.port
    except ValueError:
        raise _redirected_to_no_url() from None
    if "\\" in parts.netloc:
        raise _redirected_to_no_url()
    if parts.scheme not in {"http", "https"}:
        text = f"redirected away from http, to {redact(target)}"
        raise DownloadError(ErrorKind.REDIRECT, text)
    return target


def _redirected_to_no_url() -> DownloadError:
    return DownloadError(ErrorKind.REDIRECT, "redirected to what is no URL")


def parse_retry_after(text: str | None) -> float | None:
    """Parse Retry-After: seconds, or a date (RFC 9110, 10.2.3); None for neither."""
    try:
        return urllib3.Retry().parse_retry_after(text) if text else None
    except (urllib3.exceptions.HTTPError, ValueError, OverflowError):  # or no calendar has it
        return None
