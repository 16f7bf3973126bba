"""Which pixi-mirror this is, and the folder that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

TEMPLATE: Final = Path(__file__).resolve().parents[2]
"""The parent of `scripts/`: a checkout, a copy of it, the wheel's folder, an unpacked tool."""


def version() -> str:
    """Return the version that pyproject.toml has, the one place where it stands.

    The pyproject.toml of a builder of before has none.
    """
    import tomllib

    document = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))
    return str(document.get("project", {}).get("version", "unknown"))
