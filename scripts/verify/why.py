"""What `why` says: where a package is mirrored for, and who needs it, up to a manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from scripts.core.errors import Problem, did_you_mean, finding_problem
from scripts.core.pep508 import pypi_name
from scripts.core.redact import redact
from scripts.core.report import Json, Line, Report, listed
from scripts.lock.model import LockedPackage
from scripts.lock.pypi import conda_pypi_names
from scripts.lock.pypi_requirements import package_label
from scripts.lock.select import Selection
from scripts.verify.findings import EnvironmentPlatform, place_json
from scripts.verify.plan import PackageSet, plan_sets
from scripts.verify.requirements import (
    conda_node,
    find_dependents,
    pypi_node,
    way_up,
)
from scripts.workspace.settings import IncompleteKind

_ALIKE: Final = 0.8  # how like a name must be that is offered, of thousands
_SHOWN: Final = 20  # places that one line names
_ANY: Final = EnvironmentPlatform("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One package of the name at one place, and why it is there."""

    package: str
    """The artifact, for people."""
    kind: str
    """`conda` or `pypi`."""
    version: str | None
    place: EnvironmentPlatform
    way: tuple[str, ...]
    """Who needs it, who needs that, and so on."""
    ending: str | None = None
    """What the way ends with; None: with what the manifest requires, or is built from source."""
    not_mirrored: str | None = None
    """Why it is not in the mirror; None: it is."""


def why_report(name: str, selection: Selection, *, only: str | None) -> Report:
    """Find a package by its name, conda's or PyPI's, in every place that is mirrored.

    A conda package is found by the names in its `purls` too, which PyPI packages call it by.
    `only`: the selection is of the lock with this label alone.
    """
    sets = tuple(plan_sets(selection))
    reasons = [reason for each in sets for reason in _reasons(name, each)]
    problems: tuple[Problem, ...] = ()
    if not reasons:
        names = {x.name for each in sets for x in each.rows.all_packages}
        names |= {x.name for each in sets for x in each.rows.pypi}
        advice = did_you_mean(name.lower(), sorted(names), _ALIKE)
        of = f" of {only}" if only else ""
        message = f"is in none of the {len(sets)} environments and platforms{of} that are mirrored"
        if len(sets) == 1:
            message = f"is not in the one environment and platform{of} that is mirrored"
        problems = (finding_problem(name, message, help=advice),)
    rows: list[Json] = [
        {
            "package": each.package,
            "kind": each.kind,
            "version": each.version,
            **place_json(each.place),
            "way": list(each.way),
            "required": each.ending is None,
            "not-mirrored": each.not_mirrored,
        }
        for each in reasons
    ]
    return Report(
        lines=tuple(_lines(reasons)), data={"name": name, "found": rows}, problems=problems
    )


def _reasons(name: str, each: PackageSet) -> Iterator[Reason]:
    wanted, canonical, above = name.lower(), pypi_name(name), find_dependents(each)

    def reason(
        node: str, package: str, version: str | None, not_mirrored: str | None = None
    ) -> Reason:
        way, is_whole = way_up(node, above)
        return Reason(
            package=package,
            kind=node.partition(" ")[0],
            version=version,
            place=each.place,
            way=way,
            ending=None if is_whole else _ending(each, way),
            not_mirrored=not_mirrored,
        )

    def is_meant(package: LockedPackage) -> bool:
        return package.name.lower() == wanted or canonical in conda_pypi_names(package)

    for package in filter(is_meant, each.rows.packages):
        yield reason(conda_node(package.name), package_label(package), package.record.version)
    left_out = {row.location: row.reason for row in each.rows.unmirrorable}
    for row in each.pypi_rows:
        if row.name == canonical:
            why_not = left_out.get(row.location)
            yield reason(pypi_node(row.name), package_label(row), row.version, why_not)
    for source in each.rows.unmirrorable:
        source_name, _, version = source.name.partition(" ")
        if source.kind is IncompleteKind.SOURCE and source_name.lower() == wanted:
            shown = f"{source.name} ({redact(source.location)})"
            yield reason(conda_node(source_name), shown, version or None, source.reason)
    for built in each.rows.build_sets:
        for package in filter(is_meant, built.packages):
            yield Reason(
                package=package_label(package),
                kind="conda",
                version=package.record.version,
                place=each.place,
                way=(f"the building of {built.source}",),
            )


def _ending(each: PackageSet, way: Sequence[str]) -> str:
    """Say that nobody requires the last of a way, or where it has none, the package itself."""
    if isinstance(each.declared, str):
        what = "and no other in that lock needs that" if way else "nothing in that lock needs it"
        return f"{what}; {each.declared}"
    return "and nothing that a manifest requires needs that" if way else "nothing there needs it"


def _lines(reasons: Sequence[Reason]) -> Iterator[Line]:
    """Name each package once for all places where the same needs it."""
    found: dict[Reason, list[str]] = {}
    for each in reasons:
        found.setdefault(replace(each, place=_ANY), []).append(str(each.place))
    for one, places in found.items():
        yield f"{one.package}: in {listed(places, _SHOWN)}"
        if one.not_mirrored is not None:
            yield f"  is not mirrored: {one.not_mirrored}"
        labels = ("needed by", "      and")
        yield tuple(f"  {labels[n > 0]}  {x}" for n, x in enumerate(one.way))
        if one.ending is not None:
            yield f"  {one.ending}"
