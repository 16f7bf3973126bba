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
    """Base URL of the channel or index that it is from, secrets included; None for a lone file."""
    urls: tuple[str, ...]
    """All locations that the lock gives for it, the first one first."""
    digest: Digest | None
    """None: neither does the lock say, nor has it been seen."""
    size: int | None
    """Bytes; None where the lock does not say."""
    name: str
    version: str
    license: str | None
    record: Record | PypiRecord
    """What lock or index say of it."""

    @property
    def is_conda(self) -> bool:
        """Tell whether it is of a conda channel, not of PyPI."""
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
        """The record of a conda artifact; of any other kind it is a TypeError to ask for it."""
        if not isinstance(self.record, Record):
            raise TypeError(f"{self.path} is no conda artifact")
        return self.record

    @property
    def pypi_record(self) -> PypiRecord:
        """The record of a wheel or an sdist; of any other kind it is a TypeError to ask for it."""
        if not isinstance(self.record, PypiRecord):
            raise TypeError(f"{self.path} is no wheel or sdist")
        return self.record

    @property
    def is_unhashed(self) -> bool:
        """Tell whether nobody vouches for its bytes: the lock has no digest of it.

        A PyPI package's file of this machine, beside the lock or elsewhere, is what it is.
        """
        return self.record.digest is None and not self.is_own_file

    def digest_hex(self, algorithm: str) -> str | None:
        """Return what the lock says, else what is compared all the same; None: neither is."""
        digest = self.digest
        seen = digest.hex if digest is not None and digest.algorithm == algorithm else None
        return getattr(self.record, algorithm, None) or seen

    @property
    def digest_source(self) -> str:
        """Say, for the end of a sentence, whose digest it is compared with."""
        if not self.urls:
            return "its record"
        if self.is_unhashed:
            return "the one first seen, and pixi.lock has none"
        return "pixi.lock" if self.record.digest is not None else "the file beside the lock"

    @property
    def is_own_file(self) -> bool:
        """Tell whether it is a PyPI package whose file the lock names by a path, or `file:`."""
        scheme, mark, _ = self.urls[0].partition("://") if self.urls else ("", "", "")
        is_local = not mark or scheme == "file"
        return not self.is_conda and bool(self.urls) and is_local


def conda_artifact(
    path: PurePosixPath, record: Record, upstream: str | None, urls: tuple[str, ...]
) -> Artifact:
    """Make the artifact that a record of repodata describes."""
    return Artifact(
        kind=ArtifactKind.CONDA,
        path=path,
        upstream=upstream,
        urls=urls,
        digest=record.digest,
        size=record.size,
        name=record.name,
        version=record.version,
        license=record.license,
        record=record,
    )


def pypi_artifact(path: PurePosixPath, record: PypiRecord) -> Artifact:
    """Make the artifact that a row of a lock, or of a page, describes; its name tells the kind."""
    return Artifact(
        kind=ArtifactKind.WHEEL
        if path.name.partition("#")[0].endswith(".whl")
        else ArtifactKind.SDIST,
        path=path,
        upstream=record.index,
        urls=(record.location,),
        digest=record.digest,
        size=None,
        name=record.name,
        version=record.version or "",
        license=None,
        record=record,
    )
