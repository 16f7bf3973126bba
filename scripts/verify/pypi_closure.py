"""The level `closure` for PyPI packages: what each requires, on its platform, is locked there.

`packaging` decides, with the markers of the platform and of the locked Python. A conda package
counts for the PyPI packages that its `purls` name, as pixi takes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Final

from scripts.core.artifact import ArtifactKind
from scripts.core.errors import Problem, finding_problem
from scripts.core.record import PypiRecord
from scripts.core.redact import printable
from scripts.lock.location import parse_location
from scripts.lock.model import LockedPackage
from scripts.lock.pep508 import (
    marker_evaluator,
    parse_requirement,
    parse_version,
    pypi_name,
    takes_version,
)
from scripts.lock.pypi import pypi_artifacts
from scripts.verify.findings import EnvironmentPlatform, Finding, Level, used_by
from scripts.verify.plan import Needers, PackageSet, way_up
from scripts.verify.python_platform import PythonPlatform, python_platform

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.version import Version

_PURL: Final = re.compile(r"pkg:pypi/([^@?#]+)")
_SHOWN: Final = 5  # things that are there, or elsewhere, in one finding
# Operators of a Requires-Python that give a lower bound; uv, and so pixi, asks for no more.
_LOWER: Final = {">=": ">=", ">": ">", "~=": ">=", "==": ">=", "===": ">="}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provided:
    """Something locked that counts as a PyPI package; `version` None: nobody knows it."""

    label: str
    version: Version | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A requirement that holds at a place, as `text` shows it; `who` None: the manifest's.

    `requirement` None: it is none (PEP 508).
    """

    who: str | None
    label: str
    text: str
    requirement: Requirement | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PypiAnswer:
    """What came of one place."""

    place: EnvironmentPlatform
    problems: tuple[Problem, ...] = ()
    not_proven: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PypiSet:
    """One place: what is locked there, and what is asked."""

    place: EnvironmentPlatform
    needer: str
    rows: tuple[PypiRecord, ...]
    mirrored: tuple[PypiRecord, ...]
    roots: tuple[str, ...]
    provided: Mapping[str, Sequence[Provided]]
    python: PythonPlatform | str = field(repr=False)


def has_pypi(each: PackageSet) -> bool:
    """Tell whether a place has anything of PyPI, or its manifest asks for it."""
    return bool(each.rows.pypi or each.rows.pypi_left_out or each.pypi_roots)


def pypi_dependencies(each: PackageSet) -> tuple[object, ...]:
    """Return what the proof of a place depends on, besides what conda's does."""
    return (each.rows.pypi, each.rows.pypi_left_out, each.pypi_roots) if has_pypi(each) else ()


def prove_pypi(sets: Iterable[PackageSet]) -> tuple[PypiAnswer, ...]:
    """Look at every place that has something of PyPI; sets of builds have nothing."""
    wanted = [pypi_set(each) for each in sets if not each.is_of_builds and has_pypi(each)]
    return tuple(_prove(each, wanted) for each in wanted)


def pypi_findings(answers: Iterable[PypiAnswer]) -> Iterator[Finding]:
    """Yield one finding for all places in which the same is wrong."""
    found: dict[Problem, set[EnvironmentPlatform]] = {}
    for answer in answers:
        for problem in answer.problems:
            found.setdefault(problem, set()).add(answer.place)
    for problem, places in found.items():
        told = replace(problem, details=(*problem.details, used_by(places)))
        yield Finding(level=Level.CLOSURE, problem=told, places=frozenset(places))


def pypi_set(each: PackageSet) -> PypiSet:
    """Take what a place has of PyPI, and what counts for it."""
    rows = (*each.rows.pypi, *each.rows.pypi_left_out)
    return PypiSet(
        place=each.place,
        needer=each.needer,
        rows=rows,
        mirrored=each.rows.pypi,
        roots=each.pypi_roots,
        provided=find_provided(rows, each.rows.packages),
        python=python_platform(
            each.rows.packages, each.rows.platform.subdir, each.virtual_packages
        ),
    )


