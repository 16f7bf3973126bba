"""What is to be solved, and against what the answer is held. Decides; does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

from scripts.channel.layout import Layout
from scripts.lock.model import LockedEnvironment, PlatformPackages
from scripts.lock.select import Selection, path_of
from scripts.manifest.model import Environment, Manifest, ManifestPlatform, Requirement
from scripts.manifest.resolve import (
    channel_priority,
    constraints,
    locked_channels,
    matches,
    pypi_names,
    requirements,
    solve_group,
    solve_strategy,
)
from scripts.manifest.settings import Kind
from scripts.proof.channel_order import ChannelFolders
from scripts.proof.findings import Place, places_of
from scripts.proof.virtual import (
    VirtualPackage,
    declared_packages,
    manifest_platform,
    virtual_packages,
)
from scripts.renew.fit_requirement import wanted_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A MatchSpec; `channel` is the folder of the only channel that may meet it."""

    spec: str
    channel: PurePosixPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Solving:
    """One environment on one platform, to be solved from the mirror alone.

    `channels` are folders as in Artifact, in order of priority; `locked` the places of what
    pixi.lock has. `not_proven` are requirements that no conda channel meets. `leeway` says why
    an answer with less than that is no error; None where there is no such reason.
    """

    place: Place
    subdir: str
    channels: tuple[PurePosixPath, ...]
    wanted: tuple[Wanted, ...]
    constraints: tuple[Wanted, ...]
    virtual_packages: tuple[VirtualPackage, ...]
    channel_priority: str
    strategy: str
    locked: frozenset[PurePosixPath]
    not_proven: tuple[str, ...]
    leeway: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSolved:
    """A place of which the manifest does not say what it requires."""

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
    folders = ChannelFolders(selection.layout, locked, root)
    asked = requirements(manifest, environment, platform)
    there = {package.name.lower() for package in rows.packages}
    return Solving(
        place=place,
        subdir=rows.platform.subdir,
        channels=folders.in_order(locked_channels(manifest, environment)),
        wanted=tuple(_wanted(filter(lambda one: _is_asked(one, there), asked), folders)),
        constraints=tuple(_wanted(constraints(manifest, environment, platform), folders)),
        virtual_packages=virtual_packages(declared_packages(rows, platform)),
        channel_priority=channel_priority(manifest, environment),
        strategy=solve_strategy(manifest, environment),
        locked=frozenset(path_of(selection.layout, each) for each in rows.packages),
        not_proven=tuple(_not_proven(manifest, environment, platform, there)),
        leeway=_leeway(selection, manifest, environment, rows),
    )


def _wanted(asked: Iterable[Requirement], folders: ChannelFolders) -> Iterator[Wanted]:
    """Write requirements for the mirror; a flat one has a single channel to meet them."""
    for each in asked:
        folder = None if each.channel is None else folders.folder(each.channel)
        yield Wanted(spec=each.spec, channel=None if folder == PurePosixPath() else folder)


def _is_asked(requirement: Requirement, locked: set[str]) -> bool:
    """Tell whether it was asked for; of a condition the lock tells how it was decided."""
    if requirement.is_source:
        return False
    return not requirement.is_conditional or requirement.name in locked


def _not_proven(
    manifest: Manifest, environment: Environment, platform: ManifestPlatform, locked: set[str]
) -> Iterator[str]:
    """Yield what is required beside what is solved, and why it is not."""
    for name in pypi_names(manifest, environment, platform):
        yield f"{name} (from PyPI)"
    for each in requirements(manifest, environment, platform):
        if each.is_source:
            yield f"{each.name} (built from source)"
        elif not _is_asked(each, locked):
            yield f"{wanted_text(each)} (under a condition)"
    for feature in manifest.features_of(environment):
        for target in feature.targets:
            if matches(target.selector, platform):
                yield from (f"{name} (dev)" for name in target.dev)


def _leeway(
    selection: Selection, manifest: Manifest, environment: Environment, rows: PlatformPackages
) -> str | None:
    """Say why less than the locked set may be the right answer."""
    if selection.layout is Layout.FLAT:
        return "a flat mirror does not keep channels apart"
    if len(solve_group(manifest, environment)) > 1:
        return f"pixi solves the group {environment.solve_group} as one"
    dev = (target.dev for each in manifest.features_of(environment) for target in each.targets)
    if any(dev) or any(row.kind is Kind.SOURCE for row in rows.unmirrorable):
        return "what is built from source has requirements of its own"
    return None
