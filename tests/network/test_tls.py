"""Which certificates are trusted, on a real TLS server of a made-up authority."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import socketserver
import ssl
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import truststore

from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError
from scripts.network import tls as trust_module
from scripts.network.configuration import PixiConfig, RootCerts
from scripts.network.errors import DownloadError, ErrorKind, lower_first
from scripts.network.http import HttpClient, TlsAdapter
from scripts.network.retry import RetryPolicy
from scripts.network.router import Router
from scripts.network.tls import Source, Trust, choose_trust, make_context, usable_ca_environ
from tests.support.upstream import Upstream

TLS = Path(__file__).parents[1] / "data" / "tls"
CA = str(TLS / "ca.pem")


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Upstream]:
    """Serve a file with a certificate for localhost and 127.0.0.1 that nobody else trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    folder = tmp_path / "secure"
    folder.mkdir()
    (folder / "x").write_bytes(b"whole")
    with Upstream(folder, tls=context) as server:
        yield server


def _session(context: ssl.SSLContext) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", TlsAdapter(context))
    return session


def _get(url: str, environ: dict[str, str], config: PixiConfig | None = None) -> bytes:
    context = make_context(choose_trust(config or PixiConfig(), environ))
    with _session(context) as session:
        return session.get(url, timeout=10).content


def _get_as_configured(url: str, folder: Path, configuration: str = "") -> bytes:
    """Ask as every task does, in a workspace with this configuration of pixi's."""
    (folder / ".pixi").mkdir()
    (folder / ".pixi" / "config.toml").write_text(configuration, encoding="utf-8")
    router = Router(folder / "pixi.toml", {}, Console())
    with contextlib.closing(HttpClient(router, RetryPolicy(connect=10, read=10))) as client:
        return b"".join(client.get(url).chunks)


FILE = Source(name="SSL_CERT_FILE", path="c")
BUNDLE = Source(name="REQUESTS_CA_BUNDLE", path="a")
CURL = Source(name="CURL_CA_BUNDLE", path="b")
OF_ENV = Source(name="SSL_CERT_FILE", path="/env/Library/ssl/cacert.pem")
SYSTEM = PixiConfig(tls_root_certs=RootCerts.SYSTEM)


def _environ(*sources: Source, **more: str) -> dict[str, str]:
    return {each.name: each.path for each in sources} | more


@pytest.mark.parametrize(
    ("config", "environ", "expected"),
    [
        (PixiConfig(), {}, Trust(roots=(RootCerts.SYSTEM, RootCerts.WEBPKI))),
        (SYSTEM, {}, Trust(roots=(RootCerts.SYSTEM,))),
        (PixiConfig(tls_no_verify=True), _environ(FILE), Trust(verify=False)),
        # Beside pixi's own setting counts what pixi itself reads.
        (
            SYSTEM,
            _environ(FILE, BUNDLE),
            Trust(roots=(RootCerts.SYSTEM,), sources=(FILE,), overridden=(BUNDLE,)),
        ),
        (
            PixiConfig(),
            _environ(BUNDLE, CURL, FILE),
            Trust(roots=(), sources=(FILE,), overridden=(BUNDLE, CURL)),
        ),
        (
            PixiConfig(),
            _environ(BUNDLE, CURL),
            Trust(roots=(), sources=(BUNDLE,), overridden=(CURL,)),
        ),
        (
            PixiConfig(),
            _environ(CURL, REQUESTS_CA_BUNDLE=""),
            Trust(roots=(), sources=(CURL,)),
        ),
        (
            PixiConfig(),
            _environ(FILE, SSL_CERT_DIR=os.pathsep.join(("d", "", "e"))),
            Trust(
                roots=(),
                sources=(
                    FILE,
                    Source(name="SSL_CERT_DIR", path="d"),
                    Source(name="SSL_CERT_DIR", path="e"),
                ),
            ),
        ),
        # Set by an activation, not by the user, who has said something else, or nothing.
        (
            SYSTEM,
            _environ(OF_ENV, CONDA_PREFIX="/env"),
            Trust(roots=(RootCerts.SYSTEM,), overridden=(OF_ENV,)),
        ),
        (
            PixiConfig(),
            _environ(OF_ENV, BUNDLE, CONDA_PREFIX="/env"),
            Trust(roots=(), sources=(BUNDLE,), overridden=(OF_ENV,)),
        ),
        (PixiConfig(), _environ(OF_ENV, CONDA_PREFIX="/env"), Trust(sources=(OF_ENV,))),
        (
            PixiConfig(),
            _environ(FILE, BUNDLE, CONDA_PREFIX="/env"),
            Trust(roots=(), sources=(FILE,), overridden=(BUNDLE,)),
        ),
    ],
)
def test_choice(config: PixiConfig, environ: dict[str, str], expected: Trust) -> None:
    assert choose_trust(config, environ) == expected


