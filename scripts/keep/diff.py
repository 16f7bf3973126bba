"""What changed between two locks, as far as the mirror is concerned. Decides; does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from scripts.core.channel_url import channel_folder
from scripts.core.redact import redact
from scripts.lock.model import (
    LockedEnvironment,
    LockedPackage,
    LockFile,
    LockPlatform,
    PlatformPackages,
    Unmirrorable,
)
from scripts.lock.settings import Settings


class ChangeKind(StrEnum):
    """What happened to a package."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    REUPLOADED = "re-uploaded"
    """The same file name from the same channel, and other bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One package: `before` and `after` are version and build, None where it was or is not there.

    `source` is `conda`, or `pypi` and `source` for what no conda channel can hold.
    """

    kind: ChangeKind
    name: str
    before: str | None = None
    after: str | None = None
    source: str = "conda"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformDiff:
    """The changes of one environment on one platform.

    `hotfixed` are the packages whose bytes are the same and whose requirements are not.
    """

    environment: str
    platform: str
    changes: tuple[Change, ...]
    hotfixed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockDiff:
    """All changes, by environment and platform; those without any are left out."""

    platforms: tuple[PlatformDiff, ...]


# One row of a lock, reduced to what is compared: name, where it comes from, and the row.
_Row = LockedPackage | Unmirrorable
_NO_PACKAGES: Final[tuple[_Row, ...]] = ()


def diff(before: LockFile | None, after: LockFile, settings: Settings) -> LockDiff:
    """Compare two locks in the environments and platforms that the settings mirror.

    `before` None: there was nothing. A platform is the same one where it has the same subdir and
    virtual packages, whatever it is called: the names `p1`, `p2` move when one is added.
    """
    old = {each.name: each for each in before.environments} if before else {}
    new = {each.name: each for each in after.environments}
    found = []
    for name in dict.fromkeys((*new, *old)):
        if not _is_mirrored(name, settings):
            continue
        for one, other in _paired(_platforms(old.get(name)), _platforms(new.get(name))):
            platform = _platform_of(one, other)
            if settings.platforms is not None and not {platform.name, platform.subdir}.intersection(
                settings.platforms
            ):
                continue
            each = _compare(name, _label(platform), _rows(one), _rows(other))
            if each.changes or each.hotfixed:
                found.append(each)
    return LockDiff(platforms=tuple(found))


def _is_mirrored(environment: str, settings: Settings) -> bool:
    wanted = settings.environments is None or environment in settings.environments
    return wanted and environment not in settings.exclude_environments


def _platforms(environment: LockedEnvironment | None) -> tuple[PlatformPackages, ...]:
    return environment.platforms if environment else ()


def _rows(platform: PlatformPackages | None) -> tuple[_Row, ...]:
    if platform is None:
        return _NO_PACKAGES
    return (*platform.packages, *platform.build_packages, *platform.unmirrorable)


def _platform_of(one: PlatformPackages | None, other: PlatformPackages | None) -> LockPlatform:
    platform = other or one
    assert platform is not None
    return platform.platform


def _label(platform: LockPlatform) -> str:
    if platform.name == platform.subdir:
        return platform.name
    return f"{platform.name} ({platform.subdir})"


def _paired(
    old: Sequence[PlatformPackages], new: Sequence[PlatformPackages]
) -> list[tuple[PlatformPackages | None, PlatformPackages | None]]:
    """Pair the platforms of two locks: by what they are, then by name, then lone ones by subdir."""
    left, right = list(old), list(new)
    partner: dict[int, PlatformPackages] = {}
    for is_same in (_same_identity, _same_name, _same_subdir):
        for each in tuple(right):
            candidates = [one for one in left if is_same(one.platform, each.platform)]
            rivals = [one for one in right if is_same(one.platform, each.platform)]
            if len(candidates) == 1 and len(rivals) == 1:
                partner[id(each)] = candidates[0]
                left.remove(candidates[0])
                right.remove(each)
    pairs: list[tuple[PlatformPackages | None, PlatformPackages | None]] = [
        (partner.get(id(each)), each) for each in new
    ]
    return pairs + [(each, None) for each in left]


