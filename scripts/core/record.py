"""Records of repodata (CEP 36): what one is, and its JSON.

The fields are those of rattler's PackageRecord (crates/rattler_conda_types/src/repo_data/mod.rs).
One wrongly typed field makes rattler-index drop a whole seed in silence, so records are made
here alone, with every number a number and nothing null.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from scripts.core.report import Json

# rattler (utils/serde.rs): a timestamp up to the year 9999 in seconds is one in seconds.
LAST_SECOND: Final = 253402300799

# A MatchSpec with one of these in its brackets asks for repodata v3 (rattler_conda_types,
# match_spec/mod.rs, `required_repodata_revision`).
_V3_KEY: Final = re.compile(r"[\[,]\s*(?:extras|when|flags)\s*=")


NoArch = Literal["generic", "python"]
RUN_EXPORTS: Final = ("weak", "strong", "noarch", "weak_constrains", "strong_constrains")
"""The kinds of `run_exports` (CEP 12)."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What an artifact's bytes must hash to: `sha256` or `md5`, and the hex text."""

    algorithm: Literal["sha256", "md5"]
    hex: str

    def __str__(self) -> str:
        """Write it as `sha256:0123…`."""
        return f"{self.algorithm}:{self.hex}"


class Record(NamedTuple):
    """One row of repodata. Hashes are lower-case hex, `size` is in bytes, times in milliseconds.

    None or empty: the row does not have it. Only an empty `purls` says something other than None.
    A tuple, since tens of thousands are made, kept and compared: in half the time of a dataclass.
    """

    name: str
    version: str
    build: str
    build_number: int
    subdir: str
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    extra_depends: tuple[tuple[str, tuple[str, ...]], ...] = ()
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None
    arch: str | None = None
    platform: str | None = None
    noarch: NoArch | None = None
    license: str | None = None
    license_family: str | None = None
    timestamp: int | None = None
    features: str | None = None
    track_features: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    purls: tuple[str, ...] | None = None
    python_site_packages_path: str | None = None
    run_exports: tuple[tuple[str, tuple[str, ...]], ...] | None = None
    """MatchSpecs by kind; None where they are unknown."""
    legacy_bz2_md5: str | None = None
    legacy_bz2_size: int | None = None
    attestations_sha256: str | None = None
    indexed_timestamp: int | None = None

    @property
    def digest(self) -> Digest | None:
        """The digest to check the artifact by: its sha256, else its md5, else None."""
        if self.sha256:
            return Digest("sha256", self.sha256)
        return Digest("md5", self.md5) if self.md5 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PypiRecord:
    """What a lock, or a page of the Simple API (PEP 503), says of a PyPI package's one file."""

    name: str
    """Normalised (PEP 503)."""
    version: str | None
    """None of a folder."""
    location: str
    """URL, secrets included, or path relative to the lock file; as written, without `direct+`."""
    index: str | None = None
    """Base URL of the index that it is from; None: a direct URL or a path."""
    sha256: str | None = None
    """Lower-case hex; None: the lock does not say."""
    requires_dist: tuple[str, ...] = ()
    """PEP 508."""
    requires_python: str | None = None

    @property
    def digest(self) -> Digest | None:
        """The digest to check the file by; None where there is none."""
        return Digest("sha256", self.sha256) if self.sha256 else None


def record_to_json(record: Record) -> dict[str, Json]:
    """Write a record as a row of repodata.json: no nulls, and nothing empty but `depends`."""
    row: dict[str, Json] = {
        key: value
        for key, value in zip(Record._fields, record, strict=True)
        if value is not None and (value != () or key in {"depends", "purls"})
    }
    if record.extra_depends:
        row["extra_depends"] = dict(record.extra_depends)
    if record.track_features:
        row["track_features"] = " ".join(record.track_features)
    if record.run_exports is not None:
        row["run_exports"] = dict(record.run_exports)
    if record.timestamp is not None and record.timestamp <= LAST_SECOND:
        row["timestamp"] = record.timestamp // 1000  # readers would take it for seconds
    return row


def needs_v3(record: Record) -> bool:
    """Tell whether the record belongs under `v3` (CEP 48): a MatchSpec with extras, when or flags.

    New versions of rattler-index fail where one of those stands in a legacy map.
    """
    return any(
        "[" in text and _V3_KEY.search(text) for text in (*record.depends, *record.constrains)
    )


def split_features(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Split `track_features` as rattler does: on commas and blanks."""
    return tuple(part for text in texts for part in re.split(r"[,\s]+", text) if part)
