"""How the channel folder is arranged (docs/settings.md, "Layouts")."""

from __future__ import annotations

import functools
from enum import StrEnum
from pathlib import PurePosixPath

from scripts.core.channel_url import channel_folder


class Layout(StrEnum):
    """How the channel folder is arranged."""

    FLAT = "flat"
    """`<subdir>/<file name>`: the channel folder is one conda channel."""
    BY_CHANNEL = "by-channel"
    """`<channel>/<subdir>/<file name>`: one conda channel for each upstream channel."""

    @property
    def other(self) -> Layout:
        """The one that this one is not."""
        return Layout.FLAT if self is Layout.BY_CHANNEL else Layout.BY_CHANNEL


# The folder of the one channel of a flat mirror: the channel folder itself.
FLAT_CHANNEL = PurePosixPath()


@functools.lru_cache(maxsize=256)  # a lock of thousands of packages has a few channels
def folder_of_channel(layout: Layout, channel: str | None) -> PurePosixPath:
    """Return the folder, relative to the channel folder, that stands for an upstream channel.

    A package with no channel at all (a lone archive) goes to `local`.
    """
    if layout is Layout.FLAT:
        return FLAT_CHANNEL
    return PurePosixPath(channel_folder(channel) if channel else "local")
