"""The index files of one subdir as values: repodata, its zst, the shards and their index.

repodata.json is CEP 36, `v3` in it CEP 48, shards are CEP 16. All are read as strictly as rattler
reads them (crates/rattler_conda_types/src/repo_data). All `parse_*` raise DamagedIndexError of the
`subject` that they are given.

rattler-index writes the present time into the shard index, so pixi-mirror writes it again: dated by
the newest record, and with the sha256 of repodata.json.zst. A compressed zst frame has bits without
meaning; in this one nothing is compressed, so that every bit of it can be checked.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.file_name import EXTENSIONS, is_archive_name
from scripts.core.record import Record, needs_v3, record_to_json
from scripts.core.report import Json
from scripts.index.records import BadRecordError, parse_record

REPODATA: Final = "repodata.json"
REPODATA_ZST: Final = "repodata.json.zst"
SHARD_INDEX: Final = "repodata_shards.msgpack.zst"
SHARDS: Final = "shards"
SHARD_END: Final = ".msgpack.zst"

LARGEST: Final = 1 << 30  # bytes unpacked; conda-forge's largest repodata is a third of that
_STEP: Final = 1 << 16  # packed bytes unpacked at once, so that a few cannot fill the memory
_ZST_LEVEL: Final = 9
_ZST_DIGEST: Final = "repodata_zst_sha256"  # readers pass over what they do not know
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# RFC 8878, 3.1.1: eight bytes of content size, a single segment, a checksum; then raw blocks.
_MAGIC: Final = b"\x28\xb5\x2f\xfd\xe4"
_BLOCK: Final = 1 << 17  # bytes in a block at most
_CHECKSUM: Final = 4  # bytes


class DamagedIndexError(MirrorError):
    """An index file that cannot be read as what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repodata:
    """All records of a repodata.json or of one shard, by the file name of their artifact.

    `subdir`, `base_url` and `revisions` (`repodata_revisions`) are as its `info` has them.
    """

    records: Mapping[str, Record]
    subdir: str | None = None
    base_url: str | None = None
    revisions: Mapping[str, Any] = field(default_factory=dict)


def index_problem(
    subject: str,
    message: str,
    *details: tuple[str, str],
    code: ExitCode = ExitCode.FINDINGS,
    help: str = "pixi run index",
) -> Problem:
    """Make the problem of an index file, or of what it says of an artifact (`subject`)."""
    return Problem(subject=subject, message=message, code=code, details=details, help=help)


def damaged_index(subject: str, message: str) -> DamagedIndexError:
    """Make the error for an index file (`subject`) that is not what it should be."""
    return DamagedIndexError(index_problem(subject, message))


def parse_repodata(data: bytes, subject: str, names: Container[str] | None = None) -> Repodata:
    """Read a repodata.json; `names`: only the records of these packages."""
    try:
        text = data.decode("utf-8")
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        if "\\ud" in text.lower():  # half a pair of surrogates, which Python takes
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise damaged_index(subject, "not JSON") from None
    document = _map(document, subject)
    info = {} if document.get("info") is None else _table(document, "info", subject)
    for name in ("subdir", "base_url"):
        if not isinstance(info.get(name, ""), str):
            raise damaged_index(subject, f"its {name} is not a string")
    if not _is_number(document.get("repodata_version")):
        raise damaged_index(subject, "its repodata_version is not a whole number")
    return Repodata(
        records=_records(document, subject, names=names),
        subdir=info.get("subdir"),
        base_url=info.get("base_url"),
        revisions=_revisions(info, subject),
    )


parsed_repodata = functools.lru_cache(maxsize=32)(parse_repodata)  # subdirs
"""Does the same, once for what a run writes, publishes, keeps and proves."""


def parse_zst(data: bytes, subject: str, largest: int | None = None) -> bytes:
    """Unpack a `.zst` file: a repodata.json.zst gives the bytes of its repodata.json.

    It has at most `largest` bytes, unpacked; None: as many as repodata may have.
    """
    import zstandard

    unpacker = zstandard.ZstdDecompressor().decompressobj()
    parts, size = [], 0
    try:
        for start in range(0, len(data), _STEP):
            parts.append(unpacker.decompress(data[start : start + _STEP]))
            size += len(parts[-1])
            if size > (LARGEST if largest is None else largest):
                raise damaged_index(subject, "larger than any repodata should be")
    except zstandard.ZstdError:
        raise damaged_index(subject, "not a whole zst file") from None
    if not unpacker.eof or unpacker.unused_data:
        raise damaged_index(subject, "not a whole zst file")
    return b"".join(parts)


