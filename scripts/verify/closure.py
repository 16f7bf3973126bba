"""The level `closure`: every environment's locked set, as the mirror's own records say, is whole.

A closed universe: rattler's solver is given exactly the locked records, each required by name, with
the manifest's requirements and the platform's virtual packages. Where it refuses, every requirement
that is not met is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final

from scripts.core.errors import Problem, finding_problem, usage_error
from scripts.core.rattler_child import RattlerRefusedError, call_rattler
from scripts.core.redact import printable, redact, without_secrets
from scripts.core.report import Json, listed
from scripts.core.scratch import scratch_folder
from scripts.index.repodata import REPODATA, index_problem
from scripts.lock.model import LockedPackage
from scripts.lock.satisfiability import differs_aside, renewing_command
from scripts.lock.select import Selection
from scripts.verify.findings import (
    ELSEWHERE,
    NEEDED_BY,
    EnvironmentPlatform,
    Finding,
    Level,
    LevelResult,
    UsageIndex,
    grouped,
    level_result,
    said_lines,
    with_places,
)
from scripts.verify.install.sandbox import certificates, sandbox_environment
from scripts.verify.plan import PackageSet, Root, plan_builds, plan_sets
from scripts.verify.proofs import NO_PROOFS, Proofs
from scripts.verify.pypi_closure import prove_pypi, pypi_dependencies
from scripts.verify.requirements import Dependents, conda_node, find_dependents, way_up
from scripts.workspace.virtual_packages import is_declarable
from scripts.workspace.workspace import Workspace

_SHOWN: Final = 5  # artifacts of each kind that one finding shows
_REFUSAL_LINES: Final = 20  # lines of rattler's that one finding shows
# What rattler says of a version, or of a name, that is none.
_IS_NONE: Final = re.compile("malformed version|not a valid package name")
# What `--json` says of a place where nothing is wrong or open.
_CLOSED: Final[Mapping[str, Json]] = {"closed": True, "not-proven": [], "skip-reason": None}

# The rows of all packages by their path, and None for virtual packages, by how a lock writes them;
# each with the places that have it.
_Holders = Mapping[str, tuple[LockedPackage | None, set[EnvironmentPlatform]]]


def check_closure(
    workspace: Workspace, selection: Selection, uses: UsageIndex, proofs: Proofs = NO_PROOFS
) -> LevelResult:
    """Look at every environment on every platform, all in one child process.

    Raises the error of exit code 4 where rattler ends without an answer.
    """
    sets = {each.place: (each, *plan_builds(selection, each)) for each in plan_sets(selection)}
    folder = workspace.place.folder

    def dependencies(some: Sequence[PackageSet]) -> Iterator[object]:
        files = {PurePosixPath(path).parent / REPODATA for each in some for path in each.packages}
        yield proofs.digests(folder, files)
        yield from map(_question, some)
        yield from map(pypi_dependencies, some)

    def check(places: Collection[EnvironmentPlatform]) -> LevelResult:
        wanted = [each for place in places for each in sets[place]]
        return prove_sets(wanted, uses, folder)

    keys = {place: proofs.key(Level.CLOSURE, dependencies(some)) for place, some in sets.items()}
    return with_places(Level.CLOSURE, "closed", proofs.prove_places(keys, _CLOSED, check))


def prove_sets(sets: Sequence[PackageSet], uses: UsageIndex, folder: Path) -> LevelResult:
    """Have all sets solved in one child process; `folder` is the channel folder."""
    if not sets:
        return LevelResult()
    with scratch_folder() as scratch:
        arguments: dict[str, Json] = {
            "folder": str(folder),
            "cache": str(scratch),
            "sets": [_question(each) for each in sets],
        }
        environment = sandbox_environment(scratch / "home", certificates())
        try:
            reply: Any = call_rattler("prove_closed", arguments, environment)
        except RattlerRefusedError as error:
            if not _IS_NONE.search(str(error)):
                raise
            subject = ", ".join(dict.fromkeys(each.lock.location for each in sets))
            message = f"py-rattler refuses what is in it or its manifest: {error}"
            help_ = "correct it in the manifest, then `pixi lock`"
            raise usage_error(subject, message, help=help_) from None
    of_pypi = prove_pypi(sets)
    said = ((each, place) for place, (problems, _) in of_pypi.items() for each in problems)
    findings = (*_findings(sets, reply, uses), *grouped(Level.CLOSURE, said))
    wrong = frozenset[EnvironmentPlatform]().union(*(each.places for each in findings))
    rows: dict[EnvironmentPlatform, dict[str, Any]] = {}
    for each, answer in zip(sets, reply["answers"], strict=True):
        row = {
            "closed": each.place not in wrong,
            "not-proven": [],
            # A lock alone asks for no more than what it locks.
            "skip-reason": f"what the manifest requires ({each.declared})"
            if isinstance(each.declared, str) and each.lock.manifest is not None
            else None,
        }
        rows.setdefault(each.place, row)["not-proven"] += [
            f"{asked.subject} {asked.kind} {asked.text} ({unproven['reason']})"
            for unproven in answer["unproven"]
            for asked in [_asked(each, unproven)]
        ]
    for place, (_, not_proven) in of_pypi.items():
        rows[place]["not-proven"] += not_proven
    return LevelResult(findings=findings, rows=rows)


def _question(each: PackageSet) -> Json:
    """Write what the worker is asked of a set."""
    return {
        "records": list(each.packages),
        "virtual_packages": [astuple(one) for one in each.virtual_packages],
        "built": each.built,
        "is_of_builds": each.is_of_builds,
        "roots": [
            {"kind": root.kind, "spec": root.spec, "is_unmet": root.differs} for root in each.roots
        ],
    }


def _asked(each: PackageSet, row: Any) -> Root:
    """Return what a row of the answer is about; artifacts are roots of what they need."""
    if "root" in row:
        root: Root = each.roots[row["root"]]
        return root
    who, spec = row["who"], row["spec"]
    return Root(who=who, subject=who, kind=row["kind"], spec=spec, text=spec)


def _findings(sets: Sequence[PackageSet], reply: Any, uses: UsageIndex) -> Iterator[Finding]:
    """Yield what the level `index` says, too, as that says it; then what is not met."""
    unreadable, holders = reply["unreadable"], _find_holders(sets)
    of_index = [
        (index_problem(path, redact(printable(reason))), uses.places(PurePosixPath(path).parent))
        for path, reason in unreadable.items()
    ]
    found: list[tuple[Problem, EnvironmentPlatform]] = []
    for each, answer in zip(sets, reply["answers"], strict=True):
        missing = answer["missing"]
        if any(f"{path.rpartition('/')[0]}/{REPODATA}" in unreadable for path in missing):
            continue
        message = f"has no record in {REPODATA}"
        of_index += ((index_problem(x, message), frozenset({each.place})) for x in missing)
        above = find_dependents(each) if answer["unmet"] else {}
        gone = {each.packages[path].name.lower() for path in missing}
        problems = [_unmet(each, row, above, holders, gone) for row in answer["unmet"]]
        if answer["refused"] and not (missing or problems):
            message = f"the locked packages of {each.required_by} do not go together"
            said = said_lines(answer["refused"], _REFUSAL_LINES)
            advice = each.lock.renewing("pixi lock")
            problems = [finding_problem(each.place, message, *said, help=advice)]
        found += ((problem, each.place) for problem in problems)
    yield from level_result(Level.CLOSURE, of_index).findings
    yield from grouped(Level.CLOSURE, found)


def _find_holders(sets: Sequence[PackageSet]) -> _Holders:
    found: dict[str, tuple[LockedPackage | None, set[EnvironmentPlatform]]] = {}
    for each in sets:
        virtual = dict.fromkeys(map(str, each.virtual_packages))
        for text, package in {**virtual, **each.packages}.items():
            found.setdefault(text, (package, set()))[1].add(each.place)
    return found


def _unmet(
    each: PackageSet, row: Any, above: Dependents, holders: _Holders, gone: Container[str]
) -> Problem:
    """Say what is required, what is there, what would do elsewhere, and who needs it all.

    `gone` are the names of packages that are locked and have no record.
    """
    asked = _asked(each, row)
    details = [("has", _shown(path, asked, holders)) for path in row["there"]]
    advice = "pixi lock"
    if row["refused"] is not None:
        state = "which is no MatchSpec"
        details = [*said_lines(row["refused"], _SHOWN)]
    else:
        state = "which is not met" if asked.kind == "requires" else "which is not kept"
        details = details or [("has", f"no {row['name']}")]
        details += [(ELSEWHERE, text) for text in _elsewhere(asked, row, holders, each.lock.root)]
        advice = "pixi run index" if row["name"] in gone else _help(each, row["name"])
        if asked.own is not None and asked.differs:
            advice = renewing_command(asked.own)
    if "who" in row:
        details += [(NEEDED_BY, line) for line in _needed_by(each, row["who"], above)]
    message = f"{asked.kind} {asked.text}, {state}"
    return finding_problem(asked.subject, message, *details, help=each.lock.renewing(advice))


def _help(each: PackageSet, name: str) -> str:
    """Say what mends it: a virtual package can be declared, where the manifest knows the place."""
    if isinstance(each.declared, str) or not is_declarable(name, each.rows.platform.subdir):
        return "pixi lock"
    *_, platform = each.declared
    where = f"{platform.name} in the platforms of {each.required_by}"
    return f"declare such a {name} for {where}, then `pixi lock`"


def _shown(path: str, asked: Root, holders: _Holders) -> str:
    """Write what there is of a name; its channel too, where the manifest asks for one."""
    package, _ = holders[path]
    if package is None or asked.own is None or asked.own.channel is None:
        return path
    return f"{path} from {without_secrets(package.channel or 'no channel')}"


def _elsewhere(asked: Root, row: Any, holders: _Holders, root: PurePath) -> Iterator[str]:
    """Say what of all locks would meet it, and where that is used."""
    others = []
    for path in row["others"]:
        package, users = holders[path]
        if package is None or asked.own is None or not differs_aside(asked.own, package, root):
            there = listed([*map(str, sorted(users))], _SHOWN, where="")
            others.append(f"{path} of {there}")
    yield from others[:_SHOWN] or ["nothing in the locks"]
    if len(others) > _SHOWN:
        yield f"and {len(others) - _SHOWN} more"


def _needed_by(each: PackageSet, path: str, above: Dependents) -> Iterator[str]:
    """Say who needs an artifact, who needs that, and so on: the shortest way up to the manifest."""
    way, is_whole = way_up(conda_node(each.packages[path].name), above)
    yield from way
    if is_whole:
        return
    if each.is_of_builds:
        yield each.required_by
    elif each.built:
        yield "what is built from source, perhaps"
    elif not isinstance(each.declared, str):
        yield f"nothing that {each.required_by} requires"
