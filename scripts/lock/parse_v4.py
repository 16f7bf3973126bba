"""Lock versions 4 to 7: environments that refer to one list of packages."""

from __future__ import annotations

from scripts.core.errors import usage_error
from scripts.core.subdir import check_subdir
from scripts.lock.channels import environment_channels
from scripts.lock.model import (
    BuildSet,
    LockedEnvironment,
    LockedPackage,
    LockFile,
    LockPlatform,
    PlatformPackages,
    SourcePackage,
    Unmirrorable,
)
from scripts.lock.package_list import PackageList, SourceRow
from scripts.lock.row import Row
from scripts.lock.yaml_text import Node


def parse_v4(document: dict[str, Node], version: int, subject: str) -> LockFile:
    """Parse the shape with `environments` and `packages`."""
    top = Row(subject, "the lock file", document)
    environments = document.get("environments")
    if not isinstance(environments, dict):
        raise top.wrong("environments", "a map of environments")
    if not isinstance(document.get("packages"), list):
        raise top.wrong("packages", "a list of packages")
    packages = PackageList(top.rows("packages"), version, subject)
    platforms = _platforms(top) if version >= 7 else None
    read = []
    for name, fields in environments.items():
        if not isinstance(fields, dict):
            raise usage_error(subject, f"environment {name} is not a map")
        row = Row(subject, f"environment {name}", fields)
        read.append(_environment(name, row, packages, platforms))
    return LockFile(version=version, environments=tuple(read))


def _platforms(top: Row) -> dict[str, LockPlatform]:
    """Read v7's table of platforms, by name; two of one name are refused, as rattler does."""
    platforms: dict[str, LockPlatform] = {}
    for fields in top.rows("platforms"):
        row = Row(top.subject, "a platform", fields)
        name = row.needed("name")
        if name in platforms:
            raise usage_error(top.subject, f"the platform {name} is there twice")
        subdir = check_subdir(row.text("subdir") or name, f"{top.subject}: platform {name}")
        # None recorded says nothing: pixi assumes the usual ones then (satisfiability/platform.rs).
        packages = row.texts("virtual-packages") or None
        platforms[name] = LockPlatform(name=name, subdir=subdir, virtual_packages=packages)
    return platforms


def _environment(
    name: str, row: Row, packages: PackageList, platforms: dict[str, LockPlatform] | None
) -> LockedEnvironment:
    read = []
    table = Row(row.subject, f"packages of {row.what}", row.table("packages"))
    for key in table.fields:
        if platforms is None:
            platform = LockPlatform(name=key, subdir=check_subdir(key, f"{row.subject}: {name}"))
        elif key in platforms:
            platform = platforms[key]
        else:
            raise usage_error(
                row.subject, f"environment {name} is for {key}, which `platforms` does not name"
            )
        read.append(_platform_packages(platform, table.rows(key), packages, name))
    return LockedEnvironment(name=name, channels=environment_channels(row), platforms=tuple(read))


def _platform_packages(
    platform: LockPlatform,
    selectors: tuple[dict[str, Node], ...],
    packages: PackageList,
    environment: str,
) -> PlatformPackages:
    """Look up what an environment refers to; source rows bring their build packages along."""
    where = f"environment {environment} on {platform.name}"
    installed: dict[LockedPackage, None] = {}  # a set that keeps its order
    build: dict[LockedPackage, None] = {}
    others: dict[Unmirrorable, None] = {}
    sources: dict[SourcePackage, None] = {}
    open_sources: list[SourceRow] = []
    for selector in selectors:
        found = packages.find(selector, platform.subdir, where)
        if isinstance(found, LockedPackage):
            installed[found] = None
        else:
            others[found.row] = None
            open_sources.append(found)
            if found.built is not None:
                sources[found.built] = None
    sets: dict[BuildSet, None] = {}
    seen: set[int] = set()
    while open_sources:
        source = open_sources.pop()
        if id(source) in seen:
            continue
        seen.add(id(source))
        for needs in source.needs:
            found_rows = [
                packages.find(selector, platform.subdir, f"{source.row.name} ({where})")
                for selector in needs
            ]
            mine = tuple(each for each in found_rows if isinstance(each, LockedPackage))
            build |= dict.fromkeys(mine)
            built = [each for each in found_rows if isinstance(each, SourceRow)]
            others |= {each.row: None for each in built}
            open_sources += built
            if mine:
                sets[BuildSet(source=source.row.name.partition(" ")[0], packages=mine)] = None
    return PlatformPackages(
        platform=platform,
        packages=tuple(installed),
        build_packages=tuple(package for package in build if package not in installed),
        build_sets=tuple(sets),
        unmirrorable=tuple(others),
        sources=tuple(sources),
    )
