"""Which pixi-mirror this is, and how the user started it, so that our help can be pasted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

TEMPLATE: Final = Path(__file__).resolve().parents[2]
"""The parent of `scripts/`: a checkout, a copy of it, the wheel's folder, an unpacked tool."""

# The program of scripts/extension.py, and its name as an extension of pixi.
PROGRAM: Final = "pixi-mirror"
EXTENSION: Final = "pixi mirror"

# Set by scripts/launch.py to `./run`, or `run` on Windows; by scripts/extension.py to one of ours.
LAUNCHER_VARIABLE: Final = "PIXI_MIRROR_RUN"
_LAUNCHERS: Final = frozenset({"./run", "run", PROGRAM, EXTENSION})
_PIXI_RUN: Final = re.compile(r"\bpixi run (?=[a-z])")


def launcher_of(environ: Mapping[str, str]) -> str | None:
    """Return the command that goes before a task's name; None: it is `pixi run`."""
    launcher = environ.get(LAUNCHER_VARIABLE)
    return launcher if launcher in _LAUNCHERS else None


def as_invoked(text: str, environ: Mapping[str, str]) -> str:
    """Write `./run NAME` for each `pixi run NAME` where that launcher started us."""
    launcher = launcher_of(environ)
    return text if launcher is None else _PIXI_RUN.sub(f"{launcher} ", text)


def version() -> str:
    """Return the version, which stands in pyproject.toml alone; an old builder's has none."""
    import tomllib

    document = tomllib.loads((TEMPLATE / "pyproject.toml").read_bytes().decode())
    return str(document.get("project", {}).get("version", "unknown"))
