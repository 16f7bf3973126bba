"""Scratch under names of ours alone, with an owner; what a killed run left is cleared.

`NAME.1f2e3d4c.pixi-mirror.tmp` is a file on its way to NAME, `1f2e3d4c.pixi-mirror.tmp` a folder.
Its owner holds a lock on it (a folder's is on the file `owner` in it), which the system lets go of
however the owner ends, so whoever gets the lock knows that nobody needs it. A process id would not
do: another container has its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from scripts.core.errors import refuse_non_utf8
from scripts.core.file_lock import try_lock

_END: Final = ".pixi-mirror.tmp"
_OURS: Final = re.compile(rf"(?:.+\.)?[0-9a-f]{{8}}{re.escape(_END)}", re.DOTALL)
_OWNER: Final = "owner"
_WORK: Final = "work"
# Seconds for which a file of nobody's is left alone on Windows, where it is closed to be renamed.
_CLOSED_FOR: Final = 60
_FLAGS: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


def scratch_name(name: str = "") -> str:
    """Make a name that no other scratch has."""
    return f"{name}{'.' if name else ''}{os.urandom(4).hex()}{_END}"


def is_scratch(name: str) -> bool:
    """Tell a name of ours from all others."""
    return name.endswith(_END) and _OURS.fullmatch(name) is not None


def open_scratch_file(target: Path) -> tuple[Path, int]:
    """Make a file beside its target, and own it until its descriptor is closed."""
    clear_scratch(target.parent, target.name)
    while True:
        path = target.with_name(scratch_name(target.name))
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
            if _owned(path, descriptor):
                return path, descriptor
            os.close(descriptor)


@contextlib.contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """Give an empty folder, in `beside` or where the system has temporary files; it is gone after.

    What killed runs left there goes first. The folder may be renamed away meanwhile.
    """
    if beside is None:
        import tempfile  # heavy, like shutil below: a run with nothing to do has no folder

        beside = Path(tempfile.gettempdir()).resolve()
    refuse_non_utf8(beside, "set TMPDIR to a folder with another name")
    clear_scratch(beside)
    place, descriptor = _make_folder(beside)
    try:
        (place / _WORK).mkdir()
        yield place / _WORK
    finally:
        _remove(place, descriptor)


def clear_scratch(folder: Path, name: str | None = None) -> None:
    """Remove what nobody owns of the scratch in a folder; with a name, of that target's alone.

    What may not be removed, or looked at, is left to somebody else.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            is_asked_for = name is None or entry.name.rsplit(".", 3)[0] == name
            if is_asked_for and is_scratch(entry.name):
                with contextlib.suppress(OSError):
                    _clear(Path(entry.path))


def _clear(path: Path) -> None:
    status = path.lstat()
    if stat.S_ISDIR(status.st_mode):
        try:
            descriptor = os.open(path / _OWNER, os.O_RDWR | _FLAGS)
        except FileNotFoundError:  # ended before it had an owner; a folder with things in it stays
            path.rmdir()
            return
        _clear_owned(path, descriptor, _remove)
    elif stat.S_ISREG(status.st_mode):
        if os.name == "nt" and time.time() - status.st_mtime < _CLOSED_FOR:
            return
        _clear_owned(path, os.open(path, os.O_RDWR | _FLAGS), _unlink)


def _clear_owned(path: Path, descriptor: int, remove: Callable[[Path, int], None]) -> None:
    """Own what nobody owns, and remove it while it is ours: its maker may be about to lock it."""
    is_mine = False
    try:
        is_mine = try_lock(descriptor)
    finally:
        if not is_mine:
            os.close(descriptor)
    if is_mine:
        remove(path, descriptor)


def _unlink(path: Path, descriptor: int) -> None:
    """Remove a file that we own, and let go of it; Windows removes no open one."""
    try:
        if os.name != "nt":
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    if os.name == "nt":
        path.unlink(missing_ok=True)


def _make_folder(parent: Path) -> tuple[Path, int]:
    while True:
        place = parent / scratch_name()
        owner = place / _OWNER
        try:
            place.mkdir(mode=0o700)
            descriptor = os.open(owner, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        except (FileExistsError, FileNotFoundError):  # cleared before it had an owner
            if not parent.is_dir():
                raise
            continue
        if _owned(owner, descriptor):
            return place, descriptor
        os.close(descriptor)


def _owned(path: Path, descriptor: int) -> bool:
    """Lock new scratch; False where a run that clears has been quicker."""
    try:
        is_mine = try_lock(descriptor)
    except OSError:  # a file system without locks, where nobody clears either
        return True
    return is_mine and path.exists()


def _remove(place: Path, descriptor: int) -> None:
    """Remove a folder that we own; the owner last, or nobody knows what is left for ours."""
    is_gone = False
    try:
        is_gone = _remove_tree(place / _WORK)
    finally:
        if not is_gone:
            os.close(descriptor)
    if is_gone:
        with contextlib.suppress(OSError):
            _unlink(place / _OWNER, descriptor)
            place.rmdir()


def _remove_tree(folder: Path) -> bool:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):  # a package may have folders that nobody may write to
        _make_writable(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return not os.path.lexists(folder)


def _make_writable(folder: Path) -> None:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *(files if os.name == "nt" else ())):
            path = Path(root, name)
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(0o700)
