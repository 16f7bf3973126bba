"""Arrange a mirror anew: links at the new places, a new index, then the old places may go.

What other workspaces name moves along: they mirror into the same folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import PurePosixPath

from scripts.channel.digest_cache import DigestCache
from scripts.channel.folders import prepare
from scripts.channel.inventory import (
    ArtifactStatus,
    CheckedArtifact,
    Expected,
    check_artifacts,
)
from scripts.channel.removals import now, removals_of
from scripts.channel.selection import read_whole_selection
from scripts.channel.state import (
    NamedArtifact,
    Removal,
    read_state,
    write_channel,
    write_removals,
)
from scripts.channel.users import ChannelUsers, read_users
from scripts.core.channel_paths import Layout, is_pypi_path
from scripts.core.console import Console
from scripts.core.errors import (
    Problem,
    finding_problem,
    raise_problems,
    usage_problem,
)
from scripts.core.files import exists
from scripts.core.report import Report, counted
from scripts.core.symlinks import check_output_paths
from scripts.fetch.download import place_again
from scripts.fetch.stage import fetch
from scripts.index.file_classes import (
    IndexedArtifact,
    files_of_layout,
    is_index_path,
    read_channels,
    read_indexed,
)
from scripts.index.stage import index
from scripts.lock.mirrored import MirroredLock
from scripts.lock.select import Selection
from scripts.workspace.workspace import Workspace


def relayout(
    workspace: Workspace, locks: Sequence[MirroredLock], console: Console, *, drop_retained: bool
) -> Report:
    """Arrange the channel in the layout that is set; it is not verified here.

    Killed at any moment, the next one goes on: until its end the state has the old layout.
    """
    folder, whole = workspace.place.folder, read_whole_selection(workspace, locks)
    again = "pixi run mirror --relayout"
    if whole.layout is not workspace.manifest.settings.layout:
        again += f" --layout {whole.layout}"
    users = read_users(workspace, locks, relayout=True)
    state = users.state
    waiting = {each.path for each in state.removals}
    channels = read_channels(folder, Selection(layout=whole.layout.other), waiting)
    if state.layout is whole.layout or (state.layout is None and not channels):
        return _outcome(whole.layout, ())
    found = (each for channel in channels for each in read_indexed(folder, channel, console))
    indexed = {each.path: each for each in found}
    moved, dropped = _plan(users, indexed, {path for each in channels for path in each.there})
    if not drop_retained:
        raise_problems(_no_place(each, again) for each in dropped)
    state = replace(state, layout=whole.layout.other)
    if state.before_relayout is None:  # what comes to be there from now on is of this relayout
        before = files_of_layout(folder, whole.layout) - waiting
        state = replace(state, before_relayout=tuple(sorted(before)))
        write_channel(workspace.place, state)
    _link(workspace, users, moved, indexed)
    taken = set(moved.values())  # one may still wait for its removal since the layout before
    removals = tuple(each for each in state.removals if each.path not in taken)
    write_removals(workspace.place, removals)
    # The places of what only the lock of before names: who goes on after a kill needs them, too.
    named = dict.fromkeys((*users.own.artifacts, *(users.last or users.own).artifacts))
    own = replace(users.own, artifacts=tuple(named))
    users = replace(users, state=replace(state, removals=removals), own=own)
    report = fetch(workspace, whole, console, again=again)
    if not report.problems:
        extra = {
            new: indexed[old].artifact.conda_record for old, new in moved.items() if old in indexed
        }
        report = index(workspace, whole, console, users=users, extra_records=extra)
    return report if report.problems else _end(workspace, whole.layout, {*moved, *dropped})


def _plan(
    users: ChannelUsers,
    indexed: Mapping[PurePosixPath, IndexedArtifact],
    present: AbstractSet[PurePosixPath],
) -> tuple[dict[PurePosixPath, PurePosixPath], tuple[PurePosixPath, ...]]:
    """Say from where to where each artifact goes, and what that is retained has no place.

    Nobody knows the channel of that, or another artifact has its place. What is untracked stays.
    """
    named = _named(users)
    moved = {path: each.path for path, each in named.items() if path in present}
    taken = {each.path for each in named.values()}
    channels = {
        each.package: path.parent.parent for path, each in named.items() if not is_pypi_path(path)
    }
    without_place = []
    for path, each in sorted(indexed.items()):
        if path in named:
            continue
        target, channel = PurePosixPath(path.parent.name) / path.name, path.parent.parent
        is_free = target not in taken and channels.setdefault(each.record.name, channel) == channel
        if users.own.layout is Layout.FLAT and is_free:
            moved[path] = target
            taken.add(target)
        else:
            without_place.append(path)
    return moved, tuple(without_place)


def _link(
    workspace: Workspace,
    users: ChannelUsers,
    moved: Mapping[PurePosixPath, PurePosixPath],
    indexed: Mapping[PurePosixPath, IndexedArtifact],
) -> None:
    """Link what is there, and right, to its new places.

    Damaged artifacts of this lock are fetched later. Raises the error of exit code 1 where another
    one is damaged.
    """
    place, digests, named = workspace.place, DigestCache(workspace.place.digests), _named(users)
    prepare(place)
    check_output_paths(place.folder, moved.values())
    expected = {}
    for path in moved:  # it must be as its lock says, else as its record
        said, record = named.get(path), indexed[path].artifact if path in indexed else None
        known = [each for each in (said, record) if each is not None]
        expected[path] = Expected(
            path=path,
            size=next((each.size for each in known if each.size is not None), None),
            digest=next((each.digest for each in known if each.digest is not None), None),
        )
    found = check_artifacts(place.folder, expected.values(), digests)
    right = [expected[each.path] for each in found if each.status is ArtifactStatus.RIGHT]
    raise_problems(_damaged(users, found))
    for each in right:
        new, digest = moved[each.path], each.digest
        if digest is not None and not exists(place.folder / new):  # without any, it is fetched
            place_again(place, place.folder / each.path, new, digest, digests)


def _damaged(users: ChannelUsers, found: Iterable[CheckedArtifact]) -> Iterator[Problem]:
    """Yield a problem for each artifact that is damaged and not of this lock."""
    own = {each.path_in_other_layout for each in users.own.artifacts}
    others = {each.path_in_other_layout for one in users.others for each in one.artifacts}
    for each in found:
        if each.status is not ArtifactStatus.RIGHT and each.path not in own:
            again = "run this again"
            if each.path in others:
                again = "`pixi run mirror` in the workspace that names it"
            yield finding_problem(
                each.path,
                "is damaged and cannot be arranged anew; nothing was changed",
                ("actual", each.actual or "nothing is there"),
                help=f"remove this file, then {again}",
            )


def _end(workspace: Workspace, layout: Layout, old: AbstractSet[PurePosixPath]) -> Report:
    """Note the new layout, and let the old places and the old index wait for their removal."""
    place, state = workspace.place, read_state(workspace.place)
    there = files_of_layout(place.folder, layout.other) - {each.path for each in state.removals}
    left = {path for path in there if path in old or is_index_path(path)}
    # One write changes the layout: killed after it, all but these waits for its removal.
    state = replace(state, layout=layout, before_relayout=tuple(sorted(there - left)))
    write_channel(place, state)
    waiting = removals_of(place.folder, sorted(left), now())
    write_removals(place, (*waiting, *state.removals))
    write_channel(place, replace(state, before_relayout=None))
    return _outcome(layout, waiting)


def _outcome(layout: Layout, waiting: Sequence[Removal]) -> Report:
    lines = (f"relayout: {counted(len(waiting), 'file')} at the old places wait for removal",)
    paths = [str(each.path) for each in waiting]
    return Report(
        lines=lines if waiting else (),
        data={"relayout": {"layout": layout, "waiting-for-removal": paths}},
    )


def _named(users: ChannelUsers) -> dict[PurePosixPath, NamedArtifact]:
    """Return all that anybody names, by its place in the old layout; the workspace's own wins."""
    everybody = reversed(users.everybody)
    return {each.path_in_other_layout: each for one in everybody for each in one.artifacts}


def _no_place(path: PurePosixPath, again: str) -> Problem:
    return usage_problem(
        path,
        "is retained (indexed, in no lock), with no known place in the new layout",
        help=f"{again} --drop-retained",
    )
