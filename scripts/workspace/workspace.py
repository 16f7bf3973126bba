"""The pixi workspace that is mirrored: its manifest, lock, settings and channel folder."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from scripts.core.channel_paths import (
    STATE_FOLDER,
    TOOL_FOLDER,
    WORKSPACES,
    ChannelPaths,
    channel_paths,
)
from scripts.core.errors import MirrorError, refuse_non_utf8, usage_error
from scripts.core.file_lock import file_lock
from scripts.core.files import exists, is_dir, is_file, read_text
from scripts.core.scratch import clear_scratch
from scripts.core.symlinks import refuse_odd_state
from scripts.core.typed_values import load_toml
from scripts.workspace.model import Manifest
from scripts.workspace.parse import PYPROJECT, parse_manifest, pixi_table, settings_of
from scripts.workspace.settings import (
    TABLE,
    SettingOverrides,
    Settings,
    override,
    overrides_from,
)

LOCK_NAME: Final = "pixi.lock"
# In the order in which pixi looks for them in one folder.
_NAMES: Final = ("pixi.toml", PYPROJECT, "mojoproject.toml")
_ELSEWHERE: Final = 'move away what is there, or name another folder: channel-dir = "FOLDER"'
_LARGEST: Final = 8 << 20  # bytes; real manifests have kilobytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A workspace: its manifest, settings and paths. `root` is the folder of manifest and lock."""

    root: Path
    manifest_path: Path
    lock_path: Path
    settings: Settings
    place: ChannelPaths
    manifest: Manifest

    def channel_lock(self) -> AbstractContextManager[None]:
        """Hold the channel's lock file while the block runs, as every task does that changes it."""
        return file_lock(self.place.lock, self.settings.channel_dir)


def workspace_from(options: argparse.Namespace) -> Workspace:
    """Open the workspace that the options of a task name; see `open_workspace`."""
    return open_workspace(options.manifest_path, overrides_from(options))


def open_workspace(manifest_path: Path | None, overrides: SettingOverrides) -> Workspace:
    """Find and read a manifest; None: the nearest one upward from the current folder.

    Raises the error of exit code 2 where there is none, where it is wrong, and for a channel
    folder that would swallow the workspace.
    """
    try:
        path = _nearest(Path.cwd()) if manifest_path is None else _given(manifest_path)
    except OSError as error:  # a folder that nobody may look into, or that is gone
        message = f"cannot look for a manifest there: {error.strerror}"
        raise usage_error(str(manifest_path or "the current folder"), message) from None
    manifest = parse_manifest(read_manifest_text(path), name=path.name)
    settings = override(manifest.settings, overrides)
    root = path.parent
    refuse_non_utf8(root, "give the workspace's folder, or the one around it, another name")
    place = channel_paths(_channel_folder(root, settings.channel_dir))
    refuse_odd_state(place)
    for folder in (root, place.state, place.cache):  # left by a killed run
        clear_scratch(folder)
    with contextlib.suppress(OSError):  # whoever needs them says what is wrong with them
        for folder in (place.state / WORKSPACES).iterdir():
            clear_scratch(folder)
    return Workspace(
        root=root,
        manifest_path=path,
        lock_path=root / LOCK_NAME,
        settings=settings,
        place=place,
        manifest=manifest,
    )


def settings_beside(lock_path: Path) -> Settings:
    """Read the settings of the manifest beside a lock; the defaults where it has none."""
    path = _in_folder(lock_path.parent)
    if path is None:
        return Settings()
    return settings_of(load_toml(read_manifest_text(path), str(path)))


def read_manifest_beside(lock_path: Path, location: str) -> Manifest | None:
    """Read another workspace's manifest, beside a `pixi.lock`; None where there is none.

    Errors name it like its lock, at `location`. Its `[tool.pixi-mirror]` is not read.
    """
    path = _in_folder(lock_path.parent) if lock_path.name == LOCK_NAME else None
    if path is None:
        return None
    name = PurePath(location).with_name(path.name).as_posix()
    return parse_manifest(read_manifest_text(path), name=name, is_own=False)


