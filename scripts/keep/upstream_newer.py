"""What upstream has that is newer, and that the manifest would take, of what it asks for by name.

Each requirement is held against what there is, and what a package depends on against what else the
manifest asks for; whether it can be had with all the rest, a solver tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from scripts.core.channel_url import channel_base_url
from scripts.core.file_name import parse_file_name
from scripts.core.pep508 import parse_version, pypi_name
from scripts.core.rattler_child import rank_versions
from scripts.core.record import Record
from scripts.core.redact import printable
from scripts.core.subdir import NOARCH
from scripts.keep.diff import variant
from scripts.keep.upstream_client import Page
from scripts.lock.model import LockedPackage, spec_name
from scripts.lock.satisfiability import differs_aside, match_records, wanted_text
from scripts.verify.plan import PackageSet
from scripts.verify.pypi_closure import takes_python
from scripts.verify.pypi_index import PageLink
from scripts.verify.python_platform import PythonPlatform
from scripts.verify.requirements import find_requirements
from scripts.workspace.model import Requirement
from scripts.workspace.resolve import pypi_options, solve_strategy
from scripts.workspace.virtual_packages import VirtualPackage

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class NewerVersion:
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
class RequestedPackage:
    """A conda package that a manifest asks for by name, at one place; `channel` is a base URL.

    `own` is all that it says of it there: each feature may say something.
    """

    packages: PackageSet
    own: tuple[Requirement, ...]
    locked: LockedPackage
    channel: str

    @property
    def subdir(self) -> str:
        """The subdir of the platform."""
        return self.packages.rows.platform.subdir


# `prerelease-mode`: where pre-releases are taken if a requirement names one, and where if there is
# nothing else (uv-resolver, prerelease.rs, candidate_selector.rs).
_IF_NAMED: Final = frozenset({None, "if-necessary-or-explicit", "explicit"})
_IF_NECESSARY: Final = frozenset({None, "if-necessary-or-explicit", "if-necessary"})

_Candidates = tuple[RequestedPackage, Sequence[Record]]


def requested_packages(sets: Iterable[PackageSet]) -> Iterator[RequestedPackage]:
    """Yield what the manifests ask for by name and what is from a channel."""
    for each in sets:
        asked: dict[str, list[Requirement]] = {}
        for root in each.roots:
            if root.own is not None:
                asked.setdefault(root.own.name, []).append(root.own)
        for name in dict.fromkeys(x.own.name for x in each.roots if x.own and x.kind == "requires"):
            own = tuple(asked[name])
            locked = next((x for x in each.rows.packages if x.name.lower() == name), None)
            if locked is None or locked.channel is None:
                continue
            folder = each.lock.root
            if not any(x.location or x.is_source or differs_aside(x, locked, folder) for x in own):
                channel = channel_base_url(locked.channel)
                yield RequestedPackage(packages=each, own=own, locked=locked, channel=channel)


def find_newer(
    sets: Iterable[PackageSet],
    requested: Sequence[RequestedPackage],
    records: Mapping[tuple[str, str], Mapping[str, Record]],
    pages: Mapping[tuple[str, str], Page],
) -> tuple[NewerVersion, ...]:
    """Find the newest of each, in the channel or the index that it is locked from.

    `records` are those of upstream by channel and subdir, `pages` by index and project.
    """
    found = (*_newer_conda(requested, records), *_newer_pypi(sets, pages))
    places: dict[NewerVersion, list[str]] = {}
    for each in found:
        places.setdefault(replace(each, places=()), []).extend(each.places)
    merged = (replace(each, places=tuple(dict.fromkeys(some))) for each, some in places.items())
    return tuple(sorted(merged, key=lambda each: (each.name, each.kind, each.places)))


def _newer_conda(
    requested: Sequence[RequestedPackage], records: Mapping[tuple[str, str], Mapping[str, Record]]
) -> Iterator[NewerVersion]:
    by_name: dict[tuple[str, ...], list[Record]] = {}
    for place, rows in records.items():
        for file, record in rows.items():
            if parse_file_name(file) is not None:
                by_name.setdefault((*place, record.name), []).append(record)
    found = []
    for each in requested:
        keys = ((each.channel, subdir, each.locked.name) for subdir in (each.subdir, NOARCH))
        found.append((each, [row for key in keys for row in by_name.get(key, ())]))
    versions = (record.version for _, some in found for record in some)
    ranks = rank_versions((*versions, *(each.locked.record.version for each in requested)))

    def age(record: Record) -> tuple[int, int]:
        return ranks.get(record.version, -1), record.build_number

    taken = _matches((x.spec, y) for each, some in found for x in each.own for y in some)
    fitting: list[_Candidates] = []
    for each, some in found:
        fitting.append((each, [y for y in some if all(taken[own.spec, y] for own in each.own)]))
    newer: list[_Candidates] = []
    for each, fits in fitting:
        if _takes_newest(each.packages):
            old = each.locked.record
            later = (x for x in fits if age(x) > age(old))
            # To a solver the newest with track_features is worse than the oldest without.
            newer.append((each, [x for x in later if old.track_features or not x.track_features]))
    for each, possible in _possible(newer, fitting):
        of_locked = variant(each.locked.record.build)
        # Of several builds the one that is most like what is locked: of its Python, if there is.
        newest = max(
            possible,
            key=lambda x: (not x.track_features, age(x), variant(x.build) == of_locked),
        )
        yield NewerVersion(
            name=each.locked.name,
            kind="conda",
            locked=_version(each.locked.record),
            newer=_version(newest),
            requirement=printable(", ".join(map(wanted_text, each.own))),
            places=(str(each.packages.place),),
        )


def _possible(
    newer: Sequence[_Candidates], fitting: Sequence[_Candidates]
) -> Iterator[_Candidates]:
    """Yield those whose needs are met by something that is `fitting`, and by the machine."""
    beside = {(x.packages.place, x.locked.name): some for x, some in fitting}
    of_machine = ((x.packages.place, y) for x, _ in fitting for y in x.packages.virtual_packages)
    beside |= {(place, virtual.name): [_record_of(virtual)] for place, virtual in of_machine}

    def needs(each: RequestedPackage, record: Record) -> Iterator[tuple[str, Sequence[Record]]]:
        # Nobody asks for an ABI by name; it is that of the Python of its version.
        abis = (x.split()[1:2] for x in record.depends if spec_name(x) == "python_abi")
        for spec in (*record.depends, *(" ".join(("python", *version)) for version in abis)):
            key = each.packages.place, spec_name(spec)
            if key in beside or key[1].startswith("__"):
                yield spec, beside.get(key, ())

    met = _matches(
        (spec, other)
        for each, some in newer
        for record in some
        for spec, others in needs(each, record)
        for other in others
    )
    for each, some in newer:
        possible = [
            record
            for record in some
            if all(any(met[spec, x] is not False for x in y) for spec, y in needs(each, record))
        ]
        if possible:
            yield each, possible


def _record_of(virtual: VirtualPackage) -> Record:
    return Record(
        name=virtual.name, version=virtual.version, build=virtual.build, build_number=0, subdir=""
    )


def _matches(pairs: Iterable[tuple[str, Record]]) -> Mapping[tuple[str, Record], bool | None]:
    """Ask of each pair once whether the record meets the MatchSpec; None: nobody can tell."""
    once = dict.fromkeys(pairs)
    return dict(zip(once, match_records(once), strict=True))


def _takes_newest(packages: PackageSet) -> bool:
    """Tell whether pixi would take the newest of what is asked for by name, not the oldest."""
    declared = packages.declared
    return isinstance(declared, str) or solve_strategy(*declared[:2]) == "highest"


def _version(record: Record) -> str:
    return printable(f"{record.version} {record.build}")


def _newer_pypi(
    sets: Iterable[PackageSet], pages: Mapping[tuple[str, str], Page]
) -> Iterator[NewerVersion]:
    for each in sets:
        python = each.python if each.pypi_roots and _takes_newest(each) else ""
        if isinstance(python, str) or isinstance(each.declared, str):
            continue
        manifest, environment, _ = each.declared
        options = pypi_options(manifest, manifest.features_of(environment))
        rows = {row.name: row for row in each.pypi_rows}
        asked: dict[str, list[tuple[str, SpecifierSet]]] = {}
        for one in find_requirements(each, python)[0]:
            if one.who is None and one.requirement is not None:
                said = one.text, one.requirement.specifier
                asked.setdefault(pypi_name(one.requirement.name), []).append(said)
        for name in asked.keys() & rows.keys():
            row = rows[name]
            locked, page = parse_version(row.version), pages.get((row.index or "", name), ())
            unwanted = {True: options.no_binary, False: options.no_build}
            taken = (x for x in page if {name, "*"}.isdisjoint(unwanted[x.name.endswith(".whl")]))
            versions = {x for link in taken if (x := _version_of(link, python)) is not None}
            mode, is_named = options.prerelease_mode, any(x.prereleases for _, x in asked[name])
            takes_early = mode == "allow" or (mode in _IF_NAMED and is_named)
            stable = {x for x in versions if not x.is_prerelease}
            if stable or mode not in _IF_NECESSARY:
                versions = versions if takes_early else stable
            newer = {x for x in versions if locked is not None and x > locked}
            for _, specifier in asked[name]:
                newer = {x for x in newer if specifier.contains(x, prereleases=True)}
            if newer:
                yield NewerVersion(
                    name=name,
                    kind="pypi",
                    locked=row.version or "",
                    newer=str(max(newer)),
                    requirement=", ".join(text for text, _ in asked[name]),
                    places=(str(each.place),),
                )


def _version_of(file: PageLink, python: PythonPlatform) -> Version | None:
    """Return the version of a file that this Python would take; None: it would not."""
    from packaging.utils import parse_sdist_filename, parse_wheel_filename

    try:
        is_refused = takes_python(file.requires_python or "", python.version) is False
        if is_refused or file.yanked is not None:
            return None
        if not file.name.endswith(".whl"):
            return parse_sdist_filename(file.name)[1]
        _, version, _, tags = parse_wheel_filename(file.name)
    except ValueError:  # not as PEP 427, 625 or 440 have it: pixi takes none of them
        return None
    return None if python.tags.isdisjoint(tags) else version
