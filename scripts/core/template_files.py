"""The files of the template: in a checkout, in a copy, in the wheel. It lists folders.

Git is not asked, which none but the first has. What stands at the top is listed by name; folders
are taken whole, without what Python and the checkers made in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

TEMPLATE: Final = Path(__file__).resolve().parents[2]
"""The folder that holds it: the parent of `scripts/`, wherever that is."""

BUILDER: Final = "builder"
"""The folder with what only builders have."""

# All that stands at the top; `only-include` in pyproject.toml, by which the wheel is built, is the
# same. A builder has no such setting, and this list all the same.
FOLDERS: Final = (".ci", "bench", BUILDER, "recipe", "scripts", "tasks", "tests")
FILES: Final = (
    *(".gitattributes", ".gitignore", "LICENSE", "run", "run.cmd", "pyproject.toml"),
    *("requirements.txt", "requirements-test.txt", "requirements-oldest.txt"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pixi.toml", "pixi.lock"),
)

_MADE_FOLDERS: Final = frozenset(
    {"__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
)
_MADE_SUFFIXES: Final = frozenset({".pyc", ".pyo"})


def template_files(root: Path = TEMPLATE) -> tuple[PurePosixPath, ...]:
    """List every file of a template, relative to its root and sorted: what a copy must hold.

    Listed is what is there: a copy may do without `bench`, `.ci` or `pixi.lock`.
    """
    found = [PurePosixPath(name) for name in FILES if (root / name).is_file()]
    for folder in FOLDERS:
        found += (PurePosixPath(path.relative_to(root)) for path in _files_in(root / folder))
    return tuple(sorted(found))


def version() -> str:
    """Return the version of pixi-mirror: that of pyproject.toml, the one place where it stands.

    A builder's pyproject.toml has none: its record tells what it was made from.
    """
    import tomllib

    document = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))
    return str(document.get("project", {}).get("version", "as in this builder"))


def _files_in(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _MADE_FOLDERS]
        for name in files:
            if Path(name).suffix not in _MADE_SUFFIXES:
                yield Path(here, name)
