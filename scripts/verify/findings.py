"""What verify looks at and what it finds, and whom a finding concerns."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from scripts.core.channel_paths import folder_of_channel
from scripts.core.errors import ExitCode, Problem, finding_problem, first_details
from scripts.core.redact import printable, redact
from scripts.core.report import Json, Line, listed
from scripts.core.subdir import NOARCH
from scripts.lock.mirrored import MirroredLock
from scripts.lock.model import LockedEnvironment, PlatformPackages
from scripts.lock.pypi import UNHASHED, pypi_artifacts
from scripts.lock.select import Selection, all_unmirrorable, path_of
from scripts.workspace.settings import TABLE, IncompleteKind

if TYPE_CHECKING:  # the level brings its own modules, where it is looked at
    from scripts.verify.install.stage import InstallAttempt


class Level(StrEnum):
    """How deep verify looks."""

    FILES = "files"
    """Every locked artifact is there, byte for byte."""
    ARCHIVES = "archives"
    """Every locked artifact can be opened, and is the package that the lock says."""
    INDEX = "index"
    """What the channel says of its artifacts is what the lock says."""
    CLOSURE = "closure"
    """Every requirement is met within its environment and platform, as the mirror's records say."""
    SOLVE = "solve"
    """What the manifest requires, solved from the channel alone, is what the lock has."""
    INSTALL = "install"
    """The environments of this machine's platform install from the channel alone."""


class Client(StrEnum):
    """What installs at the level `install`; the words are those of `--client`."""

    RATTLER = "rattler"
    PIXI = "pixi"
    """The manifest and lock unchanged, through `[mirrors]`."""
    PIXI_OFFLINE = "pixi-offline"
    """A workspace of its own whose channels are the mirror's `file://` URLs."""
    CONDA = "conda"
    MICROMAMBA = "micromamba"
    UV = "uv"
    """The PyPI packages alone, as pip: into the prefix that py-rattler has made."""
    PIP = "pip"

    @property
    def program(self) -> str:
        """Its name for people."""
        names = {Client.RATTLER: "py-rattler", Client.PIXI_OFFLINE: "pixi --offline"}
        return names.get(self, self.value)


RIGHT, WRONG, NOT_DONE = "✓", "✗", "–"  # noqa: RUF001
MARKS: Final = {True: RIGHT, False: WRONG, None: NOT_DONE}
FOR_PYPI: Final = frozenset({Client.UV, Client.PIP})
"""Those that install PyPI packages alone."""
ELSEWHERE, NEEDED_BY = "elsewhere", "needed by"
_LISTED: Final = 20  # unproven requirements that one line shows
_LOOK_AT: Final = "pixi run verify --level "
# The help where all levels that it would send to have passed.
_WHERE_ALL_PASSED: Final = {
    Level.SOLVE: "`pixi lock`, if the manifest asks for something else by now",
    Level.INSTALL: "files and index have passed, so see what the program said; `pixi update`"
    " takes other builds",
}


@dataclass(frozen=True, slots=True, order=True)
class EnvironmentPlatform:
    """One environment on one platform; `platform` as the lock names it.

    `lock` is the lock's label, where the mirror is of several.
    """

    environment: str
    platform: str
    lock: str = ""

    def __str__(self) -> str:
        """Write it as it stands in findings."""
        place = f"{self.environment}/{self.platform}"
        return f"{self.lock}:{place}" if self.lock else place


PlaceRows = Mapping[EnvironmentPlatform, Mapping[str, Any]]
"""What `--json` has of places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, and all the places that it makes fail.

    `level` None: nothing in the channel is wrong, but the lock wants what no channel holds.
    """

    level: Level | None
    problem: Problem
    places: frozenset[EnvironmentPlatform]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """What came of one level."""

    findings: tuple[Finding, ...] = ()
    environment_problems: tuple[Problem, ...] = ()
    """What kept this machine from looking, and is no fault of the channel's."""
    unproven: frozenset[EnvironmentPlatform] = frozenset()
    """Places of which not all is proven, though nothing need be wrong."""
    attempts: tuple[InstallAttempt, ...] = ()
    """What was installed, and how it went."""
    proven: Mapping[EnvironmentPlatform, datetime] = field(default_factory=dict)
    """Places of which something was proven by an earlier run, and when the oldest of it was."""
    lines: tuple[Line, ...] = ()
    caveats: tuple[str, ...] = ()
    """What a reader of the transfer report might take for proven, and is not."""
    rows: PlaceRows = field(default_factory=dict)
    """What a level that solves says of each place that it has looked at."""
    data: Mapping[str, Json] = field(default_factory=dict)
    """What `--json` says of it."""


