"""A document as one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from scripts.verify.document import Block, Bullets, Document, Paragraph, Section, Table, Verbatim

# A browser that heeds it fetches nothing and runs nothing, whatever might have slipped in.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = """\
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { border: 1px solid #ccc; padding: .2rem .6rem; text-align: left; vertical-align: top }
pre { background: #f5f5f5; overflow-x: auto; padding: .6rem }
summary { cursor: pointer; font-size: 1.5em; font-weight: bold }
.right { color: #146c2e }
.wrong { color: #b3261e; font-weight: bold }"""
_CLASSES: Final = {"✓": "right", "✗": "wrong"}


def to_html(document: Document) -> str:
    """Write it."""
    title = escape(document.title)
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{title}</title>",
        "<style>",
        _STYLE,
        "</style>",
        "</head>",
        "<body>",
        f"<h1>{title}</h1>",
        f"<p>{escape(document.summary)}</p>",
    ]
    for section in document.sections:
        lines += _section(section)
    return "\n".join([*lines, "</body>", "</html>"]) + "\n"


def _section(section: Section) -> Iterator[str]:
    title = escape(section.title)
    yield f"<details>\n<summary>{title}</summary>" if section.is_folded else f"<h2>{title}</h2>"
    for block in section.blocks:
        yield from _lines(block)
    if section.is_folded:
        yield "</details>"


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Paragraph():
            yield f"<p>{escape(block.text)}</p>"
        case Bullets():
            yield "<ul>"
            yield from (f"<li>{escape(text)}</li>" for text in block.texts)
            yield "</ul>"
        case Verbatim():
            yield f"<pre>{escape(chr(10).join(block.lines))}</pre>"
        case Table():
            yield "<table>"
            yield f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in block.head)}</tr>"
            yield from (f"<tr>{''.join(map(_cell, row))}</tr>" for row in block.rows)
            yield "</table>"


def _cell(text: str) -> str:
    kind = _CLASSES.get(text[:1])
    return f"<td>{escape(text)}</td>" if kind is None else f'<td class="{kind}">{escape(text)}</td>'
