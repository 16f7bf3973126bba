"""What verify says: a line for each environment and platform, then the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scripts.core.errors import Problem
from scripts.core.report import Json, Report, counted, human_size, to_json
from scripts.index.files import ChannelFiles, channel_files_to_json, retained_line
from scripts.lock.select import Selection, left_out_json, left_out_lines
from scripts.verify.findings import (
    EnvironmentPlatform,
    Finding,
    Level,
    LevelResult,
    place_json,
    places_of,
)
from scripts.verify.still_offered import StillOffered
from scripts.workspace.settings import Kind

if TYPE_CHECKING:  # the level brings its own modules, where it is looked at
    from scripts.verify.install.attempt import InstallAttempt, InstallResult

RIGHT, WRONG, NOT_DONE = "✓", "✗", "–"  # noqa: RUF001
_SHOWN: Final = 20  # retained artifacts that are named, one a line
_MOMENT: Final = 0.05  # seconds, which are shown in tenths
# What `--json` has for levels that were not looked at.
_NOTHING: Final = dict.fromkeys(
    ("artifacts", "bytes", "unhashed", "opened", "closed", "solved", "installed-for", "sandbox")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that was looked at; a level has no result where a program failed that it needs."""

    selection: Selection
    levels: AbstractSet[Level]
    allowed: AbstractSet[Kind]
    results: Mapping[Level, LevelResult]
    findings: tuple[Finding, ...]
    environment_problems: tuple[Problem, ...] = ()
    """What kept this machine from looking, and no fault of the channel's."""
    install: InstallResult | None
    account: ChannelFiles
    still_offered: tuple[StillOffered, ...]
    """The retained artifacts that a solver would take before what is locked."""
    shared_with: tuple[str, ...]
    seconds: Mapping[Level, float]

    @property
    def attempts(self) -> tuple[InstallAttempt, ...]:
        """All installations."""
        return () if self.install is None else self.install.attempts


def make_report(results: Results) -> Report:
    """Put it all together."""
    problems = (*(finding.problem for finding in results.findings), *results.environment_problems)
    return Report(
        lines=(*_place_lines(results), *_lines(results)),
        data=_data(results),
        problems=tuple(dict.fromkeys(problems)),  # two levels may see the same
        max_shown=len(results.findings),  # who approves a transfer reads them all
    )


def _place_lines(results: Results) -> Iterator[str]:
    """Yield `default  linux-64  files ✓  index ✓  install ✓ (pixi 0.3 s)`, in columns.

    The last line is how long each level took, of all places: most of it cannot be told apart, as
    an artifact is read once for all that need it.
    """
    places = [(place, rows) for place, _, rows in places_of(results.selection)]
    wide = max((len(place.environment) for place, _ in places), default=0)
    wide_platform = max((len(place.platform) for place, _ in places), default=0)
    for place, rows in places:
        cells = [place.environment.ljust(wide), place.platform.ljust(wide_platform)]
        cells += [
            f"{level} {mark(results, place, level)}" for level in Level if level in results.levels
        ]
        refused = sum(row.kind not in results.allowed for row in rows.unmirrorable)
        if refused:
            cells.append(f"incomplete {WRONG} ({refused} not in the channel)")
        elif rows.unmirrorable:
            cells.append(f"incomplete, as allowed ({len(rows.unmirrorable)} not in the channel)")
        yield "  ".join(cells)
    took = [f"{level} {text}" for level in Level if (text := took_text(results, level))]
    if took:
        yield "  ".join(("took".ljust(wide), " " * wide_platform, *took))


def mark(results: Results, place: EnvironmentPlatform, level: Level) -> str:
    """Say how a place stands to a level: right, wrong, or not done; and what installed it."""
    if level is not Level.INSTALL:
        return {True: RIGHT, False: WRONG, None: NOT_DONE}[_stands(results, place, level)]
    attempts = [each for each in _attempts(results, place) if each.skip_reason is None]
    if not attempts:
        return NOT_DONE
    wrong = any(each.problems for each in attempts)
    clients = [
        f"{'not ' if each.problems else ''}{each.client.program} {seconds_text(each.seconds)}"
        for each in attempts
    ]
    return f"{WRONG if wrong else RIGHT} ({', '.join(map(str.strip, clients))})"


def _stands(results: Results, place: EnvironmentPlatform, level: Level) -> bool | None:
    """Tell whether a place is right; None where nothing is wrong, but not all is proven."""
    result = results.results.get(level)
    if result is None:
        return None
    if any(place in each.places for each in result.findings):
        return False
    return None if place in result.unproven else True


