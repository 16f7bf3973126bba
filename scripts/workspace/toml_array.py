"""Change one array of a TOML text and no other byte of it.

tomlkit's own editing of arrays loses comments and may break the file (a value lands behind a
`#`). So it only finds the array and checks the result; the text is spliced here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from scripts.core.errors import MirrorError, usage_error
from scripts.workspace.toml_table import parse_toml
from scripts.workspace.toml_tokens import Kind, Token, tokens_of

_INDENT: Final = "    "


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayEdit:
    """What is to become of an array: elements that stay, by position, and texts to append."""

    path: tuple[str, ...]
    keep: frozenset[int]
    append: tuple[str, ...]


def edit_array(text: str, edit: ArrayEdit, subject: str) -> str:
    """Return the text with the array edited, comments and all else around it as they were.

    Raises the error of exit code 2 where that cannot be done for sure.
    """
    start, end = locate_array(text, edit.path, subject)
    written = tokens_of(text[start + 1 : end - 1])
    if written is None:
        raise _refuse(subject, edit.path)
    tokens = list(written)
    count = sum(token.kind is Kind.VALUE for token in tokens)
    for value in edit.append:  # before any is taken out, so that there is a style to follow
        tokens = _with(tokens, value)
    tokens = _without(tokens, edit.keep | set(range(count, count + len(edit.append))))
    edited = text[:start] + "[" + "".join(token.text for token in tokens) + "]" + text[end:]
    _check(text, edited, edit, subject)
    return edited


def locate_array(text: str, path: tuple[str, ...], subject: str) -> tuple[int, int]:
    """Return where the array begins and ends, brackets included.

    Found by replacing its content with a marker: what tomlkit then writes before and after the
    marker must be the text itself.
    """
    from tomlkit.items import AoT, Array

    document = parse_toml(text, subject)
    array = _at(document, path)
    if isinstance(array, AoT):
        raise _refuse(subject, path)  # `[[platforms]]`, spread over the file
    if not isinstance(array, Array):
        raise usage_error(subject, f"{'.'.join(path)} is not a list")
    marker = "pixi-mirror"
    while marker in text:
        marker += "-"
    array.clear()
    array.append(marker)
    head, found, tail = document.as_string().partition(f'["{marker}"]')
    start, end = len(head), len(text) - len(tail)
    is_exact = text.startswith(head) and text.endswith(tail)
    if not found or not is_exact or text[start : start + 1] != "[" or text[end - 1 : end] != "]":
        raise _refuse(subject, path)
    return start, end


def _check(before: str, after: str, edit: ArrayEdit, subject: str) -> None:
    """Refuse unless the new text says what is wanted, and with all its comments."""
    wanted = parse_toml(before, subject).unwrap()
    values = _at(wanted, edit.path)
    values[:] = [value for i, value in enumerate(values) if i in edit.keep] + list(edit.append)
    try:
        result = parse_toml(after, subject).unwrap()
    except MirrorError:
        raise _refuse(subject, edit.path) from None
    # By their texts, since a `nan` is not equal to itself.
    if repr(result) != repr(wanted):
        raise _refuse(subject, edit.path)
    if _comments(before, edit.path, subject) != _comments(after, edit.path, subject):
        raise _refuse(subject, edit.path)


def _comments(text: str, path: tuple[str, ...], subject: str) -> list[str]:
    start, end = locate_array(text, path, subject)
    tokens = tokens_of(text[start + 1 : end - 1]) or ()
    return [token.text for token in tokens if token.kind is Kind.COMMENT]


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def _refuse(subject: str, path: tuple[str, ...]) -> MirrorError:
    return usage_error(
        subject,
        f"{'.'.join(path)} is written in a way that cannot be edited without risk",
        help="change it by hand; nothing was written",
    )


def _without(tokens: Sequence[Token], keep: frozenset[int]) -> list[Token]:
    """Take values out, each with its comma, and the line where nothing else is left of it."""
    left = list(tokens)
    count = sum(token.kind is Kind.VALUE for token in left)
    for position in sorted(set(range(count)) - keep, reverse=True):
        values = [i for i, token in enumerate(left) if token.kind is Kind.VALUE]
        here = values[position]
        following = values[position + 1] if position + 1 < len(values) else len(left)
        comma = _find_comma(left, here, following)
        if comma is not None:
            del left[comma]
        elif position > 0:  # the last value, without a comma: the one before it loses its own
            before = _find_comma(left, values[position - 1], here)
            if before is not None:
                del left[before]
                here -= 1
        del left[here]
        _tidy(left, here)
    return left


def _find_comma(tokens: Sequence[Token], start: int, end: int) -> int | None:
    return next((i for i in range(start, end) if tokens[i].kind is Kind.COMMA), None)


def _tidy(tokens: list[Token], hole: int) -> None:
    """Take out the blanks that a value left behind, at the place where it was."""
    start, end = hole, hole
    while start > 0 and tokens[start - 1].kind is Kind.BLANK:
        start -= 1
    while end < len(tokens) and tokens[end].kind is Kind.BLANK:
        end += 1
    before = tokens[start - 1].kind if start > 0 else None
    after = tokens[end].kind if end < len(tokens) else None
    if before is Kind.NEWLINE and after is Kind.NEWLINE:
        del tokens[start : end + 1]  # the whole line
    elif before is Kind.NEWLINE and after is None:
        if start < 2 or tokens[start - 2].kind is not Kind.COMMENT:
            del tokens[start - 1 : end]  # `]` moves up, as it stood behind a value
    elif after is Kind.NEWLINE:
        del tokens[start:end]
    elif before is Kind.NEWLINE or after in {Kind.VALUE, Kind.COMMA}:
        del tokens[hole:end]
    else:
        del tokens[start:hole]


def _with(tokens: Sequence[Token], value: str) -> list[Token]:
    """Append a value in the style of the last one: its quotes, its own line, its comma."""
    new = list(tokens)
    values = [i for i, token in enumerate(new) if token.kind is Kind.VALUE]
    if not values:
        return _with_first(new, value)
    last = values[-1]
    comma = _find_comma(new, last, len(new))
    written = Token(Kind.VALUE, _quoted(value, new[last].text))
    line = _line_start(new, last)
    indent = new[line:last]
    has_own_line = line > 0 and all(token.kind is Kind.BLANK for token in indent)
    end = last if comma is None else comma
    if comma is None:
        end += 1
        new.insert(end, Token(Kind.COMMA, ","))
    addition = [written] if comma is None else [written, Token(Kind.COMMA, ",")]
    if not has_own_line:
        new[end + 1 : end + 1] = [Token(Kind.BLANK, " "), *addition]
        return new
    newline = new[line - 1]
    stop = end + 1
    while stop < len(new) and new[stop].kind in {Kind.BLANK, Kind.COMMENT}:
        stop += 1
    if stop < len(new):  # behind the comment on the last value's line
        new[stop:stop] = [newline, *indent, *addition]
    else:
        new[end + 1 : end + 1] = [newline, *indent, *addition]
    return new


def _with_first(tokens: list[Token], value: str) -> list[Token]:
    """Put a value into an empty array, behind the comments that may be in it."""
    written = Token(Kind.VALUE, _quoted(value, '"'))
    newlines = [i for i, token in enumerate(tokens) if token.kind is Kind.NEWLINE]
    if not newlines:
        return [written, *tokens]
    place = newlines[-1] + 1
    newline = tokens[newlines[-1]]
    new = [Token(Kind.BLANK, _INDENT), written, Token(Kind.COMMA, ","), newline]
    return [*tokens[:place], *new, *tokens[place:]]


def _line_start(tokens: Sequence[Token], position: int) -> int:
    while position > 0 and tokens[position - 1].kind is not Kind.NEWLINE:
        position -= 1
    return position


def _quoted(value: str, like: str) -> str:
    """Write a text in the quotes of another value, where it has any."""
    quote = "'" if re.match(r"'(?!'')", like) else '"'
    return f"{quote}{value}{quote}"
