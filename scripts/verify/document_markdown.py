"""A document as Markdown: CommonMark, with GitHub's tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from scripts.verify.document import Block, Bullets, Document, Paragraph, Table, Verbatim

# An underscore within a word means nothing, and names of packages are full of them.
_MEANS_SOMETHING: Final = re.compile(r"[\\`*\[\]<>|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_BACKTICKS: Final = re.compile(r"`+")


def to_markdown(document: Document) -> str:
    """Write it; what is folded elsewhere stands open here."""
    parts = [f"# {_text(document.title)}", _text(document.summary)]
    for section in document.sections:
        parts.append(f"## {_text(section.title)}")
        parts += ["\n".join(_lines(block)) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Paragraph():
            yield _text(block.text)
        case Bullets():
            yield from (f"- {_text(text)}" for text in block.texts)
        case Verbatim():
            longest = max(
                (len(run) for run in _BACKTICKS.findall("\n".join(block.lines))), default=0
            )
            fence = "`" * max(3, longest + 1)
            yield f"{fence}text"
            yield from block.lines
            yield fence
        case Table():
            yield _row(block.head)
            yield _row("---" for _ in block.head)
            yield from (_row(map(_text, row)) for row in block.rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Write a text so that it is read as it is."""
    return _MEANS_SOMETHING.sub(r"\\\g<0>", text)