def read_manifest_text(path: Path) -> str:
    """Read a manifest's text, line ends as they are."""
    return read_text(path, limit=_LARGEST, what="manifest")


def _given(path: Path) -> Path:
    """Return the manifest that a path names: the file itself, or the one in that folder."""
    path = _resolved(path, str(path))
    if is_dir(path):
        found = _in_folder(path)
        if found is None:
            message = f"this folder has none of {', '.join(_NAMES)}"
            raise usage_error(str(path), message, help="pixi init")
        return found
    if path.name not in _NAMES and exists(path):
        message = f"pixi reads no manifest of this name, only {', '.join(_NAMES)}"
        raise usage_error(str(path), message)
    return path


def _nearest(folder: Path) -> Path:
    """Return the nearest manifest with a workspace, as pixi finds it.

    One with only a `[package]` is skipped; a broken one is returned, so that its fault is told.
    """
    for each in (folder.resolve(), *folder.resolve().parents):
        found = _in_folder(each)
        if found is not None:
            fields: Collection[str] = ()
            with contextlib.suppress(MirrorError):
                fields = _pixi_keys(found)
            if "package" not in fields or "workspace" in fields or "project" in fields:
                return found
    raise usage_error(
        str(folder),
        "there is no pixi workspace here or in any folder above",
        help="go to the folder of your pixi.toml, or name it: --manifest-path PATH",
    )


def _in_folder(folder: Path) -> Path | None:
    """Return the manifest of one folder: pixi.toml, else a pyproject.toml with [tool.pixi]."""
    for path in (folder / name for name in _NAMES):
        if is_file(path) and (path.name != PYPROJECT or _pixi_keys(path)):
            return path
    return None


def _pixi_keys(path: Path) -> Collection[str]:
    return pixi_table(load_toml(read_manifest_text(path), path.name)).fields.keys()


def _channel_folder(root: Path, channel_dir: str) -> Path:
    """Return the channel folder; refuse one where tasks could touch files that are not theirs."""
    subject, advice = f"{TABLE}.channel-dir", 'channel-dir = "local-channel"'
    folder = _resolved(root / channel_dir, subject, _ELSEWHERE)
    refuse_non_utf8(folder, f"{advice} under [{TABLE}]")
    wrong = {  # a `~` would be a folder of that very name
        "is no path: write it out": channel_dir.startswith("~") or "://" in channel_dir,
        "is the workspace's own folder, or one around it": root.is_relative_to(folder),
        f"is in {STATE_FOLDER}, where working state lives": STATE_FOLDER in folder.parts,
        "is in .pixi, which `pixi clean` removes": folder.is_relative_to(root / ".pixi"),
        "is in .git, where git keeps its own": ".git" in folder.parts,
        f"is a name that {STATE_FOLDER} has for something else": (
            folder.name.casefold() == TOOL_FOLDER
        ),
    }
    for message, holds in wrong.items():
        if holds:
            raise usage_error(subject, f"{channel_dir!r} {message}", help=advice)
    try:
        is_other = exists(folder) and not folder.is_dir()
    except OSError as error:  # a name that this file system cannot have
        message = f"{channel_dir!r} cannot be a folder: {error.strerror}"
        raise usage_error(subject, message, help=advice) from None
    if is_other:
        raise usage_error(subject, f"{channel_dir!r} is a file, not a folder", help=_ELSEWHERE)
    return folder


def _resolved(path: Path, subject: str, advice: str | None = None) -> Path:
    """Follow all links; raise the error of exit code 2 for a circle of them."""
    reason = "its links lead in a circle"
    try:
        found = path.resolve()
        if not os.path.islink(found):  # noqa: PTH114 -- its own may raise; a circle, from 3.13 on
            return found
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle, before Python 3.13
        reason = getattr(error, "strerror", None) or reason
    raise usage_error(subject, f"there is no such folder: {reason}", help=advice)
