"""One downloadable file of a package, as everything beyond the lock knows it (CEP 35)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from scripts.core.record import Digest, PypiRecord, Record


class ArtifactKind(StrEnum):
    """What an artifact is."""

    CONDA = "conda"
    WHEEL = "wheel"
    SDIST = "sdist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One artifact of the mirror: where it goes, where it comes from, and what it must be."""

    kind: ArtifactKind
    path: PurePosixPath
    """Its place, relative to the channel folder."""
    upstream: str | None
    """Base URL of its channel or index, secrets included; None: a direct URL or a path."""
    urls: tuple[str, ...]
    """All locations that the lock gives for it, the first one first."""
    digest: Digest | None
    """That of the lock, else of the first download; None: there is neither yet."""
    size: int | None
    """Bytes; None where the lock does not say."""
    name: str
    version: str
    license: str | None
    record: Record | PypiRecord
    """What the lock or the index says of it."""

    @property
    def is_conda(self) -> bool:
        """Tell whether it comes from a conda channel, not from PyPI."""
        return self.kind is ArtifactKind.CONDA

    @property
    def channel(self) -> PurePosixPath:
        """Folder of its conda channel, relative to the channel folder (`.` in a flat mirror)."""
        return self.path.parents[1]

    @property
    def distribution(self) -> str:
        """The file name without its extension."""
        return self.path.name.removesuffix(".conda").removesuffix(".tar.bz2")

    @property
    def conda_record(self) -> Record:
        """The record of a conda artifact; only to be asked of one."""
        assert isinstance(self.record, Record), self.path
        return self.record

    @property
    def pypi_record(self) -> PypiRecord:
        """The record of a wheel or an sdist; only to be asked of one."""
        assert isinstance(self.record, PypiRecord), self.path
        return self.record

    @property
    def is_unhashed(self) -> bool:
        """Tell whether the lock has no digest to compare its bytes with.

        A PyPI package's file on this machine needs none: whatever it holds now is right.
        """
        return self.record.digest is None and not self.is_own_file

    def digest_hex(self, algorithm: str) -> str | None:
        """Return its `sha256` or `md5`: the lock's, else that of its first download; else None."""
        digest = self.digest
        seen = digest.hex if digest is not None and digest.algorithm == algorithm else None
        return getattr(self.record, algorithm, None) or seen

    @property
    def digest_source(self) -> str:
        """Name what its digest comes from, as the end of "differs from …"."""
        if not self.urls:
            return "its record"
        if self.is_unhashed:
            return "the one first seen, and pixi.lock has none"
        return "pixi.lock" if self.record.digest is not None else "the file beside the lock"

    @property
    def is_own_file(self) -> bool:
        """Tell whether it is a PyPI package whose file is on this machine, by path or URL."""
        scheme, mark, _ = self.urls[0].partition("://") if self.urls else ("", "", "")
        is_local = not mark or scheme == "file"
        return not self.is_conda and bool(self.urls) and is_local


def artifact_of(
    record: Record | PypiRecord,
    path: PurePosixPath,
    urls: tuple[str, ...] = (),
    channel: str | None = None,
) -> Artifact:
    """Make the artifact that a row of a lock or of an index describes; `channel`: a conda one's.

    The file name tells whether one of PyPI is a wheel or an sdist.
    """
    if isinstance(record, Record):
        kind, upstream, size, license_ = ArtifactKind.CONDA, channel, record.size, record.license
    else:
        is_wheel = path.name.partition("#")[0].endswith(".whl")
        kind = ArtifactKind.WHEEL if is_wheel else ArtifactKind.SDIST
        upstream, size, license_ = record.index, None, None
    return Artifact(
        kind=kind,
        path=path,
        upstream=upstream,
        urls=urls,
        digest=record.digest,
        size=size,
        name=record.name,
        version=record.version or "",
        license=license_,
        record=record,
    )
