"""The Python of an environment on a platform: its markers (PEP 508), and the wheels that fit it.

As pixi determines them for uv (crates/pypi_modifiers: pypi_marker_env.rs, pypi_tags.rs), from the
locked `python` and the virtual packages of the platform.
"""

from __future__ import annotations

import contextlib
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from scripts.core.artifact import Artifact, ArtifactKind
from scripts.core.record import PypiRecord
from scripts.lock.model import LockedPackage
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.python_markers import locked_python, python_markers
from scripts.workspace.virtual_packages import VirtualPackage

if TYPE_CHECKING:
    from packaging.tags import Tag

# What wheels and uv call a machine, by the subdir, where that is not its platform_machine.
_WHEEL_MACHINES: Final = {
    "linux-32": "i686",
    "linux-loongarch64": "loongarch64",
    "win-32": "win32",
    "win-64": "win_amd64",
    "win-arm64": "win_arm64",
}
# The names that platforms of glibc had before PEP 600, by its minor version, and the oldest that
# there is for a machine (crates/uv-platform-tags/src/platform.rs).
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST: Final = {"x86_64": 5, "i686": 5, "riscv64": 31, "loongarch64": 36}
_OLDEST_OF_OTHERS: Final = 17
# What uv calls platforms (crates/uv-configuration/src/target_triple.rs), and the versions of glibc
# that it knows.
_UV_PLATFORMS: Final = {
    "linux-64": "x86_64-manylinux_2_{}",
    "linux-aarch64": "aarch64-manylinux_2_{}",
    "osx-64": "x86_64-apple-darwin",
    "osx-arm64": "aarch64-apple-darwin",
    "win-64": "x86_64-pc-windows-msvc",
    "win-arm64": "aarch64-pc-windows-msvc",
}
_UV_GLIBCS: Final = (17, 28, *range(31, 41))
UV_TOO_OLD: Final = re.compile(r"unexpected argument|invalid value '[^']*' for '--python-platform")
"""What a uv says that does not know an option, or a platform."""
# Of what a free-threaded Python depends on.
_FREE_THREADED: Final = re.compile(r"python_abi .*cp\d{3}t")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonPlatform:
    """What a Python package sees of a place."""

    version: str
    """Of Python, as conda writes it."""
    subdir: str
    markers: Mapping[str, str]
    """The marker environment, but for `extra`."""
    tags: frozenset[Tag] = field(repr=False)
    """Of all wheels that fit."""
    shown: str
    """The platform tag that fits best, for people."""
    is_free_threaded: bool
    uv_platform: str | None
    """What uv calls the platform; None: it has no word for it."""
    uv_variables: tuple[tuple[str, str], ...] = ()
    """What tells uv the rest of it."""


def uv_obstacle(python: PythonPlatform | str) -> str | None:
    """Say why uv cannot be asked for a place; None: it can."""
    if isinstance(python, str):
        return python
    # It is told a version alone: all else uv takes from the Python that it asks, which is ours.
    if python.is_free_threaded != bool(sysconfig.get_config_var("Py_GIL_DISABLED")):
        return "of this Python and the locked one, one is free-threaded, and uv goes by this one"
    return None if python.uv_platform else f"uv has no word for {python.subdir}, as it is locked"


def wheel_tags(artifact: Artifact) -> frozenset[Tag]:
    """Return the tags in a wheel's name; raises ValueError where that is no name of a wheel."""
    from packaging.utils import parse_wheel_filename

    return parse_wheel_filename(artifact.path.name)[3]


def fitting(records: Iterable[PypiRecord], python: PythonPlatform) -> Iterator[PypiRecord]:
    """Yield what can be installed at a place: sdists, and the wheels whose tags fit."""
    for record in records:
        artifact = next(pypi_artifacts(record))
        with contextlib.suppress(ValueError):  # the level `closure` tells of such a name
            is_sdist = artifact.kind is ArtifactKind.SDIST
            if is_sdist or not python.tags.isdisjoint(wheel_tags(artifact)):
                yield record


def python_platform(
    packages: Iterable[LockedPackage], subdir: str, virtual_packages: Iterable[VirtualPackage]
) -> PythonPlatform | str:
    """Determine it from what is locked for a place; else say why there is none."""
    record = locked_python(packages)
    markers = python_markers(record, subdir)
    if record is None or isinstance(markers, str):
        return str(markers)
    major, minor = markers["python_version"].split(".")
    machine = _WHEEL_MACHINES.get(subdir, markers["platform_machine"])
    versions = {each.name: each.version for each in virtual_packages}
    python = (int(major), int(minor))
    is_free = any(_FREE_THREADED.match(each) for each in record.depends)
    platforms = list(_platform_tags(subdir.partition("-")[0], machine, versions))
    return PythonPlatform(
        version=record.version,
        subdir=subdir,
        markers=markers,
        tags=frozenset(_tags(python, platforms, is_free=is_free)),
        shown=next(iter(platforms), subdir),
        is_free_threaded=is_free,
        uv_platform=uv_platform(subdir, versions),
        uv_variables=(("MACOSX_DEPLOYMENT_TARGET", versions["__osx"]),)
        if "__osx" in versions
        else (),
    )


def _tags(python: tuple[int, int], platforms: Sequence[str], *, is_free: bool) -> Iterator[Tag]:
    from packaging.tags import compatible_tags, cpython_tags

    abi = f"cp{python[0]}{python[1]}{'m' if python < (3, 8) else ''}{'t' if is_free else ''}"
    yield from cpython_tags(python, abis=[abi], platforms=platforms)
    yield from compatible_tags(python, f"cp{python[0]}{python[1]}", platforms=platforms)


def _platform_tags(family: str, machine: str, versions: Mapping[str, str]) -> Iterator[str]:
    """Yield the platform tags that fit, the best first."""
    if family == "win":
        yield machine
    elif family == "osx":
        from packaging.tags import mac_platforms

        yield from mac_platforms(_release(versions.get("__osx", "0")), machine)
    elif "__musl" in versions:
        major, minor = _release(versions["__musl"])
        yield from (f"musllinux_{major}_{each}_{machine}" for each in range(minor, -1, -1))
        yield f"linux_{machine}"
    else:
        major, minor = _release(versions.get("__glibc") or versions.get("__eglibc") or "0")
        oldest = _OLDEST.get(machine, _OLDEST_OF_OTHERS)
        for each in range(minor, oldest - 1, -1) if major == 2 else ():
            yield f"manylinux_{major}_{each}_{machine}"
            if each in _LEGACY:
                yield f"{_LEGACY[each]}_{machine}"
        yield f"linux_{machine}"


def uv_platform(subdir: str, versions: Mapping[str, str]) -> str | None:
    """Return uv's word for a platform; it may allow a later libc, as the level `closure` does not.

    `versions` are those of its virtual packages. A word for an earlier one would refuse what is
    right.
    """
    word = _UV_PLATFORMS.get(subdir)
    if word is None or "{}" not in word:
        return word
    if "__musl" in versions:  # uv's is of 1.2
        musl = f"{word.partition('-')[0]}-unknown-linux-musl"
        return musl if _release(versions["__musl"]) <= (1, 2) else None
    major, minor = _release(versions.get("__glibc", "0"))
    if major != 2:
        return None
    return word.format(next((each for each in _UV_GLIBCS if each >= minor), _UV_GLIBCS[-1]))


def _release(version: str) -> tuple[int, int]:
    numbers = re.match(r"(\d{1,3})(?:\.(\d{1,3}))?", version)
    return (0, 0) if numbers is None else (int(numbers[1]), int(numbers[2] or 0))
