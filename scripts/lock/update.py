"""Have pixi renew or update the lock, for real or on a copy of the workspace.

`pixi update --dry-run` names no package that was uploaded anew under its old name, and may
install an environment to build what PyPI has as source: so a dry run updates a copy.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.core.channel_paths import STATE_FOLDER
from scripts.core.errors import first_details, usage_error
from scripts.core.scratch import scratch_folder
from scripts.core.typed_values import load_toml
from scripts.lock.model import LockFile
from scripts.lock.read import parse_lock, read_lock, read_lock_text
from scripts.lock.select import unknown_name
from scripts.workspace.model import Manifest
from scripts.workspace.pixi import run_pixi
from scripts.workspace.resolve import environment_platforms, solve_group
from scripts.workspace.settings import TABLE, Settings
from scripts.workspace.workspace import LOCK_NAME, Workspace, read_manifest_text

_CONFIGURATION: Final = Path(".pixi", "config.toml")
# Nothing of these goes into a lock.
_NOT_COPIED: Final = frozenset({".pixi", ".venv", STATE_FOLDER})
_SHOWN: Final = 5  # files that one error names


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePlan:
    """What pixi is asked for: the command line behind `pixi`.

    `notes` name the environments that nobody asked for, with the solve group that brings them in:
    pixi silently updates nothing of a group unless every member is named.
    """

    arguments: tuple[str, ...]
    notes: tuple[str, ...]


def plan_update(
    manifest: Manifest,
    lock: LockFile,
    settings: Settings,
    *,
    packages: tuple[str, ...] = (),
    environments: tuple[str, ...] = (),
    platforms: tuple[str, ...] = (),
) -> UpdatePlan:
    """Choose environments and platforms for `pixi update`: those given, as pixi names them.

    Without `environments`, all that are mirrored. Raises the error of exit code 2 for an
    environment that the lock does not have, a platform that none of them has, and where nothing is
    mirrored.
    """
    locked = [each.name for each in lock.environments]
    for name in environments:
        if name not in locked:
            advice = "pixi lock" if name in {x.name for x in manifest.environments} else None
            raise unknown_name("pixi.lock", "environment", name, locked, advice)
    wanted = environments or tuple(filter(settings.is_mirrored, locked))
    chosen = [each for each in manifest.environments if each.name in wanted]
    if not chosen:
        raise usage_error(
            "update-mirror",
            "no environment is mirrored, so there is nothing to update",
            ("pixi.lock has", ", ".join(locked) or "none"),
            help=f"correct `environments` or `exclude-environments` under [{TABLE}]",
        )
    every = [
        each
        for each in manifest.environments
        if any(each in solve_group(manifest, one) for one in chosen)
    ]
    known = {
        platform.name: platform.subdir
        for each in every
        for platform in environment_platforms(manifest, each)
    }
    names: dict[str, None] = {}
    for text in platforms:  # pixi passes over an unknown name, and a subdir that is none
        found = [text] if text in known else [name for name in known if known[name] == text]
        if not found:
            raise unknown_name(", ".join(x.name for x in every), "platform", text, known)
        names |= dict.fromkeys(found)
    return UpdatePlan(
        arguments=(
            "update",
            *(part for each in every for part in ("--environment", each.name)),
            *(part for name in names for part in ("--platform", name)),
            *(("--", *packages) if packages else ()),
        ),
        notes=tuple(
            f"also updating {each.name}"
            f"{'' if settings.is_mirrored(each.name) else ' (not mirrored)'}"
            f": it shares the solve group {each.solve_group}"
            for each in every
            if each not in chosen
        ),
    )


def renew_lock(pixi: Path, workspace: Workspace, arguments: Sequence[str] = ("lock",)) -> LockFile:
    """Run `pixi lock`, or another command, and return the lock as it is then."""
    run_pixi(pixi, arguments, workspace.manifest_path)
    return read_lock(workspace.lock_path)


def try_update(pixi: Path, workspace: Workspace, arguments: Sequence[str]) -> LockFile:
    """Return the lock that `renew_lock` would leave; nothing of the workspace is touched."""
    around = Path(os.path.commonpath([workspace.root, *_named_by_manifest(workspace)]))
    with workspace_copy(workspace, around) as manifest:
        run_pixi(pixi, arguments, manifest)
        text = read_lock_text(manifest.with_name(LOCK_NAME))
        copy = manifest.parents[len(workspace.root.relative_to(around).parts)]
    return parse_lock(_relocated(text, copy, around), workspace.lock_path.name)


@contextlib.contextmanager
def workspace_copy(workspace: Workspace, around: Path | None = None) -> Iterator[Path]:
    """Copy manifest, lock, pixi's configuration and all files that the manifest names.

    What it names outside of the workspace (`../lib`) is copied where that is within `around`.
    Yields the path of the copied manifest; the copy is gone afterwards.
    """
    with scratch_folder() as folder:
        try:
            copied = _copy_files(workspace, folder, around or workspace.root)
        except OSError as error:  # shutil's has, of each file: where from, where to, why
            failed = error.args[0] if isinstance(error, shutil.Error) else [(error,)]
            details = first_details([("because", str(why)) for *_, why in failed], _SHOWN)
            raise usage_error(str(folder), "cannot copy the workspace here", *details) from None
        yield copied


def _copy_files(workspace: Workspace, folder: Path, around: Path) -> Path:
    named = [each for each in _named_by_manifest(workspace) if each.is_relative_to(around)]
    copies = {each: folder / each.relative_to(around) for each in (workspace.root, *named)}
    for each in named:
        _copy(each, copies[each], workspace)
    copy = copies[workspace.root]
    if (workspace.root / _CONFIGURATION).is_file():
        _copy(workspace.root / _CONFIGURATION, copy / _CONFIGURATION, workspace)
    copy.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(workspace.manifest_path, copy / workspace.manifest_path.name)
    if workspace.lock_path.exists():  # it names channels of this machine by absolute paths
        lock = read_lock_text(workspace.lock_path)
        for each, there in copies.items():
            lock = _relocated(lock, each, there)
        (copy / LOCK_NAME).write_bytes(lock.encode())
    return copy / workspace.manifest_path.name


def _named_by_manifest(workspace: Workspace) -> tuple[Path, ...]:
    """Return what is there of all that the manifest names, but for the mirror itself."""
    text = read_manifest_text(workspace.manifest_path)
    found = _named_paths(load_toml(text, workspace.manifest_path.name).fields, workspace.root)
    return tuple(each for each in found if each != workspace.place.folder)


def _named_paths(value: object, root: Path) -> Iterator[Path]:
    """Find the texts in a manifest that are relative paths of what is there, not around the root.

    What is on another drive has no relative path.
    """
    if isinstance(value, dict):
        for key, each in value.items():
            if key != "tasks":  # theirs are of no use to a lock
                yield from _named_paths(each, root)
    elif isinstance(value, list):
        for each in value:
            yield from _named_paths(each, root)
    elif isinstance(value, str) and value and "\0" not in value and "://" not in value:
        with contextlib.suppress(OSError, ValueError):  # too long for a path, most likely
            path = (root / value).resolve()
            is_around = path != root and root.is_relative_to(path)
            if not is_around and not Path(value).is_absolute() and path.exists():
                yield path


def _copy(source: Path, target: Path, workspace: Workspace) -> None:
    def left_out(folder: str, names: Iterable[str]) -> set[str]:
        channel = workspace.place.folder
        return {name for name in names if name in _NOT_COPIED or Path(folder, name) == channel}

    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=left_out, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _relocated(text: str, here: Path, there: Path) -> str:
    """Rewrite the absolute paths and file URLs below one folder to another."""
    for write in (Path.as_uri, Path.as_posix, str):
        new = write(there).removesuffix("/").replace("\\", r"\\")  # of a root, too
        text = re.sub(rf"{re.escape(write(here))}(?![^/\\\s'\"])", new, text)
    return text
