"""Remove what the index names and no workspace does: index first, then files.

What any workspace of the state names stays, whatever its environment or platform. Untracked files
are listed, and left alone.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from scripts.channel.locks import read_locks
from scripts.channel.removals import is_due, names_others, now, remove, still_waiting
from scripts.channel.selection import read_whole_selection
from scripts.channel.state import (
    Removal,
    forget_workspace,
    read_channel_state,
    read_state,
    write_channel,
)
from scripts.channel.users import ChannelUsers, read_users
from scripts.core.console import Console
from scripts.core.errors import (
    MirrorError,
    Problem,
    raise_problems,
    usage_error,
    usage_problem,
)
from scripts.core.files import exists, remove_folder
from scripts.core.report import (
    Json,
    Line,
    Report,
    counted,
    counted_files,
    human_size,
    join_reports,
    named,
)
from scripts.index.file_classes import (
    ChannelFile,
    ChannelFiles,
    classify_files,
    file_rows,
    is_artifact_path,
    read_channels,
    refuse_links,
    waiting_files,
)
from scripts.index.stage import index
from scripts.keep.prune_plan import (
    PrunePlan,
    apply_command,
    read_preconditions,
    refuse_moved,
    refuse_undue,
    write_plan,
)
from scripts.keep.published import moved_problems
from scripts.keep.retention import freed_bytes, held_by_trees, prune_trees, statuses
from scripts.keep.rollback import undone_rollback
from scripts.keep.snapshots import newest_snapshot, read_snapshot_files
from scripts.lock.mirrored import MirroredLock
from scripts.workspace.workspace import Workspace

_BEHIND: Final = (
    "what a workspace has locked waits for its removal, as after a rollback, and it may use what"
    " would go instead"
)
_CATCHES_UP: Final = "`pixi run mirror` in each that shares it: it moves the channel on to its lock"
_File = TypeVar("_File", bound=ChannelFile | Removal)


def prune(
    workspace: Workspace,
    locks: Sequence[MirroredLock],
    console: Console,
    *,
    dry_run: bool = False,
    at_once: bool = False,
    drop: Sequence[PurePosixPath] = (),
    approved: PrunePlan | None = None,
) -> Report:
    """Drop the retained artifacts from the index, and remove what has waited for long enough.

    `dry_run`: only say what would be done; `at_once`: do not wait; `drop` these alone; of what
    would go just what is `approved`. Killed at any moment, the next run goes on. Raises the error
    of exit code 2 where other workspaces than those known may need what would go, of 1 where a run
    was stopped that no index may end. Of a channel that came out of a bundle nothing is dropped.
    """
    place, grace = workspace.place, workspace.settings.grace
    users, selection = read_users(workspace, locks), read_whole_selection(workspace, locks)
    refuse_links(place.folder, read_channels(place.folder, selection))
    files = classify_files(place.folder, selection, users, console)
    dropped = _approved(_asked_for(files, users, drop), approved.dropped if approved else None)
    _refuse_unknown_users(workspace, users, files, dropped)
    problems, when = tuple[Problem, ...](), now()
    dropped, is_indexing = _plan_index(workspace, locks, console, files, dropped, drop=drop)
    # An index is of the present locks: what only those of before name waits like all else then.
    known = replace(users, last=None) if is_indexing and at_once else users
    if is_indexing:
        make_index = partial(index, workspace, selection, console, users=users, dry_run=dry_run)
        problems = make_index(dropping=[each.path for each in dropped]).problems
        when = now()
    state = read_state(place)
    waiting = waiting_files(place.folder, replace(known, state=state))
    removed = tuple(each for each in waiting if at_once or is_due(each, grace, when))
    fresh = _stale_index(files.waiting, waiting if at_once else ())
    removed = _approved(removed, approved.removed | fresh if approved else None)
    going = [x.path for x in removed] + [x.path for x in dropped if dry_run and at_once]
    # Of the index that is made comes a snapshot.
    held = held_by_trees(workspace, going, files, coming=is_indexing)
    trees = prune_trees(workspace, removing=going, coming=is_indexing, dry_run=True)
    room = freed_bytes(statuses(place.folder / each for each in going))
    if dry_run:
        removed = _there(place.folder, removed)
    elif removed:
        # What a lock names stays on the list after a rollback: the lock may go back, too.
        listed = still_waiting(place.folder, state.removals, frozenset())
        removed = remove(place, removed, frozenset(listed).difference(removed))
    report = _report(
        replace(files, waiting=_there(place.folder, waiting)),
        users,
        dropped=dropped,
        removed=removed,
        dry_run=dry_run,
        at_once=at_once,
        room=room,
        held=held,
        is_all=not trees.lines,
    )
    # The trees themselves go after the snapshot.
    return join_reports(report, trees if dry_run else Report(problems=problems))


def _there(folder: Path, waiting: Iterable[Removal]) -> tuple[Removal, ...]:
    """Choose those whose file is there; of a killed run it may be gone, and its folder not yet."""
    return tuple(each for each in waiting if os.path.lexists(folder / each.path))


def _stale_index(before: Iterable[Removal], waiting: Iterable[Removal]) -> frozenset[str]:
    """Name the index files that wait since this run: they name what a plan removes at once."""
    known = {each.path for each in before}
    new = (each.path for each in waiting if each.path not in known)
    return frozenset(str(path) for path in new if names_others(path))


def _plan_index(
    workspace: Workspace,
    locks: Sequence[MirroredLock],
    console: Console,
    files: ChannelFiles,
    dropped: tuple[ChannelFile, ...],
    *,
    drop: Sequence[PurePosixPath],
) -> tuple[tuple[ChannelFile, ...], bool]:
    """Tell what of this is dropped, and whether an index is made: for that, or to end another run.

    After a rollback or an unbundle none is, and nothing is dropped: that is warned of, or the error
    of exit code 2 where the user asks to `drop`. Raises that of 1 where a run was stopped as it
    published, which no index may end: a snapshot would be of what is half published.
    """
    place, unbundled, moved = workspace.place, _unbundled(workspace), tuple[Problem, ...]()
    if (newest := newest_snapshot(place)) is not None:
        moved = moved_problems(place, newest, read_snapshot_files(place, newest), console)
    was_killed = bool(moved or (newest is None and files.index))  # before its first snapshot
    was_killed |= any(each.dropped is None for each in files.waiting)
    if dropped or (was_killed and unbundled is None):
        problem = unbundled or undone_rollback(workspace, locks)
        if dropped and problem is None and files.is_behind and not moved:
            problem = usage_problem(workspace.settings.channel_dir, _BEHIND, help=_CATCHES_UP)
        if problem is None:
            return dropped, True
        if drop or not dropped:
            raise MirrorError(problem)
        console.warn(f"{problem.subject}: {problem.message}; so the index stays as it is")
        console.note(f"help: {problem.help}")
    raise_problems(moved)
    return (), False


def _unbundled(workspace: Workspace) -> Problem | None:
    """Return the problem where the channel came out of a bundle: no lock here tells what goes."""
    if not exists(workspace.place.unbundled):
        return None
    return usage_problem(
        workspace.settings.channel_dir,
        "came out of a bundle, and what goes is decided where that was made",
        help="on the builder: pixi run prune; its next bundle removes here what it has dropped (how"
        " this becomes the builder: docs/layouts.md)",
    )


def read_for_prune(
    workspace: Workspace, console: Console
) -> tuple[Workspace, tuple[MirroredLock, ...]]:
    """Read the locks; a channel that came out of a bundle needs none, and has its own layout."""
    # first of all: of a state that one may not look into nothing else would be true
    layout = read_channel_state(workspace.place).layout or workspace.settings.layout
    if _unbundled(workspace) is not None:
        workspace = replace(workspace, settings=replace(workspace.settings, layout=layout))
        if not (workspace.settings.locks or os.path.lexists(workspace.lock_path)):
            return workspace, ()
    return workspace, read_locks(workspace, console)


def preview_prune(
    workspace: Workspace,
    locks: Sequence[MirroredLock],
    console: Console,
    output: Path | None,
    *,
    at_once: bool,
    drop: Sequence[PurePosixPath],
    words: Sequence[str],
) -> Report:
    """Say what would be done, and write it to `output` as a plan, to be approved and applied.

    `words` are those behind the task.
    """
    preview = partial(prune, workspace, locks, console, dry_run=True, at_once=at_once, drop=drop)
    if output is None:
        return preview()
    seen = read_preconditions(workspace.place, read_users(workspace, locks))
    report = preview()
    write_plan(output, workspace, report.data, seen, at_once=at_once, drop=drop)
    line = f"plan: {output}; `{apply_command(output, words)}` does just that"
    return join_reports(report, Report(lines=(line,), data={"plan": str(output)}))


def refuse_plan(
    workspace: Workspace,
    locks: Sequence[MirroredLock],
    console: Console,
    file: Path,
    plan: PrunePlan,
) -> None:
    """Raise the error of exit code 2 where a plan is not what would be done now."""
    refuse_moved(file, plan, read_preconditions(workspace.place, read_users(workspace, locks)))
    at_once, drop = plan.at_once, plan.drop
    now = prune(workspace, locks, console, dry_run=True, at_once=at_once, drop=drop)
    refuse_undue(file, plan, now.data)


def adopt(workspace: Workspace, locks: Sequence[MirroredLock], console: Console) -> Report:
    """Take all that the index names for this workspace's alone, and list what no lock names.

    Raises the error of exit code 2 where the channel came out of a bundle.
    """
    if (problem := _unbundled(workspace)) is not None:
        raise MirrorError(problem)
    users, selection = read_users(workspace, locks), read_whole_selection(workspace, locks)
    files = classify_files(workspace.place.folder, selection, users, console)
    layout = users.state.layout or selection.layout
    for lost in filter(exists, users.state.lost):
        remove_folder(lost)
    write_channel(workspace.place, replace(users.state, layout=layout, is_adopted=True, lost=()))
    now_retained = [f"  now retained, so that `prune` removes it: {x.path}" for x in files.retained]
    return Report(
        lines=(
            f"adopted: {workspace.settings.channel_dir} is shared with no unknown workspace",
            tuple(now_retained),
            *users.lines(),
        ),
        data={"adopted": [str(each.path) for each in files.retained]},
    )


def forget(workspace: Workspace, name: str) -> Report:
    """Drop a workspace from the state: what it alone names may be pruned from now on.

    Raises the error of exit code 2 where there is none, or several, of this name.
    """
    state = read_state(workspace.place)
    named = [each for each in state.workspaces if name in {each.name, str(each.manifest)}]
    found = [each for each in named if each.is_gone] if len(named) > 1 else named
    if not found:
        message, help_line = "no workspace of this name shares the channel", None
        if named:
            message = "several workspaces of this name share the channel, and all are still there"
            help_line = "pixi run prune --forget PATH-OF-MANIFEST"
        details = (("known", str(each)) for each in state.workspaces)
        raise usage_error(name, message, *details, help=help_line)
    if [each.manifest for each in found] == [workspace.manifest_path]:
        raise usage_error(name, "is this workspace itself", help="forget it from another one")
    for each in found:
        forget_workspace(workspace.place, each)
    return Report(
        lines=tuple(f"forgotten: {each}" for each in found),
        data={"forgotten": [str(each.manifest) for each in found]},
    )


def _approved(files: tuple[_File, ...], paths: Collection[str] | None) -> tuple[_File, ...]:
    """Choose the files at these paths; None: all."""
    return tuple(each for each in files if paths is None or str(each.path) in paths)


def _asked_for(
    files: ChannelFiles, users: ChannelUsers, drop: Sequence[PurePosixPath]
) -> tuple[ChannelFile, ...]:
    """Choose what was asked for by name, else all that is retained."""
    if not drop:
        return files.retained
    there = {each.path: each for each in (*files.retained, *files.untracked)}
    for path in drop:
        by_user = ((each, one) for one in users.everybody for each in one.artifacts)
        user = next((one for each, one in by_user if each.path == path), None)
        if user is not None:
            message, fact = "is named by a workspace", ("workspace", str(user))
            where = ", in that workspace" if user in users.others else ""
            raise usage_error(str(path), message, fact, help=f"pixi run fetch{where}")
        if path not in there or not is_artifact_path(path):
            message = "no such artifact in the channel folder that no workspace names"
            raise usage_error(str(path), message, help="pixi run prune --dry-run")
    return tuple(there[path] for path in dict.fromkeys(drop))


def _refuse_unknown_users(
    workspace: Workspace,
    users: ChannelUsers,
    files: ChannelFiles,
    dropped: Sequence[ChannelFile],
) -> None:
    """Refuse to drop anything where workspaces of which nothing is known may need it."""
    lost = users.state.lost
    is_known = users.state.is_adopted and not lost
    if dropped and not is_known and _unbundled(workspace) is None:  # else that is the reason
        reason = (
            "the state of a workspace is lost" if lost else "its state is younger than its index"
        )
        raise usage_error(
            workspace.settings.channel_dir,
            f"{reason}, so other workspaces may need what would go",
            *(("lost", str(each)) for each in lost),
            ("not named here", counted(len(files.retained), "artifact")),
            help="pixi run mirror, in each workspace that shares it; then `pixi run prune --adopt`",
        )


def _report(
    files: ChannelFiles,
    users: ChannelUsers,
    *,
    dropped: Sequence[ChannelFile],
    removed: Sequence[Removal],
    dry_run: bool,
    at_once: bool,
    room: int,
    held: tuple[Mapping[PurePosixPath, int], str],
    is_all: bool,
) -> Report:
    """Say what was done, or would be: it frees `room`; `held` by trees; `is_all`: none goes."""
    removes, will = ("would remove", "would be") if dry_run else ("removed", "is to be")
    goes: tuple[ChannelFile | Removal, ...] = (*removed, *(dropped if dry_run and at_once else ()))
    gone, untracked = ({each.path for each in some} for some in (dropped, files.untracked))
    indexed = [each for each in dropped if each.path not in untracked]
    still_held, until = held
    lines: list[Line] = []
    if indexed:
        drops = "would drop" if dry_run else "dropped"
        lines.append(f"{drops} from the index: {counted_files(indexed, 'artifact')}")
        lines.append(tuple(f"  {each.path}" for each in indexed))
    if never := sorted(gone & untracked):
        lines.append(tuple(f"{will} removed, and was never indexed: {path}" for path in never))
    if goes:
        lines.append(f"{removes} {counted(len(goes), 'file')}, {human_size(room)}")
        if still_held:
            what = f"{counted(len(still_held), 'file')}, {human_size(sum(still_held.values()))}"
            lines.append(f"held by snapshots until {until}: {what}")
        if at_once:
            lines.append("clients that are at work now may fail: what their index names is gone")
    if files.waiting and not dry_run:
        lines.append(
            f"waiting for removal: {counted_files(files.waiting)};"
            " `pixi run prune` removes them when no client can need them, `--now` at once"
        )
    if not lines and files.waiting:
        lines.append(f"nothing to prune now: {counted_files(files.waiting)} wait for their removal")
    elif not lines and is_all:
        lines.append("nothing to prune")
    others = [str(path) for path in sorted(untracked - gone)]
    if others:
        lines.append(named("untracked, left alone:", "file", others))
    data: dict[str, Json] = {
        "dropped": file_rows(dropped),
        "removed": file_rows(removed),
        "bytes": room,
        "held": {"files": [*map(str, still_held)], "bytes": sum(still_held.values())},
        "waiting-for-removal": [str(each.path) for each in files.waiting],
        "untracked": others,
        "workspaces": [str(each.manifest) for each in users.others],
    }
    return Report(lines=(*lines, *users.lines()), data=data)
