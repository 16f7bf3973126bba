"""The index files of one subdir as values: repodata, its zst, the shards. Decides; does no I/O.

repodata.json is CEP 36, `v3` in it CEP 48, shards are CEP 16. All `parse_*` raise
DamagedIndexError, whose subject is the one they are given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.file_name import EXTENSIONS, is_archive_name
from scripts.core.report import Json
from scripts.index.parse_record import BadRecordError, parse_record
from scripts.index.records import Record, needs_v3, record_to_json

REPODATA: Final = "repodata.json"
REPODATA_ZST: Final = "repodata.json.zst"
SHARD_INDEX: Final = "repodata_shards.msgpack.zst"
SHARDS: Final = "shards"
SHARD_END: Final = ".msgpack.zst"

_CONDA, _TAR_BZ2 = EXTENSIONS
_LEGACY_MAPS: Final = ("packages", "packages.conda")
LARGEST: Final = 1 << 30  # bytes unpacked; conda-forge's largest repodata is a third of that
_STEP: Final = 1 << 16  # packed bytes unpacked at once, so that a few cannot fill the memory


class DamagedIndexError(MirrorError):
    """An index file that cannot be read as what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repodata:
    """All records of a repodata.json or of one shard, by the file name of their artifact."""

    subdir: str | None
    records: Mapping[str, Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardIndex:
    """The index of shards: the sha256 (hex) of each package name's shard.

    `base_url` and `shards_base_url` are as written, relative to the subdir as a rule.
    """

    subdir: str
    base_url: str
    shards_base_url: str
    shards: Mapping[str, str]


def damaged(subject: str, trouble: str) -> DamagedIndexError:
    """Make the error for an index file (`subject`) that is not what it should be."""
    return DamagedIndexError(
        Problem(subject=subject, trouble=trouble, code=ExitCode.NO, help="pixi run index")
    )


def parse_repodata(data: bytes, subject: str) -> Repodata:
    """Read a repodata.json."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise damaged(subject, "not JSON") from None
    info = _table(_map(document, subject), "info", subject)
    subdir = info.get("subdir")
    return Repodata(
        subdir=subdir if isinstance(subdir, str) else None, records=_records(document, subject)
    )


def parse_zst(data: bytes, subject: str) -> bytes:
    """Unpack a `.zst` file: a repodata.json.zst gives the bytes of its repodata.json."""
    import zstandard

    unpacker = zstandard.ZstdDecompressor().decompressobj()
    parts, size = [], 0
    try:
        for start in range(0, len(data), _STEP):
            parts.append(unpacker.decompress(data[start : start + _STEP]))
            size += len(parts[-1])
            if size > LARGEST:
                raise damaged(subject, "larger than any repodata should be")
    except zstandard.ZstdError:
        raise damaged(subject, "not a whole zst file") from None
    if not unpacker.eof or unpacker.unused_data:
        raise damaged(subject, "not a whole zst file")
    return b"".join(parts)


def parse_shard_index(data: bytes, subject: str) -> ShardIndex:
    """Read a repodata_shards.msgpack.zst."""
    document = _map(_unpack(data, subject), subject)
    info, shards = _table(document, "info", subject), _table(document, "shards", subject)
    texts = [info.get(key) for key in ("subdir", "base_url", "shards_base_url")]
    subdir, base_url, shards_base_url = (text if isinstance(text, str) else "" for text in texts)
    for name, digest in shards.items():
        if not isinstance(digest, bytes) or len(digest) != 32:
            raise damaged(subject, f"the shard of {name!r} has no sha256")
    return ShardIndex(
        subdir=subdir,
        base_url=base_url,
        shards_base_url=shards_base_url,
        shards={name: digest.hex() for name, digest in shards.items()},
    )


def same_but_for_time(one: bytes, other: bytes) -> bool:
    """Tell whether two shard indexes differ at most in the time of their making."""
    try:
        documents = [_unpack(data, SHARD_INDEX) for data in (one, other)]
    except DamagedIndexError:
        return False
    for document in documents:
        if isinstance(document, dict) and isinstance(document.get("info"), dict):
            document["info"].pop("created_at", None)
    return bool(documents[0] == documents[1])


def parse_shard(data: bytes, subject: str) -> Repodata:
    """Read one shard; its sha256 is for the caller to compare with its name."""
    document = _map(_unpack(data, subject), subject)
    return Repodata(subdir=None, records=_records(document, subject))


def render_repodata(subdir: str, records: Iterable[tuple[str, Record]]) -> bytes:
    """Write a repodata.json that every rattler-index takes as its seed."""
    maps: dict[str, dict[str, Json]] = {"packages": {}, "packages.conda": {}}
    v3: dict[str, dict[str, Json]] = {}
    for file_name, record in sorted(records):
        extension = _CONDA if file_name.endswith(_CONDA) else _TAR_BZ2
        row = record_to_json(record)
        if needs_v3(record):
            key = file_name.removesuffix(extension)
            v3.setdefault(extension.removeprefix("."), {})[key] = row
        else:
            maps["packages" if extension == _TAR_BZ2 else "packages.conda"][file_name] = row
    document: dict[str, Json] = {"info": {"subdir": subdir}, **maps, "repodata_version": 1}
    if v3:
        document["v3"] = v3
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _unpack(data: bytes, subject: str) -> Any:
    import msgpack

    try:
        return msgpack.unpackb(parse_zst(data, subject))
    except (ValueError, RecursionError):  # what msgpack raises for damage are ValueErrors
        raise damaged(subject, "not msgpack") from None


def _records(document: dict[str, Any], subject: str) -> dict[str, Record]:
    """Gather the records of all maps, legacy and v3."""
    rows: dict[str, Any] = {}
    for key in _LEGACY_MAPS:
        for name, row in _table(document, key, subject).items():
            if not is_archive_name(name):
                raise damaged(subject, f"{name!r} under {key!r} is no file name of an artifact")
            rows[name] = row
    v3 = _table(document, "v3", subject)
    for extension in EXTENSIONS:
        for name, row in _table(v3, extension.removeprefix("."), subject).items():
            rows[f"{name}{extension}"] = row
    records = {}
    for name, row in rows.items():
        try:
            records[name] = parse_record(row)
        except BadRecordError as error:
            raise damaged(subject, f"the record of {name} is damaged: {error}") from None
    return records


def _map(value: Any, subject: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise damaged(subject, "not repodata")
    return value


def _table(document: dict[str, Any], key: str, subject: str) -> dict[str, Any]:
    """Return a map within the document; an absent one is empty."""
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise damaged(subject, f"{key!r} in it is not a map of names")
    return value
