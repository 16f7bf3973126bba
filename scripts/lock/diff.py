"""What changed between two locks, as far as the mirror is concerned, and how it is told.

What comes from a lock may be hostile: it never becomes markup.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from types import MappingProxyType
from typing import Any, Final

from scripts.core.channel_url import channel_folder
from scripts.core.record import Record
from scripts.core.redact import code_fence, printable, redact
from scripts.lock.model import (
    LockedPackage,
    LockFile,
    LockPlatform,
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

    @property
    def words(self) -> str:
        """What happened, for people."""
        return "went back" if self is ChangeKind.WENT_BACK else self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One package: `before` and `after` are version and build, None where it was or is not there.

    `source` is `conda`, or `pypi` and `source` for what no conda channel can hold.
    """

    kind: ChangeKind
    name: str
    before: str | None = None
    after: str | None = None
    source: str = "conda"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformDiff:
    """The changes of one environment on one platform.

    `hotfixed` are the packages whose bytes are the same and whose requirements are not.
    """

    environment: str
    platform: str
    changes: tuple[Change, ...]
    hotfixed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockDiff:
    """All changes, by environment and platform; those without any are left out."""

    platforms: tuple[PlatformDiff, ...]


_SIGNS: Final = {
    ChangeKind.ADDED: "+",
    ChangeKind.REMOVED: "-",
    ChangeKind.CHANGED: "~",
    ChangeKind.WENT_BACK: "<",
    ChangeKind.REUPLOADED: "!",
}
_Row = LockedPackage | Unmirrorable
_Pair = tuple[PlatformPackages | None, PlatformPackages | None]


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
) -> LockDiff:
    """Compare two locks in the environments and platforms that the settings mirror.

    `before` None: there was nothing. `ranks` are of `versions_to_rank`. A platform is the same
    one where it has the same subdir and virtual packages, whatever it is called: the names `p1`,
    `p2` move when one is added.
    """
    old = {each.name: each.platforms for each in before.environments} if before else {}
    new = {each.name: each.platforms for each in after.environments}
    found = []
    for name in filter(settings.is_mirrored, dict.fromkeys((*new, *old))):
        for one, other in _paired(old.get(name, ()), new.get(name, ())):
            platform = next(each.platform for each in (other, one) if each is not None)
            if settings.is_for(platform.name, platform.subdir):
                is_plain = platform.name == platform.subdir
                label = platform.name if is_plain else f"{platform.name} ({platform.subdir})"
                changes, hotfixed = _compare(_by_name(one), _by_name(other), ranks)
                if changes or hotfixed:
                    found.append(
                        PlatformDiff(
                            environment=name, platform=label, changes=changes, hotfixed=hotfixed
                        )
                    )
    return LockDiff(platforms=tuple(found))


def _paired(old: Sequence[PlatformPackages], new: Sequence[PlatformPackages]) -> list[_Pair]:
    """Pair the platforms of two locks: by what they are, then by name, then lone ones by subdir."""
    left, right = list(old), list(new)
    partner: dict[int, PlatformPackages] = {}

    def what(platform: LockPlatform) -> object:
        packages = platform.virtual_packages
        # Where nothing is said of them, it is like no other.
        return (platform.subdir, *sorted(packages)) if packages is not None else id(platform)

    for key in (what, lambda each: (each.name, each.subdir), lambda each: each.subdir):
        for each in tuple(right):
            wanted = key(each.platform)
            candidates = [one for one in left if key(one.platform) == wanted]
            rivals = [one for one in right if key(one.platform) == wanted]
            if len(candidates) == 1 and len(rivals) == 1:
                partner[id(each)] = candidates[0]
                left.remove(candidates[0])
                right.remove(each)
    return [*((partner.get(id(each)), each) for each in new), *((each, None) for each in left)]


def _by_name(rows: PlatformPackages | None) -> dict[tuple[str, str], dict[str, _Row]]:
    """Group rows by name and source, each artifact once.

    One name may stand several times: two source packages may build with two versions of it.
    """
    found: dict[tuple[str, str], dict[str, _Row]] = {}
    if rows is not None:
        for row in (*rows.packages, *rows.build_packages):
            identity = f"{row.channel}/{row.record.subdir}/{row.file_name}"
            found.setdefault((row.name, "conda"), {}).setdefault(identity, row)
        for other in rows.unmirrorable:
            found.setdefault((other.name, other.kind.value), {}).setdefault(other.location, other)
    return found


