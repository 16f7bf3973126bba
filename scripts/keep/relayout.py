"""Arrange a mirror anew: links at the new places, a new index, then the old places may go.

What other workspaces name moves along: they mirror into the same folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from scripts.channel.digest_cache import Digests
from scripts.channel.inventory import Expected, Standing, look
from scripts.channel.mirror_state import (
    NamedArtifact,
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
from scripts.core.record import Digest, Record
from scripts.core.report import Report
from scripts.core.symlinks import refuse_obstacles
from scripts.fetch.copy import place_again
from scripts.fetch.failure import DownloadError
from scripts.fetch.stage import FetchOptions, fetch
from scripts.index.account import Indexed, indexed_of, look_into_mirror
from scripts.index.stage import counted, index
from scripts.lock.model import LockFile
from scripts.lock.select import Selection
from scripts.workspace.workspace import Workspace


def relayout(
    workspace: Workspace, lock: LockFile, console: Console, *, drop_retained: bool
) -> Report:
    """Arrange the channel in the layout that is set; it is not verified here.

    Killed at any moment, the next one goes on: until its end the state has the old layout.
    """
    whole = by_settings(workspace, lock)
    owners = read_owners(workspace, whole, relayout=True)
    carried = _begin(workspace, owners, console, drop_retained=drop_retained)
    report = fetch(workspace, whole, FetchOptions(), console)
    if not report.problems:
        report = index(workspace, whole, console, owners=owners, carried=carried)
    return report if report.problems else Report(lines=_end(workspace, whole.layout))


def _begin(
    workspace: Workspace, owners: Owners, console: Console, *, drop_retained: bool
) -> Mapping[PurePosixPath, Record]:
    """Link what is there to its new places; return the records that the new index takes over.

    Raises the error of exit code 2, with nothing changed, for retained artifacts that have no
    place in the new layout: nobody knows their channel, or another artifact has their place.
    """
    place, layout = workspace.place, owners.own.layout
    indexed = _indexed(workspace, layout.other, console)
    if not indexed:
        return {}
    named = _named(owners)
    moved = {path: each.path for path, each in named.items() if path in indexed}
    taken = {each.path for each in named.values()}
    channels = {each.package: path.parent.parent for path, each in named.items()}
    without_place: list[Indexed] = []
    for path, each in sorted(indexed.items()):
        if path in named:
            continue
        target, channel = PurePosixPath(path.parent.name) / path.name, path.parent.parent
        is_free = target not in taken and channels.setdefault(each.record.name, channel) == channel
        if layout is Layout.FLAT and is_free:
            moved[path] = target
            taken.add(target)
        else:
            without_place.append(each)
    if without_place and not drop_retained:
        raise _no_place(without_place)
    prepare(place)
    refuse_obstacles(place.folder, moved.values())
    digests = Digests(place.digests)
    expected = {path: _expected(path, named.get(path), indexed[path]) for path in moved}
    for found in look(place.folder, expected.values(), digests):
        new_place = place.folder / moved[found.path]
        want = expected[found.path]
        if found.standing is not Standing.RIGHT or new_place.exists() or want.digest is None:
            continue  # what is wrong or missing is fetched
        digest = Digest("md5" if want.algorithm == "md5" else "sha256", want.digest)
        part = place.parts / f"{digest.hex}.again"
        try:
            status = place_again(
                place.folder / found.path, new_place, part, digest, durable=digests.must_be_durable
            )
        except DownloadError as error:
            raise usage_error(str(found.path), error.text, help="pixi run fetch") from None
        digests.add(moved[found.path], digest.algorithm, digest.hex, status)
    console.note(f"relayout: {counted(len(moved), 'artifact')} linked to the layout {layout}")
    return {moved[path]: indexed[path].record for path in moved}


def _end(workspace: Workspace, layout: Layout) -> tuple[str, ...]:
    """Note the new layout, and let the old places wait for their removal."""
    place = workspace.place
    state = read_state(place)
    old = _old_files(workspace, layout.other)
    waiting = {each.path: each for each in to_remove(place.folder, old, now())}
    removals = {each.path: each for each in state.removals}
    write_removals(place, {**waiting, **removals}.values())
    write_channel(place, layout, is_adopted=state.is_adopted)
    if not waiting:
        return ()
    return (f"relayout: {counted(len(waiting), 'file')} at the old places wait for removal",)


def _indexed(
    workspace: Workspace, layout: Layout, console: Console
) -> dict[PurePosixPath, Indexed]:
    """Return all artifacts that the index in a layout names."""
    nothing = Selection(layout=layout, environments=(), artifacts=(), channels=(), excluded=())
    waiting = frozenset(each.path for each in read_state(workspace.place).removals)
    return {
        each.path: each
        for work in look_into_mirror(workspace.place, nothing)
        for each in indexed_of(work, workspace.place.folder, waiting, {}, console)
    }


def _named(owners: Owners) -> dict[PurePosixPath, NamedArtifact]:
    """Return all that anybody names, by its place in the old layout."""
    everybody = (*owners.others, *(() if owners.last is None else (owners.last,)), owners.own)
    return {each.elsewhere: each for one in everybody for each in one.artifacts}


def _expected(path: PurePosixPath, named: NamedArtifact | None, indexed: Indexed) -> Expected:
    """Return what an artifact at its old place must be: as its lock says, else its record."""
    record = indexed.record
    kind, _, digest = (named.digest or "").partition(":") if named else ("", "", "")
    if not digest:
        kind, digest = ("sha256", record.sha256) if record.sha256 else ("md5", record.md5 or "")
    size = record.size if named is None or named.size is None else named.size
    return Expected(path=path, size=size, algorithm=kind, digest=digest or None)


def _old_files(workspace: Workspace, layout: Layout) -> Sequence[PurePosixPath]:
    """Return the artifacts and index files of the channels in a layout."""
    nothing = Selection(layout=layout, environments=(), artifacts=(), channels=(), excluded=())
    found = []
    for work in look_into_mirror(workspace.place, nothing):
        for subdir, contents in work.contents.subdirs.items():
            names = (*contents.artifacts, *contents.index_files)
            found += [work.path / subdir / name for name in names]
    return found


def _no_place(retained: Sequence[Indexed]) -> MirrorError:
    return MirrorError(
        *(
            Problem(
                subject=str(each.path),
                trouble="retained (indexed, in no lock), and nobody knows its place in the new"
                " layout",
                code=ExitCode.USAGE,
                help="pixi run mirror --relayout --drop-retained",
            )
            for each in retained
        )
    )
