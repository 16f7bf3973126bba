"""The settings of a mirror: `[tool.pixi-mirror]` of the manifest, and the options over them.

Decides; does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scripts.channel.layout import Layout
from scripts.lock.model import Kind

TABLE: Final = "tool.pixi-mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `[tool.pixi-mirror]` says; each field is a key there and an option of the tasks.

    `environments` and `platforms` None: all that the lock has. `jobs` None: adapt. Platforms
    are named as in the lock, or by their subdir.
    """

    channel_dir: str = "local-channel"
    layout: Layout = Layout.FLAT
    jobs: int | None = None
    environments: tuple[str, ...] | None = None
    exclude_environments: tuple[str, ...] = ()
    platforms: tuple[str, ...] | None = None
    allow_incomplete: frozenset[Kind] = frozenset()
    allow_unhashed: bool = False
