"""The fields of a conda row, as a lock may write them."""

from __future__ import annotations

import pytest

from scripts.core.errors import MirrorError
from scripts.core.record import Record
from scripts.lock.model import locked_packages
from scripts.lock.read import parse_lock

URL = "https://user:hunter2@host/c/linux-64/a-1-0.conda"


def record(*lines: str) -> Record:
    """Read a lock with one row, that has these lines."""
    fields = "".join(f"  {line}\n" for line in lines)
    text = (
        "version: 6\nenvironments:\n  default:\n    channels: []\n    packages:\n"
        f"      linux-64:\n      - conda: {URL}\npackages:\n- conda: {URL}\n{fields}"
    )
    (package,) = locked_packages(parse_lock(text, "pixi.lock").environments)
    return package.record


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("1700000000", 1_700_000_000_000),
        ("253402300799", 253_402_300_799_000),
        ("253402300800", 253_402_300_800),
        ("1700000000123", 1_700_000_000_123),
        ("null", None),
    ],
)
def test_timestamps_are_in_milliseconds(text: str, milliseconds: int | None) -> None:
    assert record(f"timestamp: {text}").timestamp == milliseconds


@pytest.mark.parametrize(
    ("text", "kind"),
    [("python", "python"), ("generic", "generic"), ("true", "generic"), ("false", None)],
)
def test_noarch(text: str, kind: str | None) -> None:
    assert record(f"noarch: {text}").noarch == kind


def test_run_exports_may_be_unknown_or_none() -> None:
    assert record().run_exports is None
    assert record("run_exports: {}").run_exports == ()
    assert record("run_exports: {weak: [a], strong_constrains: [b >1]}").run_exports == (
        ("weak", ("a",)),
        ("strong_constrains", ("b >1",)),
    )


def test_extra_depends() -> None:
    assert record().extra_depends == ()
    assert record("extra_depends: {b: [x], a: []}").extra_depends == (("a", ()), ("b", ("x",)))


@pytest.mark.parametrize(
    ("text", "features"),
    [("a b,c, d", ("a", "b", "c", "d")), ("[a, b]", ("a", "b")), ("''", ())],
)
def test_track_features(text: str, features: tuple[str, ...]) -> None:
    assert record(f"track_features: {text}").track_features == features


def test_digests_are_in_lower_case_and_an_empty_one_is_none() -> None:
    read = record(f"md5: {'AB' * 16}", "sha256: ''", f"legacy_bz2_md5: {'0' * 32}")
    assert (read.md5, read.sha256, read.legacy_bz2_md5) == ("ab" * 16, None, "0" * 32)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"md5: '{'0' * 64}'", f"md5 of URL is not a md5 in hex\n  actual  '{'0' * 64}'"),
        (f"sha256: {'a' * 63}", f"sha256 of URL is not a sha256 in hex\n  actual  '{'a' * 63}'"),
        ("track_features: {}", "track_features of URL is not a list of strings\n  actual  {}"),
        ("run_exports: {weak: x}", "weak of run_exports of URL is not a list of strings"),
        ("extra_depends: {x: 1}", "x of extra_depends of URL is not a list of strings"),
    ],
)
def test_what_is_wrong_is_named_without_secrets(line: str, expected: str) -> None:
    with pytest.raises(MirrorError) as caught:
        record(line)
    shown = URL.replace("user:hunter2", "********")
    assert str(caught.value).startswith(f"pixi.lock: {expected.replace('URL', shown)}")
