"""Arrange a mirror anew: links at the new places, a new index, then the old places may go.

What other workspaces name moves along: they mirror into the same folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath

from scripts.channel.digest_cache import Digests
from scripts.channel.inventory import Expected, Found, Standing, look
from scripts.channel.mirror_state import (
    NamedArtifact,
    Removal,
    read_state,
    write_channel,
    write_removals,
)
from scripts.channel.owners import Owners, by_settings, read_owners
from scripts.channel.prepare import prepare
from scripts.channel.removals import now, to_remove
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.layout import Layout
from scripts.core.record import Digest
from scripts.core.report import Report
from scripts.core.symlinks import refuse_obstacles
from scripts.fetch.download import link_or_copy_artifact
from scripts.fetch.stage import fetch
from scripts.index.account import Indexed, indexed_of, look_into_mirror
from scripts.index.contents import is_index_path
from scripts.index.stage import counted, index
from scripts.lock.model import LockFile
from scripts.lock.select import Selection
from scripts.network.errors import DownloadError
from scripts.workspace.workspace import Workspace


def relayout(
    workspace: Workspace, lock: LockFile, console: Console, *, drop_retained: bool
) -> Report:
    """Arrange the channel in the layout that is set; it is not verified here.

    Killed at any moment, the next one goes on: until its end the state has the old layout.
    """
    whole = by_settings(workspace, lock)
    owners = read_owners(workspace, lock, relayout=True)
    if owners.state.layout is whole.layout:
        return _outcome(whole.layout, ())
    indexed = _indexed(workspace, whole.layout.other, console)
    moved, dropped = _plan(owners, indexed, _present(workspace, whole.layout.other))
    if dropped and not drop_retained:
        raise _no_place(dropped)
    _link(workspace, owners, moved, indexed, console)
    report = fetch(workspace, whole, console)
    if not report.problems:
        carried = {new: indexed[old].record for old, new in moved.items() if old in indexed}
        report = index(workspace, whole, console, owners=owners, carried=carried)
    return report if report.problems else _end(workspace, whole.layout, (*moved, *dropped))


def _present(workspace: Workspace, layout: Layout) -> frozenset[PurePosixPath]:
    """Return all that is in the channels of a layout, but for what waits for its removal."""
    waiting = {each.path for each in read_state(workspace.place).removals}
    found = {
        work.path / subdir / name
        for work in look_into_mirror(workspace.place, _nothing(layout))
        for subdir, contents in work.contents.subdirs.items()
        for name in (*contents.artifacts, *contents.index_files)
    }
    return frozenset(found - waiting)


def _plan(
    owners: Owners,
    indexed: Mapping[PurePosixPath, Indexed],
    present: AbstractSet[PurePosixPath],
) -> tuple[dict[PurePosixPath, PurePosixPath], tuple[PurePosixPath, ...]]:
    """Say from where to where each artifact goes, and what that is retained has no place.

    Nobody knows the channel of that, or another artifact has its place. What is untracked stays.
    """
    named = _named(owners)
    moved = {path: each.path for path, each in named.items() if path in present}
    taken = {each.path for each in named.values()}
    channels = {each.package: path.parent.parent for path, each in named.items()}
    without_place = []
    for path, each in sorted(indexed.items()):
        if path in named:
            continue
        target, channel = PurePosixPath(path.parent.name) / path.name, path.parent.parent
        is_free = target not in taken and channels.setdefault(each.record.name, channel) == channel
        if owners.own.layout is Layout.FLAT and is_free:
            moved[path] = target
            taken.add(target)
        else:
            without_place.append(path)
    return moved, tuple(without_place)


def _link(
    workspace: Workspace,
    owners: Owners,
    moved: Mapping[PurePosixPath, PurePosixPath],
    indexed: Mapping[PurePosixPath, Indexed],
    console: Console,
) -> None:
    """Link what is there to its new places; this lock's own that is damaged is fetched.

    Raises the error of exit code 1 where something else is damaged.
    """
    place, named = workspace.place, _named(owners)
    prepare(place)
    refuse_obstacles(place.folder, moved.values())
    digests = Digests(place.digests)
    expected = {path: _expected(path, named.get(path), indexed.get(path)) for path in moved}
    found = look(place.folder, expected.values(), digests)
    right = [each.path for each in found if each.standing is Standing.RIGHT]
    own = {each.elsewhere for each in owners.own.artifacts}
    others = {each.elsewhere for one in owners.others for each in one.artifacts}
    damaged = [
        _damaged(each, is_named=each.path in others)
        for each in found
        if each.standing is not Standing.RIGHT and each.path not in own
    ]
    if damaged:
        raise MirrorError(*damaged)
    linked = 0
    for path in right:
        new, want = place.folder / moved[path], expected[path]
        if new.exists() or want.digest is None:  # with no digest anywhere, it is fetched
            continue
        digest = Digest("md5" if want.algorithm == "md5" else "sha256", want.digest)
        part = place.parts / f"{digest.hex}.again"
        try:
            status = link_or_copy_artifact(
                place.folder / path, new, part, digest, durable=digests.must_be_durable
            )
        except DownloadError as error:
            raise usage_error(str(path), error.text, help="pixi run fetch") from None
        except OSError as error:
            raise usage_error(
                str(error.filename2 or error.filename or new),
                f"cannot be written: {error.strerror}",
                help="see to it, then run this again: it goes on where it stopped",
            ) from None
        digests.add(moved[path], digest.algorithm, digest.hex, status)
        linked += 1
    if moved:
        console.note(
            f"relayout: {counted(linked, 'artifact')} linked to the layout {owners.own.layout}"
        )


def _end(workspace: Workspace, layout: Layout, old: Sequence[PurePosixPath]) -> Report:
    """Note the new layout, and let the old places and the old index wait for their removal."""
    place = workspace.place
    state = read_state(place)
    present = _present(workspace, layout.other)
    old = [path for path in present if path in set(old) or is_index_path(path)]
    waiting = to_remove(place.folder, sorted(old), now())
    write_removals(place, (*waiting, *state.removals))
    write_channel(place, layout, is_adopted=state.is_adopted)
    return _outcome(layout, waiting)


def _outcome(layout: Layout, waiting: Sequence[Removal]) -> Report:
    lines = (f"relayout: {counted(len(waiting), 'file')} at the old places wait for removal",)
    paths = [str(each.path) for each in waiting]
    return Report(
        lines=lines if waiting else (),
        data={"relayout": {"layout": layout, "waiting-for-removal": paths}},
    )


def _nothing(layout: Layout) -> Selection:
    return Selection(layout=layout, environments=(), artifacts=(), channels=(), excluded=())


def _indexed(
    workspace: Workspace, layout: Layout, console: Console
) -> dict[PurePosixPath, Indexed]:
    """Return all artifacts that the index in a layout names."""
    waiting = frozenset(each.path for each in read_state(workspace.place).removals)
    return {
        each.path: each
        for work in look_into_mirror(workspace.place, _nothing(layout))
        for each in indexed_of(work, workspace.place.folder, waiting, {}, console)
    }


def _named(owners: Owners) -> dict[PurePosixPath, NamedArtifact]:
    """Return all that anybody names, by its place in the old layout."""
    everybody = (*owners.others, *(() if owners.last is None else (owners.last,)), owners.own)
    return {each.elsewhere: each for one in everybody for each in one.artifacts}


def _expected(
    path: PurePosixPath, named: NamedArtifact | None, indexed: Indexed | None
) -> Expected:
    """Return what an artifact at its old place must be: as its lock says, else its record."""
    kind, _, digest = (named.digest or "").partition(":") if named else ("", "", "")
    size = None if named is None else named.size
    if indexed is not None:
        record = indexed.record
        size = record.size if size is None else size
        if not digest:
            kind, digest = ("sha256", record.sha256) if record.sha256 else ("md5", record.md5 or "")
    return Expected(path=path, size=size, algorithm=kind, digest=digest or None)


def _damaged(found: Found, *, is_named: bool) -> Problem:
    help_line = "remove this file, then run this again"
    if is_named:
        help_line = "remove this file, then `pixi run mirror` in the workspace that names it"
    return Problem(
        subject=str(found.path),
        trouble="damaged, so it cannot be arranged anew; nothing was changed",
        code=ExitCode.NO,
        facts=(("actual", found.actual or "nothing is there"),),
        help=help_line,
    )


def _no_place(retained: Sequence[PurePosixPath]) -> MirrorError:
    return MirrorError(
        *(
            Problem(
                subject=str(path),
                trouble="retained (indexed, in no lock), and nobody knows its place in the new"
                " layout",
                code=ExitCode.USAGE,
                help="pixi run mirror --relayout --drop-retained",
            )
            for path in retained
        )
    )
