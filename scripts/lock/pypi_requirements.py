"""What meets a PyPI requirement, and which of the manifest's are met by nothing that is locked.

A conda package counts for the PyPI packages that its `purls` name, as pixi takes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scripts.core.pep508 import (
    marker_evaluator,
    parse_requirement,
    parse_version,
    pypi_name,
    takes_version,
)
from scripts.core.record import PypiRecord
from scripts.core.redact import printable, redact
from scripts.lock.location import parse_location
from scripts.lock.model import LockedPackage, PlatformPackages
from scripts.lock.pypi import ARCHIVES, conda_pypi_names
from scripts.lock.python_markers import locked_python, python_markers
from scripts.workspace.model import PypiRequirement

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.version import Version

_SHOWN: Final = 5  # things of one name


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something locked that counts as a PyPI package; `version` None: nobody knows it."""

    label: str
    version: Version | None


ByName = Mapping[str, Sequence[Candidate]]
"""All that is locked at a place, by its name on PyPI."""


def package_label(package: LockedPackage | PypiRecord) -> str:
    """Name a package for people: by its subdir and file; of PyPI by its file, else its name."""
    if isinstance(package, PypiRecord):
        last = parse_location(package.location).last
        return printable(last) if ARCHIVES.search(last) else package.name
    return f"{package.record.subdir}/{package.file_name}"


def find_candidates(rows: Iterable[PypiRecord], packages: Iterable[LockedPackage]) -> ByName:
    """Return what there is, by PyPI's name: wheels, sdists, folders, and conda packages."""
    found: dict[str, list[Candidate]] = {}
    for row in rows:
        one = Candidate(label=package_label(row), version=parse_version(row.version))
        found.setdefault(row.name, []).append(one)
    for package in packages:
        for name in conda_pypi_names(package):
            one = Candidate(
                label=package_label(package), version=parse_version(package.record.version)
            )
            found.setdefault(name, []).append(one)
    return found


def is_met(requirement: Requirement | None, candidates: ByName) -> bool | None:
    """Tell whether something that is there meets it; None: nobody can tell."""
    if requirement is None:
        return False
    there = candidates.get(pypi_name(requirement.name), ())
    if there and (requirement.url or not requirement.specifier):
        return True
    versions = [each.version for each in there]
    known = [each for each in versions if each is not None]
    answer = takes_version(requirement, known)
    return None if not answer and None in versions else answer


def unmet_requirements(
    asked: Collection[PypiRequirement], rows: PlatformPackages, overridden: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield each that nothing locked on a platform meets, and what there is, for people.

    What nobody can decide is passed over: a marker where no Python is locked, the version of a
    package that has none. Of those that are `overridden` the name alone counts.
    """
    if not asked:  # as of most: `packaging` need not be loaded
        return
    there = find_candidates(rows.pypi, rows.packages)
    built = {pypi_name(name) for name in rows.source_names}  # no lock says what a source provides
    markers = python_markers(locked_python(rows.packages), rows.platform.subdir)
    for each in asked:
        requirement = parse_requirement(each.text)
        is_there = each.name in built or (each.name in overridden and each.name in there)
        if requirement is None or is_there:
            continue
        if requirement.marker is not None:
            if isinstance(markers, str):
                continue
            if not marker_evaluator(tuple(markers.items()))(str(requirement.marker), ""):
                continue
        if is_met(requirement, there) is False:
            found = [x.label for x in there.get(each.name, ())[:_SHOWN]]
            yield redact(printable(each.text)), ", ".join(found) or f"no {each.name}"
