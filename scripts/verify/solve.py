"""The level `solve`: every mirrored environment, solved from the mirror alone, beside pixi.lock.

Foreign platforms too, as the machine that the lock declares. All in one child process without a
network, and with a cache of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Final
from urllib.parse import unquote

from scripts.core.errors import ExitCode, Problem
from scripts.core.file_name import parse_file_name
from scripts.core.layout import FLAT_CHANNEL, Layout, folder_of_channel
from scripts.core.rattler_child import call_rattler
from scripts.core.redact import redact
from scripts.core.report import Json
from scripts.core.scratch import scratch_folder
from scripts.lock.model import LockedEnvironment, PlatformPackages, spec_name
from scripts.lock.satisfiability import channel_key, differs_aside, wanted_text
from scripts.lock.select import Selection, path_of, undeclared_packages
from scripts.verify.findings import (
    EnvironmentPlatform,
    Finding,
    Level,
    LevelResult,
    place_json,
    places_of,
    said_lines,
)
from scripts.verify.install.sandbox import sandbox, sandbox_environment
from scripts.verify.virtual_packages import (
    VirtualPackage,
    declared_packages,
    find_platform,
    virtual_packages,
)
from scripts.workspace.model import Environment, Manifest, ManifestPlatform, Requirement
from scripts.workspace.resolve import (
    channel_priority,
    constraints,
    locked_channels,
    matches,
    pypi_names,
    requirements,
    solve_group,
    solve_strategy,
)
from scripts.workspace.settings import Kind
from scripts.workspace.workspace import Workspace

_FLAT: Final = "a flat mirror does not keep channels apart"
_OTHERS: Final = "other packages in the mirror allow it"
_SHOWN: Final = 20  # artifacts, or lines of rattler's, that one finding shows
_NAMED: Final = 3  # artifacts within a sentence

# A MatchSpec, and the folder of the only channel that may meet it.
Wanted = tuple[str, PurePosixPath | None]
# What is locked of a name, and what is solved; None where one side lacks it.
Difference = tuple[PurePosixPath | None, PurePosixPath | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveJob:
    """One environment on one platform, to be solved from the mirror alone.

    `channels` are folders as in Artifact, in order of priority; `undeclared` are those of artifacts
    that are from none of them, each for some names alone. `locked` are the places of what pixi.lock
    has. `not_proven` are requirements that no conda channel meets. `tolerance` says why an answer
    with less than that is no error; None where there is no such reason.
    """

    place: EnvironmentPlatform
    subdir: str
    channels: tuple[PurePosixPath, ...]
    undeclared: tuple[tuple[PurePosixPath, tuple[str, ...]], ...] = ()
    wanted: tuple[Wanted, ...]
    constraints: tuple[Wanted, ...]
    virtual_packages: tuple[VirtualPackage, ...]
    channel_priority: str
    strategy: str
    locked: frozenset[PurePosixPath]
    not_proven: tuple[str, ...]
    tolerance: str | None

    @property
    def folders(self) -> tuple[PurePosixPath, ...]:
        """All folders that the solver sees something of."""
        return (*self.channels, *(folder for folder, _ in self.undeclared))


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedSolve:
    """A place that the channel alone cannot answer for, and why."""

    place: EnvironmentPlatform
    skip_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedPlace:
    """What came of a job. `reason` says why its `differences` are no error."""

    job: SolveJob
    differences: tuple[Difference, ...] = ()
    reason: str | None = None
    problem: Problem | None = None


def check_solve(
    workspace: Workspace, selection: Selection, retained: AbstractSet[PurePosixPath]
) -> LevelResult:
    """Solve what can be, and hold every answer against pixi.lock.

    `retained` are the artifacts that are indexed though the lock names them no more.
    Raises the error of exit code 4 where rattler ends without an answer.
    """
    plans = plan_solves(selection, workspace.manifest, workspace.root)
    jobs = [each for each in plans if isinstance(each, SolveJob)]
    skipped = [each for each in plans if isinstance(each, SkippedSolve)]
    folder = workspace.place.folder
    replies: Sequence[Json] = ()
    if jobs:
        with scratch_folder() as scratch:
            questions = [solve_question(each, folder) for each in jobs]
            found = call_rattler(
                "solve",
                {"cache": str(scratch / "cache"), "questions": questions},
                sandbox_environment(scratch / "home", {}),
                sandbox().command,
            )
        assert isinstance(found, list)
        replies = found
    solved = [
        compare_answer(job, reply, folder, retained)
        for job, reply in zip(jobs, replies, strict=True)
    ]
    return LevelResult(
        findings=tuple(
            Finding(level=Level.SOLVE, problem=each.problem, places=frozenset({each.job.place}))
            for each in solved
            if each.problem is not None
        ),
        unproven=frozenset(each.place for each in skipped),
        lines=tuple(_lines(solved, skipped)),
        data={"solved": _json(solved, skipped)},
    )


def plan_solves(
    selection: Selection, manifest: Manifest, root: PurePath
) -> tuple[SolveJob | SkippedSolve, ...]:
    """Plan every place that is mirrored; `root` is the workspace's folder."""
    return tuple(_plan(selection, manifest, root, each) for each in places_of(selection))


