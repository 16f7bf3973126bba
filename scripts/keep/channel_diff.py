"""What two states of a mirror differ in: package by package, and in bytes to carry.

A state is what a published index names, or what locks name. It has no environments: a package is
told apart by its conda channel and subdir, or by the host that it is from on PyPI, and its version
by the name of its file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final, NamedTuple

from scripts.core.channel_paths import is_pypi_path
from scripts.core.file_name import parse_file_name
from scripts.core.pep508 import pypi_name
from scripts.keep.snapshots import SnapshotFile
from scripts.lock.diff import Change, ChangeKind, PlatformDiff
from scripts.lock.pypi import ARCHIVES

CHANNEL: Final = "channel"
"""How people name the channel as it is, and the one channel of a flat mirror."""
PYPI: Final = "PyPI"
_CONDA_SOURCE: Final = "conda"
_PYPI_SOURCE: Final = "pypi"
# What conda-build and rattler-build write into a build beside the variant: the hash, the number.
_HASH: Final = re.compile(r"h[0-9a-f]{7,8}(?=_|\Z)")
_NUMBER: Final = re.compile(r"(?:\A|(?<=_))\d+(?=_|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    """An artifact that locks name; None is what they do not say."""

    path: PurePosixPath
    size: int | None
    sha256: str | None
    license: str | None
    is_index: ClassVar[bool] = False


StateFile = SnapshotFile | LockedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedState:
    """One of the two states that are compared."""

    name: str
    """As people know it: `channel`, `lock`, `snapshot ID`, the path of a lock."""
    files: tuple[StateFile, ...]
    others: tuple[StateFile, ...] = ()
    """What it has besides, and what is not compared: of a channel beside a lock, all that is
    retained or that other workspaces name."""
    folders: tuple[Path, ...] = ()
    """Where its files may lie."""
    is_lock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorDiff:
    """All that changed from one state to another."""

    before: ComparedState
    after: ComparedState
    changes: tuple[PlatformDiff, ...]
    """In place of environment and platform they have channel and subdir."""
    licenses: tuple[PlatformDiff, ...]
    """The same of packages with another licence than before: these are `before` and `after`."""
    kept: int
    """Of how many changed packages the later state has the former version, too."""
    to_carry: tuple[StateFile, ...]
    """What the later state has and the earlier one has not: the same bytes once, and none of the
    `others`. Index files are among them where none of the two is a lock's."""


class _Package(NamedTuple):
    """What stays the same from version to version."""

    channel: str
    subdir: str
    name: str
    source: str


# Of a package the files by version and build, then by path.
_Versions = dict[str, dict[PurePosixPath, StateFile]]
_Packages = dict[_Package, _Versions]
Ranks = Mapping[tuple[str, str], int]
"""The order of versions, by source and version; those that none can order are not in it."""
OrderVersions = Callable[[Collection[tuple[str, str]]], Ranks]
"""Gives the order of versions that need one."""
ReadLicense = Callable[[ComparedState, StateFile], str | None]
"""Tells the licence of a PyPI file, which no index has, where it can be known."""


def compare_states(
    before: ComparedState,
    after: ComparedState,
    order_versions: OrderVersions,
    read_license: ReadLicense,
) -> MirrorDiff:
    """Compare two states."""
    old, new = _packages(before.files), _packages(after.files)
    ranks = order_versions(set(_versions_to_order(old, new)))
    found: dict[tuple[str, str], dict[Change, None]] = {}
    licenses: dict[tuple[str, str], list[Change]] = {}
    kept = 0
    # A published state keeps what is retained: what came beside it follows it all the same.
    may_stay = not (before.is_lock or after.is_lock)
    for package in sorted(old.keys() | new.keys()):
        olds, news = old.get(package, {}), new.get(package, {})
        if olds == news:
            continue
        pairs = tuple(_pairs(package, olds, news, ranks, may_stay=may_stay))
        kept += sum(one in news for _, one, other in pairs if None not in (one, other))
        is_pypi = package.source == _PYPI_SOURCE
        make = partial(Change, name=package.name, source=package.source)
        changes = found.setdefault(package[:2], {})
        for kind, one, other in pairs:
            now = _license(after, news.get(other or "", {}), read_license) if is_pypi else None
            changes[make(kind=kind, before=one, after=other, license=now)] = None
        for kind, one, other in _changed_files(olds, news):
            changes[make(kind=kind, before=one, after=other)] = None
        same = ((None, text, text) for text in sorted(olds.keys() & news))
        for _, one, other in (*pairs, *same):
            if one is not None and other is not None:
                read = read_license if is_pypi and one != other else None
                was, now = _license(before, olds[one], read), _license(after, news[other], read)
                if None not in {was, now} and was != now:
                    changed = make(kind=ChangeKind.CHANGED, before=was, after=now)
                    licenses.setdefault(package[:2], []).append(changed)
    return MirrorDiff(
        before=before,
        after=after,
        changes=_by_place(found),
        licenses=_by_place(licenses),
        kept=kept,
        to_carry=_to_carry(before, after),
    )


def _versions_to_order(old: _Packages, new: _Packages) -> Iterator[tuple[str, str]]:
    """Yield, with their source, the versions whose order tells what follows what."""
    for package in old.keys() & new.keys():
        if old[package].keys() != new[package].keys():
            texts = old[package].keys() | new[package].keys()
            versions = {(package.source, _version(text)) for text in texts}
            if len(versions) > 1:
                yield from versions


