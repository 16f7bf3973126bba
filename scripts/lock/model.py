"""What a lock file holds, the same for all its versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from scripts.core.file_name import FileName
from scripts.workspace.settings import Kind

_NAME: Final = re.compile(r"\s*([\w.-]*)")

NoArch = Literal["generic", "python"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExports:
    """The `run_exports` of a package (CEP 12): MatchSpecs by kind."""

    weak: tuple[str, ...] = ()
    strong: tuple[str, ...] = ()
    noarch: tuple[str, ...] = ()
    weak_constrains: tuple[str, ...] = ()
    strong_constrains: tuple[str, ...] = ()


def spec_name(spec: str) -> str:
    """Return the name at the beginning of a MatchSpec (`imath<3.2`), in lower case."""
    found = _NAME.match(spec)
    return found[1].lower() if found else ""


@dataclass(frozen=True, slots=True)
class Digest:
    """What an artifact's bytes must hash to: `sha256` or `md5`, and the hex text."""

    algorithm: Literal["sha256", "md5"]
    hex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """A conda artifact that the lock names, with all that the lock says of it.

    `url` is the location as written: a URL to request, or a path relative to the lock file.
    `channel` is the base URL without trailing slash, secrets included; None where there is none.
    `file_name` is decoded and safe to use as a name. `depends`, `constrains` are MatchSpecs as
    written, hotfixes applied. `timestamp` is in milliseconds, `size` in bytes.
    None means that the lock does not say (old versions leave much out).
    """

    url: str
    channel: str | None
    subdir: str
    file_name: FileName
    name: str
    version: str
    build: str
    build_number: int
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    extra_depends: tuple[tuple[str, tuple[str, ...]], ...] = ()
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
    run_exports: RunExports | None = None
    legacy_bz2_md5: str | None = None
    legacy_bz2_size: int | None = None

    @property
    def digest(self) -> Digest | None:
        """The digest to check the artifact by: its sha256, else its md5, else there is none."""
        if self.sha256:
            return Digest("sha256", self.sha256)
        return Digest("md5", self.md5) if self.md5 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmirrorable:
    """A row of the lock that no artifact in a conda channel can stand for, with the reason."""

    kind: Kind
    name: str
    location: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePackage:
    """A source package as the lock expects it to be once it is built where it is installed.

    `depends`, `constrains` are MatchSpecs as written, of what it is installed with; none where
    the lock does not say. `name` has the version behind a blank, where there is one.
    """

    name: str
    location: str
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockPlatform:
    """A platform as the lock names it; lock v7 may name it `p1` and give its subdir.

    `virtual_packages` are as written (`__glibc=2.28`); None where the lock says
    nothing of them, as before v7.
    """

    name: str
    subdir: str
    virtual_packages: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformPackages:
    """What one environment installs on one platform.

    `build_packages` are the build and host packages of its source packages: needed to build
    there, never installed with the rest. `sources` are those source packages that are installed.
    """

    platform: LockPlatform
    packages: tuple[LockedPackage, ...]
    build_packages: tuple[LockedPackage, ...] = ()
    unmirrorable: tuple[Unmirrorable, ...] = ()
    sources: tuple[SourcePackage, ...] = ()

    @property
    def source_names(self) -> tuple[str, ...]:
        """The names of its source packages, in lower case; their rows add the version."""
        rows = (row for row in self.unmirrorable if row.kind is Kind.SOURCE)
        return tuple(dict.fromkeys(row.name.partition(" ")[0].lower() for row in rows))

    @property
    def missing_source_packages(self) -> tuple[str, ...]:
        """The source packages that artifacts here depend on, by name: no channel has them."""
        needed = {spec_name(spec) for package in self.packages for spec in package.depends}
        return tuple(name for name in self.source_names if name in needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedEnvironment:
    """One environment of the lock: its channels in order of priority, its packages by platform.

    `channels` are base URLs without trailing slash, as written (secrets included).
    """

    name: str
    channels: tuple[str, ...]
    platforms: tuple[PlatformPackages, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFile:
    """A whole lock file. `version` is 1 to 7."""

    version: int
    environments: tuple[LockedEnvironment, ...]

    def packages(self) -> Iterator[LockedPackage]:
        """Every conda artifact of every environment and platform, repeated where shared."""
        for environment in self.environments:
            for rows in environment.platforms:
                yield from rows.packages
                yield from rows.build_packages
