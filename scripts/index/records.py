"""Records as others have written them: a row of repodata.json, of a shard, of `info/index.json`."""

from __future__ import annotations

import json
import re
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
_NUMBERS: Final = ("build_number", "size", "legacy_bz2_size")
_LARGEST: Final = (1 << 64) - 1  # an u64
# Milliseconds from the years -9999 to 9999, which is all that rattler's dates know (jiff).
_TIMES: Final = range(-377_705_023_201_000, 253_402_207_200_001)
_STRINGS: Final = (
    "name",
    "version",
    "build",
    "subdir",
    "arch",
    "features",
    "license",
    "license_family",
    "platform",
    "python_site_packages_path",
)
_LISTS: Final = ("depends", "constrains", "flags")
_NEEDED: Final = ("name", "version", "build", "build_number")
_NOARCH: Final[dict[Any, NoArch]] = {True: "generic", "generic": "generic", "python": "python"}

_HEX: Final = re.compile(r"[0-9a-fA-F]+").fullmatch


class BadRecordError(ValueError):
    """A row that is no record; the text says which field and why."""


def parse_record(row: Any, *, in_shard: bool = False) -> Record:
    """Read one row; unknown keys are left out. In shards, hashes are bytes.

    Raises BadRecordError where a field has another type than rattler takes.
    """
    if not isinstance(row, dict):
        raise BadRecordError("not a map")
    values: dict[str, Any] = {key: _string(row, key) for key in _STRINGS}
    values |= {key: _number(row, key) for key in _NUMBERS}
    values |= {key: _hash(row, key, in_shard=in_shard) for key in _HASHES}
    values |= {key: _strings(row, key) for key in _LISTS}
    for key in (*_NEEDED, *(["subdir"] if "subdir" in row else [])):
        if values[key] is None:
            raise BadRecordError(f"it has no {key}")
    values["subdir"] = values["subdir"] or ""
    purls = None if row.get("purls") is None else tuple(sorted(_strings(row, "purls")))
    return Record(
        extra_depends=_extra_depends(row),
        noarch=_noarch(row),
        timestamp=_time(row, "timestamp", last_second=LAST_SECOND),
        indexed_timestamp=_time(row, "indexed_timestamp"),
        track_features=_track_features(row),
        purls=purls,
        run_exports=_run_exports(row),
        **values,
    )


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


def _string(row: dict[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is None or isinstance(value, str):
        return value
    raise BadRecordError(f"{key} is not a text")


def _number(row: dict[str, Any], key: str) -> int | None:
    value = _integer(row, key)
    if value is None or 0 <= value <= _LARGEST:
        return value
    raise BadRecordError(f"{key} is {value}, which is out of range")


def _integer(row: dict[str, Any], key: str) -> int | None:
    value = row.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise BadRecordError(f"{key} is not a whole number")


def _time(row: dict[str, Any], key: str, last_second: int | None = None) -> int | None:
    """Read a time in milliseconds; what is not above `last_second` is one in seconds."""
    value = _integer(row, key)
    if value is None:
        return None
    time = value * 1000 if last_second is not None and value <= last_second else value
    if time not in _TIMES:
        raise BadRecordError(f"{key} is {value}, which is no time up to the year 9999")
    return time


def _hash(row: dict[str, Any], key: str, *, in_shard: bool) -> str | None:
    value, length = row.get(key), _HASHES[key]
    if value is None:
        return None
    if in_shard and isinstance(value, bytes) and len(value) == length:
        return value.hex()
    if not in_shard and isinstance(value, str) and len(value) == 2 * length and _HEX(value):
        return value.lower()
    raise BadRecordError(f"{key} is not a hash")


def _strings(row: dict[str, Any], key: str) -> tuple[str, ...]:
    value = row.get(key, ())
    if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
        return tuple(value)
    raise BadRecordError(f"{key} is not a list of texts")


def _extra_depends(row: dict[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    groups = row.get("extra_depends", {})
    if not isinstance(groups, dict) or not all(isinstance(name, str) for name in groups):
        raise BadRecordError("extra_depends is not a map")
    return tuple((name, _strings(groups, name)) for name in sorted(groups))


def _track_features(row: dict[str, Any]) -> tuple[str, ...]:
    value = row.get("track_features", ())
    return split_features((value,) if isinstance(value, str) else _strings(row, "track_features"))


def _noarch(row: dict[str, Any]) -> NoArch | None:
    value = row.get("noarch")
    if value is None or value is False:
        return None
    if (value is not True and not isinstance(value, str)) or value not in _NOARCH:
        raise BadRecordError(f"noarch is {value!r}")
    return _NOARCH[value]  # old channels wrote true (rattler_conda_types, no_arch_type.rs)


def _run_exports(row: dict[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    exports = row.get("run_exports")
    if exports is None:
        return None
    if not isinstance(exports, dict):
        raise BadRecordError("run_exports is not a map")
    return tuple((kind, specs) for kind in RUN_EXPORTS if (specs := _strings(exports, kind)))
