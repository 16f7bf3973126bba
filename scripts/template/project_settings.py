"""The template's pyproject.toml as a builder gets it.

A builder is no Python project: it keeps the settings of the tools that check it, and neither
[project] nor [build-system] of the program that the template is published as.
"""

from __future__ import annotations

from typing import Final

from scripts.core.typed_values import parse_toml

_NAME: Final = "pyproject.toml"
_KEPT: Final = frozenset({"ruff", "mypy", "pytest", "coverage"})


def builder_settings(data: bytes) -> bytes:
    """Return the settings of the checkers alone, comments and order as they are."""
    document = parse_toml(data.decode("utf-8"), _NAME)
    for key in [each for each in document if each != "tool"]:
        del document[key]
    for key in [each for each in document.get("tool", {}) if each not in _KEPT]:
        del document["tool"][key]
    text: str = document.as_string()
    return f"{text.strip()}\n".encode()
