"""Whole lines of a TOML text: found, taken out, put in."""

from __future__ import annotations

import pytest

from scripts.workspace.toml_lines import (
    find_span,
    lines_at,
    spans_of,
    with_key_in,
    with_lines,
    with_table_behind,
    without_lines,
)

TEXT = """\
# top
name = "x" # a comment
[a.b] # header
one = 1

# about two
two = [
  "[not.a.header]", # nor ] this
  '''
key = 2
''',
]
a.dotted = 3
t = { x = 1, y = "#" }

# ---- a banner ----

[[many]]
x = 1
[many.sub]
y = 2
[a."c.d"]
"""


def found(text: str) -> list[tuple[str, str]]:
    return [("|".join(span.path), lines_at(text, span)) for span in spans_of(text)]


def test_tables_and_keys_are_found_with_all_their_lines() -> None:
    two = "two = [\n  \"[not.a.header]\", # nor ] this\n  '''\nkey = 2\n''',\n]\n"
    inline = 't = { x = 1, y = "#" }\n'
    assert found(TEXT) == [
        ("name", 'name = "x" # a comment\n'),
        ("a|b", f"[a.b] # header\none = 1\n\n# about two\n{two}a.dotted = 3\n{inline}"),
        ("a|b|one", "one = 1\n"),
        ("a|b|two", two),
        ("a|b|t", inline),
        ("many|sub", "[many.sub]\ny = 2\n"),
        ("many|sub|y", "y = 2\n"),
        ("a|c.d", '[a."c.d"]\n'),
    ]


def test_what_is_there_twice_is_not_found() -> None:
    assert find_span("[a]\nx = 1\n[b]\n[a]\nx = 2\n", ("a", "x")) is None
    assert find_span("[a]\nx = 1\n[b]\n", ("a", "x")) is not None


@pytest.mark.parametrize("text", ["[a\nb = 1\n", 'x = """\n', "[]\n", "= 1\n", "\x00\n"])
def test_what_is_no_toml_has_no_spans(text: str) -> None:
    assert spans_of(text) == ()


def test_a_table_goes_with_the_blank_lines_before_it_and_the_banner_stays() -> None:
    text = "[a]\nx = 1\n\n[b]\ny = 2\n\n# banner\n[c]\n"
    span = find_span(text, ("b",))
    assert span is not None
    assert without_lines(text, span) == "[a]\nx = 1\n\n# banner\n[c]\n"
    first = find_span(text, ("a",))
    assert first is not None
    assert without_lines(text, first) == "\n[b]\ny = 2\n\n# banner\n[c]\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_are_put_in_with_the_ends_that_the_text_has(newline: str) -> None:
    text = f"[a]{newline}x = 1{newline}{newline}# banner{newline}"
    table, key = find_span(text, ("a",)), find_span(text, ("a", "x"))
    assert table is not None
    assert key is not None
    assert with_key_in(text, table, "z = 3\r\n") == text.replace(
        f"x = 1{newline}", f"x = 1{newline}z = 3{newline}"
    )
    assert with_lines(text, key, "x = 2") == text.replace("1", "2")
    block = f"{newline}[b]{newline}y = 2{newline}"
    assert with_table_behind(text, table, "[b]\ny = 2\n") == text.replace(
        f"x = 1{newline}", f"x = 1{newline}{block}"
    )
    assert with_table_behind(text, None, "[b]\ny = 2\n") == text + block


def test_a_last_line_without_an_end_gets_one() -> None:
    text = "[a]\nx = 1"
    table = find_span(text, ("a",))
    assert table is not None
    assert with_key_in(text, table, "y = 2\n") == "[a]\nx = 1\ny = 2\n"
    assert with_table_behind(text, table, "[b]\n") == "[a]\nx = 1\n\n[b]\n"
