"""Break a copy of the channel in eleven ways and see whether verify notices.

A verification that cannot fail proves nothing. Each mutation is shown to the level that is to see
it, through the stage `verify` itself, on the few files that it concerns: first whole, when nothing
may be found, then broken, when the broken file must be named.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPlace
from scripts.core.console import Console, Verbosity
from scripts.core.errors import ExitCode, Problem, usage_error
from scripts.core.report import Json, Report
from scripts.lock.select import Selection
from scripts.verify.findings import Client
from scripts.verify.install.rattler import this_subdir
from scripts.verify.self_check.copy import Copy, read_state
from scripts.verify.self_check.mutations import MUTATIONS, Candidates, Mutation, Scope, narrowed
from scripts.verify.stage import VerifyOptions, verify
from scripts.workspace.workspace import Workspace

_SHOWN: Final = 5  # findings that a problem tells
_MARKS: Final = {True: "✓", False: "✗"}

# A mutation, what is broken or why nothing can be, and what is wrong if it was not noticed.
_Outcome = tuple[Mutation, Scope | str, Problem | None]


def self_check(workspace: Workspace, selection: Selection, console: Console) -> Report:
    """Break copies, one after the other, in the folder of working state.

    The channel itself is compared before and after. Raises the error of exit code 2 where there
    is nothing to break. The caller holds the channel's lock file: nobody else may change it now.
    """
    scratch, folder = workspace.place.self_check, workspace.place.folder
    candidates = Candidates(
        workspace=workspace,
        selection=selection,
        sizes=_sizes(workspace, selection),
        subdir=this_subdir(),
    )
    console.note("self-check: reading the channel, to compare it afterwards")
    before = read_state(folder)
    outcomes: list[_Outcome] = []
    try:
        for mutation in MUTATIONS:
            scope = mutation.choose(candidates)
            problem = None
            if isinstance(scope, Scope):
                shutil.rmtree(scratch, ignore_errors=True)  # of the last one, or a killed run
                console.note(f"self-check: {mutation.title} ({mutation.level})")
                problem = _try(workspace, selection, mutation, scope)
            outcomes.append((mutation, scope, problem))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    after = read_state(folder)
    paths = sorted(before.keys() | after.keys())
    changed = [str(each) for each in paths if before.get(each) != after.get(each)]
    return _report(outcomes, changed, len(before))


def _sizes(workspace: Workspace, selection: Selection) -> dict[Artifact, int]:
    """Return the artifacts that are there, with their size in bytes, the smallest first.

    One that is missing or empty is for verify to find.
    """
    folder, subject = workspace.place.folder, workspace.settings.channel_dir
    if not folder.is_dir():
        raise usage_error(subject, "there is no such channel folder", help="pixi run mirror")
    files = {each: folder / each.path for each in selection.artifacts}
    sizes = {each: file.stat().st_size for each, file in files.items() if file.is_file()}
    found = sorted((size, each.path, each) for each, size in sizes.items() if size)
    if not found:
        raise usage_error(
            subject,
            "holds no artifact of pixi.lock, so there is nothing to break",
            help="pixi run mirror",
        )
    return {each: size for size, _, each in found}


def _try(
    workspace: Workspace, selection: Selection, mutation: Mutation, scope: Scope
) -> Problem | None:
    """Show a level what it is to look at, whole and then broken; None: it noticed."""
    scratch, level = workspace.place.self_check, mutation.level
    copy = Copy(source=workspace.place.folder, folder=scratch / "channel")
    with _copying(scratch):
        copy.take((each.path for each in scope.artifacts), scope.subdirs)
    place = ChannelPlace(folder=copy.folder, root=scratch / "state")
    copied = dataclasses.replace(workspace, place=place)
    shown = narrowed(selection, scope)
    found = _look(copied, shown, mutation)
    if found:
        return Problem(
            subject=str(scope.named),
            message=f"cannot be broken to see whether {level} notices: it finds fault already",
            code=ExitCode.FINDINGS,
            details=_facts(found),
            help=f"pixi run verify --level {level}",
        )
    with _copying(scratch):
        mutation.damage(copy, scope)
    found = _look(copied, shown, mutation)
    if any(_is_named(each, scope) for each in found):
        return None
    return Problem(
        subject=str(scope.named),
        message=f"{mutation.title}, in a copy of the channel, and {level} did not name it",
        code=ExitCode.FINDINGS,
        details=_facts(found) or (("finds", "nothing"),),
        help="do not rely on this level; report this as a bug of pixi-mirror",
    )


@contextlib.contextmanager
def _copying(scratch: Path) -> Iterator[None]:
    """Make a sentence of a disk that is full or may not be written to."""
    try:
        yield
    except OSError as error:
        raise usage_error(
            str(scratch),
            f"no copy of the channel can be made here: {error.strerror}",
            help="set channel-dir to a folder beside which you may write",
        ) from None


def _look(workspace: Workspace, selection: Selection, mutation: Mutation) -> tuple[Problem, ...]:
    options = VerifyOptions(levels=frozenset({mutation.level}), clients=(Client.RATTLER,))
    return verify(workspace, selection, options, Console(verbosity=Verbosity.QUIET)).problems


def _is_named(problem: Problem, scope: Scope) -> bool:
    """Tell whether a finding names the broken file, or what stands for it."""
    if problem.subject == str(scope.named):
        return True
    return scope.marker is not None and any(scope.marker in text for _, text in problem.details)


def _facts(found: Sequence[Problem]) -> tuple[tuple[str, str], ...]:
    return tuple(("finds", f"{each.subject}: {each.message}") for each in found[:_SHOWN])


def _report(outcomes: Sequence[_Outcome], changed: Sequence[str], files: int) -> Report:
    """Say what came of each, in columns: `self-check  artifact cut  files ✓ noarch/lib.conda`."""
    title = max(len(each.title) for each in MUTATIONS)
    level = max(len(each.level) for each in MUTATIONS)
    lines, rows = [], []
    for mutation, scope, problem in outcomes:
        start = f"self-check  {mutation.title.ljust(title)}  {mutation.level.ljust(level)}"
        row: dict[str, Json] = {"way": mutation.title, "level": mutation.level.value}
        if isinstance(scope, str):
            lines.append(f"{start} – {scope}")  # noqa: RUF001
            rows.append({**row, "noticed": None, "named": None, "reason": scope})
        else:
            noticed, named = problem is None, str(scope.named)
            lines.append(f"{start} {_MARKS[noticed]} {named}")
            rows.append({**row, "noticed": noticed, "named": named, "reason": None})
    problems = [problem for _, _, problem in outcomes if problem is not None]
    problems += [
        Problem(
            subject=path,
            message="this file of the channel itself changed during the self-check",
            code=ExitCode.FINDINGS,
            help="pixi run verify",
        )
        for path in changed
    ]
    tried = sum(isinstance(scope, Scope) for _, scope, _ in outcomes)
    noticed_count = sum(row["noticed"] is True for row in rows)
    closing = f"self-check: {noticed_count} of {tried} noticed"
    if tried < len(outcomes):
        closing += f", {len(outcomes) - tried} not possible in this channel"
    closing += f"; the channel itself is as it was, every byte of its {files} files"
    return Report(
        lines=(*lines, *(() if changed else (closing,))),
        data={"self-check": rows, "changed": list(changed)},
        problems=tuple(problems),
    )
