"""The workspaces that share one channel folder, and the artifacts that each of them names.

A workspace names what its settings and its locks do; options narrow a run, never this.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.digest_cache import DigestCache
from scripts.channel.inventory import find_channels
from scripts.channel.selection import read_whole_selection
from scripts.channel.state import (
    MirrorState,
    NamedArtifact,
    WorkspaceState,
    forget_workspace,
    read_channel_state,
    read_state,
    workspace_folder,
    write_channel,
    write_workspace,
)
from scripts.core.channel_paths import FLAT_CHANNEL, ChannelPaths, Layout, is_pypi_path
from scripts.core.child_process import quoted
from scripts.core.errors import Problem, raise_problems, usage_error, usage_problem
from scripts.core.files import is_file, not_readable
from scripts.lock.mirrored import MirroredLock
from scripts.lock.select import Selection, path_of
from scripts.workspace.settings import TABLE
from scripts.workspace.workspace import Workspace

_NO_LOCK: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelUsers:
    """The workspaces that share a channel, and what each names."""

    state: MirrorState
    lock: bytes
    """The workspace's own lock, as it was read; empty where it has none."""
    own: WorkspaceState
    """This workspace by its settings and its present locks."""
    last: WorkspaceState | None
    """This workspace as of its last `index` or `mirror`; None: there was none."""
    others: tuple[WorkspaceState, ...]

    @property
    def everybody(self) -> tuple[WorkspaceState, ...]:
        """All of them, this workspace both as it is now and as of its last `index`."""
        return (self.own, *(() if self.last is None else (self.last,)), *self.others)

    def named(self) -> frozenset[PurePosixPath]:
        """Return the paths of all artifacts that `everybody` names."""
        return frozenset(each.path for one in self.everybody for each in one.artifacts)

    def named_by_others(self) -> frozenset[PurePosixPath]:
        """Return the paths of all artifacts that other workspaces name."""
        return frozenset(each.path for one in self.others for each in one.artifacts)

    def find_links(self) -> frozenset[PurePosixPath]:
        """Return the folders of all pages of `find-links` that locks have by now."""
        return self.own.find_links.union(*(each.find_links for each in self.others))

    def lines(self) -> Iterator[str]:
        """Yield lines that name the others, and how to forget one whose manifest is gone."""
        last, own = self.last, self.own
        if last is not None and last.manifest != own.manifest and last.channel == own.channel:
            yield f"taken for {last.name}, moved here from {last.manifest}"
        for each in self.others:
            yield f"shared with: {each}"
            if each.is_gone:
                forget = f"pixi run prune --forget {quoted(each.name)}"
                yield f"  its artifacts stay; `{forget}` if it is no more"


def read_users(
    workspace: Workspace, locks: Sequence[MirroredLock], *, relayout: bool = False
) -> ChannelUsers:
    """Read the workspaces that share the channel, and what this one's settings and locks name.

    `relayout`: the channel is about to get the layout that is set. Raises the error of exit code 2
    where it has another layout, and where two workspaces want different bytes at one place, or, in
    a flat channel, one package name from two channels.
    """
    selection = read_whole_selection(workspace, locks)
    data = next((each.file.data for each in locks if each.entry is None), b"")
    return read_users_of(workspace, selection, data, relayout=relayout)


def read_users_of(
    workspace: Workspace, selection: Selection, lock: bytes = b"", *, relayout: bool = False
) -> ChannelUsers:
    """Do the same as `read_users`, for a known selection; `lock` is this workspace's own."""
    state, layout = read_state(workspace.place), selection.layout
    if not relayout:
        _check_layout(workspace, state, layout)
    artifacts = tuple(
        NamedArtifact(
            path=each.path,
            path_in_other_layout=path_of(layout.other, each),
            package=each.name,
            digest=each.digest,
            size=each.size,
        )
        for each in selection.artifacts
    )
    own = replace(
        _own(workspace, lock),
        layout=layout,
        artifacts=artifacts,
        find_links=selection.find_links,
    )
    known = tuple(each.with_layout(layout) for each in state.workspaces)
    last = _last(own, known)
    others = tuple(each for each in known if each is not last)
    # The others were compared as they were added, but in the layout of then.
    pairs = combinations((own, *others), 2) if relayout else ((own, each) for each in others)
    raise_problems(each for pair in pairs for each in _conflicts(workspace.place, *pair))
    return ChannelUsers(state=state, lock=lock, own=own, last=last, others=others)


def last_mirrored(workspace: Workspace) -> WorkspaceState | None:
    """Return this workspace as of its last `index`; None: there was none."""
    try:
        lock = workspace.lock_path.read_bytes() if is_file(workspace.lock_path) else b""
    except OSError as error:
        raise not_readable(workspace.lock_path, "lock file", error) from None
    return _last(_own(workspace, lock), read_state(workspace.place).workspaces)


def last_mirrored_lock(workspace: Workspace) -> Path | None:
    """Return the copy of the own lock that was last mirrored; None: there is none."""
    last = last_mirrored(workspace)
    if last is None or last.lock_sha256 == _NO_LOCK:
        return None
    return last.lock


def save_workspace(workspace: Workspace, users: ChannelUsers, layout: Layout) -> None:
    """Write down that this workspace is mirrored here, and what it names.

    To be called before the index is published: a `prune` elsewhere must know of it by then.
    """
    note_layout(workspace, users.state, layout)
    own, last, place = users.own, users.last, workspace.place
    if own != last or not own.lock.exists():
        write_workspace(own, users.lock)
    if last is not None and last.folder != own.folder:
        forget_workspace(place, last)
    write_channel(place, read_channel_state(place))  # which lists it by now


