"""A lock as one of those that a mirror is made of, for what is told of it beside its file."""

from __future__ import annotations

from pathlib import Path

from scripts.lock import select as module
from scripts.lock.mirrored import MirroredLock
from scripts.lock.model import LockFile
from scripts.lock.select import Selection
from scripts.workspace.model import Manifest
from scripts.workspace.settings import Settings


def mirrored(
    file: LockFile, *, manifest: Manifest | None = None, root: Path = Path()
) -> MirroredLock:
    """Take it for a workspace's own lock, whole."""
    return MirroredLock(
        label="pixi.lock",
        location="pixi.lock",
        root=root,
        manifest=manifest,
        file=file,
        environments=file.environments,
    )


def select(
    file: LockFile, settings: Settings, *, manifest: Manifest | None = None, root: Path = Path()
) -> Selection:
    """Select what the settings want of a workspace's own lock."""
    return module.select(mirrored(file, manifest=manifest, root=root), settings)
