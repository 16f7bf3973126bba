"""Where artifacts go, in both layouts."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from scripts.channel.layout import FLAT_CHANNEL, Layout, folder_of_channel, place_of
from scripts.core.file_name import parse_file_name

CHANNELS = [
    ("https://conda.anaconda.org/conda-forge", "conda-forge"),
    ("conda-forge", "conda-forge"),
    ("https://u:p@conda.anaconda.org/t/tk/nvidia/label/x", "nvidia/label/x"),
    ("https://host:8080/team", "host_8080/team"),
    ("file:///srv/channel", "local/srv/channel"),
    (None, "local"),
    ("", "local"),
]


@pytest.mark.parametrize(("channel", "folder"), CHANNELS)
def test_places(channel: str | None, folder: str) -> None:
    file_name = parse_file_name("zlib-1.3-h1_0.conda")
    assert file_name is not None
    flat = place_of(Layout.FLAT, channel, "linux-64", file_name)
    assert flat == PurePosixPath("linux-64/zlib-1.3-h1_0.conda")
    assert folder_of_channel(Layout.FLAT, channel) == FLAT_CHANNEL
    by_channel = place_of(Layout.BY_CHANNEL, channel, "linux-64", file_name)
    assert by_channel == PurePosixPath(folder) / "linux-64" / "zlib-1.3-h1_0.conda"
    assert folder_of_channel(Layout.BY_CHANNEL, channel) == PurePosixPath(folder)


def test_the_flat_channel_is_the_channel_folder_itself() -> None:
    assert str(FLAT_CHANNEL) == "."
