"""Records from lock rows, to JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.core.record import RUN_EXPORTS, Record, needs_v3, record_to_json
from scripts.index.records import BadRecordError, parse_record
from scripts.lock.conda_rows import Row, parse_package
from scripts.lock.safe_yaml import Node

ROW: dict[str, Node] = {
    "conda": "https://conda.anaconda.org/conda-forge/linux-64/a-1.0-h1_3.conda",
    "sha256": "ab" * 32,
    "md5": "cd" * 16,
    "size": "12",
    "depends": ["b  >=1, <2"],
    "constrains": ["c 1.*"],
    "extra_depends": {"test": ["pytest"], "doc": ["sphinx"]},
    "license": "MIT",
    "timestamp": "1700000000000",
    "track_features": "f g",
    "flags": ["cuda"],
    "purls": ["pkg:pypi/b", "pkg:pypi/a"],
    "run_exports": {"weak": ["a >=1"]},
}


def test_a_lock_row_becomes_a_typed_row_without_what_belongs_to_the_lock() -> None:
    assert record_to_json(
        parse_package(Row("pixi.lock", "a row", ROW), str(ROW["conda"]), 6).record
    ) == {
        "name": "a",
        "version": "1.0",
        "build": "h1_3",
        "build_number": 3,
        "subdir": "linux-64",
        "depends": ("b  >=1, <2",),
        "constrains": ("c 1.*",),
        "extra_depends": {"doc": ("sphinx",), "test": ("pytest",)},
        "md5": "cd" * 16,
        "sha256": "ab" * 32,
        "size": 12,
        "license": "MIT",
        "timestamp": 1_700_000_000_000,
        "track_features": "f g",
        "flags": ("cuda",),
        "purls": ("pkg:pypi/a", "pkg:pypi/b"),
        "run_exports": {"weak": ("a >=1",)},
    }


def test_empty_and_absent_are_told_apart_where_rattler_does() -> None:
    record = Record(
        name="a", version="1", build="0", build_number=0, subdir="noarch", purls=(),
        run_exports=(),
    )  # fmt: skip
    row = record_to_json(record)
    assert row == {
        "name": "a",
        "version": "1",
        "build": "0",
        "build_number": 0,
        "subdir": "noarch",
        "depends": (),
        "purls": (),
        "run_exports": {},
    }
    assert parse_record(json.loads(json.dumps(row))) == record


@pytest.mark.parametrize(
    ("depends", "expected"),
    [
        ("foo[extras=[bar]]", True),
        ('bat *[when="python>=3.10"]', True),
        ("foo[version='>=1', flags=[cuda]]", True),
        ("foo[version='>=1']", False),
        ("foo >=1", False),
        ("extras=1", False),
    ],
)
def test_needs_v3(depends: str, expected: bool) -> None:  # noqa: FBT001
    one = Record(name="a", version="1", build="0", build_number=0, subdir="", depends=(depends,))
    other = Record(
        name="a", version="1", build="0", build_number=0, subdir="", constrains=(depends,)
    )
    assert needs_v3(one) is expected
    assert needs_v3(other) is expected


GOOD: dict[str, Any] = {"name": "a", "version": "1", "build": "0", "build_number": 0}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": "12"}, "size is not a whole number"),
        ({"size": True}, "size is not a whole number"),
        ({"size": -1}, "size is -1, which is out of range"),
        ({"build_number": 1 << 64}, f"build_number is {1 << 64}, which is out of range"),
        ({"timestamp": 1.5}, "timestamp is not a whole number"),
        ({"build_number": "0"}, "build_number is not a whole number"),
        ({"build_number": None}, "it has no build_number"),
        ({"name": None}, "it has no name"),
        ({"depends": "b"}, "depends is not a list of strings"),
        ({"depends": [1]}, "depends is not a list of strings"),
        ({"sha256": 1}, "sha256 is not a hash"),
        ({"noarch": "both"}, "noarch is 'both'"),
        ({"extra_depends": []}, "extra_depends is not a map"),
        ({"run_exports": []}, "run_exports is not a map"),
        ({"license": 1}, "license is not a string"),
        ({"purls": ["notapurl"]}, "purls holds 'notapurl', which is no package URL"),
    ],
)
def test_a_wrong_type_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRecordError) as error:
        parse_record(GOOD | fields)
    assert str(error.value) == message


def test_a_row_that_is_no_map() -> None:
    with pytest.raises(BadRecordError, match=r"\Anot a map\Z"):
        parse_record([])


def test_odd_rows_are_read_as_rattler_reads_them() -> None:
    row = GOOD | {
        "timestamp": 1_700_000_000,  # seconds
        "noarch": True,
        "track_features": "f, g",
        "sha256": "AB" * 32,
        "md5": "CD" * 16,
        "later": {"unknown": 1},
    }
    assert parse_record(row) == Record(
        name="a",
        version="1",
        build="0",
        build_number=0,
        subdir="",
        timestamp=1_700_000_000_000,
        noarch="generic",
        track_features=("f", "g"),
        sha256="ab" * 32,
        md5="cd" * 16,
    )


WORDS = st.text(min_size=1, max_size=8)
TUPLES = st.lists(WORDS, max_size=3).map(tuple)
RUN_EXPORT_PAIRS = st.dictionaries(
    st.sampled_from(RUN_EXPORTS), TUPLES.filter(bool), max_size=3
).map(lambda found: tuple((kind, found[kind]) for kind in RUN_EXPORTS if kind in found))
NAMES = st.text("abc", min_size=1, max_size=3)
PURLS = NAMES.map("pkg:pypi/{}".format)
RECORDS = st.builds(
    Record,
    name=WORDS,
    version=WORDS,
    build=WORDS,
    build_number=st.integers(0, 10**6),
    subdir=st.just("linux-64"),
    depends=TUPLES,
    constrains=TUPLES,
    extra_depends=st.dictionaries(NAMES, TUPLES, max_size=2).map(
        lambda groups: tuple(sorted(groups.items()))
    ),
    md5=st.none() | st.just("cd" * 16),
    sha256=st.none() | st.just("ab" * 32),
    legacy_bz2_md5=st.none() | st.just("ef" * 16),
    attestations_sha256=st.none() | st.just("01" * 32),
    legacy_bz2_size=st.none() | st.integers(0, 2**53),
    indexed_timestamp=st.none() | st.integers(0, 253402207200000),
    arch=st.none() | WORDS,
    platform=st.none() | WORDS,
    license_family=st.none() | WORDS,
    features=st.none() | WORDS,
    python_site_packages_path=st.none() | WORDS,
    size=st.none() | st.integers(0, 2**53),
    noarch=st.sampled_from([None, "generic", "python"]),
    license=st.none() | WORDS,
    timestamp=st.none() | st.integers(0, 253402207200).map(lambda seconds: seconds * 1000),
    track_features=st.lists(NAMES, max_size=2).map(tuple),
    flags=TUPLES,
    purls=st.none() | st.sets(PURLS, max_size=2).map(lambda each: tuple(sorted(each))),
    run_exports=st.none() | RUN_EXPORT_PAIRS,
)


@given(RECORDS)
def test_what_is_written_is_read_back(record: Record) -> None:
    assert parse_record(json.loads(json.dumps(record_to_json(record)))) == record
