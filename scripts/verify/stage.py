"""The stage `verify`: prove that the channel holds what the lock names. Only looks."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Final, TypeVar

from scripts.channel.folders import refuse_no_folder, refuse_output_within
from scripts.channel.users import ChannelUsers, read_users_of
from scripts.core.channel_url import CUT_BY_CONDA, is_cut_by_conda
from scripts.core.command import add_words_option
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.report import Report, counted
from scripts.core.scratch import clear_scratch, temporary_folder
from scripts.index.file_classes import (
    ChannelFiles,
    classify_files,
    fill_from_index,
    waiting_whoever_names_it,
)
from scripts.lock.satisfiability import without_outdated_manifests
from scripts.lock.select import Selection
from scripts.verify.files import check_archives, check_files
from scripts.verify.findings import (
    Client,
    Finding,
    Level,
    LevelResult,
    UsageIndex,
    grouped,
    incomplete,
    said_of,
    untracked,
    with_help_left,
)
from scripts.verify.proofs import NO_PROOFS, Proofs
from scripts.verify.report import Results, make_report
from scripts.workspace.settings import IncompleteKind
from scripts.workspace.workspace import Workspace

_Result = TypeVar("_Result")
_OWN: Final = "part of the project, and cannot be built over there:"

# How a report's name may end.
REPORT_FORMS: Final = (".md", ".html")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """How deep to look, and what installs; `clients` None: py-rattler and what else is there.

    `reports` are files (of REPORT_FORMS) for those who approve a transfer. `strict`: untracked
    files are findings. `remembers`: what earlier runs have proven is not proven again.
    `not_looked_at` are the labels of locks that the selection is not of: then no artifact is read
    that it does not name.
    """

    levels: frozenset[Level] = frozenset(Level)
    clients: tuple[Client, ...] | None = None
    reports: tuple[Path, ...] = ()
    strict: bool = False
    remembers: bool = False
    not_looked_at: tuple[str, ...] = ()

    @property
    def not_proven(self) -> list[str]:
        """Name the levels that these options leave out, and the clients not asked."""
        left = [level.value for level in Level if level not in self.levels]
        if Level.INSTALL in self.levels and self.clients is not None:
            left.append(f"{Level.INSTALL} by others than {', '.join(self.clients)}")
        return left


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how deep to look."""
    levels = f"look at these alone: {', '.join(Level)} (default: all; commas between, or repeat)"
    add_words_option(parser, "--level", Level, levels)
    clients = f"install with these: {', '.join(Client)} (default: rattler, and those on PATH)"
    add_words_option(parser, "--client", Client, clients)


def verify_options(options: argparse.Namespace) -> VerifyOptions:
    """Take what they say."""
    return VerifyOptions(
        levels=frozenset(options.level or Level),
        clients=None if options.client is None else tuple(dict.fromkeys(options.client)),
    )


def verify(
    workspace: Workspace,
    selection: Selection,
    options: VerifyOptions,
    console: Console,
    *,
    users: ChannelUsers | None = None,
) -> Report:
    """Look at all levels, whatever the others found; the report holds every finding.

    The channel folder is not written to, and no digest believed that `fetch` knows; written are the
    reports asked for, what damage is found, and proofs, where it remembers them. `users` None: the
    selection is all that is named. Raises the error of exit code 4 where a program asked for is
    missing.
    """
    refuse_no_folder(workspace)
    users = users or read_users_of(workspace, selection)
    selection = fill_from_index(workspace.place.folder, selection, users.named_by_others())
    _warn_of_tokens(workspace, selection, console)
    for each in options.reports:
        refuse_output_within(workspace.place, each, "into which verify writes nothing", "--report")
    results = _look(workspace, selection, options, users, console)
    if not options.reports:
        return make_report(results)
    from scripts.verify.transfer_report import write_reports

    return write_reports(results, workspace, options.reports)


def _warn_of_tokens(workspace: Workspace, selection: Selection, console: Console) -> None:
    """Say, before the disk leaves, that conda will not find the channel where it lies now."""
    folder = workspace.place.folder
    for channel in (folder, *(folder / each for each in selection.channels)):
        if is_cut_by_conda(channel.as_uri()):
            shown = PurePosixPath(workspace.settings.channel_dir, channel.relative_to(folder))
            console.warn(f"{shown}: {CUT_BY_CONDA}; rename it, or mount the disk elsewhere")
            return