def parse_shard(data: bytes, subject: str, largest: int | None = None) -> Repodata:
    """Read one shard; the caller compares its sha256 with its name. `largest` as of `parse_zst`."""
    document = _map(unpack(parse_zst(data, subject, largest), subject), subject)
    if "packages" not in document:
        raise damaged_index(subject, "it has no 'packages'")
    return Repodata(records=_records(document, subject, in_shard=True))


def render_repodata(subdir: str, records: Iterable[tuple[str, Record]]) -> bytes:
    """Write a repodata.json that every rattler-index takes as its seed."""
    legacy = {".tar.bz2": dict[str, Json](), ".conda": dict[str, Json]()}
    v3: dict[str, dict[str, Json]] = {}
    for file_name, record in sorted(records):
        extension = next(each for each in EXTENSIONS if file_name.endswith(each))
        row = record_to_json(record)
        if needs_v3(record):
            v3.setdefault(extension[1:], {})[file_name.removesuffix(extension)] = row
        else:
            legacy[extension][file_name] = row
    document: dict[str, Json] = {
        "info": {"subdir": subdir},
        "packages": legacy[".tar.bz2"],
        "packages.conda": legacy[".conda"],
        "repodata_version": 1,
        **({"v3": v3} if v3 else {}),
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def render_zst(data: bytes) -> bytes:
    """Pack a repodata.json: a fifth larger than the indexer's, in a thirtieth of its time."""
    import zstandard

    return zstandard.ZstdCompressor(level=_ZST_LEVEL).compress(data)


def unpack(data: bytes, subject: str) -> Any:
    """Read msgpack."""
    import msgpack

    try:
        return msgpack.unpackb(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError):  # what msgpack raises for damage are ValueErrors
        raise damaged_index(subject, "not msgpack") from None


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Make a map; ValueError where a key is there twice, which rattler refuses, too."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is there twice")
    return made


def _no_number(text: str) -> None:
    """Refuse NaN and Infinity, which JSON does not have but Python takes."""
    raise ValueError(f"{text} is no JSON")


def _records(
    document: dict[str, Any],
    subject: str,
    *,
    in_shard: bool = False,
    names: Container[str] | None = None,
) -> dict[str, Record]:
    """Take the records out of all maps, legacy and v3; `names` None: of all packages."""
    removed = document.get("removed", [])
    if not isinstance(removed, list) or not all(
        isinstance(name, str) and is_archive_name(name) for name in removed
    ):
        raise damaged_index(subject, "'removed' in it is not a list of file names of artifacts")
    records = {}
    v3 = _table(document, "v3", subject)
    maps = [(document, key, "") for key in ("packages", "packages.conda")]
    for table, key, end in (*maps, *((v3, each[1:], each) for each in EXTENSIONS)):
        rows = _table(table, key, subject)
        for name in list(rows):
            row = rows.pop(name)  # so that a large document is never there twice
            if name.count("-") < 2 or not is_archive_name(name + end):
                kind = "no distribution" if end else "no file name of an artifact"
                raise damaged_index(subject, f"{name!r} under {key!r} is {kind}")
            if names is not None and not (isinstance(row, dict) and row.get("name") in names):
                continue
            try:
                records[name + end] = parse_record(row, in_shard=in_shard)
            except BadRecordError as error:
                message = f"the record of {name + end} is damaged: {error}"
                raise damaged_index(subject, message) from None
    return records


def _revisions(info: dict[str, Any], subject: str) -> Mapping[str, Any]:
    """Return the `repodata_revisions` of an `info`: maps of numbers by `v3`, or by `3`."""
    revisions = _table(info, "repodata_revisions", subject)
    for name, values in revisions.items():
        numbers = values.values() if isinstance(values, dict) else ("",)
        if not re.fullmatch(r"[vV]?[0-9]+", name) or not all(map(_is_number, numbers)):
            raise damaged_index(subject, "its repodata_revisions are damaged")
    return revisions


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _map(value: Any, subject: str) -> dict[str, Any]:
    """Return a document that is a map."""
    if not isinstance(value, dict):
        raise damaged_index(subject, "not repodata")
    return value


