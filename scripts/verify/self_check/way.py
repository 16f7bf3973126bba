"""A way in which the self-check breaks a copy, and what is to notice it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from scripts.core.artifact import Artifact
from scripts.core.subdir import NOARCH
from scripts.lock.model import PlatformPackages
from scripts.lock.select import Selection, path_of
from scripts.verify.findings import Level, Place
from scripts.verify.self_check.copy import Copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a level is shown: these artifacts as if they were all, and these subdirs whole.

    `channels` are folders as in Artifact. `place` None: every place that uses the artifacts.
    """

    artifacts: tuple[Artifact, ...]
    channels: tuple[PurePosixPath, ...]
    subdirs: tuple[PurePosixPath, ...] = ()
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to break a copy, the level that is to see it, and the file that it is to name.

    `sign` is what a finding says at least where a program is asked that knows no such paths.
    """

    title: str
    level: Level
    scene: Scene
    named: PurePosixPath
    sign: str | None = None
    damage: Callable[[Copy], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWay:
    """A way that this channel leaves no room for, with the reason."""

    title: str
    level: Level
    reason: str


def whole_subdirs(*artifacts: Artifact) -> tuple[PurePosixPath, ...]:
    """Name the folders that a level looks into for artifacts: theirs, and their `noarch`."""
    folders = {each.path.parent for each in artifacts}
    return tuple(sorted(folders | {each.channel / NOARCH for each in artifacts}))


def narrowed(selection: Selection, scene: Scene) -> Selection:
    """Return the selection as if the lock named the artifacts of a scene alone."""
    paths = frozenset(each.path for each in scene.artifacts)
    environments = []
    for environment in selection.environments:
        platforms = tuple(
            rows
            for each in environment.platforms
            if scene.place in {None, Place(environment.name, each.platform.name)}
            for rows in [_narrowed_rows(selection, each, paths)]
            if rows.packages or rows.build_packages
        )
        if platforms:
            environments.append(dataclasses.replace(environment, platforms=platforms))
    return dataclasses.replace(
        selection,
        environments=tuple(environments),
        artifacts=scene.artifacts,
        channels=scene.channels,
        excluded=(),
    )


def _narrowed_rows(
    selection: Selection, rows: PlatformPackages, paths: frozenset[PurePosixPath]
) -> PlatformPackages:
    packages, build_packages = (
        tuple(each for each in some if path_of(selection.layout, each) in paths)
        for some in (rows.packages, rows.build_packages)
    )
    return dataclasses.replace(
        rows, packages=packages, build_packages=build_packages, unmirrorable=(), sources=()
    )
