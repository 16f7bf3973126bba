"""Compare what a lock names with what a mirror says that it has."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from scripts.core.record import Record
from scripts.core.subdir import NOARCH
from scripts.doctor.mirror import Mirror, at_url_path
from scripts.lock.location import is_path, keeps_path
from scripts.lock.model import LockedEnvironment, LockedPackage, PlatformPackages
from scripts.network.configuration import PixiConfig
from scripts.verify.findings import EnvironmentPlatform
from scripts.workspace.settings import Kind

_DIGITS: Final = re.compile(r"(\d+)")


class ConfiguredClient(StrEnum):
    """Whose configuration is to lead to the mirror; the words are those of `--client`."""

    PIXI = "pixi"
    CONDA = "conda"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """Who wants to install: a lock, and what pixi's configuration says beside it.

    `clients` are those whose configuration counts. `files` are those locations of the lock that
    name a file which is there. `allowed` are the kinds of packages that may come from elsewhere.
    """

    lock_path: Path
    lock_version: int
    environments: tuple[LockedEnvironment, ...]
    config: PixiConfig
    clients: frozenset[ConfiguredClient]
    files: frozenset[str]
    allowed: frozenset[Kind]


class Availability(StrEnum):
    """Whether a mirror has an artifact of the lock; the words are those of `--json`."""

    RIGHT = "right"
    OTHER = "other"
    """There is an artifact of this name, but another one."""
    MISSING = "missing"
    NO_SUBDIR = "platform-not-mirrored"
    NO_CHANNEL = "channel-not-mirrored"
    NOT_MIRRORABLE = "not-mirrorable"
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
    availability: Availability
    compared: str | None = None
    expected: str = ""
    actual: str = ""
    near: tuple[PurePosixPath, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One environment on one platform; its verdicts in the lock's order, each artifact once."""

    place: EnvironmentPlatform
    rows: PlatformPackages
    verdicts: tuple[Verdict, ...]


def diagnose(consumer: Consumer, mirror: Mirror) -> tuple[Diagnosis, ...]:
    """Judge every artifact of every environment and platform of the consumer, each row once."""
    judge = _Judge(consumer, mirror)
    return tuple(
        Diagnosis(
            place=EnvironmentPlatform(environment.name, rows.platform.name),
            rows=rows,
            verdicts=judge.verdicts((*rows.packages, *rows.build_packages)),
        )
        for environment in consumer.environments
        for rows in environment.platforms
    )


class _Judge:
    def __init__(self, consumer: Consumer, mirror: Mirror) -> None:
        self._files, self._mirror, self._channels = consumer.files, mirror, mirror.channels
        self._known: dict[int, Verdict] = {}
        self._by_name: dict[str, list[tuple[PurePosixPath, Record]]] = {}
        for subdir, records in mirror.subdirs.items():
            for file_name, record in records.items():
                self._by_name.setdefault(record.name, []).append((subdir / file_name, record))

    def verdicts(self, packages: Sequence[LockedPackage]) -> tuple[Verdict, ...]:
        for package in packages:
            if id(package) not in self._known:
                self._known[id(package)] = self._verdict(package)
        found = [self._known[id(package)] for package in packages]
        return tuple({(each.path, each.package.url): each for each in found}.values())

    def _verdict(self, package: LockedPackage) -> Verdict:
        path = self._mirror.path_of(package)
        own = at_url_path(package, path)
        if own.name in self._mirror.subdirs.get(own.parent, {}):
            path = own
        inside = self._mirror.path_inside(package.url) is not None
        availability = self._availability(package, path, inside=inside)
        verdict = Verdict(package=package, path=path, inside=inside, availability=availability)
        if availability is Availability.RIGHT:
            return _compared(verdict, self._mirror.subdirs[path.parent][path.name])
        if availability is Availability.MISSING:
            return dataclasses.replace(verdict, near=self._near(package, path))
        return verdict

    def _availability(
        self, package: LockedPackage, path: PurePosixPath, *, inside: bool
    ) -> Availability:
        if not inside and package.url in self._files:
            return Availability.ELSEWHERE
        if not inside and not _is_mirrorable(package.url, path):
            return Availability.NOT_MIRRORABLE
        records = self._mirror.subdirs.get(path.parent)
        if records is None:
            is_channel = path.parent.parent in self._channels
            return Availability.NO_SUBDIR if is_channel else Availability.NO_CHANNEL
        return Availability.RIGHT if path.name in records else Availability.MISSING

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


def _is_mirrorable(url: str, path: PurePosixPath) -> bool:
    """Tell whether `[mirrors]` can replace a location: it changes but a URL's beginning.

    Of any scheme: pixi replaces it before anybody looks at that
    (crates/pixi_utils/src/reqwest.rs). It asks for no file so.
    """
    return not is_path(url) and urlsplit(url).scheme != "file" and keeps_path(url, path)


def _compared(verdict: Verdict, record: Record) -> Verdict:
    """Compare by the best digest that both have; the size, where both have one, always."""
    common = list(_pairs(verdict.package.record, record))
    differing = [each for each in common if each[1] != each[2]]
    compared, expected, actual = next(iter([*differing, *common]), (None, "", ""))
    return dataclasses.replace(
        verdict,
        availability=Availability.OTHER if differing else Availability.RIGHT,
        compared=compared,
        expected=expected,
        actual=actual,
    )


def _pairs(locked: Record, record: Record) -> Iterator[tuple[str, str, str]]:
    """Yield what both say: one digest at most, as sha256 outdoes md5, then the size."""
    for key in ("sha256", "md5"):
        ours, theirs = getattr(locked, key), getattr(record, key)
        if ours and theirs:
            yield key, str(ours), str(theirs)
            break
    if locked.size is not None and record.size is not None:
        yield "size", str(locked.size), str(record.size)


def _natural(text: str) -> list[tuple[int, str]]:
    """Make 1.10 come after 1.9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(text)]
