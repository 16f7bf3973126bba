"""Mirrors as rattler chooses them, with rattler itself as oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.core.channel_url import origin
from scripts.core.errors import ExitCode, MirrorError
from scripts.network.configuration import parse_pixi_config
from scripts.network.mirrors import Mirrors, mirror_urls
from tests.support.replies import Reply
from tests.support.upstream import Upstream

NAME = "linux-64/a-1-0.conda"


def _of(text: str) -> Mirrors:
    return parse_pixi_config(f"[mirrors]\n{text}", "config.toml").mirrors


ANACONDA = _of(
    """
"https://conda.anaconda.org" = ["https://all.example/x", "http://b.example:8000/"]
"https://conda.anaconda.org/conda-forge" = ["https://forge.example", "https://conda.anaconda.org/conda-forge"]
"https://files.example" = ["file:///srv/channels", "s3://bucket/channels", "oci://ghcr.example/m"]
"https://with.example" = ["https://user:pw@mirror.example/m?sig=1"]
"https://forbidden.example" = []
"""
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            f"https://conda.anaconda.org/bioconda/{NAME}",
            [f"https://all.example/x/bioconda/{NAME}", f"http://b.example:8000/bioconda/{NAME}"],
        ),
        (
            f"https://conda.anaconda.org/conda-forge/{NAME}",
            [
                f"https://forge.example/{NAME}",
                f"https://conda.anaconda.org/conda-forge/{NAME}",
            ],
        ),
        # A prefix ends at a slash: this is another channel.
        (
            f"https://conda.anaconda.org/conda-forge-staging/{NAME}",
            [
                f"https://all.example/x/conda-forge-staging/{NAME}",
                f"http://b.example:8000/conda-forge-staging/{NAME}",
            ],
        ),
        (
            f"HTTPS://Conda.Anaconda.org:443/conda-forge/{NAME}",
            [
                f"https://forge.example/{NAME}",
                f"https://conda.anaconda.org/conda-forge/{NAME}",
            ],
        ),
        # As written: %2B stays %2B.
        (
            "https://conda.anaconda.org/conda-forge/noarch/a%2Bb-1-0.conda",
            [
                "https://forge.example/noarch/a%2Bb-1-0.conda",
                "https://conda.anaconda.org/conda-forge/noarch/a%2Bb-1-0.conda",
            ],
        ),
        (
            f"https://files.example/chan/{NAME}",
            [
                f"file:///srv/channels/chan/{NAME}",
                f"s3://bucket/channels/chan/{NAME}",
                f"oci://ghcr.example/m/chan/{NAME}",
            ],
        ),
        # The mirror's own user and query string; a query of the lock is the one to send.
        (f"https://with.example/c/{NAME}", [f"https://user:pw@mirror.example/m/c/{NAME}?sig=1"]),
        (
            f"https://with.example/c/{NAME}?sig=2",
            [f"https://user:pw@mirror.example/m/c/{NAME}?sig=2"],
        ),
        # Credentials of upstream are for upstream.
        (
            f"https://me:secret@conda.anaconda.org/conda-forge/{NAME}",
            [
                f"https://forge.example/{NAME}",
                f"https://me:secret@conda.anaconda.org/conda-forge/{NAME}",
            ],
        ),
        (f"https://prefix.dev/conda-forge/{NAME}", [f"https://prefix.dev/conda-forge/{NAME}"]),
        (f"http://conda.anaconda.org/c/{NAME}", [f"http://conda.anaconda.org/c/{NAME}"]),
        (f"https://conda.anaconda.org:444/c/{NAME}", [f"https://conda.anaconda.org:444/c/{NAME}"]),
        (f"/srv/chan/{NAME}", [f"/srv/chan/{NAME}"]),
        (f"./chan/{NAME}", [f"./chan/{NAME}"]),
        (f"file:///srv/chan/{NAME}", [f"file:///srv/chan/{NAME}"]),
    ],
)
def test_mirror_urls(url: str, expected: list[str]) -> None:
    assert list(mirror_urls(ANACONDA, url)) == expected


def test_without_mirrors_a_url_stays_as_it_is() -> None:
    assert mirror_urls((), "https://A.example:443//x/?") == ("https://A.example:443//x/?",)


def test_an_empty_list_forbids() -> None:
    with pytest.raises(MirrorError) as caught:
        mirror_urls(ANACONDA, f"https://forbidden.example/c/{NAME}")
    assert str(caught.value) == (
        "mirrors.https://forbidden.example/: names no mirror, so nothing below it can be fetched\n"
        "help: name a mirror there, or the prefix itself to ask upstream"
    )
    assert caught.value.problems[0].code is ExitCode.USAGE


@given(st.lists(st.sampled_from("abc"), max_size=4), st.sets(st.integers(0, 4)))
def test_the_longest_prefix_alone_decides(segments: list[str], depths: set[int]) -> None:
    """The prefixes of a path, some of them mirrored: the longest one that is."""
    full = "".join(f"{each}/" for each in segments)
    prefixes = {"".join(f"{each}/" for each in segments[:depth]): depth for depth in depths}
    text = "".join(f"'https://h/{prefix}' = ['http://m/{prefix}']\n" for prefix in prefixes)
    result = mirror_urls(_of(text), f"https://h/{full}x")
    if not prefixes:
        assert result == (f"https://h/{full}x",)
    else:
        assert result == (f"http://m/{full}x",)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://u:p@A.example:443/x", "https://a.example"),
        ("http://a.example:8080/x", "http://a.example:8080"),
        ("https://[::1]:443/x", "https://[::1]"),
        ("https://[::1]/x", "https://[::1]"),
        ("https://a.example:x/", "https://a.example:x"),
    ],
)
def test_origin(url: str, expected: str) -> None:
    assert origin(url) == expected


_ORACLE = """
import asyncio, json, os, sys
from rattler.networking import Client, MirrorMiddleware
from rattler.package_streaming import download_bytes
mirrors, urls = json.load(sys.stdin)
client = Client([MirrorMiddleware(mirrors)])
async def main():
    for url in urls:
        await download_bytes(client, url)
asyncio.run(main())
sys.stdout.flush()
os._exit(0)
"""


def test_rattler_asks_the_same(upstream: Upstream) -> None:
    upstream.always("*", Reply(body=b"x"))
    here = upstream.url
    prefixes = {
        "https://h.example/": [f"{here}/root/"],
        "https://h.example/a/": [f"{here}/a-first/", f"{here}/a-second/"],
        "https://h.example/a/b/c/": [f"{here}/"],
        "https://h.example/my chän/[x]^~/": [f"{here}/odd ü/"],
        "https://münchen.example/": [f"{here}/host/"],
    }
    paths = ("x", "a/x", "ab/x", "a/b/x", "a/b/c/x", "a//x", "a/b/c/d%2Be/x", "a/b/c")
    urls = [f"https://h.example/{path}" for path in (*paths, "my%20ch%C3%A4n/[x]^~/x")]
    urls += ["https://h.example/my chän/[x]^~/x", "https://xn--mnchen-3ya.example/x"]
    urls += ["https://münchen.example/x"]
    subprocess.run(
        [sys.executable, "-c", _ORACLE],
        input=json.dumps([prefixes, urls]).encode(),
        check=True,
        capture_output=True,
    )
    mirrors = _of("".join(f"'{key}' = ['{target}']\n" for key, (target, *_) in prefixes.items()))
    ours = [urlsplit(mirror_urls(mirrors, url)[0]).path for url in urls]
    assert ours == [request.target for request in upstream.requests]
