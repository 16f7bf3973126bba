"""Match MatchSpecs against records; imported by `rattler_worker.py` alone."""

from __future__ import annotations

from typing import Any

from scripts.core.condition import parse_condition, specs_of
from scripts.core.rattler_types import build_string


def matches(arguments: dict[str, Any]) -> list[bool | None]:
    """Tell for each of `pairs` whether `record` meets the MatchSpec `spec`, read leniently.

    What rattler leaves aside (fn, url, subdir, channel) is for the caller to compare. None where
    this rattler cannot say: it does not understand the spec, or keeps no `flags`.
    """
    return [_matches(pair["spec"], pair["record"]) for pair in arguments["pairs"]]


def match_each(arguments: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Match every text of `specs` against all of `records` that have its name.

    Returns for each text, and for each spec of its condition, either `refused`, in rattler's own
    words why it is no MatchSpec, or its `name`, `extras`, `condition`, and in `met_by` the
    positions of the records that meet it; None where this rattler cannot say.
    """
    records = _Records(arguments["records"])
    answers: dict[str, dict[str, Any]] = {}
    wanted = list(arguments["specs"])
    while wanted:
        text = wanted.pop()
        if text not in answers:
            answers[text] = answer = records.answer(text)
            condition = parse_condition(answer.get("condition") or "")
            wanted += [] if condition is None else specs_of(condition)
    return answers


class _Records:
    """Records by name; rattler's own are made when they are first asked for."""

    def __init__(self, fields: list[dict[str, Any]]) -> None:
        self._fields = fields
        self._made: dict[int, Any] = {}
        self._by_name: dict[str, list[int]] = {}
        for position, each in enumerate(fields):
            self._by_name.setdefault(each["name"].lower(), []).append(position)

    def answer(self, text: str) -> dict[str, Any]:
        from rattler import MatchSpec

        try:
            spec = MatchSpec(text, strict=False)
        except Exception as error:  # of many kinds; what it says is the answer
            return {"refused": str(error) or type(error).__name__}
        name = spec.name.normalized
        there = self._by_name.get(name, ())
        met_by: list[int] | None = [each for each in there if self._meets(spec, each)]
        if "flags=" in text and any(not hasattr(self._record(each), "flags") for each in there):
            met_by = None
        return {
            "name": name,
            "extras": spec.extras or [],
            "condition": spec.condition,
            "met_by": met_by,
        }

    def _meets(self, spec: Any, position: int) -> bool:
        record = self._record(position)
        return record is not None and bool(spec.matches(record))

    def _record(self, position: int) -> Any:
        """Return a record; None where rattler has no such one: its version is none."""
        if position not in self._made:
            try:
                self._made[position] = _record(self._fields[position])
            except Exception:  # of many kinds; it meets nothing then
                self._made[position] = None
        return self._made[position]


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
