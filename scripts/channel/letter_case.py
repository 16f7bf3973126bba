"""Names in the channel that differ in case alone: one file on some disks, two on others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.scratch import open_scratch_file

_SHOWN: Final = 3  # pairs that a warning names


def check_case(
    folder: Path, paths: Iterable[PurePosixPath], console: Console, *, may_write: bool
) -> None:
    """Refuse artifacts that this disk would keep as one; warn where others would.

    A mirror is carried to Windows and macOS, too. `paths`, relative to the channel folder, are
    compared with each other and with what is there; a probe file shows what the disk does. Raises
    errors of exit code 2, before a byte comes.
    """
    names = list(map(str, paths))
    pairs = tuple(same_but_for_case([*names, *_there(folder, names)]))
    if not pairs:
        return
    if may_write and _folds_case(folder):
        raise MirrorError(
            *(
                Problem(
                    subject=other,
                    trouble=f"differs from {one} in case alone, and this disk keeps both as one",
                    code=ExitCode.USAGE,
                    facts=(("channel folder", str(folder)),),
                    help="set channel-dir to a folder on a disk that tells case apart",
                )
                for one, other in pairs
            )
        )
    shown = ", ".join(f"{one} with {other}" for one, other in pairs[:_SHOWN])
    more = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    console.warn(
        f"names that differ in case alone, which Windows and macOS keep as one file: {shown}{more}"
    )


def same_but_for_case(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of paths that differ in case alone; of whole folders only the folders."""
    found: dict[tuple[str, str], set[str]] = {}
    for path in {*paths, *_folders(paths)}:
        folder, _, name = path.rpartition("/")
        found.setdefault((folder, _folded(name)), set()).add(path)
    for one, *others in sorted(sorted(each) for each in found.values() if len(each) > 1):
        yield from ((one, other) for other in others)


def _folders(paths: Iterable[str]) -> set[str]:
    """Return all folders that the paths are in, but for the one that they are relative to."""
    found: set[str] = set()
    new = {path.rpartition("/")[0] for path in paths}
    while new := new - found - {""}:
        found |= new
        new = {path.rpartition("/")[0] for path in new}
    return found


def _there(folder: Path, paths: Iterable[str]) -> Iterator[str]:
    """List what is beside the paths, and beside their folders."""
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
    path, descriptor = open_scratch_file(folder / "probe")
    os.close(descriptor)
    try:
        return path.with_name(path.name.upper()).exists()
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