def _plan(
    selection: Selection,
    manifest: Manifest,
    root: PurePath,
    mirrored: tuple[EnvironmentPlatform, LockedEnvironment, PlatformPackages],
) -> SolveJob | SkippedSolve:
    place, locked, rows = mirrored
    found = find_platform(manifest, locked, rows)
    if isinstance(found, str):
        return SkippedSolve(place=place, skip_reason=found)
    environment, platform = found
    if needed := rows.missing_source_packages:
        reason = f"its packages depend on what is built from source: {', '.join(needed)}"
        return SkippedSolve(place=place, skip_reason=reason)
    folders = _ChannelFolders(selection.layout, locked, root)
    locked_set = _LockedSet(rows, folders, root)
    asked = requirements(manifest, environment, platform)
    limits = constraints(manifest, environment, platform)
    return SolveJob(
        place=place,
        subdir=rows.platform.subdir,
        channels=folders.in_order(locked_channels(manifest, environment)),
        undeclared=_undeclared(selection.layout, locked, rows),
        wanted=(*locked_set.wanted(asked), *locked_set.of_sources("depends")),
        constraints=(*locked_set.wanted(limits), *locked_set.of_sources("constrains")),
        virtual_packages=virtual_packages(declared_packages(rows, platform)),
        channel_priority=channel_priority(manifest, environment),
        strategy=solve_strategy(manifest, environment),
        locked=frozenset(path_of(selection.layout, each) for each in rows.packages),
        not_proven=(
            *(f"{name} (from PyPI)" for name in pypi_names(manifest, environment, platform)),
            *locked_set.not_proven(asked),
            *_dev(manifest, environment, platform),
        ),
        tolerance=_tolerance(selection, manifest, environment, rows),
    )


def _undeclared(
    layout: Layout, locked: LockedEnvironment, rows: PlatformPackages
) -> tuple[tuple[PurePosixPath, tuple[str, ...]], ...]:
    """Return the folders of artifacts from no channel of the environment, and their names."""
    names: dict[PurePosixPath, set[str]] = {}
    for each in undeclared_packages(locked, rows) if layout is Layout.BY_CHANNEL else ():
        names.setdefault(folder_of_channel(layout, each.channel), set()).add(each.name.lower())
    return tuple((folder, tuple(sorted(some))) for folder, some in sorted(names.items()))


class _ChannelFolders:
    """Finds the folder of a channel however it is written.

    The mirror is laid out by the lock's words; a manifest may call the same channel
    `./channel`, or write its password otherwise. `root` is the workspace's folder.
    """

    def __init__(self, layout: Layout, locked: LockedEnvironment, root: PurePath) -> None:
        self.layout, self._root = layout, root
        packages = (each for rows in locked.platforms for each in rows.packages)
        of_packages = dict.fromkeys(each.channel for each in packages if each.channel)
        named = dict.fromkeys((*locked.channels, *of_packages))  # few, of thousands of packages
        self._locked = {channel_key(url, root): url for url in reversed(named)}

    def folder(self, channel: str) -> PurePosixPath:
        """Return the folder, relative to the channel folder; `.` in a flat mirror."""
        written = self._locked.get(channel_key(channel, self._root), channel)
        return folder_of_channel(self.layout, written)

    def in_order(self, channels: Iterable[str]) -> tuple[PurePosixPath, ...]:
        """Return the folders of these channels, each once; the one there is in a flat mirror."""
        if self.layout is Layout.FLAT:
            return (FLAT_CHANNEL,)
        return tuple(dict.fromkeys(self.folder(each) for each in channels))


