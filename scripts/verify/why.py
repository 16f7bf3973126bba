"""What `why` says: where a package is mirrored for, and who needs it, up to a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from scripts.core.errors import Problem, finding_problem
from scripts.core.record import PypiRecord
from scripts.core.report import Line, Report, counted
from scripts.lock.model import LockedPackage, spec_name
from scripts.lock.pep508 import pypi_name
from scripts.lock.select import Selection
from scripts.verify.findings import place_from_json, place_json
from scripts.verify.plan import Needers, PackageSet, plan_sets, way_up
from scripts.verify.pypi_closure import (
    conda_pypi_names,
    find_asked,
    package_label,
)


def why_report(name: str, selection: Selection) -> Report:
    """Find a package by its name, conda's or PyPI's, in every place that is mirrored.

    A conda package is found by the names in its `purls` too, which PyPI packages call it by.
    """
    sets = tuple(plan_sets(selection))
    found = [row for each in sets for row in _find(name, each)]
    problems: tuple[Problem, ...] = ()
    if not found:
        names = {x.name for each in sets for x in each.rows.all_packages}
        names |= {x.name for each in sets for x in each.rows.pypi}
        near = get_close_matches(name.lower(), sorted(names), n=1)
        message = f"is in none of {counted(len(sets), 'place')} that are mirrored"
        problems = (finding_problem(name, message, *(("nearest", each) for each in near)),)
    return Report(
        lines=tuple(_lines(found)), data={"name": name, "found": found}, problems=problems
    )


def _find(name: str, each: PackageSet) -> Iterator[dict[str, Any]]:
    """Yield a row for each package of the name at a place, with the way up to what requires it."""
    wanted, canonical, above = name.lower(), pypi_name(name), _needers(each)

    def row(package: LockedPackage | PypiRecord, way: tuple[Sequence[str], bool]) -> dict[str, Any]:
        is_pypi = isinstance(package, PypiRecord)
        return {
            "package": package_label(package),
            "kind": "pypi" if is_pypi else "conda",
            "version": (package if isinstance(package, PypiRecord) else package.record).version,
            **place_json(each.place),
            "way": list(way[0]),
            "required": way[1],
        }

    def is_meant(package: LockedPackage) -> bool:
        return package.name.lower() == wanted or canonical in conda_pypi_names(package)

    for package in filter(is_meant, each.rows.packages):
        yield row(package, way_up(_conda(package.name), above))
    for record in each.pypi_rows:
        if record.name == canonical:
            yield row(record, way_up(_pypi(record.name), above))
    for built in each.rows.build_sets:
        for package in filter(is_meant, built.packages):
            yield row(package, ([f"the building of {built.source}"], True))


def _needers(each: PackageSet) -> Needers:
    """Return who needs what at a place: conda packages, PyPI packages, and the manifest."""
    above: dict[str | None, list[tuple[str | None, str]]] = {}
    for root in each.roots:
        if root.kind == "requires":
            above.setdefault(_conda(spec_name(root.spec)), []).append(
                (None, f"{root.who}: {root.text}")
            )
    for package in each.rows.packages:
        file = package.file_name.distribution
        for spec in package.record.depends:
            above.setdefault(_conda(spec_name(spec)), []).append(
                (_conda(package.name), f"{file}: {spec}")
            )
    if not each.has_pypi:
        return above
    python = each.python
    for one in () if isinstance(python, str) else find_asked(each, python)[0]:
        if one.requirement is not None:
            who = None if one.who is None else _pypi(one.who)
            above.setdefault(_pypi(pypi_name(one.requirement.name)), []).append(
                (who, f"{one.label}: {one.text}")
            )
    for package in each.rows.packages:  # which PyPI packages need by other names
        for other in conda_pypi_names(package):
            above.setdefault(_conda(package.name), []).extend(above.get(_pypi(other), ()))
    return above


def _conda(name: str) -> str:
    return f"conda {name.lower()}"


def _pypi(name: str) -> str:
    return f"pypi {name}"


def _lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[Line]:
    """Name each package once for all places where the same needs it."""
    found: dict[tuple[str, tuple[str, ...], bool], list[str]] = {}
    for row in rows:
        key = (row["package"], tuple(row["way"]), row["required"])
        found.setdefault(key, []).append(str(place_from_json(row)))
    for (package, way, is_required), places in found.items():
        yield f"{package}: in {', '.join(places)}"
        yield tuple(f"  {'needed by' if n == 0 else '      and'}  {x}" for n, x in enumerate(way))
        if not is_required:
            yield (
                "  and nothing that a manifest requires needs that"
                if way
                else "  nothing there needs it"
            )
