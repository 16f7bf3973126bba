"""Choose what of the lock is mirrored, and where each artifact goes. Decides; does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from scripts.channel.layout import Layout
from scripts.lock.model import LockedEnvironment, LockedPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One artifact of the mirror: its place, relative to the channel folder, and its lock row.

    `channel` is the folder of its conda channel, relative to the channel folder (`.` in a flat
    mirror). `urls` are all locations the lock gives for it, the first one first.
    """

    path: PurePosixPath
    channel: PurePosixPath
    package: LockedPackage
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is mirrored: environments (with only the platforms chosen), artifacts, channels.

    `channels` are the folders that must be conda channels even when no artifact is in them.
    `excluded` are the environments of the lock that are left out, by name.
    """

    layout: Layout
    environments: tuple[LockedEnvironment, ...]
    artifacts: tuple[Artifact, ...]
    channels: tuple[PurePosixPath, ...]
    excluded: tuple[str, ...]
