"""Parse records: rows of repodata.json, of a shard, of `info/index.json`."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from scripts.channel.archive import INDEX_JSON, damaged_artifact, read_info_files
from scripts.core.record import LAST_SECOND, RUN_EXPORTS, NoArch, Record, split_features

_HASHES: Final = {  # and how many bytes they have
    "md5": 16,
    "sha256": 32,
    "legacy_bz2_md5": 16,
    "attestations_sha256": 32,
}
_LARGEST: Final = (1 << 64) - 1  # an u64
# Milliseconds from the years -9999 to 9999, which is all that rattler's dates know (jiff).
_TIMES: Final = range(-377_705_023_201_000, 253_402_207_200_001)
_NEEDED: Final = ("name", "version", "build", "build_number")
_NEVER_NULL: Final = frozenset(
    {"subdir", "depends", "constrains", "flags", "extra_depends", "track_features"}
)
_PURL: Final = re.compile(r"pkg:/*[A-Za-z][A-Za-z0-9.+-]*/.*[^/].*").fullmatch
_HEX: Final = re.compile(r"[0-9a-fA-F]+").fullmatch


class BadRecordError(ValueError):
    """A row that is no record; the text says which field and why."""


def parse_record(row: Any, *, in_shard: bool = False) -> Record:
    """Read one row; unknown keys are left out. In shards, hashes are bytes.

    Raises BadRecordError where a field has another type than rattler takes.
    """
    if not isinstance(row, dict):
        raise BadRecordError("not a map")
    values: dict[str, Any] = {"subdir": ""}
    for key, value in row.items():
        if value is None and key not in _NEVER_NULL:
            continue
        try:
            if (read := _FIELDS.get(key)) is not None:
                values[key] = read(value)
            elif (length := _HASHES.get(key)) is not None:
                values[key] = _hash(value, length, in_shard=in_shard)
        except BadRecordError as error:
            raise BadRecordError(f"{key} {error}") from None
    for key in _NEEDED:
        if key not in values:
            raise BadRecordError(f"it has no {key}")
    return Record(**values)


def read_index_record(file: Path, subject: str) -> Record:
    """Return what the artifact says of itself, as a record without size and hashes.

    Raises a MirrorError of exit code 1 that names `subject` where it is no readable artifact.
    """
    message = f"cannot read its {INDEX_JSON}"
    data = read_info_files(file, subject, {INDEX_JSON}, message).get(INDEX_JSON)
    if data is None:
        raise damaged_artifact(subject, f"{message}: there is none")
    try:
        row = json.loads(data)
        if isinstance(row, dict):  # tools of old wrote null for what is not there
            row = {key: value for key, value in row.items() if value is not None}
        return parse_record(row)
    except BadRecordError as error:
        raise damaged_artifact(subject, f"its {INDEX_JSON} is damaged: {error}") from None
    except (ValueError, RecursionError) as error:
        raise damaged_artifact(subject, f"{message}: {error}") from None


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise BadRecordError("is not a string")


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadRecordError("is not a whole number")


def _number(value: Any) -> int:
    if 0 <= _integer(value) <= _LARGEST:
        return _integer(value)
    raise BadRecordError(f"is {value}, which is out of range")


def _time(value: Any) -> int:
    if _integer(value) in _TIMES:
        return _integer(value)
    raise BadRecordError(f"is {value}, which is no time up to the year 9999")


def _timestamp(value: Any) -> int:
    """Read a time in milliseconds; what is not above LAST_SECOND is one in seconds."""
    return _time(value * 1000 if _integer(value) <= LAST_SECOND else value)


def _hash(value: Any, length: int, *, in_shard: bool) -> str:
    if in_shard and isinstance(value, bytes) and len(value) == length:
        return value.hex()
    if not in_shard and isinstance(value, str) and len(value) == 2 * length and _HEX(value):
        return value.lower()
    raise BadRecordError("is not a hash")


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)):
        with contextlib.suppress(TypeError):  # what is no string cannot be interned
            return tuple(map(sys.intern, value))  # many records depend on the same
    raise BadRecordError("is not a list of strings")


def _map(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return value
    raise BadRecordError("is not a map")


def _extra_depends(value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, _strings(specs)) for name, specs in sorted(_map(value).items()))


def _noarch(value: Any) -> NoArch | None:
    if value is True or value == "generic":  # old channels wrote true (no_arch_type.rs)
        return "generic"
    if value is False or value == "python":
        return "python" if value else None
    raise BadRecordError(f"is {value!r}")


def _purls(value: Any) -> tuple[str, ...]:
    purls = tuple(sorted(_strings(value)))
    if wrong := [each for each in purls if not _PURL(each)]:
        raise BadRecordError(f"holds {wrong[0]!r}, which is no package URL")
    return purls


def _run_exports(value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    exports = _map(value)
    return tuple(
        (kind, specs) for kind in RUN_EXPORTS if (specs := _strings(exports.get(kind, ())))
    )


_FIELDS: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("name", "version", "build", "subdir", "arch", "platform"), _string),
    **dict.fromkeys(("features", "license", "license_family"), _string),
    "python_site_packages_path": _string,
    **dict.fromkeys(("build_number", "size", "legacy_bz2_size"), _number),
    **dict.fromkeys(("depends", "constrains", "flags"), _strings),
    "extra_depends": _extra_depends,
    "noarch": _noarch,
    "timestamp": _timestamp,
    "indexed_timestamp": _time,
    "track_features": lambda value: split_features(
        (value,) if isinstance(value, str) else _strings(value)
    ),
    "purls": _purls,
    "run_exports": _run_exports,
}
