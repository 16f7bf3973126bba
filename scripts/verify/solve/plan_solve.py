"""What is to be solved, and against what the answer is held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import Final, Literal

from scripts.core.layout import FLAT_CHANNEL, Layout, folder_of_channel
from scripts.lock.model import LockedEnvironment, PlatformPackages, spec_name
from scripts.lock.satisfiability import differs_aside, wanted_text
from scripts.lock.select import Selection, path_of, undeclared_packages
from scripts.verify.channel_order import ChannelFolders
from scripts.verify.findings import Place, places_of
from scripts.verify.virtual import (
    VirtualPackage,
    declared_packages,
    manifest_platform,
    virtual_packages,
)
from scripts.workspace.model import Environment, Manifest, ManifestPlatform, Requirement
from scripts.workspace.resolve import (
    channel_priority,
    constraints,
    locked_channels,
    matches,
    pypi_names,
    requirements,
    solve_group,
    solve_strategy,
)
from scripts.workspace.settings import Kind

FLAT: Final = "a flat mirror does not keep channels apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A MatchSpec; `channel` is the folder of the only channel that may meet it."""

    spec: str
    channel: PurePosixPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undeclared:
    """A folder of the mirror that comes after all channels, for these package names alone."""

    folder: PurePosixPath
    names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Solving:
    """One environment on one platform, to be solved from the mirror alone.

    `channels` are folders as in Artifact, in order of priority; `undeclared` those of artifacts
    that are from none of them. `locked` are the places of what pixi.lock has. `not_proven` are
    requirements that no conda channel meets. `leeway` says why an answer with less than that is
    no error; None where there is no such reason.
    """

    place: Place
    subdir: str
    channels: tuple[PurePosixPath, ...]
    undeclared: tuple[Undeclared, ...] = ()
    wanted: tuple[Wanted, ...]
    constraints: tuple[Wanted, ...]
    virtual_packages: tuple[VirtualPackage, ...]
    channel_priority: str
    strategy: str
    locked: frozenset[PurePosixPath]
    not_proven: tuple[str, ...]
    leeway: str | None

    @property
    def folders(self) -> tuple[PurePosixPath, ...]:
        """All folders that the solver sees something of."""
        return (*self.channels, *(each.folder for each in self.undeclared))


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSolved:
    """A place that the channel alone cannot answer for: `hindrance` says why."""

    place: Place
    hindrance: str


def plan_solves(
    selection: Selection, manifest: Manifest, root: PurePath
) -> tuple[Solving | NotSolved, ...]:
    """Plan every place that is mirrored; `root` is the workspace's folder."""
    return tuple(_plan(selection, manifest, root, place) for place in places_of(selection))


def _plan(
    selection: Selection,
    manifest: Manifest,
    root: PurePath,
    mirrored: tuple[Place, LockedEnvironment, PlatformPackages],
) -> Solving | NotSolved:
    place, locked, rows = mirrored
    environment = manifest.environment(place.environment)
    if environment is None:
        return NotSolved(place=place, hindrance=f"{manifest.file_name} has no such environment")
    platform = manifest_platform(manifest, environment, locked, rows)
    if platform is None:
        return NotSolved(place=place, hindrance=f"{manifest.file_name} has no such platform for it")
    needed = rows.missing_source_packages
    if needed:
        reason = f"its packages depend on what is built from source: {', '.join(needed)}"
        return NotSolved(place=place, hindrance=reason)
    folders = ChannelFolders(selection.layout, locked, root)
    universe = _Universe(rows, folders, root)
    asked = requirements(manifest, environment, platform)
    limits = constraints(manifest, environment, platform)
    return Solving(
        place=place,
        subdir=rows.platform.subdir,
        channels=folders.in_order(locked_channels(manifest, environment)),
        undeclared=tuple(_undeclared(selection.layout, locked, rows)),
        wanted=(*universe.wanted(asked), *universe.of_sources("depends")),
        constraints=(*universe.wanted(limits), *universe.of_sources("constrains")),
        virtual_packages=virtual_packages(declared_packages(rows, platform)),
        channel_priority=channel_priority(manifest, environment),
        strategy=solve_strategy(manifest, environment),
        locked=frozenset(path_of(selection.layout, each) for each in rows.packages),
        not_proven=(
            *(f"{name} (from PyPI)" for name in pypi_names(manifest, environment, platform)),
            *universe.not_proven(asked),
            *_dev(manifest, environment, platform),
        ),
        leeway=_leeway(selection, manifest, environment, rows),
    )


