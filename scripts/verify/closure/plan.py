"""Which sets of packages are to be closed, and under which requirements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scripts.lock.model import LockedEnvironment, LockedPackage, PlatformPackages, Unmirrorable
from scripts.lock.select import Selection
from scripts.verify.findings import Place, places_of
from scripts.verify.virtual import (
    VirtualPackage,
    declared_packages,
    manifest_platform,
    virtual_packages,
)
from scripts.workspace.model import Manifest, ManifestPlatform, Requirement
from scripts.workspace.resolve import constraints, requirements


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """Packages that must meet each other's requirements, and the manifest's.

    `around` are there too, but not looked at. `virtual_packages` is None where the machine is not
    known. `built` are the names of what is built from source there,
    `sources` those of it whose own requirements must be met as well.
    `hindrance` says why the manifest's requirements are not known. `root` is what needs it all,
    for people. `platform` is the manifest's, where it has one.
    """

    place: Place
    packages: tuple[LockedPackage, ...]
    virtual_packages: tuple[VirtualPackage, ...] | None
    built: frozenset[str]
    root: str
    around: tuple[LockedPackage, ...] = ()
    sources: tuple[Unmirrorable, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    hindrance: str | None = None
    platform: ManifestPlatform | None = None

    @property
    def is_of_builds(self) -> bool:
        """Whether it joins what several packages are built with, on machines not known."""
        return self.virtual_packages is None


def plan_closings(selection: Selection, manifest: Manifest) -> tuple[Closing, ...]:
    """Plan every place that is mirrored, and beside it what its source packages are built with."""
    return tuple(
        closing
        for place, locked, rows in places_of(selection)
        for closing in _closings(manifest, place, locked, rows)
    )


def _closings(
    manifest: Manifest, place: Place, locked: LockedEnvironment, rows: PlatformPackages
) -> Iterator[Closing]:
    environment = manifest.environment(place.environment)
    platform = None
    needed: tuple[Requirement, ...] = ()
    limits: tuple[Requirement, ...] = ()
    hindrance: str | None = None
    if environment is None:
        hindrance = f"{manifest.file_name} has no such environment"
    elif (platform := manifest_platform(manifest, environment, locked, rows)) is None:
        hindrance = f"{manifest.file_name} has no such platform for it"
    else:
        needed = requirements(manifest, environment, platform)
        limits = constraints(manifest, environment, platform)
    built = frozenset(rows.source_names)
    yield Closing(
        place=place,
        packages=rows.packages,
        virtual_packages=virtual_packages(declared_packages(rows, platform)),
        built=built,
        sources=rows.sources,
        root=manifest.file_name,
        requirements=needed,
        constraints=limits,
        hindrance=hindrance,
        platform=platform,
    )
    if rows.build_packages:
        # They run where the environment is built, which may be a machine of another platform.
        # What is installed as well is not among them, though they may need it.
        yield Closing(
            place=place,
            packages=rows.build_packages,
            around=rows.packages,
            virtual_packages=None,
            built=built,
            root=f"the building of {', '.join(sorted(built))}",
        )
