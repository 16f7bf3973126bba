"""The pixi workspace that is mirrored: its manifest, lock, settings and channel folder. Acts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.channel.state import ChannelPlace
from scripts.lock.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where everything of one workspace is. `root` is the folder of manifest and lock."""

    root: Path
    manifest_path: Path
    lock_path: Path
    settings: Settings
    place: ChannelPlace
