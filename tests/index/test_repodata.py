"""Index files as values: written, read, and refused with a sentence."""

from __future__ import annotations

import json

import msgpack
import pytest
import zstandard

from scripts.core.record import Record
from scripts.index.repodata import (
    DamagedIndexError,
    parse_repodata,
    parse_shard,
    parse_zst,
    render_repodata,
)

PLAIN = Record(name="a", version="1", build="0", build_number=0, subdir="linux-64", size=3)
EXTRAS = Record(
    name="b", version="1", build="0", build_number=0, subdir="linux-64", depends=("c[extras=[d]]",)
)


def test_records_go_where_their_kind_belongs() -> None:
    data = render_repodata(
        "linux-64",
        [("b-1-0.tar.bz2", EXTRAS), ("b-1-0.conda", EXTRAS), ("a-1-0.tar.bz2", PLAIN),
         ("a-1-0.conda", PLAIN)],
    )  # fmt: skip
    document = json.loads(data)
    assert {key: sorted(document[key]) for key in ("packages", "packages.conda")} == {
        "packages": ["a-1-0.tar.bz2"],
        "packages.conda": ["a-1-0.conda"],
    }
    assert {key: list(rows) for key, rows in document["v3"].items()} == {
        "conda": ["b-1-0"],
        "tar.bz2": ["b-1-0"],
    }
    assert parse_repodata(data, "x").subdir == "linux-64"
    assert parse_repodata(data, "x").records == {
        "a-1-0.conda": PLAIN,
        "a-1-0.tar.bz2": PLAIN,
        "b-1-0.conda": EXTRAS,
        "b-1-0.tar.bz2": EXTRAS,
    }


def test_the_same_records_give_the_same_bytes() -> None:
    rows = [("b-1-0.conda", EXTRAS), ("a-1-0.conda", PLAIN)]
    assert render_repodata("noarch", rows) == render_repodata("noarch", reversed(rows))
    assert b'"v3"' not in render_repodata("noarch", rows[1:])


def packed(document: object) -> bytes:
    return zstandard.compress(msgpack.packb(document))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not repodata"),
        (b'{"packages": []}', "'packages' in it is not a map of names"),
        (b'{"info": 1}', "'info' in it is not a map of names"),
        (b'{"packages": {"a": {}}}', "'a' under 'packages' is no file name of an artifact"),
        (
            b'{"packages.conda": {"a-1-0.conda": {"name": "a"}}}',
            "the record of a-1-0.conda is damaged: it has no version",
        ),
        (
            b'{"packages.conda": {"a-1-0.conda": {"name": "a", "size": "3"}}}',
            "the record of a-1-0.conda is damaged: size is not a whole number",
        ),
    ],
)
def test_damaged_repodata(data: bytes, message: str) -> None:
    with pytest.raises(DamagedIndexError) as error:
        parse_repodata(data, "linux-64/repodata.json")
    assert str(error.value) == f"linux-64/repodata.json: {message}\nhelp: pixi run index"


def test_a_zst_is_whole_or_refused() -> None:
    data = zstandard.compress(b"x" * 300_000)
    assert parse_zst(data, "z") == b"x" * 300_000
    for torn in (b"", data[:-1], data + b"x", b"no zst at all", data[:4] + b"\xff" + data[5:]):
        with pytest.raises(DamagedIndexError) as error:
            parse_zst(torn, "z")
        assert str(error.value) == "z: not a whole zst file\nhelp: pixi run index"


def test_a_zst_that_fills_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.index.repodata.LARGEST", 1000)
    with pytest.raises(DamagedIndexError, match="larger than any repodata should be"):
        parse_zst(zstandard.compress(b"x" * 1001), "z")
    assert parse_zst(zstandard.compress(b"x" * 1000), "z") == b"x" * 1000


def test_a_shard_without_packages() -> None:
    with pytest.raises(DamagedIndexError) as error:
        parse_shard(packed({"packages.conda": {}}), "s")
    assert str(error.value) == "s: it has no 'packages'\nhelp: pixi run index"


def test_a_shard_has_its_hashes_as_bytes() -> None:
    row = {"name": "a", "version": "1", "build": "0", "build_number": 0, "md5": b"\x01" * 16}
    records = parse_shard(packed({"packages": {}, "packages.conda": {"a-1-0.conda": row}}), "s")
    assert records.records["a-1-0.conda"].md5 == "01" * 16
