"""Match MatchSpecs against records; imported by `rattler_worker.py` alone."""

from __future__ import annotations

from typing import Any

from scripts.core.rattler_types import build_string


def matches(arguments: dict[str, Any]) -> list[bool | None]:
    """Tell for each of `pairs` whether `record` meets the MatchSpec `spec`, read leniently.

    What rattler leaves aside (fn, url, subdir, channel) is for the caller to compare. None where
    this rattler cannot say: it does not understand the spec, or keeps no `flags`.
    """
    return [_matches(pair["spec"], pair["record"]) for pair in arguments["pairs"]]


def _matches(text: str, fields: dict[str, Any]) -> bool | None:
    from rattler import MatchSpec

    try:
        spec = MatchSpec(text, strict=False)
        record = _record(fields)
    except Exception:  # of many kinds; that nothing was compared is what counts
        return None
    if "flags=" in text and not hasattr(record, "flags"):
        return None
    return bool(spec.matches(record))


def _record(fields: dict[str, Any]) -> Any:
    from rattler import PackageRecord

    record = PackageRecord(
        name=fields["name"],
        version=fields["version"],
        build=build_string(fields["build"]),
        build_number=fields["build_number"],
        subdir=fields["subdir"],
        sha256=_bytes(fields["sha256"]),
        md5=_bytes(fields["md5"]),
        license=fields["license"],
        license_family=fields["license_family"],
    )
    record.track_features = fields["track_features"]
    if hasattr(record, "flags"):
        record.flags = fields["flags"]
    return record


def _bytes(digest: str | None) -> bytes | None:
    return None if digest is None else bytes.fromhex(digest)
