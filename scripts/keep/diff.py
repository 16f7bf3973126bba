"""What two sides of a mirror differ in, package by package.

A side is what locks want, environment by environment, or what a state of the channel has, which has
no environments: there a package is told apart by its conda channel and subdir, or by the host that
it is from on PyPI. Of one package a side may have several versions.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from scripts.core.pep508 import parse_version
from scripts.core.rattler_child import rank_versions
from scripts.verify.licences import read_license

CONDA: Final = "conda"
PYPI: Final = "pypi"
INDEX: Final = "index"
# What conda-build and rattler-build write into a build beside the variant: the hash, the number.
_HASH: Final = re.compile(r"h[0-9a-f]{7,8}(?=_|\Z)")
_NUMBER: Final = re.compile(r"(?:\A|(?<=_))\d+(?=_|\Z)")


class ChangeKind(StrEnum):
    """What happened to a package."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    WENT_BACK = "went-back"
    """To a version, or a build number, that is older: upstream may have withdrawn the newer one."""
    REUPLOADED = "re-uploaded"
    """The same file name from the same channel, and other bytes."""
    HOTFIXED = "hotfixed"
    """The same bytes, and other requirements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One package: `before` and `after` are version and build, None where it was or is not there.

    `source` is `conda`, `pypi`, or `source` for what no mirror can hold. `license` is that of a
    PyPI package as it is now, None where nobody knows.
    """

    kind: ChangeKind
    name: str
    before: str | None = None
    after: str | None = None
    source: str = CONDA
    license: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformDiff:
    """The changes of one environment on one platform, or of one channel in one subdir."""

    environment: str
    platform: str
    changes: tuple[Change, ...]


