"""Reports as data, and sizes as people read them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.core.errors import ExitCode, Problem
from scripts.core.report import Report, human_size, to_json


class Colour(StrEnum):
    """A word of a fixed list."""

    RED = "red"


class Number(Enum):
    """A number with a name."""

    ONE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A value within another."""

    file_name: str
    colours: tuple[Colour, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """A value with all kinds of fields."""

    inner: Inner
    path_of_it: PurePosixPath
    none: None = None


def test_values_become_what_json_can_write() -> None:
    value = Outer(
        inner=Inner(file_name="a", colours=(Colour.RED,)), path_of_it=PurePosixPath("b/c")
    )
    assert to_json(value) == {
        "inner": {"file-name": "a", "colours": ["red"]},
        "path-of-it": "b/c",
        "none": None,
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (1, 1),
        (1.5, 1.5),
        (Number.ONE, 1),
        (ExitCode.FINDINGS, 1),
        (PureWindowsPath("a\\b"), "a/b"),
        ({Number.ONE: {"x"}}, {"Number.ONE": ["x"]}),
        (frozenset({"x"}), ["x"]),
        ([("a", 1)], [["a", 1]]),
    ],
)
def test_single_values(value: object, expected: Any) -> None:
    result = to_json(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "name"), [(b"x", "bytes"), (object(), "object"), (Inner, "type")]
)
def test_what_json_cannot_write_is_a_bug(value: object, name: str) -> None:
    with pytest.raises(TypeError, match=f"^not for JSON: {name}$"):
        to_json({"a": [value]})


def test_a_report_asks_for_the_exit_code_of_its_problems() -> None:
    assert Report().exit_code is ExitCode.OK
    bad = Problem(subject="it", message="is wrong", code=ExitCode.PROGRAM)
    assert Report(lines=("x",), problems=(bad,)).exit_code is ExitCode.PROGRAM


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (3_449, "3.4 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (55_000_000, "55.0 MB"),
        (999_949_999, "999.9 MB"),
        (999_950_000, "1.0 GB"),
        (1_200_000_000, "1.2 GB"),
        (999_950_000_000, "1.0 TB"),
        (12_345_000_000_000_000, "12345.0 TB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert human_size(size) == text


@given(st.integers(1000, 10**15))
def test_a_size_is_right_to_half_of_its_last_digit(size: int) -> None:
    amount, unit = human_size(size).split()
    factor = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert abs(float(amount) * factor - size) <= 0.0501 * factor
    assert 1 <= float(amount) <= 1000
