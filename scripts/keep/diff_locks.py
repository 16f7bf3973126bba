"""What changed between two locks for the mirror, environment by environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.core.channel_url import channel_folder
from scripts.core.record import PypiRecord
from scripts.core.redact import redact, without_secrets
from scripts.keep.diff import CONDA, PYPI, ComparedFile, Package, PlatformDiff, compare
from scripts.lock.model import LockedPackage, LockFile, LockPlatform, PlatformPackages
from scripts.lock.pypi import pypi_artifacts
from scripts.workspace.settings import Settings

_Place = tuple[str, str, int]  # of a `Package`


def diff_locks(
    before: LockFile | None, after: LockFile, settings: Settings, folder: Path
) -> tuple[PlatformDiff, ...]:
    """Compare two locks in the environments and platforms that the settings mirror.

    `before` None: there was nothing. Licences of PyPI packages are those that their files in the
    channel folder tell. What has no change is left out.
    """
    old = {each.name: each.platforms for each in before.environments} if before else {}
    new = {each.name: each.platforms for each in after.environments}
    sides: tuple[list[ComparedFile], list[ComparedFile]] = ([], [])
    for name in filter(settings.is_mirrored, dict.fromkeys((*new, *old))):
        pairs = _paired(old.get(name, ()), new.get(name, ()))
        for number, (platform, *both) in enumerate(pairs):
            if settings.is_for(platform.name, platform.subdir):
                place = name, platform.label, number
                # Of packages before nobody tells the licence.
                for side, rows, folders in zip(sides, both, ((), (folder,)), strict=True):
                    side.extend(() if rows is None else _files(place, rows, folders))
    return compare(*sides).changes


def _paired(
    old: Sequence[PlatformPackages], new: Sequence[PlatformPackages]
) -> Iterator[tuple[LockPlatform, PlatformPackages | None, PlatformPackages | None]]:
    """Pair the platforms of two locks: by what they are, then by name, then lone ones by subdir.

    The names `p1`, `p2` move when a platform is added.
    """
    left, right = list(old), list(new)
    partner: dict[LockPlatform, PlatformPackages] = {}
    for key in (
        lambda each: (each.subdir, *sorted(each.virtual_packages or ())),
        lambda each: (each.name, each.subdir),
        lambda each: each.subdir,
    ):
        for each in tuple(right):
            same = [
                [one for one in side if key(one.platform) == key(each.platform)]
                for side in (left, right)
            ]
            if len(same[0]) == len(same[1]) == 1:
                partner[each.platform] = same[0][0]
                left.remove(same[0][0])
                right.remove(each)
    yield from ((each.platform, partner.get(each.platform), each) for each in new)
    yield from ((each.platform, each, None) for each in left)


def _files(
    place: _Place, rows: PlatformPackages, folders: tuple[Path, ...]
) -> Iterator[ComparedFile]:
    yield from (_conda_file(place, each) for each in rows.all_packages)
    yield from (_pypi_file(place, each, folders) for each in rows.pypi)
    for other in rows.unmirrorable:
        location = redact(other.location)
        yield ComparedFile(package=Package(*place, other.name, "source"), version=location)


def _conda_file(place: _Place, package: LockedPackage) -> ComparedFile:
    record = package.record
    channel = channel_folder(package.channel) if package.channel else "no channel"
    lists = (record.depends, record.constrains, record.extra_depends, record.track_features)
    return ComparedFile(
        package=Package(*place, record.name, CONDA),
        version=record.version,
        build=record.build,
        build_number=record.build_number,
        origin=(f"({channel}/{record.subdir})", package.file_name.extension),
        size=record.size,
        sha256=record.sha256,
        md5=record.md5,
        requirements=tuple(sorted(each) for each in lists),  # the order means nothing
    )


def _pypi_file(place: _Place, record: PypiRecord, folders: tuple[Path, ...]) -> ComparedFile:
    """Describe a PyPI package; a folder or repository is named by its last segment."""
    location = record.location
    file_name = re.split(r"[?#]", location, maxsplit=1)[0].rpartition("/")[2]
    index = redact(location) if record.index is None else without_secrets(record.index)
    return ComparedFile(
        package=Package(*place, record.name, PYPI),
        version=record.version or redact(location),
        origin=(f"({file_name})", f"({index})"),
        path=next((each.path for each in pypi_artifacts(record)), None),
        sha256=record.sha256,
        requirements=(sorted(record.requires_dist), record.requires_python),
        folders=folders,
    )
