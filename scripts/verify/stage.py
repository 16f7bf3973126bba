"""The stage `verify`: prove that the channel holds what the lock names. Only looks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from scripts.channel.users import ChannelUsers, read_users_of
from scripts.core.channel_url import CUT_BY_CONDA, is_cut_by_conda
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.report import Report, counted
from scripts.index.files import ChannelFiles, classify_files
from scripts.lock.select import Selection
from scripts.verify.files import check_archives, check_files
from scripts.verify.findings import (
    Client,
    Level,
    LevelResult,
    UsageIndex,
    incomplete,
    untracked,
)
from scripts.verify.report import Results, install_level, make_report
from scripts.verify.still_offered import find_still_offered
from scripts.verify.stopwatch import Stopwatch
from scripts.workspace.workspace import Workspace

if TYPE_CHECKING:  # a level brings its own modules, where it is looked at
    from scripts.verify.install.stage import InstallResult, Programs

_Result = TypeVar("_Result")

# How a report's name may end.
REPORT_FORMS: Final = (".md", ".html")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """How deep to look, and what installs; `clients` None: py-rattler and what else is there.

    `reports` are files (of REPORT_FORMS) for those who approve a transfer. `strict`: untracked
    files are findings.
    """

    levels: frozenset[Level] = frozenset(Level)
    clients: tuple[Client, ...] | None = None
    reports: tuple[Path, ...] = ()
    strict: bool = False


def verify(
    workspace: Workspace,
    selection: Selection,
    options: VerifyOptions,
    console: Console,
    *,
    users: ChannelUsers | None = None,
) -> Report:
    """Look at all levels, whatever the others found; the report holds every finding.

    Neither the channel folder nor the working state is written to, and no known digest believed;
    written are the reports asked for alone. `users` None: the selection is all that is named.
    Raises the error of exit code 4 where a program asked for is missing.
    """
    if not workspace.place.folder.is_dir():
        raise usage_error(
            workspace.settings.channel_dir,
            "there is no such channel folder",
            help="pixi run mirror",
        )
    users = users or read_users_of(workspace, selection)
    _warn_of_tokens(workspace, selection, console)
    if not options.reports:
        return make_report(_look(workspace, selection, options, users, console))
    from scripts.verify.transfer_report import check_targets, write_reports

    check_targets(options.reports, workspace)
    results = _look(workspace, selection, options, users, console)
    return write_reports(make_report(results), results, workspace, options.reports)


def _warn_of_tokens(workspace: Workspace, selection: Selection, console: Console) -> None:
    """Say, before the disk leaves, that conda will not find the channel where it lies now."""
    folder = workspace.place.folder
    for channel in (folder, *(folder / each for each in selection.channels)):
        if is_cut_by_conda(channel.as_uri()):
            shown = workspace.settings.channel_dir
            if channel != folder:
                shown = f"{shown}/{channel.relative_to(folder).as_posix()}"
            console.warn(f"{shown}: {CUT_BY_CONDA}; rename it, or mount the disk elsewhere")
            return


class _Run:
    """Looks at the levels asked for; takes down what came of each, and how long it took."""

    def __init__(self, levels: frozenset[Level], console: Console) -> None:
        self.results: dict[Level, LevelResult] = {}
        self.seconds: dict[Level, float] = {}
        self.problems: list[Problem] = []
        self._levels, self._console = levels, console
        self._watch = Stopwatch()

    def look(self, level: Level, note: str, check: Callable[[], LevelResult]) -> None:
        """Look at a level; nothing came of it where a program failed that it needs."""
        if level not in self._levels:
            return
        if note:
            self._console.note(f"verify: {note}")
        result = self.attempt(check)
        if result is not None:
            self.results[level] = result
            self.problems += result.environment_problems
        self.seconds[level] = self._watch.lap()

    def attempt(self, check: Callable[[], _Result]) -> _Result | None:
        """Return what came of it; None where a program failed that it needs."""
        try:
            return check()
        except MirrorError as error:
            if any(each.code is not ExitCode.PROGRAM for each in error.problems):
                raise
            self.problems += error.problems
            return None


def _look(
    workspace: Workspace,
    selection: Selection,
    options: VerifyOptions,
    users: ChannelUsers,
    console: Console,
) -> Results:
    """Look at one level after the other; each brings its modules where it is looked at."""
    programs = _programs(options)
    account = classify_files(workspace.place.folder, selection, users, console)
    run = _Run(options.levels, console)
    installs: list[InstallResult] = []
    _look_at_channel(workspace, selection, account, run)

    def install() -> LevelResult:
        from scripts.verify.install.stage import check_install

        assert programs is not None
        installs.append(check_install(workspace, selection, programs, console))
        return install_level(installs[0])

    run.look(Level.INSTALL, "", install)
    offered = run.attempt(lambda: find_still_offered(selection, account.retained))
    return Results(
        selection=selection,
        levels=options.levels,
        allowed=workspace.settings.allow_incomplete,
        results=run.results,
        findings=(
            *incomplete(selection, workspace.settings.allow_incomplete),
            *(untracked(each.path, each.size) for each in account.untracked if options.strict),
            *(each for level in run.results.values() for each in level.findings),
        ),
        environment_problems=tuple(dict.fromkeys(run.problems)),
        install=installs[0] if installs else None,
        account=account,
        still_offered=offered or (),
        shared_with=tuple(users.lines()),
        seconds=run.seconds,
    )


def _look_at_channel(
    workspace: Workspace, selection: Selection, account: ChannelFiles, run: _Run
) -> None:
    """Look at all levels but the installations."""
    uses, folder = UsageIndex(selection), workspace.place.folder

    def files() -> LevelResult:
        return check_files(
            folder,
            selection.artifacts,
            uses,
            allow_unhashed=workspace.settings.allow_unhashed,
            retained=account.retained,
            others=account.others,
        )

    def archives() -> LevelResult:
        return check_archives(folder, selection.artifacts, uses, run.results.get(Level.FILES))

    def index() -> LevelResult:
        from scripts.verify.index import check_index

        waiting = frozenset(each.path for each in account.waiting)
        return check_index(workspace.place, selection, uses, waiting)

    def closure() -> LevelResult:
        from scripts.verify.closure import check_closure

        return check_closure(workspace, selection, uses)

    def solve() -> LevelResult:
        from scripts.verify.solve import check_solve

        retained = frozenset(each.path for each in account.retained)
        return check_solve(workspace, selection, retained)

    count = len(selection.artifacts) + len(account.retained) + len(account.others)
    run.look(Level.FILES, f"reading {counted(count, 'artifact')}", files)
    locked = counted(len(selection.artifacts), "artifact")
    run.look(Level.ARCHIVES, f"opening {locked}", archives)
    run.look(Level.INDEX, "comparing the index with pixi.lock", index)
    run.look(Level.CLOSURE, "closing every environment", closure)
    run.look(Level.SOLVE, "solving from the channel alone", solve)


def _programs(options: VerifyOptions) -> Programs | None:
    """Find what installs, before anything else: one that is missing ends the run at once."""
    if Level.INSTALL not in options.levels:
        return None
    from scripts.verify.install.stage import find_programs  # reading bytes alone does without

    return find_programs(options.clients, os.environ)
