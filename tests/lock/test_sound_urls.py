"""URLs that Python takes apart only to fail later: refused with the lock, not in the download."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scripts.core.errors import ExitCode, MirrorError
from scripts.lock.location import is_sound_url
from scripts.lock.read import parse_lock

BROKEN = [
    "https://[x",
    "https://x]:1",
    "https://x:99999",
    "https://x:y",
    "https://[::1",
    "s3://x:y",
]

V6 = """\
version: 6
environments:
  default:
    channels:
    - url: {channel}
    packages:
      linux-64:
      - conda: {url}
packages:
- conda: {url}
  sha256: {sha256}
"""
V4 = """\
version: 4
environments:
  default:
    channels: []
    packages:
      linux-64:
      - conda: {url}
packages:
- kind: conda
  name: a
  version: '1'
  build: h0
  subdir: linux-64
  url: {url}
  sha256: {sha256}
"""
V1 = """\
version: 1
metadata:
  channels: []
  platforms: [linux-64]
package:
- platform: linux-64
  name: a
  version: '1'
  manager: conda
  url: {url}
  hash: {{sha256: {sha256}}}
"""
FORGE = "https://conda.anaconda.org/conda-forge"


def _refusal(text: str) -> str:
    with pytest.raises(MirrorError) as caught:
        parse_lock(text, "pixi.lock")
    assert caught.value.problems[0].code is ExitCode.USAGE
    return str(caught.value)


@pytest.mark.parametrize("base", BROKEN)
@pytest.mark.parametrize("lock", [V6, V4, V1], ids=["v6", "v4", "v1"])
def test_a_location_that_is_no_url(lock: str, base: str) -> None:
    url = f"{base}/linux-64/a-1-h0.conda"
    text = lock.format(url=f'"{url}"', channel=FORGE, sha256="a" * 64)
    assert _refusal(text).startswith(f"pixi.lock: {url} is not a URL\n  in  ")
    good = lock.format(url=f"{FORGE}/linux-64/a-1-h0.conda", channel=FORGE, sha256="a" * 64)
    assert parse_lock(good, "pixi.lock") is not None


@pytest.mark.parametrize("base", BROKEN)
def test_a_channel_that_is_no_url(base: str) -> None:
    url = f"{FORGE}/linux-64/a-1-h0.conda"
    of_environment = V6.format(url=url, channel=f'"{base}/c"', sha256="a" * 64)
    assert _refusal(of_environment).endswith(f"is not a URL: {base}/c")
    of_package = V6.format(url=url, channel=FORGE, sha256="a" * 64) + f'  channel: "{base}/c"\n'
    assert _refusal(of_package).startswith(f"pixi.lock: {base}/c is not a URL\n")


@pytest.mark.parametrize(
    "location",
    [
        "https://a.example/x",
        "https://u:p@a.example:8080/x",
        "https://[::1]:8080/x",
        "https://a.example",
        "file:///x",
        "/x",
        "./x",
        "C:/x",
        "C:\\x",
        "https://a.example/[x]:y",
        "./[x]:y",
        "//server/share/[x]",
        "C://x",
    ],
)
def test_what_is_sound(location: str) -> None:
    assert is_sound_url(location)


@given(
    st.sampled_from(["https://", "//", "a://", "a:\n//", ""]),
    st.text(alphabet="[]:@/?#1a.%\\", max_size=12),
)
@example("//", "[")
@example("a://", "[x")
def test_what_is_sound_can_be_taken_apart(start: str, text: str) -> None:
    from urllib.parse import urlsplit

    url = f"{start}{text}"
    if is_sound_url(url):
        parts = urlsplit(url)
        assert (parts.hostname, parts.port) == (parts.hostname, parts.port)
