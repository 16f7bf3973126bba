"""The virtual packages of platforms: rich tables, system requirements, pixi's defaults.

Read as pixi does (crates/pixi_manifest/src/toml/platform.rs, platform_composition.rs and
system_requirements.rs). Written as in a lock file: `__glibc=2.28`, `__archspec=0=x86_64`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scripts.core.errors import usage_error
from scripts.core.subdir import NOARCH, check_subdir, is_known_subdir
from scripts.core.typed_values import Table
from scripts.workspace.model import ManifestPlatform

# In the order in which a derived name lists them.
_FRIENDLY: Final = {
    "cuda": "__cuda",
    "archspec": "__archspec",
    "glibc": "__glibc",
    "linux": "__linux",
    "macos": "__osx",
    "windows": "__win",
}
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
_NOT_UNIX: Final = frozenset({NOARCH, "win", "wasi", "zos"})
# Those that pixi hands to the solver (pixi_core/src/workspace/virtual_packages.rs), and of which
# subdirs; others it drops. `__unix` is there or not, by the subdir alone.
_FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("__linux", "__glibc", "__musl", "__eglibc"), ("linux",)),
    **dict.fromkeys(("__cuda", "__cuda_arch"), ("linux", "win")),
    "__unix": (),
    "__win": ("win",),
    "__osx": ("osx",),
    "__archspec": ("linux", "win", "osx"),
}


@dataclass(frozen=True, slots=True)
class VirtualPackage:
    """A virtual package; written as in a lock: `__glibc=2.28`, `__archspec=1=x86_64`."""

    name: str
    version: str = "0"
    build: str = "0"

    def __str__(self) -> str:
        """Write it; the build is left out where it is `0`."""
        build = "" if self.build == "0" else f"={self.build}"
        return f"{self.name}={self.version}{build}"


def parse_virtual_package(text: str) -> VirtualPackage:
    """Read one as a lock has it; what is left out is `0`."""
    name, _, rest = text.partition("=")
    version, _, build = rest.partition("=")
    return VirtualPackage(name, version or "0", build or "0")


def virtual_packages(declared: Iterable[str]) -> tuple[VirtualPackage, ...]:
    """Parse virtual packages of a lock as pixi does (`generic_to_virtual_package` there).

    Of most only the version counts, of `__unix` only that it is there, of `__archspec=0=x86_64`
    the build: rattler gives it version 1. Unknown ones are dropped.
    """
    packages = map(parse_virtual_package, declared)
    return tuple(
        VirtualPackage("__archspec", "1", each.build)
        if each.name == "__archspec"
        else VirtualPackage(each.name, "0" if each.name == "__unix" else each.version)
        for each in packages
        if each.name in _FAMILIES
    )


def is_declarable(name: str, subdir: str) -> bool:
    """Tell whether a manifest can declare this virtual package for a platform of this subdir."""
    return subdir.partition("-")[0] in _FAMILIES.get(name, ())


def parse_platforms(workspace: Table) -> tuple[ManifestPlatform, ...]:
    """Read `platforms` of the workspace; empty where it has none."""
    platforms = []
    for position, value in enumerate(workspace.values("platforms")):
        where = f"{workspace.path_of('platforms')}[{position}]"
        if not isinstance(value, (str, dict)):
            raise workspace.wrong("platforms", "a list of subdirs and tables")
        fields = {"name": value} if isinstance(value, str) else value
        table = Table(workspace.subject, where, fields)
        name = table.string("name")
        subdir = table.string("platform") or name
        if subdir is None:
            raise usage_error(table.subject, f"{where} has neither platform nor name")
        check_subdir(subdir, f"{table.subject}: {where}")
        packages = tuple(each for each in _declared(table) if not is_default(each, subdir))
        platforms.append(
            ManifestPlatform(
                name=name or derived_name(subdir, packages),
                subdir=subdir,
                virtual_packages=packages,
            )
        )
    return tuple(platforms)


def _declared(table: Table) -> Iterable[str]:
    """Read the virtual packages of a rich platform table."""
    for key, value in table.fields.items():
        friendly = _FRIENDLY.get("macos" if key == "osx" else key)
        if key == "cuda" and not isinstance(value, str):
            cuda = table.table(key)
            yield f"__cuda={cuda.required('driver')}"
            if cuda.string("arch") is not None:
                yield f"__cuda_arch={cuda.string('arch')}"
        elif key == "archspec":
            yield f"__archspec=0={table.string(key)}"
        elif friendly or key.startswith("__"):
            yield f"{friendly or key}={table.string(key)}"


def parse_system_requirements(table: Table) -> tuple[str, ...]:
    """Read the old `[system-requirements]` as virtual packages; pixi ignores its `archspec`."""
    names = {"linux": "__linux", "cuda": "__cuda", "macos": "__osx", "libc": "__glibc"}
    packages = []
    for key, name in names.items():
        if key == "libc" and isinstance(table.fields.get(key, ""), dict):
            libc = table.table(key)
            packages.append(f"__{libc.string('family') or 'glibc'}={libc.required('version')}")
        elif table.string(key) is not None:
            packages.append(f"{name}={table.string(key)}")
    return tuple(packages)


def compose_platform(subdir: str, requirements: Iterable[str]) -> ManifestPlatform:
    """Make the platform that system requirements turn a subdir into; the highest version wins."""
    family = subdir.partition("-")[0]
    highest: dict[str, str] = {}
    for package in requirements:
        name = package.partition("=")[0]
        if family in _FAMILIES.get(name, (family,)) and not is_default(package, subdir):
            highest[name] = max(highest.get(name, package), package, key=version_key)
    packages = tuple(highest[name] for name in sorted(highest))
    name = derived_name(subdir, packages)
    return ManifestPlatform(name=name, subdir=subdir, virtual_packages=packages)


def derived_name(subdir: str, packages: Iterable[str]) -> str:
    """Name a platform that has no name of its own: `linux-64-cuda-12-0`."""
    left = {package.partition("=")[0]: package for package in packages}
    parts = [subdir]
    for key, name in _FRIENDLY.items():
        package = parse_virtual_package(left.get(name, ""))
        said, unsaid = package.version, package.build
        if key == "archspec":
            said, unsaid = unsaid, said
        if name in left and unsaid == "0" and (said != "0" or key != "archspec"):
            parts += [key, said]
            del left[name]
    for name in sorted(left):
        parts += [name, left[name].partition("=")[2].removesuffix("=0")]
    return "-".join(re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-") for part in parts)


def is_default(package: str, subdir: str) -> bool:
    """Tell whether pixi assumes this virtual package, in this version, for the bare subdir."""
    default = default_packages(subdir).get(package.partition("=")[0])
    return default is not None and version_key(package) == version_key(default)


def default_packages(subdir: str) -> dict[str, str]:
    """Return the virtual packages that pixi assumes for the bare subdir, by name."""
    family, _, machine = subdir.partition("-")
    packages = list(_DEFAULTS.get(family, ()))
    if is_unix(subdir):
        packages.append("__unix=0=0")
    if family in _DEFAULTS:
        archspec = "m1" if subdir == "osx-arm64" else _ARCHSPECS.get(machine, machine)
        packages.append(f"__archspec=0={archspec}")
    return {each.partition("=")[0]: each for each in packages}


def is_unix(subdir: str) -> bool:
    """Tell whether rattler counts the subdir as unix."""
    return is_known_subdir(subdir) and subdir.partition("-")[0] not in _NOT_UNIX


def version_key(package: str) -> tuple[tuple[tuple[float, str], ...], str]:
    """Order virtual packages of one name by version; `2.28` and `2.28.0` are the same."""
    parsed = parse_virtual_package(package)
    parts = [
        (float(part), "") if part.isdecimal() else (-1, part)  # an int takes 4300 digits at most
        for part in re.findall(r"\d+|[a-z]+", parsed.version.lower())
    ]
    while parts and parts[-1] == (0, ""):
        parts.pop()
    return tuple(parts), parsed.build
