"""The list of files that wait for their removal, and how they are removed.

A client at work has read an index, and needs the files that it names until it is done. So a file
that a newly published index no longer names stays for `grace`; then the next publication, or
`prune`, removes it.
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
from scripts.core.symlinks import check_output_paths

_TIMES_DIFFER: Final = 2 * 10**9  # nanoseconds; FAT keeps times to two seconds
# The folder is not empty, or there is none.
_STAYS: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR})


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def still_waiting(
    folder: Path, removals: Iterable[Removal], named: AbstractSet[PurePosixPath]
) -> tuple[Removal, ...]:
    """Return the removals that still hold: nobody names the file, and no other took its place.

    One whose file is gone, by a killed run, counts: its folder may have to be removed, too.
    """
    return tuple(each for each in removals if each.path not in named and _waits(folder, each))


def _waits(folder: Path, removal: Removal) -> bool:
    """Tell whether the same file is there, or none; by size and time, which a copy of it keeps."""
    try:
        status = (folder / removal.path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise cannot_read(error, folder / removal.path) from None
    is_same_time = abs(status.st_mtime_ns - removal.mtime_ns) < _TIMES_DIFFER
    return status.st_size == removal.size and is_same_time


def removals_of(
    folder: Path, paths: Iterable[PurePosixPath], dropped: datetime | None
) -> tuple[Removal, ...]:
    """Return the removals of files as they are now; `dropped` as in `Removal`."""
    found = ((path, (folder / path).lstat()) for path in paths)
    return tuple(
        Removal(path=path, size=status.st_size, mtime_ns=status.st_mtime_ns, dropped=dropped)
        for path, status in found
    )


def is_due(removal: Removal, grace: timedelta, when: datetime) -> bool:
    """Tell whether no client can still need the file.

    Where the clock was set back by more than the grace, the file is due.
    """
    return removal.dropped is not None and abs(when - removal.dropped) >= grace


def names_others(path: PurePosixPath) -> bool:
    """Tell whether this is an index file that names other files, by what it is called."""
    return path.name.startswith(("repodata", "index."))


def remove(
    place: ChannelPaths, due: Iterable[Removal], left: Iterable[Removal]
) -> tuple[Removal, ...]:
    """Remove the files that are `due`, then empty folders, and write the list of what is `left`.

    Returns those that were there. Index files go first, so that no index names a file that is gone.
    The list is written last: after a kill the next run finds all that is still to be done.
    """
    due = sorted(due, key=lambda each: (not names_others(each.path), each.path))
    check_output_paths(place.folder, [each.path for each in due])
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
        if any(folder.iterdir()):  # without permission, rmdir would not say ENOTEMPTY
            return
        folder.rmdir()
    except OSError as error:
        if error.errno not in _STAYS:
            raise
