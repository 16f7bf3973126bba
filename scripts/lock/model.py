"""What a lock file holds, the same for all its versions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from scripts.core.file_name import FileName
from scripts.core.record import PypiRecord, Record
from scripts.workspace.settings import IncompleteKind

NEWEST: Final = 7  # the newest version that is known
OLDEST_COMPLETE: Final = 6  # the first version whose rows leave nothing open
_NAME: Final = re.compile(r"\s*([\w.-]*)")


def spec_name(spec: str) -> str:
    """Return the name at the beginning of a MatchSpec (`imath<3.2`), in lower case."""
    found = _NAME.match(spec)
    return found[1].lower() if found else ""


def fill(record: Record, other: Record, fields: Iterable[str]) -> Record:
    """Return the record with those of these fields that it lacks and the other one has."""
    known = ((key, getattr(other, key)) for key in fields if getattr(record, key) is None)
    missing = {key: value for key, value in known if value is not None}
    return record._replace(**missing) if missing else record


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """A conda artifact that the lock names, with all that the lock says of it.

    `url` is the location as written: a URL to request, or a path relative to the lock file.
    `channel` is the base URL without trailing slash, secrets included; None where there is none.
    `file_name` is decoded and safe to use as a name. `record` has hotfixes applied; None in it
    means that the lock does not say (old versions leave much out).
    """

    url: str
    channel: str | None
    file_name: FileName
    record: Record

    @property
    def name(self) -> str:
        """The package's name."""
        return self.record.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmirrorable:
    """A row of the lock that the mirror has no artifact for.

    `kind` None: nobody needs it from a mirror. `name` is followed by a blank and the version, where
    there is one; `location` is the URL or path. `depends` and `constrains` are MatchSpecs of a
    source package, once it is built.
    """

    kind: IncompleteKind | None
    name: str
    location: str
    reason: str = "a source package, built where it is installed"
    depends: tuple[str, ...] = field(default=(), compare=False)
    constrains: tuple[str, ...] = field(default=(), compare=False)


LockRow = LockedPackage | PypiRecord | Unmirrorable
"""A row of the lock's list of packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSet:
    """The build or the host packages of the source package of this name."""

    source: str
    packages: tuple[LockedPackage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockPlatform:
    """A platform as the lock names it; lock v7 may name it `p1` and give its subdir.

    `virtual_packages` are as written (`__glibc=2.28`); None where the lock says
    nothing of them, as before v7.
    """

    name: str
    subdir: str
    virtual_packages: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """Its name for people, with its subdir where that is another."""
        return self.name if self.name == self.subdir else f"{self.name} ({self.subdir})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformPackages:
    """What one environment installs on one platform.

    `build_packages` are the build and host packages of its source packages: needed to build
    there, never installed with the rest; `build_sets` has them apart, with what is installed as
    well. `sources` are those source packages that are installed. `pypi` are all rows of PyPI
    packages, in a selection only those that are mirrored: then `pypi_left_out` are the others,
    and `unmirrorable` says why.
    """

    platform: LockPlatform
    packages: tuple[LockedPackage, ...]
    build_packages: tuple[LockedPackage, ...] = ()
    build_sets: tuple[BuildSet, ...] = ()
    unmirrorable: tuple[Unmirrorable, ...] = ()
    sources: tuple[Unmirrorable, ...] = ()
    pypi: tuple[PypiRecord, ...] = ()
    pypi_left_out: tuple[PypiRecord, ...] = ()

    @property
    def all_packages(self) -> tuple[LockedPackage, ...]:
        """Every conda artifact that is wanted here."""
        return (*self.packages, *self.build_packages)

    @property
    def source_names(self) -> tuple[str, ...]:
        """The names of its source packages, in lower case; their rows add the version."""
        rows = (row for row in self.unmirrorable if row.kind is IncompleteKind.SOURCE)
        return tuple(dict.fromkeys(row.name.partition(" ")[0].lower() for row in rows))

    @property
    def missing_source_packages(self) -> tuple[str, ...]:
        """The source packages that artifacts here depend on, by name: no channel has them."""
        needed = {spec_name(spec) for package in self.packages for spec in package.record.depends}
        return tuple(name for name in self.source_names if name in needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedEnvironment:
    """One environment of the lock: its channels in order of priority, its packages by platform.

    `channels` are base URLs without trailing slash, as written (secrets included), and so are
    `indexes`, those of PyPI packages, of which a row may name another one, and the pages of
    `find_links`.
    """

    name: str
    channels: tuple[str, ...]
    platforms: tuple[PlatformPackages, ...]
    indexes: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFile:
    """A whole lock file. `version` is 1 to 7; `data` are the bytes that it was read from.

    `is_kept`: it was not parsed, an earlier run had kept what that gives.
    """

    version: int
    environments: tuple[LockedEnvironment, ...]
    data: bytes = field(default=b"", repr=False, compare=False)
    is_kept: bool = field(default=False, repr=False, compare=False)


def pypi_rows(environments: Iterable[LockedEnvironment]) -> tuple[PypiRecord, ...]:
    """Return every PyPI row of these, each once."""
    every = (record for each in environments for rows in each.platforms for record in rows.pypi)
    return tuple(dict.fromkeys(every))


def locked_packages(environments: Iterable[LockedEnvironment]) -> Iterator[LockedPackage]:
    """Yield every conda artifact of these, build packages too, each once."""
    every = (row for each in environments for rows in each.platforms for row in rows.all_packages)
    # The reader shares rows between environments: to compare them by content would take long.
    yield from {id(row): row for row in every}.values()
