"""What lock and manifest say of each environment on each platform, for the levels that solve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from scripts.core.record import PypiRecord
from scripts.core.redact import redact
from scripts.core.subdir import NOARCH
from scripts.lock.mirrored import MirroredLock
from scripts.lock.model import LockedEnvironment, LockedPackage, PlatformPackages
from scripts.lock.satisfiability import differs_aside, matching_platform, wanted_text
from scripts.lock.select import Selection, path_of
from scripts.verify.findings import EnvironmentPlatform, places_of
from scripts.verify.python_platform import PythonPlatform, python_platform
from scripts.workspace.model import (
    Environment,
    Manifest,
    ManifestPlatform,
    PypiRequirement,
    Requirement,
    Target,
)
from scripts.workspace.resolve import (
    asked_for,
    environment_platforms,
    is_built_in_place,
    pypi_overrides,
)
from scripts.workspace.virtual_packages import (
    VirtualPackage,
    default_packages,
    virtual_packages,
)

# What a manifest has of a place.
Declared = tuple[Manifest, Environment, ManifestPlatform]


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """What is asked of a place from above: by the manifest, or by a source package."""

    who: str
    subject: str
    """Who, with its location."""
    kind: str
    """`requires` or `constrains`."""
    spec: str
    """A MatchSpec, with its condition."""
    text: str
    """The requirement for people."""
    own: Requirement | None = None
    """The manifest's; None: it is a source package's."""
    locked: LockedPackage | None = None
    """What is locked of the name that the manifest asks for."""
    differs: bool = False
    """What is locked is of another channel, location or the like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSet:
    """One environment on one platform: what is installed there, or what builds something of it."""

    place: EnvironmentPlatform
    lock: MirroredLock
    locked: LockedEnvironment
    rows: PlatformPackages
    declared: Declared | str
    """What the manifest has of it, or why it has nothing."""
    packages: Mapping[str, LockedPackage]
    """By their path in the channel folder."""
    virtual_packages: tuple[VirtualPackage, ...]
    """What of it is built from source is one here, too."""
    built: Mapping[str, str | None]
    """What is built from source: names to the version, None where that is unknown."""
    roots: tuple[Root, ...]
    required_by: str
    """What needs it all, for people."""
    pypi_roots: tuple[str, ...] = ()
    """What the manifest requires of PyPI (PEP 508)."""
    pypi_overrides: Mapping[str, PypiRequirement] = field(default_factory=dict)
    """What it has in place of all that anything requires of these names (PEP 503)."""
    is_of_builds: bool = False

    @property
    def pypi_rows(self) -> tuple[PypiRecord, ...]:
        """All that is locked there of PyPI, mirrored or not."""
        return (*self.rows.pypi, *self.rows.pypi_left_out)

    @property
    def has_pypi(self) -> bool:
        """Tell whether it has anything of PyPI, or its manifest asks for it."""
        return bool(self.pypi_rows or self.pypi_roots)

    @property
    def python(self) -> PythonPlatform | str:
        """Its Python, or why there is none for PyPI packages."""
        subdir = self.rows.platform.subdir
        return python_platform(self.rows.packages, subdir, self.virtual_packages)

    def is_built_in_place(self, name: str) -> bool:
        """Tell whether a PyPI package (PEP 503) is built with what is in the environment."""
        if isinstance(self.declared, str):
            return False
        manifest, environment, _ = self.declared
        return is_built_in_place(manifest, environment, name)


def plan_sets(selection: Selection) -> Iterator[PackageSet]:
    """Plan every place that is mirrored."""
    for lock, place, locked, rows in places_of(selection):
        there = {each.name.lower(): each for each in rows.packages}
        declared = _declared(lock, locked, rows)
        platform = None if isinstance(declared, str) else declared[2]
        asked = Target() if isinstance(declared, str) else asked_for(*declared)
        required_by = lock.location if lock.manifest is None else lock.manifest.file_name
        versions: dict[str, set[str]] = {}
        for source in rows.sources:
            name, _, version = source.name.partition(" ")
            versions.setdefault(name.lower(), set()).add(version)
        # There may be two variants of it.
        known = {name: next(iter(some)) or None for name, some in versions.items() if len(some) < 2}
        built = {name: known.get(name) for name in rows.source_names if name not in there}
        yield PackageSet(
            place=place,
            lock=lock,
            locked=locked,
            rows=rows,
            declared=declared,
            packages={str(path_of(selection.layout, each)): each for each in rows.packages},
            virtual_packages=(
                *virtual_packages(declared_packages(rows, platform)),
                *(VirtualPackage(name, built[name] or "0") for name in versions if name in built),
            ),
            built=built,
            roots=(*_own_roots(required_by, asked, there, lock.root), *_source_roots(rows)),
            required_by=required_by,
            pypi_roots=tuple(each.text for each in asked.pypi),
            pypi_overrides={} if isinstance(declared, str) else pypi_overrides(*declared[:2]),
        )


