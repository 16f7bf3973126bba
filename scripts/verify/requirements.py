"""Who requires what of a place, of PyPI packages as markers and extras decide, up to a manifest."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scripts.core.pep508 import marker_evaluator, parse_requirement, pypi_name
from scripts.core.redact import printable
from scripts.lock.model import spec_name
from scripts.lock.pypi import conda_pypi_names
from scripts.lock.pypi_requirements import package_label
from scripts.verify.plan import PackageSet
from scripts.verify.python_platform import PythonPlatform

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# Who needs a package (None: the manifest, or what is built from source), and how it says so; by
# `conda_node` or `pypi_node`.
Dependents = Mapping[str | None, Sequence[tuple[str | None, str]]]
_EXTRA: Final = re.compile(r'extra == "[^"]*"|"[^"]*" == extra')  # as `str` of a marker has it


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementInformation:
    """A requirement that holds at a place, as `text` shows it; `who` None: the manifest's.

    `requirement` None: it is none (PEP 508).
    """

    who: str | None
    label: str
    text: str
    requirement: Requirement | None


def find_requirements(
    each: PackageSet, python: PythonPlatform
) -> tuple[list[RequirementInformation], list[str]]:
    """Return all that holds at a place, and what nobody can decide.

    No lock has extras: they are those that the manifest asks for, and what is asked for so.
    """
    holds = marker_evaluator(tuple(python.markers.items()))
    extras: dict[str, set[str]] = {}
    own = [(None, each.required_by, text) for text in each.pypi_roots]
    of_rows = [(x.name, package_label(x), text) for x in each.pypi_rows for text in x.requires_dist]
    every = [(*x[:2], *_overridden(x[2], each, x[0])) for x in (*own, *of_rows)]
    while True:
        asked, undecided = list[RequirementInformation](), list[str]()
        wanted = {name: set(some) for name, some in extras.items()}
        for who, label, shown, requirement in every:
            if requirement is not None and requirement.marker is not None:
                of_it = ("", *sorted(extras.get(who, ()) if who else ()))
                decided = [holds(str(requirement.marker), extra) for extra in of_it]
                if True not in decided:
                    if None in decided:
                        undecided.append(f"{label} requires {shown} (its marker is not decided)")
                    continue
            if requirement is not None and requirement.extras:
                names = {pypi_name(extra) for extra in requirement.extras}
                wanted.setdefault(pypi_name(requirement.name), set()).update(names)
            asked.append(
                RequirementInformation(who=who, label=label, text=shown, requirement=requirement)
            )
        if wanted == extras:
            return asked, undecided
        extras = wanted


def _overridden(text: str, each: PackageSet, who: str | None) -> tuple[str, Requirement | None]:
    """Return what holds in place of a requirement, and how it is shown: any override of its name.

    Of the requirement's own marker an extra alone counts then (uv: Overrides::apply); but those
    of the manifest pixi decides before.
    """
    own, shown = parse_requirement(text), printable(text)
    override = None if own is None else each.pypi_overrides.get(pypi_name(own.name))
    if own is None or override is None:
        return shown, own
    text, kept = override.text, _EXTRA.findall(str(own.marker))
    if who is None and own.marker is not None:
        kept = [f"({own.marker})"]
    if len(kept) == 1:
        name, _, marker = text.partition(" ; ")
        text = f"{name} ; {kept[0]}" + (f" and ({marker})" if marker else "")
    return f"{shown} (overridden: {printable(override.text)})", parse_requirement(text)


def find_dependents(each: PackageSet) -> Dependents:
    """Return who needs what in a set: conda packages, PyPI packages, and the manifest."""
    above = defaultdict[str | None, list[tuple[str | None, str]]](list)
    for needed, who, line in (*_conda_needs(each), *_pypi_needs(each)):
        above[needed].append((who, line))
    for package in each.packages.values():  # which PyPI packages need by other names
        for other in conda_pypi_names(package):
            above[conda_node(package.name)] += above.get(pypi_node(other), ())
    return above


def _conda_needs(each: PackageSet) -> Iterator[tuple[str, str | None, str]]:
    """Yield what is needed, by whom, and how that says so; an extra's needs, too."""
    for root in each.roots:
        if root.kind == "requires":
            yield conda_node(spec_name(root.spec)), None, f"{root.who}: {root.text}"
    for package in each.packages.values():
        who, label = conda_node(package.name), package.file_name.distribution
        for extra, specs in (("", package.record.depends), *package.record.extra_depends):
            said = f"{label}[{extra}]" if extra else label
            yield from ((conda_node(spec_name(spec)), who, f"{said}: {spec}") for spec in specs)


def _pypi_needs(each: PackageSet) -> Iterator[tuple[str, str | None, str]]:
    """Yield the same of PyPI packages; what builds something has none."""
    python = each.python if each.has_pypi and not each.is_of_builds else ""
    if not isinstance(python, str):
        for one in find_requirements(each, python)[0]:
            if one.requirement is not None:
                who = None if one.who is None else pypi_node(one.who)
                yield pypi_node(pypi_name(one.requirement.name)), who, f"{one.label}: {one.text}"


def conda_node(name: str) -> str:
    """Name a conda package among dependents."""
    return f"conda {name.lower()}"


def pypi_node(name: str) -> str:
    """Name a PyPI package (PEP 503) among dependents."""
    return f"pypi {name}"


def way_up(package: str | None, above: Dependents) -> tuple[tuple[str, ...], bool]:
    """Say who needs a package, who needs that, and so on: the shortest way up.

    Tells too whether it ends where nothing else is needed (None); else it ends at what nobody
    needs, or where it would go round in a circle.
    """
    ways: dict[str | None, tuple[str, ...]] = {package: ()}
    queue = deque[str | None]([package])
    while queue and None not in ways:
        below = queue.popleft()
        for parent, line in above.get(below, ()):
            if parent not in ways:
                ways[parent] = (*ways[below], line)
                queue.append(parent)
    if None in ways:
        return ways[None], True
    return next((way for x, way in ways.items() if not above.get(x)), ways[below]), False
