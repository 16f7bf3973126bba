"""Which platform of a lock is which of the manifest.

A lock may call a platform `p1` that the manifest calls `linux-cuda`: what counts is its subdir
and the virtual packages beyond pixi's defaults (pixi_core/src/lock_file/platform_rename.rs).
"""

from __future__ import annotations

from collections.abc import Iterable

from scripts.lock.model import LockedEnvironment, LockPlatform, PlatformPackages
from scripts.workspace.model import ManifestPlatform
from scripts.workspace.virtual_packages import is_default, version_key


def matching_platform(
    platform: ManifestPlatform, locked: LockedEnvironment
) -> PlatformPackages | None:
    """Return the packages locked for a platform of the manifest; None where there are none.

    Locks before v7 know subdirs alone, and so may later ones; what they know counts for more.
    """
    same = [rows for rows in locked.platforms if _is_same(rows.platform, platform)]
    named = [rows for rows in same if rows.platform.name == platform.name]
    known = [rows for rows in same if rows.platform.virtual_packages is not None]
    return next(iter((*named, *known, *same)), None)


def is_covered(rows: PlatformPackages, wanted: Iterable[ManifestPlatform]) -> bool:
    """Tell whether the manifest wants this subdir; pixi leaves a lock with more as it is."""
    return rows.platform.subdir in {platform.subdir for platform in wanted}


def _is_same(locked: LockPlatform, platform: ManifestPlatform) -> bool:
    if locked.subdir != platform.subdir:
        return False
    if locked.virtual_packages is None:
        return True
    special = (
        package for package in locked.virtual_packages if not is_default(package, locked.subdir)
    )
    return _identity(special) == _identity(platform.virtual_packages)


def _identity(packages: Iterable[str]) -> set[tuple[object, ...]]:
    """Reduce virtual packages to what tells them apart: `__cuda=12` is `__cuda=12.0`."""
    return {(package.partition("=")[0], *version_key(_with_build(package))) for package in packages}


def _with_build(package: str) -> str:
    """Write the build `0`, which may be left out."""
    return package if package.count("=") > 1 else f"{package}=0"