def _declared(
    lock: MirroredLock, locked: LockedEnvironment, rows: PlatformPackages
) -> Declared | str:
    """Return what the manifest beside a lock has of a place, or say why it has nothing."""
    manifest = lock.manifest
    if manifest is None:
        return str(lock.why_alone)
    environment = manifest.environment(locked.name)
    if environment is None:
        return f"{manifest.file_name} has no such environment"
    platform = _manifest_platform(manifest, environment, locked, rows)
    if platform is None:
        return f"{manifest.file_name} has no such platform for it"
    return manifest, environment, platform


def plan_builds(selection: Selection, installed: PackageSet) -> Iterator[PackageSet]:
    """Plan what source packages are built with; the machine that does may be of another subdir."""
    rows = installed.rows
    for each in rows.build_sets:
        names = {one.name.lower() for one in each.packages}
        subdirs = (one.record.subdir for one in each.packages)
        subdir = next((one for one in subdirs if one != NOARCH), rows.platform.subdir)
        yield replace(
            installed,
            packages={str(path_of(selection.layout, one)): one for one in each.packages},
            virtual_packages=virtual_packages(default_packages(subdir).values()),
            built={name: None for name in rows.source_names if name not in names},
            roots=(),
            pypi_roots=(),
            required_by=f"the building of {each.source}",
            is_of_builds=True,
        )


def _own_roots(
    name: str, asked: Target, there: Mapping[str, LockedPackage], root: PurePath
) -> Iterator[Root]:
    for kind, some in (("requires", asked.requirements), ("constrains", asked.constraints)):
        for own in some:
            package = there.get(own.name)
            yield Root(
                who=name,
                subject=name,
                kind=kind,
                spec=_conditional_spec(own),
                text=wanted_text(own),
                own=own,
                locked=package,
                differs=package is not None and differs_aside(own, package, root),
            )


def _source_roots(rows: PlatformPackages) -> Iterator[Root]:
    for source in rows.sources:
        subject = f"{source.name} ({redact(source.location)})"
        for kind, specs in (("requires", source.depends), ("constrains", source.constrains)):
            for spec in specs:
                yield Root(who=source.name, subject=subject, kind=kind, spec=spec, text=spec)


def _conditional_spec(own: Requirement) -> str:
    """Write a requirement with its condition, as a MatchSpec has it."""
    if own.condition is None:
        return own.spec
    mark = "'" if '"' in own.condition else '"'
    when = f"when={mark}{own.condition}{mark}]"
    return f"{own.spec[:-1]}, {when}" if own.spec.endswith("]") else f"{own.spec}[{when}"


def _manifest_platform(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment, rows: PlatformPackages
) -> ManifestPlatform | None:
    """Find the manifest's platform for one that the lock may call `p1`; None: it has none."""
    platforms = environment_platforms(manifest, environment)
    return next((each for each in platforms if matching_platform(each, locked) is rows), None)


def declared_packages(rows: PlatformPackages, platform: ManifestPlatform | None) -> tuple[str, ...]:
    """Return the virtual packages of a locked platform, as a lock writes them (`__glibc=2.28`).

    Where neither the lock nor, before v7, the manifest says another, those that pixi assumes of
    the subdir. Another libc takes the place of `__glibc` (`merge_subdir_defaults` in pixi).
    """
    declared = rows.platform.virtual_packages
    if declared is None:
        declared = () if platform is None else platform.virtual_packages
    packages = {each.partition("=")[0]: each for each in declared}
    defaults = default_packages(rows.platform.subdir)
    if not packages.keys().isdisjoint({"__glibc", "__musl", "__eglibc"}):
        defaults.pop("__glibc", None)
    return tuple((defaults | packages).values())
