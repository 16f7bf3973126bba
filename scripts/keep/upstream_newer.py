"""What upstream has that is newer, and that the manifest would take, of what it asks for by name.

Each requirement is held against what there is alone; whether it can be had with all the rest, a
solver tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scripts.core.channel_url import channel_base_url
from scripts.core.file_name import parse_file_name
from scripts.core.rattler_child import call_rattler, rank_versions
from scripts.core.record import Record
from scripts.core.redact import printable
from scripts.core.report import Json
from scripts.core.subdir import NOARCH
from scripts.keep.upstream_answers import Page, PageFile
from scripts.lock.model import LockedPackage
from scripts.lock.pep508 import parse_version, pypi_name
from scripts.lock.satisfiability import MATCHED, differs_aside, wanted_text
from scripts.verify.plan import PackageSet
from scripts.verify.pypi_closure import find_asked
from scripts.verify.python_platform import PythonPlatform
from scripts.workspace.model import Requirement

if TYPE_CHECKING:
    from packaging.version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Newer:
    """A package that the manifest asks for, as it is locked, and the newest that it would take."""

    name: str
    kind: str
    """`conda` or `pypi`."""
    locked: str
    """The version; of a conda package with the build."""
    newer: str
    requirement: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        """Write it in one line, of ASCII."""
        source = "" if self.kind == "conda" else f"[{self.kind}] "
        places = ", ".join(self.places)
        return f"{self.name}  {source}{self.locked} -> {self.newer} ({self.requirement}; {places})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A conda package that a manifest asks for by name, at one place; `channel` is a base URL."""

    one: PackageSet
    own: Requirement
    locked: LockedPackage
    channel: str

    @property
    def subdir(self) -> str:
        """The subdir of the platform."""
        return self.one.rows.platform.subdir


def requested_packages(sets: Iterable[PackageSet]) -> Iterator[Requested]:
    """Yield what the manifests ask for by name and what is from a channel."""
    for each in sets:
        for root in each.roots:
            own, locked = root.own, root.locked
            if own is None or locked is None or locked.channel is None or own.is_source:
                continue
            if root.kind == "requires" and own.location is None:
                channel = channel_base_url(locked.channel)
                yield Requested(one=each, own=own, locked=locked, channel=channel)


def find_newer(
    sets: Iterable[PackageSet],
    requested: Sequence[Requested],
    records: Mapping[tuple[str, str], Mapping[str, Record]],
    pages: Mapping[tuple[str, str], Page],
) -> tuple[Newer, ...]:
    """Find the newest of each, in the channel or the index that it is locked from.

    `records` are those of upstream by channel and subdir, `pages` by index and project.
    """
    found = (*_newer_conda(requested, records), *_newer_pypi(sets, pages))
    places: dict[Newer, list[str]] = {}
    for each in found:
        places.setdefault(replace(each, places=()), []).extend(each.places)
    merged = (replace(each, places=tuple(dict.fromkeys(some))) for each, some in places.items())
    return tuple(sorted(merged, key=lambda each: (each.name, each.kind, each.places)))


def _newer_conda(
    requested: Sequence[Requested], records: Mapping[tuple[str, str], Mapping[str, Record]]
) -> Iterator[Newer]:
    pairs = [
        (each, name, record)
        for each in requested
        for subdir in (each.subdir, NOARCH)
        for name, record in records.get((each.channel, subdir), {}).items()
        if record.name == each.locked.name and record != each.locked.record
    ]
    ranks = rank_versions(
        version
        for each, _, record in pairs
        for version in (each.locked.record.version, record.version)
    )

    def age(record: Record) -> tuple[int, int]:
        return ranks.get(record.version, -1), record.build_number

    newer = [pair for pair in pairs if age(pair[2]) > age(pair[0].locked.record)]
    asked = list(dict.fromkeys((each.own.spec, record) for each, _, record in newer))
    questions: list[Json] = [
        {"spec": spec, "record": {key: getattr(record, key) for key in MATCHED}}
        for spec, record in asked
    ]
    answers: Any = call_rattler("matches", {"pairs": questions}) if questions else ()
    taken = dict(zip(asked, answers, strict=True))
    best: dict[int, tuple[Requested, Record]] = {}
    for each, name, record in newer:
        if not taken[each.own.spec, record] or not _is_as_asked(each, name, record):
            continue
        there = best.get(id(each))
        if there is None or age(record) > age(there[1]):
            best[id(each)] = each, record
    for each, record in best.values():
        yield Newer(
            name=each.locked.name,
            kind="conda",
            locked=_version(each.locked.record),
            newer=_version(record),
            requirement=printable(wanted_text(each.own)),
            places=(str(each.one.place),),
        )


def _is_as_asked(each: Requested, name: str, record: Record) -> bool:
    """Tell whether what a MatchSpec leaves aside is as asked for: file name and subdir."""
    file_name = parse_file_name(name)
    if file_name is None:
        return False
    candidate = replace(each.locked, file_name=file_name, record=record)
    return not differs_aside(each.own, candidate, each.one.lock.root)


def _version(record: Record) -> str:
    return printable(f"{record.version} {record.build}")


def _newer_pypi(
    sets: Iterable[PackageSet], pages: Mapping[tuple[str, str], Page]
) -> Iterator[Newer]:
    for each in sets:
        python = each.python if each.pypi_roots else ""
        if isinstance(python, str):
            continue
        rows = {row.name: row for row in each.pypi_rows}
        for one in find_asked(each, python)[0]:
            row = rows.get(pypi_name(one.requirement.name)) if one.requirement else None
            if one.who is not None or one.requirement is None or row is None:
                continue
            locked = parse_version(row.version)
            page = pages.get((row.index or "", row.name), {})
            versions = {_version_of(name, file, python) for name, file in page.items()}
            known = {x for x in versions if x is not None and locked is not None and x > locked}
            fitting = list(one.requirement.specifier.filter(known))
            if fitting:
                yield Newer(
                    name=row.name,
                    kind="pypi",
                    locked=row.version or "",
                    newer=str(max(fitting)),
                    requirement=one.text,
                    places=(str(each.place),),
                )


def _version_of(name: str, file: PageFile, python: PythonPlatform) -> Version | None:
    """Return the version of a file that this Python would take; None: it would not."""
    from packaging.specifiers import SpecifierSet
    from packaging.utils import parse_sdist_filename, parse_wheel_filename

    try:
        if file.yanked is not None or not SpecifierSet(file.requires_python or "").contains(
            python.version, prereleases=True
        ):
            return None
        if not name.endswith(".whl"):
            return parse_sdist_filename(name)[1]
        _, version, _, tags = parse_wheel_filename(name)
    except ValueError:  # not as PEP 427, 625 or 440 have it: pixi takes none of them
        return None
    return None if python.tags.isdisjoint(tags) else version
