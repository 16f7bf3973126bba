"""Take whole lines of a TOML text out, or put others in: tables and keys.

tomlkit's own editing of tables loses the comments between them, or puts what is new behind the
heading of what follows. So the text is cut by lines here; who edits parses the result again and
compares it with what was wanted.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.core.errors import MirrorError
from scripts.core.typed_values import parse_toml

Path = tuple[str, ...]

_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_PIECE: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[\]{}]",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The lines of one table or of one key, from `start` up to `end`.

    `path` leads to it from the top. A table ends with its last key: blank lines and comments
    behind that belong to what follows. Of an array of tables there is no span.
    """

    path: Path
    start: int
    end: int
    is_table: bool


def find_span(text: str, path: Path) -> Span | None:
    """Find the lines of a table, or of a key in its table; None where it stands otherwise."""
    found = [span for span in spans_of(text) if span.path == path]
    return found[0] if len(found) == 1 else None


def lines_at(text: str, span: Span) -> str:
    """Return the lines of a span, line ends as they are."""
    return "".join(_LINE.findall(text)[span.start : span.end])


def without_lines(text: str, span: Span) -> str:
    """Take the lines out; of a table also the blank lines before it."""
    lines = _LINE.findall(text)
    start = span.start
    while span.is_table and start > 0 and not lines[start - 1].strip():
        start -= 1
    if start == 0:
        start = span.start
    return "".join(lines[:start] + lines[span.end :])


def with_lines(text: str, span: Span, new: str) -> str:
    """Put other lines in the place of a span."""
    lines = _LINE.findall(text)
    return "".join([*lines[: span.start], _ended(new, text), *lines[span.end :]])


def with_table_behind(text: str, span: Span | None, new: str) -> str:
    """Put a table behind another one, a blank line between; without one, at the end."""
    lines = _LINE.findall(text)
    place = len(lines) if span is None else span.end
    if place and not lines[place - 1].endswith("\n"):
        lines[place - 1] += _newline(text)
    return "".join([*lines[:place], _newline(text), _ended(new, text), *lines[place:]])


def with_key_in(text: str, table: Span, new: str) -> str:
    """Put a key behind the last one of a table."""
    lines = _LINE.findall(text)
    if not lines[table.end - 1].endswith("\n"):
        lines[table.end - 1] += _newline(text)
    return "".join([*lines[: table.end], _ended(new, text), *lines[table.end :]])


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _ended(lines: str, text: str) -> str:
    """Give lines the line ends of the text they are put in."""
    return "".join(f"{line}{_newline(text)}" for line in lines.splitlines())


@functools.lru_cache(maxsize=4)
def spans_of(text: str) -> tuple[Span, ...]:
    """Return the tables and the keys directly in them, in order; none where it is no TOML."""
    lines = _LINE.findall(text)
    spans: list[Span] = []
    table: Path | None = ()
    header, last = 0, 0
    for start, end in _statements(lines):
        statement = "".join(lines[start:end])
        if not statement.lstrip().startswith("["):
            keys = _keys(statement)
            if table is not None and keys is not None and len(keys) == 1:
                spans.append(Span(path=(*table, *keys), start=start, end=end, is_table=False))
            last = end
            continue
        if table:
            spans.append(Span(path=table, start=header, end=last, is_table=True))
        table = None if statement.lstrip().startswith("[[") else _keys(statement)
        header, last = start, end
    if table:
        spans.append(Span(path=table, start=header, end=last, is_table=True))
    return tuple(sorted(spans, key=lambda span: (span.start, -span.end)))


def _statements(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Cut into headers and keys with all their lines; blank lines and comments are none."""
    position = 0
    while position < len(lines):
        start, position = position, position + 1
        if not lines[start].strip() or lines[start].lstrip().startswith("#"):
            continue
        while position < len(lines) and _is_open("".join(lines[start:position])):
            position += 1
        yield start, position


def _is_open(text: str) -> bool:
    """Tell whether a bracket or a text of several lines is not closed yet."""
    depth = 0
    rest = []
    at = 0
    for piece in _PIECE.finditer(text):
        rest.append(text[at : piece.start()])
        at = piece.end()
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(piece.group(), 0)
    rest.append(text[at:])
    return depth > 0 or any('"' in each or "'" in each for each in rest)


def _keys(statement: str) -> Path | None:
    """Return the keys that a header or a key line names; None where it is no TOML by itself."""
    try:
        value: object = parse_toml(statement, "").unwrap()
    except MirrorError:
        return None
    keys: list[str] = []
    is_header = statement.lstrip().startswith("[")
    while isinstance(value, Mapping) and len(value) == 1 and (is_header or not keys):
        key, value = next(iter(value.items()))
        keys.append(key)
    if not is_header and isinstance(value, Mapping) and not _is_inline(statement):
        return None  # a dotted key, which stands for tables
    return tuple(keys) or None


def _is_inline(statement: str) -> bool:
    return statement.partition("=")[2].lstrip().startswith("{")
