"""Who names what in one channel folder: this workspace, and the others that share it.

What a workspace names is what its settings and its lock name; options narrow a run, never this.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path, PurePosixPath

from scripts.channel.digest_cache import Digests
from scripts.channel.inventory import find_channels
from scripts.channel.mirror_state import (
    MirrorState,
    NamedArtifact,
    WorkspaceState,
    forget_workspace,
    read_state,
    workspace_folder,
    write_channel,
    write_workspace,
)
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPlace
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.files import not_readable
from scripts.core.layout import FLAT_CHANNEL, Layout
from scripts.lock.model import LockFile
from scripts.lock.select import Selection, path_in, select
from scripts.workspace.settings import TABLE
from scripts.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Who names what, as of now.

    `own` is this workspace by its settings and its present lock, whose bytes are `lock`; `last` by
    those of its last `mirror` (None: it was not mirrored yet); `others` are the workspaces that
    share the channel.
    """

    state: MirrorState
    lock: bytes
    own: WorkspaceState
    last: WorkspaceState | None
    others: tuple[WorkspaceState, ...]

    def everybody(self) -> tuple[WorkspaceState, ...]:
        """Return all of them, this workspace as of now and then."""
        return (self.own, *(() if self.last is None else (self.last,)), *self.others)

    def named(self) -> frozenset[PurePosixPath]:
        """Return the places of all that anybody names, this workspace as of now and then."""
        return frozenset(each.path for one in self.everybody() for each in one.artifacts)

    def named_now(self) -> frozenset[PurePosixPath]:
        """Return the places of all that anybody names, this workspace as of now alone."""
        return frozenset(each.path for one in (self.own, *self.others) for each in one.artifacts)

    def lines(self) -> Iterator[str]:
        """Name the others, and how to drop one whose manifest is gone."""
        for each in self.others:
            yield f"shared with: {each}"
            if each.is_gone:
                yield (
                    f"  its artifacts stay; `pixi run prune --forget {shlex.quote(each.name)}`"
                    " if it is no more"
                )


def by_settings(workspace: Workspace, lock: LockFile) -> Selection:
    """Choose what the settings want of the lock, whatever options narrow this run."""
    settings = replace(workspace.manifest.settings, layout=workspace.settings.layout)
    return select(lock, settings)


def read_owners(workspace: Workspace, lock: LockFile, *, relayout: bool = False) -> Owners:
    """Read who shares the channel, and what this workspace's settings and lock name in it.

    `relayout`: the layout that is set is that which the channel is to get.
    Raises the error of exit code 2 where the channel has another layout, and where two workspaces
    want different bytes at one place, or, in a flat channel, one package name from two channels.
    """
    return read_owners_of(workspace, by_settings(workspace, lock), lock.data, relayout=relayout)


def read_owners_of(
    workspace: Workspace, whole: Selection, lock: bytes = b"", *, relayout: bool = False
) -> Owners:
    """Do so where all that this workspace names is known."""
    state = read_state(workspace.place)
    if not relayout:
        _check_layout(workspace, state, whole.layout)
    own = _own(workspace, lock, whole)
    known = tuple(each.arranged(whole.layout) for each in state.workspaces)
    last = _last(own, known)
    others = tuple(each for each in known if each is not last)
    differ = partial(_differ, workspace.place)
    # Of the others each was compared with the rest as it came, but in the layout of then.
    pairs = combinations((own, *others), 2) if relayout else ((own, each) for each in others)
    problems = [each for pair in pairs for each in _conflicts(*pair, whole.layout, differ)]
    if problems:
        raise MirrorError(*problems)
    return Owners(state=state, lock=lock, own=own, last=last, others=others)


def last_mirrored_lock(workspace: Workspace) -> Path | None:
    """Return the copy of the lock that this workspace was last mirrored by; None: not yet."""
    try:
        lock = workspace.lock_path.read_bytes() if workspace.lock_path.is_file() else b""
    except OSError as error:
        raise not_readable(workspace.lock_path, "lock file", error) from None
    last = _last(_own(workspace, lock), read_state(workspace.place).workspaces)
    return None if last is None else last.lock


def remember(workspace: Workspace, owners: Owners, layout: Layout) -> None:
    """Write down that this workspace is mirrored here, and what it names.

    To be called before the index names what it names: whoever prunes must know of it by then.
    """
    note_layout(workspace, owners.state, layout)
    if owners.own == owners.last and owners.own.lock.exists():
        return
    write_workspace(owners.own, owners.lock)
    if owners.last is not None and owners.last.folder != owners.own.folder:
        forget_workspace(owners.last)


def note_layout(workspace: Workspace, state: MirrorState, layout: Layout) -> None:
    """Write down how the channel folder is arranged, before anything is placed in it."""
    if state.layout is layout:
        return
    channels = find_channels(workspace.place.folder)
    if state.layout is None:
        # Records that no state knows of may be those of other workspaces.
        has_records = any(
            next((workspace.place.folder / channel).glob("*/repodata.json"), None)
            for channel in channels
        )
        write_channel(workspace.place, layout, is_adopted=not has_records)
    elif not channels:  # the folder was emptied
        write_channel(workspace.place, layout, is_adopted=state.is_adopted)


