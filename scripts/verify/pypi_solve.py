"""The level `solve` for PyPI packages: uv finds from `_pypi/index/` alone what is locked.

Without a network, a cache, settings or builds. What conda holds is left out of the question, and so
is what is no file: a folder of the project, a repository. What they require is asked; what an sdist
requires, uv is told as the lock says it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.digest_cache import Fingerprint
from scripts.core.child_process import Done, describe_exit, is_crash, program_error
from scripts.core.errors import usage_problem
from scripts.core.pep508 import parse_version, pypi_name
from scripts.core.record import PypiRecord
from scripts.core.scratch import scratch_folder
from scripts.index.file_classes import IndexedArtifact
from scripts.index.pypi_pages import INDEX, PAGE, metadata_path
from scripts.lock.pypi import conda_pypi_names, is_folder, is_project_name, pypi_artifacts
from scripts.lock.select import Selection
from scripts.verify.findings import EnvironmentPlatform, said_lines
from scripts.verify.install.sandbox import (
    DISK_FULL,
    MACHINE_TROUBLE,
    run_sandboxed,
    sandbox_environment,
)
from scripts.verify.plan import PackageSet, plan_sets
from scripts.verify.python_platform import UV_TOO_OLD, fitting, uv_obstacle
from scripts.verify.requirements import RequirementInformation, find_requirements
from scripts.verify.solve_answer import SHOWN, SolveAnswer, compare_solved, refused
from scripts.workspace.resolve import pypi_options, solve_strategy

_OTHERS: Final = "other PyPI packages in the mirror allow it"
# A name that no package has, asked for on Windows: before 0.13.6 uv takes its machine, AMD64 as the
# `platform_machine` of Python, for x86_64.
_NO_PACKAGE: Final = "pixi-mirror-nobody"
_OLD_MACHINE: Final = f"{_NO_PACKAGE} ; platform_machine == 'x86_64'"


@dataclass(frozen=True, slots=True, kw_only=True)
class PypiSolve:
    """One place, to be solved by uv; where nothing is asked or locked, uv is not asked."""

    place: EnvironmentPlatform
    uv: Path | None = None
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    asked: tuple[str, ...] = ()
    """Requirements (PEP 508) that hold there."""
    excluded: tuple[str, ...] = ()
    """The names that nobody is asked for."""
    overrides: tuple[str, ...] = ()
    """What holds in place of all that anything requires of these names (PEP 508).

    So it does where one is required by its URL, where nobody leads uv from there to the mirror.
    """
    locked: tuple[str, ...] = ()
    """What is to come of it: `name version`."""
    metadata: tuple[PurePosixPath, ...] = ()
    """Where the METADATA of wheels is beside them: uv reads it in the wheel, `index` compares."""
    sdists: tuple[PypiRecord, ...] = ()
    """What uv would have to build in order to learn what they require."""
    not_proven: tuple[str, ...] = ()
    """What nobody can ask of it, for people."""
    tolerance: str | None = None
    """Why an answer with less than what is locked is no error; None: there is no such reason."""


def plan_pypi_solve(each: PackageSet, uv: Path | None) -> PypiSolve | None:
    """Plan a place of which the manifest says something; None where it has nothing of PyPI."""
    if not each.has_pypi:
        return None
    python = each.python
    reason = uv_obstacle(python) or ("there is no uv" if uv is None else None)
    if reason is not None or isinstance(python, str) or python.uv_platform is None:
        return PypiSolve(place=each.place, not_proven=(f"its PyPI packages ({reason})",))
    files = {x: next(pypi_artifacts(x)).path for x in each.rows.pypi}
    unasked = {x.name: "by its URL alone" for x, file in files.items() if not _is_named(file)}
    unasked |= {x.name: "not in the mirror" for x in each.rows.pypi_left_out if not is_folder(x)}
    sources = {x.name for x in each.rows.pypi_left_out} | unasked.keys()
    mirrored = {x.name: x for x in files if x.name not in sources}
    wheels = {x: file for x, file in files.items() if file.suffix == ".whl"}
    held = {name for x in each.rows.packages for name in conda_pypi_names(x)}
    excluded = (held | sources) - mirrored.keys()
    asked, _ = find_requirements(each, python)
    wanted = [each.requirement for each in asked if each.requirement is not None]
    overrides = {name: x.text for name, x in each.pypi_overrides.items()}
    for name in sorted({pypi_name(x.name) for x in wanted if x.url} - excluded):
        extras = {extra for x in wanted if pypi_name(x.name) == name for extra in x.extras}
        overrides[name] = f"{name}[{','.join(sorted(extras))}]"
    options: tuple[str, ...] = ("--python-version", python.version)
    options += ("--python-platform", python.uv_platform)
    group = None
    if not isinstance(each.declared, str):
        manifest, environment, _ = each.declared
        group = environment.solve_group
        options += ("--resolution", solve_strategy(manifest, environment))
        if mode := pypi_options(manifest, manifest.features_of(environment)).prerelease_mode:
            options += ("--prerelease", mode)
    questions = [*_questions(asked, sources, excluded)]
    required = (text for x in each.pypi_rows for text in x.requires_dist)
    if python.subdir == "win-64" and any("platform_machine" in text for text in required):
        questions.append(_OLD_MACHINE)
    return PypiSolve(
        place=each.place,
        uv=uv,
        options=options,
        variables=python.uv_variables,
        asked=tuple(questions),
        excluded=tuple(sorted(excluded)),
        overrides=tuple(overrides.values()),
        locked=tuple(f"{name} {x.version}" for name, x in mirrored.items()),
        metadata=tuple(map(metadata_path, wheels.values())),
        sdists=tuple(x for x in mirrored.values() if x not in wheels),
        not_proven=tuple(f"{name} ({why})" for name, why in sorted(unasked.items())),
        tolerance=None if group is None else f"pixi solves the group {group} as one",
    )


def pypi_solve_dependencies(job: PypiSolve) -> tuple[object, ...]:
    """Return what the proof of a place depends on, besides the files that uv reads."""
    return (job, job.uv and Fingerprint.of(job.uv.stat()))


def pypi_solve_files(job: PypiSolve, folder: Path) -> Iterator[PurePosixPath]:
    """Yield the pages, and what they have of the locked wheels, relative to the channel folder."""
    yield from (INDEX / each / PAGE for each in _projects(folder))
    yield from job.metadata


def _projects(folder: Path) -> list[str]:
    """Return the names of all in `index/`: of projects, but for what somebody has put there."""
    with contextlib.suppress(OSError):
        return sorted(each.name for each in (folder / INDEX).iterdir())
    return []


def newer_retained(
    selection: Selection, retained: Iterable[IndexedArtifact]
) -> Iterator[tuple[PurePosixPath, str, EnvironmentPlatform]]:
    """Yield the path of what is retained of PyPI, the older version locked, and where it fits."""
    kept = {x.record: x.artifact.path for x in retained if isinstance(x.record, PypiRecord)}
    for each in plan_sets(selection) if kept else ():
        python, locked = each.python, {x.name: x.version for x in each.rows.pypi}
        for record in () if isinstance(python, str) else fitting(kept, python):
            text = locked.get(record.name) or ""
            ours, theirs = parse_version(text), parse_version(record.version)
            if ours is None or theirs is None or (theirs.is_prerelease and not ours.is_prerelease):
                continue  # nobody takes one unasked
            if theirs > ours:
                yield kept[record], text, each.place


def _questions(
    asked: Iterable[RequirementInformation], sources: Collection[str], excluded: Collection[str]
) -> Iterator[str]:
    """Write what the manifest, and what no page answers for, requires; markers are decided."""
    for each in asked:
        wanted = each.requirement
        if wanted is None or not (each.who is None or each.who in sources):
            continue
        if pypi_name(wanted.name) not in excluded:
            extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
            yield f"{wanted.name}{extras}{wanted.specifier}"


def _is_named(file: PurePosixPath) -> bool:
    """Tell whether a file's name has its version, by which uv finds it; a forge's archive has none.

    Of a wheel the level `closure` tells it.
    """
    from packaging.utils import parse_sdist_filename

    try:
        return file.suffix == ".whl" or bool(parse_sdist_filename(file.name))
    except ValueError:
        return False


def _configuration(job: PypiSolve, folder: Path) -> str:
    """Write a uv.toml that allows no build, and spares that of sdists.

    What the lock says of one holds for all of its versions: uv would build any other.
    """
    import tomlkit  # only where uv is asked

    spared = {each.name for each in job.sdists}
    told = []
    for each in job.sdists:
        python = {"requires-python": each.requires_python} if each.requires_python else {}
        told.append({"name": each.name, "requires-dist": [*each.requires_dist], **python})
    others = [x for x in _projects(folder) if x not in spared and is_project_name(x)]
    return tomlkit.dumps({"no-build-package": others, "dependency-metadata": told})


def solve_pypi(job: PypiSolve, folder: Path) -> SolveAnswer:
    """Ask uv, and hold its answer against what is locked; `folder` is the channel folder."""
    if job.uv is None or not (job.asked or job.locked):
        return SolveAnswer()
    with scratch_folder() as scratch:
        lists = {"in": job.asked, "excludes": job.excluded, "overrides": job.overrides}
        for name, rows in lists.items():
            text = "".join(f"{each}\n" for each in rows)
            (scratch / f"{name}.txt").write_text(text, encoding="utf-8")
        (scratch / "uv.toml").write_text(_configuration(job, folder), encoding="utf-8")
        command = [
            *(str(job.uv), "pip", "compile", "--config-file", str(scratch / "uv.toml")),
            *("--no-cache", "--offline"),
            *("--no-header", "--no-annotate", "--python", sys.executable, *job.options),
            *("--index-url", (folder / INDEX).as_uri(), str(scratch / "in.txt")),
            *(f"--{x}={scratch / x}.txt" for x in ("excludes", "overrides") if lists[x]),
        ]
        more = {"NO_COLOR": "1", "UV_PYTHON_DOWNLOADS": "never", **dict(job.variables)}
        environment = sandbox_environment(scratch / "home", more)
        done = run_sandboxed(command, environment)
        # A sound uv is ended by SIGSEGV once in thousands of runs (astral-sh/uv#21428).
        if is_crash(done.returncode):
            done = run_sandboxed(command, environment)
    said = done.stderr.decode(errors="replace")
    if UV_TOO_OLD.search(said) or _NO_PACKAGE in said:
        too_old = "its PyPI packages (this uv is too old: uv >=0.13.6 will do)"
        return SolveAnswer(not_proven=(too_old,))
    if done.returncode != 0:
        return _failure(job, done)
    solved = set[str]()
    for line in done.stdout.decode(errors="replace").splitlines():
        name, mark, version = line.partition("==")
        if mark and not line.startswith(("#", " ")):
            solved.add(f"{pypi_name(name)} {version.partition(' ')[0]}")
    gone, come = (
        {each.partition(" ")[0]: each for each in sorted(some)}
        for some in (set(job.locked) - solved, solved - set(job.locked))
    )
    message = "solved from the mirror alone, it has less of PyPI than pixi.lock"
    return compare_solved(job.place, gone, come, _OTHERS if come else job.tolerance, message)


def _failure(job: PypiSolve, done: Done) -> SolveAnswer:
    """Make the answer of a uv that failed: by the mirror's fault, or else by this machine's."""
    said, again = done.stderr.decode(errors="replace"), "then pixi run verify --level solve"
    if is_crash(done.returncode):
        message = f"{describe_exit(done.returncode)} while it solved {job.place}"
        error = program_error("uv", message, said, help=f"see to this program, {again}")
        return SolveAnswer(problem=error.problems[0])
    if DISK_FULL.search(said) or MACHINE_TROUBLE.search(said):
        message = "trouble of this machine kept uv from solving its PyPI packages"
        details = said_lines(said, SHOWN)
        problem = usage_problem(job.place, message, *details, help=f"see to it, {again}")
        return SolveAnswer(problem=problem)
    return refused(job.place, "its PyPI packages cannot be solved from the mirror alone", said)
