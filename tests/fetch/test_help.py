"""What a person is told of each cause, by the task, and that it mends that cause."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.core.errors import ExitCode
from scripts.network.errors import ErrorKind
from tests.fetch.conftest import Lone
from tests.support.replies import Reply, login_page, redirect, status, wrong_bytes
from tests.support.upstream import Upstream

NAME = "one-1.0-0.conda"
PATH = f"noarch/{NAME}"
TLS = Path(__file__).parents[1] / "data" / "tls"
LOG_IN = "`pixi auth login HOST --token TOKEN`, or netrc"

# A command, a variable or an option to set, a table of a configuration, a setting of ours. To run
# the same again mends nothing where it is all that is said, but where only time helps.
_MENDS = re.compile(r"`[^`]+`|{update}|\b[A-Z]+(?:_[A-Z]+)+=|--[a-z]+\b|channel-dir|[A-Z]+_PROXY")
_ONLY_TIME = {ErrorKind.CUT_OFF, ErrorKind.SERVER_ERROR, ErrorKind.BUSY, ErrorKind.IN_USE}
_ONLY_TIME |= {ErrorKind.DISK, ErrorKind.TOO_MANY_REQUESTS}


def complaints(table: Mapping[ErrorKind, str]) -> list[str]:
    """Say of every kind of error what its help lacks."""
    found = [f"{kind.name}: has no row" for kind in ErrorKind if kind not in table]
    seen: dict[str, ErrorKind] = {}
    for kind, text in table.items():
        if kind not in _ONLY_TIME and not _MENDS.search(text):
            found.append(f"{kind.name}: names no command and no setting")
        if text in seen:
            found.append(f"{kind.name}: the words of {seen[text].name}")
        seen[text] = kind
        if kind.code not in {ExitCode.FINDINGS, ExitCode.USAGE, ExitCode.NETWORK}:
            found.append(f"{kind.name}: exit code {kind.code}")
    return found


HELP: dict[ErrorKind, str] = {kind: kind.value for kind in ErrorKind}


def test_every_cause_has_help_of_its_own() -> None:
    assert complaints(HELP) == []


def test_a_cause_without_help_is_found() -> None:
    broken: dict[ErrorKind, str] = {
        kind: text for kind, text in HELP.items() if kind is not ErrorKind.GONE
    }
    broken[ErrorKind.NOT_WRITABLE] = "see to it, then {rerun}"
    broken[ErrorKind.FORBIDDEN] = broken[ErrorKind.UNAUTHORIZED]
    assert complaints(broken) == [
        "GONE: has no row",
        "FORBIDDEN: the words of UNAUTHORIZED",
        "NOT_WRITABLE: names no command and no setting",
    ]


def told(message: str, url: str, help_line: str, **details: str) -> str:
    """Write the message as it must be."""
    rows = [*((key.replace("_", " "), text) for key, text in details.items()), ("from", url)]
    width = max(len(label) for label, _ in rows)
    lines = [
        f"error: {PATH}: {message}",
        *(f"  {label.ljust(width)}  {text}" for label, text in rows),
    ]
    return "\n".join([*lines, f"help: {help_line}"]) + "\n"


FORBIDDEN = f"if it wants credentials: {LOG_IN}; else only its keeper can let you have it"

OWN_LOGIN = (
    "if the user or token in its URL is wrong, correct it there (no other counts): in the manifest,"
    " then `pixi lock`; in `[mirrors]`, `locks` or --mirror; else only its keeper can let you have"
    " it"
)


def answer(kind: str, body: bytes, code: int = 403) -> Reply:
    return Reply(status=code, body=body, headers=(("Content-Type", kind),))


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (
            "application/json",
            b'{"errors": [{"message":\n  "held back by policy no-gpl"}]}',
            '{"errors": [{"message": "held back by policy no-gpl"}]}',
        ),
        (
            "application/problem+json; charset=utf-8",
            b'{"detail": "for members", "token": "abc-123", "see": "https://u:pw@h.test/?sig=1"}',
            '{"detail": "for members", "token": "********", "see": "https://********@h.test/?********"}',
        ),
        (
            "application/xml",
            (
                b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
                b"<AWSAccessKeyId>AKIA1</AWSAccessKeyId></Error>"
            ),
            (
                "<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
                "<AWSAccessKeyId>********</AWSAccessKeyId></Error>"
            ),
        ),
        ("text/plain", b"no entry for tok-SECRET", "no entry for ********"),
        (
            "text/plain",
            b"no entry for me of my_tok-SECRETs",
            "no entry for ******** of my_********s",
        ),
        ("text/plain", b"x" * 60_000, "x" * 200 + "…"),
    ],
)
def test_what_a_server_says_of_a_refusal(
    lone: Lone, upstream: Upstream, *, kind: str, body: bytes, said: str
) -> None:
    """Its own words, without what was sent to it, and no more of them than a line.

    The name that is sent is short: as a part of other words it stays.
    """
    credentials = Path.home() / ".rattler" / "credentials.json"
    credentials.parent.mkdir()
    sent = {"BasicHTTP": {"username": "me", "password": "tok-SECRET"}}
    credentials.write_text(json.dumps({"127.0.0.1": sent}), encoding="utf-8")
    upstream.always("*.conda", answer(kind, body))
    url = f"{upstream.url}/ch/{PATH}"
    assert lone.fetch(f"{upstream.url}/ch") == (
        2,
        told("HTTP 403 Forbidden", url, FORBIDDEN, said=said),
    )


def test_what_a_server_says_is_shown_where_there_is_a_keyring(
    lone: Lone, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then rattler asks once more, and tells less of the same denial. A control: of another one."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/none")  # Windows needs none
    url = f"{upstream.url}/ch/{PATH}"
    upstream.always("*.conda", answer("text/plain", b"held back by policy no-gpl"))
    expected = told("HTTP 403 Forbidden", url, FORBIDDEN, said="held back by policy no-gpl")
    assert lone.fetch(f"{upstream.url}/ch") == (2, expected)
    assert len(upstream.requests) == 2
    upstream.once("*.conda", answer("text/plain", b"held back by policy no-gpl"))
    upstream.always("*.conda", answer("text/plain", b"who are you?", 401))
    message = f"py-rattler: HTTP status client error (401 Unauthorized) for url ({url})"
    help_line = f"give credentials: {LOG_IN}"
    assert lone.fetch(f"{upstream.url}/ch") == (2, told(message, url, help_line))


@pytest.mark.parametrize(
    "reply",
    [
        answer("text/html", b"<html>403 for ever</html>"),
        answer("application/octet-stream", b"403"),
        answer("text/plain", b"Forbidden.\n"),
        status(403),
    ],
    ids=["a page", "bytes", "nothing new", "no type"],
)
def test_what_says_nothing_is_not_shown(lone: Lone, upstream: Upstream, reply: Reply) -> None:
    upstream.always("*.conda", reply)
    url = f"{upstream.url}/ch/{PATH}"
    assert lone.fetch(f"{upstream.url}/ch") == (2, told("HTTP 403 Forbidden", url, FORBIDDEN))


@pytest.mark.parametrize(
    ("reply", "code", "message", "help_line"),
    [
        (status(401), 2, "HTTP 401 Unauthorized", f"give credentials: {LOG_IN}"),
        (
            status(404),
            1,
            "HTTP 404 Not Found",
            (
                "`pixi run update-mirror` moves on from what is no longer there; or, if it is"
                f" private, give credentials: {LOG_IN}"
            ),
        ),
        (
            status(400),
            2,
            "HTTP 400 Bad Request",
            (
                "is it the channel you meant? correct it in `channels`, then `pixi lock`, or"
                " `[mirrors]`"
            ),
        ),
        (
            Reply(status=302, headers=(("Location", "ftp://h.test/x"),)),
            2,
            "redirected away from http, to ftp://h.test/x",
            "name in `[mirrors]` a server that has the files themselves: `pixi config edit`",
        ),
        *(
            (
                redirect(to),
                2,
                "redirected to what is no URL",
                "name in `[mirrors]` a server that has the files themselves: `pixi config edit`",
            )
            for to in ("http://[::1", "http://.a..b./x", "http://*/x", "http://a:b/x")
        ),
        (
            login_page(),
            1,
            "a web page came instead of the artifact (a login page?)",
            (
                "is it the URL you meant? if so, log in: `pixi auth login HOST --token TOKEN`, or"
                " as the page says; then run `pixi run fetch` again"
            ),
        ),
    ],
)
def test_answers(
    lone: Lone, upstream: Upstream, *, reply: Reply, code: int, message: str, help_line: str
) -> None:
    upstream.always("*.conda", reply)
    expected = told(message, f"{upstream.url}/ch/{PATH}", help_line)
    assert lone.fetch(f"{upstream.url}/ch") == (code, expected)


@pytest.mark.parametrize(
    ("code", "channel", "help_line"),
    [
        (401, "http://user:old@HOST/ch", OWN_LOGIN),
        (403, "http://HOST/t/old/ch", OWN_LOGIN),
        (401, "http://HOST/ch", f"give credentials: {LOG_IN}"),
        (403, "http://HOST/ch", FORBIDDEN),
        (403, "http://HOST/source/t/toml", FORBIDDEN),  # as PyPI has it
    ],
)
def test_a_login_in_the_url_is_refused(
    lone: Lone, upstream: Upstream, *, code: int, channel: str, help_line: str
) -> None:
    """It counts before any that is stored."""
    upstream.always("*.conda", status(code))
    expected, err = lone.fetch(channel.replace("HOST", f"127.0.0.1:{upstream.port}"))
    assert (expected, err.splitlines()[-1]) == (2, f"help: {help_line}")
    assert "old" not in err


@pytest.mark.parametrize(
    ("channel", "placeholder"),
    [
        ("URL/t/<TOKEN>/ch", "<TOKEN>"),
        ("URL/t/%3CYOUR-TOKEN%3E/ch", "<YOUR-TOKEN>"),
        ("URL/t/${CONDA_TOKEN}/ch", "${CONDA_TOKEN}"),
        ("URL/t/$CONDA_TOKEN/ch", "$CONDA_TOKEN"),
        ("URL/t/YOUR_API_TOKEN/ch", "YOUR_API_TOKEN"),
        ("http://{user}:word@HOST/ch", "{user}"),
        ("http://user:****@HOST/ch", "****"),  # as pixi locks a direct URL
        ("oci://HOST/<TEAM>/ch", "<TEAM>"),  # which rattler's client asks for
    ],
)
def test_a_placeholder_in_the_url(
    lone: Lone, upstream: Upstream, channel: str, placeholder: str
) -> None:
    """Nobody is asked; where `[mirrors]` puts something else there, all is well."""
    channel = channel.replace("URL", upstream.url).replace("HOST", f"127.0.0.1:{upstream.port}")
    code, err = lone.fetch(channel)
    assert code == 2
    assert err.splitlines()[0] == (
        f"error: {PATH}: its URL has {placeholder} in it, where a token or a name should stand"
    )
    assert err.splitlines()[-1] == (
        "help: take it out of the URL in the manifest, then `pixi lock`; what it stands for is"
        " given apart: `pixi auth login HOST --username USER --password PASSWORD`, a token"
        " by `--conda-token TOKEN`, or netrc"
    )
    assert upstream.requests == []
    if placeholder == "****":  # the control: a password that ends so
        assert lone.fetch(channel.replace("****", "word****"))[0] == 0
    if "/t/" in channel:
        prefix = json.dumps(channel.rpartition("/")[0])
        lone.configure(f'[mirrors]\n{prefix} = ["{upstream.url}"]\n')
        assert lone.fetch(channel)[0] == 0


S3 = "s3://bkt/team"


def test_a_bucket_that_nothing_is_set_for(
    lone: Lone, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    log_in = "`pixi auth login s3://bkt --s3-access-key-id ID --s3-secret-access-key KEY`"
    assert lone.fetch(S3) == (
        2,
        told(
            "nothing is set for the bucket bkt",
            f"{S3}/{PATH}",
            "set endpoint-url, region and force-path-style in `[workspace.s3-options.bkt]`, and"
            f" give keys: {log_in}; for AWS, AWS_REGION, AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY do",
        ),
    )
    lone.manifest(
        f'\n[workspace.s3-options.bkt]\nendpoint-url = "{upstream.url}"\nregion = "r"\n'
        "force-path-style = true\n"
    )
    assert lone.fetch(S3) == (
        2,
        told(
            "no keys are set that open the bucket bkt",
            f"{S3}/{PATH}",
            f"give keys that may read it: {log_in}, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
    )
    (upstream.folder / "ch").rename(upstream.folder / "team")
    (upstream.folder / "bkt").mkdir()
    (upstream.folder / "team").rename(upstream.folder / "bkt" / "team")
    credentials = Path.home() / ".rattler" / "credentials.json"  # as `pixi auth login` writes it
    credentials.parent.mkdir()
    if os.name == "nt":  # itself, and no variable, tells rattler where the home folder is
        monkeypatch.setenv("RATTLER_AUTH_FILE", str(credentials))
    credentials.write_text('{"bkt": {"BearerToken": "hidden"}}', encoding="utf-8")
    code, err = lone.fetch(S3)
    assert code == 2
    assert err.startswith(f"error: {PATH}: no keys are set that open the bucket bkt\n")
    keys = {"access_key_id": "ID", "secret_access_key": "KEY"}
    credentials.write_text(json.dumps({"s3://bkt": {"S3Credentials": keys}}), encoding="utf-8")
    assert lone.fetch(S3) == (0, "")
    shutil.rmtree(lone.root / "local-channel")
    upstream.once("*", status(404))  # no login helps: who may not look is told 403
    code, err = lone.fetch(S3)
    assert code == 1
    help_line = "`pixi run update-mirror` moves on from what is no longer there"
    assert err.endswith(f"\nhelp: {help_line}\n")
    upstream.always("*", status(503))
    code, err = lone.fetch(S3)
    assert code == 3
    assert err.endswith("\nhelp: run `pixi run fetch` again later\n")  # begins anew


def test_what_ends_sooner_than_the_lock_says(lone: Lone, upstream: Upstream) -> None:
    """A file does not go on where it stopped; a connection that broke does."""
    file = upstream.folder / "ch" / PATH
    file.write_bytes(file.read_bytes()[:-40])
    size = lone.written.size
    sizes = f"  expected  {size} bytes\n  actual    {size - 40} bytes\n"
    for channel, code, text, help_line in (
        (
            (upstream.folder / "ch").as_uri(),
            1,
            "size differs from pixi.lock",
            (
                "nothing was kept; run `pixi run fetch` again, or `pixi run update-mirror` if the"
                " channel replaced the file"
            ),
        ),
        (
            f"{upstream.url}/ch",
            3,
            "ended too soon",
            "run `pixi run fetch` again; it goes on where it stopped",
        ),
    ):
        upstream.always("*", Reply(has_length=False))
        assert lone.fetch(channel) == (
            code,
            f"error: {PATH}: {text}\n{sizes}  from      {channel}/{PATH}\nhelp: {help_line}\n",
        )


def test_a_bucket_of_google(lone: Lone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is logged in to Google: nothing comes of saying it again."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "no-such.json")
    code, err = lone.fetch("gcs://bkt/team")
    assert code == 2
    assert err.endswith(
        f"\n  from  gcs://bkt/team/{PATH}\nhelp: log in to Google: `gcloud auth"
        " application-default login`, or name a file with a key:"
        " GOOGLE_APPLICATION_CREDENTIALS=FILE.json\n"
    )
    # Control: what rattler could not reach may be there when it is asked again.
    assert lone.fetch("oci://127.0.0.1:9/team")[0] == 3


def test_a_channel_that_is_a_folder_of_another_machine(lone: Lone, tmp_path: Path) -> None:
    share = tmp_path / "share" / "conda"
    location = str(share / "noarch" / NAME)
    assert lone.fetch(share.as_uri(), location) == (
        2,
        told(
            "its channel is a folder of the machine that locked, and not here",
            location,
            "mount it there, or name in `channels` one that this machine reaches and lock anew:"
            " `pixi lock`",
            folder=str(share),
        ),
    )
    share.mkdir(parents=True)
    assert lone.fetch(share.as_uri(), location) == (
        2,
        told(
            f"{location}: No such file or directory",
            location,
            "put it back there, or lock what is there now: `pixi run update-mirror`",
        ),
    )
    (share / "noarch").mkdir()
    lone.written.path.rename(location)
    assert lone.fetch(share.as_uri(), location) == (0, "")


def test_a_mirror_without_the_channel(lone: Lone, upstream: Upstream) -> None:
    """Perhaps it is another folder of that server: nobody knows what the channel has."""
    channel, config = "https://conda.example.org/ch", lone.root / ".pixi" / "config.toml"
    lone.configure(f'[mirrors]\n"{channel}" = ["{upstream.url}/elsewhere"]\n')
    assert lone.fetch(channel) == (
        1,
        told(
            "HTTP 404 Not Found",
            f"{upstream.url}/elsewhere/{PATH}",
            "has that mirror this channel, at this URL? `pixi config edit`; what the channel itself"
            " no longer has, `pixi run update-mirror` moves on from",
            mirrors=f"{channel} → {upstream.url}/elsewhere (in {config})",
        ),
    )
    lone.configure(f'[mirrors]\n"{channel}" = ["{upstream.url}/ch"]\n')
    assert lone.fetch(channel) == (0, "")


def test_a_mirror_that_is_a_folder(lone: Lone, upstream: Upstream, tmp_path: Path) -> None:
    channel, mirror = "https://conda.example.org/ch", tmp_path / "mirror"
    lone.configure(f'[mirrors]\n"{channel}" = ["{mirror.as_uri()}"]\n')
    assert lone.fetch(channel) == (
        2,
        told(
            "the mirror of its channel is not there",
            f"{mirror.as_uri()}/{PATH}",
            "mount it there, or take it out of `[mirrors]`: `pixi config edit`",
            folder=str(mirror),
            mirrors=f"{channel} → {mirror.as_uri()} (in {lone.root / '.pixi' / 'config.toml'})",
        ),
    )
    (upstream.folder / "ch").rename(mirror)
    assert lone.fetch(channel) == (0, "")


def test_another_run_at_the_same_artifact(lone: Lone, upstream: Upstream) -> None:
    from scripts.channel.part import PartFile

    parts = lone.root / ".pixi-mirror" / "local-channel" / "cache" / "parts"
    parts.mkdir(parents=True)
    path = parts / f"{lone.written.sha256}.part"
    with PartFile(path, "sha256"):
        code, err = lone.fetch(f"{upstream.url}/ch")
    assert (code, err.splitlines()[0], err.splitlines()[-1]) == (
        2,
        f"error: {PATH}: {path}: another run is writing to it",
        "help: wait until the other run is over, then run `pixi run fetch` again",
    )
    assert lone.fetch(f"{upstream.url}/ch") == (0, "")


UNTRUSTED = (
    "TLS: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer"
    " certificate"
)
OTHER = str(TLS / "expired.pem")
CA = str(TLS / "ca.pem")


@pytest.mark.parametrize(
    ("environ", "config", "rows", "help_line"),
    [
        (
            {},
            "",
            [
                "  certificates  the system's certificates",
                "  certificates  Mozilla's certificates, as nothing is set",
            ],
            "name a file with the certificate of the server's authority: SSL_CERT_FILE=FILE.pem",
        ),
        (
            {"REQUESTS_CA_BUNDLE": CA, "SSL_CERT_FILE": OTHER},
            "",
            [f"  certificates  SSL_CERT_FILE={OTHER}", f"  not used      REQUESTS_CA_BUNDLE={CA}"],
            "name a file with the certificate of the server's authority: SSL_CERT_FILE=FILE.pem",
        ),
        (
            {"CURL_CA_BUNDLE": CA, "SSL_CERT_FILE": OTHER},
            'tls-root-certs = "webpki"\n',
            [
                "  certificates  Mozilla's certificates (tls-root-certs = webpki)",
                f"  certificates  SSL_CERT_FILE={OTHER}",
                f"  not used      CURL_CA_BUNDLE={CA}",
            ],
            (
                "take the other store, `pixi config set tls-root-certs system` or webpki; or name a"
                " file with the certificate of the server's authority: SSL_CERT_FILE=FILE.pem"
            ),
        ),
    ],
)
def test_certificates(
    lone: Lone,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    *,
    environ: Mapping[str, str],
    config: str,
    rows: list[str],
    help_line: str,
) -> None:
    """It is said whose certificates were asked, and what for them was not; the help mends it."""
    lone.configure(config)
    for name, path in environ.items():
        monkeypatch.setenv(name, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    with Upstream(upstream.folder, tls=context) as secure:
        code, err = lone.fetch(f"{secure.url}/ch")
        lines = err.splitlines()
        # What is refused by the system itself, as truststore has it, is told in its own words.
        is_openssl = sys.platform == "linux" or bool(environ)
        said = UNTRUSTED if is_openssl else "TLS: "
        assert code == 2
        assert lines[0].partition(" (_ssl")[0].startswith(f"error: {PATH}: {said}")
        assert lines[1:] == [
            *rows,
            f"  from          {secure.url}/ch/{PATH}",
            f"help: {help_line}",
        ]
        lone.configure("")
        monkeypatch.setenv("SSL_CERT_FILE", CA)
        assert lone.fetch(f"{secure.url}/ch") == (0, "")


def test_a_certificate_of_another_name_or_time(
    lone: Lone, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, trusted, host, help_line in (
        (
            "server.pem",
            CA,
            "127.1",
            (
                "call the server by the name in its certificate, in `channels` or `[mirrors]`; or"
                " is it another server, behind a portal or proxy?"
            ),
        ),
        (
            "expired.pem",
            OTHER,
            "127.0.0.1",
            (
                "is this machine's clock right (`date`)? if so, the server's keeper has to renew"
                " its certificate"
            ),
        ),
    ):
        monkeypatch.setenv("SSL_CERT_FILE", trusted)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / file)
        with Upstream(upstream.folder, tls=context) as secure:
            code, err = lone.fetch(f"https://{host}:{secure.port}/ch")
        assert (code, err.splitlines()[-1]) == (2, f"help: {help_line}")


def test_no_tls_where_it_was_expected(lone: Lone, upstream: Upstream) -> None:
    code, err = lone.fetch(f"https://127.0.0.1:{upstream.port}/ch")
    assert (code, err.splitlines()[-1]) == (
        2,
        (
            "help: write http:// for https://, or another port, in `channels`, `[mirrors]` or"
            " HTTPS_PROXY"
        ),
    )


@pytest.mark.parametrize(
    ("scheme", "message", "variable"),
    [
        ("http", "HTTP 407 Proxy Authentication Required", "http_proxy"),
        (
            "https",
            "proxy URL: tunnel connection failed: 407 Proxy Authentication Required",
            "HTTPS_PROXY",
        ),
    ],
)
def test_a_proxy_that_wants_credentials(
    lone: Lone, upstream: Upstream, scheme: str, message: str, variable: str
) -> None:
    upstream.always("*", status(407))
    lone.configure(f'[proxy-config]\n{scheme} = "{upstream.url}"\n')
    channel = f"{scheme}://conda.example.org/ch"
    assert lone.fetch(channel) == (
        2,
        told(
            message.replace("URL", upstream.url),
            f"{channel}/{PATH}",
            f"write `USER:PASSWORD@` in front of the proxy's host, in {variable} or"
            " `[proxy-config]`",
        ),
    )


@pytest.mark.parametrize(
    ("host", "shown"),
    [("it\\", "it\\"), ("it\\@conda.example.org", "********@conda.example.org")],
)
def test_a_backslash_in_the_host(lone: Lone, host: str, shown: str) -> None:
    """Python sees the host behind the `@`, pixi the one before the backslash; nobody is asked."""
    assert lone.fetch(f"http://{host}/ch") == (
        2,
        told(
            "its URL has a backslash in its host",
            f"http://{shown}/ch/{PATH}",
            "correct the URL where it is written: `channels` (then `pixi lock`), `[mirrors]`,"
            " --mirror",
        ),
    )


def test_a_proxy_whose_certificate_nobody_trusts(
    lone: Lone, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The help mends it: then that proxy, which connects to nobody, is what is wrong."""
    for chain, trusted, code, help_line in (
        ("server", OTHER, 2, "name a file with the certificate of the server's authority: SSL_CER"),
        (
            "expired",
            OTHER,
            2,
            "is this machine's clock right (`date`)? if so, the server's keeper ",
        ),
        ("server", CA, 3, "correct HTTPS_PROXY or `[proxy-config]`, or name the host in NO_PROXY"),
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / f"{chain}.pem")
        with Upstream(upstream.folder, tls=context) as secure:
            lone.configure(f'[proxy-config]\nhttps = "{secure.url}"\n')
            monkeypatch.setenv("SSL_CERT_FILE", trusted)
            found, err = lone.fetch("https://conda.example.org/ch")
            lines = err.splitlines()
            assert (found, lines[-1].startswith(f"help: {help_line}")) == (code, True)
            assert lines[0].startswith(f"error: {PATH}: proxy {secure.url}: ")
            assert (f"  certificates  SSL_CERT_FILE={trusted}" in lines) == (code == 2)


def test_wrong_bytes(lone: Lone, upstream: Upstream) -> None:
    upstream.always("*.conda", wrong_bytes(17))
    help_line = (
        "nothing was kept; run `pixi run fetch` again, or `pixi run update-mirror` if the channel"
        " replaced the file"
    )
    assert lone.fetch(f"{upstream.url}/ch") == (
        1,
        told(
            "size differs from pixi.lock",
            f"{upstream.url}/ch/{PATH}",
            help_line,
            expected=f"{lone.written.size} bytes",
            actual="17 bytes",
        ),
    )
