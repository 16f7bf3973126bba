"""Where working state lives: beside the channel folder, never in it. Decides; does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STATE_FOLDER = ".pixi-mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPlace:
    """A channel folder and the folder of working state beside it, on the same file system."""

    folder: Path
    state: Path

    @property
    def parts(self) -> Path:
        """Folder of artifacts under way, named by their digest."""
        return self.state / "parts"

    @property
    def digests(self) -> Path:
        """The journal of known digests."""
        return self.state / "digests.jsonl"

    @property
    def lock(self) -> Path:
        """The file that a run holds while it changes the channel."""
        return self.state / "run.lock"

    @property
    def staging(self) -> Path:
        """Folder in which an index is built before it becomes visible."""
        return self.state / "staging"

    @property
    def self_check(self) -> Path:
        """Folder of the copies that a self-check breaks, gone when it ends."""
        return self.state / "self-check"

    @property
    def index_stamp(self) -> Path:
        """What the index was last made from."""
        return self.state / "index.json"

    @property
    def made_from(self) -> Path:
        """Copy of the pixi.lock that the channel was last made from."""
        return self.state / "made-from.lock"


def channel_place(folder: Path) -> ChannelPlace:
    """Name the state folder of a channel folder: `.pixi-mirror/<its name>` beside it."""
    return ChannelPlace(folder=folder, state=folder.parent / STATE_FOLDER / folder.name)
