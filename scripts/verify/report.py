"""What verify says: a line for each environment and platform, then the rest."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scripts.core.errors import Problem
from scripts.core.report import Line, Report, counted_files, named, to_json
from scripts.index.file_classes import ChannelFiles, channel_files_to_json, retained_line
from scripts.lock.model import PlatformPackages
from scripts.lock.select import Selection, left_out_json, left_out_lines
from scripts.verify.findings import (
    MARKS,
    NOT_DONE,
    WRONG,
    EnvironmentPlatform,
    Finding,
    Level,
    LevelResult,
    incomplete_cell,
    place_json,
    places_of,
)
from scripts.workspace.settings import IncompleteKind

if TYPE_CHECKING:  # the level brings its own modules, where it is looked at
    from scripts.verify.install.stage import InstallAttempt

_WIDTH: Final = 80  # columns of a terminal
_MOMENT: Final = 0.05  # seconds, which are shown in tenths
# What `--json` has for levels that were not looked at.
_NOTHING: Final = dict.fromkeys(
    (
        *("artifacts", "bytes", "unhashed", "opened", "wrong-records"),
        *("closed", "solved", "installed-for", "sandbox"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that was looked at; a level has no result where a program failed that it needs."""

    selection: Selection
    levels: AbstractSet[Level]
    allowed: AbstractSet[IncompleteKind]
    results: Mapping[Level, LevelResult]
    findings: tuple[Finding, ...]
    environment_problems: tuple[Problem, ...]
    """What kept this machine from looking, and no fault of the channel's."""
    account: ChannelFiles
    still_offered: tuple[Mapping[str, Any], ...]
    """The retained artifacts that a solver would take before what is locked."""
    more_lines: tuple[str, ...]
    """With whom it is shared, and what of the project itself cannot be built over there."""
    seconds: Mapping[Level, float]
    not_looked_at: tuple[str, ...]
    """The labels of locks; where there are any, one other alone was looked at."""

    @property
    def attempts(self) -> tuple[InstallAttempt, ...]:
        """All installations."""
        return self.results[Level.INSTALL].attempts if Level.INSTALL in self.results else ()


def make_report(results: Results) -> Report:
    """Put it all together."""
    problems = (*(finding.problem for finding in results.findings), *results.environment_problems)
    data: dict[str, Any] = {
        "levels": [level.value for level in Level if level in results.levels],
        "environments": [row for _, row, _ in place_rows(results)],
        "seconds": {level.value: round(seconds, 3) for level, seconds in results.seconds.items()},
        **_NOTHING,
    }
    for each in results.results.values():
        data |= each.data
    data |= {
        "channel-files": channel_files_to_json(results.account),
        "still-offered": list(results.still_offered),
        "left-out": left_out_json(results.selection),
    }
    return Report(
        lines=(*_place_lines(results), *_lines(results)),
        data=data,
        problems=tuple(dict.fromkeys(problems)),  # two levels may see the same
    )


PlaceRow = tuple[EnvironmentPlatform, dict[str, Any], PlatformPackages]


def place_rows(results: Results) -> Iterator[PlaceRow]:
    """Yield how each environment on each platform stands to each level, as `--json` has it.

    True, false, or None where nothing is wrong, but not all is proven.
    """
    for _, place, _, packages in places_of(results.selection):
        alone = {"lock": results.selection.locks[0].label} if results.not_looked_at else {}
        row: dict[str, Any] = {**alone, **place_json(place)}
        proven = row["proven"] = dict[str, str]()
        for level in sorted(results.levels - {Level.INSTALL}):
            result = results.results.get(level)
            wrong = result is not None and any(place in each.places for each in result.findings)
            is_open = result is None or place in result.unproven
            row[level.value] = False if wrong else None if is_open else True
            if result is not None and not wrong and place in result.proven:
                proven[level.value] = result.proven[place].isoformat()
        row["install"] = [
            _attempt_row(each) for each in results.attempts if each.job.place == place
        ]
        incomplete = (each for each in results.findings if each.level is None)
        row["complete"] = all(place not in each.places for each in incomplete)
        yield place, row, packages


def place_columns(results: Results) -> list[str]:
    """Name what tells a place from others: its lock, too, where more than one is mirrored."""
    are_several = len(results.selection.locks) > 1 or bool(results.not_looked_at)
    return ["lock"] * are_several + ["environment", "platform"]


def _attempt_row(attempt: InstallAttempt) -> dict[str, Any]:
    return {
        "client": attempt.client.program,
        "version": attempt.version,
        "wheels-only": attempt.job.wheels_only,
        "conda-only": attempt.is_conda_only,
        "installed": None if attempt.skip_reason else not attempt.problems,
        "skip-reason": attempt.skip_reason,
        "warning": attempt.warning,
        "proven": None if attempt.proven is None else attempt.proven.isoformat(),
        "seconds": round(attempt.seconds, 3),
        "overrides": to_json(dict(attempt.job.overrides)),
    }