class Package(NamedTuple):
    """What stays the same from version to version."""

    environment: str
    """Or the conda channel, or `PyPI`."""
    platform: str
    """Or the subdir, or the host of a PyPI package."""
    number: int
    """Tells platforms of one name apart: one that is gone, and one that was renamed."""
    name: str
    source: str
    """As that of a `Change`; files of an index, which are not compared, have `INDEX`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFile:
    """An artifact, or a file of an index, as one side has it; None is what it does not say."""

    package: Package
    version: str
    """What has none has its location here."""
    build: str = ""
    build_number: int = 0
    origin: tuple[str, ...] = ()
    """For people, what tells files of one version apart; what tells most comes first."""
    path: PurePosixPath | None = None
    """Relative to the channel folder."""
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    requirements: tuple[object, ...] | None = None
    """What a solver sees of it."""
    license: str | None = None
    folders: tuple[Path, ...] = field(default=(), compare=False)
    """Channel folders where it may be: of a PyPI package the file alone says the licence."""

    @property
    def is_index(self) -> bool:
        """Tell whether it is of an index, and no artifact."""
        return self.package.source == INDEX

    @property
    def text(self) -> str:
        """Version and build."""
        return f"{self.version} {self.build}".rstrip()

    def has_other_bytes(self, other: ComparedFile) -> bool:
        """Tell whether two files are not the same, as far as both are known."""
        pairs = ((self.sha256, other.sha256), (self.md5, other.md5), (self.size, other.size))
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)

    def read_license(self) -> str | None:
        """Return its licence; that of a wheel or sdist where the very file is still there."""
        if self.license is None and self.package.source == PYPI and self.path is not None:
            for file in (folder / self.path for folder in self.folders):
                with contextlib.suppress(OSError):  # one may not look at it, and so nobody knows
                    if file.is_file() and self.size in {None, file.stat().st_size}:
                        return read_license(file)
        return self.license


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """All that changed from one side to the other."""

    changes: tuple[PlatformDiff, ...]
    licenses: tuple[PlatformDiff, ...]
    """The same of packages with another licence than before: these are `before` and `after`."""
    kept: int
    """Of how many changed packages the later side has the former version, too."""


# Of a package the files by version and build, then by origin.
_Versions = Mapping[str, Mapping[tuple[str, ...], ComparedFile]]
_Packages = Mapping[Package, _Versions]
# What happened (None: nothing); the two files; which part of their origins tells them apart.
_Found = tuple[ChangeKind | None, ComparedFile | None, ComparedFile | None, int | None]


def compare(
    before: Iterable[ComparedFile], after: Iterable[ComparedFile], *, may_stay: bool = False
) -> Differences:
    """Compare two sides. `may_stay`: the later one retains what was there.

    What came beside the version that it follows then changes that one all the same.
    """
    old, new = _by_package(before), _by_package(after)
    ranks = rank_versions(_versions_to_rank(old, new))
    changes, licenses = (dict[tuple[str, str, int], dict[Change, None]]() for _ in range(2))
    kept = 0
    for package in sorted(old.keys() | new.keys()):
        olds, news = old.get(package, {}), new.get(package, {})
        if olds == news:
            continue
        make = partial(Change, name=package.name, source=package.source)
        pairs = _pairs(olds, news, ranks, may_stay=may_stay)
        for kind, one, other, at in (*pairs, *_same_versions(olds, news)):
            now = _license(news, other)
            if kind is not None:
                change = make(kind=kind, before=_text(one, at), after=_text(other, at))
                if package.source == PYPI:
                    change = replace(change, license=now)
                changes.setdefault(package[:3], {})[change] = None
            if one is not None and other is not None:
                kept += one.text != other.text and one.text in news
                was = _license(olds, one)
                if None not in {was, now} and was != now:
                    change = make(kind=ChangeKind.CHANGED, before=was, after=now)
                    licenses.setdefault(package[:3], {})[change] = None
    return Differences(changes=_by_place(changes), licenses=_by_place(licenses), kept=kept)


def build_number(build: str) -> int:
    """Return the build number as the build says it; no index need be asked. 0: it does not."""
    numbers: list[str] = _NUMBER.findall(build)
    return int(numbers[-1]) if numbers else 0


def variant(build: str) -> str:
    """Return the variant as the build says it (`py312__cpython`): less its hash and number."""
    return _NUMBER.sub("", _HASH.sub("", build))


def _by_package(files: Iterable[ComparedFile]) -> _Packages:
    found: dict[Package, dict[str, dict[tuple[str, ...], ComparedFile]]] = {}
    for each in (x for x in files if not x.is_index):
        found.setdefault(each.package, {}).setdefault(each.text, {}).setdefault(each.origin, each)
    return found


def _by_place(
    found: Mapping[tuple[str, str, int], Iterable[Change]],
) -> tuple[PlatformDiff, ...]:
    return tuple(
        PlatformDiff(environment=environment, platform=platform, changes=tuple(changes))
        for (environment, platform, _), changes in found.items()
    )


def _versions_to_rank(old: _Packages, new: _Packages) -> Iterator[str]:
    """Yield the conda versions whose order tells what follows what."""
    for package in old.keys() & new.keys():
        olds, news = old[package], new[package]
        if package.source == CONDA and olds.keys() != news.keys():
            versions = {_first(each).version for each in (*olds.values(), *news.values())}
            if len(versions) > 1:
                yield from versions


def _pairs(
    olds: _Versions, news: _Versions, ranks: Mapping[str, int], *, may_stay: bool
) -> Iterator[_Found]:
    """Pair each version that came with the one that it follows, where there is one.

    That is the nearest older one that went, of the same variant where it can be (`py312`), else the
    nearest newer one; where `may_stay`, one that stayed is followed, too.
    """

    def order(each: ComparedFile) -> tuple[bool, Any, int, str]:
        is_pypi = each.package.source == PYPI
        version = parse_version(each.version) if is_pypi else ranks.get(each.version)
        return version is not None, version, each.build_number, each.text

    gone = sorted((_first(olds[each]) for each in olds.keys() - news), key=order)
    came = sorted((_first(news[each]) for each in news.keys() - olds), key=order)
    stayed = sorted((_first(olds[each]) for each in olds.keys() & news if may_stay), key=order)
    left = list[ComparedFile]()
    for new in came:
        # The last is the nearest; sorting by one more key keeps their order.
        older = [each for each in (gone, stayed) if any(order(x) < order(new) for x in each)]
        if not older:
            left.append(new)
            continue
        below = [each for each in older[0] if order(each) < order(new)]
        old = max(below, key=lambda each: (variant(each.build) == variant(new.build), order(each)))
        if old in gone:
            gone.remove(old)
        yield ChangeKind.CHANGED, old, new, None
    for new in left:
        if not gone:
            yield ChangeKind.ADDED, None, new, None
            continue
        old = min(gone, key=lambda each: (variant(each.build) != variant(new.build), order(each)))
        gone.remove(old)
        is_known = old.version == new.version or (order(old)[0] and order(new)[0])
        is_older = is_known and order(new)[:3] < order(old)[:3]
        yield ChangeKind.WENT_BACK if is_older else ChangeKind.CHANGED, old, new, None
    yield from ((ChangeKind.REMOVED, old, None, None) for old in gone)


def _same_versions(olds: _Versions, news: _Versions) -> Iterator[_Found]:
    """Compare the files of versions that both have."""
    for text in sorted(olds.keys() & news):
        was, now = olds[text], news[text]
        if _first(now).package.source != PYPI:  # whose files would all have to be read
            yield None, _first(was), _first(now), None  # their licences may differ
        for one, other in ((was[origin], now[origin]) for origin in sorted(was.keys() & now)):
            needs = one.requirements, other.requirements
            if one.has_other_bytes(other):
                yield ChangeKind.REUPLOADED, one, other, None
            elif None not in needs and needs[0] != needs[1]:
                yield ChangeKind.HOTFIXED, one, other, None
        gone, came = sorted(was.keys() - now), sorted(now.keys() - was)
        if len(gone) == len(came) == 1:
            at = [x != y for x, y in zip(gone[0], came[0], strict=True)].index(True)
            yield ChangeKind.CHANGED, was[gone[0]], now[came[0]], at
        else:
            yield from ((ChangeKind.REMOVED, was[each], None, 0) for each in gone)
            yield from ((ChangeKind.ADDED, None, now[each], 0) for each in came)


def _first(files: Mapping[tuple[str, ...], ComparedFile]) -> ComparedFile:
    return next(iter(files.values()))


def _license(versions: _Versions, one: ComparedFile | None) -> str | None:
    """Return the licence of a version: what the first file that says one says."""
    files = () if one is None else versions[one.text].values()
    return next(filter(None, (each.read_license() for each in files)), None)


def _text(file: ComparedFile | None, at: int | None) -> str | None:
    """Write version and build, and of its origin this part."""
    if file is None:
        return None
    return file.text if at is None else f"{file.text} {file.origin[at]}"
