"""The level `solve`: every mirrored environment, solved from the mirror alone, beside pixi.lock.

Foreign platforms too, as the machine that the lock declares. All in one child process without a
network, and with a cache of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

from scripts.core.artifact import Artifact
from scripts.core.channel_paths import FLAT_CHANNEL, Layout, folder_of_channel
from scripts.core.errors import ExitCode, Problem
from scripts.core.file_name import parse_file_name
from scripts.core.rattler_child import call_rattler, rank_versions
from scripts.core.redact import redact
from scripts.core.report import Json, Line, listed
from scripts.core.scratch import scratch_folder
from scripts.core.subdir import NOARCH
from scripts.index.file_classes import INDEX_FILES, IndexedArtifact
from scripts.lock.model import LockedEnvironment, spec_name
from scripts.lock.satisfiability import channel_key
from scripts.lock.select import Selection, path_of, undeclared_packages
from scripts.verify.findings import (
    Client,
    EnvironmentPlatform,
    Level,
    LevelResult,
    level_result,
    place_json,
    places_of,
    with_places,
)
from scripts.verify.install.clients import find_program
from scripts.verify.install.sandbox import certificates, sandbox, sandbox_environment
from scripts.verify.plan import PackageSet, Root, plan_sets
from scripts.verify.proofs import Proofs
from scripts.verify.pypi_solve import (
    PypiSolve,
    newer_retained,
    plan_pypi_solve,
    pypi_solve_dependencies,
    pypi_solve_files,
    solve_pypi,
)
from scripts.verify.solve_answer import SolveAnswer, compare_solved, refused
from scripts.workspace.resolve import (
    asked_for,
    channel_priority,
    locked_channels,
    solve_group,
    solve_strategy,
)
from scripts.workspace.workspace import Workspace

_FLAT: Final = "a flat mirror does not keep channels apart"
_OTHERS: Final = "other packages in the mirror allow it"
_SHOWN: Final = 20  # names that one line shows
_NAMED: Final = 3  # artifacts within a sentence

# What `--json` says of a place where nothing is wrong or open.
_SOLVED: Final[Mapping[str, Json]] = {
    "solved": True,
    "differences": [],
    "reason": None,
    "undeclared": {},
    "not-proven": [],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveJob:
    """One environment on one platform, to be solved from the mirror alone."""

    place: EnvironmentPlatform
    skip_reason: str | None = None
    """Why the channel alone cannot answer for it."""
    question: Mapping[str, Any] = field(default_factory=dict)
    """What the worker is asked."""
    folders: tuple[PurePosixPath, ...] = ()
    """All that the solver sees something of, in order of priority."""
    undeclared: Mapping[PurePosixPath, tuple[str, ...]] = field(default_factory=dict)
    """The folders among them that are no channels of the environment, each with the names of the
    packages that may come from there."""
    locked: frozenset[PurePosixPath] = frozenset()
    not_proven: tuple[str, ...] = ()
    """The requirements that no conda channel meets."""
    tolerance: str | None = None
    """Why an answer with less than what is locked is no error; None: there is no such reason."""
    pypi: PypiSolve | None = None
    """What uv is asked; None: there is nothing of PyPI."""


def check_solve(
    workspace: Workspace,
    selection: Selection,
    retained: AbstractSet[PurePosixPath],
    proofs: Proofs,
) -> LevelResult:
    """Solve what can be, and hold every answer against pixi.lock.

    `retained` are the artifacts that are indexed though the lock names them no more.
    Raises the error of exit code 4 where rattler ends without an answer.
    """
    folder = workspace.place.folder
    uv = find_program(Client.UV, os.environ)
    jobs = {each.place: each for each in plan_solves(selection, folder, uv)}

    def dependencies(job: SolveJob) -> Iterator[object]:
        subdirs = [each / name for each in job.folders for name in (job.question["subdir"], NOARCH)]
        yield proofs.digests(folder, {each / name for each in subdirs for name in INDEX_FILES})
        yield job.question
        yield sorted(job.locked)
        if job.pypi is not None:
            yield pypi_solve_dependencies(job.pypi)
            yield proofs.digests(folder, pypi_solve_files(job.pypi, folder))

    def check(places: Collection[EnvironmentPlatform]) -> LevelResult:
        return _solve([jobs[place] for place in places], folder, retained)

    keys = {place: proofs.key(Level.SOLVE, dependencies(each)) for place, each in jobs.items()}
    return with_places(Level.SOLVE, "solved", proofs.prove_places(keys, _SOLVED, check))


def _solve(
    jobs: Sequence[SolveJob], folder: Path, retained: AbstractSet[PurePosixPath]
) -> LevelResult:
    """Solve all in one child process, and after that what there is of PyPI."""
    questions = [each.question for each in jobs if each.skip_reason is None]
    replies: Iterator[Any] = iter(())
    if questions:
        with scratch_folder() as scratch:
            reply: Any = call_rattler(
                "solve",
                {"cache": str(scratch / "cache"), "questions": questions},
                sandbox_environment(scratch / "home", certificates()),
                sandbox().command,
            )
        replies = iter(reply)
    found: list[tuple[Problem, tuple[EnvironmentPlatform]]] = []
    lines: list[Line] = []
    rows: dict[EnvironmentPlatform, dict[str, Any]] = {}
    for job in jobs:
        row = rows[job.place] = {"solved": None}
        if job.skip_reason is not None:
            row["skip-reason"] = job.skip_reason
            continue
        answers = {str(job.place): compare_answer(job, next(replies), folder, retained)}
        not_proven = [*job.not_proven]
        if job.pypi is not None:
            answer = solve_pypi(job.pypi, folder)
            answers[f"the PyPI packages of {job.place}"] = answer
            not_proven += (*job.pypi.not_proven, *answer.not_proven)
        problems = [each.problem for each in answers.values() if each.problem is not None]
        found += ((each, (job.place,)) for each in problems)
        if problems and all(each.code is not ExitCode.FINDINGS for each in problems):
            subject, message = problems[0].subject, problems[0].message
            row["skip-reason"] = message if subject == str(job.place) else f"{subject}: {message}"
            continue
        row["solved"] = not problems
        row["differences"] = [pair for each in answers.values() for pair in each.rows]
        row["reason"] = next((each.reason for each in answers.values() if each.reason), None)
        row["undeclared"] = {str(path): names for path, names in sorted(job.undeclared.items())}
        row["not-proven"] = not_proven
        lines += (line for what, each in answers.items() for line in each.lines(what))
        lines += _undeclared_lines(job)
    return replace(level_result(Level.SOLVE, found), lines=tuple(lines), rows=rows)


def plan_solves(selection: Selection, folder: Path, uv: Path | None = None) -> tuple[SolveJob, ...]:
    """Plan every place that is mirrored; `folder` is the channel folder."""
    return tuple(_plan(selection.layout, folder, each, uv) for each in plan_sets(selection))


def _plan(layout: Layout, folder: Path, planned: PackageSet, uv: Path | None) -> SolveJob:
    rows = planned.rows
    skip_reason = planned.declared if isinstance(planned.declared, str) else None
    if skip_reason is None and (needed := rows.missing_source_packages):
        skip_reason = f"its packages depend on what is built from source: {', '.join(needed)}"
    if skip_reason is not None or isinstance(planned.declared, str):
        return SolveJob(place=planned.place, skip_reason=skip_reason)
    manifest, environment, platform = planned.declared
    folder_of = _folder_finder(layout, planned.locked, planned.lock.root)
    channels = tuple(dict.fromkeys(map(folder_of, locked_channels(manifest, environment))))
    if layout is Layout.FLAT:
        channels = (FLAT_CHANNEL,)
    undeclared: dict[PurePosixPath, tuple[str, ...]] = {}
    if layout is Layout.BY_CHANNEL:
        for each in undeclared_packages(planned.locked, rows):
            path = folder_of_channel(layout, each.channel)
            undeclared[path] = tuple(sorted({*undeclared.get(path, ()), each.name.lower()}))
    specs, left_out = _specs(planned, layout, folder, folder_of)
    dev = asked_for(manifest, environment, platform).dev
    tolerance = None
    if layout is Layout.FLAT:
        tolerance = _FLAT
    elif len(solve_group(manifest, environment)) > 1:
        tolerance = f"pixi solves the group {environment.solve_group} as one"
    elif dev or rows.source_names:
        tolerance = "what is built from source has requirements of its own"
    return SolveJob(
        place=planned.place,
        question={
            "channels": [(folder / each).as_uri() for each in channels],
            "undeclared": [
                {"channel": (folder / path).as_uri(), "folder": str(folder / path), "names": some}
                for path, some in sorted(undeclared.items())
            ],
            "subdir": rows.platform.subdir,
            "specs": specs["requires"],
            "constraints": specs["constrains"],
            "virtual_packages": [
                astuple(each) for each in planned.virtual_packages if each.name not in planned.built
            ],
            "channel_priority": channel_priority(manifest, environment),
            "strategy": solve_strategy(manifest, environment),
        },
        folders=(*channels, *sorted(undeclared)),
        undeclared=undeclared,
        locked=frozenset(map(PurePosixPath, planned.packages)),
        not_proven=(*dict.fromkeys(left_out), *(f"{name} (dev)" for name in dev)),
        tolerance=tolerance,
        pypi=plan_pypi_solve(planned, uv),
    )


def _folder_finder(
    layout: Layout, locked: LockedEnvironment, root: PurePath
) -> Callable[[str], PurePosixPath]:
    """Return what finds the folder of a channel however it is written.

    The mirror is laid out by the lock's words; a manifest may call the same channel `./channel`,
    or write its password otherwise.
    """
    packages = (each for rows in locked.platforms for each in rows.packages)
    of_packages = dict.fromkeys(each.channel for each in packages if each.channel)
    named = dict.fromkeys((*locked.channels, *of_packages))  # few, of thousands of packages
    known = {channel_key(url, root): url for url in reversed(named)}
    return lambda url: folder_of_channel(layout, known.get(channel_key(url, root), url))


def _skip_reason(root: Root, built: Mapping[str, str | None]) -> str | None:
    """Say why something is not asked; of a condition the lock tells how it was decided."""
    own = root.own
    if own is None:  # what a source package needs once it is built
        is_open = spec_name(root.spec) in built or "when=" in root.spec
        return "built from source" if is_open else None
    if own.is_source or own.name in built:
        return "built from source"
    if own.condition is not None and root.locked is None:
        return "under a condition"
    if own.location is not None and (root.locked is None or root.differs):
        return "nothing is locked from there"
    return None


def _specs(
    planned: PackageSet, layout: Layout, folder: Path, folder_of: Callable[[str], PurePosixPath]
) -> tuple[dict[str, list[str]], list[str]]:
    """Write what is asked of the mirror, by kind, and name what the manifest requires beside it.

    A requirement that is a location is met by the artifact locked from there, wherever the mirror
    has it; one with a channel by that alone. A flat mirror has a single channel to meet them all.
    """
    specs: dict[str, list[str]] = {"requires": [], "constrains": []}
    left_out: list[str] = []
    for root in planned.roots:
        own, package, channel = root.own, root.locked, FLAT_CHANNEL
        spec = root.spec if own is None else own.spec
        reason = _skip_reason(root, planned.built)
        if reason is not None:
            if own is not None and root.kind == "requires":
                text = own.name if own.name in planned.built else root.text
                left_out.append(f"{text} ({reason})")
            continue
        if own is not None and own.location is not None and package is not None:
            record = package.record
            digest = f",sha256='{record.sha256}'" if record.sha256 else ""
            spec = f"{own.name}[version='=={record.version}',build='{record.build}'{digest}]"
            channel = folder_of_channel(layout, package.channel)
        elif own is not None and own.channel is not None:
            channel = folder_of(own.channel)
        prefix = "" if channel == FLAT_CHANNEL else f"{(folder / channel).as_uri()}::"
        specs[root.kind].append(prefix + spec)
    return specs, left_out


def compare_answer(
    job: SolveJob, reply: Mapping[str, Any], folder: Path, retained: AbstractSet[PurePosixPath]
) -> SolveAnswer:
    """Hold the worker's answer against the locked set; what is not in the mirror keeps its URL.

    An answer of locked packages alone that lacks some of them cannot be due to other packages in
    the mirror: where nothing else makes it right, it is wrong.
    """
    if "refused" in reply:
        return refused(job.place, "cannot be solved from the channel alone", reply["refused"])
    root = unquote(folder.as_uri()) + "/"
    solved = {PurePosixPath(unquote(url).removeprefix(root)) for url in reply["urls"]}
    gone, come = (
        {_name(path): redact(str(path)) for path in sorted(some)}
        for some in (job.locked - solved, solved - job.locked)
    )
    reason = _reason(job, solved - job.locked, retained)
    message = "solved from the channel alone, it has less than pixi.lock"
    return compare_solved(job.place, gone, come, reason, message)


def _reason(
    job: SolveJob, others: AbstractSet[PurePosixPath], retained: AbstractSet[PurePosixPath]
) -> str | None:
    """Say why an answer with these others is no error; None where it is one."""
    if offered := sorted(map(str, others & retained)):
        return f"the mirror still offers {listed(offered, _NAMED)}, retained from an earlier lock"
    return _OTHERS if others and job.tolerance in {None, _FLAT} else job.tolerance


def _name(path: PurePosixPath) -> str:
    parsed = parse_file_name(path.name)
    return path.name if parsed is None else parsed.name


def _undeclared_lines(job: SolveJob) -> Iterator[Line]:
    """Say what was looked for outside of the environment's channels."""
    for folder, names in sorted(job.undeclared.items()):
        yield (
            f"solved {job.place} with {folder} after all its channels, since the lock has"
            f" {listed(names, _SHOWN)} from there; for no other name"
        )