def _own(workspace: Workspace, lock: bytes, whole: Selection | None = None) -> WorkspaceState:
    """Describe this workspace as of now; `whole` None: without what it names."""
    manifest = workspace.manifest_path
    name = workspace.manifest.name or workspace.root.name
    layout = workspace.settings.layout if whole is None else whole.layout
    artifacts = () if whole is None else whole.artifacts
    return WorkspaceState(
        name=name,
        manifest=manifest,
        channel=workspace.place.folder,
        lock_sha256=hashlib.sha256(lock).hexdigest(),
        layout=layout,
        artifacts=tuple(_named(each, layout) for each in artifacts),
        folder=workspace_folder(workspace.place, name, manifest),
    )


def _last(own: WorkspaceState, known: Sequence[WorkspaceState]) -> WorkspaceState | None:
    """Find a workspace's own state, that of its manifest; else that of one of the same name.

    Either that was moved here, with the same lock, or it stays where it is and has a channel of
    its own: then this channel, and its state, are a copy of that.
    """
    for each in known:
        if each.manifest == own.manifest:
            return each
    for each in known:
        is_moved = each.is_gone and each.lock_sha256 == own.lock_sha256
        if each.name == own.name and (is_moved or _are_two(each.channel, own.channel)):
            return each
    return None


def _are_two(one: Path, other: Path) -> bool:
    """Tell whether these are two folders; not where one of them cannot be seen from here."""
    try:
        return not one.samefile(other)
    except OSError:
        return False


def _named(artifact: Artifact, layout: Layout) -> NamedArtifact:
    digest = artifact.digest
    return NamedArtifact(
        path=artifact.path,
        elsewhere=path_in(layout.other, artifact),
        package=artifact.name,
        digest=None if digest is None else f"{digest.algorithm}:{digest.hex}",
        size=artifact.size,
    )


def _check_layout(workspace: Workspace, state: MirrorState, wanted: Layout) -> None:
    """Refuse another layout than the channel has; one that nobody noted is told from the folder."""
    channels = find_channels(workspace.place.folder)
    if not channels:
        return  # nothing to be arranged otherwise
    there = {Layout.FLAT if each == FLAT_CHANNEL else Layout.BY_CHANNEL for each in channels}
    if state.layout is not None:
        there = {state.layout}
    if wanted not in there:
        [layout] = there
        raise usage_error(
            workspace.settings.channel_dir,
            f"the layout of this channel is {layout}, not {wanted}",
            help=f'set layout = "{layout}" under [{TABLE}], or have all of it arranged anew:'
            " pixi run mirror --relayout",
        )


def _conflicts(
    one: WorkspaceState,
    other: WorkspaceState,
    layout: Layout,
    differ: Callable[[NamedArtifact, NamedArtifact], bool],
) -> Iterator[Problem]:
    """Yield what two workspaces cannot both have in one channel folder."""
    by_path = {each.path: each for each in one.artifacts}
    by_name: dict[str, NamedArtifact] = {}
    for each in one.artifacts:
        by_name.setdefault(each.package, each)
    names: set[str] = set()
    for theirs in other.artifacts:
        ours = by_path.get(theirs.path)
        if ours is not None and differ(ours, theirs):
            trouble = "two workspaces that share this channel want different bytes here"
            facts = tuple(
                (f"{each.digest or each.size}", f"of {whose}")
                for each, whose in ((ours, one), (theirs, other))
            )
            yield _conflict(str(theirs.path), trouble, facts, (one, other))
        same_name = by_name.get(theirs.package)
        if layout is not Layout.FLAT or same_name is None or theirs.package in names:
            continue
        if _channel(same_name) != _channel(theirs):
            names.add(theirs.package)
            trouble = (
                "two workspaces that share this flat channel take it from two channels, which"
                " a flat channel cannot keep apart"
            )
            facts = tuple(
                (str(_channel(each)), f"of {whose}")
                for each, whose in ((same_name, one), (theirs, other))
            )
            yield _conflict(theirs.package, trouble, facts, (one, other))


def _conflict(
    subject: str,
    trouble: str,
    facts: tuple[tuple[str, str], ...],
    workspaces: tuple[WorkspaceState, WorkspaceState],
) -> Problem:
    gone = next((each for each in workspaces if each.is_gone), None)
    return Problem(
        subject=subject,
        trouble=trouble,
        code=ExitCode.USAGE,
        facts=facts,
        help=f"pixi run prune --forget {shlex.quote(gone.name)}"
        if gone
        else f"give one of them a channel of its own: channel-dir under [{TABLE}]",
    )


def _channel(artifact: NamedArtifact) -> PurePosixPath:
    """Return the channel's folder in the other layout than the flat one that it is in."""
    return artifact.elsewhere.parent.parent


def _differ(place: ChannelPlace, one: NamedArtifact, other: NamedArtifact) -> bool:
    """Tell whether two workspaces cannot mean the same bytes.

    A sha256 and a md5 are compared by the file that has one of them. Where there is none yet,
    whoever comes second finds it.
    """
    if None not in (one.size, other.size) and one.size != other.size:
        return True
    if one.digest is None or other.digest is None:
        return False
    if one.digest.partition(":")[0] == other.digest.partition(":")[0]:
        return one.digest != other.digest
    digests = Digests(place.digests, writes=False)
    for path in (one.path, one.elsewhere):
        try:
            if not (place.folder / path).is_file():
                continue
            fits = {
                digests.digest_of(place.folder, path, algorithm) == digest
                for each in (one.digest, other.digest)
                for algorithm, _, digest in [each.partition(":")]
            }
        except OSError:  # one that cannot be read is told of by whoever needs it
            continue
        return len(fits) > 1
    return False
