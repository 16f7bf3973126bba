"""Typed values out of what was parsed, and TOML by two parsers that must agree."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.core.typed_values import Table, load_toml, parse_int, parse_toml

DATA = Path(__file__).parents[1] / "data"
MANIFESTS = sorted([*DATA.rglob("*.toml"), *DATA.parents[1].glob("*.toml")])
URL = "https://user:hunter2@host/a-1-0.conda"
NEW = "[workspace]\nplatforms = [{\n  platform = 'linux-64',\n  cuda = '12',\n}]\n"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_both_parsers_read_the_same(path: Path) -> None:
    text = path.read_bytes().decode()
    assert load_toml(text, path.name).fields == parse_toml(text, path.name).unwrap()


def test_toml_1_1_is_read_too() -> None:
    with pytest.raises(tomllib.TOMLDecodeError):  # control: the fast parser does not know it
        tomllib.loads(NEW)
    assert load_toml(NEW, "pixi.toml").fields == {
        "workspace": {"platforms": [{"platform": "linux-64", "cuda": "12"}]}
    }


def test_toml_that_no_parser_can_nest() -> None:
    with pytest.raises(MirrorError) as caught:
        load_toml(f"x = {'[' * 5000}", "pixi.toml")
    assert str(caught.value) in {
        "pixi.toml: not TOML: nested too deep",
        # tomlkit's own words, since it counts
        "pixi.toml: not TOML: TOML value nested more than 100 levels deep at line 1 col 104",
    }


@pytest.mark.parametrize(
    ("read", "value", "result"),
    [
        (lambda table: table.string("x"), "", ""),
        (lambda table: table.string("x"), None, None),
        (lambda table: table.required("x"), "a", "a"),
        (lambda table: table.integer("x"), "0012", 12),
        (lambda table: table.integer("x"), 12, 12),
        (lambda table: table.integer("x"), None, None),
        (lambda table: table.strings("x"), ["a", ""], ("a", "")),
        (lambda table: table.strings("x"), None, ()),
        (lambda table: table.rows("x"), [{"a": "b"}], ({"a": "b"},)),
        (lambda table: table.rows("x"), None, ()),
        (lambda table: table.table("x").fields, {"a": None}, {"a": None}),
        (lambda table: table.table("x").fields, None, {}),
    ],
)
def test_values(read: Callable[[Table], object], value: object, result: object) -> None:
    assert read(Table("pixi.toml", "a", {"x": value})) == result
    if value is None:
        assert read(Table("pixi.toml", "a", {})) == result


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (lambda table: table.string("x"), ["a"], "a string\n  actual  ['a']"),
        (lambda table: table.integer("x"), "1.5", "a whole number\n  actual  '1.5'"),
        (lambda table: table.integer("x"), "", "a whole number\n  actual  ''"),
        (lambda table: table.integer("x"), True, "a whole number\n  actual  True"),
        (lambda table: table.integer("x"), "1" * 20, f"a whole number\n  actual  '{'1' * 20}'"),
        (lambda table: table.boolean("x"), "yes", "true or false\n  actual  'yes'"),
        (lambda table: table.values("x"), "a", "a list\n  actual  'a'"),
        (lambda table: table.strings("x"), ["a", None], "a list of strings\n  actual  ['a', None]"),
        (lambda table: table.rows("x"), ["a"], "a list of tables\n  actual  ['a']"),
        (lambda table: table.rows("x"), URL, "a list of tables\n  actual  'https://********@host/"),
        (lambda table: table.table("x"), [], "a table\n  actual  []"),
        (
            lambda table: table.strings("x"),
            "y" * 200,
            f"a list of strings\n  actual  '{'y' * 116}...",
        ),
    ],
)
def test_wrong_values(read: Callable[[Table], object], value: object, expected: str) -> None:
    with pytest.raises(MirrorError) as caught:
        read(Table("pixi.toml", "a", {"x": value}))
    assert str(caught.value).startswith(f"pixi.toml: a.x is not {expected}")
    assert caught.value.problems[0].code is ExitCode.USAGE
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_what_must_be_there(value: str | None) -> None:
    with pytest.raises(MirrorError) as caught:
        Table("pixi.toml", URL, {"x": value}).required("x")
    assert str(caught.value) == "pixi.toml: https://********@host/a-1-0.conda has no x"


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("9" * 19, 10**19 - 1)])
def test_integers_are_digits_alone(text: str, number: int) -> None:
    assert parse_int(text) == number


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "1_0", "1.0", "٣", "²", "9" * 20, "9" * 5000]
)
def test_other_texts_are_no_integers(text: str) -> None:
    assert parse_int(text) is None
