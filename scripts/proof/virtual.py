"""Which virtual packages a locked platform has. Decides; does no I/O."""

from __future__ import annotations

from scripts.lock.model import LockedEnvironment, PlatformPackages
from scripts.manifest.model import Environment, Manifest, ManifestPlatform
from scripts.manifest.parse_platforms import default_packages
from scripts.manifest.resolve import environment_platforms
from scripts.renew.fit_platforms import matching_platform


def manifest_platform(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment, rows: PlatformPackages
) -> ManifestPlatform | None:
    """Find the manifest's platform for one that the lock may call `p1`; None: it has none."""
    platforms = environment_platforms(manifest, environment)
    return next((each for each in platforms if matching_platform(each, locked) is rows), None)


def virtual_packages(rows: PlatformPackages, platform: ManifestPlatform | None) -> tuple[str, ...]:
    """Return the virtual packages of a locked platform, as a lock writes them (`__glibc=2.28`).

    Locks before v7 tell none: then they are those that pixi assumes of the subdir, and instead
    of these what the manifest declares.
    """
    declared = rows.platform.virtual_packages
    if declared is not None:
        return declared
    packages = default_packages(rows.platform.subdir)
    for each in () if platform is None else platform.virtual_packages:
        packages[each.partition("=")[0]] = each
    return tuple(packages.values())


def virtual_package_parts(text: str) -> tuple[str, str, str]:
    """Split `__archspec=0=x86_64` into name, version and build; what is left out is `0`."""
    name, _, rest = text.partition("=")
    version, _, build = rest.partition("=")
    return name, version or "0", build or "0"
