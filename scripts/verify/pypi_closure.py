"""The level `closure` for PyPI packages: what each requires, on its platform, is locked there.

`packaging` decides, with the markers of the platform and of the locked Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final

from scripts.core.artifact import ArtifactKind
from scripts.core.errors import Problem, finding_problem
from scripts.core.pep508 import pypi_name
from scripts.core.record import PypiRecord
from scripts.core.redact import printable
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.pypi_requirements import ByName, find_candidates, is_met, package_label
from scripts.verify.findings import ELSEWHERE, NEEDED_BY, EnvironmentPlatform
from scripts.verify.plan import PackageSet
from scripts.verify.python_platform import PythonPlatform, wheel_tags
from scripts.verify.requirements import (
    RequirementInformation,
    find_dependents,
    find_requirements,
    pypi_node,
    way_up,
)

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_SHOWN: Final = 5  # things that are there, or elsewhere, in one finding
# Operators of a Requires-Python that give a lower bound; uv, and so pixi, asks for no more.
_LOWER: Final = {">=": ">=", ">": ">", "~=": ">=", "==": ">=", "===": ">="}


PypiAnswer = tuple[list[Problem], list[str]]
"""What is wrong with one place, and what cannot be proven of it."""


def pypi_dependencies(each: PackageSet) -> tuple[object, ...]:
    """Return what the proof of a place depends on, besides what conda's does."""
    if not each.has_pypi:
        return ()
    overrides = tuple(each.pypi_overrides.items())
    return (each.rows.pypi, each.rows.pypi_left_out, each.pypi_roots, overrides)


def prove_pypi(sets: Iterable[PackageSet]) -> Mapping[EnvironmentPlatform, PypiAnswer]:
    """Look at every place that has something of PyPI; sets of builds have nothing."""
    wanted = [each for each in sets if not each.is_of_builds and each.has_pypi]
    candidates = {x.place: find_candidates(x.pypi_rows, x.rows.packages) for x in wanted}
    return {each.place: _prove(each, candidates) for each in wanted}


def _prove(each: PackageSet, candidates: Mapping[EnvironmentPlatform, ByName]) -> PypiAnswer:
    python = each.python
    if isinstance(python, str):
        return [], [python]
    asked, undecided = find_requirements(each, python)
    wrong: list[tuple[str | None, Problem]] = []
    open_ones = list(undecided)
    for one in asked:
        answer = is_met(one.requirement, candidates[each.place])
        if answer is None:
            open_ones.append(f"{one.label} requires {one.text} (its version cannot be told)")
        elif not answer:
            wrong.append((one.who, _unmet(one, each.place, candidates)))
    for row in each.rows.pypi:
        wrong += ((row.name, problem) for problem in _misfits(row, python))
        if row.requires_python and takes_python(row.requires_python, python.version) is None:
            asked_for = f"{package_label(row)} requires Python {printable(row.requires_python)}"
            open_ones.append(f"{asked_for} (pixi and uv take a newer one, pip does not)")
    above = find_dependents(each) if wrong else {}
    problems = list[Problem]()
    for who, problem in wrong:
        way, _ = way_up(None if who is None else pypi_node(who), above)
        needed = ((NEEDED_BY, line) for line in way)
        advice = problem.help and each.lock.renewing(problem.help)
        problems.append(replace(problem, details=(*problem.details, *needed), help=advice))
    return list(dict.fromkeys(problems)), list(dict.fromkeys(open_ones))


def _unmet(
    one: RequirementInformation,
    place: EnvironmentPlatform,
    candidates: Mapping[EnvironmentPlatform, ByName],
) -> Problem:
    """Say what is required, what is there, and what would do elsewhere."""
    found: list[tuple[str, str]] = []
    if one.requirement is None:
        message = f"requires {one.text}, which is no requirement (PEP 508)"
    else:
        name = pypi_name(one.requirement.name)
        message = f"requires {one.text}, which is not met"
        there = [x.label for x in candidates[place].get(name, ())]
        found = [("has", text) for text in there[:_SHOWN] or [f"no {name}"]]
        found += [(ELSEWHERE, text) for text in _elsewhere(one.requirement, candidates)]
    return finding_problem(one.label, message, *found, help="pixi lock")


def _elsewhere(
    requirement: Requirement, candidates: Mapping[EnvironmentPlatform, ByName]
) -> list[str]:
    """Say what of all locks would meet it, and where that is used."""
    name, found = pypi_name(requirement.name), dict[str, list[str]]()
    for place, some in candidates.items():
        for one in some.get(name, ()):
            if is_met(requirement, {name: (one,)}):
                found.setdefault(one.label, []).append(str(place))
    shown = [f"{label} of {', '.join(places[:_SHOWN])}" for label, places in found.items()]
    return shown[:_SHOWN] or ["nothing in the locks"]


def _misfits(row: PypiRecord, python: PythonPlatform) -> Iterator[Problem]:
    """Yield what keeps a file from being installed there."""
    actual = ("has", f"python {printable(python.version)}")
    requires = row.requires_python
    if requires is not None and takes_python(requires, python.version) is False:
        message = f"requires Python {printable(requires)}, which is not met"
        yield finding_problem(package_label(row), message, actual, help="pixi lock")
    artifact = next(pypi_artifacts(row))
    if artifact.kind is not ArtifactKind.WHEEL:
        return
    try:
        tags = wheel_tags(artifact)
    except ValueError as error:
        yield finding_problem(package_label(row), f"is no file name of a wheel: {error}")
        return
    if python.tags.isdisjoint(tags):
        sides = (
            ("expected", f"Python {python.version} on {python.shown}, or older"),
            ("actual", ", ".join(sorted(map(str, tags))[:_SHOWN])),
        )
        message = "is a wheel for another Python or another platform"
        yield finding_problem(package_label(row), message, *sides, help="pixi lock")


@cache
def takes_python(requires: str, version: str) -> bool | None:
    """Tell whether pixi takes it: only the lower bound counts, of a release (uv: RequiresPython).

    None: it does, though the Python is newer than is said.
    """
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    try:
        version = Version(version).base_version
        said = SpecifierSet(requires)
        lower = [
            f"{_LOWER[each.operator]}{each.version.removesuffix('.*')}"
            for each in said
            if each.operator in _LOWER
        ]
        if SpecifierSet(",".join(lower)).contains(version):
            return said.contains(version) or None
    except ValueError:
        return True  # uv reads it less strictly
    return False
