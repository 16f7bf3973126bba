"""Compare what a lock names with what a mirror says that it has."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from scripts.core.record import Record
from scripts.core.subdir import NOARCH
from scripts.doctor.mirror_place import (
    Consumer,
    MirrorContents,
    MirrorPlace,
    at_url_path,
    path_inside,
    wanted_path,
)
from scripts.lock.location import is_path, keeps_path
from scripts.lock.model import LockedPackage, PlatformPackages
from scripts.verify.findings import Place

_DIGITS: Final = re.compile(r"(\d+)")


class Standing(StrEnum):
    """How an artifact of the lock stands to the mirror."""

    RIGHT = "right"
    OTHER = "other"
    """There is an artifact of this name, but another one."""
    MISSING = "missing"
    NO_SUBDIR = "platform-not-mirrored"
    NO_CHANNEL = "channel-not-mirrored"
    OUT_OF_REACH = "out-of-reach"
    """The lock names a place that no mirror can stand in for."""
    ELSEWHERE = "elsewhere"
    """A file of the consumer's own, which is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One artifact: where the mirror should have it, and what is there.

    `inside`: the lock itself names it at that place, having been made from the mirror.
    `compared` names what was compared (`sha256`, `md5`, `size`), None: the mirror and the lock
    have nothing in common that could be. `expected`, `actual` tell the first difference.
    `near` are other artifacts of this package in the mirror, the nearest first.
    """

    package: LockedPackage
    path: PurePosixPath
    inside: bool
    standing: Standing
    compared: str | None = None
    expected: str = ""
    actual: str = ""
    near: tuple[PurePosixPath, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceDiagnosis:
    """One environment on one platform; its verdicts in the lock's order, each artifact once."""

    place: Place
    rows: PlatformPackages
    verdicts: tuple[Verdict, ...]


def diagnose(
    consumer: Consumer, place: MirrorPlace, contents: MirrorContents
) -> tuple[PlaceDiagnosis, ...]:
    """Judge every artifact of every environment and platform of the consumer."""
    judge = _Judge(consumer, place, contents)
    return tuple(
        PlaceDiagnosis(
            place=Place(environment.name, rows.platform.name),
            rows=rows,
            verdicts=judge.of((*rows.packages, *rows.build_packages)),
        )
        for environment in consumer.environments
        for rows in environment.platforms
    )


class _Judge:
    """Judges each row once, however many environments share it."""

    def __init__(self, consumer: Consumer, place: MirrorPlace, contents: MirrorContents) -> None:
        self._consumer, self._place, self._contents = consumer, place, contents
        self._known: dict[int, Verdict] = {}
        self._by_name: dict[str, list[tuple[PurePosixPath, Record]]] = {}
        for subdir, records in contents.subdirs.items():
            for file_name, record in records.items():
                self._by_name.setdefault(record.name, []).append((subdir / file_name, record))

    def of(self, packages: Iterable[LockedPackage]) -> tuple[Verdict, ...]:
        verdicts = {}
        for package in packages:
            verdict = self._known.get(id(package)) or self._judge(package)
            self._known[id(package)] = verdict
            verdicts[verdict.path, package.url] = verdict
        return tuple(verdicts.values())

    def _judge(self, package: LockedPackage) -> Verdict:
        path = wanted_path(package, self._place, self._consumer.root, self._contents.layout)
        own = at_url_path(package, path)
        if own.name in self._contents.subdirs.get(own.parent, {}):
            path = own
        inside = path_inside(package.url, self._place, self._consumer.root) is not None
        standing = self._standing(package, path, inside=inside)
        verdict = Verdict(package=package, path=path, inside=inside, standing=standing)
        if standing is Standing.RIGHT:
            return _compared(verdict, self._contents.subdirs[path.parent][path.name])
        if standing is Standing.MISSING:
            return dataclasses.replace(verdict, near=self._near(package, path))
        return verdict

    def _standing(self, package: LockedPackage, path: PurePosixPath, *, inside: bool) -> Standing:
        if not inside:
            if package.url in self._consumer.files:
                return Standing.ELSEWHERE
            if not _can_be_led(package.url, path):
                return Standing.OUT_OF_REACH
        records = self._contents.subdirs.get(path.parent)
        if records is None:
            is_channel = path.parent.parent in self._contents.channels
            return Standing.NO_SUBDIR if is_channel else Standing.NO_CHANNEL
        return Standing.RIGHT if path.name in records else Standing.MISSING

    def _near(self, package: LockedPackage, path: PurePosixPath) -> tuple[PurePosixPath, ...]:
        """Find other versions, builds and formats for the same machines, newest first."""
        machines = {package.record.subdir, NOARCH}
        found = [
            (each, record)
            for each, record in self._by_name.get(package.name, ())
            if package.record.subdir == NOARCH or each.parent.name in machines
        ]
        found.sort(key=lambda pair: _natural(str(pair[0])), reverse=True)
        found.sort(
            key=lambda pair: (
                pair[1].version != package.record.version,
                pair[0].parent.parent != path.parent.parent,
            )
        )
        return tuple(each for each, _ in found)


def _can_be_led(url: str, path: PurePosixPath) -> bool:
    """Tell whether `[mirrors]` can replace a location: it changes but a URL's beginning.

    Of any scheme: pixi replaces it before anybody looks at that
    (crates/pixi_utils/src/reqwest.rs). It asks for no file so.
    """
    if is_path(url) or urlsplit(url).scheme == "file":
        return False
    return keeps_path(url, path)


def _compared(verdict: Verdict, record: Record) -> Verdict:
    """Compare by the best digest that both have; the size, where both have one, always."""
    common = [
        (key, str(ours), str(theirs)) for key, ours, theirs in _pairs(verdict.package, record)
    ]
    differing = [each for each in common if each[1] != each[2]]
    compared, expected, actual = next(iter([*differing, *common]), (None, "", ""))
    return dataclasses.replace(
        verdict,
        standing=Standing.OTHER if differing else Standing.RIGHT,
        compared=compared,
        expected=expected,
        actual=actual,
    )


def _pairs(package: LockedPackage, record: Record) -> Iterator[tuple[str, str | int, str | int]]:
    """Yield what both say: one digest at most, as sha256 outdoes md5, then the size."""
    for key in ("sha256", "md5"):
        ours, theirs = getattr(package.record, key), getattr(record, key)
        if ours and theirs:
            yield key, ours, theirs
            break
    if package.record.size is not None and record.size is not None:
        yield "size", package.record.size, record.size


def _natural(text: str) -> list[tuple[int, str]]:
    """Make 1.10 come after 1.9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(text)]
