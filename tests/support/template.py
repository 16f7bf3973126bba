"""The template itself, as somebody has it who copies the folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from scripts.core.template_files import TEMPLATE, template_files

ROOT: Final = TEMPLATE

__all__ = ["ROOT", "copy_template", "template_files"]


def copy_template(target: Path) -> Path:
    """Copy the template into a new folder and return that."""
    for file in template_files():
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, copy)
    return target
