"""The stage `verify`: prove that the channel holds what the lock names. Acts. Only looks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from scripts.core.console import Console
from scripts.core.errors import usage_error
from scripts.core.report import Report
from scripts.index.leftovers import find_leftovers
from scripts.lock.select import Selection
from scripts.manifest.workspace import Workspace
from scripts.verify.attempt import InstallResult, Programs
from scripts.verify.complete import incomplete
from scripts.verify.files import check_files
from scripts.verify.findings import Client, FilesResult, Finding, Level, uses_of
from scripts.verify.report import Results, make_report


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """How deep to look, and what installs; `clients` None: py-rattler and what else is there."""

    levels: frozenset[Level] = frozenset(Level)
    clients: tuple[Client, ...] | None = None


def verify(
    workspace: Workspace, selection: Selection, options: VerifyOptions, console: Console
) -> Report:
    """Look at all levels, whatever the others found; the report holds every finding.

    Neither the channel folder nor the working state is written to, and no known digest believed.
    Raises the error of exit code 4 where a program asked for is missing.
    """
    folder, settings = workspace.place.folder, workspace.settings
    if not folder.is_dir():
        raise usage_error(
            settings.channel_dir, "there is no such channel folder", help="pixi run mirror"
        )
    programs = _programs(options)
    uses = uses_of(selection)
    findings: list[Finding] = list(incomplete(selection, settings.allow_incomplete))
    files: FilesResult | None = None
    install: InstallResult | None = None
    if Level.FILES in options.levels:
        console.note(f"verify: reading {len(selection.artifacts)} artifacts")
        files = check_files(
            folder, selection.artifacts, uses, allow_unhashed=settings.allow_unhashed
        )
        findings += files.findings
    if Level.INDEX in options.levels:
        console.note("verify: comparing the index with pixi.lock")
        from scripts.verify.index_level import check_index

        findings += check_index(workspace.place, selection, uses)
    if programs is not None:
        from scripts.verify.install import check_install

        install = check_install(workspace, selection, programs, console)
        findings += [
            Finding(
                level=Level.INSTALL,
                problem=problem,
                places=frozenset({attempt.installation.place}),
            )
            for attempt in install.attempts
            for problem in attempt.problems
        ]
    return make_report(
        Results(
            selection=selection,
            levels=options.levels,
            allowed=settings.allow_incomplete,
            findings=tuple(findings),
            files=files,
            install=install,
            leftovers=find_leftovers(workspace.place, selection, console),
        )
    )


def _programs(options: VerifyOptions) -> Programs | None:
    """Find what installs, before anything else: one that is missing ends the run at once."""
    if Level.INSTALL not in options.levels:
        return None
    from scripts.verify.install import find_programs  # reading bytes alone does without

    return find_programs(options.clients, os.environ)