def _undeclared(
    layout: Layout, locked: LockedEnvironment, rows: PlatformPackages
) -> Iterator[Undeclared]:
    """Yield the folders of artifacts from no channel of the environment."""
    names: dict[PurePosixPath, set[str]] = {}
    for each in undeclared_packages(locked, rows) if layout is Layout.BY_CHANNEL else ():
        folder = folder_of_channel(layout, each.channel)
        names.setdefault(folder, set()).add(each.record.name.lower())
    for folder in sorted(names):
        yield Undeclared(folder=folder, names=frozenset(names[folder]))


class _Universe:
    """What one place has locked, and how the requirements of it are asked of the mirror."""

    def __init__(self, rows: PlatformPackages, folders: ChannelFolders, root: PurePath) -> None:
        self._folders, self._root = folders, root
        self._there = {package.name.lower(): package for package in rows.packages}
        self._sources = rows.sources
        self._built = {name for name in rows.source_names if name not in self._there}

    def wanted(self, asked: Iterable[Requirement]) -> Iterator[Wanted]:
        """Write requirements for the mirror; a flat one has a single channel to meet them.

        One that is a location is met by the artifact locked from there, wherever the mirror has it.
        """
        for each in asked:
            if self._hindrance(each) is not None:
                continue
            spec, folder = each.spec, FLAT_CHANNEL
            if each.location is not None:
                package = self._there[each.name]
                record = package.record
                digest = f",sha256='{record.sha256}'" if record.sha256 else ""
                spec = f"{each.name}[version='=={record.version}',build='{record.build}'{digest}]"
                folder = self._folders.of_package(package)
            elif each.channel is not None:
                folder = self._folders.folder(each.channel)
            yield Wanted(spec=spec, channel=None if folder == FLAT_CHANNEL else folder)

    def of_sources(self, kind: Literal["depends", "constrains"]) -> Iterator[Wanted]:
        """Yield what source packages need once they are built, as far as the lock tells."""
        for source in self._sources:
            for spec in getattr(source, kind):
                if spec_name(spec) not in self._built and "when=" not in spec:
                    yield Wanted(spec=spec)

    def not_proven(self, asked: Iterable[Requirement]) -> Iterator[str]:
        """Yield what is required beside what is solved, and why it is not."""
        reasons = [(each, reason) for each in asked if (reason := self._hindrance(each))]
        yield from dict.fromkeys(
            f"{each.name if each.name in self._built else wanted_text(each)} ({reason})"
            for each, reason in reasons
        )

    def _hindrance(self, requirement: Requirement) -> str | None:
        """Say why it is not asked; of a condition the lock tells how it was decided."""
        if requirement.is_source or requirement.name in self._built:
            return "built from source"
        package = self._there.get(requirement.name)
        if requirement.is_conditional and package is None:
            return "under a condition"
        if requirement.location is None:
            return None
        is_there = package is not None and not differs_aside(requirement, package, self._root)
        return None if is_there else "nothing is locked from there"


def _dev(manifest: Manifest, environment: Environment, platform: ManifestPlatform) -> Iterator[str]:
    for feature in manifest.features_of(environment):
        for target in feature.targets:
            if matches(target.selector, platform):
                yield from (f"{name} (dev)" for name in target.dev)


def _leeway(
    selection: Selection, manifest: Manifest, environment: Environment, rows: PlatformPackages
) -> str | None:
    """Say why less than the locked set may be the right answer."""
    if selection.layout is Layout.FLAT:
        return FLAT
    if len(solve_group(manifest, environment)) > 1:
        return f"pixi solves the group {environment.solve_group} as one"
    dev = (target.dev for each in manifest.features_of(environment) for target in each.targets)
    if any(dev) or any(row.kind is Kind.SOURCE for row in rows.unmirrorable):
        return "what is built from source has requirements of its own"
    return None
