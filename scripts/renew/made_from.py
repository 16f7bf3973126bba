"""The lock that the channel was last made from, kept with the working state. Acts.

`pixi run NAME` renews pixi.lock before the task starts, so the file itself cannot tell what is
new in it.
"""

from __future__ import annotations

from scripts.core.errors import usage_error
from scripts.core.files import not_readable, write_atomically
from scripts.lock.model import LockFile
from scripts.lock.read import read_lock
from scripts.manifest.workspace import Workspace


def remember_made_from(workspace: Workspace) -> None:
    """Keep a copy of the present lock; to be called once the channel holds what it names.

    Nothing is written where that copy is there already.
    """
    try:
        data = workspace.lock_path.read_bytes()
    except OSError as error:
        raise not_readable(workspace.lock_path, "lock file", error) from None
    copy = workspace.place.made_from
    try:
        if copy.read_bytes() == data:
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise not_readable(copy, "copy of the lock", error) from None
    write_atomically(copy, data)


def read_made_from(workspace: Workspace) -> LockFile | None:
    """Read that copy; None where the channel has not been made yet."""
    copy = workspace.place.made_from
    if not copy.exists():
        return None
    if not copy.is_file():
        raise usage_error(str(copy), "not a file", help="remove it")
    return read_lock(copy)