def find_still_offered(
    selection: Selection, retained: Sequence[IndexedArtifact]
) -> tuple[dict[str, Any], ...]:
    """Find retained artifacts that a solver would take before what is locked of their name.

    Where upstream withdraws a version the lock goes back, and the mirror, which removes nothing by
    itself, goes on offering the withdrawn one as the best. rattler ranks the versions of conda
    packages.
    """
    by_name: dict[tuple[PurePosixPath, str], list[Artifact]] = {}
    for kept in (each.artifact for each in retained if each.artifact.is_conda):
        by_name.setdefault((kept.path.parent.parent, kept.name.lower()), []).append(kept)
    rivals = [
        (place, kept, locked.record)
        for _, place, _, rows in (places_of(selection) if by_name else ())
        for locked in rows.packages
        for channel in [path_of(selection.layout, locked).parent.parent]
        for kept in by_name.get((channel, locked.record.name.lower()), ())
        if kept.path.parent.name in {rows.platform.subdir, NOARCH}
    ]
    pairs = [(kept.version, locked.version) for _, kept, locked in rivals]
    ranks = rank_versions(each for pair in pairs if pair[0] != pair[1] for each in pair)
    found: dict[tuple[PurePosixPath, str], list[Json]] = {}
    for place, kept, locked in rivals:
        ours, theirs = locked.version, kept.version
        is_known = ours == theirs or {ours, theirs} <= ranks.keys()
        rank = (ranks.get(theirs, 0), kept.conda_record.build_number)
        if is_known and rank > (ranks.get(ours, 0), locked.build_number):
            key = kept.path, f"{ours} {locked.build}"
            found.setdefault(key, []).append(place_json(place))
    for path, text, place in newer_retained(selection, retained):
        found.setdefault((path, text), []).append(place_json(place))
    return tuple(
        {"path": str(path), "locked": text, "environments": places}
        for (path, text), places in sorted(found.items(), key=lambda each: each[0])
    )
