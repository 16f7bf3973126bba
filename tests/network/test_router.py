"""What is configured on disk, and what a real request is then like."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.core.console import Console, Verbosity
from scripts.core.errors import MirrorError
from scripts.network.errors import DownloadError
from scripts.network.http import HttpClient
from scripts.network.retry import RetryPolicy
from scripts.network.router import Router
from tests.support.upstream import Upstream

NAME = "a-1-0.conda"
URL = f"https://conda.anaconda.org/conda-forge/noarch/{NAME}"
BYTES = b"whole" * 100
TLS = Path(__file__).parents[1] / "data" / "tls"
NETRC = "_netrc" if os.name == "nt" else ".netrc"


class Workspace:
    """A workspace with its own configuration file."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home
        (folder / ".pixi").mkdir(parents=True)
        self.manifest('[workspace]\nchannels = []\nplatforms = ["linux-64"]\n')

    def manifest(self, text: str) -> None:
        """Write its manifest."""
        (self.folder / "pixi.toml").write_text(text, encoding="utf-8")

    def configure(self, text: str) -> None:
        """Write its configuration file."""
        (self.folder / ".pixi" / "config.toml").write_text(text, encoding="utf-8")

    def store(self, **credentials: Mapping[str, object]) -> Path:
        """Write rattler's credentials file into the home folder."""
        path = self.home / ".rattler" / "credentials.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(credentials), encoding="utf-8")
        return path

    def router(self, **more: str) -> Router:
        """Read everything, with more variables."""
        console = Console(verbosity=Verbosity.VERBOSE)
        return Router(self.folder / "pixi.toml", {**os.environ, **more}, console)


@pytest.fixture
def workspace(tmp_path: Path, clean_environment: Path) -> Workspace:
    return Workspace(tmp_path / "workspace", clean_environment)


@pytest.fixture
def served(upstream: Upstream) -> Upstream:
    (upstream.folder / "noarch").mkdir()
    (upstream.folder / "noarch" / NAME).write_bytes(BYTES)
    return upstream


def _get(router: Router, url: str) -> bytes:
    """Ask as the download loop does: the first source."""
    client = HttpClient(router, RetryPolicy(connect=5, read=5))
    try:
        return b"".join(client.get(router.sources(url)[0]).chunks)
    finally:
        client.close()


def test_nothing_is_configured(
    workspace: Workspace, served: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    router = workspace.router()
    assert router.sources(URL) == (URL,)
    assert router.downloads is None
    assert _get(router, f"{served.url}/noarch/{NAME}") == BYTES
    assert "authorization" not in served.requests[0].headers
    assert capsys.readouterr().err == ""


def test_a_mirror_with_a_stored_token(workspace: Workspace, served: Upstream) -> None:
    served.authorization = "Bearer hidden"
    workspace.configure(f"mirrors.'https://conda.anaconda.org/conda-forge' = ['{served.url}']")
    with pytest.raises(DownloadError, match="HTTP 401"):
        _get(workspace.router(), URL)
    workspace.store(**{"127.0.0.1": {"BearerToken": "hidden"}})
    assert _get(workspace.router(), URL) == BYTES


def test_a_conda_token(workspace: Workspace, served: Upstream) -> None:
    served.token = "tk-hidden"
    workspace.store(**{"127.0.0.1": {"CondaToken": "tk-hidden"}})
    assert _get(workspace.router(), f"{served.url}/noarch/{NAME}") == BYTES


def test_netrc_and_the_urls_own(workspace: Workspace, served: Upstream) -> None:
    served.authorization = "Basic bWU6cHc="
    (workspace.home / NETRC).write_text("machine 127.0.0.1 login me password pw\n")
    assert _get(workspace.router(), f"{served.url}/noarch/{NAME}") == BYTES
    served.authorization = "Basic b3duOnB3"
    own = served.url.replace("://", "://own:pw@")
    assert _get(workspace.router(), f"{own}/noarch/{NAME}") == BYTES


def test_proxies(workspace: Workspace, served: Upstream) -> None:
    workspace.configure(f"proxy-config.http = '{served.url}'")
    url = f"http://made-up.test/noarch/{NAME}"
    assert _get(workspace.router(), url) == BYTES
    assert [request.target for request in served.requests] == [url]
    with pytest.raises(DownloadError):
        _get(workspace.router(http_proxy="http://127.0.0.1:9"), url)
    assert len(served.requests) == 1


def test_certificates(workspace: Workspace, served: Upstream) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    with Upstream(served.folder, tls=context) as secure:
        url = f"{secure.url}/noarch/{NAME}"
        with pytest.raises(DownloadError, match=r"(?i)^TLS: .*certificate"):
            _get(workspace.router(), url)
        assert _get(workspace.router(SSL_CERT_FILE=str(TLS / "ca.pem")), url) == BYTES
        workspace.configure("tls-no-verify = true")
        assert _get(workspace.router(), url) == BYTES


def test_a_bucket_of_the_manifest(workspace: Workspace, served: Upstream, tmp_path: Path) -> None:
    workspace.manifest(
        "[workspace]\nchannels = []\nplatforms = []\n\n[workspace.s3-options.bucket]\n"
        f'endpoint-url = "{served.url}"\nregion = "eu-central-1"\nforce-path-style = true\n'
    )
    workspace.configure(
        "[s3-options.bucket]\nendpoint-url = 'http://127.0.0.1:9'\nregion = 'x'\n"
        "force-path-style = true\n"
    )
    keys = {"access_key_id": "AK", "secret_access_key": "hidden"}
    stored = workspace.store(**{"s3://bucket": {"S3Credentials": keys}})
    (served.folder / "bucket").mkdir()
    (served.folder / "bucket" / NAME).write_bytes(BYTES)
    # Windows itself, and no variable, tells rattler where the home folder is.
    router = workspace.router(**({"RATTLER_AUTH_FILE": str(stored)} if os.name == "nt" else {}))
    assert router.credentials.needs_rattler(f"s3://bucket/{NAME}")
    with contextlib.closing(router.rattler):
        router.rattler.download(f"s3://bucket/{NAME}", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == BYTES


def test_what_a_person_is_told(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    workspace.configure(
        "tls-no-verify = true\nconcurrency.downloads = 7\n"
        f"authentication-override-file = '{tmp_path / 'missing.json'}'\n"
        "proxy-config.https = 'http://user:hidden@proxy.test:1'\n"
    )
    router = workspace.router(NETRC=str(tmp_path / "missing"))
    assert router.downloads == 7
    assert capsys.readouterr().err == (
        f"pixi configuration: {workspace.folder / '.pixi' / 'config.toml'}\n"
        f"warning: {tmp_path / 'missing.json'}: there is no such credentials file\n"
        f"warning: {tmp_path / 'missing'}: there is no such netrc\n"
        "warning: tls-no-verify is set: nobody is asked to prove who they are\n"
    )


def test_what_is_broken_is_named(workspace: Workspace) -> None:
    workspace.configure("mirrors = 'hidden'")
    with pytest.raises(MirrorError, match=r"config\.toml: mirrors is not a table"):
        workspace.router()
