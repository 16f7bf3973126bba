"""Where the channels of a manifest are in the mirror."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath, PurePosixPath

from scripts.core.layout import FLAT_CHANNEL, Layout, folder_of_channel
from scripts.lock.model import LockedEnvironment, LockedPackage
from scripts.lock.satisfiability import channel_key


class ChannelFolders:
    """Finds the folder of a channel however it is written.

    The mirror is laid out by the lock's words; a manifest may call the same channel
    `./channel`, or write its password otherwise. `root` is the workspace's folder.
    """

    def __init__(self, layout: Layout, locked: LockedEnvironment, root: PurePath) -> None:
        """Learn the lock's words for the channels of one environment."""
        self._layout, self._root = layout, root
        packages = (each for rows in locked.platforms for each in rows.packages)
        of_packages = dict.fromkeys(each.channel for each in packages if each.channel)
        named = dict.fromkeys((*locked.channels, *of_packages))  # few, of thousands of packages
        self._locked = {channel_key(url, root): url for url in reversed(named)}

    def folder(self, channel: str) -> PurePosixPath:
        """Return the folder, relative to the channel folder; `.` in a flat mirror."""
        written = self._locked.get(channel_key(channel, self._root), channel)
        return folder_of_channel(self._layout, written)

    def of_package(self, package: LockedPackage) -> PurePosixPath:
        """Return the folder that an artifact lies in."""
        return folder_of_channel(self._layout, package.channel)

    def in_order(self, channels: Iterable[str]) -> tuple[PurePosixPath, ...]:
        """Return the folders of these channels, each once; the one there is in a flat mirror."""
        if self._layout is Layout.FLAT:
            return (FLAT_CHANNEL,)
        return tuple(dict.fromkeys(self.folder(each) for each in channels))
