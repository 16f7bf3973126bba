"""Remove what the index names and no workspace does: index first, then files.

What any workspace of the state names stays, whatever its environment or platform. Untracked files
are listed, and left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from scripts.channel.mirror_state import (
    MirrorState,
    Removal,
    WorkspaceState,
    forget_workspace,
    read_state,
    write_channel,
)
from scripts.channel.owners import Owners, by_settings, read_owners
from scripts.channel.prepare import clear_staging
from scripts.channel.removals import is_due, is_there, now, remove, still_waiting
from scripts.core.console import Console
from scripts.core.errors import MirrorError, Problem, usage_error
from scripts.core.report import Json, Report, human_size
from scripts.index.account import Account, ChannelFile, is_artifact_place, take_account
from scripts.index.stage import counted, index
from scripts.lock.model import LockFile
from scripts.workspace.workspace import Workspace


def prune(
    workspace: Workspace,
    lock: LockFile,
    console: Console,
    *,
    dry_run: bool = False,
    at_once: bool = False,
    drop: Sequence[PurePosixPath] = (),
) -> Report:
    """Drop the retained artifacts from the index, and remove what has waited for long enough.

    `dry_run`: only say what would be done; `at_once`: do not wait; `drop` these alone.
    Killed at any moment, the next run goes on. Raises the error of exit code 2 where other
    workspaces than those known may need what would go.
    """
    place, grace = workspace.place, workspace.settings.grace
    owners = read_owners(workspace, lock)
    selection = by_settings(workspace, lock)
    account = take_account(place, selection, owners, console)
    dropped = _dropped(account, owners, drop)
    if dropped and not owners.state.is_adopted:
        raise _not_adopted(workspace, account)
    gone = {each.path for each in dropped}
    untracked = [each for each in account.untracked if each.path in gone]
    account = replace(
        account, untracked=tuple(each for each in account.untracked if each.path not in gone)
    )
    if dry_run:
        when = now()
        removed = [each for each in account.waiting if at_once or is_due(each, grace, when)]
    else:
        clear_staging(place)  # of a run that was killed
        problems: tuple[Problem, ...] = ()
        if dropped or any(each.dropped is None for each in account.waiting):  # by a killed run
            report = index(workspace, selection, console, owners=owners, dropping=sorted(gone))
            problems = report.problems
        waiting = still_waiting(place.folder, read_state(place).removals, owners.named())
        when = now()
        due = [each for each in waiting if at_once or is_due(each, grace, when)]
        left = [each for each in waiting if each not in due]
        removed = list(remove(place, due, left)) if due else []
        account = replace(
            account, waiting=tuple(each for each in left if is_there(place.folder, each))
        )
    report = _report(
        account,
        owners,
        dropped=[each for each in dropped if each not in untracked],
        untracked=untracked,
        removed=removed,
        dry_run=dry_run,
        at_once=at_once,
    )
    return report if dry_run else replace(report, problems=problems)


def adopt(workspace: Workspace, lock: LockFile, console: Console) -> Report:
    """Take all that the index names for this workspace's alone, and list what no lock names."""
    owners, selection = read_owners(workspace, lock), by_settings(workspace, lock)
    account = take_account(workspace.place, selection, owners, console)
    layout = owners.state.layout or selection.layout
    write_channel(workspace.place, layout, is_adopted=True)
    lines = [f"adopted: {workspace.settings.channel_dir} is shared with no unknown workspace"]
    lines += [
        f"  now retained, so that `prune` removes it: {each.path}" for each in account.retained
    ]
    return Report(
        lines=(*lines, *owners.lines()),
        data={"adopted": [str(each.path) for each in account.retained]},
    )


def forget(workspace: Workspace, name: str) -> Report:
    """Drop a workspace from the state: what it alone names may be pruned from now on.

    Raises the error of exit code 2 where there is none, or several, of this name.
    """
    state = read_state(workspace.place)
    named = [each for each in state.workspaces if name in {each.name, str(each.manifest)}]
    found = [each for each in named if each.is_gone] if len(named) > 1 else named
    if not found:
        raise _unknown(name, state, named)
    if [each.manifest for each in found] == [workspace.manifest_path]:
        raise usage_error(name, "is this workspace itself", help="forget it from another one")
    for each in found:
        forget_workspace(each)
    return Report(
        lines=tuple(f"forgotten: {each}" for each in found),
        data={"forgotten": [str(each.manifest) for each in found]},
    )


