"""Records compared: MatchSpecs by what they mean, all else exactly."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

from scripts.core.record import Record
from scripts.index.compare import compare_records, differences, normalise_specs

PATH = PurePosixPath("noarch/a-1.0-0.conda")
RECORD = Record(
    name="a",
    version="1.0",
    build="0",
    build_number=0,
    subdir="noarch",
    depends=("x 0.1 h", "y =1.2", "Foo", "z >=1"),
    extra_depends=(("test", ("x 0.1 h",)),),
    purls=("pkg:pypi/a%2Bb",),
    size=3,
)


def found(expected: Record, actual: Record, normal: dict[str, str]) -> list[tuple[str, str, str]]:
    return list(differences(expected, actual, normal))


def normal_of(expected: Record, actual: Record) -> dict[str, str]:
    return dict(normalise_specs({PATH: expected}, {PATH: actual}))


def test_specs_that_mean_the_same_are_the_same() -> None:
    actual = RECORD._replace(
        depends=("x ==0.1 h", "y 1.2.*", "foo", "z >=1"),
        extra_depends=(("test", ("x ==0.1 h",)),),
        purls=("pkg:pypi/a+b",),
    )
    normal = normal_of(RECORD, actual)
    assert sorted(normal) == ["Foo", "foo", "x 0.1 h", "x ==0.1 h", "y 1.2.*", "y =1.2"]
    assert normal["x 0.1 h"] == normal["x ==0.1 h"]
    assert found(RECORD, actual, normal) == []
    # Control: without rattler's word for it they differ.
    assert [each for each, _, _ in found(RECORD, actual, {})] == ["depends", "extra_depends"]


@pytest.mark.parametrize(
    ("ours", "theirs", "is_same"),
    [
        ("x *", "x", True),
        ("x", "X *", True),
        ("x 1.*", "x", False),  # the controls: a star that means something
        ("x * *_cpython", "x", False),
        ("x", "x * h1_0", False),
    ],
)
def test_any_version_need_not_be_said(ours: str, theirs: str, *, is_same: bool) -> None:
    one, other = (RECORD._replace(depends=(each, "y =1.2")) for each in (ours, theirs))
    assert (found(one, other, normal_of(one, other)) == []) is is_same


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"size": 4}, ("size", "3", "4")),
        ({"size": None}, ("size", "3", "nothing")),
        ({"purls": None}, ("purls", "pkg:pypi/a%2Bb", "nothing")),
        ({"noarch": "generic"}, ("noarch", "nothing", "generic")),
        (
            {"depends": ("x 0.1 h", "y =1.2", "Foo", "z >=2")},
            ("depends", "x 0.1 h, y =1.2, Foo, z >=1", "x 0.1 h, y =1.2, Foo, z >=2"),
        ),
        ({"depends": ("x 0.1 h",)}, ("depends", "x 0.1 h, y =1.2, Foo, z >=1", "x 0.1 h")),
        ({"indexed_timestamp": 5}, ("indexed_timestamp", "nothing", "5")),
    ],
)
def test_anything_else_is_a_difference(
    fields: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    actual = RECORD._replace(**fields)
    assert found(RECORD, actual, normal_of(RECORD, actual)) == [expected]


@pytest.mark.parametrize(
    ("groups", "is_same"),
    [
        ((("docs", ("x", "y")), ("test", ("z",))), True),
        ((("docs", ("y", "x *", "x")), ("test", ("z",))), True),
        ((("docs", ("x",)), ("test", ("y", "z"))), False),
        ((("docs", ("x", "y")), ("tests", ("z",))), False),
        ((("docs", ("x", "y")),), False),
    ],
)
def test_groups_of_extra_depends_are_told_apart(
    groups: tuple[tuple[str, tuple[str, ...]], ...], *, is_same: bool
) -> None:
    locked = RECORD._replace(extra_depends=(("docs", ("x", "y")), ("test", ("z",))))
    actual = RECORD._replace(extra_depends=groups)
    assert (found(locked, actual, normal_of(locked, actual)) == []) is is_same


def test_of_what_is_not_complete_only_what_is_said_is_compared() -> None:
    actual = RECORD._replace(license="MIT", timestamp=5, indexed_timestamp=7)
    said = RECORD._replace(license="BSD", indexed_timestamp=6, attestations_sha256="01" * 32)

    def troubles(expected: Record, *, is_complete: bool) -> list[str]:
        pair = ({PATH: expected}, {PATH: actual})
        found = compare_records(*pair, {}, is_complete=is_complete)
        return [each.message.partition(" ")[0] for each in found]

    assert troubles(RECORD, is_complete=False) == []
    assert troubles(said, is_complete=False) == ["license"]
    assert troubles(said, is_complete=True) == [
        *("license", "timestamp", "attestations_sha256", "indexed_timestamp")
    ]


def test_no_spec_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    assert normal_of(RECORD, RECORD._replace(size=4)) == {}
    with pytest.raises(TypeError):  # the control
        normal_of(RECORD, RECORD._replace(depends=("x ==0.1 h", "y =1.2", "Foo", "z >=1")))