def places_of(
    selection: Selection,
) -> Iterator[tuple[MirroredLock, EnvironmentPlatform, LockedEnvironment, PlatformPackages]]:
    """Yield every environment on every platform that is mirrored, in the locks' order."""
    for label, lock in selection.labelled:
        for environment in lock.environments:
            for rows in environment.platforms:
                place = EnvironmentPlatform(environment.name, rows.platform.name, label)
                yield lock, place, environment, rows


class UsageIndex:
    """Which places use an artifact, a subdir or a channel's `noarch`; paths as in Artifact.

    So one finding can be blamed on all whom it concerns. It is worked out when somebody first
    asks: where nothing is wrong, nobody does.
    """

    def __init__(self, selection: Selection) -> None:
        """Take what is mirrored."""
        self._selection = selection

    def places(self, *paths: PurePosixPath) -> frozenset[EnvironmentPlatform]:
        """Return the places that use the first of these paths that any place uses."""
        return next((self._of[path] for path in paths if path in self._of), frozenset())

    @functools.cached_property
    def _of(self) -> Mapping[PurePosixPath, frozenset[EnvironmentPlatform]]:
        layout = self._selection.layout
        found: dict[PurePosixPath, set[EnvironmentPlatform]] = {}
        for _, place, environment, rows in places_of(self._selection):
            paths = {path_of(layout, each) for each in rows.all_packages}
            of_pypi = {each.path for record in rows.pypi for each in pypi_artifacts(record)}
            channels = {folder_of_channel(layout, url) for url in environment.channels}
            # Clients read noarch of each channel for every platform (CEP 26).
            noarchs = {each / NOARCH for each in channels | {path.parent.parent for path in paths}}
            for path in paths | {path.parent for path in paths} | noarchs | of_pypi:
                found.setdefault(path, set()).add(place)
        return {path: frozenset(places) for path, places in found.items()}


def with_places(level: Level, key: str, result: LevelResult) -> LevelResult:
    """Say what of its places a level could not ask; `key` is that of its rows in `--json`.

    The screen has that once for all places of which it is said, and not all of it.
    """
    told = list(_open_questions(result.rows, sys.maxsize))
    lines = said_of(f"{level}: not proven of", _open_questions(result.rows, _LISTED), ": ")
    return replace(
        result,
        unproven=frozenset(place for place, _ in told),
        lines=(*result.lines, tuple(lines)),
        caveats=tuple(f"{level}: not proven of {place}: {said}" for place, said in told),
        data={key: [{**place_json(place), **row} for place, row in result.rows.items()]},
    )


def _open_questions(rows: PlaceRows, shown: int) -> Iterator[tuple[EnvironmentPlatform, str]]:
    for place, row in rows.items():
        for said in (row.get("skip-reason"), listed(row.get("not-proven", ()), shown)):
            if said:
                yield place, said


def said_of(
    before: str, said: Iterable[tuple[EnvironmentPlatform, str]], mark: str
) -> Iterator[str]:
    """Yield `before a, b; why` for each thing that is said of places, once for all of them."""
    places: dict[str, dict[str, None]] = {}
    for place, text in said:
        places.setdefault(text, {})[str(place)] = None
    for text, names in places.items():
        yield f"{before} {listed([*names])}{mark}{text}"


def used_by(places: Iterable[EnvironmentPlatform]) -> tuple[str, str]:
    """Make the detail that names the places a finding concerns."""
    return ("used by", ", ".join(map(str, sorted(places))))


def look_at(*levels: Level) -> str:
    """Write the help that sends to levels which may tell why."""
    return f"{_LOOK_AT}{','.join(levels)}"


def with_help_left(
    finding: Finding, results: Mapping[Level, LevelResult], selection: Selection
) -> Finding:
    """Take out of the help each level that this run has looked at: it has told what it found.

    `closure` believes the records, so of what is wrong with them it would blame the lock.
    """

    def has_found(level: Level) -> bool:
        there = results[level].findings if level in results else ()
        return any(each.places & finding.places for each in there)

    said = (finding.problem.help or "").removeprefix(_LOOK_AT).split(",")
    # What says `pixi run index` already, `index` has told, too.
    if finding.level is Level.CLOSURE and said != ["pixi run index"] and has_found(Level.INDEX):
        said = [Level.INDEX]
    elif finding.level not in _WHERE_ALL_PASSED or not set(said) <= set(Level):
        return finding
    levels = [*map(Level, said)]
    left = [level for level in levels if level not in results]
    advice = look_at(*left) if left else _WHERE_ALL_PASSED.get(finding.level, "")
    advice = dict(selection.labelled)[min(finding.places).lock].renewing(advice)
    if failed := [level for level in levels if has_found(level)]:
        advice = f"mend first what {' and '.join(failed)} found"
    return replace(finding, problem=replace(finding.problem, help=advice))


