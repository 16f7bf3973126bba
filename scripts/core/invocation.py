"""How the user started us, so that the commands we name can be pasted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

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
