"""Where working state lives: beside the channel folder, never in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STATE_FOLDER = ".pixi-mirror"
TOOL_FOLDER = "tool"  # folder below that, where pixi-mirror.pyz unpacks itself: no channel's name
WORKSPACES = "workspaces"  # folder below `state`: one folder for each workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPaths:
    """A channel folder and the folder of working state beside it, on the same file system.

    Of that, `state` cannot be made again, and `cache` only saves time: it may go at any moment.
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
    def lock(self) -> Path:
        """The file that a run holds while it changes the channel."""
        return self.root / "run.lock"

    @property
    def parts(self) -> Path:
        """Folder of artifacts under way, named by their digest."""
        return self.cache / "parts"

    @property
    def digests(self) -> Path:
        """The journal of known digests."""
        return self.cache / "digests.jsonl"

    @property
    def staging(self) -> Path:
        """Folder in which an index is built before it becomes visible."""
        return self.cache / "staging"

    @property
    def self_check(self) -> Path:
        """Folder of the copies that a self-check breaks, gone when it ends."""
        return self.cache / "self-check"

    @property
    def index_stamp(self) -> Path:
        """What the index was last made from."""
        return self.cache / "index.json"


def channel_paths(folder: Path) -> ChannelPaths:
    """Name the state folder of a channel folder: `.pixi-mirror/<its name>` beside it."""
    return ChannelPaths(folder=folder, root=folder.parent / STATE_FOLDER / folder.name)