def _by_place(found: Mapping[tuple[str, str], Iterable[Change]]) -> tuple[PlatformDiff, ...]:
    places = (
        PlatformDiff(environment=channel, platform=subdir, changes=tuple(changes))
        for (channel, subdir), changes in found.items()
    )
    return tuple(each for each in places if each.changes)


def _packages(files: Iterable[StateFile]) -> _Packages:
    found: _Packages = {}
    for each in files:
        if not each.is_index:
            package, text = _identify(each.path)
            found.setdefault(package, {}).setdefault(text, {})[each.path] = each
    return found


def _identify(path: PurePosixPath) -> tuple[_Package, str]:
    """Tell by its path of what package a file is, and what tells its versions apart."""
    folder, _, file_name = str(path).rpartition("/")
    file = None if is_pypi_path(path) else parse_file_name(file_name)
    if file is not None:
        channel, _, subdir = folder.rpartition("/")
        package = _Package(channel or ".", subdir, file.name, _CONDA_SOURCE)
        return package, f"{file.version} {file.build}"
    # PEP 427: name-version-…; PEP 625: name-version. A direct URL's second place has a fragment.
    file_name = file_name.partition("#")[0]
    stem = ARCHIVES.sub("", file_name)
    parts = stem.split("-") if file_name.lower().endswith(".whl") else stem.rsplit("-", 1)
    name, version = (parts[0], parts[1]) if len(parts) > 1 else (stem, "")
    host = "/".join(path.parts[2:3])
    return _Package(PYPI, host, pypi_name(name), _PYPI_SOURCE), version


def _version(text: str) -> str:
    return text.partition(" ")[0]


def _pairs(
    package: _Package, olds: _Versions, news: _Versions, ranks: Ranks, *, may_stay: bool
) -> Iterator[tuple[ChangeKind, str | None, str | None]]:
    """Pair each version that came with the one that it follows, where there is one.

    That is the nearest older one that went, of the same variant where it can be (`py312`), else the
    nearest newer one; where `may_stay`, one that stayed is followed, too.
    """

    def order(text: str) -> tuple[int, int, str]:
        return ranks.get((package.source, _version(text)), -1), _build_number(text), text

    gone = sorted(olds.keys() - news, key=order)
    came = sorted(news.keys() - olds, key=order)
    stayed = sorted(olds.keys() & news, key=order) if may_stay else []
    left = list[str]()
    for new in came:
        # The last is the nearest; sorting by one more key keeps their order.
        older = [each for each in (gone, stayed) if any(order(x) < order(new) for x in each)]
        if not older:
            left.append(new)
            continue
        below = [each for each in older[0] if order(each) < order(new)]
        old = max(below, key=lambda each: (_variant(each) == _variant(new), order(each)))
        if old in gone:
            gone.remove(old)
        yield ChangeKind.CHANGED, old, new
    for new in left:
        if not gone:
            yield ChangeKind.ADDED, None, new
            continue
        old = min(gone, key=lambda each: (_variant(each) != _variant(new), order(each)))
        gone.remove(old)
        versions = {(package.source, _version(each)) for each in (old, new)}
        is_known = len(versions) == 1 or versions <= ranks.keys()
        is_older = is_known and order(new)[:2] < order(old)[:2]
        yield ChangeKind.WENT_BACK if is_older else ChangeKind.CHANGED, old, new
    yield from ((ChangeKind.REMOVED, old, None) for old in gone)


def _variant(text: str) -> str:
    return _NUMBER.sub("", _HASH.sub("", text.partition(" ")[2]))


def _build_number(text: str) -> int:
    """Return the build number as the build says it; no index need be asked. 0: it does not."""
    numbers: Sequence[str] = _NUMBER.findall(text.partition(" ")[2])
    return int(numbers[-1]) if numbers else 0


def _changed_files(
    olds: _Versions, news: _Versions
) -> Iterator[tuple[ChangeKind, str | None, str | None]]:
    """Compare the files of versions that both have."""
    for text in sorted(olds.keys() & news):
        for path in sorted(olds[text].keys() | news[text].keys()):
            one, other = olds[text].get(path), news[text].get(path)
            shown = f"{text} ({path.name})"
            if one is not None and other is not None:
                if _are_other_bytes(one, other):
                    yield ChangeKind.REUPLOADED, text, text
            elif other is not None:
                yield ChangeKind.ADDED, None, shown
            else:
                yield ChangeKind.REMOVED, shown, None


def _are_other_bytes(one: StateFile, other: StateFile) -> bool:
    """Tell whether two files of one path are not the same, as far as both are known."""
    pairs = ((one.sha256, other.sha256), (one.size, other.size))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _license(
    state: ComparedState, files: Mapping[PurePosixPath, StateFile], read: ReadLicense | None
) -> str | None:
    """Return the licence of a version: what the first file that says one says."""
    said = (each.license or (read and read(state, each)) for each in files.values())
    return next(filter(None, said), None)


def _to_carry(before: ComparedState, after: ComparedState) -> tuple[StateFile, ...]:
    had = {each.path: each for each in (*before.files, *before.others)}
    known = {each.sha256 for each in had.values()} - {None}
    found: dict[str, StateFile] = {}
    for each in after.files:
        there = had.get(each.path)
        is_there = there is not None and not _are_other_bytes(there, each)
        is_left_out = each.is_index and (before.is_lock or after.is_lock)
        if not (is_there or is_left_out or each.sha256 in known):
            found.setdefault(each.sha256 or str(each.path), each)
    return tuple(found.values())