def _table(document: dict[str, Any], key: str, subject: str) -> dict[str, Any]:
    """Return a map within the document; an absent one is empty."""
    value = document.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise damaged_index(subject, f"{key!r} in it is not a map of names")
    return value


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
    """Read a repodata_shards.msgpack.zst, whoever has written it."""
    document = _map(unpack(parse_zst(data, subject), subject), subject)
    for key in ("info", "shards"):
        if key not in document:
            raise damaged_index(subject, f"it has no {key!r}")
    info, shards = _table(document, "info", subject), _table(document, "shards", subject)
    for key in ("subdir", "base_url", "shards_base_url"):
        if not isinstance(info.get(key), str):
            raise damaged_index(subject, f"its {key} is not a string")
    if not isinstance(info.get("created_at"), str | None):
        raise damaged_index(subject, "its created_at is not a string")
    zst = info.get(_ZST_DIGEST)
    if zst is not None and not _is_sha256(zst):
        raise damaged_index(subject, f"its {_ZST_DIGEST} is not a sha256")
    for name, digest in shards.items():
        if not _is_sha256(digest):
            raise damaged_index(subject, f"the shard of {name!r} has no sha256")
    return ShardIndex(
        subdir=info["subdir"],
        base_url=info["base_url"],
        shards_base_url=info["shards_base_url"],
        created_at=info.get("created_at"),
        zst_sha256=None if zst is None else zst.hex(),
        revisions=_revisions(info, subject),
        shards={name: digest.hex() for name, digest in shards.items()},
    )


def _is_sha256(value: Any) -> bool:
    return isinstance(value, bytes) and len(value) == 32


def sort_shard(data: bytes, subject: str) -> bytes:
    """Rewrite a shard of several rows in the order of their names.

    rattler-index before 0.30.11 and py-rattler before 0.26 order them differently in each run.
    """
    import msgpack
    import zstandard

    document = _map(unpack(parse_zst(data, subject), subject), subject)
    v3 = _table(document, "v3", subject)
    tables = [(document, key) for key in ("packages", "packages.conda") if key in document]
    has_several = False
    for parent, key in (*tables, *((v3, key) for key in v3)):
        rows = _table(parent, key, subject)
        has_several |= len(rows) > 1
        parent[key] = dict(sorted(rows.items()))
    if not has_several:
        return data
    packer = zstandard.ZstdCompressor().compressobj()  # as the indexer does it: the same bytes
    return packer.compress(msgpack.packb(document)) + packer.flush()


def render_shard_index(index: ShardIndex) -> bytes:
    """Write a shard index in a form of its own, the same for the same values."""
    import msgpack

    info: dict[str, Any] = {
        "subdir": index.subdir,
        "base_url": index.base_url,
        "shards_base_url": index.shards_base_url,
        "created_at": index.created_at,
        _ZST_DIGEST: None if index.zst_sha256 is None else bytes.fromhex(index.zst_sha256),
        **({"repodata_revisions": index.revisions} if index.revisions else {}),
    }
    shards = {name: bytes.fromhex(digest) for name, digest in sorted(index.shards.items())}
    return _framed(msgpack.packb({"info": info, "shards": shards}))


def is_as_written(data: bytes, subject: str) -> bool:
    """Tell whether a shard index is in the one form that `render_shard_index` gives it."""
    return _framed(parse_zst(data, subject)) == data


def newest_time(records: Iterable[Record]) -> str:
    """Return the newest `timestamp` of the records (RFC 3339); without any, the epoch."""
    newest = max((each.timestamp or 0 for each in records), default=0)
    time = _EPOCH + timedelta(milliseconds=max(newest, 0))
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _framed(data: bytes) -> bytes:
    """Make a zst frame of these bytes, uncompressed: every library would make the same one."""
    import zstandard

    parts = [_MAGIC, len(data).to_bytes(8, "little")]
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        is_last = start + _BLOCK >= len(data)
        parts += [(len(block) << 3 | is_last).to_bytes(3, "little"), block]
    checksum = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data)[-_CHECKSUM:]
    return b"".join((*parts, checksum))
