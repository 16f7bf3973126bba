"""Editing an array inside a TOML text: only its span changes, and it says what is wanted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.core.errors import ExitCode, MirrorError
from scripts.workspace.toml_array import ArrayEdit, edit_array, locate_array
from scripts.workspace.toml_tokens import Kind, tokens_of

SUBDIRS = ("linux-64", "win-64", "osx-64", "osx-arm64", "linux-aarch64", "linux-ppc64le")
PATH = ("workspace", "platforms")

# A document around the array, with what tends to be near it.
FRAMES = (
    '# top\n[workspace]\nname = "x"\nplatforms = {}\n\n[dependencies]\na = "*"\n',
    "[workspace]\nplatforms={} # end\n[tasks]\nx = [1, 2]",
    "workspace.platforms = {}\nworkspace.name = 'x'\n",
    "workspace = { name = 'x', platforms = {} }\n",
    "workspace = {\n  name = 'x', # 1.1\n  platforms = {},\n}\n",
    (
        "[feature.a]\nplatforms = ['win-64']\n[tasks]\na = 'b'\n"
        '[feature.b]\n  x = nan\n[workspace]\n"platforms"\t= {}\t# t\n[[y]]\nz = 1979-05-27\n'
    ),
    "[workspace]\nplatforms = {}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A document with the array's own text in it, and the elements as TOML values."""

    text: str
    array: str
    names: tuple[str, ...]


def blanks(end: str) -> st.SearchStrategy[str]:
    """Blanks, line ends and comments, as they may stand between the values of an array."""
    piece = st.sampled_from(
        (" ", "  ", "\t", end, f"# why{end}", f'# "win-64", ] {end}', f"#{end}    ")
    )
    return st.lists(piece, max_size=3).map("".join)


def elements() -> st.SearchStrategy[str]:
    """How one platform may be written; the mark stands for its name."""
    return st.sampled_from(
        (
            '"@"',
            "'@'",
            '"@"',
            '"""@"""',
            "'''@'''",
            '{ name = "@", platform = "linux-64", cuda = "12" }',
            '{ name = "@", # ]\n  platform = "linux-64",\n}',
            '{ name = "@", "a]," = [["}"], "]"] }',
        )
    )


@st.composite
def documents(draw: st.DrawFn) -> Written:
    end = draw(st.sampled_from(("\n", "\r\n")))
    names = draw(st.lists(st.sampled_from(SUBDIRS), max_size=5, unique=True))
    array = "["
    for i, name in enumerate(names):
        array += draw(blanks(end)) + draw(elements()).replace("@", name) + draw(blanks(end))
        if i + 1 < len(names) or draw(st.booleans()):
            array += ","
    array += draw(blanks(end)) + "]"
    frame = draw(st.sampled_from(FRAMES))
    if draw(st.booleans()):
        frame = frame.replace("\n", "\r\n")  # with arrays of "\n": mixed line ends
    return Written(text=frame.replace("{}", array), array=array, names=tuple(names))


@settings(max_examples=150, deadline=None)
@given(written=documents(), data=st.data())
def test_only_the_array_changes_and_says_what_is_wanted(
    written: Written, data: st.DataObject
) -> None:
    count = len(written.names)
    keep = data.draw(st.frozensets(st.integers(0, count - 1))) if count else frozenset()
    new = [each for each in SUBDIRS if each not in written.names]
    append = data.draw(st.lists(st.sampled_from(new), unique=True)) if new else []
    edit = ArrayEdit(path=PATH, keep=frozenset(keep), append=tuple(append))

    result = edit_array(written.text, edit, "pixi.toml")

    head, _, tail = written.text.partition(written.array)
    assert result.startswith(head)
    assert result.endswith(tail)
    values = tomlkit.parse(result).unwrap()["workspace"]["platforms"]
    kept = [name for i, name in enumerate(written.names) if i in keep]
    assert [each if isinstance(each, str) else each["name"] for each in values] == kept + append
    inside = result[len(head) : len(result) - len(tail)]
    assert comments_of(inside) == comments_of(written.array)
    if "\r\n" in written.array and "\n" not in written.array.replace("\r\n", ""):
        assert "\n" not in inside.replace("\r\n", "")


@settings(max_examples=50, deadline=None)
@given(written=documents())
def test_an_edit_that_changes_nothing_changes_no_byte(written: Written) -> None:
    edit = ArrayEdit(path=PATH, keep=frozenset(range(len(written.names))), append=())
    assert edit_array(written.text, edit, "pixi.toml") == written.text
    start, end = locate_array(written.text, PATH, "pixi.toml")
    assert written.text[start:end] == written.array


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from("[]{}\"'#, \n\r\\ab=")))
def test_tokens_are_the_text_or_none(text: str) -> None:
    tokens = tokens_of(text)
    assert tokens is None or "".join(token.text for token in tokens) == text


