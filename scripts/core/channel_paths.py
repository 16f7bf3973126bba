"""The channel folder: its layout, and the paths of the working state beside it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from scripts.core.channel_url import PYPI_FOLDER, channel_folder

STATE_FOLDER = ".pixi-mirror"
TOOL_FOLDER = "tool"  # folder below that, where pixi-mirror.pyz unpacks itself: no channel's name
WORKSPACES = "workspaces"  # folder below `state`: one folder for each workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPaths:
    """A channel folder and the folder of working state beside it, on the same file system.

    `state` cannot be made again; `cache` only saves time, and may be removed at any moment.
    """

    folder: Path
    root: Path

    @property
    def state(self) -> Path:
        """Folder of what cannot be made again: layout, workspaces, files waiting for removal."""
        return self.root / "state"

    @property
    def cache(self) -> Path:
        """Folder of what only saves time."""
        return self.root / "cache"

    @property
    def snapshots(self) -> Path:
        """Folder of all records of snapshots, and of their trees, named by their ids."""
        return self.state / "snapshots"

    @property
    def first_seen(self) -> Path:
        """The digests of artifacts without one in the lock, as of their first download."""
        return self.state / "first-seen.json"

    @property
    def unbundled(self) -> Path:
        """The bundle that was unbundled last, of a channel that is the far side of another one."""
        return self.state / "unbundled.json"

    @property
    def lock(self) -> Path:
        """The file that a run holds while it changes the channel."""
        return self.root / "run.lock"

    @property
    def parts(self) -> Path:
        """Folder of artifacts under way, named by their digest."""
        return self.cache / "parts"

    @property
    def digests(self) -> Path:
        """The journal of digests already computed (`channel/digest_cache.py`)."""
        return self.cache / "digests.jsonl"

    @property
    def sizes(self) -> Path:
        """Sizes in bytes, by sha256, that servers gave for artifacts without one in the lock."""
        return self.cache / "sizes.json"

    @property
    def proofs(self) -> Path:
        """What earlier runs have proven."""
        return self.cache / "proofs.json"

    @property
    def self_check(self) -> Path:
        """Folder of the copies that a self-check breaks; it is removed when that ends."""
        return self.cache / "self-check"

    @property
    def index_stamp(self) -> Path:
        """The digests of what each channel's index was last made from."""
        return self.cache / "index.json"


def channel_paths(folder: Path) -> ChannelPaths:
    """Name the state folder of a channel folder: `.pixi-mirror/<its name>` beside it."""
    return ChannelPaths(folder=folder, root=folder.parent / STATE_FOLDER / folder.name)


class Layout(StrEnum):
    """How the channel folder is arranged."""

    FLAT = "flat"
    """`<subdir>/<file name>`: the channel folder is one conda channel."""
    BY_CHANNEL = "by-channel"
    """`<channel>/<subdir>/<file name>`: one conda channel for each upstream channel."""

    @property
    def other(self) -> Layout:
        """The other layout."""
        return Layout.FLAT if self is Layout.BY_CHANNEL else Layout.BY_CHANNEL


# The folder of the one channel of a flat mirror: the channel folder itself.
FLAT_CHANNEL = PurePosixPath()


@functools.cache  # a run ends, and with it what it has made
def channel_path(text: str) -> PurePosixPath:
    """Make a path below the channel folder, the same object for the same text.

    A run makes each of thousands several times and looks it up in many tables, where to compare two
    objects that are equal costs much more than to see that they are one.
    """
    return PurePosixPath(text)


def folders_of(paths: Iterable[PurePosixPath]) -> set[PurePosixPath]:
    """Return the folders of files; thousands lie in a few, and `parent` takes long."""
    return {PurePosixPath(each) for each in {str(path).rpartition("/")[0] for path in paths}}


def is_pypi_path(path: PurePosixPath) -> bool:
    """Tell whether a path below the channel folder lies in its PyPI part, in any layout."""
    return str(path).partition("/")[0] == PYPI_FOLDER  # asked of thousands: `parts` takes longer


@functools.lru_cache(maxsize=256)  # a lock of thousands of packages has a few channels
def folder_of_channel(layout: Layout, channel: str | None) -> PurePosixPath:
    """Return the folder, relative to the channel folder, that stands for an upstream channel.

    A package with no channel at all (a lone archive) goes to `local`.
    """
    if layout is Layout.FLAT:
        return FLAT_CHANNEL
    return PurePosixPath(channel_folder(channel) if channel else "local")
