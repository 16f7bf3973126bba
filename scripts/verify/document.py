"""A document before it is Markdown or HTML.

All texts are plain: no secrets, nothing that a terminal or a browser would act on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scripts.core.redact import printable, redact


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bullets:
    """A list."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verbatim:
    """Lines as a program printed them."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows with as many cells as the head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Paragraph | Bullets | Verbatim | Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what is under it; a long one may be shown folded."""

    title: str
    blocks: tuple[Block, ...]
    is_folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A title, what to read first, and the sections."""

    title: str
    summary: str
    sections: tuple[Section, ...]


def plain(text: str) -> str:
    """Make a text fit to be shown to anybody, on one line."""
    return redact(printable(text))


def paragraph(text: str) -> Paragraph:
    """Make a paragraph of any text."""
    return Paragraph(text=plain(text))


def bullets(texts: Iterable[str]) -> Bullets:
    """Make a list of any texts."""
    return Bullets(texts=tuple(map(plain, texts)))


def verbatim(text: str) -> Verbatim:
    """Make lines of any text."""
    return Verbatim(lines=tuple(map(plain, text.split("\n"))))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """Make a table of any texts."""
    return Table(head=tuple(map(plain, head)), rows=tuple(tuple(map(plain, each)) for each in rows))
