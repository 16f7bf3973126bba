"""YAML as plain values: every scalar its text, nothing silently lost, nothing that crashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.core.errors import ExitCode, MirrorError
from scripts.lock.safe_yaml import load_lock_text
from tests.support.template import ROOT

LOCKS = sorted((ROOT / "tests" / "data").glob("*/*/pixi.lock"))


@pytest.fixture(params=["C", "Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both parsers of PyYAML: it comes without the C one on some machines."""
    if request.param == "Python":
        monkeypatch.delattr(yaml, "CBaseLoader")
    return str(request.param)


def refusal(text: str) -> str:
    with pytest.raises(MirrorError) as caught:
        load_lock_text(text, "pixi.lock")
    assert [problem.code for problem in caught.value.problems] == [ExitCode.USAGE]
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1.3_31\nb: 1e3\nc: 0x10\nd: 2024-01-01\n", ["1.3_31", "1e3", "0x10", "2024-01-01"]),
        ("a: true\nb: no\nc: on\n", ["true", "no", "on"]),
        ("a: ~\nb: null\nc:\nd: NULL\ne: Null\n", [None] * 5),
        ("a: '~'\nb: \"null\"\nc: ''\nd: nUll\n", ["~", "null", "", "nUll"]),
        ("a: 'it''s'\nb: \"\\u00e9\\t\"\n", ["it's", "é\t"]),
        ("a: |\n  x\n  y\nb: >\n  x\n  y\n", ["x\ny\n", "x y\n"]),
        ("a: [1, {b: c}, []]\nb: {}\n", [["1", {"b": "c"}, []], {}]),
        ("a:\n- b: c\n  d: e\n- f\n", [[{"b": "c", "d": "e"}, "f"]]),
        ("a: !!int 5\nb: !x y\nc: &z w\n", ["5", "y", "w"]),
        ("a: b\r\nc:\r\n- d\r\n", ["b", ["d"]]),
        ("\ufeffa: b", ["b"]),
        ("%YAML 1.2\n---\na: b\n...\n", ["b"]),
        ("# why\na: b # so\n", ["b"]),
        ("~: b\n<<: {c: d}\n? e\n: f\n", ["b", {"c": "d"}, "f"]),
        ("a: https://host/x#y?z\n", ["https://host/x#y?z"]),
        ("a: =======\nb: ' <<<<<<< x'\n", ["=======", " <<<<<<< x"]),
    ],
)
@pytest.mark.usefixtures("parser")
def test_values(text: str, value: list[Any]) -> None:
    assert list(load_lock_text(text, "pixi.lock").values()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pixi.lock: not a pixi lock file: there is no map at its top"),
        ("# only\n", "pixi.lock: not a pixi lock file: there is no map at its top"),
        ("- a\n", "pixi.lock: not a pixi lock file: there is no map at its top"),
        ("../other/pixi.lock", "pixi.lock: not a pixi lock file: there is no map at its top"),
        ("a: 1\n\na: 2\n", "pixi.lock, line 3: the key 'a' is there twice"),
        ("x:\n- {a: 1, b: 2, 'a': 3}\n", "pixi.lock, line 2: the key 'a' is there twice"),
        ("a: &x b\nc: *x\n", "pixi.lock, line 2: an alias; lock files have none"),
        ("&a [*a]", "pixi.lock, line 1: an alias; lock files have none"),
        ("a: b\n---\nc: d\n", "pixi.lock, line 3: a second YAML document in one file"),
        ("a: b\n--- c\n", "pixi.lock, line 2: a second YAML document in one file"),
        ("? [a]\n: b\n", "pixi.lock, line 1: a key that is no string"),
        ("{a: b}: c\n", "pixi.lock, line 1: a key that is no string"),
        ("[" * 10**6, "pixi.lock: nested deeper than 50 levels; no lock file is"),
        ("a: " + "{b: " * 10**5, "pixi.lock: nested deeper than 50 levels; no lock file is"),
    ],
)
@pytest.mark.usefixtures("parser")
def test_what_is_refused(text: str, message: str) -> None:
    assert refusal(text) == message


def test_the_deepest_that_is_taken() -> None:
    deepest = "a: " + "[" * 49 + "]" * 49
    assert list(load_lock_text(deepest, "pixi.lock")) == ["a"]
    assert refusal("a: " + "[" * 50 + "]" * 50) == (
        "pixi.lock: nested deeper than 50 levels; no lock file is"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [\n", "not YAML: did not find expected node content (line 2)"),
        ("a: b: c\n", "not YAML: mapping values are not allowed in this context (line 1)"),
        ("a: b\n\tc: d\n", "not YAML: found a tab character that violates indentation (line 2)"),
        ("a: \0b\n", "not YAML: unacceptable character #x0000: control characters are not allowed"),
        ('a: "\\ud800"\n', "not YAML: found invalid Unicode character escape code (line 1)"),
        ("a: 'b\n", "not YAML: found unexpected end of stream (line 2)"),
    ],
)
def test_what_is_no_yaml(text: str, message: str) -> None:
    assert refusal(text) == f"pixi.lock: {message}"


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n",
        "a: 1\r\n<<<<<<< HEAD\r\nb: 1\r\n=======\r\nb: 2\r\n>>>>>>> other\r\n",
        "<<<<<<<\na: 1\n",
        "a: 1\n>>>>>>> other",
    ],
)
def test_conflict_markers(text: str) -> None:
    assert refusal(text) == (
        "pixi.lock: holds the conflict markers of an unfinished merge\n"
        "help: git checkout --ours pixi.lock && pixi lock (in a rebase: --theirs)"
    )


def test_a_git_lfs_pointer() -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 12\n"
    assert refusal(text) == (
        "pixi.lock: a Git LFS pointer, not the lock file itself\nhelp: git lfs pull"
    )


SCALARS = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=20))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4), st.sampled_from([None, "'", "|"]))
def test_what_yaml_writes_is_read_back(value: dict[str, Any], style: str | None) -> None:
    text = yaml.safe_dump(value, default_style=style)
    assert texts(load_lock_text(text, "pixi.lock")) == yaml.load(text, yaml.BaseLoader)
    if style is None:
        assert load_lock_text(text, "pixi.lock") == value


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("ab: \n-[]{}&*!|>'\"%#?~,\t"), max_size=40))
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    try:
        value = load_lock_text(text, "pixi.lock")
    except MirrorError as error:
        message = str(error)
    else:
        # Of the same parser: the pure one refuses a few texts that libyaml takes.
        loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        assert texts(value) == yaml.load(text, loader)
        return
    assert message.startswith("pixi.lock")


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.parent.name)
def test_real_locks_are_what_yaml_reads(path: Path) -> None:
    text = path.read_bytes().decode()
    try:
        ours = load_lock_text(text, "pixi.lock")
    except MirrorError:
        return  # test_read_real_locks says which
    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    assert texts(ours) == yaml.load(text, loader)


def texts(value: Any) -> Any:
    """Write null as the base loader does: the empty text, or the word."""
    if isinstance(value, dict):
        return {key: texts(each) for key, each in value.items()}
    if isinstance(value, list):
        return [texts(each) for each in value]
    return Null() if value is None else value


class Null:
    """Equals each way to write null."""

    def __eq__(self, other: object) -> bool:
        return other in {"", "~", "null", "Null", "NULL"}

    def __hash__(self) -> int:
        return 0