def seconds_text(seconds: float) -> str:
    """Write seconds for people; nothing where it was no time to speak of."""
    return f"{seconds:.1f} s" if seconds >= _MOMENT else ""


def took_text(results: Results, level: Level) -> str:
    """Say how long a level took."""
    return seconds_text(results.seconds.get(level, 0.0))


def _attempts(results: Results, place: EnvironmentPlatform) -> Sequence[InstallAttempt]:
    return [each for each in results.attempts if each.job.place == place]


def _lines(results: Results) -> Iterator[str]:
    for level in (Level.CLOSURE, Level.SOLVE, Level.INSTALL, Level.FILES):
        if level in results.results:
            yield from results.results[level].lines
    yield from account_lines(results.account)
    for offered in results.still_offered[:_SHOWN]:
        yield f"the mirror still offers {offered}; `pixi run prune` removes it"
    if len(results.still_offered) > _SHOWN:
        yield f"and it offers {len(results.still_offered) - _SHOWN} more like that, in --json"
    yield from results.shared_with
    yield from left_out_lines(results.selection)


def account_lines(account: ChannelFiles) -> Iterator[str]:
    """Say what is in the channel folder beside what the lock names and its index."""
    if account.retained:
        yield retained_line(account.retained)
    if account.waiting:
        size = human_size(sum(each.size for each in account.waiting))
        yield f"waiting for removal: {counted(len(account.waiting), 'file')}, {size}"
    if account.untracked:
        names = ", ".join(str(each.path) for each in account.untracked)
        yield f"untracked, not proven: {names}"


def install_level(install: InstallResult) -> LevelResult:
    """Say what came of the installations."""
    return LevelResult(
        findings=tuple(
            Finding(level=Level.INSTALL, problem=problem, places=frozenset({each.job.place}))
            for each in install.attempts
            for problem in each.problems
        ),
        environment_problems=install.environment_problems,
        lines=tuple(_install_lines(install)),
        data={"installed-for": install.subdir, "sandbox": install.sandbox},
    )


def _install_lines(install: InstallResult) -> Iterator[str]:
    """Say how it was installed, and what was not, and why."""
    if not install.attempts:
        yield f"installed nothing: no mirrored environment of this run is for {install.subdir}"
        return
    yield f"installed {install.sandbox}, from file:// or loopback, into an empty cache"
    as_machine: dict[str, dict[EnvironmentPlatform, None]] = {}
    for each in install.attempts:
        # an empty override hides what this machine has
        said = " ".join(f"{name}={value}" for name, value in each.job.overrides if value)
        if said:
            as_machine.setdefault(said, {})[each.job.place] = None
    for said, places in as_machine.items():
        yield f"installed {', '.join(map(str, places))} with {said}"
    yield from (f"warning: {each.warning}" for each in install.attempts if each.warning)
    for each in install.attempts:
        if each.skip_reason is not None:
            client = each.client.program
            yield f"not installed by {client}: {each.job.place}; {each.skip_reason}"


def _data(results: Results) -> dict[str, Json]:
    document: dict[str, Json] = {
        "levels": [level.value for level in Level if level in results.levels],
        "environments": [
            _place_json(results, place) for place, _, _ in places_of(results.selection)
        ],
        "seconds": {level.value: round(seconds, 3) for level, seconds in results.seconds.items()},
        **_NOTHING,
    }
    for each in results.results.values():
        document |= each.data
    return document | {
        "channel-files": channel_files_to_json(results.account),
        "still-offered": [
            {
                "path": str(each.path),
                "locked": each.locked,
                "environments": [place_json(place) for place in each.places],
            }
            for each in results.still_offered
        ],
        "left-out": left_out_json(results.selection),
    }


def _place_json(results: Results, place: EnvironmentPlatform) -> dict[str, Json]:
    """Give one environment on one platform: true, false, or null where it was not done."""
    incomplete = (each for each in results.findings if each.level is None)
    return {
        **place_json(place),
        **{
            level.value: _stands(results, place, level)
            for level in sorted(results.levels - {Level.INSTALL})
        },
        "install": [
            {
                "client": each.client.program,
                "installed": None if each.skip_reason else not each.problems,
                "skip-reason": each.skip_reason,
                "warning": each.warning,
                "seconds": round(each.seconds, 3),
                "overrides": to_json(dict(each.job.overrides)),
            }
            for each in _attempts(results, place)
        ],
        "complete": all(place not in each.places for each in incomplete),
    }
