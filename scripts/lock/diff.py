"""What changed between two locks for the mirror, as values, lines of text and Markdown.

Texts of a lock may be hostile: they never become markup.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from types import MappingProxyType
from typing import Any, Final

from scripts.core.channel_url import channel_folder
from scripts.core.pep508 import parse_version
from scripts.core.record import PypiRecord
from scripts.core.redact import code_fence, printable, redact, without_secrets
from scripts.core.report import Line
from scripts.lock.model import (
    LockedPackage,
    LockFile,
    LockPlatform,
    LockRow,
    PlatformPackages,
    Unmirrorable,
)
from scripts.lock.select import are_other_bytes
from scripts.workspace.settings import Settings

NO_CHANGE: Final = "no change"
_LONG: Final = 15  # rows of a table; more are folded away


class ChangeKind(StrEnum):
    """What happened to a package."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    WENT_BACK = "went-back"
    """To a version, or a build number, that is older: upstream may have withdrawn the newer one."""
    REUPLOADED = "re-uploaded"
    """The same file name from the same channel, and other bytes."""
    HOTFIXED = "hotfixed"
    """The same bytes, and other requirements."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One package: `before` and `after` are version and build, None where it was or is not there.

    `source` is `conda`, `pypi`, or `source` for what no mirror can hold. `license` is that of a
    PyPI package as it is now, None where nobody knows.
    """

    kind: ChangeKind
    name: str
    before: str | None = None
    after: str | None = None
    source: str = "conda"
    license: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformDiff:
    """The changes of one environment on one platform."""

    environment: str
    platform: str
    changes: tuple[Change, ...]

    @property
    def summary(self) -> str:
        """How many packages changed in which way."""
        counts = Counter(change.kind for change in self.changes)
        return ", ".join(f"{counts[kind]} {_SHOWN[kind][0]}" for kind in ChangeKind if counts[kind])


_Rows = dict[tuple[str, str], dict[str, LockRow]]  # by name and source, then by artifact
ReadLicense = Callable[[PypiRecord], str | None]
"""Tells the licence of a PyPI package, where it can be known."""


def versions_to_rank(before: LockFile | None, after: LockFile) -> Iterator[str]:
    """Yield the versions whose order tells whether a package went back."""
    found: dict[str, set[str]] = {}
    for lock in (before, after):
        for package in () if lock is None else lock.packages():
            found.setdefault(package.name, set()).add(package.record.version)
    for versions in found.values():
        if len(versions) > 1:
            yield from versions


def diff(
    before: LockFile | None,
    after: LockFile,
    settings: Settings,
    ranks: Mapping[str, int] = MappingProxyType({}),
    read_license: ReadLicense = lambda _: None,
) -> tuple[PlatformDiff, ...]:
    """Compare two locks in the environments and platforms that the settings mirror.

    `before` None: there was nothing. `ranks` are of `versions_to_rank`. What has no change is left
    out.
    """
    old = {each.name: each.platforms for each in before.environments} if before else {}
    new = {each.name: each.platforms for each in after.environments}
    found = []
    for name in filter(settings.is_mirrored, dict.fromkeys((*new, *old))):
        for platform, one, other in _paired(old.get(name, ()), new.get(name, ())):
            if settings.is_for(platform.name, platform.subdir):
                changes = tuple(_compare(_by_name(one), _by_name(other), ranks, read_license))
                label = platform.label
                found.append(PlatformDiff(environment=name, platform=label, changes=changes))
    return tuple(each for each in found if each.changes)


def _paired(
    old: Sequence[PlatformPackages], new: Sequence[PlatformPackages]
) -> Iterator[tuple[LockPlatform, PlatformPackages | None, PlatformPackages | None]]:
    """Pair the platforms of two locks: by what they are, then by name, then lone ones by subdir.

    The names `p1`, `p2` move when a platform is added.
    """
    left, right = list(old), list(new)
    partner: dict[LockPlatform, PlatformPackages] = {}
    for key in (
        lambda each: (each.subdir, *sorted(each.virtual_packages or ())),
        lambda each: (each.name, each.subdir),
        lambda each: each.subdir,
    ):
        for each in tuple(right):
            same = [
                [one for one in side if key(one.platform) == key(each.platform)]
                for side in (left, right)
            ]
            if len(same[0]) == len(same[1]) == 1:
                partner[each.platform] = same[0][0]
                left.remove(same[0][0])
                right.remove(each)
    yield from ((each.platform, partner.get(each.platform), each) for each in new)
    yield from ((each.platform, each, None) for each in left)


def _by_name(rows: PlatformPackages | None) -> _Rows:
    """Group rows by name and source, each artifact once.

    One name may stand several times: two source packages may build with two versions of it.
    """
    found: _Rows = {}
    if rows is not None:
        for row in rows.all_packages:
            identity = f"{row.channel}/{row.record.subdir}/{row.file_name}"
            found.setdefault((row.name, "conda"), {}).setdefault(identity, row)
        for record in rows.pypi:
            found.setdefault((record.name, "pypi"), {}).setdefault(_file(record), record)
        for other in rows.unmirrorable:
            found.setdefault((other.name, "source"), {}).setdefault(other.location, other)
    return found