def mark(row: Mapping[str, Any], level: Level) -> str:
    """Say how a place stands to a level: right, wrong, or not done; and what installed it."""
    if level is not Level.INSTALL:
        word = "hashed" if level is Level.FILES else "proven"
        when = row["proven"].get(level)
        return MARKS[row[level]] + (f" ({word} {when[:10]})" if when and row[level] else "")
    clients = client_texts(row)
    return f"{_mark_of_install(row)} ({', '.join(clients)})" if clients else NOT_DONE


def completeness(
    row: Mapping[str, Any], packages: PlatformPackages, allowed: AbstractSet[IncompleteKind]
) -> str:
    """Say that something is not in the channel that a place needs, if only to build its sdists."""
    cell = incomplete_cell(packages, allowed)
    return cell if row["complete"] or WRONG in cell else f"incomplete {WRONG}"


def _mark_of_install(row: Mapping[str, Any]) -> str:
    tried = [each for each in row["install"] if each["installed"] is not None]
    parts = (("wheels-only", "(wheels) "), ("conda-only", "(conda) "))
    part = "".join(text for key, text in parts if tried and all(each[key] for each in tried))
    return part + MARKS[all(each["installed"] for each in tried)]


def client_texts(row: Mapping[str, Any]) -> list[str]:
    """Say how each client that tried stands to a place; once, where all was proven on one day."""
    tried = [each for each in row["install"] if each["installed"] is not None]
    dates = [each["proven"] and f"proven {each['proven'][:10]}" for each in tried]
    if dates and dates[0] and len(set(dates)) == 1:
        return dates[:1]
    return [
        f"{'' if each['installed'] else 'not '}{each['client']} "
        f"{date or seconds_text(each['seconds'])}".rstrip()
        for each, date in zip(tried, dates, strict=True)
    ]


def _place_lines(results: Results) -> Iterator[str]:
    """Yield `default  linux-64  files ✓  index ✓  install ✓ (pixi 0.3 s)`, in columns.

    Several clients have a line each. It fits a terminal of 80 columns. The last line is how long
    each level took, of all places: most of it cannot be told apart, as an artifact is read once
    for all that need it.
    """
    rows = list(place_rows(results))
    columns = place_columns(results)
    widths = [max((len(row[key]) for _, row, _ in rows), default=0) for key in columns]
    levels = [level for level in Level if level in results.levels]
    for _, row, packages in rows:
        head = "".join(
            f"{row[key].ljust(width)}  " for key, width in zip(columns, widths, strict=True)
        )
        cells = [f"{level} {mark(row, level)}" for level in levels]
        if cell := completeness(row, packages, results.allowed):
            cells.append(cell)
        clients = client_texts(row) if Level.INSTALL in levels else []
        if len(clients) > 1:
            cells[levels.index(Level.INSTALL)] = f"{Level.INSTALL} {_mark_of_install(row)}"
        yield from _wrapped(head, cells)
        if len(clients) > 1:
            yield from (f"{' ' * len(head)}  {each}" for each in clients)
    took = ((level, seconds_text(results.seconds.get(level))) for level in levels)
    if cells := [f"{level} {text}" for level, text in took if text]:
        yield from _wrapped("took".ljust(sum(widths) + 2 * len(widths)), cells)


def _wrapped(head: str, cells: Iterable[str]) -> list[str]:
    """Set the cells behind a head, on several lines where they are too many for one."""
    lines = textwrap.wrap(
        "  ".join(each.replace(" ", "\N{NO-BREAK SPACE}") for each in cells),
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [each.replace("\N{NO-BREAK SPACE}", " ") for each in lines]


def seconds_text(seconds: float | None) -> str:
    """Write seconds for people; nothing where it was no time to speak of."""
    return f"{seconds:.1f} s" if seconds is not None and seconds >= _MOMENT else ""


def _lines(results: Results) -> Iterator[Line]:
    for level in (*(each for each in Level if each is not Level.FILES), Level.FILES):
        if level in results.results:
            yield from results.results[level].lines
    yield from account_lines(results.account)
    yield tuple(
        f"the mirror still offers {each['path']}, newer than pixi.lock's {each['locked']};"
        f" {results.account.removed_by('it')}"
        for each in results.still_offered
    )
    yield from results.more_lines
    yield from left_out_lines(results.selection)


def account_lines(account: ChannelFiles) -> Iterator[Line]:
    """Say what is in the channel folder beside what the lock names and its index."""
    if account.retained:
        yield retained_line(account)
    if account.waiting:
        yield f"waiting for removal: {counted_files(account.waiting)}"
    if account.untracked:
        names = [str(each.path) for each in account.untracked]
        yield named("untracked, not proven:", "file", names)
