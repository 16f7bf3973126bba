"""Refuse to write through symbolic links, or where another kind of thing is in the way.

A link may lead anywhere, and nothing outside the channel folder and its working state is ever
written. Nothing is opened here: only the status of each path is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Final

from scripts.core.channel_paths import WORKSPACES, ChannelPaths
from scripts.core.errors import Problem, raise_problems, usage_problem

# Windows: a junction is a folder that leads to another one, and yet no symbolic link.
_JUNCTION: Final = 0xA0000003


_MESSAGES: Final = {
    "link": "a link, through which nothing is written",
    "file": "a file is where a folder must be",
    "folder": "a folder is where a file must go",
    "other": "neither a file nor a folder",
}
_A_FOLDER: Final = frozenset({"folder"})
_ALL_BUT_A_FOLDER: Final = frozenset({"file", "link", "other"})  # a rename replaces them
_PLAIN: Final = frozenset({"file", "folder"})


def check_output_paths(
    folder: Path, files: Iterable[PurePosixPath], folders: Iterable[PurePosixPath] = ()
) -> None:
    """Raise the error of exit code 2 where one of these, relative to `folder`, cannot be written.

    Every folder above a file must be a real folder, or missing; the file itself must not be a
    folder. A link in place of a file is no obstacle: a rename replaces it.
    """
    names, needed = [str(each) for each in files], set[str]()
    for above in (*(each.rpartition("/")[0] for each in names), *map(str, folders)):
        while above not in {"", "."} and above not in needed:
            needed.add(above)
            above = above.rpartition("/")[0]  # noqa: PLW2901 -- up to the channel folder
    _refuse(
        *((each, folder / each, _A_FOLDER) for each in sorted(needed)),
        *((each, folder / each, _ALL_BUT_A_FOLDER) for each in names),
    )


def refuse_odd_state(place: ChannelPaths) -> None:
    """Raise the error of exit code 2 for working state that is not plain files and folders."""
    ours = (place.root, place.state, place.state / WORKSPACES, place.cache, place.parts)
    _refuse(*((str(each), each, _A_FOLDER) for each in (place.root.parent, *ours)))
    files = (place.lock, place.digests)
    inside: list[Path] = []
    for folder in ours:
        with contextlib.suppress(OSError):  # none yet; who needs it tells that it cannot be read
            inside += sorted(each for each in folder.iterdir() if each not in files)
    _refuse(*((str(each), each, {"file"}) for each in files))
    _refuse(*((str(each), each, _PLAIN) for each in inside))


def link_above(folder: Path, path: PurePosixPath) -> PurePosixPath | None:
    """Return the topmost part of a path below the channel folder that is a link; None: none is."""
    parts = (*reversed(path.parents), path)
    return next((each for each in parts if each.parts and _kind(folder / each) == "link"), None)


def _refuse(*wanted: tuple[str, Path, AbstractSet[str]]) -> None:
    """Refuse each path that exists and is of none of the kinds given for it."""
    raise_problems(
        _problem(subject, path, kind)
        for subject, path, kinds in wanted
        if (kind := _kind(path)) is not None and kind not in kinds
    )


def _kind(path: Path) -> str | None:
    """Return the kind of what is at a path, no link followed; None: nothing that can be seen."""
    try:
        status = path.lstat()
    except OSError:
        return None
    if S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _JUNCTION:
        return "link"
    if S_ISDIR(status.st_mode):
        return "folder"
    return "file" if S_ISREG(status.st_mode) else "other"


def _problem(subject: str, path: Path, kind: str) -> Problem:
    details = []
    if kind == "link":
        target = "unknown"
        with contextlib.suppress(OSError):
            target = str(path.readlink())
        details = [("leads to", target)]
    return usage_problem(subject, _MESSAGES[kind], *details, help="remove it, then run this again")
