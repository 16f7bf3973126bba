"""The platforms of a manifest: names, rich tables, system requirements.

Read as pixi does (crates/pixi_manifest/src/toml/platform.rs, platform_composition.rs and
system_requirements.rs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

from scripts.core.errors import usage_error
from scripts.core.subdir import NOARCH, check_subdir, is_known_subdir
from scripts.workspace.model import ManifestPlatform
from scripts.workspace.toml_table import Table

# In the order in which a derived name lists them.
_FRIENDLY: Final = {
    "cuda": "__cuda",
    "archspec": "__archspec",
    "glibc": "__glibc",
    "linux": "__linux",
    "macos": "__osx",
    "windows": "__win",
}
_ALIASES: Final = {"osx": "macos"}
# pixi_default_versions, and Archspec::from_platform of rattler_virtual_packages.
_DEFAULTS: Final = {
    "linux": ("__linux=4.18", "__glibc=2.28"),
    "osx": ("__osx=13.0",),
    "win": ("__win=10.0",),
}
_ARCHSPECS: Final = {
    "32": "x86",
    "64": "x86_64",
    "arm64": "aarch64",
    "armv6l": "aarch64",
    "armv7l": "aarch64",
}


def parse_platforms(table: Table) -> tuple[ManifestPlatform, ...]:
    """Read `platforms` of the workspace; empty where it has none."""
    return tuple(
        _parse_platform(each, table, position)
        for position, each in enumerate(table.values("platforms"))
    )


def _parse_platform(value: object, workspace: Table, position: int) -> ManifestPlatform:
    where = f"{workspace.path_of('platforms')}[{position}]"
    if isinstance(value, str):
        return ManifestPlatform(
            name=value, subdir=check_subdir(value, f"{workspace.subject}: {where}")
        )
    if not isinstance(value, dict):
        raise workspace.wrong("platforms", "a list of subdirs and tables")
    table = Table(workspace.subject, where, value)
    name = table.text("name")
    subdir = table.text("platform") or name
    if subdir is None:
        raise usage_error(table.subject, f"{where} has neither platform nor name")
    check_subdir(subdir, f"{table.subject}: {where}")
    packages = _beyond_defaults(subdir, _declared(table))
    return ManifestPlatform(
        name=name or derived_name(subdir, packages), subdir=subdir, virtual_packages=packages
    )


def parse_system_requirements(table: Table) -> tuple[str, ...]:
    """Read `[system-requirements]`, the old way, as virtual packages; archspec is not used."""
    packages = []
    for key, name in (("linux", "__linux"), ("cuda", "__cuda"), ("macos", "__osx")):
        version = table.text(key)
        if version is not None:
            packages.append(f"{name}={version}")
    libc = table.fields.get("libc")
    if isinstance(libc, str):
        packages.append(f"__glibc={libc}")
    elif libc is not None:
        fields = table.table("libc")
        version = fields.text("version")
        if version is None:
            raise usage_error(table.subject, f"{fields.where} has no version")
        packages.append(f"__{fields.text('family') or 'glibc'}={version}")
    return tuple(packages)


def composed(subdir: str, requirements: Iterable[str]) -> ManifestPlatform:
    """Make the platform that system requirements turn a subdir into; the highest version wins."""
    highest: dict[str, str] = {}
    for package in requirements:
        name = _name_of(package)
        if not _applies(name, subdir) or is_default(package, subdir):
            continue
        if name not in highest or version_key(package) > version_key(highest[name]):
            highest[name] = package
    packages = tuple(highest[name] for name in sorted(highest))
    return ManifestPlatform(
        name=derived_name(subdir, packages), subdir=subdir, virtual_packages=packages
    )


def derived_name(subdir: str, packages: tuple[str, ...]) -> str:
    """Name a platform that has no name of its own: `linux-64-cuda-12-0`."""
    left = {_name_of(package): package.partition("=")[2] for package in packages}
    parts = [subdir]
    for key, name in _FRIENDLY.items():
        value = left.get(name)
        if value is None:
            continue
        version, _, build = value.partition("=")
        if key == "archspec" and version == "0" and build:
            value = build
        elif key == "archspec" or build not in {"", "0"}:
            continue  # no friendly word says that
        else:
            value = version
        del left[name]
        parts += [key, _segment(value)]
    for name in sorted(left):
        parts += [_segment(name), _segment(left[name].removesuffix("=0"))]
    return "-".join(parts)


def platform_table(platform: ManifestPlatform, package: str) -> str:
    """Write the table of `platforms` that declares this virtual package, too."""
    packages = {_name_of(each): each for each in (*platform.virtual_packages, package)}
    keys = {name: key for key, name in _FRIENDLY.items()}
    fields = {"platform": platform.subdir}
    if platform.name != derived_name(platform.subdir, platform.virtual_packages):
        fields = {"name": platform.name, **fields}
    for name, each in packages.items():
        version, _, build = each.partition("=")[2].partition("=")
        if name == "__archspec" or build in {"", "0"}:
            fields[keys.get(name, name)] = build if name == "__archspec" else version
        else:
            fields[name] = f"{version}={build}"
    return f"{{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in fields.items())} }}"


def is_default(package: str, subdir: str) -> bool:
    """Tell whether pixi assumes just this virtual package of the bare subdir."""
    default = default_packages(subdir).get(_name_of(package))
    return default is not None and version_key(package) == version_key(default)


def default_packages(subdir: str) -> dict[str, str]:
    """Return the virtual packages that pixi assumes of the bare subdir, by name."""
    family = subdir.partition("-")[0]
    defaults = {_name_of(each): each for each in _DEFAULTS.get(family, ())}
    if is_unix(subdir):
        defaults["__unix"] = "__unix=0=0"
    machine = subdir.partition("-")[2]
    if family in {"linux", "osx", "win"}:
        archspec = "m1" if subdir == "osx-arm64" else _ARCHSPECS.get(machine, machine)
        defaults["__archspec"] = f"__archspec=0={archspec}"
    return defaults


def is_unix(subdir: str) -> bool:
    """Tell whether rattler counts the subdir as unix."""
    return is_known_subdir(subdir) and subdir.partition("-")[0] not in {
        NOARCH,
        "win",
        "wasi",
        "zos",
    }


def version_key(package: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Order virtual packages of one name by version; `2.28` and `2.28.0` are the same."""
    _, _, rest = package.partition("=")
    version, _, build = rest.partition("=")
    parts = [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.findall(r"\d+|[a-z]+", version.lower())
    ]
    while parts and parts[-1] == (0, ""):
        parts.pop()
    return tuple(parts), build


