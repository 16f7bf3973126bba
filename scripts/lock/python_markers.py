"""The markers (PEP 508) that a Python package sees of an environment on a platform.

As pixi determines them (crates/pypi_modifiers/src/pypi_marker_env.rs), from the locked `python`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from scripts.core.record import Record
from scripts.lock.model import LockedPackage

# sys_platform, platform_system, os_name by the family of the subdir.
_SYSTEMS: Final = {
    "linux": ("linux", "Linux", "posix"),
    "osx": ("darwin", "Darwin", "posix"),
    "win": ("win32", "Windows", "nt"),
}
# platform_machine by the subdir; pixi has none for this one.
_MACHINES: Final = {
    "linux-loongarch64": "",
    "linux-32": "i386",
    "linux-64": "x86_64",
    "linux-aarch64": "aarch64",
    "linux-armv7l": "armv7l",
    "linux-ppc64": "ppc64",
    "linux-ppc64le": "ppc64le",
    "linux-riscv64": "riscv64",
    "linux-s390x": "s390x",
    "osx-64": "x86_64",
    "osx-arm64": "arm64",
    "win-32": "x86",
    "win-64": "AMD64",
    "win-arm64": "ARM64",
}


def locked_python(packages: Iterable[LockedPackage]) -> Record | None:
    """Return the record of the Python that is locked; None: there is none."""
    return next((x.record for x in packages if x.record.name == "python"), None)


def python_markers(record: Record | None, subdir: str) -> Mapping[str, str] | str:
    """Return the marker environment, but for `extra`; else say why there is none."""
    family, machine = subdir.partition("-")[0], _MACHINES.get(subdir)
    if record is None:
        return "no Python is locked there"
    numbers = re.match(r"(\d{1,3})\.(\d{1,3})", record.version)
    if machine is None or family not in _SYSTEMS:
        return f"no wheel names {subdir}"
    if numbers is None or "pypy" in record.build or "graalpy" in record.build:
        return f"pixi installs PyPI packages for CPython alone, not python {record.build}"
    sys_platform, system, os_name = _SYSTEMS[family]
    return {
        "implementation_name": "cpython",
        "implementation_version": record.version,
        "os_name": os_name,
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": system,
        "platform_version": "",
        "python_full_version": record.version,
        "python_version": f"{int(numbers[1])}.{int(numbers[2])}",
        "sys_platform": sys_platform,
    }
