"""Which environments are to be installed here, and as what machine. Decides; does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from scripts.channel.layout import folder_of_channel, place_of
from scripts.lock.model import LockedEnvironment, LockPlatform, PlatformPackages
from scripts.lock.select import Artifact, Selection
from scripts.manifest.model import Manifest, ManifestPlatform
from scripts.manifest.settings import Kind
from scripts.verify.findings import Place, places_of

# Virtual packages that every machine of a subdir has in some version: no news for a report.
_EVERYWHERE: Final = frozenset({"unix", "linux", "glibc", "archspec", "osx", "win"})
# A lock that declares none of these must not depend on what this machine happens to have.
_HIDDEN: Final = {"CONDA_OVERRIDE_CUDA": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One environment to install: its artifacts, from channels in their order of priority.

    `channels` are folders as in Artifact. `left_out` are the kinds of its rows that are in no
    channel. `overrides` are the `CONDA_OVERRIDE_*` variables for the locked platform's virtual
    packages, `declared` those of the latter that not every machine has. `manifest_platform` is
    the manifest's name for the platform where several have this subdir.
    """

    place: Place
    subdir: str
    channels: tuple[PurePosixPath, ...]
    artifacts: tuple[Artifact, ...]
    left_out: frozenset[Kind]
    overrides: tuple[tuple[str, str], ...]
    declared: tuple[str, ...]
    manifest_platform: str | None


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
    chosen = tuple(
        artifacts[place_of(selection.layout, each.channel, each.subdir, each.file_name)]
        for each in rows.packages
    )
    channels = [folder_of_channel(selection.layout, url) for url in environment.channels]
    platform = _manifest_platform(manifest, rows.platform)
    virtual = rows.platform.virtual_packages
    if virtual is None:
        virtual = tuple(_required(manifest, environment.name, platform))
    several = sum(each.subdir == rows.platform.subdir for each in manifest.platforms) > 1
    return Installation(
        place=place,
        subdir=rows.platform.subdir,
        channels=tuple(dict.fromkeys([*channels, *(each.channel for each in chosen)])),
        artifacts=tuple(dict.fromkeys(chosen)),
        left_out=frozenset(row.kind for row in rows.unmirrorable),
        overrides=tuple(sorted(overrides_of(virtual).items())),
        declared=tuple(text for text in virtual if _name(text) not in _EVERYWHERE),
        manifest_platform=platform.name if several and platform is not None else None,
    )


def overrides_of(virtual_packages: Iterable[str]) -> dict[str, str]:
    """Return the variables that make pixi and conda see just these virtual packages.

    They are written as in a lock: `__glibc=2.28`, `__archspec=0=x86_64`.
    """
    overrides = dict(_HIDDEN)
    for text in virtual_packages:
        _, _, rest = text.partition("=")
        version, _, build = rest.partition("=")
        value = build if version == "0" else version
        if value not in {"", "0"}:  # `__unix=0=0` is there or not, there is nothing to say
            overrides[f"CONDA_OVERRIDE_{_name(text).upper()}"] = value
    return overrides


def _name(virtual_package: str) -> str:
    return virtual_package.partition("=")[0].removeprefix("__")


def _manifest_platform(manifest: Manifest, locked: LockPlatform) -> ManifestPlatform | None:
    """Find the manifest's platform for one that the lock may call `p1`: the nearest that fits."""
    virtual = set(locked.virtual_packages or ())
    fitting = [
        each
        for each in manifest.platforms
        if each.subdir == locked.subdir and virtual.issuperset(each.virtual_packages)
    ]
    named = [each for each in manifest.platforms if each.name == locked.name]
    nearest = sorted(fitting, key=lambda each: len(each.virtual_packages), reverse=True)
    return next(iter([*named, *nearest]), None)


def _required(
    manifest: Manifest, environment: str, platform: ManifestPlatform | None
) -> Iterator[str]:
    """Yield the virtual packages that the manifest declares: an old lock does not tell them."""
    if platform is not None:
        yield from platform.virtual_packages
    found = manifest.environment(environment)
    if found is not None:
        for feature in manifest.features_of(found):
            yield from feature.system_requirements
