"""Which pixi-mirror this is, and how the user started it: what we name can be pasted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

TEMPLATE: Final = Path(__file__).resolve().parents[2]
"""The parent of `scripts/`: a checkout, a copy of it, the wheel's folder, an unpacked tool."""

# The program of scripts/extension.py, and as pixi has it.
PROGRAM: Final = "pixi-mirror"
EXTENSION: Final = "pixi mirror"

# Set by scripts/launch.py to `./run`, or `run` on Windows; by scripts/extension.py to one of ours.
VARIABLE: Final = "PIXI_MIRROR_RUN"
_LAUNCHERS: Final = frozenset({"./run", "run", PROGRAM, EXTENSION})
_PIXI_RUN: Final = re.compile(r"\bpixi run (?=[a-z])")


def launcher_of(environ: Mapping[str, str]) -> str | None:
    """Return the command before the name of a task, where it is not `pixi run`."""
    launcher = environ.get(VARIABLE)
    return launcher if launcher in _LAUNCHERS else None


def as_called(text: str, environ: Mapping[str, str]) -> str:
    """Write `./run NAME` for each `pixi run NAME` where that launcher started us."""
    launcher = launcher_of(environ)
    return text if launcher is None else _PIXI_RUN.sub(f"{launcher} ", text)


def version() -> str:
    """Return the version that pyproject.toml has, the one place where it stands.

    The pyproject.toml of a builder of before has none.
    """
    import tomllib

    document = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))
    return str(document.get("project", {}).get("version", "unknown"))
