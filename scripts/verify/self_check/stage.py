"""Break a copy of the channel in eleven ways and see whether verify notices.

A verification that cannot fail proves nothing. Each way is shown to the level that is to see it,
through the stage `verify` itself, on the few files that it concerns: first whole, when nothing may
be found, then broken, when the broken file must be named.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.core.channel_paths import ChannelPlace
from scripts.core.console import Console, Loudness
from scripts.core.errors import ExitCode, Problem, usage_error
from scripts.core.report import Json, Report
from scripts.index.repodata import DamagedIndexError
from scripts.lock.select import Selection
from scripts.verify.findings import Client, Level
from scripts.verify.install.rattler import this_subdir
from scripts.verify.self_check.closure import as_records_say, ways_of_closing
from scripts.verify.self_check.copy import ChannelState, Copy, state_of
from scripts.verify.self_check.files import sizes_of, way_of_archives, ways_of_files, ways_of_noarch
from scripts.verify.self_check.records import ways_of_records
from scripts.verify.self_check.solve import way_of_solving
from scripts.verify.self_check.way import NoWay, Way, narrowed
from scripts.verify.stage import VerifyOptions, verify
from scripts.workspace.workspace import Workspace

_SHOWN = 5  # findings that a problem tells


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What came of one way; None: it was noticed."""

    way: Way
    problem: Problem | None


def self_check(workspace: Workspace, selection: Selection, console: Console) -> Report:
    """Break copies, one after the other, in the folder of working state.

    The channel itself is compared before and after. Raises the error of exit code 2 where there
    is nothing to break. The caller holds the channel's lock file: nobody else may change it now.
    """
    folder, place = workspace.place.folder, workspace.place
    if not folder.is_dir():
        raise usage_error(
            workspace.settings.channel_dir,
            "there is no such channel folder",
            help="pixi run mirror",
        )
    ways = _plan(workspace, selection)
    console.note("self-check: reading the channel, to compare it afterwards")
    before = state_of(folder)
    outcomes: list[_Outcome | NoWay] = []
    try:
        for way in ways:
            shutil.rmtree(place.self_check, ignore_errors=True)  # of the last way, or a killed run
            if isinstance(way, NoWay):
                outcomes.append(way)
                continue
            console.note(f"self-check: {way.title} ({way.level})")
            outcomes.append(_Outcome(way=way, problem=_try(workspace, selection, way)))
    finally:
        shutil.rmtree(place.self_check, ignore_errors=True)
    changed = tuple(before.unlike(state_of(folder)))
    return _report(outcomes, changed, before)


def _plan(workspace: Workspace, selection: Selection) -> tuple[Way | NoWay, ...]:
    folder = workspace.place.folder
    sizes = sizes_of(folder, selection)
    if not sizes:
        raise usage_error(
            workspace.settings.channel_dir,
            "holds no artifact of pixi.lock, so there is nothing to break",
            help="pixi run mirror",
        )
    there = tuple(sizes)
    return (
        *ways_of_files(sizes),
        way_of_archives(sizes),
        *ways_of_records(folder, there, selection),
        *ways_of_closing(selection),
        way_of_solving(workspace, selection, there),
        *ways_of_noarch(there, selection, this_subdir()),
    )


def _try(workspace: Workspace, selection: Selection, way: Way) -> Problem | None:
    """Show a level what it is to look at, whole and then broken; None: it noticed."""
    scratch = workspace.place.self_check
    copy = Copy(source=workspace.place.folder, folder=scratch / "channel")
    with _copying(scratch):
        copy.take(each.path for each in way.scene.artifacts)
        copy.take_folders(way.scene.subdirs)
    place = ChannelPlace(folder=copy.folder, root=scratch / "state")
    copied = dataclasses.replace(workspace, place=place)
    shown = narrowed(selection, way.scene)
    found = _look(copied, copy, shown, way)
    if found:
        return Problem(
            subject=str(way.named),
            trouble=f"cannot be broken to see whether {way.level} notices: it finds fault already",
            code=ExitCode.NO,
            facts=_facts(found),
            help=f"pixi run verify --level {way.level}",
        )
    with _copying(scratch):
        way.damage(copy)
    found = _look(copied, copy, shown, way)
    if any(_names(problem, way) for problem in found):
        return None
    return Problem(
        subject=str(way.named),
        trouble=f"{way.title}, in a copy of the channel, and {way.level} did not name it",
        code=ExitCode.NO,
        facts=_facts(found) or (("finds", "nothing"),),
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


def _look(workspace: Workspace, copy: Copy, selection: Selection, way: Way) -> tuple[Problem, ...]:
    if way.level is Level.CLOSURE:
        try:
            selection = as_records_say(copy, selection)
        except DamagedIndexError as error:
            return error.problems
    options = VerifyOptions(levels=frozenset({way.level}), clients=(Client.RATTLER,))
    return verify(workspace, selection, options, Console(loudness=Loudness.QUIET)).problems


def _names(problem: Problem, way: Way) -> bool:
    """Tell whether a finding names the broken file, or what stands for it."""
    if problem.subject == str(way.named):
        return True
    return way.sign is not None and any(way.sign in text for _, text in problem.facts)


def _facts(found: Sequence[Problem]) -> tuple[tuple[str, str], ...]:
    return tuple(("finds", f"{each.subject}: {each.trouble}") for each in found[:_SHOWN])


def _report(
    outcomes: Sequence[_Outcome | NoWay], changed: tuple[PurePosixPath, ...], state: ChannelState
) -> Report:
    tried = [each for each in outcomes if isinstance(each, _Outcome)]
    noticed = [each for each in tried if each.problem is None]
    problems = [each.problem for each in tried if each.problem is not None]
    problems += [
        Problem(
            subject=str(path),
            trouble="this file of the channel itself changed during the self-check",
            code=ExitCode.NO,
            help="pixi run verify",
        )
        for path in changed
    ]
    closing = f"self-check: {len(noticed)} of {len(tried)} noticed"
    if len(tried) < len(outcomes):
        closing += f", {len(outcomes) - len(tried)} not possible in this channel"
    closing += f"; the channel itself is as it was, every byte of its {len(state.files)} files"
    lines = [*_lines(outcomes), *(() if changed else (closing,))]
    data: dict[str, Json] = {
        "self-check": [_json(each) for each in outcomes],
        "changed": [str(path) for path in changed],
    }
    return Report(lines=tuple(lines), data=data, problems=tuple(problems))


def _lines(outcomes: Sequence[_Outcome | NoWay]) -> Iterator[str]:
    """Yield `self-check  artifact cut  files ✓ noarch/lib-1.0-0.conda`, in columns."""
    ways = [each.way if isinstance(each, _Outcome) else each for each in outcomes]
    title = max(len(each.title) for each in ways)
    level = max(len(each.level) for each in ways)
    for each, way in zip(outcomes, ways, strict=True):
        start = f"self-check  {way.title.ljust(title)}  {way.level.ljust(level)}"
        if isinstance(each, NoWay):
            yield f"{start} – {each.reason}"  # noqa: RUF001
        else:
            yield f"{start} {'✗' if each.problem else '✓'} {each.way.named}"


def _json(outcome: _Outcome | NoWay) -> Json:
    way = outcome.way if isinstance(outcome, _Outcome) else outcome
    return {
        "way": way.title,
        "level": way.level.value,
        "noticed": outcome.problem is None if isinstance(outcome, _Outcome) else None,
        "named": str(outcome.way.named) if isinstance(outcome, _Outcome) else None,
        "reason": outcome.reason if isinstance(outcome, NoWay) else None,
    }
