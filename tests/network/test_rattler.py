"""Downloads by rattler's own client: what it is told, what it brings, what it refuses.

`oci://` is not tested here: rattler asks port 443 alone. Nor is the keyring, which needs one.
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.network.configuration import PixiConfig, S3Options
from scripts.network.errors import DownloadError, ErrorKind
from scripts.network.proxies import Proxies, choose_proxies
from scripts.network.rattler import RattlerClient, refusal
from scripts.network.tls import Source, Trust, choose_trust
from tests.support.replies import late, together
from tests.support.upstream import Upstream

TLS = Path(__file__).parents[1] / "data" / "tls"
NAME = "a-1-0.conda"
BYTES = b"whole" * 100
CAN_BE_CONFIGURED = tuple(map(int, version("py-rattler").split(".")[:2])) >= (0, 28)


@pytest.fixture
def served(upstream: Upstream) -> Upstream:
    (upstream.folder / NAME).write_bytes(BYTES)
    return upstream


_CLIENTS: list[RattlerClient] = []


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    yield
    while _CLIENTS:
        _CLIENTS.pop().close()


def _way(config: PixiConfig | None = None, more: Mapping[str, str] | None = None) -> RattlerClient:
    config, environ = config or PixiConfig(), {**os.environ, **(more or {})}
    proxies, trust = choose_proxies(config, environ), choose_trust(config, environ)
    _CLIENTS.append(RattlerClient(config, proxies, trust, environ))
    return _CLIENTS[-1]


def _file(path: Path, host: str, credential: Mapping[str, object]) -> Path:
    path.write_text(json.dumps({host: credential}), encoding="utf-8")
    return path


def test_a_file_is_downloaded(served: Upstream, tmp_path: Path) -> None:
    _way().download(f"{served.url}/{NAME}", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == BYTES


def test_what_is_not_there(served: Upstream, tmp_path: Path) -> None:
    url = f"{served.url}/missing-1-0.conda"
    with pytest.raises(DownloadError) as caught:
        _way().download(url, tmp_path / "target")
    assert (caught.value.kind, caught.value.status) == (ErrorKind.GONE, 404)
    assert caught.value.text == (
        f"py-rattler: HTTP status client error (404 Not Found) for url ({url})"
    )
    assert served.paths == ["/missing-1-0.conda"]  # the tries are counted elsewhere


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        _way().download(f"http://127.0.0.1:9/{NAME}", tmp_path / "target")
    assert (caught.value.kind, caught.value.status) == (ErrorKind.CUT_OFF, None)


def test_rattler_finds_its_credentials(served: Upstream, tmp_path: Path) -> None:
    served.authorization = "Bearer hidden"
    url = f"{served.url}/{NAME}"
    with pytest.raises(DownloadError) as caught:
        _way().download(url, tmp_path / "target")
    assert caught.value.status == 401
    stored = _file(tmp_path / "auth.json", "127.0.0.1", {"BearerToken": "hidden"})
    _way(more={"RATTLER_AUTH_FILE": str(stored)}).download(url, tmp_path / "named")
    assert (tmp_path / "named").read_bytes() == BYTES
    wrong = _file(tmp_path / "wrong.json", "127.0.0.1", {"BearerToken": "other"})
    config = PixiConfig(authentication_override_file=stored)
    _way(config, {"RATTLER_AUTH_FILE": str(wrong)}).download(url, tmp_path / "over")
    assert (tmp_path / "over").read_bytes() == BYTES


def test_a_broken_store_is_not_quoted(served: Upstream, tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text('{"127.0.0.1": {"hidden": 1}}')
    with pytest.raises(DownloadError) as caught:
        _way(more={"RATTLER_AUTH_FILE": str(tmp_path / "auth.json")}).download(
            f"{served.url}/{NAME}", tmp_path / "target"
        )
    assert "failed to parse" in caught.value.text
    assert "hidden" not in caught.value.text


def test_s3(served: Upstream, tmp_path: Path) -> None:
    """A request that rattler signs, at an endpoint of the configuration."""
    folder = served.folder / "bucket" / "chan"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(BYTES)
    keys = {"access_key_id": "AK", "secret_access_key": "hidden", "session_token": None}
    stored = _file(tmp_path / "auth.json", "s3://bucket/chan", {"S3Credentials": keys})
    options = S3Options(
        bucket="bucket", endpoint_url=served.url, region="eu-central-1", path_style=True
    )
    way = _way(PixiConfig(s3_options=(options,)), {"RATTLER_AUTH_FILE": str(stored)})
    way.download(f"s3://bucket/chan/{NAME}", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == BYTES
    (request,) = served.requests
    assert request.path == f"/bucket/chan/{NAME}"
    assert "X-Amz-Credential=AK%2F" in request.target
    with pytest.raises(DownloadError) as caught:
        way.download("s3://bucket/chan/missing-1-0.conda", tmp_path / "missing")
    assert caught.value.status == 404
    assert "X-Amz" not in str(caught.value.details)  # the signature is a secret for a while


def test_a_configured_proxy_is_used(served: Upstream, tmp_path: Path) -> None:
    config = PixiConfig(http_proxy=served.url)
    _way(config).download(f"http://made-up.test/{NAME}", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == BYTES
    assert [request.target for request in served.requests] == [f"http://made-up.test/{NAME}"]


def test_loopback_goes_past_a_proxy(served: Upstream, tmp_path: Path) -> None:
    dead = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": ""}
    _way(more=dead | {"no_proxy": ""}).download(f"{served.url}/{NAME}", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == BYTES


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Upstream]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    folder = tmp_path / "secure"
    folder.mkdir()
    (folder / NAME).write_bytes(BYTES)
    with Upstream(folder, tls=context) as server:
        yield server


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_named_authority_is_trusted(secure: Upstream, tmp_path: Path, name: str) -> None:
    url = f"{secure.url}/{NAME}"
    with pytest.raises(DownloadError):
        _way().download(url, tmp_path / "target")
    _way(more={name: str(TLS / "ca.pem")}).download(url, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == BYTES


def test_no_verification(secure: Upstream, tmp_path: Path) -> None:
    """Older versions cannot, and say so."""
    way = _way(PixiConfig(tls_no_verify=True))
    if CAN_BE_CONFIGURED:
        way.download(f"{secure.url}/{NAME}", tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == BYTES
        return
    with pytest.raises(DownloadError) as caught:
        way.download(f"{secure.url}/{NAME}", tmp_path / "target")
    assert caught.value.text == (
        "py-rattler: this version cannot do without verification (tls-no-verify)"
    )
    assert caught.value.kind is ErrorKind.TLS_NOT_TURNED_OFF


def test_what_the_child_is_told(tmp_path: Path) -> None:
    way = RattlerClient(
        config=PixiConfig(authentication_override_file=Path("over.json")),
        proxies=Proxies(source="x", https="http://s:1", http="http://p:1", bypass=("a.example",)),
        trust=Trust(
            sources=(
                Source(name="SSL_CERT_FILE", path="a.pem"),
                Source(name="SSL_CERT_DIR", path=str(tmp_path)),
                Source(name="SSL_CERT_DIR", path=str(tmp_path)),
            )
        ),
        environ={
            "PATH": "/bin",
            "Https_Proxy": "http://other:1",
            "all_proxy": "http://other:1",
            "SSL_CERT_FILE": "/env/cacert.pem",
            "RATTLER_AUTH_FILE": "named.json",
        },
    )
    assert way.child_environment() == {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://s:1",
        "http_proxy": "http://p:1",
        "NO_PROXY": "a.example,localhost,127.0.0.0/8,::1",
        "SSL_CERT_FILE": "a.pem",
        "SSL_CERT_DIR": f"{tmp_path}{os.pathsep}{tmp_path}",
        "RATTLER_AUTH_FILE": "over.json",
    }


@pytest.mark.parametrize(
    ("text", "status", "kind"),
    [
        (
            "HTTP status client error (403 Forbidden) for url (https://a/t/hidden/x)",
            403,
            ErrorKind.FORBIDDEN,
        ),
        ("Manifest request failed with status 401 Unauthorized", 401, ErrorKind.UNAUTHORIZED),
        (
            "error sending request for url (https://u:hidden@a.example/503)",
            None,
            ErrorKind.CUT_OFF,
        ),
        (
            "failed to parse /x/auth.json: invalid type: string hidden",
            None,
            ErrorKind.UNAUTHORIZED,
        ),
        (
            "this version cannot do without verification (tls-no-verify)",
            None,
            ErrorKind.TLS_NOT_TURNED_OFF,
        ),
    ],
)
def test_refusals(text: str, status: int | None, kind: ErrorKind) -> None:
    error = refusal(text, "https://a.example/x", ())
    assert (error.kind, error.status) == (kind, status)
    assert "hidden" not in error.text


UNSIGNED = "failed to presign the S3 GET request"
NO_KEYS = "no keys are set that open the bucket b"


@pytest.mark.parametrize(
    ("text", "buckets", "kind", "message"),
    [
        (UNSIGNED, (), ErrorKind.S3_OPTIONS, "nothing is set for the bucket b"),
        (UNSIGNED, ("b",), ErrorKind.S3_KEYS, NO_KEYS),
        ("HTTP status client error (403 Forbidden)", ("b",), ErrorKind.S3_KEYS, NO_KEYS),
        (
            "HTTP status client error (400 Bad Request)",
            ("b",),
            ErrorKind.S3_OPTIONS,
            "what is set does not fit the bucket b",
        ),
        (
            "HTTP status client error (404 Not Found)",
            ("b",),
            ErrorKind.GONE,
            "HTTP 404 from the bucket b",
        ),
        (
            "HTTP status server error (503 Slow Down)",
            ("b",),
            ErrorKind.SERVER_ERROR,
            "HTTP 503 from the bucket b",
        ),
        ("error sending request", ("b",), ErrorKind.CUT_OFF, "the bucket b could not be asked"),
        ("unsupported authentication method", ("b",), ErrorKind.S3_KEYS, NO_KEYS),  # before 0.28
    ],
)
def test_refusals_of_a_bucket(
    text: str, buckets: tuple[str, ...], kind: ErrorKind, message: str
) -> None:
    error = refusal(text, "s3://b/chan/noarch/a-1-0.conda", buckets)
    assert (error.kind, error.text) == (kind, message)
    assert error.details == (() if "presign" in text else (("said", f"py-rattler: {text}"),))


def test_one_child_for_all(served: Upstream, tmp_path: Path) -> None:
    """Side by side, and none is left behind."""
    served.always("*", together(2))
    way = _way()
    with ThreadPoolExecutor(8) as threads:
        url = f"{served.url}/{NAME}"
        wanted = [threads.submit(way.download, url, tmp_path / f"{at}") for at in range(8)]
    child = way._child
    assert [each.result() for each in wanted] == [None] * 8
    assert {(tmp_path / f"{at}").read_bytes() for at in range(8)} == {BYTES}
    assert served.most_at_once > 1
    way.download(f"{served.url}/{NAME}", tmp_path / "more")
    assert way._child is child
    assert child is not None
    way.close()
    assert child.wait(5) != 0


def test_a_child_that_dies_is_told_and_replaced(served: Upstream, tmp_path: Path) -> None:
    served.once("*", late(30))
    way = _way()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(way.download, f"{served.url}/{NAME}", tmp_path / "target")
        while not served.requests:
            time.sleep(0.02)
        assert way._child is not None
        way._child.kill()
        with pytest.raises(MirrorError) as caught:
            waiting.result(5)
    assert str(caught.value).startswith("py-rattler (download): ended with status ")
    assert caught.value.problems[0].code is ExitCode.PROGRAM
    way.download(f"{served.url}/{NAME}", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == BYTES
