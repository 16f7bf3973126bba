"""What lies in the way of writing, and must not be written through: links above all.

A link may lead anywhere, and nothing outside the channel folder and its working state is ever
written. Only statuses are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Final

from scripts.core.channel_paths import WORKSPACES, ChannelPaths
from scripts.core.errors import ExitCode, MirrorError, Problem

# Windows: a junction is a folder that leads to another one, and yet no symbolic link.
_JUNCTION: Final = 0xA0000003


def refuse_obstacles(
    folder: Path, files: Iterable[PurePosixPath], folders: Iterable[PurePosixPath] = ()
) -> None:
    """Refuse (exit 2) to write these files and folders, relative to the channel folder, through.

    All folders above a file must be folders, no links, or missing; the file itself must not be a
    folder. A link in place of a file is no obstacle: a rename replaces it.
    """
    files = tuple(files)
    needed = {above for path in files for above in path.parents}
    needed |= {each for path in folders for each in (path, *path.parents)}
    problems = [
        *_no_folders(folder, sorted(needed - {PurePosixPath()})),
        *(
            _problem(str(path), "a folder is where a file must go")
            for path in files
            if S_ISDIR(_mode(folder / path))
        ),
    ]
    if problems:
        raise MirrorError(*problems)


def link_above(folder: Path, path: PurePosixPath) -> PurePosixPath | None:
    """Return what of a path below the channel folder is a link, the topmost; None: nothing is."""
    parts = (*reversed(path.parents), path)
    return next((each for each in parts if each.parts and _is_link(folder / each)), None)


def refuse_odd_state(place: ChannelPaths) -> None:
    """Refuse (exit 2) working state that is not made of plain files and folders."""
    problems = [
        _link(str(path), path) for path in (place.root.parent, place.root) if _is_link(path)
    ]
    if not problems:
        folders = (place.root, place.state, place.state / WORKSPACES, place.cache, place.parts)
        problems = [problem for each in folders for problem in _odd_entries(each)]
    if problems:
        raise MirrorError(*problems)


def _no_folders(folder: Path, paths: Iterable[PurePosixPath]) -> Iterator[Problem]:
    """Yield a problem for each of these that is there and is no folder."""
    for path in paths:
        mode = _mode(folder / path)
        if _is_link(folder / path):
            yield _link(str(path), folder / path)
        elif mode and not S_ISDIR(mode):
            yield _problem(str(path), "a file is where a folder must be")


def _odd_entries(state: Path) -> Iterator[Problem]:
    try:
        entries = sorted(state.iterdir())
    except OSError:  # none yet; where it cannot be read, whoever needs it will tell
        return
    for path in entries:
        mode = _mode(path)
        if _is_link(path):
            yield _link(str(path), path)
        elif mode and not S_ISDIR(mode) and not S_ISREG(mode):
            yield _problem(str(path), "neither a file nor a folder")


def _mode(path: Path) -> int:
    """Return the mode of what is there itself, no link followed; 0 where there is nothing."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _is_link(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _JUNCTION


def _link(subject: str, path: Path) -> Problem:
    try:
        target = str(path.readlink())
    except OSError:
        target = "unknown"
    return _problem(subject, "a link, through which nothing is written", ("leads to", target))


def _problem(subject: str, message: str, *details: tuple[str, str]) -> Problem:
    return Problem(
        subject=subject,
        message=message,
        code=ExitCode.USAGE,
        details=details,
        help="remove it, then run this again",
    )
