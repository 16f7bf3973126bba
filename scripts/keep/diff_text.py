"""What changed between two sides of a mirror, as lines of text and as Markdown.

Texts of a lock may be hostile: they never become markup.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Final

from scripts.core.redact import code_fence, printable
from scripts.core.report import Line
from scripts.keep.diff import CONDA, Change, ChangeKind, PlatformDiff

NO_CHANGE: Final = "no change"
_LONG: Final = 15  # rows of a table; more are folded away

# What each is called, the sign of its line, and how the line goes on behind the name.
_SHOWN: Final = {
    ChangeKind.ADDED: ("added", "+", "{after}"),
    ChangeKind.REMOVED: ("removed", "-", "{before}"),
    ChangeKind.CHANGED: ("changed", "~", "{before} -> {after}"),
    ChangeKind.WENT_BACK: ("went back", "<", "went back {before} -> {after}"),
    ChangeKind.REUPLOADED: (
        *("re-uploaded", "!"),
        "{after} has other bytes than before (re-uploaded)",
    ),
    ChangeKind.HOTFIXED: (
        *("with other requirements (hotfix)", "="),
        "{after} has other requirements than before (hotfix)",
    ),
}


def _summary(each: PlatformDiff) -> str:
    """Say how many packages changed in which way."""
    counts = Counter(change.kind for change in each.changes)
    return ", ".join(f"{counts[kind]} {_SHOWN[kind][0]}" for kind in ChangeKind if counts[kind])


def diff_lines(diffs: Sequence[PlatformDiff]) -> tuple[Line, ...]:
    """Write the changes as lines of plain ASCII, whatever a terminal can show."""
    lines: list[Line] = []
    for each in diffs:
        lines.append(_plain(f"{each.environment}, {each.platform}: {_summary(each)}"))
        width = max((len(change.name) for change in each.changes), default=0)
        rows = []
        for change in each.changes:
            _, sign, text = _SHOWN[change.kind]
            source = "" if change.source == CONDA else f"[{change.source}] "
            text = text.format(before=change.before, after=change.after)
            text += f" ({change.license})" if change.license else ""
            rows.append(_plain(f"  {sign} {change.name.ljust(width)}  {source}{text}"))
        lines.append(tuple(rows))
    return tuple(lines) or (NO_CHANGE,)


def markdown(diffs: Sequence[PlatformDiff]) -> str:
    """Write the changes as Markdown (GitHub's): a table for each environment and platform."""
    parts = []
    for environment, of_it in itertools.groupby(diffs, lambda each: each.environment):
        parts += [f"### {code(environment)}", *map(_section, of_it)]
    return "\n\n".join(parts or [f"{NO_CHANGE.capitalize()}."]) + "\n"


def _section(each: PlatformDiff) -> str:
    """Write one platform: a table, folded away where it is long."""
    head = ("| package | from | to | |", "| --- | --- | --- | --- |")
    table = "\n".join((*head, *map(_table_row, each.changes)))
    if len(each.changes) <= _LONG:
        return f"{code(each.platform)}: {_summary(each)}\n\n{table}"
    summary = f"<code>{escape(_plain(each.platform))}</code>: {_summary(each)}"
    return f"<details>\n<summary>{summary}</summary>\n\n{table}\n\n</details>"


def _table_row(change: Change) -> str:
    cells = (change.name, change.before, change.after)
    written = ["" if text is None else _cell(text) for text in cells]
    note = "" if change.source == CONDA else f"{change.source}, "
    note += _SHOWN[change.kind][0]
    note += f", {_cell(change.license)}" if change.license else ""
    return f"| {' | '.join(written)} | {note} |"


def _cell(text: str) -> str:
    """Write a text as code in a cell of a table."""
    # A pipe ends a cell even within code, unless escaped (GFM 4.10).
    return code(text).replace("|", "\\|")


def code(text: str) -> str:
    """Write a text as code, fenced by more backticks than it holds (CommonMark 6.1)."""
    text = _plain(text)
    fence, pad = code_fence(text), " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _plain(text: str) -> str:
    """Write the text in one line of ASCII."""
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")
