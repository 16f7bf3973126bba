"""Changes of a lock for people: lines for a terminal, Markdown for a pull request.

What comes from a lock may be hostile: it never becomes markup.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from html import escape
from typing import Final

from scripts.core.redact import printable
from scripts.lock.diff import Change, ChangeKind, LockDiff, PlatformDiff

NO_CHANGE: Final = "no change"

_SIGNS: Final = {
    ChangeKind.ADDED: "+",
    ChangeKind.REMOVED: "-",
    ChangeKind.CHANGED: "~",
    ChangeKind.WENT_BACK: "<",
    ChangeKind.REUPLOADED: "!",
}
_LONG: Final = 15  # rows of a table; more are folded away


def diff_lines(diff: LockDiff) -> tuple[str, ...]:
    """Write the changes as lines of plain ASCII, whatever a terminal can show."""
    if not diff.platforms:
        return (NO_CHANGE,)
    lines = []
    for each in diff.platforms:
        lines.append(f"{each.environment}, {each.platform}: {_summary(each)}")
        width = max((len(change.name) for change in each.changes), default=0)
        lines += [f"  {_line(change, width)}" for change in each.changes]
    return tuple(_plain(line) for line in lines)


def markdown(diff: LockDiff) -> str:
    """Write the changes as Markdown (GitHub's): a table for each environment and platform."""
    if not diff.platforms:
        return f"{NO_CHANGE.capitalize()}.\n"
    parts: list[str] = []
    environment = None
    for each in diff.platforms:
        if each.environment != environment:
            environment = each.environment
            parts.append(f"### {_code(environment)}")
        parts.append(_section(each))
    return "\n\n".join(parts) + "\n"


def _summary(each: PlatformDiff) -> str:
    counts = Counter(change.kind for change in each.changes)
    words = [f"{counts[kind]} {kind.words}" for kind in ChangeKind if counts[kind]]
    if each.hotfixed:
        words.append(f"{len(each.hotfixed)} with other requirements (hotfix)")
    return ", ".join(words)


def _line(change: Change, width: int) -> str:
    head = f"{_SIGNS[change.kind]} {change.name.ljust(width)}  "
    if change.source != "conda":
        head += f"[{change.source}] "
    if change.kind is ChangeKind.REUPLOADED:
        return f"{head}{change.after} has other bytes than before (re-uploaded)"
    if change.kind is ChangeKind.WENT_BACK:
        return f"{head}went back {change.before} -> {change.after}"
    if change.kind is ChangeKind.CHANGED:
        return f"{head}{change.before} -> {change.after}"
    return f"{head}{change.after or change.before}"


def _section(each: PlatformDiff) -> str:
    """Write one platform: a table, folded away where it is long."""
    summary = _summary(each)
    rows = [_row(change) for change in each.changes]
    table = ["| package | from | to | |", "| --- | --- | --- | --- |", *rows] if rows else []
    hotfixed = []
    if each.hotfixed:
        names = ", ".join(_code(name) for name in each.hotfixed)
        hotfixed = [f"Same artifact, other requirements (hotfix): {names}"]
    body = "\n\n".join("\n".join(block) for block in (table, hotfixed) if block)
    if len(rows) + len(each.hotfixed) <= _LONG:
        return f"{_code(each.platform)}: {summary}\n\n{body}"
    head = f"<code>{escape(_plain(each.platform))}</code>: {summary}"
    return f"<details>\n<summary>{head}</summary>\n\n{body}\n\n</details>"


def _row(change: Change) -> str:
    cells: Iterable[str | None] = (change.name, change.before, change.after)
    written = [_cell(text) for text in cells]
    note = "" if change.source == "conda" else f"{change.source}, "
    return f"| {' | '.join(written)} | {note}{change.kind.words} |"


def _cell(text: str | None) -> str:
    """Write a table's cell: a pipe ends it even within code, unless escaped (GFM 4.10)."""
    return "" if text is None else _code(text).replace("|", "\\|")


def _code(text: str) -> str:
    """Write a text as code, fenced by more backticks than it holds (CommonMark 6.1)."""
    text = _plain(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _plain(text: str) -> str:
    """Write the text in one line of ASCII."""
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")