def _same_identity(one: LockPlatform, other: LockPlatform) -> bool:
    if one.virtual_packages is None or other.virtual_packages is None:
        return False
    same = sorted(one.virtual_packages) == sorted(other.virtual_packages)
    return one.subdir == other.subdir and same


def _same_name(one: LockPlatform, other: LockPlatform) -> bool:
    return (one.name, one.subdir) == (other.name, other.subdir)


def _same_subdir(one: LockPlatform, other: LockPlatform) -> bool:
    return one.subdir == other.subdir


def _compare(
    environment: str, platform: str, old: Iterable[_Row], new: Iterable[_Row]
) -> PlatformDiff:
    """Compare package by package; where one name stands several times, row by row."""
    before, after = _by_name(old), _by_name(new)
    changes: list[Change] = []
    hotfixed: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        olds, news = before.get(key, []), after.get(key, [])
        if len(olds) == 1 and len(news) == 1:
            change = _change(olds[0], news[0])
            if change is not None:
                changes.append(change)
            elif _is_hotfixed(olds[0], news[0]):
                hotfixed.append(key[0])
            continue
        known, wanted = {_text(row) for row in olds}, {_text(row) for row in news}
        changes += [
            Change(kind=ChangeKind.REMOVED, name=key[0], before=text, source=key[1])
            for text in sorted(known - wanted)
        ]
        changes += [
            Change(kind=ChangeKind.ADDED, name=key[0], after=text, source=key[1])
            for text in sorted(wanted - known)
        ]
    return PlatformDiff(
        environment=environment,
        platform=platform,
        changes=tuple(changes),
        hotfixed=tuple(hotfixed),
    )


def _by_name(rows: Iterable[_Row]) -> dict[tuple[str, str], list[_Row]]:
    """Group rows by name and source; one that stands there twice counts once."""
    found: dict[tuple[str, str], dict[str, _Row]] = {}
    for row in rows:
        source = row.kind.value if isinstance(row, Unmirrorable) else "conda"
        found.setdefault((row.name, source), {}).setdefault(_identity(row), row)
    return {key: list(by.values()) for key, by in found.items()}


def _identity(row: _Row) -> str:
    if isinstance(row, Unmirrorable):
        return row.location
    return f"{row.channel}/{row.subdir}/{row.file_name}"


def _text(row: _Row) -> str:
    """Write what tells the versions of one package apart."""
    if isinstance(row, Unmirrorable):
        return redact(row.location)
    return f"{row.version} {row.build}"


def _change(one: _Row, other: _Row) -> Change | None:
    source = other.kind.value if isinstance(other, Unmirrorable) else "conda"
    before, after = _text(one), _text(other)
    kind = ChangeKind.CHANGED
    if before == after and isinstance(one, LockedPackage) and isinstance(other, LockedPackage):
        old, new = _folder(one), _folder(other)
        if old != new:  # told apart by where they come from, then
            before, after = f"{before} ({old})", f"{after} ({new})"
        elif one.file_name.extension != other.file_name.extension:
            before += f" {one.file_name.extension}"
            after += f" {other.file_name.extension}"
        elif _are_other_bytes(one, other):
            kind = ChangeKind.REUPLOADED
    if before == after and kind is not ChangeKind.REUPLOADED:
        return None
    return Change(kind=kind, name=other.name, before=before, after=after, source=source)


def _folder(package: LockedPackage) -> str:
    """Name channel and subdir for people, secrets left out."""
    channel = channel_folder(package.channel) if package.channel else "no channel"
    return f"{channel}/{package.subdir}"


def _are_other_bytes(one: LockedPackage, other: LockedPackage) -> bool:
    """Tell by what both locks know of the artifact whether it is another one."""
    pairs = ((one.sha256, other.sha256), (one.md5, other.md5), (one.size, other.size))
    known = next((pair for pair in pairs if None not in pair), None)
    return known is not None and known[0] != known[1]


def _is_hotfixed(one: _Row, other: _Row) -> bool:
    if isinstance(one, Unmirrorable) or isinstance(other, Unmirrorable):
        return False
    return _requirements(one) != _requirements(other)


def _requirements(package: LockedPackage) -> tuple[object, ...]:
    """Return what a solver sees of it; their order means nothing."""
    return (
        sorted(package.depends),
        sorted(package.constrains),
        sorted(package.extra_depends),
        sorted(package.track_features),
    )