def note_layout(workspace: Workspace, state: MirrorState, layout: Layout) -> None:
    """Write down how the channel folder is arranged, before anything is placed in it."""
    if state.layout is layout:
        return
    folder = workspace.place.folder
    channels = find_channels(folder)
    if state.layout is None:
        # Records that no state knows of may be those of other workspaces.
        has_records = any(any((folder / each).glob("*/repodata.json")) for each in channels)
        write_channel(workspace.place, replace(state, layout=layout, is_adopted=not has_records))
    elif not channels:  # the folder was emptied
        write_channel(workspace.place, replace(state, layout=layout, before_relayout=None))


def _own(workspace: Workspace, lock: bytes) -> WorkspaceState:
    """Describe this workspace as of now, without what it names."""
    name = workspace.manifest.name or workspace.root.name
    return WorkspaceState(
        name=name,
        manifest=workspace.manifest_path,
        channel=workspace.place.folder,
        lock_sha256=hashlib.sha256(lock).hexdigest(),
        layout=workspace.settings.layout,
        artifacts=(),
        folder=workspace_folder(workspace.place, name, workspace.manifest_path),
    )


def _last(own: WorkspaceState, known: Sequence[WorkspaceState]) -> WorkspaceState | None:
    """Find the last state of this workspace: that of its manifest, else of one with its name.

    The latter was moved here, with the same lock, or together with its channel; or it has a channel
    of its own, of which this one with its state is a copy.
    """
    for each in known:
        if each.manifest == own.manifest:
            return each
    for each in known:
        is_moved = each.is_moved_away and each.lock_sha256 == own.lock_sha256 != _NO_LOCK
        is_moved |= _seen_from_channel(each) == _seen_from_channel(own)
        if each.name == own.name and (is_moved or _are_two(each.channel, own.channel)):
            return each
    return None


def _seen_from_channel(workspace: WorkspaceState) -> str:
    """Return the path of a manifest relative to the channel, which both keep as they move."""
    with contextlib.suppress(ValueError):  # they are on two drives
        return os.path.relpath(workspace.manifest, workspace.channel)
    return str(workspace.manifest)


def _are_two(one: Path, other: Path) -> bool:
    """Tell whether these are two folders; False where one of them cannot be seen."""
    with contextlib.suppress(OSError):
        return not one.samefile(other)
    return False


def _check_layout(workspace: Workspace, state: MirrorState, wanted: Layout) -> None:
    """Refuse another layout than the channel has: as the state says, else as its folders show."""
    if state.layout is wanted:
        return
    channels = find_channels(workspace.place.folder)
    there = {Layout.FLAT if each == FLAT_CHANNEL else Layout.BY_CHANNEL for each in channels}
    if there and state.layout is not None:
        there = {state.layout}
    if there and wanted not in there:
        [layout] = there
        raise usage_error(
            workspace.settings.channel_dir,
            f"the layout of this channel is {layout}, not {wanted}",
            help=f'set layout = "{layout}" under [{TABLE}]; or set layout = "{wanted}" there, and'
            " have all of it arranged anew: pixi run mirror --relayout",
        )


def _conflicts(
    place: ChannelPaths, one: WorkspaceState, other: WorkspaceState
) -> Iterator[Problem]:
    """Yield a problem for each conflict of two workspaces that share a channel folder."""
    gone = next((each for each in (one, other) if each.is_gone), None)
    forget = f"pixi run prune --forget {quoted((gone or other).name)}"
    apart = f"give one of them a channel of its own: channel-dir under [{TABLE}]"
    replaced = f"{forget}, then pixi run update-mirror in both, if upstream has replaced it; else "

    def conflict(subject: str, message: str, help: str, ours: str, theirs: str) -> Problem:
        return usage_problem(
            subject,
            f"two workspaces that share this {message}",
            (ours, f"of {one}"),
            (theirs, f"of {other}"),
            help=forget if gone else help,
        )

    by_path = {each.path: each for each in one.artifacts}
    channels: dict[str, PurePosixPath] = {}
    is_flat = one.layout is Layout.FLAT
    for each in (x for x in one.artifacts if is_flat and not is_pypi_path(x.path)):
        channels.setdefault(each.package, each.path_in_other_layout.parent.parent)
    for theirs in other.artifacts:
        ours, channel = by_path.get(theirs.path), theirs.path_in_other_layout.parent.parent
        if ours is not None and _differ(place, ours, theirs):
            digests = (str(each.digest or each.size) for each in (ours, theirs))
            message = "channel want different bytes here"
            yield conflict(str(theirs.path), message, replaced + apart, *digests)
        if not is_pypi_path(theirs.path) and channels.get(theirs.package, channel) != channel:
            message = (
                "flat channel take it from two channels, which a flat channel cannot keep apart"
            )
            shown = str(channels.pop(theirs.package)), str(channel)
            yield conflict(theirs.package, message, apart, *shown)


def _differ(place: ChannelPaths, one: NamedArtifact, other: NamedArtifact) -> bool:
    """Tell whether two workspaces cannot mean the same bytes.

    Where one has a sha256 and the other an md5, both are compared with the file that is there;
    where there is none yet, the second `fetch` finds the conflict.
    """
    if None not in (one.size, other.size) and one.size != other.size:
        return True
    if one.digest is None or other.digest is None:
        return False
    if one.digest.algorithm == other.digest.algorithm:
        return one.digest != other.digest
    digests = DigestCache(place.digests, writes=False)
    for path in (one.path, one.path_in_other_layout):
        if not (place.folder / path).is_file():
            continue
        with contextlib.suppress(OSError):  # one that cannot be read is told of by who needs it
            fits = [
                digests.digest_of(place.folder, path, each.algorithm) == each.hex
                for each in (one.digest, other.digest)
            ]
            return fits[0] != fits[1]
    return False
