"""The files of the template: in a checkout, in a copy, in the wheel. Acts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TEMPLATE: Final = Path(__file__).resolve().parents[2]
"""The folder that holds it: the parent of `scripts/`, wherever that is."""

_MADE: Final = "__pycache__"  # nothing else is made inside of what the list names


def template_files(root: Path = TEMPLATE) -> Iterator[Path]:
    """Every file of a template, in order.

    What belongs to it is listed in its pyproject.toml, `only-include` of `[tool.hatch.build]`
    (https://hatch.pypa.io/latest/config/build/#explicit-selection), which the wheel is built by
    as well. A name that is not there is passed over: a copy may have parted with it.
    """
    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    for name in sorted(document["tool"]["hatch"]["build"]["only-include"]):
        path = root / name
        yield from sorted(_files_in(path)) if path.is_dir() else (path,) if path.exists() else ()


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and _MADE not in path.parts)
