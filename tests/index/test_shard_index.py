"""The shard index: read as strictly as it should be, written in one form alone."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import zstandard

from scripts.core.record import Record
from scripts.index.repodata import (
    DamagedIndexError,
    is_as_written,
    newest_time,
    parse_shard_index,
    parse_zst,
    render_shard_index,
    sort_shard,
)

INFO = {"subdir": "noarch", "base_url": "", "shards_base_url": "./shards/"}
REVISIONS = "repodata_revisions"
DIGEST = b"\1" * 32


def packed(document: object) -> bytes:
    return zstandard.compress(msgpack.packb(document))


def record(timestamp: int | None) -> Record:
    return Record(
        name="a", version="1", build="0", build_number=0, subdir="noarch", timestamp=timestamp
    )


def index(info: object, shards: object) -> bytes:
    return packed({"info": info, "shards": shards})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zstandard.compress(b"\xc1"), "not msgpack"),
        (b"no zst", "not a whole zst file"),
        (packed([]), "not repodata"),
        (packed({"info": INFO}), "it has no 'shards'"),
        (packed({"shards": {}}), "it has no 'info'"),
        (index([], {}), "'info' in it is not a map of names"),
        (index({**INFO, "subdir": None}, {}), "its subdir is not a string"),
        (index({**INFO, "base_url": {}}, {}), "its base_url is not a string"),
        (index({"subdir": "noarch", "base_url": ""}, {}), "its shards_base_url is not a string"),
        (index({**INFO, "created_at": 3}, {}), "its created_at is not a string"),
        (
            index({**INFO, "repodata_zst_sha256": "0" * 64}, {}),
            "its repodata_zst_sha256 is not a sha256",
        ),
        (
            index({**INFO, "repodata_revisions": {"x": {}}}, {}),
            "its repodata_revisions are damaged",
        ),
        (
            index({**INFO, "repodata_revisions": {"v3": 3}}, {}),
            "its repodata_revisions are damaged",
        ),
        (index(INFO, {"a": "text"}), "the shard of 'a' has no sha256"),
        (index(INFO, {"a": b"short"}), "the shard of 'a' has no sha256"),
        (index(INFO, {b"a": DIGEST}), "'shards' in it is not a map of names"),
        (zstandard.compress(b"\x82\xa1a\x01\xa1a\x02"), "not msgpack"),  # a key there twice
    ],
)
def test_what_is_damaged(data: bytes, message: str) -> None:
    with pytest.raises(DamagedIndexError) as error:
        parse_shard_index(data, "i")
    assert str(error.value) == f"i: {message}\nhelp: pixi run index"


@pytest.mark.parametrize(
    ("timestamps", "time"),
    [
        ((), "1970-01-01T00:00:00.000Z"),
        ((None, None), "1970-01-01T00:00:00.000Z"),
        ((-5,), "1970-01-01T00:00:00.000Z"),
        ((1_700_000_000_123, None, 1_600_000_000_000), "2023-11-14T22:13:20.123Z"),
        ((253_402_207_200_000,), "9999-12-30T22:00:00.000Z"),
    ],
)
def test_the_newest_record_gives_the_time(timestamps: tuple[int | None, ...], time: str) -> None:
    assert newest_time(map(record, timestamps)) == time


def test_written_again_it_says_the_same_in_one_form() -> None:
    said = {
        "created_at": "2026-01-01T00:00:00Z",
        "repodata_zst_sha256": b"\3" * 32,
        "repodata_revisions": {"v3": {"n_packages": 1, "oldest": 1, "newest": 2}},
        **INFO,
    }

    def written(shards: dict[str, bytes], info: object = said) -> bytes:
        return render_shard_index(parse_shard_index(index(info, shards), "i"))

    both = {"a": DIGEST, "b": b"\2" * 32}
    one = written(both)
    assert parse_shard_index(one, "i") == parse_shard_index(index(said, both), "i")
    assert one == written(dict(reversed(both.items())), dict(reversed(said.items())))
    assert one != written({"a": DIGEST, "b": DIGEST})
    assert one != written(both, {**said, "created_at": "2026-01-02T00:00:00Z"})


@pytest.mark.parametrize("count", [0, 1, 3276, 3277, 8000])  # below and above a block
def test_the_frame_is_one_that_zstd_reads_and_no_other(count: int) -> None:
    shards: dict[str, Any] = {f"p{number:04}": DIGEST for number in range(count)}
    data = render_shard_index(parse_shard_index(index(INFO, shards), "i"))
    reader = zstandard.ZstdDecompressor()
    assert zstandard.frame_content_size(data) == len(reader.decompress(data))
    assert parse_zst(data, "i") == reader.decompress(data)
    assert len(parse_shard_index(data, "i").shards) == count
    assert is_as_written(data, "i")
    assert not is_as_written(zstandard.compress(parse_zst(data, "i")), "i")


def test_several_rows_of_a_shard_get_an_order_and_no_more() -> None:
    """Nothing within a row moves, and a shard of one row keeps its bytes, whoever packed it."""
    rows = {"b-1-0.conda": {"z": b"\1", "a": []}, "a-1-0.conda": {"y": 1}}
    shard = {"removed": ["z-1-0.conda", "a-0-0.conda"], "packages": {}, "packages.conda": rows}
    shard |= {"v3": {"conda": {"d-1-0": {}, "c-1-0": {}}}}
    after = sort_shard(packed(shard), "s")
    document = msgpack.unpackb(parse_zst(after, "s"))
    assert document == shard
    assert list(document) == list(shard)
    assert list(document["packages.conda"]) == sorted(rows)
    assert list(document["packages.conda"]["b-1-0.conda"]) == ["z", "a"]
    assert list(document["v3"]["conda"]) == ["c-1-0", "d-1-0"]
    assert sort_shard(after, "s") == after
    single = zstandard.compress(msgpack.packb({"packages.conda": {"a-1-0.conda": {}}}), 19)
    assert sort_shard(single, "s") == single
