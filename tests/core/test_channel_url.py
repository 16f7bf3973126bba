"""Channels as URLs, and the folder of each: documented examples, and nothing a URL can break."""

from __future__ import annotations

import time
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts.core.channel_url import channel_base_url, channel_folder


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("conda-forge", "https://conda.anaconda.org/conda-forge"),
        ("nvidia/label/cuda-11.8.0", "https://conda.anaconda.org/nvidia/label/cuda-11.8.0"),
        (" conda-forge/ ", "https://conda.anaconda.org/conda-forge"),
        ("https://prefix.dev/conda-forge/", "https://prefix.dev/conda-forge"),
        ("https://u:p@host/t/tk/x//", "https://u:p@host/t/tk/x"),
        ("file:///srv/channel/", "file:///srv/channel"),
        ("/srv/channel/", "/srv/channel"),
        ("./channel", "./channel"),
        ("../channel", "../channel"),
        ("~/channel", "~/channel"),
        ("C:\\channel", "C:\\channel"),
        ("d:/channel/", "d:/channel"),
        ("\\\\server\\share", "\\\\server\\share"),
        ("..", ".."),
    ],
)
def test_base_urls(text: str, url: str) -> None:
    assert channel_base_url(text) == url
    assert channel_base_url(url) == url


@pytest.mark.parametrize(
    ("channel", "folder"),
    [
        ("conda-forge", "conda-forge"),
        ("https://conda.anaconda.org/conda-forge/", "conda-forge"),
        ("https://Conda.Anaconda.org/conda-forge", "conda-forge"),
        ("nvidia/label/cuda-11.8.0", "nvidia/label/cuda-11.8.0"),
        ("https://conda.anaconda.org/nvidia/label/cuda-11.8.0", "nvidia/label/cuda-11.8.0"),
        ("https://conda.anaconda.org/t/tk-SECRET/private", "private"),
        ("https://user:hunter2@conda.anaconda.org/private", "private"),
        ("https://prefix.dev/conda-forge", "prefix.dev/conda-forge"),
        ("https://Repo.Example:8080/Team/x", "repo.example_8080/Team/x"),
        ("http://user:hunter2@[::1]:8080/x?sig=SIGNED#y", "___1__8080/x"),
        ("https://host", "host"),
        ("https://host/a%20b/%C3%A9", "host/a_b/_"),
        ("https://host/a%2F..%2Fb/../c/./%2e%2e/d", "host/a_.._b/c/d"),
        ("https://host/a\\..\\b", "host/a_.._b"),
        ("https://host/con/nul.x/com1/console/a.", "host/con_/nul_.x/com1_/console/a_"),
        ("s3://bucket/x", "s3_bucket/x"),
        ("oci://ghcr.io/channel-mirrors/x", "oci_ghcr.io/channel-mirrors/x"),
        ("file:///srv/t/one/x", "local/srv/t/one/x"),
        ("file:///C:/x", "local/C_/x"),
        ("C:\\channels\\..\\x", "local/C_/channels/x"),
        ("\\\\server\\share", "local/server/share"),
        ("../x/./y", "local/x/y"),
        ("~/x", "local/~/x"),
        ("https://conda.anaconda.org/", "channel"),
        ("https://conda.anaconda.org/../..", "channel"),
        ("https://../x", "_/x"),
        ("https://[bad/x", "_bad/x"),
    ],
)
def test_folders(channel: str, folder: str) -> None:
    assert channel_folder(channel) == folder


def test_two_channels_of_files_stay_two() -> None:
    """A folder called `t` is no token."""
    assert channel_folder("/srv/t/one/x") != channel_folder("/srv/t/two/x")


_HOSTILE = st.text(
    st.one_of(st.sampled_from("/\\.:@?#%~ \0\n\t*|<>\"'t"), st.characters(codec="utf-8")),
    max_size=40,
)
_START = st.sampled_from(
    ["", "https://", "http://host/", "s3://", "file://", "file:///", "/", "../", "C:\\", "a/b/"]
)


def assert_harmless(folder: str) -> None:
    segments = folder.split("/")
    assert all(segments)
    assert not {".", ".."} & set(segments)
    assert not set(':\\\0?*|<>"%\n') & set(folder)
    assert folder.isascii()
    assert folder.isprintable()
    assert PurePosixPath(folder).parts == tuple(segments)
    windows = PureWindowsPath(folder)
    assert not windows.is_absolute()
    assert not windows.drive
    assert windows.parts == tuple(segments)
    assert not any(windows_device(segment) for segment in segments)


def windows_device(segment: str) -> bool:
    """Tell whether Windows would take it for a device, or cut it short."""
    stem = segment.partition(".")[0].upper()
    numbered = stem[:3] in {"COM", "LPT"} and stem[3:].isdigit() and len(stem) == 4
    return segment.endswith(".") or numbered or stem in {"CON", "PRN", "AUX", "NUL"}


@settings(deadline=None, max_examples=400)
@given(_START, _HOSTILE)
@example("https://", "//[")
@example("https://", "%00/%2e%2e/%5c")
@example("", "::://")
@example("1x://", "user:pw@host/x")
@example("/", "aux./COM1.x/con")
def test_a_folder_is_relative_and_plain(start: str, rest: str) -> None:
    folder = channel_folder(start + rest)
    assert_harmless(folder)
    assert channel_folder(start + rest) == folder


@settings(deadline=None)
@given(
    st.sampled_from(["https", "http", "s3", "oci", "1x", "HTTPS"]),
    st.text("abc!$&'()*+,;=:@-._~%", max_size=20).map(lambda text: f"QXQ{text}ZJZ"),
    st.sampled_from(["host", "host:8080", "[::1]:1", "conda.anaconda.org"]),
    st.text("abc-_~.!", max_size=20).map(lambda text: f"QXQ{text}ZJZ"),
    st.sampled_from(["", "/", "/x", "/x/y%20z"]),
)
def test_no_secret_becomes_part_of_a_path(
    scheme: str, user: str, host: str, token: str, path: str
) -> None:
    folder = channel_folder(f"{scheme}://{user}@{host}/t/{token}{path}?sig={token}#{user}")
    assert "QXQ" not in folder
    assert "ZJZ" not in folder
    assert folder == channel_folder(f"{scheme}://{host}{path}")


@pytest.mark.parametrize("text", ["/" * 10**6, "https://" + "%2e/" * 10**5, "://" * 10**5])
def test_a_hostile_url_takes_linear_time(text: str) -> None:
    begun = time.monotonic()
    channel_folder(text)
    assert time.monotonic() - begun < 5
