"""Temporary files and folders, each locked by its owner; those of killed runs are removed.

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
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from scripts.core.errors import refuse_non_utf8
from scripts.core.file_lock import try_lock

_END: Final = ".pixi-mirror.tmp"
_OURS: Final = re.compile(rf"(?:.+\.)?[0-9a-f]{{8}}{re.escape(_END)}", re.DOTALL)
_OWNER: Final = "owner"
_WORK: Final = "work"
# Seconds for which an unlocked file stays on Windows, where it is closed before it is renamed.
_CLOSED_FOR: Final = 60
_FLAGS: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


def is_scratch(name: str) -> bool:
    """Tell whether this is the name of a temporary file or folder of ours."""
    return name.endswith(_END) and _OURS.fullmatch(name) is not None


def open_scratch_file(target: Path) -> tuple[Path, IO[bytes]]:
    """Create a temporary file beside its target; it is owned until it is closed."""
    clear_scratch(target.parent, target.name)
    while True:
        path = target.with_name(f"{target.name}.{_new_name()}")
        with contextlib.suppress(FileExistsError):
            file = _own(path)
            if file is not None:
                return path, file


def temporary_folder() -> Path:
    """Return the system's folder of temporary files."""
    import tempfile  # heavy, like shutil below: only where there is something to do

    return Path(tempfile.gettempdir()).resolve()


@contextlib.contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder in `beside`, or the system's temporary one; remove it afterwards.

    What killed runs left there is removed first. The block may rename the folder away. Its name is
    new each time: a program that a killed run has started may still be writing to its own.
    """
    # What is made in a closed folder stays closed to others on Windows, moved away, too.
    mode = 0o700 if beside is None else 0o777
    beside = beside or temporary_folder()
    refuse_non_utf8(beside, "set TMPDIR to a folder with another name")
    clear_scratch(beside)
    beside.mkdir(parents=True, exist_ok=True)
    owner = None
    while owner is None:
        place = beside / _new_name()
        try:
            place.mkdir(mode)
        except FileExistsError:
            continue
        with contextlib.suppress(FileNotFoundError):  # cleared before it had an owner
            owner = _own(place / _OWNER)
    with owner:
        try:
            (place / _WORK).mkdir()
            yield place / _WORK
        finally:
            _remove(place, owner)


def clear_scratch(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files and folders in a folder that nobody owns any more.

    With a name, only those of that target. What cannot be read or removed stays.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            is_asked_for = name is None or entry.name.rsplit(".", 3)[0] == name
            if is_asked_for and is_scratch(entry.name):
                with contextlib.suppress(OSError):
                    _clear(Path(entry.path))


def _new_name() -> str:
    return f"{os.urandom(4).hex()}{_END}"


def _own(path: Path) -> IO[bytes] | None:
    """Create a file and lock it; None where `clear_scratch` of another run was quicker."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS
    file = os.fdopen(os.open(path, flags, 0o666), "rb+")
    try:
        is_mine = try_lock(file.fileno())
    except OSError:  # a file system without locks, where nobody clears either
        return file
    if is_mine and path.exists():
        return file
    file.close()
    return None


def _clear(path: Path) -> None:
    """Lock what nobody owns, then remove it: its maker may just be about to lock it."""
    status = path.lstat()
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        return
    if os.name == "nt" and not is_folder and time.time() - status.st_mtime < _CLOSED_FOR:
        return
    try:
        descriptor = os.open(path / _OWNER if is_folder else path, os.O_RDWR | _FLAGS)
    except FileNotFoundError:  # ended before it had an owner; a folder with things in it stays
        path.rmdir()
        return
    with os.fdopen(descriptor, "rb+") as owner:
        if try_lock(descriptor):
            (_remove if is_folder else _unlink)(path, owner)


def _unlink(path: Path, owner: IO[bytes]) -> None:
    """Remove a file that we own; Windows removes no open one."""
    if os.name == "nt":
        owner.close()
    path.unlink(missing_ok=True)


def _remove(place: Path, owner: IO[bytes]) -> None:
    """Remove a folder that we own, its file `owner` last: without it nobody knows it for ours."""
    import shutil

    work = place / _WORK
    shutil.rmtree(work, ignore_errors=True)
    if os.path.lexists(work):  # a package may have folders that nobody may write to
        _make_writable(work)
        shutil.rmtree(work, ignore_errors=True)
    if not os.path.lexists(work):
        with contextlib.suppress(OSError):
            _unlink(place / _OWNER, owner)
            owner.close()  # NFS and FUSE keep an open file there, under another name
            place.rmdir()


def _make_writable(folder: Path) -> None:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *(files if os.name == "nt" else ())):
            path = Path(root, name)
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(0o700)