@pytest.mark.parametrize(
    ("trust", "expected"),
    [
        (
            Trust(),
            [
                ("certificates", "the system's certificates"),
                ("certificates", "Mozilla's certificates, as nothing is set"),
            ],
        ),
        (
            Trust(roots=(RootCerts.SYSTEM,), sources=(FILE,), overridden=(BUNDLE,)),
            [
                ("certificates", "the system's certificates (tls-root-certs = system)"),
                ("certificates", "SSL_CERT_FILE=c"),
                ("not used", "REQUESTS_CA_BUNDLE=a"),
            ],
        ),
        (Trust(roots=(), sources=(BUNDLE,)), [("certificates", "REQUESTS_CA_BUNDLE=a")]),
    ],
)
def test_what_counts_is_said(trust: Trust, expected: list[tuple[str, str]]) -> None:
    assert list(trust.details) == expected


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_named_authority_is_trusted(secure: Upstream, name: str) -> None:
    assert _get(f"{secure.url}/x", {name: CA}) == b"whole"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_of_openssls_own_form_is_one(secure: Upstream, tmp_path: Path, name: str) -> None:
    """As `openssl x509 -trustout` writes it, and some systems keep theirs."""
    bundle = tmp_path / "trusted.pem"
    bundle.write_text(Path(CA).read_text().replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-"))
    environ, notes = usable_ca_environ({name: str(bundle)})
    assert notes == ()
    assert _get(f"{secure.url}/x", environ) == b"whole"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("file", ["2a240666.0", "corporate.pem", "whatever"])
def test_a_folder_of_certificates_is_trusted(
    secure: Upstream, tmp_path: Path, name: str, file: str
) -> None:
    """Whatever its files are called; OpenSSL by itself finds those by their hash alone."""
    folder = tmp_path / "certs"
    (folder / "folder").mkdir(parents=True)
    shutil.copyfile(CA, folder / file)
    (folder / "broken.pem").write_text(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    (folder / "README").write_text("none")
    assert _get(f"{secure.url}/x", {name: str(folder)}) == b"whole"


@pytest.mark.parametrize("roots", list(RootCerts))
def test_beside_a_store_counts_what_pixi_reads(secure: Upstream, roots: RootCerts) -> None:
    config = PixiConfig(tls_root_certs=roots)
    assert _get(f"{secure.url}/x", {"SSL_CERT_FILE": CA}, config) == b"whole"
    with pytest.raises(requests.exceptions.SSLError, match=r"(?i)certificate"):
        _get(f"{secure.url}/x", {"REQUESTS_CA_BUNDLE": CA}, config)


def test_a_name_that_is_not_in_the_certificate(secure: Upstream) -> None:
    url = secure.url.replace("127.0.0.1", "127.1")  # the same address by another name
    with pytest.raises(requests.exceptions.SSLError, match=r"doesn't match|mismatch"):
        _get(f"{url}/x", {"SSL_CERT_FILE": CA})


def test_without_verification_anybody_will_do(
    secure: Upstream, tmp_path: Path, clean_environment: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = _get_as_configured(f"{secure.url}/x", tmp_path, "tls-no-verify = true")
    assert answer == b"whole"


@pytest.mark.parametrize(
    ("hosts", "is_trusted"),
    [
        (("127.0.0.1",), True),
        (("https://127.0.0.1:{port}",), True),
        (("other", "*"), True),
        ((), False),
        (("127.0.0", "127.0.0.1:1", "http://127.0.0.1"), False),
    ],
)
def test_an_insecure_host_need_not_prove_who_it_is(
    secure: Upstream,
    tmp_path: Path,
    clean_environment: Path,
    hosts: tuple[str, ...],
    *,
    is_trusted: bool,
) -> None:
    allowed = [each.format(port=secure.port) for each in hosts]
    configuration = f"pypi-config.allow-insecure-host = {allowed}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if is_trusted:
            assert _get_as_configured(f"{secure.url}/x", tmp_path, configuration) == b"whole"
            return
        with pytest.raises(DownloadError, match=r"(?i)certificate") as caught:
            _get_as_configured(f"{secure.url}/x", tmp_path, configuration)
    assert caught.value.kind is ErrorKind.TLS_UNTRUSTED


class _Tunnel(socketserver.StreamRequestHandler):
    """A proxy that connects whatever it is asked for to one server."""

    server: _TunnelServer

    def handle(self) -> None:
        self.server.asked.append(self.rfile.readline().decode().strip())
        while self.rfile.readline().strip():
            pass
        with socket.create_connection(("127.0.0.1", self.server.port)) as other:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self._copy, args=(other, self.connection))
            back.start()
            self._copy(self.connection, other)
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a side that went away
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


class _TunnelServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.port = port
        self.asked: list[str] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that distrusts the server breaks the tunnel off."""


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "untrusted"])
def test_the_choice_holds_through_a_proxy(secure: Upstream, *, trusted: bool) -> None:
    context = make_context(choose_trust(PixiConfig(), {"SSL_CERT_FILE": CA} if trusted else {}))
    with _TunnelServer(secure.port) as server, _session(context) as session:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        proxy = f"http://user:pw@127.0.0.1:{server.server_address[1]}"
        try:
            answer = session.get("https://localhost/x", proxies={"https": proxy}, timeout=10)
            assert (answer.content, trusted) == (b"whole", True)
        except requests.exceptions.SSLError:
            assert not trusted
        session.close()
        server.shutdown()
        assert [asked.rpartition(" ")[0] for asked in server.asked] == ["CONNECT localhost:443"]


def test_the_client_does_not_read_the_environment(
    secure: Upstream, tmp_path: Path, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was chosen holds, though requests would trust the bundle of the variable."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", CA)
    with pytest.raises(DownloadError, match="certificate verify failed"):
        _get_as_configured(f"{secure.url}/x", tmp_path)
    assert requests.get(f"{secure.url}/x", timeout=10).content == b"whole"  # control


def test_a_named_authority_is_the_only_one() -> None:
    """By itself requests adds Mozilla's certificates to any context; ours stays as it was made."""
    context = make_context(choose_trust(PixiConfig(), {"SSL_CERT_FILE": CA}))
    with (
        _session(context) as session,
        pytest.raises(requests.exceptions.ConnectionError),
    ):
        session.get("https://127.0.0.1:9/x", timeout=10)
    assert len(context.get_ca_certs()) == 1
    mozilla = Trust(roots=(RootCerts.WEBPKI,))
    assert len(make_context(mozilla).get_ca_certs()) > 50


@pytest.mark.parametrize("written", [True, False])
def test_the_systems_store_is_the_systems(
    secure: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, written: bool
) -> None:
    """The list of places is replaced, since a test cannot write to /etc."""
    monkeypatch.setattr(sys, "platform", "linux")
    bundles = (str(tmp_path / "missing.crt"), CA)
    monkeypatch.setattr(trust_module, "_LINUX_BUNDLES", bundles)
    assert _get(f"{secure.url}/x", {}, SYSTEM if written else PixiConfig()) == b"whole"


def no_such_file(path: Path) -> str:
    """Return the system's own words."""
    with pytest.raises(FileNotFoundError) as caught:
        path.stat()
    return lower_first(str(caught.value.strerror))


def test_what_pixi_would_pass_over(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("none")
    for path, reason in (
        (missing, no_such_file(missing)),
        (empty, "no certificates in PEM form"),
        (tmp_path, "not a file"),
    ):
        left, notes = usable_ca_environ({"SSL_CERT_FILE": str(path), "REQUESTS_CA_BUNDLE": CA})
        assert notes == (f"SSL_CERT_FILE={path}: {reason}, so it is not used",)
        assert choose_trust(PixiConfig(), left).sources == (
            Source(name="REQUESTS_CA_BUNDLE", path=CA),
        )
    folders = os.pathsep.join((str(missing), str(TLS), CA))
    left, notes = usable_ca_environ({"SSL_CERT_DIR": folders})
    assert left["SSL_CERT_DIR"] == str(TLS)
    assert notes == (
        f"SSL_CERT_DIR={missing}: {no_such_file(missing)}, so it is not used",
        f"SSL_CERT_DIR={CA}: not a folder, so it is not used",
    )
    left, notes = usable_ca_environ({"SSL_CERT_FILE": CA})
    assert (left["SSL_CERT_FILE"], notes) == (CA, ())


@pytest.mark.parametrize("name", ["missing.pem", "broken.pem"])
def test_a_bundle_of_requests_must_be_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    reason = no_such_file(path) if name == "missing.pem" else "no certificates in PEM form"
    (tmp_path / "broken.pem").write_text("hidden")
    with pytest.raises(MirrorError) as caught:
        make_context(choose_trust(PixiConfig(), {"REQUESTS_CA_BUNDLE": str(path)}))
    (problem,) = caught.value.problems
    assert str(caught.value) == (
        f"REQUESTS_CA_BUNDLE: cannot read certificates from this file\n  file    {path}\n"
        f"  reason  {reason}\nhelp: it must hold certificates in PEM form"
    )
    assert problem.code is ExitCode.USAGE


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_bundle(tmp_path: Path) -> None:
    """Nobody writes to it: it would be waited for without end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(MirrorError) as caught:
        make_context(choose_trust(PixiConfig(), {"REQUESTS_CA_BUNDLE": str(pipe)}))
    assert dict(caught.value.problems[0].details)["reason"] == "not a file"


def test_a_name_that_no_file_can_have() -> None:
    trust = choose_trust(PixiConfig(), {"REQUESTS_CA_BUNDLE": "x" * 5000})
    with pytest.raises(MirrorError, match="REQUESTS_CA_BUNDLE"):
        make_context(trust)
    assert usable_ca_environ({"SSL_CERT_FILE": "x" * 5000})[1] != ()


def test_elsewhere_the_system_itself_is_asked(
    secure: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By truststore, beside what is named; here that asks OpenSSL, which does not know it."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(make_context(Trust()), truststore.SSLContext)
    assert _get(f"{secure.url}/x", {"SSL_CERT_FILE": CA, "CONDA_PREFIX": str(TLS)}) == b"whole"
    with pytest.raises(requests.exceptions.SSLError, match=r"(?i)certificate"):
        _get(f"{secure.url}/x", {}, SYSTEM)
