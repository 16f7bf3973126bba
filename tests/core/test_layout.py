"""Which folder stands for a channel, in both layouts."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from scripts.core.channel_paths import FLAT_CHANNEL, Layout, folder_of_channel

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
def test_folders(channel: str | None, folder: str) -> None:
    assert folder_of_channel(Layout.FLAT, channel) == FLAT_CHANNEL
    assert folder_of_channel(Layout.BY_CHANNEL, channel) == PurePosixPath(folder)


def test_the_flat_channel_is_the_channel_folder_itself() -> None:
    assert str(FLAT_CHANNEL) == "."
