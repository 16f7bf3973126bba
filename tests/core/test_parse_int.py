"""Numbers that are digits and nothing else."""

from __future__ import annotations

import pytest

from scripts.core.parse_int import parse_digits


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("9" * 19, 10**19 - 1)])
def test_digits(text: str, number: int) -> None:
    assert parse_digits(text) == number


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "1_0", "1.0", "٣", "²", "9" * 20, "9" * 5000]
)
def test_anything_else(text: str) -> None:
    assert parse_digits(text) is None
