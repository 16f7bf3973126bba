"""The stage `verify`: prove that the channel holds what the lock names. Acts. Only looks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scripts.compare.complete import incomplete
from scripts.compare.files import check_files
from scripts.core.console import Console
from scripts.core.errors import usage_error
from scripts.core.report import Report
from scripts.index.leftovers import find_leftovers
from scripts.lock.select import Selection
from scripts.manifest.workspace import Workspace
from scripts.proof.findings import ArchivesResult, Client, FilesResult, Finding, Level, Uses
from scripts.proof.stopwatch import Stopwatch
from scripts.verify.report import Results, make_report

if TYPE_CHECKING:  # each level brings its own modules, where it is looked at
    from scripts.closure.closed import ClosureResult
    from scripts.install.attempt import InstallResult, Programs
    from scripts.solve.solved import SolveResult

# How a report's name may end.
REPORT_FORMS: Final = (".md", ".html")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """How deep to look, and what installs; `clients` None: py-rattler and what else is there.

    `reports` are files (of REPORT_FORMS) for those who approve a transfer.
    """

    levels: frozenset[Level] = frozenset(Level)
    clients: tuple[Client, ...] | None = None
    reports: tuple[Path, ...] = ()


def verify(
    workspace: Workspace, selection: Selection, options: VerifyOptions, console: Console
) -> Report:
    """Look at all levels, whatever the others found; the report holds every finding.

    Neither the channel folder nor the working state is written to, and no known digest believed;
    written are the reports asked for alone.
    Raises the error of exit code 4 where a program asked for is missing.
    """
    if not workspace.place.folder.is_dir():
        raise usage_error(
            workspace.settings.channel_dir,
            "there is no such channel folder",
            help="pixi run mirror",
        )
    if not options.reports:
        return make_report(_look(workspace, selection, options, console))
    from scripts.verify.transfer_files import check_targets, write_reports

    check_targets(options.reports, workspace)
    results = _look(workspace, selection, options, console)
    return write_reports(make_report(results), results, workspace, options.reports)


def _look(
    workspace: Workspace, selection: Selection, options: VerifyOptions, console: Console
) -> Results:
    """Look at one level after the other."""
    settings = workspace.settings
    programs = _programs(options)
    uses = Uses(selection)
    findings: list[Finding] = list(incomplete(selection, settings.allow_incomplete))
    files: FilesResult | None = None
    archives: ArchivesResult | None = None
    closure: ClosureResult | None = None
    solve: SolveResult | None = None
    install: InstallResult | None = None
    seconds: dict[Level, float] = {}
    watch = Stopwatch()
    if Level.FILES in options.levels:
        files = _look_at_files(workspace, selection, uses, console)
        findings += files.findings
        seconds[Level.FILES] = watch.lap()
    if Level.ARCHIVES in options.levels:
        archives = _open_archives(workspace, selection, uses, files, console)
        findings += archives.findings
        seconds[Level.ARCHIVES] = watch.lap()
    if Level.INDEX in options.levels:
        findings += _look_at_index(workspace, selection, uses, console)
        seconds[Level.INDEX] = watch.lap()
    if Level.CLOSURE in options.levels:
        closure = _close(workspace, selection, console)
        findings += closure.findings
        seconds[Level.CLOSURE] = watch.lap()
    if Level.SOLVE in options.levels:
        solve = _solve(workspace, selection, console)
        findings += solve.findings
        seconds[Level.SOLVE] = watch.lap()
    if programs is not None:
        install = _install(workspace, selection, programs, console)
        findings += _install_findings(install)
        seconds[Level.INSTALL] = watch.lap()
    return Results(
        selection=selection,
        levels=options.levels,
        allowed=settings.allow_incomplete,
        findings=tuple(findings),
        files=files,
        archives=archives,
        closure=closure,
        solve=solve,
        install=install,
        leftovers=find_leftovers(workspace.place, selection, console),
        seconds=seconds,
    )


def _look_at_files(
    workspace: Workspace, selection: Selection, uses: Uses, console: Console
) -> FilesResult:
    console.note(f"verify: reading {len(selection.artifacts)} artifacts")
    return check_files(
        workspace.place.folder,
        selection.artifacts,
        uses,
        allow_unhashed=workspace.settings.allow_unhashed,
    )


def _open_archives(
    workspace: Workspace,
    selection: Selection,
    uses: Uses,
    files: FilesResult | None,
    console: Console,
) -> ArchivesResult:
    from scripts.compare.archives import check_archives

    console.note(f"verify: opening {len(selection.artifacts)} artifacts")
    return check_archives(workspace.place.folder, selection.artifacts, uses, files)


def _look_at_index(
    workspace: Workspace, selection: Selection, uses: Uses, console: Console
) -> tuple[Finding, ...]:
    from scripts.compare.index_level import check_index

    console.note("verify: comparing the index with pixi.lock")
    return check_index(workspace.place, selection, uses)


def _close(workspace: Workspace, selection: Selection, console: Console) -> ClosureResult:
    from scripts.closure.stage import check_closure

    console.note("verify: closing every environment")
    return check_closure(workspace, selection)


def _solve(workspace: Workspace, selection: Selection, console: Console) -> SolveResult:
    from scripts.solve.stage import check_solve

    console.note("verify: solving from the channel alone")
    return check_solve(workspace, selection)


def _install(
    workspace: Workspace, selection: Selection, programs: Programs, console: Console
) -> InstallResult:
    from scripts.install.stage import check_install

    return check_install(workspace, selection, programs, console)


def _install_findings(install: InstallResult) -> Iterator[Finding]:
    for attempt in install.attempts:
        places = frozenset({attempt.installation.place})
        for problem in attempt.problems:
            yield Finding(level=Level.INSTALL, problem=problem, places=places)


def _programs(options: VerifyOptions) -> Programs | None:
    """Find what installs, before anything else: one that is missing ends the run at once."""
    if Level.INSTALL not in options.levels:
        return None
    from scripts.install.stage import find_programs  # reading bytes alone does without

    return find_programs(options.clients, os.environ)
