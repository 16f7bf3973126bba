"""Whole numbers as others write them."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 19  # digits; more are no size, no version, and slow to read on purpose


def parse_digits(text: str) -> int | None:
    """Read the digits 0 to 9, and nothing else; None where there is anything else, or too many.

    Python's own `int` and `isdecimal` take the digits of all scripts, signs and underscores.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST else None
