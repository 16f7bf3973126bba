"""Compare what a lock names with what a mirror says that it has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from scripts.core.errors import Problem, finding_problem
from scripts.core.record import PypiRecord, Record
from scripts.core.redact import redact
from scripts.core.report import counted, listed
from scripts.core.subdir import NOARCH
from scripts.doctor.mirror import Mirror, is_own_file
from scripts.index.pypi_pages import INDEX
from scripts.lock.location import is_remote, keeps_path, url_subdir
from scripts.lock.model import LockedEnvironment, LockedPackage, PlatformPackages, locked_packages
from scripts.lock.pypi import is_direct, is_second_place, keeps_name
from scripts.verify.findings import EnvironmentPlatform
from scripts.workspace.settings import TABLE

_DIGITS: Final = re.compile(r"(\d+)")
_SHOWN: Final = 3  # near misses that a finding names

Named = Mapping[str, list[tuple[PurePosixPath, Record]]]


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
    NOT_BESIDE = "not-beside-the-lock"
    """A wheel or sdist that the lock names by its path, and that is not there."""
    ELSEWHERE = "elsewhere"
    """A file of the consumer's own, which is there."""


_DIRECT_URL: Final = (
    "its keeper mirrors this lock: `pixi run mirror`; or write the URL of what the mirror has in"
    " place of the manifest's `url`, which `pixi update` keeps, then `pixi lock`"
)
_MIRROR: Final = "its keeper mirrors this lock: `pixi run mirror`"
_ADD: Final = "its keeper adds it: `pixi add`, then `pixi run mirror`"
_NO_PYPI: Final = (
    f"{_MIRROR}, where `pypi` is not false; or `--no-pypi --allow-incomplete pypi`, if the consumer"
    " has them from elsewhere"
)
_NOT_BESIDE: Final = "is a file beside the lock, which has to be copied along"
_NAME_A_CHANNEL: Final = (
    "name a channel with a URL in `channels`, and in place of a package's own `url` the mirror's,"
    " then `pixi lock`; `[mirrors]` replaces the beginning of URLs, and nothing else"
)
_OTHER_SUBDIR: Final = (
    "a flat mirror has it in the record's subdir, not in that of this URL, and `[mirrors]` replaces"
    " but the beginning of a URL"
)
_BY_CHANNEL: Final = (
    f'its keeper sets layout = "by-channel" under [{TABLE}], then `pixi run mirror --relayout`; or'
    " name the mirror itself in `channels`, then `pixi lock`"
)
_NO_FINDING: Final = (Availability.RIGHT, Availability.ELSEWHERE)
_GAPS: Final = (Availability.NO_SUBDIR, Availability.NO_CHANNEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One artifact: where the mirror should have it, and what is there.

    `url` is where the lock has it from. `inside`: the lock itself names it at that place, having
    been made from the mirror.
    `compared` are what was compared (`sha256`, `md5`, `size`), expected and actual; None: the
    mirror and the lock have nothing in common that could be.
    """

    package: LockedPackage | PypiRecord
    url: str
    path: PurePosixPath
    inside: bool
    availability: Availability
    compared: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One environment on one platform; its verdicts in the lock's order, each artifact once."""

    place: EnvironmentPlatform
    rows: PlatformPackages
    verdicts: tuple[Verdict, ...]


def diagnose(environments: Sequence[LockedEnvironment], mirror: Mirror) -> tuple[Diagnosis, ...]:
    """Judge every artifact of every environment and platform of the consumer."""
    every: list[LockedPackage | PypiRecord] = [*locked_packages(environments)]
    every += (x for each in environments for rows in each.platforms for x in rows.pypi)
    verdicts = {id(each): _verdict(each, mirror) for each in every}
    return tuple(
        Diagnosis(
            place=EnvironmentPlatform(environment.name, rows.platform.name),
            rows=rows,
            verdicts=_each_once(verdicts[id(x)] for x in (*rows.all_packages, *rows.pypi)),
        )
        for environment in environments
        for rows in environment.platforms
    )


def all_verdicts(diagnoses: Iterable[Diagnosis]) -> tuple[Verdict, ...]:
    """Return the verdicts of all places, on each artifact once."""
    return _each_once(verdict for each in diagnoses for verdict in each.verdicts)


def _each_once(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    return tuple({(each.path, each.url): each for each in verdicts}.values())


def _verdict(package: LockedPackage | PypiRecord, mirror: Mirror) -> Verdict:
    locked: Record | PypiRecord
    if is_pypi := isinstance(package, PypiRecord):
        url, locked = package.location, package
    else:
        url, locked = package.url, package.record
    path, compared = mirror.path_of(package), None
    inside, found = mirror.path_inside(url) is not None, mirror.record_at(path)
    if not inside and is_own_file(url, mirror.root):
        availability = Availability.ELSEWHERE
    elif not inside and is_pypi and not is_remote(url):
        availability = Availability.NOT_BESIDE
    elif not inside and not (keeps_name(url) if is_pypi else _is_mirrorable(url, path)):
        availability = Availability.NOT_MIRRORABLE
    elif found is not None:
        common = list(_pairs(locked, found))
        differing = [each for each in common if each[1] != each[2]]
        compared = next(iter([*differing, *common]), None)
        availability = Availability.OTHER if differing else Availability.RIGHT
    elif is_pypi or path.parent in mirror.subdirs:
        availability = Availability.MISSING
    else:
        is_channel = path.parent.parent in mirror.channels
        availability = Availability.NO_SUBDIR if is_channel else Availability.NO_CHANNEL
    return Verdict(
        package=package,
        url=url,
        path=path,
        inside=inside,
        availability=availability,
        compared=compared,
    )


def _is_mirrorable(url: str, path: PurePosixPath) -> bool:
    """Tell whether `[mirrors]` can replace a location: it changes but a URL's beginning.

    Of any scheme: pixi replaces it before anybody looks at that
    (crates/pixi_utils/src/reqwest.rs). It asks for no file so.
    """
    return is_remote(url) and keeps_path(url, path)


def _pairs(
    locked: Record | PypiRecord, there: Record | PypiRecord
) -> Iterator[tuple[str, str, str]]:
    """Yield what both say: the best digest that both have, as sha256 outdoes md5, and the size."""
    pairs = {
        key: (getattr(locked, key, None), getattr(there, key, None))
        for key in ("sha256", "md5", "size")
    }
    said = {key: pair for key, pair in pairs.items() if None not in pair}
    if "sha256" in said:
        said.pop("md5", None)
    yield from ((key, str(ours), str(theirs)) for key, (ours, theirs) in said.items())


def content_findings(diagnoses: Sequence[Diagnosis], mirror: Mirror) -> Iterator[Problem]:
    """Yield what is missing or another, each once with all who need it; whole gaps first."""
    found: dict[tuple[bool, PurePosixPath, str], dict[str, Verdict]] = {}
    needed: dict[tuple[bool, PurePosixPath, str], dict[str, None]] = {}
    for diagnosis in diagnoses:
        for each in diagnosis.verdicts:
            if each.availability not in _NO_FINDING:
                is_gap = each.availability in _GAPS
                key = (False, gap(each), "") if is_gap else (True, each.path, each.url)
                found.setdefault(key, {})[each.url] = each
                needed.setdefault(key, {})[str(diagnosis.place)] = None
    named: dict[str, list[tuple[PurePosixPath, Record]]] = {}
    for subdir, records in mirror.subdirs.items():
        for file_name, record in records.items():
            named.setdefault(record.name, []).append((subdir / file_name, record))
    for key in sorted(found, key=lambda key: key[0]):
        needed_by = ("needed by", ", ".join(needed[key]))
        yield _finding([*found[key].values()], mirror, named, needed_by)


def gap(verdict: Verdict) -> PurePosixPath:
    """Name the folder that is not there: the channel's, or the subdir's."""
    subdir = verdict.path.parent
    return subdir.parent if verdict.availability is Availability.NO_CHANNEL else subdir


def _finding(
    verdicts: Sequence[Verdict], mirror: Mirror, named: Named, needed_by: tuple[str, str]
) -> Problem:
    """Say what is wrong with an artifact, or with all of one gap, and what helps."""
    verdict, details, help_ = verdicts[0], list[tuple[str, str]](), _MIRROR
    package, path, subject = verdict.package, verdict.path, str(verdict.path)
    match verdict.availability:
        case Availability.OTHER:
            key, *sides = verdict.compared or ("", "", "")
            message = f"the mirror has another {key}"
            details = [*zip(("expected", "actual"), sides, strict=True)]
            either = f"one of both is of a later upload: `pixi update {package.name}`"
            help_ = f"{either}, or its keeper runs `pixi run mirror`"
        case Availability.MISSING:
            message = "is not in the mirror"
            has_no_pages = isinstance(package, PypiRecord) and not mirror.has_pages
            help_ = _NO_PYPI if has_no_pages else _ADD
            details = [("no pages at", mirror.url_of(INDEX))] if has_no_pages else []
            if near := [*map(str, _near_misses(verdict, mirror, named))]:
                details = [("it has", listed(near, _SHOWN, where=""))]
                update = f"`pixi update {package.name}` takes what the mirror has, once pixi is led"
                is_by_url = isinstance(package, PypiRecord) and is_direct(package)
                help_ = _DIRECT_URL if is_by_url else f"{update} to it"
        case Availability.NOT_MIRRORABLE:
            subject, help_ = redact(verdict.url), _NAME_A_CHANNEL
            message = "nothing can lead pixi from this location to the mirror"
            details = [("mirror", mirror.url_of(path))]
            if url_subdir(verdict.url) not in {None, path.parent.name}:
                message, details, help_ = _OTHER_SUBDIR, [("mirror", str(path))], _BY_CHANNEL
        case Availability.NOT_BESIDE:
            subject, place = redact(verdict.url), mirror.location.file_at(path)
            message, details = _NOT_BESIDE, [("not at", place)]
            if path in mirror.pypi:
                details = [("copy from", place)]
                help_ = "copy it from the mirror to where the lock has it"
        case _:
            folder = gap(verdict)
            subject, message = str(folder), "there is no repodata"
            if verdict.availability is Availability.NO_CHANNEL:
                channel = None if isinstance(package, PypiRecord) else package.channel
                subject, message = redact(channel or subject), "this channel is not mirrored"
                folder /= NOARCH
            elif folder.name != NOARCH:
                message, add = "this platform is not mirrored", "pixi run platforms --add"
                help_ = f"its keeper mirrors it: `{add} {folder.name}`, which says what comes next"
            details = [
                ("looked for", f"{mirror.url_of(folder)}/repodata.json"),
                ("missing", counted(len(verdicts), "artifact")),
            ]
    return finding_problem(subject, message, *details, needed_by, help=help_)


def _near_misses(verdict: Verdict, mirror: Mirror, named: Named) -> list[PurePosixPath]:
    """Find other versions, builds and formats for the same machines, newest first."""
    if isinstance(verdict.package, PypiRecord):
        name = verdict.package.name
        named_so = (path for path, record in mirror.pypi.items() if record.name == name)
        files = [path for path in named_so if not is_second_place(path)]
        return sorted(files, key=lambda path: _natural(path.name), reverse=True)
    wanted, channel = verdict.package.record, verdict.path.parent.parent
    found = [
        (record.version == wanted.version, path.parent.parent == channel, path)
        for path, record in named.get(wanted.name, ())
        if wanted.subdir == NOARCH or path.parent.name in {wanted.subdir, NOARCH}
    ]
    found.sort(key=lambda each: (*each[:2], _natural(str(each[2]))), reverse=True)
    return [path for _, _, path in found]


def _natural(text: str) -> list[tuple[int, str]]:
    """Make 1.10 come after 1.9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(text)]
