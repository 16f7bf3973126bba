"""Many problems of one kind, told once for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scripts.core.errors import ExitCode, Problem
from scripts.core.file_name import is_archive_name

# So many of one kind are still told one by one.
_FEW: Final = 3


def gathered(problems: Sequence[Problem], names: int) -> tuple[Problem, ...]:
    """Tell problems that differ in no more than their subject and facts as one.

    It stands where the first of them stood, with that one's facts, and names `names` of them.
    """
    kinds: dict[tuple[str, ExitCode, str | None], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((problem.message, problem.code, problem.help), []).append(problem)
    told: list[Problem] = []
    for same in kinds.values():
        told += same if len(same) <= _FEW else [_as_one(same, max(1, names))]
    return tuple(told)


def _as_one(problems: Sequence[Problem], names: int) -> Problem:
    first, *others = problems
    are_artifacts = all(is_archive_name(each.subject) for each in problems)
    details = [("first", first.subject), *first.details]
    rows = [other.subject for other in others[: names - 1]]
    unnamed = len(problems) - 1 - len(rows)
    if unnamed:
        rows.append(f"and {unnamed} more, which -v shows")
    details += [("then" if row is rows[0] else "", row) for row in rows]
    return Problem(
        subject=f"{len(problems)} {'artifacts' if are_artifacts else 'times'}",
        message=_plural(first.message) if are_artifacts else first.message,
        code=first.code,
        details=tuple(details),
        help=first.help,
    )


def _plural(message: str) -> str:
    """Put a sentence's verb, where it begins with one, into the plural."""
    verb, space, rest = message.partition(" ")
    return {"is": "are", "has": "have"}.get(verb, verb) + space + rest
