"""What changed between two locks, as far as the mirror is concerned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from scripts.core.channel_url import channel_folder
from scripts.core.redact import redact
from scripts.lock.diff_platforms import paired
from scripts.lock.model import (
    LockedEnvironment,
    LockedPackage,
    LockFile,
    LockPlatform,
    PlatformPackages,
    Unmirrorable,
)
from scripts.workspace.settings import Settings


class ChangeKind(StrEnum):
    """What happened to a package."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    WENT_BACK = "went-back"
    """To a version, or a build number, that is older: upstream may have withdrawn the newer one."""
    REUPLOADED = "re-uploaded"
    """The same file name from the same channel, and other bytes."""

    @property
    def words(self) -> str:
        """What happened, for people."""
        return "went back" if self is ChangeKind.WENT_BACK else self.value


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


_Row = LockedPackage | Unmirrorable
_NO_PACKAGES: Final[tuple[_Row, ...]] = ()


def versions_to_rank(before: LockFile | None, after: LockFile) -> Iterator[str]:
    """Yield the versions whose order tells whether a package went back."""
    found: dict[str, set[str]] = {}
    for lock in (before, after):
        for package in () if lock is None else lock.packages():
            found.setdefault(package.name, set()).add(package.record.version)
    for versions in found.values():
        if len(versions) > 1:
            yield from versions


def diff(
    before: LockFile | None,
    after: LockFile,
    settings: Settings,
    ranks: Mapping[str, int] = MappingProxyType({}),
) -> LockDiff:
    """Compare two locks in the environments and platforms that the settings mirror.

    `before` None: there was nothing. `ranks` are of `versions_to_rank`. A platform is the same
    one where it has the same subdir and virtual packages, whatever it is called: the names `p1`,
    `p2` move when one is added.
    """
    old = {each.name: each for each in before.environments} if before else {}
    new = {each.name: each for each in after.environments}
    found = []
    for name in dict.fromkeys((*new, *old)):
        if not _is_mirrored(name, settings):
            continue
        for one, other in paired(_platforms(old.get(name)), _platforms(new.get(name))):
            platform = _platform_of(one, other)
            if settings.platforms is not None and not {platform.name, platform.subdir}.intersection(
                settings.platforms
            ):
                continue
            each = _compare(name, _label(platform), _rows(one), _rows(other), ranks)
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


def _compare(
    environment: str,
    platform: str,
    old: Iterable[_Row],
    new: Iterable[_Row],
    ranks: Mapping[str, int],
) -> PlatformDiff:
    """Compare package by package."""
    before, after = _by_name(old), _by_name(new)
    changes: list[Change] = []
    hotfixed: list[str] = []
    for name, source in sorted(before.keys() | after.keys()):
        olds, news = before.get((name, source), {}), after.get((name, source), {})
        pairs = [(olds.pop(key), news.pop(key)) for key in sorted(olds.keys() & news)]
        if len(olds) == len(news) == 1:
            pairs.append((next(iter(olds.values())), next(iter(news.values()))))
        else:
            changes += _gone_and_come(olds.values(), news.values())
        found = [_change(one, other, ranks) for one, other in pairs]
        changes += [change for change in found if change is not None]
        if any(
            change is None and _is_hotfixed(*pair)
            for change, pair in zip(found, pairs, strict=True)
        ):
            hotfixed.append(name)
    return PlatformDiff(
        environment=environment,
        platform=platform,
        changes=tuple(sorted(changes, key=lambda each: (each.name, each.source))),
        hotfixed=tuple(hotfixed),
    )


def _gone_and_come(olds: Iterable[_Row], news: Iterable[_Row]) -> list[Change]:
    gone = [
        Change(kind=ChangeKind.REMOVED, name=row.name, before=_text(row), source=_source(row))
        for row in sorted(olds, key=_text)
    ]
    return gone + [
        Change(kind=ChangeKind.ADDED, name=row.name, after=_text(row), source=_source(row))
        for row in sorted(news, key=_text)
    ]


def _by_name(rows: Iterable[_Row]) -> dict[tuple[str, str], dict[str, _Row]]:
    """Group rows by name and source, each artifact once.

    One name may stand several times: two source packages may build with two versions of it.
    """
    found: dict[tuple[str, str], dict[str, _Row]] = {}
    for row in rows:
        found.setdefault((row.name, _source(row)), {}).setdefault(_identity(row), row)
    return found


def _source(row: _Row) -> str:
    return row.kind.value if isinstance(row, Unmirrorable) else "conda"


def _identity(row: _Row) -> str:
    if isinstance(row, Unmirrorable):
        return row.location
    return f"{row.channel}/{row.record.subdir}/{row.file_name}"


def _text(row: _Row) -> str:
    """Write what tells the versions of one package apart."""
    if isinstance(row, Unmirrorable):
        return redact(row.location)
    return f"{row.record.version} {row.record.build}"


def _change(one: _Row, other: _Row, ranks: Mapping[str, int]) -> Change | None:
    before, after = _text(one), _text(other)
    kind = ChangeKind.WENT_BACK if _is_older(other, one, ranks) else ChangeKind.CHANGED
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
    return Change(kind=kind, name=other.name, before=before, after=after, source=_source(other))


def _is_older(package: _Row, other: _Row, ranks: Mapping[str, int]) -> bool:
    """Tell whether a solver would take the other one, were both there."""
    if isinstance(package, Unmirrorable) or isinstance(other, Unmirrorable):
        return False
    if package.record.version == other.record.version:
        return package.record.build_number < other.record.build_number
    mine, theirs = ranks.get(package.record.version), ranks.get(other.record.version)
    if mine is None or theirs is None:
        return False
    return (mine, package.record.build_number) < (theirs, other.record.build_number)


def _folder(package: LockedPackage) -> str:
    """Name channel and subdir for people, secrets left out."""
    channel = channel_folder(package.channel) if package.channel else "no channel"
    return f"{channel}/{package.record.subdir}"


def _are_other_bytes(one: LockedPackage, other: LockedPackage) -> bool:
    """Tell by what both locks know of the artifact whether it is another one."""
    pairs = (
        (one.record.sha256, other.record.sha256),
        (one.record.md5, other.record.md5),
        (one.record.size, other.record.size),
    )
    known = next((pair for pair in pairs if None not in pair), None)
    return known is not None and known[0] != known[1]


def _is_hotfixed(one: _Row, other: _Row) -> bool:
    if isinstance(one, Unmirrorable) or isinstance(other, Unmirrorable):
        return False
    return _requirements(one) != _requirements(other)


def _requirements(package: LockedPackage) -> tuple[object, ...]:
    """Return what a solver sees of it; their order means nothing."""
    return (
        sorted(package.record.depends),
        sorted(package.record.constrains),
        sorted(package.record.extra_depends),
        sorted(package.record.track_features),
    )
