"""What people read when a server is not there, of errors that requests really raises."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
import requests
import urllib3.connection
import urllib3.exceptions

from scripts.network.errors import (
    ErrorKind,
    error_message,
    kind_of_error,
    lower_first,
)
from tests.support.replies import Ending, Reply
from tests.support.upstream import Upstream


def error_of(url: str, proxy: str | None = None) -> requests.RequestException:
    session = requests.Session()
    session.trust_env = False
    with pytest.raises(requests.RequestException) as caught, session:
        session.get(url, proxies={"http": proxy} if proxy else {}, timeout=2)
    return caught.value


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def test_nobody_listens() -> None:
    error = error_of(f"http://127.0.0.1:{closed_port()}/")
    assert error_message(error).startswith("failed to establish a new connection: ")
    assert error_message(error).endswith("refused") or "10061" in error_message(error)
    assert kind_of_error(error) is ErrorKind.UNREACHED


def test_a_host_without_an_address() -> None:
    # Made by hand: to ask for a name would reach beyond loopback.
    host = urllib3.connection.HTTPConnection("nowhere.invalid")
    cause = urllib3.exceptions.NewConnectionError(host, "Failed to resolve 'nowhere.invalid'")
    retried = urllib3.exceptions.MaxRetryError(urllib3.HTTPConnectionPool("host"), "/", cause)
    error = requests.ConnectionError(retried)
    assert error_message(error) == "failed to resolve 'nowhere.invalid'"
    assert kind_of_error(error) is ErrorKind.UNREACHED


def test_a_proxy_that_is_not_there() -> None:
    error = error_of("http://127.0.0.2/", proxy=f"http://127.0.0.1:{closed_port()}")
    assert error_message(error).startswith("failed to establish a new connection: ")
    assert kind_of_error(error) is ErrorKind.PROXY


def test_a_connection_that_takes_too_long() -> None:
    # Made by hand: no address is sure to swallow packets on every machine.
    pool = urllib3.HTTPConnectionPool("host")
    cause = urllib3.exceptions.ConnectTimeoutError(None, "connection to host timed out")
    retried = urllib3.exceptions.MaxRetryError(pool, "/", cause)
    assert kind_of_error(requests.ConnectTimeout(retried)) is ErrorKind.UNREACHED


def test_one_who_hangs_up_is_there(upstream: Upstream) -> None:
    upstream.always("/*", Reply(body=b"x" * 100, stop_after=0, ending=Ending.RESET))
    error = error_of(f"{upstream.url}/a")
    assert kind_of_error(error) is ErrorKind.CUT_OFF
    # Control: the same upstream, asked by its name while nobody is there.
    assert error_message(error) != error_message(error_of(f"http://127.0.0.1:{closed_port()}/"))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0x800B010F, ErrorKind.TLS_NAME),  # CERT_E_CN_NO_MATCH
        (0x800B0101, ErrorKind.TLS_EXPIRED),  # CERT_E_EXPIRED
        (0x800B0109, ErrorKind.TLS_UNTRUSTED),  # CERT_E_UNTRUSTEDROOT
        (-67602, ErrorKind.TLS_NAME),  # errSecHostNameMismatch
        (-67818, ErrorKind.TLS_EXPIRED),  # errSecCertificateExpired
        (-67843, ErrorKind.TLS_UNTRUSTED),  # errSecNotTrusted
    ],
)
def test_certificates_that_windows_or_macos_refuse(code: int, kind: ErrorKind) -> None:
    """Made by hand, as truststore makes them of what those systems say."""
    cause = ssl.SSLCertVerificationError("The certificate's CN name does not match.")
    cause.verify_code = code
    pool = urllib3.HTTPSConnectionPool("host")
    retried = urllib3.exceptions.MaxRetryError(pool, "/", urllib3.exceptions.SSLError(cause))
    error = requests.exceptions.SSLError(retried)
    assert kind_of_error(error) is kind
    assert error_message(error) == "the certificate's CN name does not match."


def test_what_a_server_says_is_cut() -> None:
    assert error_message(ValueError("x" * 200)) == "x" * 200
    assert error_message(ValueError("x" * 60_000)) == "x" * 200 + "…"


def test_what_is_no_http_stays_on_one_line() -> None:
    """As a server of SSH answers; the control: what http.client makes of it ends a line."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        answers = threading.Thread(target=_greet, args=(server,))
        answers.start()
        error = error_of(f"http://127.0.0.1:{server.getsockname()[1]}/")
        answers.join()
    assert error_message(error) == "SSH-2.0-OpenSSH_9.9"
    assert "SSH-2.0-OpenSSH_9.9\\r\\n" in repr(error)


def _greet(server: socket.socket) -> None:
    with server.accept()[0] as one:
        one.recv(4096)
        one.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Read timed out.", "read timed out."),
        ("HTTP 404 Not Found", "HTTP 404 Not Found"),
        ("sha256 differs", "sha256 differs"),
        ("IncompleteRead(0 bytes read)", "IncompleteRead(0 bytes read)"),
        ("Content-Length is odd", "Content-Length is odd"),
        ("", ""),
    ],
)
def test_sentences_begin_in_lower_case(text: str, expected: str) -> None:
    assert lower_first(text) == expected
