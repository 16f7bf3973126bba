"""A real HTTP server on loopback that serves a folder and misbehaves where it is told to.

A folder below it is its index.html; or index.v1_json, where there is one and the client takes it
(PEP 691). `upstream.statuses` are those of the answers, in the order in which they were sent.

    with Upstream(folder) as upstream:
        upstream.once("/linux-64/*.conda", status(503), truncated(100))
        upstream.always("/noarch/*", late(0.1))
        …  # requests to upstream.url
        assert upstream.paths == […]

The first requests that match get the replies of `once`, one each; then `always` holds; what
matches nothing is served as it should be. A request with an absolute URL (the server stands in
for a proxy) is served by its path alone. CONNECT is refused: with 502, or as it is told.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import socket
import socketserver
import ssl
import struct
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from tests.support.replies import Ending, Ranges, Reply, status

_MOST_NOISE: Final = 256 << 20  # bytes of an endless body, lest a test fill the disk
_PAGE_JSON: Final = "application/vnd.pypi.simple.v1+json"
_TYPES: Final = {".html": "text/html", ".v1_json": _PAGE_JSON}
_RANGE: Final = re.compile(r"bytes=([0-9]+)-([0-9]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came; `target` as sent, `path` decoded and bare, header names lower case."""

    method: str
    target: str
    path: str
    headers: Mapping[str, str]