def _compare(
    before: dict[tuple[str, str], dict[str, _Row]],
    after: dict[tuple[str, str], dict[str, _Row]],
    ranks: Mapping[str, int],
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Compare package by package; return the changes, and the names of what was hotfixed."""
    changes: list[Change] = []
    hotfixed: dict[str, None] = {}
    for name, source in sorted(before.keys() | after.keys()):
        olds, news = before.get((name, source), {}), after.get((name, source), {})
        pairs = [(olds.pop(key), news.pop(key)) for key in sorted(olds.keys() & news)]
        if len(olds) == len(news) == 1:
            pairs += zip(olds.values(), news.values(), strict=True)
            olds, news = {}, {}
        change = functools.partial(Change, name=name, source=source)
        gone, come = sorted(map(_text, olds.values())), sorted(map(_text, news.values()))
        changes += [change(kind=ChangeKind.REMOVED, before=text) for text in gone]
        changes += [change(kind=ChangeKind.ADDED, after=text) for text in come]
        for one, other in pairs:
            kind, old, new = _change(one, other, ranks)
            if kind is not None:
                changes.append(change(kind=kind, before=old, after=new))
            elif _requirements(one) != _requirements(other):
                hotfixed[name] = None
    changes.sort(key=lambda each: (each.name, each.source))
    return tuple(changes), tuple(hotfixed)


def _text(row: _Row) -> str:
    """Write what tells the versions of one package apart."""
    if isinstance(row, Unmirrorable):
        return redact(row.location)
    return f"{row.record.version} {row.record.build}"


def _change(one: _Row, other: _Row, ranks: Mapping[str, int]) -> tuple[ChangeKind | None, str, str]:
    """Tell what happened, None for nothing, and how the two are told apart."""
    before, after = _text(one), _text(other)
    kind = ChangeKind.CHANGED
    if isinstance(one, LockedPackage) and isinstance(other, LockedPackage):
        if _is_older(other.record, one.record, ranks):
            kind = ChangeKind.WENT_BACK
        if before == after and _folder(one) != _folder(other):  # told apart by that, then
            before, after = f"{before} ({_folder(one)})", f"{after} ({_folder(other)})"
        elif before == after and one.file_name.extension != other.file_name.extension:
            before += f" {one.file_name.extension}"
            after += f" {other.file_name.extension}"
        elif before == after and are_other_bytes(one.record, other.record):
            return ChangeKind.REUPLOADED, before, after
    return None if before == after else kind, before, after


def _folder(package: LockedPackage) -> str:
    """Name channel and subdir for people, secrets left out."""
    channel = channel_folder(package.channel) if package.channel else "no channel"
    return f"{channel}/{package.record.subdir}"


def _is_older(record: Record, other: Record, ranks: Mapping[str, int]) -> bool:
    """Tell whether a solver would take the other one, were both there."""
    if record.version == other.version:
        return record.build_number < other.build_number
    mine, theirs = ranks.get(record.version), ranks.get(other.version)
    if mine is None or theirs is None:
        return False
    return (mine, record.build_number) < (theirs, other.build_number)


def _requirements(row: _Row) -> list[list[Any]]:
    """Return what a solver sees of a package; their order means nothing."""
    if isinstance(row, Unmirrorable):
        return []
    of = row.record
    return [
        sorted(each) for each in (of.depends, of.constrains, of.extra_depends, of.track_features)
    ]


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
    # A pipe ends a cell even within code, unless escaped (GFM 4.10).
    cells = (change.name, change.before, change.after)
    written = ["" if text is None else _code(text).replace("|", "\\|") for text in cells]
    note = "" if change.source == "conda" else f"{change.source}, "
    return f"| {' | '.join(written)} | {note}{change.kind.words} |"


def _code(text: str) -> str:
    """Write a text as code, fenced by more backticks than it holds (CommonMark 6.1)."""
    text = _plain(text)
    fence = code_fence(text)
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _plain(text: str) -> str:
    """Write the text in one line of ASCII."""
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")