def _compare(
    before: _Rows, after: _Rows, ranks: Mapping[str, int], read_license: ReadLicense
) -> Iterator[Change]:
    """Compare package by package."""
    for name, source in sorted(before.keys() | after.keys()):
        olds, news = before.get((name, source), {}), after.get((name, source), {})
        pairs = [(olds.pop(key), news.pop(key)) for key in sorted(olds.keys() & news)]
        if len(olds) == len(news) == 1:
            pairs.append((olds.popitem()[1], news.popitem()[1]))
        change = functools.partial(Change, name=name, source=source)
        for text in sorted(map(_text, olds.values())):
            yield change(kind=ChangeKind.REMOVED, before=text)
        for row in sorted(news.values(), key=_text):
            licence = read_license(row) if isinstance(row, PypiRecord) else None
            yield change(kind=ChangeKind.ADDED, after=_text(row), license=licence)
        for one, other in pairs:
            kind, old, new = _change(one, other, ranks)
            if kind is not None:
                licence = read_license(other) if isinstance(other, PypiRecord) else None
                yield change(kind=kind, before=old, after=new, license=licence)


def _file(record: PypiRecord) -> str:
    """Return the file name of a PyPI package; of a folder or repository its last segment."""
    return re.split(r"[?#]", record.location, maxsplit=1)[0].rpartition("/")[2]


def _text(row: LockRow) -> str:
    """Write a row's version and build, or the location of what has no version."""
    if isinstance(row, PypiRecord):
        return row.version or redact(row.location)
    if isinstance(row, Unmirrorable):
        return redact(row.location)
    return f"{row.record.version} {row.record.build}"


def _change(
    one: LockRow, other: LockRow, ranks: Mapping[str, int]
) -> tuple[ChangeKind | None, str, str]:
    """Return what happened (None: nothing), and the two sides as texts that differ."""
    before, after = _text(one), _text(other)
    if before != after:
        is_older = _is_older(other, one, ranks)
        return ChangeKind.WENT_BACK if is_older else ChangeKind.CHANGED, before, after
    for old, new in zip(_origin(one), _origin(other), strict=True):
        if old != new:  # the texts are the same without it
            return ChangeKind.CHANGED, f"{before} {old}", f"{after} {new}"
    if _have_other_bytes(one, other):
        return ChangeKind.REUPLOADED, before, after
    is_hotfix = _requirements(one) != _requirements(other)
    return ChangeKind.HOTFIXED if is_hotfix else None, before, after


def _is_older(row: LockRow, other: LockRow, ranks: Mapping[str, int]) -> bool:
    """Tell whether a solver would take the other one, were both there; False: nobody knows."""
    if isinstance(row, PypiRecord) and isinstance(other, PypiRecord):
        one, another = parse_version(row.version), parse_version(other.version)  # PEP 440
        return one is not None and another is not None and one < another
    if not isinstance(row, LockedPackage) or not isinstance(other, LockedPackage):
        return False
    record, there = row.record, other.record
    if record.version == there.version:
        return record.build_number < there.build_number
    mine, theirs = ranks.get(record.version), ranks.get(there.version)
    if mine is None or theirs is None:
        return False
    return (mine, record.build_number) < (theirs, there.build_number)


def _origin(row: LockRow) -> tuple[str, ...]:
    """Say where a row is from and what kind of file it is, secrets left out."""
    if isinstance(row, PypiRecord):
        index = redact(row.location) if row.index is None else without_secrets(row.index)
        return f"({_file(row)})", f"({index})"
    if isinstance(row, LockedPackage):
        channel = channel_folder(row.channel) if row.channel else "no channel"
        return f"({channel}/{row.record.subdir})", row.file_name.extension
    return ()


def _have_other_bytes(one: LockRow, other: LockRow) -> bool:
    if isinstance(one, LockedPackage) and isinstance(other, LockedPackage):
        return are_other_bytes(one.record, other.record)
    sha256 = {each.sha256 for each in (one, other) if isinstance(each, PypiRecord) and each.sha256}
    return len(sha256) > 1


def _requirements(row: LockRow) -> list[Any]:
    """Return what a solver sees of a package, sorted: the order means nothing."""
    if isinstance(row, PypiRecord):
        return [sorted(row.requires_dist), row.requires_python]
    if isinstance(row, LockedPackage):
        of = row.record
        lists = (of.depends, of.constrains, of.extra_depends, of.track_features)
        return [sorted(each) for each in lists]
    return []


def diff_lines(diffs: Sequence[PlatformDiff]) -> tuple[Line, ...]:
    """Write the changes as lines of plain ASCII, whatever a terminal can show."""
    lines: list[Line] = []
    for each in diffs:
        lines.append(_plain(f"{each.environment}, {each.platform}: {each.summary}"))
        width = max((len(change.name) for change in each.changes), default=0)
        rows = []
        for change in each.changes:
            _, sign, text = _SHOWN[change.kind]
            source = "" if change.source == "conda" else f"[{change.source}] "
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
        return f"{code(each.platform)}: {each.summary}\n\n{table}"
    summary = f"<code>{escape(_plain(each.platform))}</code>: {each.summary}"
    return f"<details>\n<summary>{summary}</summary>\n\n{table}\n\n</details>"


def _table_row(change: Change) -> str:
    cells = (change.name, change.before, change.after)
    written = ["" if text is None else _cell(text) for text in cells]
    note = "" if change.source == "conda" else f"{change.source}, "
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
