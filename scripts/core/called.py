"""How the user started us, so that the commands we name can be pasted. Decides; does no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# Set by scripts/launch.py: `./run`, or `run` on Windows.
VARIABLE: Final = "PIXI_MIRROR_RUN"
_PIXI_RUN: Final = re.compile(r"\bpixi run (?=[a-z])")


def as_called(text: str, environ: Mapping[str, str]) -> str:
    """Write `./run NAME` for each `pixi run NAME` where the launcher started us."""
    launcher = environ.get(VARIABLE)
    return _PIXI_RUN.sub(f"{launcher} ", text) if launcher in {"./run", "run"} else text
