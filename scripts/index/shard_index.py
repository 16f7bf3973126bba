"""The index of shards (CEP 16): read as strictly as rattler does, written so that each bit counts.

rattler-index puts the time of its making into it, so pixi-mirror writes it anew: dated by the
newest record, and with the sha256 of repodata.json.zst beside. zst leaves bits without meaning in
what it compresses. Here nothing is compressed, and the frame is checked against what it must be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from scripts.core.record import Record
from scripts.index.repodata import damaged, need_map, parse_zst, revisions_of, table_of, unpack

_ZST_DIGEST: Final = "repodata_zst_sha256"  # readers pass over what they do not know
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# RFC 8878, 3.1.1: eight bytes of content size, a single segment, a checksum; then raw blocks.
_MAGIC: Final = b"\x28\xb5\x2f\xfd\xe4"
_BLOCK: Final = 1 << 17  # bytes in a block at most
_CHECKSUM: Final = 4  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardIndex:
    """The index of shards: the sha256 (hex) of each package name's shard.

    `base_url` and `shards_base_url` are as written, relative to the subdir as a rule. `zst_sha256`
    (hex) is that of repodata.json.zst; None in what pixi-mirror has not written, as `created_at`
    may be. `revisions` are `repodata_revisions` as they are.
    """

    subdir: str
    base_url: str
    shards_base_url: str
    created_at: str | None
    zst_sha256: str | None
    revisions: Mapping[str, Any]
    shards: Mapping[str, str]


def parse_shard_index(data: bytes, subject: str) -> ShardIndex:
    """Read a repodata_shards.msgpack.zst, of whatever maker."""
    document = need_map(unpack(parse_zst(data, subject), subject), subject)
    for key in ("info", "shards"):
        if key not in document:
            raise damaged(subject, f"it has no {key!r}")
    info, shards = table_of(document, "info", subject), table_of(document, "shards", subject)
    for key in ("subdir", "base_url", "shards_base_url"):
        if not isinstance(info.get(key), str):
            raise damaged(subject, f"its {key} is not a string")
    created_at, zst = info.get("created_at"), info.get(_ZST_DIGEST)
    if created_at is not None and not isinstance(created_at, str):
        raise damaged(subject, "its created_at is not a string")
    if zst is not None and not _is_sha256(zst):
        raise damaged(subject, f"its {_ZST_DIGEST} is not a sha256")
    for name, digest in shards.items():
        if not _is_sha256(digest):
            raise damaged(subject, f"the shard of {name!r} has no sha256")
    return ShardIndex(
        subdir=info["subdir"],
        base_url=info["base_url"],
        shards_base_url=info["shards_base_url"],
        created_at=created_at,
        zst_sha256=None if zst is None else zst.hex(),
        revisions=revisions_of(info, subject),
        shards={name: digest.hex() for name, digest in shards.items()},
    )


def _is_sha256(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) == 32


def rewrite_shard_index(data: bytes, subject: str, records: Iterable[Record], zst: bytes) -> bytes:
    """Write the indexer's shard index of these records anew; `zst` is the repodata.json.zst."""
    import msgpack

    index = parse_shard_index(data, subject)
    info: dict[str, Any] = {
        "subdir": index.subdir,
        "base_url": index.base_url,
        "shards_base_url": index.shards_base_url,
        "created_at": newest_time(records),
        _ZST_DIGEST: hashlib.sha256(zst).digest(),
    }
    if index.revisions:
        info["repodata_revisions"] = index.revisions
    shards = {name: bytes.fromhex(digest) for name, digest in sorted(index.shards.items())}
    return _framed(msgpack.packb({"info": info, "shards": shards}))


def is_as_written(data: bytes, subject: str) -> bool:
    """Tell whether a shard index is in the one form that `rewrite_shard_index` gives it."""
    return _framed(parse_zst(data, subject)) == data


def newest_time(records: Iterable[Record]) -> str:
    """Return the newest `timestamp` of the records (RFC 3339); without any, the epoch."""
    newest = max((each.timestamp or 0 for each in records), default=0)
    time = _EPOCH + timedelta(milliseconds=max(newest, 0))
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _framed(data: bytes) -> bytes:
    """Make a zst frame that holds these bytes as they are: no library can make another."""
    import zstandard

    parts = [_MAGIC, len(data).to_bytes(8, "little")]
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        is_last = start + _BLOCK >= len(data)
        parts += [(len(block) << 3 | is_last).to_bytes(3, "little"), block]
    checksum = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data)[-_CHECKSUM:]
    return b"".join((*parts, checksum))