def find_provided(
    rows: Iterable[PypiRecord], packages: Iterable[LockedPackage]
) -> Mapping[str, Sequence[Provided]]:
    """Return what there is, by PyPI's name: wheels, sdists, folders, and conda packages."""
    found: dict[str, list[Provided]] = {}
    for row in rows:
        one = Provided(label=row_label(row), version=parse_version(row.version))
        found.setdefault(row.name, []).append(one)
    for package in packages:
        for name in conda_pypi_names(package):
            label = f"{package.record.subdir}/{package.file_name}"
            one = Provided(label=label, version=parse_version(package.record.version))
            found.setdefault(name, []).append(one)
    return found


def conda_pypi_names(package: LockedPackage) -> tuple[str, ...]:
    """Return the names (PEP 503) of the PyPI packages that a conda package counts for.

    Where an old lock has no `purls`, one of conda-forge counts for its own name (pixi:
    `PypiPackageIdentifier::from_package_record`).
    """
    purls = package.record.purls
    if purls is None:
        is_of_conda_forge = (package.channel or "").rstrip("/").endswith("/conda-forge")
        return (pypi_name(package.name),) if is_of_conda_forge else ()
    return purl_names(purls)


def purl_names(purls: Iterable[str]) -> tuple[str, ...]:
    """Return the names (PEP 503) of those that are of PyPI."""
    found = (_PURL.match(each) for each in purls)
    return tuple(dict.fromkeys(pypi_name(each[1]) for each in found if each))


def _prove(each: PypiSet, every: Sequence[PypiSet]) -> PypiAnswer:
    if isinstance(each.python, str):
        return PypiAnswer(place=each.place, not_proven=(each.python,))
    asked, undecided = find_asked(each, each.python)
    above: dict[str | None, list[tuple[str | None, str]]] = {}
    for one in asked:
        if one.requirement is not None:
            line = f"{one.label}: {one.text}"
            above.setdefault(pypi_name(one.requirement.name), []).append((one.who, line))
    problems: list[Problem] = []
    open_ones = list(undecided)
    for one in asked:
        answer = is_met(one.requirement, each.provided)
        if answer is None:
            open_ones.append(f"{one.label} requires {one.text} (its version cannot be told)")
        elif not answer:
            problems.append(_unmet(one, each, every, above))
    for row in each.mirrored:
        problems += _misfits(row, each.python, way_up(row.name, above)[0])
        if row.requires_python and _is_too_new(row.requires_python, each.python.version):
            asked_for = f"{row_label(row)} requires Python {printable(row.requires_python)}"
            open_ones.append(f"{asked_for} (pixi and uv take a newer one, pip does not)")
    return PypiAnswer(
        place=each.place,
        problems=tuple(dict.fromkeys(problems)),
        not_proven=tuple(dict.fromkeys(open_ones)),
    )


def find_asked(each: PypiSet, python: PythonPlatform) -> tuple[list[Asked], list[str]]:
    """Return all that holds at a place, and what nobody can decide.

    No lock has extras: they are those that the manifest asks for, and what is asked for so.
    """
    holds = marker_evaluator(tuple(python.markers.items()))
    extras: dict[str, set[str]] = {}
    own = [(None, each.needer, text) for text in each.roots]
    of_rows = [(x.name, row_label(x), text) for x in each.rows for text in x.requires_dist]
    while True:
        asked, undecided = list[Asked](), list[str]()
        wanted = {name: set(some) for name, some in extras.items()}
        for who, label, text in (*own, *of_rows):
            requirement = parse_requirement(text)
            if requirement is not None and requirement.marker is not None:
                of_it = ("", *sorted(extras.get(who, ()) if who else ()))
                decided = [holds(str(requirement.marker), extra) for extra in of_it]
                if True not in decided:
                    if None in decided:
                        shown = f"{label} requires {printable(text)}"
                        undecided.append(f"{shown} (its marker is not decided)")
                    continue
            if requirement is not None and requirement.extras:
                names = {pypi_name(extra) for extra in requirement.extras}
                wanted.setdefault(pypi_name(requirement.name), set()).update(names)
            shown = printable(text)
            asked.append(Asked(who=who, label=label, text=shown, requirement=requirement))
        if wanted == extras:
            return asked, undecided
        extras = wanted


