"""Files that a published index named once: they stay for a while, then they go.

A client at work has read an index; what that named must be there until the client is done. So a
file that a publication drops waits for `grace`, and the next publication, or `prune`, removes it.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.inventory import cannot_read
from scripts.channel.state import GOES_ON, Removal, write_removals
from scripts.core.channel_paths import ChannelPaths
from scripts.core.files import disk_errors, unlink
from scripts.core.symlinks import refuse_obstacles

_TIMES_DIFFER: Final = 2 * 10**9  # nanoseconds; FAT keeps times to two seconds
_INDEX: Final = ("repodata", "index.")  # how the files are called that name others
# Something is in a folder, or there is none.
_STAYS: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR})


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def still_waiting(
    folder: Path, removals: Iterable[Removal], named: AbstractSet[PurePosixPath]
) -> tuple[Removal, ...]:
    """Return those that nobody names again, and at whose place no other file has come.

    One that is gone, by a killed run, counts: the folder that it was in may have to go, too.
    """
    return tuple(each for each in removals if each.path not in named and _waits(folder, each))


def _waits(folder: Path, removal: Removal) -> bool:
    """Tell whether the very file is there, or none.

    A copy of the mirror has other inodes, and times as exactly as its disk keeps them.
    """
    try:
        status = (folder / removal.path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise cannot_read(error, folder / removal.path) from None
    is_same_time = abs(status.st_mtime_ns - removal.mtime) < _TIMES_DIFFER
    return status.st_size == removal.size and is_same_time


def to_remove(
    folder: Path, paths: Iterable[PurePosixPath], dropped: datetime | None
) -> tuple[Removal, ...]:
    """Put files on the list, as they are now; `dropped` None: by a publication yet to come."""
    found = ((path, (folder / path).lstat()) for path in paths)
    return tuple(
        Removal(path=path, size=status.st_size, mtime=status.st_mtime_ns, dropped=dropped)
        for path, status in found
    )


def is_due(removal: Removal, grace: timedelta, when: datetime) -> bool:
    """Tell whether no client can still need it.

    A clock that was set back by more than the grace tells nothing, and counts as none.
    """
    return removal.dropped is not None and abs(when - removal.dropped) >= grace


def remove(
    place: ChannelPaths, due: Iterable[Removal], left: Iterable[Removal]
) -> tuple[Removal, ...]:
    """Remove files, then the folders that have nothing left in them, then note what is left.

    Returns those that were there.

    The index files of a channel go first, so that it promises nothing that is gone. The list is
    written last: after a kill the next run finds all there is still to do.
    """
    due = sorted(due, key=lambda each: (not each.path.name.startswith(_INDEX), each.path))
    refuse_obstacles(place.folder, [each.path for each in due])
    removed = []
    with removal_errors():
        for each in due:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                unlink(place.folder / each.path)
                removed.append(each)
        for above in sorted({above for each in due for above in each.path.parents}, reverse=True):
            if above != PurePosixPath():
                _remove_if_empty(place.folder / above)
    write_removals(place, left)
    return tuple(removed)


def removal_errors() -> AbstractContextManager[None]:
    """Make the error of exit code 2 where the disk refuses to remove something."""
    return disk_errors(Path(), GOES_ON, "removed")  # whatever removes a file names it


def _remove_if_empty(folder: Path) -> None:
    try:
        if any(folder.iterdir()):  # asked first: where nobody may remove it, the answer is another
            return
        folder.rmdir()
    except OSError as error:
        if error.errno not in _STAYS:
            raise
