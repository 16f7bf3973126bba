"""What verify says: a line for each environment and platform, then the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scripts.core.errors import Problem
from scripts.core.report import Json, Report, human_size, to_json
from scripts.index.account import account_json
from scripts.lock.left_out import left_out_json, left_out_lines
from scripts.lock.select import Selection
from scripts.verify.findings import (
    ArchivesResult,
    FilesResult,
    Finding,
    Level,
    Place,
    of_level,
    places_of,
)
from scripts.workspace.settings import Kind

if TYPE_CHECKING:  # each level brings its own modules, where it is looked at
    from scripts.index.account import Account
    from scripts.verify.closure import ClosureResult
    from scripts.verify.install.attempt import Attempt, InstallResult
    from scripts.verify.solve.solved import SolveResult
    from scripts.verify.still_offered import StillOffered

RIGHT, WRONG, NOT_DONE = "✓", "✗", "–"  # noqa: RUF001
_SHOWN: Final = 20  # retained artifacts that are named, one a line
_MOMENT: Final = 0.05  # seconds, which are shown in tenths


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that was looked at; a level's result is None where it was not asked for.

    `still_offered` are the retained artifacts that a solver would take before what is locked.
    `of_machine` is what kept this machine from looking, and no fault of the channel's: a level
    may be None for it. `seconds` tells how long each level took.
    """

    selection: Selection
    levels: AbstractSet[Level]
    allowed: AbstractSet[Kind]
    findings: tuple[Finding, ...]
    of_machine: tuple[Problem, ...] = ()
    files: FilesResult | None
    archives: ArchivesResult | None
    closure: ClosureResult | None
    solve: SolveResult | None
    install: InstallResult | None
    account: Account
    still_offered: tuple[StillOffered, ...]
    shared_with: tuple[str, ...]
    seconds: Mapping[Level, float]


def make_report(results: Results) -> Report:
    """Put it all together."""
    return Report(
        lines=(*_place_lines(results), *_lines(results)),
        data=_data(results),
        problems=(*(finding.problem for finding in results.findings), *results.of_machine),
        names=len(results.findings),  # who approves a transfer reads them all
    )


def _place_lines(results: Results) -> Iterator[str]:
    """Yield `default  linux-64  files ✓  index ✓  install ✓ (pixi 0.3 s)`, in columns.

    The last line is how long each level took, of all places: most of it cannot be told apart, as
    an artifact is read once, and a MatchSpec matched once, for all that need it.
    """
    rows = [(place.environment, place.platform) for place, _, _ in places_of(results.selection)]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for place, _, locked in places_of(results.selection):
        cells = [place.environment.ljust(widths[0]), place.platform.ljust(widths[1])]
        cells += [
            f"{level} {mark(results, place, level)}" for level in Level if level in results.levels
        ]
        refused = sum(row.kind not in results.allowed for row in locked.unmirrorable)
        if refused:
            cells.append(f"incomplete {WRONG} ({refused} not in the channel)")
        elif locked.unmirrorable:
            cells.append(f"incomplete, as allowed ({len(locked.unmirrorable)} not in the channel)")
        yield "  ".join(cells)
    took = [f"{level} {text}" for level in Level if (text := _took(results, level))]
    if took:
        yield "  ".join(("took".ljust(widths[0]), " " * widths[1], *took))


def mark(results: Results, place: Place, level: Level) -> str:
    """Say how a place stands to a level: right, wrong, or not done; and what installed it."""
    if level is Level.INSTALL:
        attempts = [each for each in _attempts(results, place) if each.hindrance is None]
        if not attempts:
            return NOT_DONE
        wrong = any(each.problems for each in attempts)
        clients = [_client(each) for each in attempts]
        return f"{WRONG if wrong else RIGHT} ({', '.join(clients)})"
    return {True: RIGHT, False: WRONG, None: NOT_DONE}[_stands(results, place, level)]


def _stands(results: Results, place: Place, level: Level) -> bool | None:
    """Tell whether a place is right; None where nothing is wrong, but not all is proven."""
    if place in of_level(results.findings, level):
        return False
    if level is Level.ARCHIVES:
        is_proven = results.archives is not None and place not in results.archives.left_alone
    elif level is Level.CLOSURE:
        is_proven = results.closure is not None and place in results.closure.proven
    elif level is Level.SOLVE:
        is_proven = results.solve is not None and place in results.solve.solved
    else:
        is_proven = True
    return True if is_proven else None


def _client(attempt: Attempt) -> str:
    """Say what installed it, or did not, and in how many seconds."""
    took = took_text(attempt.seconds)
    return f"{'not ' if attempt.problems else ''}{attempt.client.program}{took and ' '}{took}"


def took_text(seconds: float) -> str:
    """Write seconds for people; nothing where it was no time to speak of."""
    return f"{seconds:.1f} s" if seconds >= _MOMENT else ""


def _attempts(results: Results, place: Place) -> Sequence[Attempt]:
    if results.install is None:
        return ()
    return [each for each in results.install.attempts if each.installation.place == place]