def comments_of(array: str) -> list[str]:
    return [token.text for token in tokens_of(array[1:-1]) or () if token.kind is Kind.COMMENT]


def edited(array: str, *, drop: tuple[int, ...] = (), append: tuple[str, ...] = ()) -> str:
    """Edit one array in the plainest document, and return it alone."""
    count = sum(token.kind is Kind.VALUE for token in tokens_of(array[1:-1]) or ())
    keep = frozenset(range(count)) - set(drop)
    text = f"[workspace]\nplatforms = {array}\n"
    result = edit_array(text, ArrayEdit(path=PATH, keep=keep, append=append), "pixi.toml")
    return result.removeprefix("[workspace]\nplatforms = ").removesuffix("\n")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        ("[]", '["z"]'),
        ("[ # none\n]", '[ # none\n    "z",\n]'),
        ('["a"]', '["a", "z"]'),
        ("['a']", "['a', 'z']"),
        ('["a",]', '["a", "z",]'),
        ('[ "a" ]', '[ "a", "z" ]'),
        ('[\n  "a",\n]', '[\n  "a",\n  "z",\n]'),
        ('[\n  "a"\n]', '[\n  "a",\n  "z"\n]'),
        ('[\n  "a" # why\n]', '[\n  "a", # why\n  "z"\n]'),
        ('[\n  "a"\n  # why\n]', '[\n  "a",\n  "z"\n  # why\n]'),
        ('[\r\n\t"a", # why\r\n]', '[\r\n\t"a", # why\r\n\t"z",\r\n]'),
        ('[\n  "a",\n  "b"]', '[\n  "a",\n  "b",\n  "z"]'),
        ('[\n  "a", "b", # why\n]', '[\n  "a", "b", "z", # why\n]'),
        ('[{ name = "x", platform = "linux-64" }]', '[{ name = "x", platform = "linux-64" }, "z"]'),
    ],
)
def test_a_value_is_appended_in_the_style_there(array: str, expected: str) -> None:
    assert edited(array, append=("z",)) == expected


@pytest.mark.parametrize(
    ("array", "drop", "expected"),
    [
        ('["a", "b", "c"]', (0,), '["b", "c"]'),
        ('["a", "b", "c"]', (1,), '["a", "c"]'),
        ('["a", "b", "c"]', (2,), '["a", "b"]'),
        ('["a", "b", "c"]', (1, 2), '["a"]'),
        ('["a", "b",]', (1,), '["a",]'),
        ('[ "a", "b" ]', (1,), '[ "a" ]'),
        ('[\n  "a",\n  "b",\n]', (0,), '[\n  "b",\n]'),
        ('[\n  "a",\n  "b",\n]', (1,), '[\n  "a",\n]'),
        ('[\n  "a",\n  "b"\n]', (1,), '[\n  "a"\n]'),
        ('[\n  "a",\n  "b"]', (1,), '[\n  "a"]'),
        ('[\n  "a",\n  "b", # of b\n]', (1,), '[\n  "a",\n  # of b\n]'),
        ('[\r\n  "a", # of a\r\n  "b",\r\n]', (0,), '[\r\n  # of a\r\n  "b",\r\n]'),
        ('[{ x = [1], y = "]" }, "b"]', (0,), '["b"]'),
        ('["a"]', (0,), "[]"),
    ],
)
def test_a_value_is_taken_out_and_its_comments_stay(
    array: str, drop: tuple[int, ...], expected: str
) -> None:
    assert edited(array, drop=drop) == expected


def test_a_set_in_other_words_keeps_the_style() -> None:
    assert edited("[\n  'a', # of a\n]", drop=(0,), append=("z",)) == "[\n  # of a\n  'z',\n]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[workspace]\nplatforms = "x"\n', "pixi.toml: workspace.platforms is not a list"),
        (
            "[[workspace.platforms]]\nname = 'x'\nplatform = 'linux-64'\n",
            (
                "pixi.toml: workspace.platforms is written in a way that cannot be edited "
                "without risk\nhelp: change it by hand; nothing was written"
            ),
        ),
    ],
)
def test_what_is_no_plain_array_is_refused(text: str, message: str) -> None:
    edit = ArrayEdit(path=PATH, keep=frozenset({0}), append=("win-64",))
    with pytest.raises(MirrorError) as caught:
        edit_array(text, edit, "pixi.toml")
    assert str(caught.value) == message
    assert caught.value.problems[0].code is ExitCode.USAGE
