"""Types of rattler whose names moved between versions; for the child process alone."""

from __future__ import annotations

from typing import Any


def subdir_type() -> Any:
    """The type of subdirs; `Platform` is its name before 0.28, where that warns."""
    import rattler

    return rattler.Subdir if hasattr(rattler, "Subdir") else rattler.Platform


def build_string(text: str) -> Any:
    """Make a build; before 0.26 it is a plain str."""
    try:
        from rattler.package import BuildString
    except ImportError:
        return text
    return BuildString(text)


def virtual_package(name: str, version: str, build: str) -> Any:
    """Make a virtual package."""
    from rattler import GenericVirtualPackage, PackageName, Version

    return GenericVirtualPackage(PackageName(name), Version(version), build_string(build))
