"""Cut the inside of a TOML array into values, commas, comments and blanks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Kind(Enum):
    """What a piece of the array's text is."""

    BLANK = auto()
    NEWLINE = auto()
    COMMENT = auto()
    COMMA = auto()
    VALUE = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the array's text; all pieces together are the text."""

    kind: Kind
    text: str


_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")' r"|'''.*?'{3,5}(?!')" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_COMMENT: Final = re.compile(r"#[^\r\n]*")
_PIECES: Final = (
    (Kind.BLANK, re.compile(r"[ \t]+")),
    (Kind.NEWLINE, re.compile(r"\r?\n")),
    (Kind.COMMENT, _COMMENT),
    (Kind.COMMA, re.compile(r",")),
    (Kind.VALUE, _STRING),
    (Kind.VALUE, re.compile(r"[^\s,#\[\]{}\"']+")),
)


def tokens_of(text: str) -> tuple[Token, ...] | None:
    """Cut the text between an array's brackets; None where it is no such text."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        if text[at] in "[{":
            end = _end_of_nested(text, at)
            kind = Kind.VALUE
        else:
            kind, end = _next(text, at)
        if end is None or end == at:
            return None
        tokens.append(Token(kind, text[at:end]))
        at = end
    return tuple(tokens)


def _next(text: str, at: int) -> tuple[Kind, int | None]:
    for kind, pattern in _PIECES:
        match = pattern.match(text, at)
        if match:
            return kind, match.end()
    return Kind.VALUE, None


def _end_of_nested(text: str, at: int) -> int | None:
    """Return where an array or inline table inside the array ends; None where it does not."""
    depth = 0
    while at < len(text):
        skipped = _STRING.match(text, at) or _COMMENT.match(text, at)
        if skipped:
            at = skipped.end()
            continue
        if text[at] in "[{":
            depth += 1
        elif text[at] in "]}":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return None