def place_json(place: EnvironmentPlatform) -> dict[str, Json]:
    """Name a place for programs."""
    lock = {"lock": place.lock} if place.lock else {}
    return {**lock, "environment": place.environment, "platform": place.platform}


def grouped(
    level: Level | None, found: Iterable[tuple[Problem, EnvironmentPlatform]]
) -> Iterator[Finding]:
    """Yield one finding for all places in which the same is wrong in the same way.

    What would mend it elsewhere, and who needs it, is told of the first.
    """
    same: dict[object, tuple[Problem, set[EnvironmentPlatform]]] = {}
    for problem, place in found:
        facts = tuple(each for each in problem.details if each[0] not in {ELSEWHERE, NEEDED_BY})
        key = problem.subject, problem.message, facts
        same.setdefault(key, (problem, set()))[1].add(place)
    for problem, places in same.values():
        told = replace(problem, details=(*problem.details, used_by(places)))
        yield Finding(level=level, problem=told, places=frozenset(places))


def level_result(
    level: Level, found: Iterable[tuple[Problem, Iterable[EnvironmentPlatform]]]
) -> LevelResult:
    """Tell what is wrong with the channel from what is wrong with this machine.

    `found` has each problem with the places that it concerns; one found twice is one finding.
    """
    concerned: dict[Problem, set[EnvironmentPlatform]] = {}
    for problem, places in found:
        concerned.setdefault(problem, set()).update(places)
    mine = [each for each in concerned.items() if each[0].code is not ExitCode.FINDINGS]
    return LevelResult(
        findings=tuple(
            Finding(level=level, problem=problem, places=frozenset(places))
            for problem, places in concerned.items()
            if problem.code is ExitCode.FINDINGS
        ),
        environment_problems=tuple(problem for problem, _ in mine),
        unproven=frozenset[EnvironmentPlatform]().union(*(places for _, places in mine)),
    )


def said_lines(text: str, shown: int) -> tuple[tuple[str, str], ...]:
    """Make the details that tell what a program said: its first lines, and how many more."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return first_details([("said", redact(printable(line))) for line in lines], shown)


def incomplete(selection: Selection, allowed: AbstractSet[IncompleteKind]) -> Iterator[Finding]:
    """Make a finding of each row that no artifact stands for, unless its kind is allowed."""
    places = {str(place): place for _, place, _, _ in places_of(selection)}
    for row, where in all_unmirrorable(selection).items():
        if row.kind is not None and row.kind not in allowed:
            advice = f'add "{row.kind}" to allow-incomplete'
            if row.reason.endswith(UNHASHED):
                advice = f"allow-unhashed = true, or {advice},"
            problem = finding_problem(
                row.name,
                f"is not mirrored: {row.reason}",
                ("from", redact(row.location)),
                ("used by", ", ".join(where)),
                help=f"{advice} under [{TABLE}], if that will do",
            )
            concerned = frozenset(places[each] for each in where)
            yield Finding(level=None, problem=problem, places=concerned)


def incomplete_cell(rows: PlatformPackages, allowed: AbstractSet[IncompleteKind]) -> str:
    """Say in the line of a place how many rows of the lock are not mirrored; nothing if none."""
    kinds = [row.kind for row in rows.unmirrorable if row.kind is not None]
    if not kinds:
        return ""
    refused = sum(kind not in allowed for kind in kinds)
    said = f" {WRONG}" if refused else ", as allowed"
    return f"incomplete{said} ({refused or len(kinds)} not mirrored)"


def link_problem(path: PurePosixPath, since: str = "") -> Problem:
    """Make the problem of a link: where the channel is carried to, it leads nowhere."""
    advice = "put the files themselves in the place of the link"
    return finding_problem(path, f"is a link, not the file itself{since}", help=advice)


def untracked(path: PurePosixPath, size: int) -> Finding:
    """Make the finding of a file that nobody knows."""
    problem = finding_problem(
        path,
        "is untracked: named by no workspace, and by no index ever",
        ("size", f"{size} bytes"),
        help="move it out of the channel folder",
    )
    return Finding(level=None, problem=problem, places=frozenset())