def _lines(results: Results) -> Iterator[str]:
    if results.closure is not None:
        from scripts.verify.closure import closure_lines

        yield from closure_lines(results.closure)
    if results.solve is not None:
        from scripts.verify.solve.solved import solve_lines

        yield from solve_lines(results.solve)
    yield from _install_lines(results)
    files = results.files
    if files is not None:
        read = f"read: {_count(files.artifacts, 'artifact')}, {human_size(files.size)}"
        yield f"{read}; {files.unhashed} of them without a hash" if files.unhashed else read
    yield from account_lines(results.account)
    for offered in results.still_offered[:_SHOWN]:
        yield f"the mirror still offers {offered}; `pixi run prune` removes it"
    if len(results.still_offered) > _SHOWN:
        yield f"and it offers {len(results.still_offered) - _SHOWN} more like that, in --json"
    yield from results.shared_with
    yield from left_out_lines(results.selection)


def account_lines(account: Account) -> Iterator[str]:
    """Say what is in the channel folder beside what the lock names and its index."""
    if account.retained:
        size = human_size(sum(each.size for each in account.retained))
        yield (
            f"retained (indexed, in no lock): {_count(len(account.retained), 'artifact')}, {size};"
            " `pixi run prune` removes them"
        )
    if account.waiting:
        size = human_size(sum(each.size for each in account.waiting))
        yield f"waiting for removal: {_count(len(account.waiting), 'file')}, {size}"
    if account.untracked:
        names = ", ".join(str(each.path) for each in account.untracked)
        yield f"untracked, not proven: {names}"


def _took(results: Results, level: Level) -> str:
    return took_text(results.seconds.get(level, 0.0))


def _install_lines(results: Results) -> Iterator[str]:
    """Say how it was installed, and what was not, and why."""
    install = results.install
    if install is None:
        return
    if not install.attempts:
        yield f"installed nothing: no environment of this lock is for {install.subdir} here"
        return
    yield f"installed {install.seclusion}, from file:// or loopback, into an empty cache"
    for variables, places in _overrides(install).items():
        yield f"installed {', '.join(map(str, places))} with {' '.join(variables)}"
    yield from (f"warning: {each.warning}" for each in install.attempts if each.warning)
    for attempt in install.attempts:
        installation = attempt.installation
        if attempt.hindrance is not None:
            client = attempt.client.program
            yield f"not installed by {client}: {installation.place}; {attempt.hindrance}"


def _overrides(install: InstallResult) -> dict[tuple[str, ...], list[Place]]:
    """Gather who was installed as what machine; an empty override hides what this one has."""
    found: dict[tuple[str, ...], list[Place]] = {}
    installations = {each.installation.place: each.installation for each in install.attempts}
    for installation in installations.values():
        said = tuple(f"{name}={value}" for name, value in installation.overrides if value)
        if said:
            found.setdefault(said, []).append(installation.place)
    return found


def _data(results: Results) -> dict[str, Json]:
    files, install = results.files, results.install
    return {
        "levels": [level.value for level in Level if level in results.levels],
        "environments": [
            _place_json(results, place) for place, _, _ in places_of(results.selection)
        ],
        "seconds": {level.value: round(seconds, 3) for level, seconds in results.seconds.items()},
        "artifacts": None if files is None else files.artifacts,
        "bytes": None if files is None else files.size,
        "unhashed": None if files is None else files.unhashed,
        "opened": None if results.archives is None else results.archives.artifacts,
        "closed": _closed_json(results),
        "solved": _solved_json(results),
        "installed-for": None if install is None else install.subdir,
        "installed": None if install is None else install.seclusion,
        "channel-files": account_json(results.account),
        "still-offered": [
            {
                "path": str(each.path),
                "locked": each.locked,
                "environments": [
                    {"environment": place.environment, "platform": place.platform}
                    for place in each.places
                ],
            }
            for each in results.still_offered
        ],
        "left-out": left_out_json(results.selection),
    }


def _closed_json(results: Results) -> Json:
    if results.closure is None:
        return None
    from scripts.verify.closure import closure_json

    return closure_json(results.closure)


def _solved_json(results: Results) -> Json:
    if results.solve is None:
        return None
    from scripts.verify.solve.solved import solve_json

    return solve_json(results.solve)


def _place_json(results: Results, place: Place) -> dict[str, Json]:
    """Give one environment on one platform: true, false, or null where it was not done."""
    levels: dict[str, Json] = {
        level.value: _stands(results, place, level) for level in results.levels - {Level.INSTALL}
    }
    clients: list[Json] = [
        {
            "client": each.client.program,
            "installed": None if each.hindrance else not each.problems,
            "hindrance": each.hindrance,
            "warning": each.warning,
            "seconds": round(each.seconds, 3),
            "overrides": to_json(dict(each.installation.overrides)),
        }
        for each in _attempts(results, place)
    ]
    return {
        "environment": place.environment,
        "platform": place.platform,
        **dict(sorted(levels.items())),
        "install": clients,
        "complete": all(
            place not in finding.places for finding in results.findings if finding.level is None
        ),
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
