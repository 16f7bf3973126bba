"""What solving gave, beside what pixi.lock has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from scripts.core.errors import ExitCode, Problem
from scripts.core.file_name import parse_file_name
from scripts.core.redact import printable, redact
from scripts.core.report import Json
from scripts.verify.findings import Finding, Level, Place
from scripts.verify.solve.plan_solve import FLAT, NotSolved, Solving, Undeclared

_SHOWN: Final = 20  # artifacts, or lines of rattler's, that one finding shows
_NAMED: Final = 3  # artifacts within a sentence
_OTHERS: Final = "other packages in the mirror allow it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Rattler's answer: places of artifacts in the mirror, or in its own words why none."""

    artifacts: frozenset[PurePosixPath] = frozenset()
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One name that is solved otherwise than locked; None where one side lacks it."""

    locked: PurePosixPath | None
    solved: PurePosixPath | None

    def __str__(self) -> str:
        """Write it for people: from → to, or with a sign what one side alone has."""
        if self.locked is None:
            return f"+ {self.solved}"
        if self.solved is None:
            return f"- {self.locked}"
        return f"{self.locked} → {self.solved}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedPlace:
    """What came of one place. `reason` says why its `differences` are no error.

    `undeclared` came after its channels, for some names alone.
    """

    place: Place
    undeclared: tuple[Undeclared, ...] = ()
    not_proven: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    reason: str | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveResult:
    """What came of all places, and of which ones nothing could."""

    places: tuple[SolvedPlace, ...]
    hindered: tuple[NotSolved, ...]

    @property
    def findings(self) -> Iterator[Finding]:
        """What is wrong, place by place."""
        for each in self.places:
            if each.problem is not None:
                yield Finding(
                    level=Level.SOLVE, problem=each.problem, places=frozenset({each.place})
                )

    @property
    def solved(self) -> frozenset[Place]:
        """The places that there is an answer for, right or wrong."""
        return frozenset(each.place for each in self.places)


def conclude(solving: Solving, answer: Answer, retained: AbstractSet[PurePosixPath]) -> SolvedPlace:
    """Hold an answer against the locked set; `retained` is what the lock names no more.

    An answer of locked packages alone that lacks some of them cannot be due to other packages in
    the mirror: where nothing else gives leeway, it is wrong.
    """
    plain = SolvedPlace(
        place=solving.place, undeclared=solving.undeclared, not_proven=solving.not_proven
    )
    if answer.refused is not None:
        return dataclasses.replace(plain, problem=_refused(solving.place, answer.refused))
    found = differences(solving.locked, answer.artifacts)
    if not found:
        return plain
    reason = _reason(solving, answer.artifacts - solving.locked, retained)
    return dataclasses.replace(
        plain,
        differences=found,
        reason=reason,
        problem=_differs(solving.place, found) if reason is None else None,
    )


def _reason(
    solving: Solving, others: AbstractSet[PurePosixPath], retained: AbstractSet[PurePosixPath]
) -> str | None:
    """Say why an answer with these others is no error; None where it is one."""
    offered = sorted(map(str, others & retained))
    if offered:
        more = f" and {len(offered) - _NAMED} more" if len(offered) > _NAMED else ""
        names = ", ".join(offered[:_NAMED])
        return f"the mirror still offers {names}{more}, retained from an earlier lock"
    if others and solving.leeway in {None, FLAT}:
        return _OTHERS
    return solving.leeway


def differences(
    locked: frozenset[PurePosixPath], solved: frozenset[PurePosixPath]
) -> tuple[Difference, ...]:
    """Pair what one side alone has by package name, in order of names."""
    gone = {_name(path): path for path in sorted(locked - solved)}
    come = {_name(path): path for path in sorted(solved - locked)}
    return tuple(
        Difference(locked=gone.get(name), solved=come.get(name)) for name in sorted({*gone, *come})
    )


def solve_lines(result: SolveResult) -> Iterator[str]:
    """Say what was solved otherwise, and why that is no error; what was not solved, or proven."""
    for each in result.places:
        if each.differences and each.reason is not None:
            yield f"solved {each.place} otherwise than pixi.lock ({each.reason}):"
            yield from (f"  {difference}" for difference in each.differences[:_SHOWN])
            if len(each.differences) > _SHOWN:
                yield f"  and {len(each.differences) - _SHOWN} more, in --json"
        for one in each.undeclared:
            yield (
                f"solved {each.place} with {one.folder} after all its channels, since the lock has"
                f" {_names(one.names)} from there; for no other name"
            )
    for each in result.places:
        if each.not_proven:
            yield f"not proven by solving {each.place}: {', '.join(each.not_proven)}"
    for other in result.hindered:
        yield f"not solved: {other.place}; {other.hindrance}"


def solve_json(result: SolveResult) -> list[Json]:
    """Say the same for programs."""
    hindered: list[Json] = [
        {
            "environment": each.place.environment,
            "platform": each.place.platform,
            "solved": None,
            "hindrance": each.hindrance,
        }
        for each in result.hindered
    ]
    return [
        *(
            {
                "environment": each.place.environment,
                "platform": each.place.platform,
                "solved": each.problem is None,
                "differences": [
                    {"locked": _text(one.locked), "solved": _text(one.solved)}
                    for one in each.differences
                ],
                "reason": each.reason,
                "undeclared": {str(one.folder): sorted(one.names) for one in each.undeclared},
                "not-proven": list(each.not_proven),
            }
            for each in result.places
        ),
        *hindered,
    ]


def _refused(place: Place, said: str) -> Problem:
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    facts = [("said", redact(printable(line))) for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        facts.append(("and", f"{len(lines) - _SHOWN} lines more"))
    return _problem(place, facts)


def _problem(place: Place, facts: Iterable[tuple[str, str]]) -> Problem:
    return Problem(
        subject=str(place),
        trouble="cannot be solved from the channel alone",
        code=ExitCode.NO,
        facts=tuple(facts),
        help="pixi run verify --level index,closure",
    )


def _differs(place: Place, found: tuple[Difference, ...]) -> Problem:
    facts = [("lacks", str(each.locked)) for each in found[:_SHOWN]]
    if len(found) > _SHOWN:
        facts.append(("and", f"{len(found) - _SHOWN} more"))
    return Problem(
        subject=str(place),
        trouble="solved from the channel alone, it has less than pixi.lock",
        code=ExitCode.NO,
        facts=tuple(facts),
        help="pixi run verify --level index, and `pixi lock` if the manifest asks for less",
    )


def _names(names: frozenset[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _name(path: PurePosixPath) -> str:
    parsed = parse_file_name(path.name)
    return path.name if parsed is None else parsed.name


def _text(path: PurePosixPath | None) -> str | None:
    return None if path is None else redact(str(path))