def _look(
    workspace: Workspace,
    selection: Selection,
    options: VerifyOptions,
    users: ChannelUsers,
    console: Console,
) -> Results:
    """Look at one level after the other, and take down how long each took."""
    results: dict[Level, LevelResult] = {}
    seconds: dict[Level, float] = {}
    problems: list[Problem] = []

    def attempt(check: Callable[[], _Result]) -> _Result | None:
        """Return what came of it; None where a program failed that it needs."""
        try:
            return check()
        except MirrorError as error:
            if any(each.code is not ExitCode.PROGRAM for each in error.problems):
                raise
            problems.extend(error.problems)
            return None

    locks = attempt(lambda: without_outdated_manifests(selection.locks)) or selection.locks
    selection = replace(selection, locks=locks)
    with _proofs(workspace, options) as proofs:
        account = classify_files(workspace.place.folder, selection, users, console, is_strict=True)
        look = partial(_checks, workspace, selection, options, account, results, users=users)
        for level, note, check in look(console=console, proofs=proofs):
            if note:
                console.note(f"verify: {note}{', but for what is proven' if proofs else ''}")
            start = perf_counter()
            result = attempt(check)
            seconds[level] = perf_counter() - start
            if result is not None:
                results[level] = result
                problems += result.environment_problems
    offered = None
    if account.retained:
        from scripts.verify.solve import find_still_offered

        offered = attempt(partial(find_still_offered, selection, account.retained))
    unbuildable, own = _unbuildable(workspace, selection, account)
    return Results(
        selection=selection,
        levels=options.levels,
        allowed=workspace.settings.allow_incomplete,
        results=results,
        findings=(
            *incomplete(selection, workspace.settings.allow_incomplete),
            *unbuildable,
            *(untracked(each.path, each.size) for each in account.untracked if options.strict),
            *(with_help_left(x, results, selection) for y in results.values() for x in y.findings),
        ),
        environment_problems=tuple(dict.fromkeys(problems)),
        account=account,
        still_offered=offered or (),
        more_lines=(*users.lines(), *own),
        seconds=seconds,
        not_looked_at=options.not_looked_at,
    )


def _unbuildable(
    workspace: Workspace, selection: Selection, account: ChannelFiles
) -> tuple[Iterator[Finding], Iterator[str]]:
    """Find what of PyPI cannot be built over there, and say what of the project's own."""
    from scripts.verify.pypi_builds import find_unbuildable

    is_allowed = IncompleteKind.BUILD_REQUIRES in workspace.settings.allow_incomplete
    found = () if is_allowed else (*find_unbuildable(workspace, selection, account),)
    own = ((at, f"{x.subject} needs {what}") for alone, what, x, at in found if alone is None)
    mirrored = ((x, at) for alone, _, x, at in found if alone is False)
    return grouped(None, mirrored), said_of(_OWN, own, "; ")


def _proofs(workspace: Workspace, options: VerifyOptions) -> Proofs:
    if not options.remembers:
        return NO_PROOFS
    with contextlib.suppress(OSError):  # whoever makes no scratch clears none either
        clear_scratch(temporary_folder())
    return Proofs(workspace.place.proofs, workspace.settings.proof_max_age)


def _checks(
    workspace: Workspace,
    selection: Selection,
    options: VerifyOptions,
    account: ChannelFiles,
    results: Mapping[Level, LevelResult],
    *,
    users: ChannelUsers,
    console: Console,
    proofs: Proofs,
) -> Iterator[tuple[Level, str, Callable[[], LevelResult]]]:
    """Yield each level that is to be looked at, what to say of it before, and what looks at it.

    A level brings its own modules, where it is looked at. `results` are those of the levels before.
    """
    uses, folder, artifacts = UsageIndex(selection), workspace.place.folder, selection.artifacts
    if Level.INSTALL in options.levels:  # before all else: one that is missing ends the run at once
        from scripts.verify.install.stage import check_install, find_programs

        with_pypi = bool(selection.pypi_artifacts)
        programs = find_programs(options.clients, os.environ, with_pypi=with_pypi)
    if Level.FILES in options.levels:
        mine = replace(account, retained=(), others=()) if options.not_looked_at else account
        count = len(artifacts) + len(mine.retained) + len(mine.others)
        check = partial(
            check_files,
            *(folder, artifacts, uses),
            allow_unhashed=workspace.settings.allow_unhashed,
            proofs=proofs,
            retained=mine.retained,
            others=mine.others,
        )
        yield Level.FILES, f"reading {counted(count, 'artifact')}", check
    if Level.ARCHIVES in options.levels:
        files, allowed = results.get(Level.FILES), workspace.settings.allow_incomplete
        check = partial(check_archives, folder, artifacts, uses, files, proofs, allowed=allowed)
        yield Level.ARCHIVES, f"opening {counted(len(artifacts), 'artifact')}", check
    if Level.INDEX in options.levels:
        from scripts.verify.index import check_index

        waiting = {x.path for x in waiting_whoever_names_it(folder, users)}
        kept = (*account.retained, *account.others)
        check = partial(check_index, workspace.place, selection, uses, waiting, proofs, kept=kept)
        yield Level.INDEX, "comparing the index with pixi.lock", check
    if Level.CLOSURE in options.levels:
        from scripts.verify.closure import check_closure

        check = partial(check_closure, workspace, selection, uses, proofs)
        yield Level.CLOSURE, "closing every environment", check
    if Level.SOLVE in options.levels:
        from scripts.verify.solve import check_solve

        unlocked = {each.path for each in account.retained}
        check = partial(check_solve, workspace, selection, unlocked, proofs)
        yield Level.SOLVE, "solving from the channel alone", check
    if Level.INSTALL in options.levels:
        check = partial(
            check_install, workspace, selection, programs, console, account, proofs=proofs
        )
        yield Level.INSTALL, "", check