class _LockedSet:
    """What one place has locked, and how the requirements of it are asked of the mirror."""

    def __init__(self, rows: PlatformPackages, folders: _ChannelFolders, root: PurePath) -> None:
        self._folders, self._root = folders, root
        self._there = {package.name.lower(): package for package in rows.packages}
        self._sources = rows.sources
        self._built = {name for name in rows.source_names if name not in self._there}

    def wanted(self, asked: Iterable[Requirement]) -> Iterator[Wanted]:
        """Write requirements for the mirror; a flat one has a single channel to meet them.

        One that is a location is met by the artifact locked from there, wherever the mirror has it.
        """
        for each in asked:
            if self._skip_reason(each) is not None:
                continue
            spec, folder = each.spec, FLAT_CHANNEL
            if each.location is not None:
                package = self._there[each.name]
                record = package.record
                digest = f",sha256='{record.sha256}'" if record.sha256 else ""
                spec = f"{each.name}[version='=={record.version}',build='{record.build}'{digest}]"
                folder = folder_of_channel(self._folders.layout, package.channel)
            elif each.channel is not None:
                folder = self._folders.folder(each.channel)
            yield spec, None if folder == FLAT_CHANNEL else folder

    def of_sources(self, kind: str) -> Iterator[Wanted]:
        """Yield what source packages need (`depends`, `constrains`) once they are built."""
        for source in self._sources:
            for spec in getattr(source, kind):
                if spec_name(spec) not in self._built and "when=" not in spec:
                    yield spec, None

    def not_proven(self, asked: Iterable[Requirement]) -> Iterator[str]:
        """Yield what is required beside what is solved, and why it is not."""
        reasons = [(each, reason) for each in asked if (reason := self._skip_reason(each))]
        yield from dict.fromkeys(
            f"{each.name if each.name in self._built else wanted_text(each)} ({reason})"
            for each, reason in reasons
        )

    def _skip_reason(self, requirement: Requirement) -> str | None:
        """Say why it is not asked; of a condition the lock tells how it was decided."""
        if requirement.is_source or requirement.name in self._built:
            return "built from source"
        package = self._there.get(requirement.name)
        if requirement.is_conditional and package is None:
            return "under a condition"
        if requirement.location is None:
            return None
        is_there = package is not None and not differs_aside(requirement, package, self._root)
        return None if is_there else "nothing is locked from there"


def _dev(manifest: Manifest, environment: Environment, platform: ManifestPlatform) -> Iterator[str]:
    for feature in manifest.features_of(environment):
        for target in feature.targets:
            if matches(target.selector, platform):
                yield from (f"{name} (dev)" for name in target.dev)


def _tolerance(
    selection: Selection, manifest: Manifest, environment: Environment, rows: PlatformPackages
) -> str | None:
    """Say why less than the locked set may be the right answer."""
    if selection.layout is Layout.FLAT:
        return _FLAT
    if len(solve_group(manifest, environment)) > 1:
        return f"pixi solves the group {environment.solve_group} as one"
    dev = (target.dev for each in manifest.features_of(environment) for target in each.targets)
    if any(dev) or any(row.kind is Kind.SOURCE for row in rows.unmirrorable):
        return "what is built from source has requirements of its own"
    return None


def solve_question(job: SolveJob, folder: Path) -> Json:
    """Write what the worker is asked; `folder` is the channel folder."""

    def write(wanted: Iterable[Wanted]) -> list[Json]:
        return [f"{(folder / at).as_uri()}::{spec}" if at else spec for spec, at in wanted]

    return {
        "channels": [(folder / each).as_uri() for each in job.channels],
        "undeclared": [
            {"channel": (folder / each).as_uri(), "folder": str(folder / each), "names": names}
            for each, names in job.undeclared
        ],
        "subdir": job.subdir,
        "specs": write(job.wanted),
        "constraints": write(job.constraints),
        "virtual_packages": [
            [each.name, each.version, each.build] for each in job.virtual_packages
        ],
        "channel_priority": job.channel_priority,
        "strategy": job.strategy,
    }


