"""Records compared: MatchSpecs by what they mean, all else exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scripts.core.record import Record
from scripts.index.compare import Difference, contradictions, differences, unlike_specs
from scripts.index.readback import normalise

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


def found(expected: Record, actual: Record, normal: dict[str, str]) -> list[Difference]:
    return list(differences(expected, actual, normal))


def test_specs_that_mean_the_same_are_the_same() -> None:
    actual = replace(
        RECORD,
        depends=("x ==0.1 h", "y 1.2.*", "foo", "z >=1"),
        extra_depends=(("test", ("x ==0.1 h",)),),
        purls=("pkg:pypi/a+b",),
    )
    unlike = sorted(set(unlike_specs(RECORD, actual)))
    assert unlike == ["Foo", "foo", "x 0.1 h", "x ==0.1 h", "y 1.2.*", "y =1.2"]
    normal = dict(normalise(unlike))
    assert normal["x 0.1 h"] == normal["x ==0.1 h"]
    assert found(RECORD, actual, normal) == []
    # Control: without rattler's word for it they differ.
    assert [each.field for each in found(RECORD, actual, {})] == ["depends", "extra_depends"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"size": 4}, Difference(field="size", expected="3", actual="4")),
        ({"size": None}, Difference(field="size", expected="3", actual="nothing")),
        ({"purls": None}, Difference(field="purls", expected="pkg:pypi/a%2Bb", actual="nothing")),
        ({"noarch": "generic"}, Difference(field="noarch", expected="nothing", actual="generic")),
        (
            {"depends": ("x 0.1 h", "y =1.2", "Foo", "z >=2")},
            Difference(
                field="depends",
                expected="x 0.1 h, y =1.2, Foo, z >=1",
                actual="x 0.1 h, y =1.2, Foo, z >=2",
            ),
        ),
        (
            {"depends": ("x 0.1 h",)},
            Difference(field="depends", expected="x 0.1 h, y =1.2, Foo, z >=1", actual="x 0.1 h"),
        ),
        (
            {"indexed_timestamp": 5},
            Difference(field="indexed_timestamp", expected="nothing", actual="5"),
        ),
    ],
)
def test_anything_else_is_a_difference(fields: dict[str, Any], expected: Difference) -> None:
    actual = replace(RECORD, **fields)
    normal = dict(normalise(unlike_specs(RECORD, actual)))
    assert found(RECORD, actual, normal) == [expected]


def test_groups_of_extra_depends_are_told_apart() -> None:
    actual = replace(RECORD, extra_depends=(("docs", ("x 0.1 h",)),))
    assert [each.field for each in found(RECORD, actual, {})] == ["extra_depends"]


def test_contradictions_are_of_what_is_said_alone() -> None:
    actual = replace(RECORD, license="MIT", timestamp=5, indexed_timestamp=7)
    assert list(contradictions(RECORD, actual, {})) == []
    said = replace(RECORD, license="BSD", indexed_timestamp=6)
    assert list(contradictions(said, actual, {})) == [
        Difference(field="license", expected="BSD", actual="MIT")
    ]


def test_no_spec_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)
    assert normalise(()) == {}
