"""Conditions of MatchSpecs: `python >=3.10 and (__unix or wine)`.

What stands in `[when="…"]`, as rattler reads and writes it
(rattler_conda_types/src/match_spec/condition.rs): `and` binds tighter than `or`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

_PIECE: Final = re.compile(r"""\s+|[()\[\]]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s()\[\]"']+|.""")
_DEEPEST: Final = 50  # parentheses within each other; deeper is no honest condition


@dataclass(frozen=True, slots=True)
class Combined:
    """Conditions of which all (`and`) or any (`or`) must hold."""

    word: Literal["and", "or"]
    parts: tuple[Condition, ...]


# A text is a MatchSpec.
Condition = str | Combined


def parse_condition(text: str) -> Condition | None:
    """Read a condition; None where it is none."""
    parser = _Parser(_tokens(text))
    try:
        found = parser.any_of(0)
    except _NoConditionError:
        return None
    return found if parser.is_at_end() else None


def specs_of(condition: Condition) -> Iterator[str]:
    """Yield the MatchSpecs of a condition, in order."""
    if isinstance(condition, str):
        yield condition
    else:
        for part in condition.parts:
            yield from specs_of(part)


def holds(condition: Condition, is_met: Callable[[str], bool | None]) -> bool | None:
    """Tell whether a condition holds; None where it hangs on specs of which `is_met` is None."""
    if isinstance(condition, str):
        return is_met(condition)
    decisive = condition.word == "or"
    answers = [holds(part, is_met) for part in condition.parts]
    if decisive in answers:
        return decisive
    return None if None in answers else not decisive


class _NoConditionError(Exception):
    """The text is no condition."""


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._next = 0

    def is_at_end(self) -> bool:
        return self._next == len(self._tokens)

    def any_of(self, depth: int) -> Condition:
        return self._chain("or", lambda: self._chain("and", lambda: self._one(depth)))

    def _chain(self, word: Literal["and", "or"], part: Callable[[], Condition]) -> Condition:
        parts = [part()]
        while self._is(word):
            self._next += 1
            parts.append(part())
        return parts[0] if len(parts) == 1 else Combined(word, tuple(parts))

    def _one(self, depth: int) -> Condition:
        if self.is_at_end() or depth > _DEEPEST:
            raise _NoConditionError
        found = self._tokens[self._next]
        self._next += 1
        if found == "(":
            inner = self.any_of(depth + 1)
            if not self._is(")"):
                raise _NoConditionError
            self._next += 1
            return inner
        if found in {")", "and", "or"}:
            raise _NoConditionError
        return found

    def _is(self, word: str) -> bool:
        return not self.is_at_end() and self._tokens[self._next] == word


def _tokens(text: str) -> list[str]:
    """Split at parentheses and at the words between MatchSpecs, not within quotes or brackets."""
    tokens: list[str] = []
    spec, depth = "", 0
    pieces = _PIECE.findall(text)
    for position, piece in enumerate(pieces):
        depth = max(0, depth + (piece == "[") - (piece == "]"))
        is_word = piece in {"and", "or"} and all(
            not near.strip() or near in "()"
            for near in (*pieces[max(0, position - 1) : position], *pieces[position + 1 :][:1])
        )
        if depth == 0 and (is_word or piece in {"(", ")"}):
            tokens += [spec.strip(), piece]
            spec = ""
        else:
            spec += piece
    return [token for token in (*tokens, spec.strip()) if token]
