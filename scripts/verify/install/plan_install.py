"""Which environments are to be installed here, and as what machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from scripts.core.artifact import Artifact
from scripts.core.layout import folder_of_channel
from scripts.lock.model import LockedEnvironment, LockedPackage, PlatformPackages
from scripts.lock.select import Selection, path_of
from scripts.verify.findings import Place, places_of
from scripts.verify.virtual_packages import (
    VirtualPackage,
    declared_packages,
    manifest_platform,
    virtual_packages,
)
from scripts.workspace.model import Manifest, ManifestPlatform
from scripts.workspace.resolve import requirements
from scripts.workspace.settings import Kind

# A lock that declares none of these must not depend on what this machine happens to have.
_HIDDEN: Final = {"CONDA_OVERRIDE_CUDA": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One environment to install: its artifacts, from channels in their order of priority.

    `channels` are folders as in Artifact. `asked` are the names that the manifest requires, of
    those that are here. `left_out` are the kinds of its rows that are in no channel, `wanting`
    the names among them that its artifacts depend on. `virtual_packages` are those of the locked
    platform, `overrides` the `CONDA_OVERRIDE_*` variables that stand for them.
    `manifest_platform` is the manifest's name for it where several have this subdir.
    """

    place: Place
    subdir: str
    channels: tuple[PurePosixPath, ...]
    artifacts: tuple[Artifact, ...]
    asked: tuple[str, ...] = ()
    left_out: frozenset[Kind] = frozenset()
    wanting: tuple[str, ...] = ()
    virtual_packages: tuple[str, ...] = ()
    overrides: tuple[tuple[str, str], ...] = ()
    manifest_platform: str | None = None


def plan_installs(
    selection: Selection, manifest: Manifest, subdir: str
) -> tuple[Installation, ...]:
    """Plan every environment on every platform of this subdir; those without artifacts apart."""
    artifacts = {artifact.path: artifact for artifact in selection.artifacts}
    return tuple(
        _installation(selection, manifest, artifacts, place, (environment, rows))
        for place, environment, rows in places_of(selection)
        if rows.platform.subdir == subdir and rows.packages
    )


def _installation(
    selection: Selection,
    manifest: Manifest,
    artifacts: dict[PurePosixPath, Artifact],
    place: Place,
    locked: tuple[LockedEnvironment, PlatformPackages],
) -> Installation:
    environment, rows = locked
    chosen = tuple(artifacts[path_of(selection.layout, each)] for each in rows.packages)
    channels = [folder_of_channel(selection.layout, url) for url in environment.channels]
    platform = _platform(manifest, environment, rows)
    declared = declared_packages(rows, platform)
    several = sum(each.subdir == rows.platform.subdir for each in manifest.platforms) > 1
    return Installation(
        place=place,
        subdir=rows.platform.subdir,
        channels=tuple(dict.fromkeys([*channels, *(each.channel for each in chosen)])),
        artifacts=tuple(dict.fromkeys(chosen)),
        asked=tuple(_asked(manifest, environment.name, platform, rows.packages)),
        left_out=frozenset(row.kind for row in rows.unmirrorable),
        wanting=rows.missing_source_packages,
        virtual_packages=declared,
        overrides=tuple(sorted(overrides_of(virtual_packages(declared)).items())),
        manifest_platform=platform.name if several and platform is not None else None,
    )


def _platform(
    manifest: Manifest, locked: LockedEnvironment, rows: PlatformPackages
) -> ManifestPlatform | None:
    environment = manifest.environment(locked.name)
    return None if environment is None else manifest_platform(manifest, environment, locked, rows)


def _asked(
    manifest: Manifest,
    name: str,
    platform: ManifestPlatform | None,
    packages: Sequence[LockedPackage],
) -> Iterator[str]:
    """Yield the names that the manifest requires, of those that are locked."""
    environment = manifest.environment(name)
    if environment is not None and platform is not None:
        names = {each.name.lower() for each in requirements(manifest, environment, platform)}
        yield from sorted({each.record.name for each in packages if each.name.lower() in names})


def overrides_of(packages: Iterable[VirtualPackage]) -> dict[str, str]:
    """Return the variables that make pixi and conda see just these virtual packages."""
    overrides = dict(_HIDDEN)
    for each in packages:
        value = each.build if each.name == "__archspec" else each.version
        if value != "0":  # `__unix=0=0` is there or not, there is nothing to say
            overrides[f"CONDA_OVERRIDE_{each.name.removeprefix('__').upper()}"] = value
    return overrides