class Upstream:
    """The server; a context manager.

    `authorization`, where set, is the Authorization header without which all is 401. `token`,
    where set, is that of a `/t/TOKEN` in front of each path, without which all is 403; rules
    match the path behind it. `tls` makes it an https server.
    """

    def __init__(self, folder: Path, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a free port; nothing is answered before the context is entered."""
        self.folder = folder
        self.authorization: str | None = None
        self.token: str | None = None
        self.requests: list[Request] = []
        self.statuses: list[int] = []
        self.most_at_once = 0
        self.closing = threading.Event()
        self._under_way = 0
        self._once: list[tuple[str, list[Reply]]] = []
        self._always: list[tuple[str, Reply]] = []
        self._lock = threading.Lock()
        self._counted = threading.Condition()
        self._server = _Server(self, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.port: int = self._server.server_address[1]
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every connection and thread; raise what went wrong in the server itself."""
        self.closing.set()
        self._server.shutdown()
        self._server.end_connections()
        self._server.server_close()
        self._thread.join()
        if error is None and self._server.errors:
            raise self._server.errors[0]

    @property
    def paths(self) -> list[str]:
        """The paths requested so far, in order."""
        return [request.path for request in self.requests]

    def once(self, pattern: str, *replies: Reply) -> None:
        """Give the next requests whose path matches (as in a shell) these replies, one each."""
        with self._lock:
            self._once.append((pattern, list(replies)))

    def always(self, pattern: str, reply: Reply) -> None:
        """Give this reply to all requests whose path matches; a later rule goes first."""
        with self._lock:
            self._always.insert(0, (pattern, reply))

    def behave(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._once.clear()
            self._always.clear()

    def reply_to(self, request: Request) -> Reply:
        """Record a request and choose its reply."""
        with self._lock:
            self.requests.append(request)
            for pattern, replies in self._once:
                if replies and fnmatchcase(request.path, pattern):
                    return replies.pop(0)
            for pattern, reply in self._always:
                if fnmatchcase(request.path, pattern):
                    return reply
        return Reply()

    def count(self, change: int) -> None:
        """Keep `most_at_once`: the most requests that were being answered at one time."""
        with self._counted:
            self._under_way += change
            self.most_at_once = max(self.most_at_once, self._under_way)
            self._counted.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until so many requests were being answered at one time; in vain, half a minute."""
        with self._counted:
            self._counted.wait_for(lambda: self.most_at_once >= count, timeout=30)


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128
    daemon_threads = False  # joined by server_close
    block_on_close = True

    def __init__(self, upstream: Upstream, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.errors: list[BaseException] = []
        self._tls = tls
        self._open: set[Any] = set()

    def get_request(self) -> tuple[Any, Any]:
        connection, address = self.socket.accept()
        if self._tls is not None:  # the handshake waits for the connection's own thread
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self._open.discard(request)

    def end_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
                if os.name == "nt":  # where that does not wake a thread that reads from it
                    socket.close(connection.detach())

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        # A client that goes away, or distrusts our certificate, is what some tests are about.
        if error is not None and not isinstance(error, OSError):
            self.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        upstream = self.server.upstream
        upstream.count(1)
        try:
            self._answer(upstream)
        finally:
            upstream.count(-1)

    do_HEAD = do_GET  # noqa: N815  # the name is http.server's

    def do_CONNECT(self) -> None:
        headers = {name.lower(): text for name, text in self.headers.items()}
        request = Request(method="CONNECT", target=self.path, path=self.path, headers=headers)
        code = self.server.upstream.reply_to(request).status or 502
        self.close_connection = True
        self._send(code, {"Content-Length": "0"}, b"", Reply())

    def _answer(self, upstream: Upstream) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        prefix = f"/t/{upstream.token}/"
        has_token = path.startswith(prefix)
        if has_token:
            path = path[len(prefix) - 1 :]
        request = Request(
            method=self.command,
            target=self.path,
            path=path,
            headers={name.lower(): text for name, text in self.headers.items()},
        )
        reply = upstream.reply_to(request)
        if upstream.token is not None and not has_token:
            reply = status(403)
        elif upstream.authorization not in {None, request.headers.get("authorization")}:
            reply = status(401, ("WWW-Authenticate", 'Basic realm="upstream"'))
        upstream.wait_for(reply.together)
        if reply.after is not None:
            reply.after.wait(60)
        if reply.wait:
            upstream.closing.wait(reply.wait)
        code, headers, body = self._right_answer(upstream, request, reply)
        if reply.body is not None:
            body = reply.body
        if reply.gzip:
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(body))
        headers.update(reply.headers)
        if not reply.has_length:
            headers.pop("Content-Length", None)
            self.close_connection = True
        upstream.statuses.append(reply.status or code)
        self._send(reply.status or code, headers, body, reply)

    def _right_answer(
        self, upstream: Upstream, request: Request, reply: Reply
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer as a good server does, Range requests as the reply says."""
        if reply.body is not None:
            return 200, {}, b""
        file = upstream.folder.joinpath(*request.path.strip("/").split("/"))
        if file.is_dir():
            has_json = (file / "index.v1_json").is_file()
            takes_json = _PAGE_JSON in request.headers.get("accept", "")
            file /= "index.v1_json" if has_json and takes_json else "index.html"
        if ".." in request.path.split("/") or not file.is_file():
            return 404, {"Content-Type": "text/plain"}, b"not found\n"
        body, changed = file.read_bytes(), file.stat().st_mtime_ns
        tag = f'"{changed:x}-{len(body):x}"'
        headers = {
            "Content-Type": _TYPES.get(file.suffix, "application/octet-stream"),
            "ETag": tag,
            "Last-Modified": self.date_time_string(changed // 10**9),
        }
        if not reply.has_etag:
            del headers["ETag"]
        asked = request.headers.get("if-none-match"), request.headers.get("if-modified-since")
        if asked[0] == tag or (asked[0] is None and asked[1] == headers["Last-Modified"]):
            return 304, {key: headers[key] for key in ("ETag",) if key in headers}, b""
        if reply.ranges is Ranges.IGNORED:
            return 200, headers, body
        headers["Accept-Ranges"] = "bytes"
        found = _RANGE.fullmatch(request.headers.get("range", ""))
        same = request.headers.get("if-range") in {None, tag, headers["Last-Modified"]}
        if found is None or not (same or reply.ranges is Ranges.SPLICED):
            return 200, headers, body
        return _part(body, found, headers, reply.ranges)

    def _send(self, code: int, headers: Mapping[str, str], body: bytes, reply: Reply) -> None:
        self.send_response(code)
        for name, text in headers.items():
            self.send_header(name, text)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        whole = reply.stop_after is None
        view = memoryview(body)[: reply.stop_after]
        piece = reply.piece or max(len(view), 1)
        for start in range(0, len(view), piece):
            self.wfile.write(view[start : start + piece])
            if reply.pause and self.server.upstream.closing.wait(reply.pause):
                break
        if reply.endless:
            self._send_noise()
        if not whole:
            self._end(reply.ending)

    def _send_noise(self) -> None:
        noise = bytes(1 << 16)
        for _ in range(0, _MOST_NOISE, len(noise)):
            if self.server.upstream.closing.is_set():
                return
            self.wfile.write(noise)

    def _end(self, ending: Ending) -> None:
        self.close_connection = True
        if ending is Ending.STALL:
            self.server.upstream.closing.wait()
        elif ending is Ending.RESET:
            # Closed without lingering, the system sends RST in place of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.close(self.connection.detach())


def _part(
    body: bytes, asked: re.Match[str], headers: dict[str, str], ranges: Ranges
) -> tuple[int, dict[str, str], bytes]:
    """Answer a Range request with a part."""
    first, last = int(asked[1]), int(asked[2] or len(body) - 1)
    last = min(last, len(body) - 1)
    if first > last:
        return 416, headers | {"Content-Range": f"bytes */{len(body)}"}, b""
    start = first // 2 if ranges in {Ranges.ELSEWHERE, Ranges.LIED} else first
    said = first if ranges is Ranges.LIED else start
    part = body[start : last + 1 - (said - start)]
    content_range = f"bytes {said}-{said + len(part) - 1}/{len(body)}"
    return 206, headers | {"Content-Range": content_range}, part
