"""A folder's files as an indented tree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

_INDENT = "  "


def draw_tree(root: str, files: Iterable[PurePosixPath], folded: str) -> tuple[str, ...]:
    """Draw files, named relative to `root`, as lines; of folders called `folded`, their count.

    Folders end with a slash and stand before files.
    """
    return tuple(_lines(f"{root}/", sorted(file.parts for file in files), folded))


def _lines(name: str, files: list[tuple[str, ...]], folded: str) -> Iterable[str]:
    if name == f"{folded}/":
        yield f"{name}  ({len(files)} file{'' if len(files) == 1 else 's'})"
        return
    yield name
    folders = sorted({file[0] for file in files if len(file) > 1})
    for folder in folders:
        inside = [file[1:] for file in files if file[0] == folder and len(file) > 1]
        for line in _lines(f"{folder}/", inside, folded):
            yield _INDENT + line
    for file in files:
        if len(file) == 1:
            yield _INDENT + file[0]