def row_label(row: PypiRecord) -> str:
    """Name a row for people: by its file, else by its name."""
    return printable(parse_location(row.location).last) or row.name


def is_met(
    requirement: Requirement | None, provided: Mapping[str, Sequence[Provided]]
) -> bool | None:
    """Tell whether something that is there meets it; None: nobody can tell."""
    if requirement is None:
        return False
    there = provided.get(pypi_name(requirement.name), ())
    if there and (requirement.url or not requirement.specifier):
        return True
    versions = [each.version for each in there]
    known = [each for each in versions if each is not None]
    answer = takes_version(requirement, known)
    return None if not answer and None in versions else answer


def _unmet(one: Asked, each: PypiSet, every: Sequence[PypiSet], above: Needers) -> Problem:
    """Say what is required, what is there, what would do elsewhere, and who needs it all."""
    found: list[tuple[str, str]] = []
    if one.requirement is None:
        message = f"requires {one.text}, which is no requirement (PEP 508)"
    else:
        name = pypi_name(one.requirement.name)
        message = f"requires {one.text}, which is not met"
        there = [x.label for x in each.provided.get(name, ())]
        found = [("has", text) for text in there[:_SHOWN] or [f"no {name}"]]
        found += [("elsewhere", text) for text in _elsewhere(one.requirement, every)]
    found += [("needed by", line) for line in way_up(one.who, above)[0]]
    return finding_problem(one.label, message, *found, help="pixi lock")


def _elsewhere(requirement: Requirement, every: Sequence[PypiSet]) -> list[str]:
    """Say what of the whole mirror would meet it, and where that is used."""
    name, found = pypi_name(requirement.name), dict[str, list[str]]()
    for other in every:
        for one in other.provided.get(name, ()):
            if is_met(requirement, {name: (one,)}):
                found.setdefault(one.label, []).append(str(other.place))
    shown = [f"{label} of {', '.join(places[:_SHOWN])}" for label, places in found.items()]
    return shown[:_SHOWN] or ["nothing in this mirror"]


def _misfits(row: PypiRecord, python: PythonPlatform, way: Sequence[str]) -> Iterator[Problem]:
    """Yield what keeps a file from being installed there."""
    needed = [("needed by", line) for line in way]
    actual = ("has", f"python {printable(python.version)}")
    if row.requires_python is not None and not _takes_python(row.requires_python, python.version):
        message = f"requires Python {printable(row.requires_python)}, which is not met"
        yield finding_problem(row_label(row), message, actual, *needed, help="pixi lock")
    artifact = next(pypi_artifacts(row))
    if artifact.kind is not ArtifactKind.WHEEL:
        return
    from packaging.utils import parse_wheel_filename

    name = artifact.path.name
    try:
        tags = parse_wheel_filename(name)[3]
    except ValueError as error:  # InvalidWheelFilename, or a number of too many digits
        yield finding_problem(row_label(row), f"is no file name of a wheel: {error}", *needed)
        return
    if python.tags.isdisjoint(tags):
        sides = (
            ("expected", f"Python {python.version} on {python.shown}, or older"),
            ("actual", ", ".join(sorted(map(str, tags))[:_SHOWN])),
        )
        message = "is a wheel for another Python or another platform"
        yield finding_problem(row_label(row), message, *sides, *needed, help="pixi lock")


@cache
def _takes_python(requires: str, version: str) -> bool:
    """Tell whether pixi takes it: only the lower bound counts (uv: RequiresPython)."""
    from packaging.specifiers import SpecifierSet

    try:
        lower = [
            f"{_LOWER[each.operator]}{each.version.removesuffix('.*')}"
            for each in SpecifierSet(requires)
            if each.operator in _LOWER
        ]
        return SpecifierSet(",".join(lower)).contains(version, prereleases=True)
    except ValueError:
        return True  # uv reads it less strictly


@cache
def _is_too_new(requires: str, version: str) -> bool:
    """Tell whether a Python that pixi takes is beyond what is said."""
    from packaging.specifiers import SpecifierSet

    try:
        is_said = SpecifierSet(requires).contains(version, prereleases=True)
    except ValueError:
        return False
    return _takes_python(requires, version) and not is_said
