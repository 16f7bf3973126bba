"""The stage `verify`: prove that the channel holds what the lock names. Only looks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from scripts.channel.owners import Owners, read_owners_of
from scripts.core.channel_url import CUT_BY_CONDA, is_cut_by_conda
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.report import Report
from scripts.index.account import Account, ChannelFile, Indexed, take_account
from scripts.lock.select import Selection
from scripts.verify.complete import incomplete
from scripts.verify.files import check_files
from scripts.verify.findings import ArchivesResult, Client, FilesResult, Finding, Level, UsageIndex
from scripts.verify.report import Results, make_report
from scripts.verify.stopwatch import Stopwatch
from scripts.workspace.workspace import Workspace

if TYPE_CHECKING:  # each level brings its own modules, where it is looked at
    from scripts.verify.closure import ClosureResult
    from scripts.verify.install.attempt import InstallResult, Programs
    from scripts.verify.solve.solved import SolveResult
    from scripts.verify.still_offered import StillOffered

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
    owners: Owners | None = None,
) -> Report:
    """Look at all levels, whatever the others found; the report holds every finding.

    Neither the channel folder nor the working state is written to, and no known digest believed;
    written are the reports asked for alone. `owners` None: the selection is all that is named.
    Raises the error of exit code 4 where a program asked for is missing.
    """
    if not workspace.place.folder.is_dir():
        raise usage_error(
            workspace.settings.channel_dir,
            "there is no such channel folder",
            help="pixi run mirror",
        )
    owners = owners or read_owners_of(workspace, selection)
    _warn_of_tokens(workspace, selection, console)
    if not options.reports:
        return make_report(_look(workspace, selection, options, owners, console))
    from scripts.verify.transfer_files import check_targets, write_reports

    check_targets(options.reports, workspace)
    results = _look(workspace, selection, options, owners, console)
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


def _look(
    workspace: Workspace,
    selection: Selection,
    options: VerifyOptions,
    owners: Owners,
    console: Console,
) -> Results:
    """Look at one level after the other."""
    programs, uses = _programs(options), UsageIndex(selection)
    account = take_account(workspace.place, selection, owners, console)
    findings = list(incomplete(selection, workspace.settings.allow_incomplete))
    findings += map(_untracked_finding, account.untracked if options.strict else ())
    files: FilesResult | None = None
    archives: ArchivesResult | None = None
    closure: ClosureResult | None = None
    solve: SolveResult | None = None
    install: InstallResult | None = None
    of_machine: list[Problem] = []
    seconds: dict[Level, float] = {}
    watch = Stopwatch()
    if Level.FILES in options.levels:
        files = _look_at_files(workspace, selection, uses, account, console)
        findings += files.findings
        seconds[Level.FILES] = watch.lap()
    if Level.ARCHIVES in options.levels:
        archives = _open_archives(workspace, selection, uses, files, console)
        findings += archives.findings
        seconds[Level.ARCHIVES] = watch.lap()
    if Level.INDEX in options.levels:
        findings += _look_at_index(workspace, selection, uses, account, console)
        seconds[Level.INDEX] = watch.lap()
    if Level.CLOSURE in options.levels:
        closure = _unless_broken(of_machine, partial(_close, workspace, selection, uses, console))
        findings += () if closure is None else closure.findings
        seconds[Level.CLOSURE] = watch.lap()
    if Level.SOLVE in options.levels:
        solve = _unless_broken(of_machine, partial(_solve, workspace, selection, account, console))
        findings += () if solve is None else solve.findings
        seconds[Level.SOLVE] = watch.lap()
    if programs is not None:
        look = partial(_install, workspace, selection, programs, console)
        install = _unless_broken(of_machine, look)
        findings += () if install is None else _install_findings(install)
        seconds[Level.INSTALL] = watch.lap()
    return Results(
        selection=selection,
        levels=options.levels,
        allowed=workspace.settings.allow_incomplete,
        findings=tuple(findings),
        of_machine=tuple(dict.fromkeys((*of_machine, *(install.of_machine if install else ())))),
        files=files,
        archives=archives,
        closure=closure,
        solve=solve,
        install=install,
        account=account,
        still_offered=_still_offered(selection, account.retained),
        shared_with=tuple(owners.lines()),
        seconds=seconds,
    )


def _untracked_finding(file: ChannelFile) -> Finding:
    problem = Problem(
        subject=str(file.path),
        trouble="untracked: no workspace names it, and no index ever did",
        code=ExitCode.NO,
        facts=(("size", f"{file.size} bytes"),),
        help="move it out of the channel folder",
    )
    return Finding(level=None, problem=problem, places=frozenset())


def _unless_broken(of_machine: list[Problem], look: Callable[[], _Result]) -> _Result | None:
    """Look at a level; where a program that it needs failed, take that down and return None."""
    try:
        return look()
    except MirrorError as error:
        if any(each.code is not ExitCode.PROGRAM for each in error.problems):
            raise
        of_machine += error.problems
        return None


def _look_at_files(
    workspace: Workspace, selection: Selection, uses: UsageIndex, account: Account, console: Console
) -> FilesResult:
    count = len(selection.artifacts) + len(account.retained) + len(account.others)
    console.note(f"verify: reading {count} artifacts")
    return check_files(
        workspace.place.folder,
        selection.artifacts,
        uses,
        allow_unhashed=workspace.settings.allow_unhashed,
        retained=account.retained,
        others=account.others,
    )


def _open_archives(
    workspace: Workspace,
    selection: Selection,
    uses: UsageIndex,
    files: FilesResult | None,
    console: Console,
) -> ArchivesResult:
    from scripts.verify.archives import check_archives

    console.note(f"verify: opening {len(selection.artifacts)} artifacts")
    return check_archives(workspace.place.folder, selection.artifacts, uses, files)


def _look_at_index(
    workspace: Workspace, selection: Selection, uses: UsageIndex, account: Account, console: Console
) -> tuple[Finding, ...]:
    from scripts.verify.index import check_index

    console.note("verify: comparing the index with pixi.lock")
    waiting = frozenset(each.path for each in account.waiting)
    return check_index(workspace.place, selection, uses, waiting)


def _close(
    workspace: Workspace, selection: Selection, uses: UsageIndex, console: Console
) -> ClosureResult:
    from scripts.verify.closure import check_closure

    console.note("verify: closing every environment")
    return check_closure(workspace, selection, uses)


def _solve(
    workspace: Workspace, selection: Selection, account: Account, console: Console
) -> SolveResult:
    from scripts.verify.solve.stage import check_solve

    console.note("verify: solving from the channel alone")
    return check_solve(workspace, selection, frozenset(each.path for each in account.retained))


def _still_offered(selection: Selection, retained: Sequence[Indexed]) -> tuple[StillOffered, ...]:
    if not retained:
        return ()
    from scripts.core.rattler_child import rank_versions
    from scripts.verify.still_offered import still_offered, to_rank

    ranks = rank_versions(to_rank(selection, retained))
    return still_offered(selection, retained, ranks)


def _install(
    workspace: Workspace, selection: Selection, programs: Programs, console: Console
) -> InstallResult:
    from scripts.verify.install.stage import check_install

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
    from scripts.verify.install.stage import find_programs  # reading bytes alone does without

    return find_programs(options.clients, os.environ)
