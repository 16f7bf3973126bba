"""The files of the template itself, as somebody has them who copies the folder. Acts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

# Made by the tasks, the tools or git; the same as .gitignore.
_MADE: Final = frozenset(
    {
        ".git",
        ".hypothesis",
        ".mypy_cache",
        ".pixi",
        ".pixi-mirror",
        ".pytest_cache",
        ".ruff_cache",
        ".venv",
        "__pycache__",
        "dist",
        "local-channel",
    }
)


def template_files(root: Path = ROOT) -> Iterator[Path]:
    """Every file of the template, in order, without what was made in it."""
    for path in sorted(root.iterdir()):
        if path.name in _MADE:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from template_files(path)
        else:
            yield path


def copy_template(target: Path) -> Path:
    """Copy the template into a new folder and return that."""
    for file in template_files():
        copy = target / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    return target
