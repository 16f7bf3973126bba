"""Each key of a file, each file over another, and each file that is broken."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.core.errors import ExitCode, MirrorError
from scripts.network.configuration import (
    PixiConfig,
    RootCerts,
    S3Options,
    merge_configs,
    parse_pixi_config,
    read_pixi_config,
)

WHOLE = """
default-channels = ["conda-forge"]
tls-no-verify = true
tls-root-certs = "native"
authentication-override-file = "/secret/place.json"

[mirrors]
"https://conda.anaconda.org" = ["https://a.example/x", "http://127.0.0.1:8000/"]
"HTTPS://Prefix.dev:443/conda-forge/" = ["https://user:hidden@b.example", "file:///srv/chan"]

[concurrency]
solves = 1
downloads = 7

[proxy-config]
https = "http://user:hidden@proxy.example:3128"
http = "proxy.example"
non-proxy-hosts = [".cern.ch", "localhost"]

[s3-options.bucket]
endpoint-url = "https://minio.example"
region = "eu-central-1"
force-path-style = true

[s3-options.other]
endpoint-url = "https://minio.example"
region = "eu-central-1"

[pypi-config]
index-url = "https://user:hidden@pypi.example/simple"
keyring-provider = "subprocess"
allow-insecure-host = ["pypi.example:8443"]
"""


def test_every_key_is_read() -> None:
    assert parse_pixi_config(WHOLE, "config.toml") == PixiConfig(
        files=("config.toml",),
        mirrors=(
            ("https://conda.anaconda.org/", ("https://a.example/x/", "http://127.0.0.1:8000/")),
            (
                "https://prefix.dev/conda-forge/",
                ("https://user:hidden@b.example/", "file:///srv/chan/"),
            ),
        ),
        https_proxy="http://user:hidden@proxy.example:3128",
        http_proxy="proxy.example",
        non_proxy_hosts=(".cern.ch", "localhost"),
        tls_no_verify=True,
        tls_root_certs=RootCerts.SYSTEM,
        downloads=7,
        authentication_override_file=Path("/secret/place.json"),
        s3_options=(
            S3Options(
                bucket="bucket",
                endpoint_url="https://minio.example",
                region="eu-central-1",
                path_style=True,
            ),
            S3Options(
                bucket="other",
                endpoint_url="https://minio.example",
                region="eu-central-1",
                path_style=False,
            ),
        ),
        uses_keyring=True,
        insecure_hosts=("pypi.example:8443",),
    )


def test_an_empty_file_says_nothing() -> None:
    assert parse_pixi_config("", "config.toml") == PixiConfig(files=("config.toml",))


def test_the_old_spellings_are_read() -> None:
    layer = parse_pixi_config('tls_no_verify = true\nauthentication_override_file = "a"', "c")
    assert layer.tls_no_verify is True
    assert layer.authentication_override_file == Path("a")


def test_nothing_shows_what_may_hold_a_password() -> None:
    layer = parse_pixi_config(WHOLE, "config.toml")
    merged = merge_configs(PixiConfig(), layer)
    for text in (repr(layer), str(layer), repr(merged), str(merged)):
        assert "hidden" not in text
        assert "config.toml" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tls-no-verify = 1", "tls-no-verify is not true or false\n  actual  1"),
        (
            'tls-root-certs = "mine"',
            "tls-root-certs is not one of webpki, system, native, all\n  actual  'mine'",
        ),
        (
            "concurrency.downloads = 0",
            "concurrency.downloads is not a whole number from 1 up\n  actual  0",
        ),
        (
            "concurrency.downloads = true",
            "concurrency.downloads is not a whole number\n  actual  True",
        ),
        ("mirrors = 'hidden'", "mirrors is not a table"),
        ("proxy-config = 'user:hidden@proxy'", "proxy-config is not a table"),
        (
            '[mirrors]\n"https://u:hidden@a.example" = "https://u:hidden@b.example"',
            "mirrors.https://********@a.example is not a URL with a list of URLs",
        ),
        (
            '[mirrors]\n"https://a.example" = ["user:hidden@b.example"]',
            "mirrors.https://a.example is not a URL with a list of URLs",
        ),
        (
            '[mirrors]\n"https://a.example:x" = []',
            "mirrors.https://a.example:x is not a URL with a list of URLs",
        ),
        (
            '[mirrors]\n"conda-forge" = ["https://b.example"]',
            "mirrors.conda-forge is not a URL with a list of URLs",
        ),
        (
            'proxy-config.https = ["user:hidden@proxy"]',
            "proxy-config.https is not the URL of a proxy",
        ),
        (
            "[proxy-config]\nnon-proxy-hosts = 1",
            "proxy-config.non-proxy-hosts is not a list of strings\n  actual  1",
        ),
        ("pypi-config = 'hidden'", "pypi-config is not a table"),
        (
            "pypi-config.keyring-provider = 'native'",
            "pypi-config.keyring-provider is not one of disabled, subprocess\n  actual  'native'",
        ),
        (
            '[s3-options.b]\nregion = "x"',
            "s3-options.b has no endpoint-url",
        ),
        (
            '"https://u:hidden@a" = 1\n"https://u:hidden@a" = 2',
            'not TOML: Key "https://********@a" already exists. at line 2',
        ),
    ],
)
def test_a_broken_file_is_named_and_no_secret(text: str, message: str) -> None:
    with pytest.raises(MirrorError) as caught:
        parse_pixi_config(text, "/home/me/.pixi/config.toml")
    said = re.sub(r" col \d+\Z", "", str(caught.value))  # tomlkit's releases count otherwise
    assert said == f"/home/me/.pixi/config.toml: {message}"
    assert "hidden" not in str(caught.value)
    assert caught.value.problems[0].code is ExitCode.USAGE


def _merged(*texts: str) -> PixiConfig:
    layers = (parse_pixi_config(text, f"{index}.toml") for index, text in enumerate(texts))
    return reduce(merge_configs, layers, PixiConfig())


def test_mirrors_merge_key_by_key_and_the_last_wins() -> None:
    weak = '[mirrors]\n"https://a.example" = ["https://w"]\n"https://b.example" = ["https://w"]'
    strong = '[mirrors]\n"https://a.example/" = ["https://s"]'
    merged = _merged(weak, strong)
    assert merged.mirrors == (
        ("https://a.example/", ("https://s/",)),
        ("https://b.example/", ("https://w/",)),
    )
    assert merged.files == ("1.toml", "0.toml")


def test_the_last_file_wins_where_it_says_something() -> None:
    weak = (
        "tls-no-verify = true\ntls-root-certs = 'system'\nauthentication-override-file = 'w'\n"
        "concurrency.downloads = 3\nproxy-config.http = 'http://w'\n"
    )
    assert _merged(weak, "") == PixiConfig(
        tls_no_verify=True,
        tls_root_certs=RootCerts.SYSTEM,
        authentication_override_file=Path("w"),
        downloads=3,
        http_proxy="http://w",
        files=("1.toml", "0.toml"),
    )
    strong = (
        "tls-no-verify = false\ntls-root-certs = 'webpki'\nauthentication-override-file = 's'\n"
        "concurrency.downloads = 4\nproxy-config.http = 'http://s'\n"
    )
    assert _merged(weak, strong) == PixiConfig(
        tls_no_verify=False,
        tls_root_certs=RootCerts.WEBPKI,
        authentication_override_file=Path("s"),
        downloads=4,
        http_proxy="http://s",
        files=("1.toml", "0.toml"),
    )


@pytest.mark.parametrize(
    ("weak", "strong", "expected"),
    [
        ("concurrency.downloads = 3", "concurrency.downloads = 50", 3),  # 50 is no wish to pixi
        ("", "concurrency.downloads = 50", 50),
        ("concurrency.downloads = 50", "", 50),
        ("concurrency.solves = 3", "", None),
    ],
)
def test_downloads(weak: str, strong: str, expected: int | None) -> None:
    assert _merged(weak, strong).downloads == expected


@pytest.mark.parametrize(
    ("strong", "expected"),
    [
        ("", ("w",)),
        ("proxy-config.non-proxy-hosts = ['s']", ("s",)),
        ("proxy-config.https = 'http://s'", ()),  # a proxy of its own, with its own exceptions
    ],
)
def test_exceptions_belong_to_their_proxies(strong: str, expected: tuple[str, ...]) -> None:
    weak = "[proxy-config]\nhttps = 'http://w'\nnon-proxy-hosts = ['w']"
    assert _merged(weak, strong).non_proxy_hosts == expected


def test_a_file_that_cannot_be() -> None:
    with pytest.raises(MirrorError) as caught:
        _merged('authentication-override-file = "a\\u0000b"')
    assert str(caught.value).endswith(": authentication-override-file is not a path")


def test_the_environment_chooses_the_certificates(tmp_path: Path) -> None:
    (tmp_path / ".pixi").mkdir()
    (tmp_path / ".pixi" / "config.toml").write_text("tls-root-certs = 'webpki'")
    nobody = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    assert read_pixi_config(tmp_path, nobody).tls_root_certs is RootCerts.WEBPKI
    system = read_pixi_config(tmp_path, {**nobody, "PIXI_TLS_ROOT_CERTS": "native"})
    assert system.tls_root_certs is RootCerts.SYSTEM
    with pytest.raises(MirrorError) as caught:
        read_pixi_config(tmp_path, {**nobody, "PIXI_TLS_ROOT_CERTS": ""})
    assert str(caught.value) == (
        "PIXI_TLS_ROOT_CERTS: tls-root-certs is not one of webpki, system, native, all\n"
        "  actual  ''"
    )


def test_the_strongest_that_speaks_of_offline_wins(tmp_path: Path) -> None:
    """As pixi does: a variable over all files, and the workspace's own over the user's."""
    home, own = tmp_path / "home", tmp_path / ".pixi" / "config.toml"
    for folder in (home, own.parent):
        folder.mkdir()
    nobody = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PIXI_HOME": str(home)}

    def said_by(**variables: str) -> str | None:
        return read_pixi_config(tmp_path, nobody | variables).offline_by

    assert said_by() is None
    (home / "config.toml").write_text("offline = true")
    assert said_by() == str(home / "config.toml")
    own.write_text("tls-no-verify = true")
    assert said_by() == str(home / "config.toml")
    own.write_text("offline = false")
    assert said_by() == ""
    assert said_by(PIXI_OFFLINE="1") == "PIXI_OFFLINE"
    own.write_text("offline = true")
    assert said_by() == str(own)
    assert said_by(PIXI_OFFLINE="false") == ""


@given(st.lists(st.sampled_from(["https://a", "https://a/b/", "http://c:8/d"]), max_size=6))
def test_each_prefix_stands_once(prefixes: list[str]) -> None:
    texts = [f'[mirrors]\n"{each}" = ["https://m{at}"]' for at, each in enumerate(prefixes)]
    mirrors = _merged(*texts).mirrors
    last = {f"{each.rstrip('/')}/": f"https://m{at}/" for at, each in enumerate(prefixes)}
    assert dict(mirrors) == {prefix: (url,) for prefix, url in last.items()}
    assert len(mirrors) == len(last)
