"""Remove what the index names and no workspace does: index first, then files.

What any workspace of the state names stays, whatever its environment or platform. Untracked files
are listed, and left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from scripts.channel.mirror_state import (
    MirrorState,
    Removal,
    WorkspaceState,
    forget_workspace,
    read_state,
    write_channel,
)
from scripts.channel.owners import Owners, read_owners
from scripts.channel.prepare import clear_staging
from scripts.channel.removals import is_due, is_there, now, remove, still_waiting
from scripts.core.console import Console
from scripts.core.errors import MirrorError, Problem, usage_error
from scripts.core.report import Json, Report, human_size
from scripts.index.account import Account, ChannelFile, is_artifact_place, take_account
from scripts.index.stage import counted, index
from scripts.lock.select import Selection
from scripts.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneOptions:
    """What to do: only say what would be done; remove what waits at once; drop these alone."""

    dry_run: bool = False
    at_once: bool = False
    drop: tuple[PurePosixPath, ...] = ()


def prune(
    workspace: Workspace, selection: Selection, options: PruneOptions, console: Console
) -> Report:
    """Drop the retained artifacts from the index, and remove what has waited for long enough.

    Killed at any moment, the next run goes on. Raises the error of exit code 2 where other
    workspaces than those known may need what would go.
    """
    place = workspace.place
    owners = read_owners(workspace, selection)
    account = take_account(place, selection, owners, console)
    dropped = _dropped(account, owners, options)
    if dropped and not owners.state.is_adopted:
        raise _not_adopted(workspace, account)
    if options.dry_run:
        due = [each for each in account.waiting if options.at_once or _is_due(workspace, each)]
        return _report(account, owners, options, dropped=dropped, removed=due)
    clear_staging(place)  # of a run that was killed
    problems: tuple[Problem, ...] = ()
    if dropped or any(each.dropped is None for each in account.waiting):  # else by a killed run
        dropping = [each.path for each in dropped]
        problems = index(workspace, selection, console, owners=owners, dropping=dropping).problems
    waiting = still_waiting(place.folder, read_state(place).removals, owners.named())
    due = [each for each in waiting if options.at_once or _is_due(workspace, each)]
    left = [each for each in waiting if each not in due]
    removed = remove(place, due, left) if due else ()
    left = [each for each in left if is_there(place.folder, each)]
    account = replace(account, waiting=tuple(left))
    report = _report(account, owners, options, dropped=dropped, removed=removed)
    return replace(report, problems=problems)


def adopt(workspace: Workspace, selection: Selection, console: Console) -> Report:
    """Take all that the index names for this workspace's alone, and list what no lock names."""
    owners = read_owners(workspace, selection)
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


def _dropped(account: Account, owners: Owners, options: PruneOptions) -> tuple[ChannelFile, ...]:
    """Choose what goes: all that is retained, or what was asked for by name."""
    if not options.drop:
        return account.retained
    files = {each.path: each for each in (*account.retained, *account.untracked)}
    found = []
    for path in options.drop:
        file = files.get(path)
        if path in owners.named():
            owner = next(
                one
                for one in (owners.own, *owners.others)
                if path in {a.path for a in one.artifacts}
            )
            raise usage_error(
                str(path),
                "is named by a workspace",
                ("workspace", str(owner)),
                help="pixi run fetch",
            )
        if file is None or not is_artifact_place(path):
            raise usage_error(
                str(path),
                "no such artifact in the channel folder that no workspace names",
                help="pixi run prune --dry-run",
            )
        found.append(file)
    return tuple(found)


def _not_adopted(workspace: Workspace, account: Account) -> MirrorError:
    return usage_error(
        workspace.settings.channel_dir,
        "its state is younger than its index, so other workspaces may need what would go",
        ("not named here", counted(len(account.retained), "artifact")),
        help="pixi run mirror, in each workspace that shares it; then `pixi run prune --adopt`",
    )


def _is_due(workspace: Workspace, removal: Removal) -> bool:
    return is_due(removal, workspace.settings.grace, now())


def _size(removals: Sequence[Removal]) -> int:
    return sum(each.fingerprint.size for each in removals)


def _report(
    account: Account,
    owners: Owners,
    options: PruneOptions,
    *,
    dropped: Sequence[ChannelFile],
    removed: Sequence[Removal],
) -> Report:
    """Say what was done, or would be."""
    freed = _size(removed)
    if options.dry_run and options.at_once:
        freed += sum(each.size for each in dropped)
    lines: list[str] = []
    if dropped:
        size = human_size(sum(each.size for each in dropped))
        drop = "would drop" if options.dry_run else "dropped"
        lines.append(f"{drop} from the index: {counted(len(dropped), 'artifact')}, {size}")
        lines += [f"  {each.path}" for each in dropped]
    gone = len(removed) + (len(dropped) if options.dry_run and options.at_once else 0)
    if gone:
        verb = "would remove" if options.dry_run else "removed"
        lines.append(f"{verb} {counted(gone, 'file')}, {human_size(freed)}")
        if options.at_once:
            lines.append("clients that are at work now may fail: what their index names is gone")
    waiting = len(account.waiting)
    if waiting and not options.dry_run:
        lines.append(
            f"waiting for removal: {counted(waiting, 'file')},"
            f" {human_size(_size(account.waiting))};"
            " `pixi run prune` removes them when no client can need them, `--now` at once"
        )
    if not lines:
        lines.append("nothing to prune")
    lines += [f"untracked, left alone: {each.path}" for each in account.untracked]
    data: dict[str, Json] = {
        "dropped": [{"path": str(each.path), "size": each.size} for each in dropped],
        "removed": [{"path": str(each.path), "size": each.fingerprint.size} for each in removed],
        "bytes": freed,
        "waiting-for-removal": [str(each.path) for each in account.waiting],
        "untracked": [str(each.path) for each in account.untracked],
        "workspaces": [str(each.manifest) for each in owners.others],
    }
    return Report(lines=(*lines, *owners.lines()), data=data)
