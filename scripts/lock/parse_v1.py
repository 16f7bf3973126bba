"""Lock versions 1 to 3: one flat list of packages, each with its platform."""

from __future__ import annotations

from scripts.core.redact import redact
from scripts.core.subdir import check_subdir
from scripts.lock.channels import environment_channels
from scripts.lock.conda_rows import package_v1
from scripts.lock.model import (
    LockedEnvironment,
    LockedPackage,
    LockFile,
    LockPlatform,
    PlatformPackages,
    Unmirrorable,
)
from scripts.lock.row import Row
from scripts.lock.yaml_text import Node
from scripts.workspace.settings import Kind


def parse_v1(document: dict[str, Node], version: int, subject: str) -> LockFile:
    """Parse conda-lock's shape: there is one environment, `default`."""
    top = Row(subject, "the lock file", document)
    metadata = Row(subject, "metadata", top.table("metadata"))
    packages: dict[str, list[LockedPackage]] = {}
    others: dict[str, list[Unmirrorable]] = {}
    for fields in top.rows("package"):
        row = Row(subject, str(fields.get("url") or fields.get("name") or "a package"), fields)
        platform = check_subdir(row.needed("platform"), f"{subject}: {redact(row.what)}")
        manager = row.needed("manager")
        mine = packages.setdefault(platform, [])
        if manager == "conda":
            package = package_v1(row, platform)
            if package not in mine:
                mine.append(package)
        elif manager in {"pip", "pypi"}:
            other = Unmirrorable(
                kind=Kind.PYPI,
                name=f"{row.needed('name')} {row.text('version') or ''}".strip(),
                location=row.text("url") or "",
                reason="a PyPI package",
            )
            others.setdefault(platform, []).append(other)
        else:
            raise row.wrong("manager", "conda, pip or pypi")
    environment = LockedEnvironment(
        name="default",
        channels=environment_channels(metadata),
        platforms=tuple(
            PlatformPackages(
                platform=LockPlatform(name=platform, subdir=platform),
                packages=tuple(packages[platform]),
                unmirrorable=tuple(others.get(platform, ())),
            )
            for platform in sorted(packages)
        ),
    )
    return LockFile(version=version, environments=(environment,))
