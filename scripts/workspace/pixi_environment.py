"""What a pixi that a task starts may know of the one around the task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# What activation sets (pixi_core/src/activation.rs) or a shell of pixi's (pixi_cli/src/shell.rs),
# and what the outer `pixi run` was told of locks and colours. All other PIXI_ variables configure
# pixi (PIXI_HOME, PIXI_CACHE_DIR, PIXI_CONFIG_FILE, PIXI_OFFLINE, …) and hold for the inner one.
_OF_OUTER_PIXI: Final = re.compile(
    r"PIXI_((PROJECT|ENVIRONMENT)_\w*|EXE|PROMPT|IN_SHELL|SHELL_ACTIVATION_DONE"
    r"|FROZEN|LOCKED|COLOR|NO_PROGRESS)"
)
# Those of an activated conda environment; CONDA_OVERRIDE_* stand for virtual packages.
_OF_OUTER_CONDA: Final = re.compile(r"_?CONDA_(?!OVERRIDE_)\w*|_CE_(M|CONDA)")
_COLOURS: Final = frozenset({"CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR"})

# `pixi 0.77.0`; PyPI has another program of this name.
_VERSION_LINE: Final = re.compile(r"pixi \d+\.\d+\.\d+\S*\s*")


def pixi_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a pixi that works on a workspace of its own: no colours, no wraps.

    Without it the inner pixi would take the task's environment for the one it is to work on.
    """
    kept = {
        name: text
        for name, text in environ.items()
        if not _OF_OUTER_PIXI.fullmatch(name.upper())
        and not _OF_OUTER_CONDA.fullmatch(name.upper())
        and name.upper() not in _COLOURS
    }
    return kept | {"NO_COLOR": "1", "PIXI_NO_WRAP": "1"}


def is_pixi(version_line: str) -> bool:
    """Tell by what `--version` prints whether a program is pixi, the package manager."""
    return _VERSION_LINE.fullmatch(version_line) is not None
