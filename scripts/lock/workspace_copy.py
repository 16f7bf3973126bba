"""A copy of a workspace in which pixi may write what it likes.

`pixi update --dry-run` names no package that was uploaded anew under its old name, and may
install an environment to build what PyPI has as source: so a dry run updates a copy.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from scripts.core.channel_paths import STATE_FOLDER
from scripts.core.errors import usage_error
from scripts.core.scratch import scratch_folder
from scripts.core.typed_values import load_toml
from scripts.lock.model import LockFile
from scripts.lock.read import parse_lock, read_lock_text
from scripts.workspace.workspace import Workspace, read_manifest_text

_CONFIGURATION: Final = Path(".pixi", "config.toml")
# Nothing of these goes into a lock.
_LEFT: Final = frozenset({".pixi", ".venv", STATE_FOLDER})


@contextlib.contextmanager
def scratch_copy(workspace: Workspace) -> Iterator[Path]:
    """Copy manifest, lock, pixi's configuration and all files that the manifest names.

    Yields the path of the copied manifest; the copy is gone afterwards.
    """
    with scratch_folder() as folder:
        try:
            _fill(workspace, folder)
        except (OSError, shutil.Error) as error:
            raise usage_error(str(folder), f"cannot copy the workspace here: {error}") from None
        yield folder / workspace.manifest_path.name


def read_scratch_lock(manifest: Path, workspace: Workspace) -> LockFile:
    """Read the lock beside a copied manifest, its paths led back to the workspace."""
    text = read_lock_text(manifest.with_name("pixi.lock"))
    return parse_lock(_led(text, manifest.parent, workspace.root), workspace.lock_path.name)


def _fill(workspace: Workspace, folder: Path) -> None:
    root = workspace.root
    text = read_manifest_text(workspace.manifest_path)
    for named in _named_paths(load_toml(text, workspace.manifest_path.name).fields, root):
        _copy(root / named, folder / named, workspace)
    if (root / _CONFIGURATION).is_file():
        _copy(root / _CONFIGURATION, folder / _CONFIGURATION, workspace)
    shutil.copyfile(workspace.manifest_path, folder / workspace.manifest_path.name)
    if workspace.lock_path.exists():  # it names channels within the workspace by absolute paths
        lock = _led(read_lock_text(workspace.lock_path), root, folder)
        (folder / "pixi.lock").write_bytes(lock.encode())


def _named_paths(value: object, root: Path) -> Iterator[Path]:
    """Find the texts in a manifest that are relative paths of what is there, within the root."""
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
            if path.is_relative_to(root) and not Path(value).is_absolute() and path.exists():
                yield path.relative_to(root)


def _copy(source: Path, target: Path, workspace: Workspace) -> None:
    def left_out(folder: str, names: Iterable[str]) -> set[str]:
        channel = workspace.place.folder
        return {name for name in names if name in _LEFT or Path(folder, name) == channel}

    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=left_out, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _led(text: str, here: Path, there: Path) -> str:
    """Lead the absolute paths and file URLs below one folder to another."""
    for old, new in ((here.as_uri(), there.as_uri()), (str(here), str(there))):
        text = text.replace(f"{old}/", f"{new}/").replace(f"{old}\\", f"{new}\\")
    return text