def _declared(table: Table) -> tuple[str, ...]:
    """Read the virtual packages of a rich platform table."""
    packages = []
    for key in table.fields:
        friendly = _FRIENDLY.get(_ALIASES.get(key, key))
        if key == "cuda" and not isinstance(table.fields[key], str):
            cuda = table.table(key)
            driver, arch = cuda.text("driver"), cuda.text("arch")
            if driver is None:
                raise usage_error(table.subject, f"{cuda.where} has no driver")
            packages.append(f"__cuda={driver}")
            if arch is not None:
                packages.append(f"__cuda_arch={arch}")
        elif friendly is not None:
            value = table.text(key)
            packages.append(f"{friendly}=0={value}" if key == "archspec" else f"{friendly}={value}")
        elif key.startswith("__"):
            packages.append(f"{key}={table.text(key)}")
    return tuple(packages)


def _beyond_defaults(subdir: str, packages: Iterable[str]) -> tuple[str, ...]:
    return tuple(package for package in packages if not is_default(package, subdir))


def _applies(name: str, subdir: str) -> bool:
    """Tell whether a system requirement means anything on this subdir."""
    family = subdir.partition("-")[0]
    if name in {"__linux", "__glibc", "__musl", "__eglibc"}:
        return family == "linux"
    if name == "__osx":
        return family == "osx"
    return name != "__cuda" or family != "osx"


def _name_of(package: str) -> str:
    return package.partition("=")[0]


def _segment(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
