"""What came of solving for one place, by rattler or by uv, held against what is locked there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from scripts.core.errors import Problem, finding_problem, first_details
from scripts.core.report import Json, Line
from scripts.verify.findings import EnvironmentPlatform, Level, look_at, said_lines

SHOWN: Final = 20
"""Packages, or lines of a solver's, that one problem shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveAnswer:
    """An answer for one place; by default it is what is locked."""

    problem: Problem | None = None
    differences: tuple[tuple[str | None, str | None], ...] = ()
    """What is locked, and what was solved in its place; None: nothing."""
    reason: str | None = None
    """Why it is no error that they differ."""
    not_proven: tuple[str, ...] = ()
    """What could not be asked, as it turned out."""

    @property
    def rows(self) -> list[Json]:
        """The differences, for programs."""
        return [{"locked": locked, "solved": solved} for locked, solved in self.differences]

    def lines(self, what: str) -> Iterator[Line]:
        """Say what was solved otherwise, and why that is no error; `what` was solved."""
        if self.reason is not None:
            yield f"solved {what} otherwise than pixi.lock ({self.reason}):"
            yield tuple(map(_difference_line, self.differences))


def _difference_line(pair: tuple[str | None, str | None]) -> str:
    locked, solved = pair
    if locked and solved:
        return f"  {locked} → {solved}"
    return f"  - {locked}" if locked else f"  + {solved}"


def refused(place: EnvironmentPlatform, message: str, said: str) -> SolveAnswer:
    """Make the answer of a solver that finds none; `said` is what it said."""
    help_ = look_at(Level.INDEX, Level.CLOSURE)
    details = said_lines(said, SHOWN)
    return SolveAnswer(problem=finding_problem(place, message, *details, help=help_))


def compare_solved(
    place: EnvironmentPlatform,
    gone: Mapping[str, str],
    come: Mapping[str, str],
    reason: str | None,
    message: str,
) -> SolveAnswer:
    """Pair what is locked and was not solved with what was, and is not locked, by name.

    `reason` is why that is no error; None: it is one, with this message.
    """
    pairs = tuple((gone.get(name), come.get(name)) for name in sorted({*gone, *come}))
    if not pairs or reason is not None:
        return SolveAnswer(differences=pairs, reason=reason if pairs else None)
    lacks = first_details([("lacks", str(locked)) for locked, _ in pairs], SHOWN)
    problem = finding_problem(place, message, *lacks, help=look_at(Level.INDEX))
    return SolveAnswer(problem=problem, differences=pairs)
