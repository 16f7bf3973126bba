"""The head of a response, from servers that never come to its end."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from scripts.network.adapter import ContextAdapter
from tests.support.session import session_of

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-One: 1\r\n\r\nbody"
Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Answer the requests of each connection by this, until it goes away."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def converse(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while b"\r\n\r\n" in connection.recv(65536):
                    answer(connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=converse, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with session_of(ContextAdapter(ssl.create_default_context())) as session:
        yield session


def test_heads_as_they_should_be(session: requests.Session) -> None:
    interim = b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 3

    def in_pieces(connection: socket.socket) -> None:
        for byte in interim + GOOD:
            connection.sendall(bytes([byte]))

    for answer in (lambda connection: connection.sendall(interim + GOOD), in_pieces):
        with serving(answer) as url:
            for _ in range(2):  # the second on the same connection
                response = session.get(url, timeout=5)
                assert response.content == b"body"
                assert response.headers["X-One"] == "1"


def test_through_a_proxy(session: requests.Session) -> None:
    def endless(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    with serving(lambda connection: connection.sendall(GOOD)) as proxy:
        response = session.get("http://made.up/", proxies={"http": proxy}, timeout=5)
        assert response.content == b"body"
    with serving(endless) as proxy, pytest.raises(requests.ConnectionError, match="has no end"):
        session.get("http://made.up/", proxies={"http": proxy}, timeout=5)


def test_interim_answers_without_end(session: requests.Session) -> None:
    def answer(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    with serving(answer) as url:
        with pytest.raises(requests.ConnectionError) as caught:
            session.get(url, timeout=5)
        assert "the head of the response has no end" in str(caught.value)


@pytest.mark.parametrize("drop", [b"x", b"X: y\r\n"])
def test_a_head_that_drips(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, drop: bytes
) -> None:
    """Each byte comes well within the time limit of the socket."""
    monkeypatch.setattr("scripts.network.response_head._PATIENCE", 0.3)

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(1000):
            connection.sendall(drop)
            time.sleep(0.02)

    began = time.monotonic()
    with serving(answer) as url:
        with pytest.raises(requests.ConnectionError) as caught:
            session.get(url, timeout=5)
        assert "the head of the response took too long" in str(caught.value)
    assert time.monotonic() - began < 4


def test_a_line_that_is_too_long(session: requests.Session) -> None:
    """The limits of http.client itself hold as well."""
    with (
        serving(
            lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000)
        ) as url,
        pytest.raises(requests.ConnectionError, match="more than 65536 bytes"),
    ):
        session.get(url, timeout=5)


def test_what_is_no_http(session: requests.Session) -> None:
    with (
        serving(lambda connection: connection.sendall(b"SSH-2.0-x\r\n")) as url,
        pytest.raises(requests.ConnectionError, match=r"SSH-2\.0-x"),
    ):
        session.get(url, timeout=5)


def test_connections_to_many_servers_do_not_pile_up(session: requests.Session) -> None:
    """More than a thread keeps open; whom it comes back to is asked anew."""
    adapter = session.get_adapter("http://")
    with contextlib.ExitStack() as servers:
        urls = [
            servers.enter_context(serving(lambda connection: connection.sendall(GOOD)))
            for _ in range(12)
        ]
        for url in (*urls, urls[0]):
            assert session.get(url, timeout=5).content == b"body"
    assert isinstance(adapter, ContextAdapter)
    assert len(adapter._pools) <= 8
