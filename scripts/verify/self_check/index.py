"""Index files with a lie in them that is the same in all of them.

Were repodata.json alone to lie, its zst would give it away, and the comparison with the lock
would not be put to the test.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from scripts.core.file_name import EXTENSIONS
from scripts.index.repodata import (
    REPODATA,
    SHARD_INDEX,
    parse_repodata,
    parse_zst,
    rewrite_shard_index,
)

_HASHES: Final = ("md5", "sha256")  # which a shard has as bytes

Rows = dict[str, Any]
Edit = Callable[[Rows], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A shard with the digest (hex) that is its name, and the shard index that names it."""

    digest: str
    data: bytes
    index: bytes


def edited_repodata(data: bytes, edit: Edit) -> bytes:
    """Change a repodata.json; `edit` is given the whole document."""
    document = json.loads(data)
    edit(document)
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def packed(data: bytes) -> bytes:
    """Make a `.zst` of these bytes."""
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


def shard_digest(index: bytes, package: str) -> str | None:
    """Return the digest (hex) of the shard of a package; None where it has none."""
    digest = _unpacked(index)["shards"].get(package)
    return None if digest is None else bytes(digest).hex()


def edited_shard(
    index: bytes, package: str, shard: bytes | None, edit: Edit, *, repodata: bytes, zst: bytes
) -> Shard:
    """Change the shard of a package, or make one; `edit` is given the whole document.

    The shard index then vouches for `zst`, and is dated by the records of `repodata`.
    """
    import msgpack

    document: Rows = {"packages": {}, "packages.conda": {}}
    if shard is not None:
        document = _unpacked(shard)
    edit(document)
    for rows in _maps(document):
        for row in rows.values():
            row |= {
                key: bytes.fromhex(row[key]) for key in _HASHES if isinstance(row.get(key), str)
            }
    data = packed(msgpack.packb(document))
    digest = hashlib.sha256(data)
    whole = _unpacked(index)
    whole["shards"][package] = digest.digest()
    records = parse_repodata(repodata, REPODATA).records.values()
    lying = rewrite_shard_index(packed(msgpack.packb(whole)), SHARD_INDEX, records, zst)
    return Shard(digest=digest.hexdigest(), data=data, index=lying)


def dropping(file_name: str) -> Edit:
    """Take away the record of an artifact."""

    def edit(document: Rows) -> None:
        rows, key = _map_of(document, file_name)
        del rows[key]

    return edit


def dropping_all(package: str) -> Edit:
    """Take away all records of a package name."""

    def edit(document: Rows) -> None:
        for rows in _maps(document):
            for key in [key for key, row in rows.items() if row.get("name") == package]:
                del rows[key]

    return edit


def requiring(file_name: str, requirement: str) -> Edit:
    """Give the record of an artifact one requirement more."""

    def edit(document: Rows) -> None:
        rows, key = _map_of(document, file_name)
        rows[key]["depends"] = [*rows[key].get("depends", ()), requirement]

    return edit


def adding(file_name: str, row: Rows) -> Edit:
    """Add the record of an artifact."""

    def edit(document: Rows) -> None:
        legacy = "packages.conda" if file_name.endswith(EXTENSIONS[0]) else "packages"
        document.setdefault(legacy, {})[file_name] = row

    return edit


def _maps(document: Rows) -> Iterator[Rows]:
    """Yield the maps with records: legacy, and v3 (CEP 48)."""
    for legacy in ("packages", "packages.conda"):
        yield document.get(legacy, {})
    for extension in EXTENSIONS:
        yield document.get("v3", {}).get(extension.removeprefix("."), {})


def _map_of(document: Rows, file_name: str) -> tuple[Rows, str]:
    """Find the map with the record of an artifact, and its key there: in v3 without extension."""
    legacy, legacy_conda, *v3 = _maps(document)
    for rows in (legacy, legacy_conda):
        if file_name in rows:
            return rows, file_name
    for extension, rows in zip(EXTENSIONS, v3, strict=True):
        key = file_name.removesuffix(extension)
        if key != file_name and key in rows:
            return rows, key
    raise KeyError(file_name)


def _unpacked(data: bytes) -> Rows:
    import msgpack

    document: Rows = msgpack.unpackb(parse_zst(data, "shards"))
    return document
