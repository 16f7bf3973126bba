"""Which virtual packages a locked platform has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from scripts.lock.model import LockedEnvironment, PlatformPackages
from scripts.lock.satisfiability import matching_platform
from scripts.workspace.model import Environment, Manifest, ManifestPlatform
from scripts.workspace.resolve import environment_platforms
from scripts.workspace.virtual_packages import default_packages

# Those that pixi hands to the solver (pixi_core/src/workspace/virtual_packages.rs), and of which
# subdirs; others it drops.
_FAMILIES: Final = {
    "__unix": (),  # there or not, by the subdir alone
    "__linux": ("linux",),
    "__glibc": ("linux",),
    "__musl": ("linux",),
    "__eglibc": ("linux",),
    "__win": ("win",),
    "__osx": ("osx",),
    "__cuda": ("linux", "win"),
    "__cuda_arch": ("linux", "win"),
    "__archspec": ("linux", "win", "osx"),
}
_LIBCS: Final = frozenset({"__glibc", "__musl", "__eglibc"})
_BOUND: Final = re.compile(r"\s*(?:[>=]?=)?\s*(\d+(?:\.\d+)*)")
_BUILD: Final = re.compile(r"\s*\S+\s+(\w+)\s*")


@dataclass(frozen=True, slots=True)
class VirtualPackage:
    """A virtual package as requirements see it."""

    name: str
    version: str
    build: str = "0"

    def __str__(self) -> str:
        """Write it for people as a lock does: `__glibc=2.28`, `__archspec=1=x86_64`."""
        build = "" if self.build == "0" else f"={self.build}"
        return f"{self.name}={self.version}{build}"


def manifest_platform(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment, rows: PlatformPackages
) -> ManifestPlatform | None:
    """Find the manifest's platform for one that the lock may call `p1`; None: it has none."""
    platforms = environment_platforms(manifest, environment)
    return next((each for each in platforms if matching_platform(each, locked) is rows), None)


def find_platform(
    manifest: Manifest, locked: LockedEnvironment, rows: PlatformPackages
) -> tuple[Environment, ManifestPlatform] | str:
    """Find what the manifest says of a locked environment and platform, or say why it does not."""
    environment = manifest.environment(locked.name)
    if environment is None:
        return f"{manifest.file_name} has no such environment"
    platform = manifest_platform(manifest, environment, locked, rows)
    if platform is None:
        return f"{manifest.file_name} has no such platform for it"
    return environment, platform


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
    if not packages.keys().isdisjoint(_LIBCS):
        defaults.pop("__glibc", None)
    return tuple((defaults | packages).values())


def virtual_packages(declared: tuple[str, ...]) -> tuple[VirtualPackage, ...]:
    """Make of the lock's words what pixi makes of them (`generic_to_virtual_package` there).

    Of most only the version counts, and `__unix` is there or not. Of `__archspec=0=x86_64` the
    build alone: rattler gives it version 1.
    """
    return tuple(each for each in map(_as_pixi, declared) if each.name in _FAMILIES)


def _as_pixi(text: str) -> VirtualPackage:
    name, _, rest = text.partition("=")
    version, _, build = rest.partition("=")
    match name:
        case "__archspec":
            return VirtualPackage(name, "1", build or "0")
        case "__unix":
            return VirtualPackage(name, "0")
        case _:
            return VirtualPackage(name, version or "0")


def is_declarable(name: str, subdir: str) -> bool:
    """Tell whether a manifest can give a platform of this subdir such a virtual package."""
    return subdir.partition("-")[0] in _FAMILIES.get(name, ())


def least_package(name: str, spec: str) -> str | None:
    """Return the least virtual package that meets a MatchSpec, as a manifest declares it.

    None where that does not show: `__cuda`, `__glibc <2.20`.
    """
    rest = spec.strip()[len(name) :]
    if name == "__archspec":
        build = _BUILD.fullmatch(rest)
        return None if build is None else f"{name}=0={build[1]}"
    bound = _BOUND.match(rest)
    return None if bound is None else f"{name}={bound[1]}"