def compare_answer(
    job: SolveJob, reply: Json, folder: Path, retained: AbstractSet[PurePosixPath]
) -> SolvedPlace:
    """Hold the worker's answer against the locked set; what is not in the mirror keeps its URL.

    An answer of locked packages alone that lacks some of them cannot be due to other packages in
    the mirror: where nothing else makes it right, it is wrong.
    """
    assert isinstance(reply, dict)
    plain = SolvedPlace(job=job)
    if "refused" in reply:
        refusal = Problem(
            subject=str(job.place),
            message="cannot be solved from the channel alone",
            code=ExitCode.FINDINGS,
            details=said_lines(str(reply["refused"]), _SHOWN),
            help="pixi run verify --level index,closure",
        )
        return dataclasses.replace(plain, problem=refusal)
    urls = reply["urls"]
    assert isinstance(urls, list)
    root = unquote(folder.as_uri()) + "/"
    solved = frozenset(PurePosixPath(unquote(str(url)).removeprefix(root)) for url in urls)
    found = _differences(job.locked, solved)
    if not found:
        return plain
    reason = _reason(job, solved - job.locked, retained)
    problem: Problem | None = None
    if reason is None:
        details = [("lacks", str(gone)) for gone, _ in found[:_SHOWN]]
        if len(found) > _SHOWN:
            details.append(("and", f"{len(found) - _SHOWN} more"))
        problem = Problem(
            subject=str(job.place),
            message="solved from the channel alone, it has less than pixi.lock",
            code=ExitCode.FINDINGS,
            details=tuple(details),
            help="pixi run verify --level index, and `pixi lock` if the manifest asks for less",
        )
    return dataclasses.replace(plain, differences=found, reason=reason, problem=problem)


def _reason(
    job: SolveJob, others: AbstractSet[PurePosixPath], retained: AbstractSet[PurePosixPath]
) -> str | None:
    """Say why an answer with these others is no error; None where it is one."""
    if offered := sorted(map(str, others & retained)):
        names = _listed(offered, _NAMED)
        return f"the mirror still offers {names}, retained from an earlier lock"
    return _OTHERS if others and job.tolerance in {None, _FLAT} else job.tolerance


def _differences(
    locked: frozenset[PurePosixPath], solved: frozenset[PurePosixPath]
) -> tuple[Difference, ...]:
    """Pair what one side alone has by package name, in order of names."""
    gone = {_name(path): path for path in sorted(locked - solved)}
    come = {_name(path): path for path in sorted(solved - locked)}
    return tuple((gone.get(name), come.get(name)) for name in sorted({*gone, *come}))


def _name(path: PurePosixPath) -> str:
    parsed = parse_file_name(path.name)
    return path.name if parsed is None else parsed.name


def _listed(names: Sequence[str], shown: int) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"


def _lines(solved: Sequence[SolvedPlace], skipped: Sequence[SkippedSolve]) -> Iterator[str]:
    """Say what was solved otherwise, and why that is no error; what was not solved, or proven."""
    for each in solved:
        if each.differences and each.reason is not None:
            yield f"solved {each.job.place} otherwise than pixi.lock ({each.reason}):"
            for gone, come in each.differences[:_SHOWN]:
                yield (
                    f"  - {gone}"
                    if come is None
                    else f"  {gone} → {come}"
                    if gone
                    else f"  + {come}"
                )
            if len(each.differences) > _SHOWN:
                yield f"  and {len(each.differences) - _SHOWN} more, in --json"
        for folder, names in each.job.undeclared:
            yield (
                f"solved {each.job.place} with {folder} after all its channels, since the lock has"
                f" {_listed(names, _SHOWN)} from there; for no other name"
            )
    for each in solved:
        if each.job.not_proven:
            yield f"not proven by solving {each.job.place}: {', '.join(each.job.not_proven)}"
    for other in skipped:
        yield f"not solved: {other.place}; {other.skip_reason}"


def _json(solved: Sequence[SolvedPlace], skipped: Sequence[SkippedSolve]) -> list[Json]:
    """Say the same for programs."""

    def path(each: PurePosixPath | None) -> str | None:
        return None if each is None else redact(str(each))

    return [
        *(
            {
                **place_json(each.job.place),
                "solved": each.problem is None,
                "differences": [
                    {"locked": path(gone), "solved": path(come)} for gone, come in each.differences
                ],
                "reason": each.reason,
                "undeclared": {str(folder): names for folder, names in each.job.undeclared},
                "not-proven": list(each.job.not_proven),
            }
            for each in solved
        ),
        *(
            {**place_json(each.place), "solved": None, "skip-reason": each.skip_reason}
            for each in skipped
        ),
    ]
