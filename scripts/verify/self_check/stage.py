"""Break a copy of the channel in eleven ways, in six more of PyPI, and see whether verify notices.

A verification that cannot fail proves nothing. Each mutation is shown to the level that is to see
it, through the stage `verify` itself, on the few files that it concerns: first whole, when nothing
may be found, then broken, when the broken file must be named.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.channel.digest_cache import Fingerprint
from scripts.channel.folders import refuse_no_folder
from scripts.channel.inventory import files_below
from scripts.core.artifact import Artifact, ArtifactKind
from scripts.core.channel_paths import ChannelPaths
from scripts.core.console import Console, Verbosity
from scripts.core.errors import Problem, finding_problem, usage_error
from scripts.core.files import disk_errors, hash_file
from scripts.core.rattler_child import this_subdir
from scripts.core.report import Report
from scripts.lock.select import Selection
from scripts.verify.findings import MARKS, Client, Level
from scripts.verify.self_check.mutations import (
    MUTATIONS,
    Candidates,
    Copy,
    Mutation,
    NotApplicable,
    Scope,
    narrowed,
)
from scripts.verify.self_check.pypi_mutations import PYPI_MUTATIONS
from scripts.verify.stage import VerifyOptions, verify
from scripts.workspace.workspace import Workspace

_SHOWN: Final = 5  # findings that a problem tells
_WRITABLE: Final = "set channel-dir to a folder beside which you may write"


def self_check(workspace: Workspace, selection: Selection, console: Console) -> Report:
    """Break copies, one after the other, in the folder of working state.

    The channel itself is compared before and after. Raises the error of exit code 2 where there
    is nothing to break. The caller holds the channel's lock file: nobody else may change it now.
    """
    scratch, folder = workspace.place.self_check, workspace.place.folder
    sizes = _sizes(workspace, selection)
    wheels = {x: size for x, size in sizes.items() if x.kind is ArtifactKind.WHEEL}
    candidates = Candidates(
        workspace=workspace,
        selection=selection,
        sizes={x: size for x, size in sizes.items() if x.is_conda},
        subdir=this_subdir(),
        wheels=wheels,
    )
    console.note("self-check: reading the channel, to compare it afterwards")
    before = _read_state(folder)
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    try:
        for mutation in (*MUTATIONS, *(PYPI_MUTATIONS if wheels else ())):
            row: dict[str, Any] = {"way": mutation.title, "level": mutation.level.value}
            row |= {"noticed": None, "named": None, "reason": None}
            try:
                scope = mutation.choose(candidates)
            except NotApplicable as error:
                row["reason"] = str(error)
            else:
                shutil.rmtree(scratch, ignore_errors=True)  # of the last one, or a killed run
                console.note(f"self-check: {mutation.title} ({mutation.level})")
                found = _try(workspace, selection, mutation, scope)
                row |= {"noticed": not found, "named": str(scope.named)}
                problems += found
            rows.append(row)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    after = _read_state(folder)
    paths = sorted(before.keys() | after.keys())
    changed = [str(each) for each in paths if before.get(each) != after.get(each)]
    message = "this file of the channel itself changed during the self-check"
    problems += [finding_problem(x, message, help="pixi run verify") for x in changed]
    return Report(
        lines=tuple(_lines(rows, len(before), is_same=not changed)),
        data={"self-check": rows, "changed": changed},
        problems=tuple(problems),
    )


def _read_state(folder: Path) -> Mapping[PurePosixPath, tuple[Fingerprint, str]]:
    """Read all files of a channel: what they look like, and their sha256.

    A time of change alone can be set back.
    """
    found = {x: Fingerprint.of(y) for x, y in files_below(folder) if stat.S_ISREG(y.st_mode)}
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        digests = pool.map(lambda path: hash_file(folder / path, "sha256"), found)
        return {path: (found[path], each) for path, each in zip(found, digests, strict=True)}


def _sizes(workspace: Workspace, selection: Selection) -> dict[Artifact, int]:
    """Return the artifacts that are there, with their size in bytes, the smallest first.

    One that is missing or empty is for verify to find.
    """
    folder, subject = workspace.place.folder, workspace.settings.channel_dir
    refuse_no_folder(workspace)
    files = {each: folder / each.path for each in selection.artifacts}
    sizes = {each: file.stat().st_size for each, file in files.items() if file.is_file()}
    found = sorted((size, each.path, each) for each, size in sizes.items() if size)
    if all(not each.is_conda for _, _, each in found):
        message = "holds no artifact of pixi.lock, so there is nothing to break"
        raise usage_error(subject, message, help="pixi run mirror")
    return {each: size for size, _, each in found}


def _try(
    workspace: Workspace, selection: Selection, mutation: Mutation, scope: Scope
) -> list[Problem]:
    """Show a level what it is to look at, whole and then broken; nothing: it noticed."""
    scratch, level = workspace.place.self_check, mutation.level
    copy = Copy(source=workspace.place.folder, folder=scratch / "channel")
    place = ChannelPaths(folder=copy.folder, root=scratch / "state")
    copied = dataclasses.replace(workspace, place=place)
    shown = narrowed(selection, scope)
    options = VerifyOptions(levels=frozenset({level}), clients=(Client.RATTLER,))

    def look() -> tuple[Problem, ...]:
        return verify(copied, shown, options, Console(verbosity=Verbosity.QUIET)).problems

    with disk_errors(scratch, _WRITABLE, "written"):
        index = () if level in {Level.FILES, Level.ARCHIVES} else scope.subdirs
        copy.take((each.path for each in scope.artifacts), index)
    found = look()
    message = f"cannot be broken to see whether {level} notices: it finds fault already"
    help_ = f"pixi run verify --level {level}"
    if not found:
        with disk_errors(scratch, _WRITABLE, "written"):
            mutation.damage(copy, scope)
        found = look()
        if any(_is_named(each, scope) for each in found):
            return []
        message = f"{mutation.title}, in a copy of the channel, and {level} did not name it"
        help_ = "do not rely on this level; report this as a bug of pixi-mirror"
    said = [f"{each.subject}: {each.message}" for each in found[:_SHOWN]] or ["nothing"]
    return [
        finding_problem(scope.named, message, *tuple(("finds", each) for each in said), help=help_)
    ]


def _is_named(problem: Problem, scope: Scope) -> bool:
    """Tell whether a finding names the broken file, or what stands for it."""
    if problem.subject == str(scope.named):
        return True
    return scope.marker is not None and any(scope.marker in text for _, text in problem.details)


def _lines(rows: Sequence[Mapping[str, Any]], files: int, *, is_same: bool) -> Iterator[str]:
    """Say what came of each, in columns: `self-check  artifact cut  files ✓ noarch/lib.conda`."""
    title, level = (max(len(row[key]) for row in rows) for key in ("way", "level"))
    for row in rows:
        what = f"{row['way'].ljust(title)}  {row['level'].ljust(level)}"
        yield f"self-check  {what} {MARKS[row['noticed']]} {row['named'] or row['reason']}"
    if is_same:
        tried = [row["noticed"] for row in rows if row["noticed"] is not None]
        closing = f"self-check: {sum(tried)} of {len(tried)} noticed"
        if len(tried) < len(rows):
            closing += f", {len(rows) - len(tried)} not possible in this channel"
        yield f"{closing}; the channel itself is as it was, every byte of its {files} files"
