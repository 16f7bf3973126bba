"""Values out of one row of a lock, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.core.record import RunExports
from scripts.lock.row import Row
from scripts.lock.yaml_text import Node

URL = "https://user:hunter2@host/a-1-0.conda"


def row(**fields: Node) -> Row:
    return Row("pixi.lock", URL, fields)


@pytest.mark.parametrize(
    ("read", "value", "result"),
    [
        (lambda row: row.text("x"), "", ""),
        (lambda row: row.text("x"), None, None),
        (lambda row: row.needed("x"), "a", "a"),
        (lambda row: row.integer("x"), "0012", 12),
        (lambda row: row.integer("x"), None, None),
        (lambda row: row.hex_digest("x", "md5"), "AB" * 16, "ab" * 16),
        (lambda row: row.hex_digest("x", "sha256"), "0" * 64, "0" * 64),
        (lambda row: row.hex_digest("x", "sha256"), "", None),
        (lambda row: row.texts("x"), ["a", ""], ("a", "")),
        (lambda row: row.texts("x"), None, ()),
        (lambda row: row.one_or_many("x"), "a b,c, d", ("a", "b", "c", "d")),
        (lambda row: row.one_or_many("x"), ["a b"], ("a b",)),
        (lambda row: row.one_or_many("x"), "", ()),
        (lambda row: row.rows("x"), [{"a": "b"}], ({"a": "b"},)),
        (lambda row: row.rows("x"), None, ()),
        (lambda row: row.table("x"), {"a": None}, {"a": None}),
        (lambda row: row.table("x"), None, {}),
    ],
)
def test_values(read: Callable[[Row], object], value: Node, result: object) -> None:
    assert read(row(x=value)) == result
    if value is None:
        assert read(row()) == result


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("1700000000", 1_700_000_000_000),
        ("253402300799", 253_402_300_799_000),
        ("253402300800", 253_402_300_800),
        ("1700000000123", 1_700_000_000_123),
        (None, None),
    ],
)
def test_timestamps_are_in_milliseconds(text: str | None, milliseconds: int | None) -> None:
    assert row(timestamp=text).timestamp() == milliseconds


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("python", "python"),
        ("generic", "generic"),
        ("true", "generic"),
        ("false", None),
        (None, None),
    ],
)
def test_noarch(text: str | None, kind: str | None) -> None:
    assert row(noarch=text).noarch() == kind


def test_run_exports_may_be_unknown_or_none() -> None:
    assert row().run_exports() is None
    assert row(run_exports={}).run_exports() == RunExports()
    assert row(run_exports={"weak": ["a"], "strong_constrains": ["b >1"]}).run_exports() == (
        RunExports(weak=("a",), strong_constrains=("b >1",))
    )


def test_extra_depends() -> None:
    assert row().extra_depends() == ()
    assert row(extra_depends={"b": ["x"], "a": []}).extra_depends() == (("b", ("x",)), ("a", ()))


WHERE = "x of https://********@host/a-1-0.conda"


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (lambda row: row.text("x"), ["a"], "a text\n  actual  ['a']"),
        (lambda row: row.integer("x"), "1.5", "a whole number\n  actual  '1.5'"),
        (lambda row: row.integer("x"), "", "a whole number\n  actual  ''"),
        (lambda row: row.integer("x"), "1" * 20, f"a whole number\n  actual  '{'1' * 20}'"),
        (lambda row: row.hex_digest("x", "md5"), "0" * 64, f"a md5 in hex\n  actual  '{'0' * 64}'"),
        (lambda row: row.hex_digest("x", "md5"), "0" * 31 + "\n", "a md5 in hex\n"),
        (lambda row: row.texts("x"), ["a", None], "a list of texts\n  actual  ['a', None]"),
        (lambda row: row.one_or_many("x"), {}, "a list of texts\n  actual  {}"),
        (lambda row: row.rows("x"), ["a"], "a list of maps\n  actual  ['a']"),
        (lambda row: row.rows("x"), URL, "a list of maps\n  actual  'https://********@host/"),
        (lambda row: row.table("x"), [], "a map\n  actual  []"),
        (lambda row: row.texts("x"), "y" * 200, f"a list of texts\n  actual  '{'y' * 116}..."),
    ],
)
def test_wrong_values(read: Callable[[Row], object], value: Node, expected: str) -> None:
    with pytest.raises(MirrorError) as caught:
        read(row(x=value))
    assert str(caught.value).startswith(f"pixi.lock: {WHERE} is not {expected}")
    assert caught.value.problems[0].code is ExitCode.USAGE
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_what_must_be_there(value: str | None) -> None:
    with pytest.raises(MirrorError) as caught:
        row(x=value).needed("x")
    assert str(caught.value) == "pixi.lock: https://********@host/a-1-0.conda has no x"
