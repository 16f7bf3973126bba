"""What solving gave, beside what pixi.lock has. Decides; does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from scripts.core.errors import ExitCode, Problem
from scripts.core.file_name import parse_file_name
from scripts.core.redact import redact
from scripts.core.report import Json
from scripts.proof.findings import Finding, Level, Place
from scripts.proof.wording import printable
from scripts.solve.plan_solve import NotSolved, Solving

_SHOWN: Final = 20  # artifacts, or lines of rattler's, that one finding shows
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
    """What came of one place. `reason` says why its `differences` are no error."""

    place: Place
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


def conclude(solving: Solving, answer: Answer) -> SolvedPlace:
    """Hold an answer against the locked set.

    An answer of locked packages alone that lacks some of them cannot be due to other packages in
    the mirror: where nothing else gives leeway, it is wrong.
    """
    place, not_proven = solving.place, solving.not_proven
    if answer.refused is not None:
        return SolvedPlace(
            place=place, not_proven=not_proven, problem=_refused(place, answer.refused)
        )
    found = differences(solving.locked, answer.artifacts)
    if not found:
        return SolvedPlace(place=place, not_proven=not_proven)
    reason = solving.leeway
    if reason is None and not answer.artifacts <= solving.locked:
        reason = _OTHERS
    return SolvedPlace(
        place=place,
        not_proven=not_proven,
        differences=found,
        reason=reason,
        problem=_differs(place, found) if reason is None else None,
    )


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
                "not-proven": list(each.not_proven),
            }
            for each in result.places
        ),
        *hindered,
    ]


def _refused(place: Place, said: str) -> Problem:
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    facts = [("said", printable(redact(line))) for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        facts.append(("and", f"{len(lines) - _SHOWN} lines more"))
    return _problem(place, facts)


def _problem(place: Place, facts: Iterable[tuple[str, str]]) -> Problem:
    return Problem(
        subject=str(place),
        trouble="cannot be solved from the channel alone",
        code=ExitCode.NO,
        facts=tuple(facts),
        help="pixi run verify --level index",
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


def _name(path: PurePosixPath) -> str:
    parsed = parse_file_name(path.name)
    return path.name if parsed is None else parsed.name


def _text(path: PurePosixPath | None) -> str | None:
    return None if path is None else redact(str(path))