def _unknown(name: str, state: MirrorState, named: Sequence[WorkspaceState]) -> MirrorError:
    facts = tuple(("known", str(each)) for each in state.workspaces)
    if named:
        trouble = "several workspaces of this name share the channel, and all are still there"
        return usage_error(name, trouble, *facts, help="pixi run prune --forget PATH-OF-MANIFEST")
    return usage_error(name, "no workspace of this name shares the channel", *facts)


def _dropped(
    account: Account, owners: Owners, drop: Sequence[PurePosixPath]
) -> tuple[ChannelFile, ...]:
    """Choose what goes: all that is retained, or what was asked for by name."""
    if not drop:
        return account.retained
    files = {each.path: each for each in (*account.retained, *account.untracked)}
    found = {}
    for path in drop:
        owner = next((one for one in owners.everybody() if one.names(path)), None)
        if owner is not None:
            raise usage_error(
                str(path),
                "is named by a workspace",
                ("workspace", str(owner)),
                help="pixi run fetch",
            )
        if path not in files or not is_artifact_place(path):
            raise usage_error(
                str(path),
                "no such artifact in the channel folder that no workspace names",
                help="pixi run prune --dry-run",
            )
        found[path] = files[path]
    return tuple(found.values())


def _not_adopted(workspace: Workspace, account: Account) -> MirrorError:
    return usage_error(
        workspace.settings.channel_dir,
        "its state is younger than its index, so other workspaces may need what would go",
        ("not named here", counted(len(account.retained), "artifact")),
        help="pixi run mirror, in each workspace that shares it; then `pixi run prune --adopt`",
    )


def _size(files: Sequence[ChannelFile | Removal]) -> int:
    return sum(each.size for each in files)


def _report(
    account: Account,
    owners: Owners,
    *,
    dropped: Sequence[ChannelFile],
    untracked: Sequence[ChannelFile],
    removed: Sequence[Removal],
    dry_run: bool,
    at_once: bool,
) -> Report:
    """Say what was done, or would be; `untracked` are those that were dropped all the same."""
    goes: list[ChannelFile | Removal] = [*removed, *(dropped if dry_run and at_once else ())]
    goes += untracked if dry_run and at_once else ()
    lines: list[str] = []
    if dropped:
        drop = "would drop" if dry_run else "dropped"
        size = human_size(_size(dropped))
        lines.append(f"{drop} from the index: {counted(len(dropped), 'artifact')}, {size}")
        lines += [f"  {each.path}" for each in dropped]
    will = "would be" if dry_run else "is to be"
    lines += [f"{will} removed, and was never indexed: {each.path}" for each in untracked]
    if goes:
        verb = "would remove" if dry_run else "removed"
        lines.append(f"{verb} {counted(len(goes), 'file')}, {human_size(_size(goes))}")
        if at_once:
            lines.append("clients that are at work now may fail: what their index names is gone")
    waiting = len(account.waiting)
    if waiting and not dry_run:
        lines.append(
            f"waiting for removal: {counted(waiting, 'file')},"
            f" {human_size(_size(account.waiting))};"
            " `pixi run prune` removes them when no client can need them, `--now` at once"
        )
    if not lines:
        lines.append("nothing to prune")
    lines += [f"untracked, left alone: {each.path}" for each in account.untracked]
    data: dict[str, Json] = {
        "dropped": [{"path": str(each.path), "size": each.size} for each in (*dropped, *untracked)],
        "removed": [{"path": str(each.path), "size": each.size} for each in removed],
        "bytes": _size(goes),
        "waiting-for-removal": [str(each.path) for each in account.waiting],
        "untracked": [str(each.path) for each in account.untracked],
        "workspaces": [str(each.manifest) for each in owners.others],
    }
    return Report(lines=(*lines, *owners.lines()), data=data)
