"""Conditions: read as rattler reads them, and whether they hold."""

from __future__ import annotations

import pytest
from rattler import MatchSpec

from scripts.core.condition import Combined, Condition, holds, parse_condition, specs_of


def _all(*parts: Condition) -> Combined:
    return Combined("and", parts)


def _any(*parts: Condition) -> Combined:
    return Combined("or", parts)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("python >=3.10", "python >=3.10"),
        ("a or b", _any("a", "b")),
        ("a and b or c and d", _any(_all("a", "b"), _all("c", "d"))),
        ("a and (b or c)", _all("a", _any("b", "c"))),
        ("a and(b or(c))and d", _all("a", _any("b", "c"), "d")),
        ("((a))", "a"),
        ("pandoc and a-or-b or android", _any(_all("pandoc", "a-or-b"), "android")),
        ('x[build="fast and (slow)"] and y', _all('x[build="fast and (slow)"]', "y")),
        (r'x[build="a\" or b"] or y', _any(r'x[build="a\" or b"]', "y")),
        ("x[extras=[a, b]] or y", _any("x[extras=[a, b]]", "y")),
        ("  a   or   b  ", _any("a", "b")),
    ],
)
def test_conditions(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition


@pytest.mark.parametrize(
    "text", ["", " ", "and", "a and", "or b", "(a", "a)", "()", "a (b)", "a and or b", "(" * 60]
)
def test_no_conditions(text: str) -> None:
    assert parse_condition(text) is None


def test_deep_nesting_is_no_crash() -> None:
    assert parse_condition("(" * 100_000 + "a" + ")" * 100_000) is None


def test_many_parts_are_no_crash() -> None:
    condition = parse_condition(" or ".join(["a"] * 20_000))
    assert condition == Combined("or", ("a",) * 20_000)


@pytest.mark.parametrize(
    "text",
    ["python >=3", "a or b and c", "(a or b) and (c or d)", 'x[build="a and b"] or (y and z)'],
)
def test_what_rattler_writes_is_read_the_same(text: str) -> None:
    """Versions differ in where they write parentheses and brackets."""
    quoted = text.replace('"', "'")
    written = MatchSpec(f'foo[when="{quoted}"]').condition
    assert written is not None
    parsed, wanted = parse_condition(written), parse_condition(text)
    assert parsed is not None
    assert wanted is not None
    assert _shape(parsed) == _shape(wanted)
    assert list(map(_name, specs_of(parsed))) == list(map(_name, specs_of(wanted)))


def _name(spec: str) -> str:
    return MatchSpec(spec).name.normalized


def _shape(condition: Condition) -> object:
    if isinstance(condition, str):
        return _name(condition)
    return condition.word, tuple(map(_shape, condition.parts))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True),
        ("no", False),
        ("unknown", None),
        ("yes and no", False),
        ("yes or no", True),
        ("yes and unknown", None),
        ("no and unknown", False),
        ("yes or unknown", True),
        ("no or unknown", None),
        ("(yes or unknown) and yes", True),
    ],
)
def test_holds(text: str, expected: bool | None) -> None:  # noqa: FBT001
    condition = parse_condition(text)
    assert condition is not None
    assert holds(condition, {"yes": True, "no": False, "unknown": None}.get) is expected
