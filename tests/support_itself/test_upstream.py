"""The misbehaving server does what it is told, and right where it is told nothing."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

import pytest

from tests.support.replies import (
    Ranges,
    Reply,
    dripping,
    endless,
    gzipped,
    late,
    login_page,
    ranged,
    redirect,
    reset,
    stalled,
    status,
    together,
    too_many,
    truncated,
    wrong_bytes,
)
from tests.support.upstream import Upstream

BODY = bytes(range(256)) * 4


@pytest.fixture
def served(upstream: Upstream) -> Upstream:
    upstream.folder.joinpath("file").write_bytes(BODY)
    return upstream


def ask(
    upstream: Upstream, path: str = "/file", headers: Mapping[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=5)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_serves_files_and_records_requests(served: Upstream) -> None:
    assert ask(served, "/file?sig=1", {"X-Mine": "yes"})[::2] == (200, BODY)
    assert ask(served, "/other")[::2] == (404, b"not found\n")
    assert ask(served, "/../etc/passwd")[0] == 404
    assert served.paths == ["/file", "/other", "/../etc/passwd"]
    assert served.requests[0].target == "/file?sig=1"
    assert served.requests[0].headers["x-mine"] == "yes"


def test_keeps_connections_alive(served: Upstream) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/file")
        assert connection.getresponse().read() == BODY
        first = connection.sock
        assert first is not None
    connection.request("HEAD", "/file")
    response = connection.getresponse()
    assert (response.read(), response.headers["Content-Length"]) == (b"", str(len(BODY)))
    connection.close()


def test_replies_once_then_always_then_right(served: Upstream) -> None:
    served.once("/f*", status(503), too_many("7"))
    assert ask(served)[0] == 503
    code, headers, body = ask(served)
    assert (code, headers["Retry-After"], body) == (429, "7", b"status 429\n")
    assert ask(served)[::2] == (200, BODY)
    served.always("*", status(500))
    served.always("/file", status(418))
    assert [ask(served)[0], ask(served)[0], ask(served, "/x")[0]] == [418, 418, 500]
    served.behave()
    assert ask(served)[0] == 200


def test_bodies_that_are_not_the_file(served: Upstream) -> None:
    served.once("/file", wrong_bytes(9), login_page(), gzipped(), Reply(body=b""))
    assert ask(served)[2] == b"*" * 9
    _, headers, body = ask(served)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert body.startswith(b"<!DOCTYPE html>")
    _, headers, body = ask(served)
    assert headers["Content-Encoding"] == "gzip"
    assert int(headers["Content-Length"]) == len(body)
    assert body[:2] == b"\x1f\x8b"
    assert ask(served)[2] == b""


def test_short_bodies(served: Upstream) -> None:
    served.once("/file", truncated(10), truncated(10, has_length=False), reset(10), reset())
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(served)
    assert caught.value.partial == BODY[:10]
    assert ask(served)[2] == BODY[:10]
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            ask(served)
    assert ask(served)[2] == BODY


def test_stalled_body_leaves_the_connection_open(served: Upstream) -> None:
    served.once("/file", stalled(10))
    with socket.create_connection(("127.0.0.1", served.port), timeout=0.3) as client:
        client.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
        got = b""
        while not got.endswith(b"\r\n\r\n" + BODY[:10]):
            got += client.recv(4096)
        with pytest.raises(TimeoutError):
            client.recv(4096)


def test_endless_body(served: Upstream) -> None:
    served.once("/file", endless())
    with urllib.request.urlopen(f"{served.url}/file", timeout=5) as response:
        assert response.headers["Content-Length"] is None
        assert response.read(len(BODY)) == BODY
        assert len(response.read(1 << 20)) == 1 << 20


def test_late_and_dripping(served: Upstream) -> None:
    served.once("/file", late(0.1), dripping(256, 0.05))
    for _ in range(2):
        start = time.monotonic()
        assert ask(served)[2] == BODY
        assert time.monotonic() - start >= 0.1
    assert ask(served)[2] == BODY


def test_right_ranges(served: Upstream) -> None:
    code, headers, body = ask(served, headers={"Range": "bytes=1000-"})
    assert (code, body) == (206, BODY[1000:])
    assert headers["Content-Range"] == "bytes 1000-1023/1024"
    assert ask(served, headers={"Range": "bytes=2-3"})[::2] == (206, BODY[2:4])
    code, headers, _ = ask(served, headers={"Range": "bytes=1024-"})
    assert (code, headers["Content-Range"]) == (416, "bytes */1024")


def test_if_range_sees_a_changed_file(served: Upstream) -> None:
    etag = ask(served)[1]["ETag"]
    resumed = {"Range": "bytes=1000-", "If-Range": etag}
    assert ask(served, headers=resumed)[::2] == (206, BODY[1000:])
    served.folder.joinpath("file").write_bytes(BODY[::-1])
    assert ask(served, headers=resumed)[::2] == (200, BODY[::-1])
    served.once("/file", ranged(Ranges.SPLICED))
    assert ask(served, headers=resumed)[::2] == (206, BODY[::-1][1000:])


def test_wrong_ranges(served: Upstream) -> None:
    asked = {"Range": "bytes=1000-"}
    served.once("/file", *map(ranged, (Ranges.IGNORED, Ranges.ELSEWHERE, Ranges.LIED)))
    assert ask(served, headers=asked)[::2] == (200, BODY)
    code, headers, body = ask(served, headers=asked)
    assert (code, headers["Content-Range"], body) == (206, "bytes 500-1023/1024", BODY[500:])
    code, headers, body = ask(served, headers=asked)
    assert (code, headers["Content-Range"], body) == (206, "bytes 1000-1023/1024", BODY[500:524])


def test_redirects(served: Upstream) -> None:
    served.once("/a", redirect("/file"))
    with urllib.request.urlopen(f"{served.url}/a", timeout=5) as response:
        assert response.read() == BODY
    assert served.paths == ["/a", "/file"]
    served.always("/loop", redirect("/loop", 307))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{served.url}/loop", timeout=5)
    caught.value.close()
    assert caught.value.code == 307


def test_authorization(served: Upstream) -> None:
    served.authorization = "Bearer abc"
    code, headers, _ = ask(served)
    assert (code, headers["WWW-Authenticate"]) == (401, 'Basic realm="upstream"')
    assert ask(served, headers={"Authorization": "Bearer abc"})[0] == 200
    assert ask(served, headers={"Authorization": "Bearer abd"})[0] == 401


def test_token_in_the_path(served: Upstream) -> None:
    served.token = "abc"
    assert [ask(served, path)[0] for path in ("/file", "/t/x/file", "/t/abc/file")] == [
        403,
        403,
        200,
    ]
    assert served.paths == ["/file", "/t/x/file", "/file"]
    assert served.requests[2].target == "/t/abc/file"


def test_as_a_proxy(served: Upstream) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": served.url}))
    with opener.open("http://conda.example.org/file", timeout=5) as response:
        assert response.read() == BODY
    assert served.requests[0].target == "http://conda.example.org/file"
    assert served.paths == ["/file"]
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
    connection.set_tunnel("conda.example.org", 443)
    with pytest.raises(OSError, match="Tunnel connection failed: 502"):
        connection.request("GET", "/file")
    connection.close()
    assert (served.requests[1].method, served.requests[1].target) == (
        "CONNECT",
        "conda.example.org:443",
    )


def test_counts_requests_at_once(served: Upstream) -> None:
    served.always("*", together(3))
    threads = [threading.Thread(target=ask, args=(served,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served.most_at_once == 3


def test_ends_at_once_with_connections_open(served: Upstream) -> None:
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(Upstream(served.folder))
        other.always("*", stalled(1))
        client = stack.enter_context(socket.create_connection(("127.0.0.1", other.port)))
        client.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1)
        start = time.monotonic()
        stack.pop_all().close()
    assert time.monotonic() - start < 10


def test_its_own_mistakes_are_raised(served: Upstream) -> None:
    """A control: a test must not pass because the server broke."""
    other = Upstream(served.folder).__enter__()
    other.once("*", Reply(body=b"x", stop_after="y"))  # type: ignore[arg-type]
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(other)
    with pytest.raises(TypeError):
        other.__exit__(None, None, None)
