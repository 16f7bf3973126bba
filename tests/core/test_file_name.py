"""File names of artifacts: those that are, those that must never pass, and back to text."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts.core.file_name import (
    EXTENSIONS,
    FileName,
    is_archive_name,
    parse_file_name,
)
from tests.support.template import ROOT

_FIRST = string.ascii_letters + string.digits + "_"
_PART = _FIRST + ".+!~="
PARTS = st.text(_PART, min_size=1, max_size=40)
NAMES = st.builds(
    lambda first, rest: first + rest, st.sampled_from(_FIRST), st.text(_PART + "-", max_size=40)
)


@settings(deadline=None)
@given(NAMES, PARTS, PARTS, st.sampled_from(EXTENSIONS))
def test_parts_survive_the_way_to_a_name_and_back(
    name: str, version: str, build: str, extension: str
) -> None:
    written = FileName(name=name, version=version, build=build, extension=extension)
    assert parse_file_name(str(written)) == written
    assert str(written) == f"{written.distribution}{extension}"
    assert is_archive_name(str(written))


@settings(deadline=None)
@given(st.one_of(st.text(max_size=60), st.from_regex(r"[ -~]*-[ -~]*-[ -~]*\.conda")))
@example("a-1-0.conda\n")
@example("a-1-0.conda\0")
def test_what_parses_is_written_the_same_and_safe(text: str) -> None:
    parsed = parse_file_name(text)
    if parsed is None:
        return
    assert str(parsed) == text
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+!~=-]*", text, re.ASCII)
    assert Path(text).name == text
    assert "-" not in parsed.version + parsed.build


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("zlib-1.3.1-hb9d3cd8_2.conda", ("zlib", "1.3.1", "hb9d3cd8_2", ".conda")),
        ("ca-certificates-2024.2.2-0.tar.bz2", ("ca-certificates", "2024.2.2", "0", ".tar.bz2")),
        ("_libgcc_mutex-0.1-main.conda", ("_libgcc_mutex", "0.1", "main", ".conda")),
        ("x264-1!164.3095-h166bdaf_2.tar.bz2", ("x264", "1!164.3095", "h166bdaf_2", ".tar.bz2")),
        ("PIL-1.1.7-py27_2.tar.bz2", ("PIL", "1.1.7", "py27_2", ".tar.bz2")),
        ("7zip-23.01-h91493d7_2.conda", ("7zip", "23.01", "h91493d7_2", ".conda")),
        ("a-1.0.tar.bz2-0.conda", ("a", "1.0.tar.bz2", "0", ".conda")),
    ],
)
def test_known_names(text: str, parts: tuple[str, str, str, str]) -> None:
    name, version, build, extension = parts
    expected = FileName(name=name, version=version, build=build, extension=extension)
    assert parse_file_name(text) == expected


GOOD = "zlib-1.3-h1_0.conda"

HOSTILE = [
    "",
    ".conda",
    "--.conda",
    "a--0.conda",
    "a-1-.conda",
    "-1-0.conda",
    "a-1.conda",
    "a-1-0",
    "a-1-0.CONDA",
    "a-1-0.conda.part",
    "a-1-0.tar.gz",
    "../a-1-0.conda",
    "..-1-0.conda",
    ".a-1-0.conda",
    "._a-1-0.conda",
    "/a-1-0.conda",
    "a/b-1-0.conda",
    "a-1-0/.conda",
    "a\\b-1-0.conda",
    "C:a-1-0.conda",
    "a-1-0.conda:stream.conda",
    "a b-1-0.conda",
    "a-1-0.conda ",
    "a-1-0.conda\n",
    "a\n-1-0.conda",
    "a\0-1-0.conda",
    "a\x7f-1-0.conda",
    "a\x1b[2J-1-0.conda",
    "é-1-0.conda",
    "a-\u0661-0.conda",
    "a?-1-0.conda",
    "a*-1-0.conda",
    "a|-1-0.conda",
    "a<b>-1-0.conda",
    'a"-1-0.conda',
    "a'-1-0.conda",
    "$(a)-1-0.conda",
    "a;b-1-0.conda",
    "a%2Fb-1-0.conda",
    "a@b-1-0.conda",
    "~a-1-0.conda",
    "+a-1-0.conda",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_names_that_never_parse(text: str) -> None:
    assert parse_file_name(GOOD) is not None  # control
    assert parse_file_name(text) is None


@settings(deadline=None)
@given(
    st.integers(0, len(GOOD)),
    st.one_of(
        st.sampled_from(["/", "\\", "\0", ":", "../", "/../", "..\\", " ", "\x7f", "\u202e"]),
        st.characters(max_codepoint=0x1F),
        st.characters(min_codepoint=0x80),
    ),
)
def test_no_dangerous_character_anywhere(at: int, odd: str) -> None:
    assert parse_file_name(GOOD[:at] + odd + GOOD[at:]) is None


def test_the_longest_name() -> None:
    longest = "a" * (255 - len("-1-0.conda")) + "-1-0.conda"
    assert len(longest) == 255
    assert str(parse_file_name(longest)) == longest
    assert parse_file_name("a" + longest) is None


def test_every_name_in_the_real_locks_reads() -> None:
    names: set[str] = set()
    for lock in (ROOT / "tests" / "data").glob("*/*/pixi.lock"):
        text = lock.read_text(encoding="utf-8")
        names |= set(re.findall(r"https?://[^\s/]+/\S*/([^/\s#?]+?\.(?:conda|tar\.bz2))\s", text))
    assert len(names) > 1700
    assert [name for name in sorted(names) if str(parse_file_name(name)) != name] == []
