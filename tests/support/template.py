"""The template itself, as somebody has it who copies the folder."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.core.invocation import TEMPLATE

ROOT: Final = TEMPLATE

_MADE: Final = frozenset(
    {"__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
)


def template_files(root: Path = ROOT) -> tuple[PurePosixPath, ...]:
    """List what belongs to the template: what pyproject.toml puts into the wheel.

    Listed is what is there: a copy may do without `bench`, `.ci` or `pixi.lock`.
    """
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    names = settings["tool"]["hatch"]["build"]["only-include"]
    return tuple(sorted(path for name in names for path in _files(root, PurePosixPath(name))))


def _files(root: Path, path: PurePosixPath) -> Iterator[PurePosixPath]:
    if (root / path).is_file():
        yield path
    for here, folders, files in os.walk(root / path):
        folders[:] = [name for name in folders if name not in _MADE]
        inside = PurePosixPath(Path(here).relative_to(root).as_posix())
        yield from (inside / name for name in files if not name.endswith((".pyc", ".pyo")))


def documents() -> tuple[str, ...]:
    """List what people read: the template's pages in Markdown."""
    return tuple(
        str(path)
        for path in template_files()
        if path.suffix == ".md" and path.parts[0] not in {".github", "tests"}
    )


def copy_template(target: Path) -> Path:
    """Copy the template into a new folder and return that."""
    for file in template_files():
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, copy)
    return target
