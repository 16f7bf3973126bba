"""The level `closure`: every environment's locked set, as the mirror's own records say, is whole.

A closed universe: rattler's solver is given exactly the locked records, each required by name, with
the manifest's requirements and the platform's virtual packages. Where it refuses, every requirement
that is not met is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final

from scripts.core.errors import ExitCode, Problem
from scripts.core.file_name import parse_file_name
from scripts.core.rattler_child import call_rattler
from scripts.core.redact import printable, redact, without_secrets
from scripts.core.report import Json
from scripts.core.scratch import scratch_folder
from scripts.core.subdir import NOARCH
from scripts.index.repodata import REPODATA, damaged
from scripts.lock.model import BuildSet, LockedEnvironment, LockedPackage, PlatformPackages
from scripts.lock.satisfiability import differs_aside, wanted_text
from scripts.lock.select import Selection, path_of
from scripts.verify.findings import (
    EnvironmentPlatform,
    Finding,
    Level,
    LevelResult,
    UsageIndex,
    place_json,
    places_of,
    said_lines,
    used_by,
)
from scripts.verify.virtual_packages import (
    VirtualPackage,
    declared_packages,
    find_platform,
    is_declarable,
    least_package,
    virtual_packages,
)
from scripts.workspace.model import Manifest, ManifestPlatform, Requirement
from scripts.workspace.resolve import constraints, requirements
from scripts.workspace.virtual_packages import default_packages, platform_table
from scripts.workspace.workspace import Workspace

_SHOWN: Final = 5  # artifacts of each kind that one finding shows
_LISTED: Final = 20  # unproven requirements that one line shows, lines of rattler's in a finding


@dataclass(frozen=True, slots=True)
class _Root:
    """What the manifest (`own`) or a source package, `who`, requires or constrains.

    `subject` is who, with its location. `differs`: what is there is of another channel or the like.
    """

    who: str
    subject: str
    kind: str
    spec: str
    own: Requirement | None = None
    differs: bool = False

    @property
    def text(self) -> str:
        """The requirement for people."""
        return self.spec if self.own is None else wanted_text(self.own)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSet:
    """Locked records that are to be whole in themselves: what is installed, or builds.

    `root` is what needs it all, for people. `built` maps the names of what is built from source
    there to its version, None where that is unknown. `skip_reason` says why the manifest's
    requirements are not known. `platform` is the manifest's, where it has one.
    """

    place: EnvironmentPlatform
    packages: tuple[LockedPackage, ...]
    virtual_packages: tuple[VirtualPackage, ...]
    built: Mapping[str, str | None]
    root: str
    roots: tuple[_Root, ...] = ()
    is_of_builds: bool = False
    skip_reason: str | None = None
    platform: ManifestPlatform | None = None


def check_closure(workspace: Workspace, selection: Selection, uses: UsageIndex) -> LevelResult:
    """Look at every environment on every platform, all in one child process.

    Raises the error of exit code 4 where rattler ends without an answer.
    """
    sets = plan_sets(selection, workspace.manifest, workspace.root)
    return prove_sets(sets, selection, uses, workspace.place.folder, workspace.root)


def plan_sets(selection: Selection, manifest: Manifest, root: PurePath) -> tuple[PackageSet, ...]:
    """Plan every place that is mirrored, and beside it what its source packages are built with.

    `root` is the workspace's folder.
    """
    sets: list[PackageSet] = []
    for place, locked, rows in places_of(selection):
        sets.append(_installed_set(manifest, root, place, locked, rows))
        sets += (_build_set(place, rows, each) for each in rows.build_sets)
    return tuple(sets)


def prove_sets(
    sets: Sequence[PackageSet], selection: Selection, uses: UsageIndex, folder: Path, root: PurePath
) -> LevelResult:
    """Have all sets solved in one child process; `folder` is the channel folder."""
    if not sets:
        return LevelResult(data={"closed": []})
    with scratch_folder() as scratch:
        arguments: dict[str, Json] = {
            "folder": str(folder),
            "cache": str(scratch),
            "sets": [_question(each, selection) for each in sets],
        }
        reply: Any = call_rattler("prove_closed", arguments)
    findings = tuple(_Teller(sets, selection, root, uses).findings(reply))
    wrong = frozenset[EnvironmentPlatform]().union(*(each.places for each in findings))
    not_proven: dict[EnvironmentPlatform, list[str]] = {}
    skip_reasons: dict[EnvironmentPlatform, str | None] = {}
    for each, answer in zip(sets, reply["answers"], strict=True):
        not_proven.setdefault(each.place, []).extend(
            f"{_subject(each, row)} {row['kind']} {_text(each, row)} ({row['reason']})"
            for row in answer["unproven"]
        )
        skip_reasons[each.place] = skip_reasons.get(each.place) or each.skip_reason
    return LevelResult(
        findings=findings,
        unproven=frozenset(each for each in not_proven if not_proven[each] or skip_reasons[each]),
        lines=tuple(_lines(not_proven, skip_reasons)),
        data={
            "closed": [
                {
                    **place_json(place),
                    "closed": place not in wrong,
                    "not-proven": told,
                    "skip-reason": skip_reasons[place],
                }
                for place, told in not_proven.items()
            ]
        },
    )


def _lines(
    not_proven: Mapping[EnvironmentPlatform, Sequence[str]],
    skip_reasons: Mapping[EnvironmentPlatform, str | None],
) -> Iterator[str]:
    """Say what is not proven."""
    for place, told in not_proven.items():
        if told:
            more = f", and {len(told) - _LISTED} more, in --json" if len(told) > _LISTED else ""
            yield f"not proven to be closed: {place}; {', '.join(told[:_LISTED])}{more}"
        if skip_reasons[place] is not None:
            yield f"not closed: what the manifest requires of {place}; {skip_reasons[place]}"


def _installed_set(
    manifest: Manifest,
    root: PurePath,
    place: EnvironmentPlatform,
    locked: LockedEnvironment,
    rows: PlatformPackages,
) -> PackageSet:
    there = {each.name.lower(): each for each in rows.packages}
    roots: list[_Root] = []
    platform, skip_reason = None, None
    found = find_platform(manifest, locked, rows)
    if isinstance(found, str):
        skip_reason = found
    else:
        environment, platform = found
        for kind, asked in (
            ("requires", requirements(manifest, environment, platform)),
            ("constrains", constraints(manifest, environment, platform)),
        ):
            for own in asked:
                package = there.get(own.name)
                differs = package is not None and differs_aside(own, package, root)
                spec = _conditional_spec(own)
                roots.append(
                    _Root(manifest.file_name, manifest.file_name, kind, spec, own, differs=differs)
                )
    for source in rows.sources:
        subject = f"{source.name} ({redact(source.location)})"
        roots += [_Root(source.name, subject, "requires", each) for each in source.depends]
        roots += [_Root(source.name, subject, "constrains", each) for each in source.constrains]
    built, installed = _built(rows, there)
    return PackageSet(
        place=place,
        packages=rows.packages,
        virtual_packages=(*virtual_packages(declared_packages(rows, platform)), *installed),
        built=built,
        root=manifest.file_name,
        roots=tuple(roots),
        skip_reason=skip_reason,
        platform=platform,
    )


def _built(
    rows: PlatformPackages, there: Mapping[str, LockedPackage]
) -> tuple[dict[str, str | None], tuple[VirtualPackage, ...]]:
    """Return what is built from source, and what of it is installed, as virtual packages."""
    built: dict[str, str | None] = dict.fromkeys(each for each in rows.source_names)
    versions: dict[str, set[str]] = {}
    for source in rows.sources:
        name, _, version = source.name.partition(" ")
        versions.setdefault(name.lower(), set()).add(version)
    for name, known in versions.items():
        if len(known) == 1:  # there may be two variants of it
            built[name] = next(iter(known)) or None
    for name in there:
        built.pop(name, None)
    return built, tuple(
        VirtualPackage(name, built[name] or "0") for name in versions if name in built
    )


def _build_set(place: EnvironmentPlatform, rows: PlatformPackages, sources: BuildSet) -> PackageSet:
    """Plan what a source package is built with: its machine may be of another platform."""
    subdirs = (each.record.subdir for each in sources.packages if each.record.subdir != NOARCH)
    subdir = next(subdirs, rows.platform.subdir)
    names = {each.name.lower() for each in sources.packages}
    return PackageSet(
        place=place,
        packages=sources.packages,
        virtual_packages=virtual_packages(tuple(default_packages(subdir).values())),
        built=dict.fromkeys(each for each in rows.source_names if each not in names),
        root=f"the building of {sources.source}",
        is_of_builds=True,
    )


def _conditional_spec(own: Requirement) -> str:
    """Write a requirement with its condition, as a MatchSpec has it."""
    if own.condition is None:
        return own.spec
    mark = "'" if '"' in own.condition else '"'
    when = f"when={mark}{own.condition}{mark}"
    if own.spec.endswith("]"):
        return f"{own.spec[:-1]}, {when}]"
    return f"{own.spec}[{when}]"


def _question(each: PackageSet, selection: Selection) -> Json:
    """Write what the worker is asked of a set."""
    return {
        "records": [str(path_of(selection.layout, package)) for package in each.packages],
        "virtual_packages": [[one.name, one.version, one.build] for one in each.virtual_packages],
        "built": each.built,
        "is_of_builds": each.is_of_builds,
        "roots": [
            {"kind": root.kind, "spec": root.spec, "is_unmet": root.differs} for root in each.roots
        ],
    }


class _Teller:
    """Writes for people what came of the sets."""

    def __init__(
        self, sets: Sequence[PackageSet], selection: Selection, root: PurePath, uses: UsageIndex
    ) -> None:
        self._sets, self._uses, self._root = sets, uses, root
        self._packages = {
            str(path_of(selection.layout, package)): package
            for each in sets
            for package in each.packages
        }
        self._virtual: dict[str, set[EnvironmentPlatform]] = {}
        for each in sets:
            for package in each.virtual_packages:
                self._virtual.setdefault(str(package), set()).add(each.place)

    def findings(self, reply: Any) -> Iterator[Finding]:
        """Yield one finding for all places in which the same is wrong in the same way."""
        unreadable = {PurePosixPath(path): reason for path, reason in reply["unreadable"].items()}
        for path, reason in unreadable.items():
            (problem,) = damaged(str(path), redact(printable(reason))).problems
            yield self._finding(problem, self._uses.places(path.parent))
        found: dict[tuple[object, ...], tuple[Problem, set[EnvironmentPlatform]]] = {}
        for each, answer in zip(self._sets, reply["answers"], strict=True):
            missing = [PurePosixPath(path) for path in answer["missing"]]
            if any(path.with_name(REPODATA) in unreadable for path in missing):
                continue
            for path in missing:
                (problem,) = damaged(str(path), f"has no record in {REPODATA}").problems
                found.setdefault((path,), (problem, set()))[1].add(each.place)
            reasons = _reasons(each, answer["needs"]) if answer["unmet"] else {}
            for row in answer["unmet"]:
                there = self._there(each, row)
                key = (_subject(each, row), row["kind"], _text(each, row), there)
                if key not in found:
                    found[key] = self._unmet(each, row, there, reasons), set()
                found[key][1].add(each.place)
            if answer["refused"] and not answer["unmet"] and not missing:
                found[each.place, each.root] = _refused(each, answer["refused"]), {each.place}
        for problem, places in found.values():
            yield self._finding(problem, frozenset(places))

    def _finding(self, problem: Problem, places: frozenset[EnvironmentPlatform]) -> Finding:
        if problem.help != "pixi run index":  # as the level `index` says it
            problem = replace(problem, details=(*problem.details, used_by(places)))
        return Finding(level=Level.CLOSURE, problem=problem, places=places)

    def _unmet(
        self,
        each: PackageSet,
        row: Any,
        there: tuple[str, ...],
        reasons: Mapping[str, tuple[str | None, str] | None],
    ) -> Problem:
        """Say what is required, what is there, what would do elsewhere, and who needs it all."""
        details = [("has", text) for text in there]
        if row["refused"] is not None:
            state = "which is no MatchSpec"
            details = [("said", line) for line in row["refused"].splitlines()[:_SHOWN]]
        else:
            is_required = row["kind"] == "requires"
            state = "which is not met" if is_required else "which is not kept"
            details = details or [("has", f"no {row['name']}")]
            details += [("elsewhere", text) for text in self._elsewhere(each, row)]
        if "who" in row:
            details += [("needed by", line) for line in _needed_by(each, row["who"], reasons)]
        return Problem(
            subject=_subject(each, row),
            message=f"{row['kind']} {_text(each, row)}, {state}",
            code=ExitCode.FINDINGS,
            details=tuple(details),
            help=_help(each, row),
        )

    def _there(self, each: PackageSet, row: Any) -> tuple[str, ...]:
        """Say what there is of the name; its channel too, where the manifest asks for one."""
        own = _own(each, row)
        if own is None or own.channel is None:
            return tuple(row["there"])
        return tuple(
            f"{path} from {without_secrets(self._packages[path].channel or 'no channel')}"
            if path in self._packages
            else path
            for path in row["there"]
        )

    def _elsewhere(self, each: PackageSet, row: Any) -> Iterator[str]:
        """Say what of the whole mirror would meet it, and where that is used."""
        own = _own(each, row)
        others = [
            path
            for path in row["others"]
            if own is None
            or path not in self._packages
            or not differs_aside(own, self._packages[path], self._root)
        ]
        if not others:
            yield "nothing in this mirror"
        for path in others[:_SHOWN]:
            users = sorted(self._virtual.get(path) or self._uses.places(PurePosixPath(path)))
            more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
            yield f"{path} of {', '.join(map(str, users[:_SHOWN]))}{more}"
        if len(others) > _SHOWN:
            yield f"and {len(others) - _SHOWN} more"


def _own(each: PackageSet, row: Any) -> Requirement | None:
    return each.roots[row["root"]].own if "root" in row else None


def _subject(each: PackageSet, row: Any) -> str:
    return each.roots[row["root"]].subject if "root" in row else str(row["who"])


def _text(each: PackageSet, row: Any) -> str:
    return each.roots[row["root"]].text if "root" in row else str(row["spec"])


def _refused(each: PackageSet, said: str) -> Problem:
    return Problem(
        subject=str(each.place),
        message=f"the locked packages of {each.root} do not go together",
        code=ExitCode.FINDINGS,
        details=said_lines(said, _LISTED),
        help="pixi lock",
    )


def _reasons(each: PackageSet, needs: Iterable[Any]) -> dict[str, tuple[str | None, str] | None]:
    """Map each artifact to who needs it (None: what is above all), and the line that says so.

    The shortest ways down from the manifest come first, then those from what nobody needs, then
    from what need each other in a circle.
    """
    below: dict[str | None, list[tuple[str, str]]] = {}
    for who, spec, met in needs:
        path = who.get("who")
        if path is None:
            root = each.roots[who["root"]]
            line = f"{root.who}: {root.text}"
        else:
            line = f"{_distribution(path)}: {spec}"
        below.setdefault(path, []).append((met, line))
    met_by_any = {met for rows in below.values() for met, _ in rows}
    found: dict[str, tuple[str | None, str] | None] = {}
    for start in (None, *(each for each in below if each not in met_by_any), *below):
        if start in found:
            continue
        if start is not None:
            found[start] = None
        queue = deque([start])
        while queue:
            who = queue.popleft()
            for met, line in below.get(who, ()):
                if met not in found:
                    found[met] = (who, line)
                    queue.append(met)
    return found


def _needed_by(
    each: PackageSet, path: str, reasons: Mapping[str, tuple[str | None, str] | None]
) -> Iterator[str]:
    """Say who needs an artifact, who needs that, and so on."""
    needer: str | None = path
    while needer is not None and (reason := reasons.get(needer)) is not None:
        needer, line = reason
        yield line
    if needer is None:
        return
    if each.is_of_builds:
        yield each.root
    elif each.built:
        yield "what is built from source, perhaps"
    elif each.skip_reason is None:
        yield f"nothing that {each.root} requires"


def _distribution(path: str) -> str:
    name = PurePosixPath(path).name
    parsed = parse_file_name(name)
    return name if parsed is None else parsed.distribution


def _help(each: PackageSet, row: Any) -> str:
    """Say what mends it: for a virtual package that a manifest can declare, the table to write."""
    platform, name = each.platform, row["name"]
    if platform is None or not is_declarable(name, platform.subdir):
        return "pixi lock"
    least = least_package(name, row["spec"]) if row["kind"] == "requires" else None
    if least is None:
        return f"give the platform such a {name} in {each.root}, then `pixi lock`"
    table = platform_table(platform, least)
    return (
        f"in the platforms of {each.root} write {table} in place of {platform.name},"
        " then `pixi lock`"
    )
