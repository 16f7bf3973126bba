"""Prepare the folders of a mirror, measure the free room, and compare the letter case of names.

Names that differ in case alone are one file on some disks, two on others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.core.channel_paths import ChannelPaths
from scripts.core.console import Console
from scripts.core.errors import raise_problems, usage_error, usage_problem
from scripts.core.files import disk_errors, is_dir, write_atomically
from scripts.core.report import listed
from scripts.core.scratch import clear_scratch, open_scratch_file
from scripts.workspace.workspace import Workspace

_SHOWN: Final = 3  # pairs that a warning names


def prepare(place: ChannelPaths) -> None:
    """Make the channel folder and that of its working state.

    Raises the error of exit code 2 where they cannot be made, or are on two file systems: files
    appear in the channel by a rename.
    """
    with disk_errors(place.folder, "set channel-dir to a folder you may write to", "made"):
        for each in (place.folder, place.state, place.cache):
            each.mkdir(parents=True, exist_ok=True)
        clear_scratch(place.folder)  # a probe of a killed run
        write_gitignore(place)
    if place.folder.stat().st_dev != place.state.stat().st_dev:
        raise usage_error(
            str(place.folder),
            "is a disk of its own, and nothing beside it is on that disk",
            ("working state", str(place.root)),
            help=f"set channel-dir to a folder on that disk: {place.folder / 'channel'}",
        )


def write_gitignore(place: ChannelPaths) -> None:
    """Keep working state, out of whatever repository it lies in."""
    ignore = place.root.parent / ".gitignore"
    if not ignore.exists():
        write_atomically(ignore, b"*\n")


def refuse_no_folder(workspace: Workspace, help: str = "pixi run mirror") -> None:
    """Raise the error of exit code 2 where there is no channel folder."""
    if not is_dir(workspace.place.folder):
        message = "there is no such channel folder"
        raise usage_error(workspace.settings.channel_dir, message, help=help)


def refuse_output_within(place: ChannelPaths, file: Path, reason: str, option: str) -> None:
    """Refuse (exit 2) to write what an option names into the channel folder."""
    if file.resolve().is_relative_to(place.folder.resolve()):
        message = f"would be in the channel, {reason}"
        raise usage_error(str(file), message, help=f"{option} {file.name}")


def free_bytes(folder: Path) -> int:
    """Return the free room on the disk of a folder, or of the nearest one above that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_case(
    folder: Path, paths: Iterable[PurePosixPath], console: Console, *, may_write: bool
) -> None:
    """Refuse artifacts that this disk would keep as one; warn where others would.

    A mirror may be carried to Windows or macOS. `paths`, relative to the channel folder, are
    compared with each other and with what is there; a probe file shows what the disk does. Raises
    the errors of exit code 2.
    """
    names = list(map(str, paths))
    pairs = tuple(same_but_for_case([*names, *_there(folder, names)]))
    if not pairs:
        return
    if may_write and _folds_case(folder):
        raise_problems(
            usage_problem(
                other,
                f"differs from {one} in case alone, and this disk keeps both as one",
                ("channel folder", str(folder)),
                help="set channel-dir to a folder on a disk that tells case apart",
            )
            for one, other in pairs
        )
    shown = listed([f"{one} with {other}" for one, other in pairs], _SHOWN, where="")
    console.warn(
        f"names that differ in case alone, which Windows and macOS keep as one file: {shown}"
    )


def same_but_for_case(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of paths that differ in case alone; where folders do, only these."""
    found: dict[tuple[str, str], set[str]] = {}
    for path in {*paths, *_folders(paths)}:
        folder, _, name = path.rpartition("/")
        found.setdefault((folder, _folded(name)), set()).add(path)
    for one, *others in sorted(sorted(each) for each in found.values() if len(each) > 1):
        yield from ((one, other) for other in others)


def _folders(paths: Iterable[str]) -> set[str]:
    """Return all folders above the paths, but for the one that they are relative to."""
    found = {""}
    for each in paths:
        while (each := each.rpartition("/")[0]) not in found:
            found.add(each)
    return found - {""}


def _there(folder: Path, paths: Iterable[str]) -> Iterator[str]:
    """Yield what is on the disk in the folders of the paths, and in those above."""
    for each in ("", *_folders(paths)):
        with contextlib.suppress(OSError), os.scandir(folder / each) as entries:
            yield from (f"{each}/{entry.name}" if each else entry.name for entry in entries)


def _folded(name: str) -> str:
    """Write a name as a disk that folds case compares it; macOS composes accents, too."""
    if name.isascii():
        return name.lower()
    from unicodedata import normalize  # hardly any name needs it

    return normalize("NFC", name).casefold()


def _folds_case(folder: Path) -> bool:
    path, probe = open_scratch_file(folder / "probe")
    probe.close()
    try:
        return path.with_name(path.name.upper()).exists()
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
