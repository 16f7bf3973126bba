"""What the self-check breaks, in a copy: for each mutation the level that must notice it, and how.

Each takes what is smallest of its kind: what is noticed of a small artifact is noticed of any, and
a large channel is not to cost hours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.channel.inventory import files_below
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import Layout, folder_of_channel, is_pypi_path
from scripts.core.files import link_or_copy
from scripts.core.record import Record
from scripts.core.scratch import scratch_folder
from scripts.core.subdir import NOARCH
from scripts.index.file_classes import is_index_path
from scripts.index.indexer import find_indexer
from scripts.index.publish import write_index
from scripts.index.repodata import (
    REPODATA,
    REPODATA_ZST,
    parse_repodata,
    render_repodata,
    render_zst,
)
from scripts.lock.model import PlatformPackages
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.select import Selection, path_of
from scripts.verify.findings import EnvironmentPlatform, Level, places_of
from scripts.verify.plan import plan_sets
from scripts.workspace.workspace import Workspace

_PAGE: Final = b"<!DOCTYPE html>\n"
_NOBODY: Final = "no-such-package-of-the-self-check"


class NotApplicable(Exception):  # noqa: N818 -- no error: there is nothing to break
    """Why a mutation is not possible in this channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Files of the channel folder `source` at the same places below `folder`.

    They are links, so they cost neither room nor time; what is broken is a new file.
    """

    source: Path
    folder: Path

    def take(self, artifacts: Iterable[PurePosixPath], folders: Iterable[PurePosixPath]) -> None:
        """Take artifacts, and beside them all files below folders; what is missing stays away."""
        self.folder.mkdir(parents=True, exist_ok=True)
        below = (x / path for x in folders for path, _ in files_below(self.source / x))
        for path in {*artifacts, *below}:
            if (self.source / path).is_file():
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(self.source / path, self.folder / path)

    def read(self, path: PurePosixPath) -> bytes:
        """Return the bytes of a file of the copy."""
        return (self.folder / path).read_bytes()

    def write(self, path: PurePosixPath, data: bytes) -> None:
        """Put a new file in the place of a link: to write into it would write into the channel."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(data)

    def remove(self, path: PurePosixPath) -> None:
        """Remove a link; the file that it leads to stays."""
        (self.folder / path).unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What there is to break: `sizes` of conda artifacts that are there (bytes), smallest first.

    `wheels` are the same of PyPI; `subdir` is this machine's.
    """

    workspace: Workspace
    selection: Selection
    sizes: Mapping[Artifact, int]
    subdir: str
    wheels: Mapping[Artifact, int] = field(default_factory=dict)

    def first(self, fits: Callable[[Artifact], bool], reason: str) -> Artifact:
        """Return the smallest artifact that fits; raises NotApplicable where there is none."""
        for each in self.sizes:
            if fits(each):
                return each
        raise NotApplicable(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a level is shown, and what is broken in it: the artifact or its records.

    Copied are these `artifacts`, as if the lock named them alone, and `subdirs` whole, with their
    channels. `named` is what a finding must name; or `marker` what it says at least, where a
    program is asked that knows no such paths. `place` None: every place that uses the artifacts.
    """

    broken: Artifact
    named: PurePosixPath
    artifacts: tuple[Artifact, ...]
    subdirs: tuple[PurePosixPath, ...] = ()
    place: EnvironmentPlatform | None = None
    marker: str | None = None
    other: PurePosixPath = field(default_factory=PurePosixPath)
    """What takes its place, or where it goes."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One way to break a copy; `choose` says what is broken, or raises NotApplicable."""

    title: str
    level: Level
    choose: Callable[[Candidates], Scope]
    damage: Callable[[Copy, Scope], object]


def scope_of(broken: Artifact, artifacts: tuple[Artifact, ...] = (), **fields: Any) -> Scope:
    """Make a scope of this artifact, or of these, with the subdirs that a reader looks into."""
    some = artifacts or (broken,)
    folders = {each.path.parent for each in some} | {each.channel / NOARCH for each in some}
    defaults: dict[str, Any] = {"named": broken.path, "subdirs": tuple(sorted(folders))}
    return Scope(**{"broken": broken, "artifacts": some, **defaults, **fields})


def _smallest(all_: Candidates) -> Scope:
    return scope_of(next(iter(all_.sizes)))


def _hashed(all_: Candidates) -> Scope:
    reason = "pixi.lock has neither sha256 nor md5 of any artifact"
    return scope_of(all_.first(lambda each: each.digest is not None, reason))


def _swapped(all_: Candidates) -> Scope:
    scope = _hashed(all_)
    mine, size = scope.broken, all_.sizes[scope.broken]
    other = all_.first(
        lambda each: all_.sizes[each] >= size and each != mine and each.digest != mine.digest,
        "there is no other artifact whose bytes could take its place",
    )
    return dataclasses.replace(scope, other=other.path)


def _described_elsewhere(all_: Candidates) -> Scope:
    """Choose a channel with the subdir of another one's artifact, which it does not hold."""
    folder, channels = all_.workspace.place.folder, all_.selection.channels
    for channel in channels:
        for artifact in all_.sizes:
            subdir = channel / artifact.path.parent.name
            named = subdir / artifact.path.name
            is_there = artifact.channel == channel or (folder / named).exists()
            if not is_there and (folder / subdir / REPODATA).is_file():
                subdirs = tuple(sorted({subdir, channel / NOARCH}))
                return Scope(broken=artifact, named=named, artifacts=(), subdirs=subdirs)
    if len(channels) == 1:
        raise NotApplicable("the mirror is one channel")
    raise NotApplicable("no two channels of the mirror have a subdir in common")


def _beside_noarch(all_: Candidates) -> Scope:
    found = all_.first(
        lambda each: each.path.parent.name != NOARCH, "there is no subdir but noarch"
    )
    return scope_of(found, named=found.path.with_name(REPODATA), other=found.channel / NOARCH)


def _packed(all_: Candidates) -> Scope:
    smallest = next(iter(all_.sizes))
    return scope_of(smallest, named=smallest.path.with_name(REPODATA_ZST))


def _of_place(all_: Candidates, *, is_asked_for: bool) -> Scope:
    """Choose the smallest artifact of the smallest place, with all that is installed there.

    `is_asked_for`: one that the manifest itself requires, since a solver need not take any other.
    """
    for each in sorted(plan_sets(all_.selection), key=lambda x: (len(x.packages), x.place)):
        # What is built from source has no record here: without it a place may be open.
        built = each.rows.missing_source_packages if is_asked_for else each.rows.source_names
        names = {x.own.name for x in each.roots if x.own is not None and x.kind == "requires"}
        some = tuple(x for x in all_.sizes if str(x.path) in each.packages)
        wanted = (x for x in some if x.name.lower() in names or not is_asked_for)
        broken = None if built else next(wanted, None)
        if broken is not None:
            urls = each.locked.channels
            channels = {folder_of_channel(all_.selection.layout, url) for url in urls}
            channels |= {x.channel for x in some}
            subdirs = {x / y for x in channels for y in (each.rows.platform.subdir, NOARCH)}
            return scope_of(
                broken,
                some,
                subdirs=tuple(sorted(subdirs)),
                place=each.place,
                marker=broken.name if is_asked_for else None,
            )
    whose = "that the manifest asks for by name" if is_asked_for else "and no source packages"
    raise NotApplicable(f"no environment has an artifact {whose}")


def _noarch(all_: Candidates) -> Scope:
    """Choose a noarch that is installed here, and the python that it may not do without.

    Those known to need none come first.
    """
    for _, place, _, rows in places_of(all_.selection):
        if rows.platform.subdir != all_.subdir:
            continue
        paths = {path_of(all_.selection.layout, each) for each in rows.packages}
        installed = [each for each in all_.sizes if each.path in paths]
        noarch = [each for each in installed if each.path.parent.name == NOARCH]
        for found in sorted(noarch, key=_needs_python):
            python = [each for each in installed if each.name == "python" and _needs_python(found)]
            marker, other = found.path.name, found.channel / all_.subdir
            return scope_of(found, (found, *python), place=place, marker=marker, other=other)
    raise NotApplicable(f"no environment for {all_.subdir} has a noarch artifact")


def _needs_python(artifact: Artifact) -> bool:
    return artifact.conda_record.noarch != "generic"


def remove(copy: Copy, scope: Scope) -> None:
    """Remove the broken artifact of a scope."""
    copy.remove(scope.broken.path)


def cut(copy: Copy, scope: Scope) -> None:
    """Take its last byte away."""
    copy.write(scope.broken.path, copy.read(scope.broken.path)[:-1])


def flip(copy: Copy, scope: Scope) -> None:
    """Flip a bit in its middle."""
    data = bytearray(copy.read(scope.broken.path))
    data[len(data) // 2] ^= 1
    copy.write(scope.broken.path, bytes(data))


def _swap(copy: Copy, scope: Scope) -> None:
    size = len(copy.read(scope.broken.path))
    copy.write(scope.broken.path, (copy.source / scope.other).read_bytes()[:size])


def _put_page(copy: Copy, scope: Scope) -> None:
    size = len(copy.read(scope.broken.path))
    copy.write(scope.broken.path, _PAGE.ljust(size)[:size])


def _move(copy: Copy, scope: Scope) -> None:
    """Move it to a platform's folder: no reader and no installer finds it there."""
    copy.write(scope.other / scope.broken.path.name, copy.read(scope.broken.path))
    copy.remove(scope.broken.path)


def _drop_record(copy: Copy, scope: Scope) -> None:
    path = scope.broken.path
    _edit_index(copy, path.parent, lambda records: records.pop(path.name))


def _drop_all_records(copy: Copy, scope: Scope) -> None:
    """Take away every record of the name: a solver is right to take another one where it can."""

    def edit(records: dict[str, Record]) -> None:
        for each in [x for x, record in records.items() if record.name == scope.broken.name]:
            del records[each]

    for subdir in scope.subdirs:
        if (copy.folder / subdir / REPODATA).is_file():  # a channel need not have them all
            _edit_index(copy, subdir, edit)


def _alter_depends(copy: Copy, scope: Scope) -> None:
    path = scope.broken.path

    def edit(records: dict[str, Record]) -> None:
        depends = (*records[path.name].depends, _NOBODY)
        records[path.name] = records[path.name]._replace(depends=depends)

    _edit_index(copy, path.parent, edit)


def _add_record(copy: Copy, scope: Scope) -> None:
    row = {scope.named.name: scope.broken.conda_record}
    _edit_index(copy, scope.named.parent, lambda records: records.update(row))


def _copy_index(copy: Copy, scope: Scope) -> None:
    """Put the whole index of a channel's `noarch` into another subdir of it."""
    _put_index(copy, copy.folder / scope.other, scope.named.parent)


def _pack_earlier(copy: Copy, scope: Scope) -> None:
    """Make the zst one from before the artifact came."""
    path = scope.broken.path
    records = dict(parse_repodata(copy.read(path.with_name(REPODATA)), REPODATA).records)
    del records[path.name]
    copy.write(scope.named, render_zst(render_repodata(path.parent.name, records.items())))


_installed = partial(_of_place, is_asked_for=False)
_required = partial(_of_place, is_asked_for=True)
MUTATIONS: Final = (
    Mutation("artifact missing", Level.FILES, _smallest, remove),
    Mutation("artifact cut", Level.FILES, _hashed, cut),
    Mutation("one bit of an artifact flipped", Level.FILES, _hashed, flip),
    Mutation("artifact swapped for another of its size", Level.FILES, _swapped, _swap),
    Mutation("page of a server in an artifact's place", Level.ARCHIVES, _smallest, _put_page),
    Mutation("record missing", Level.INDEX, _smallest, _drop_record),
    Mutation("depends altered", Level.INDEX, _smallest, _alter_depends),
    Mutation(
        "record for an artifact of another channel", Level.INDEX, _described_elsewhere, _add_record
    ),
    Mutation("repodata.json of another subdir", Level.INDEX, _beside_noarch, _copy_index),
    Mutation("zst older than json", Level.INDEX, _packed, _pack_earlier),
    Mutation("record missing", Level.CLOSURE, _installed, _drop_record),
    Mutation("depends altered", Level.CLOSURE, _installed, _alter_depends),
    Mutation("record missing", Level.SOLVE, _required, _drop_all_records),
    Mutation("needed noarch moved away", Level.FILES, _noarch, _move),
    Mutation("needed noarch moved away", Level.INSTALL, _noarch, _move),
)


def _edit_index(
    copy: Copy, subdir: PurePosixPath, edit: Callable[[dict[str, Record]], object]
) -> None:
    """Let all index files of a subdir tell the same lie: one alone would be given away."""
    records = dict(parse_repodata(copy.read(subdir / REPODATA), REPODATA).records)
    edit(records)
    by_path = {subdir / name: record for name, record in records.items()}
    with scratch_folder() as made:
        write_index(made, {subdir: by_path}, find_indexer())
        _put_index(copy, made / subdir.name, subdir)


def _put_index(copy: Copy, source: Path, subdir: PurePosixPath) -> None:
    """Put the index files of a folder in the place of those of a subdir."""
    for path, _ in files_below(source):
        if is_index_path(subdir / path):
            copy.write(subdir / path, (source / path).read_bytes())


def narrowed(selection: Selection, scope: Scope) -> Selection:
    """Return the selection as if the lock named the artifacts of a scope alone."""
    paths = frozenset(each.path for each in scope.artifacts)
    locks = []
    for label, lock in selection.labelled:
        environments = tuple(
            dataclasses.replace(
                each,
                find_links=(),  # their pages name more than that
                platforms=tuple(
                    _narrowed(selection.layout, rows, paths)
                    for rows in each.platforms
                    for place in [EnvironmentPlatform(each.name, rows.platform.name, label)]
                    if scope.place in {None, place}
                ),
            )
            for each in lock.environments
        )
        locks.append(dataclasses.replace(lock, environments=environments))
    channels = tuple(sorted({each.parent for each in scope.subdirs if not is_pypi_path(each)}))
    return dataclasses.replace(
        selection, locks=tuple(locks), artifacts=scope.artifacts, channels=channels
    )


def _narrowed(
    layout: Layout, rows: PlatformPackages, paths: Collection[PurePosixPath]
) -> PlatformPackages:
    packages = tuple(each for each in rows.packages if path_of(layout, each) in paths)
    pypi = tuple(each for each in rows.pypi if next(pypi_artifacts(each)).path in paths)
    # Locked all the same: the manifest may ask for them.
    left_out = (*rows.pypi_left_out, *(each for each in rows.pypi if each not in pypi))
    nothing: Any = dict.fromkeys(("build_packages", "build_sets", "unmirrorable", "sources"), ())
    return dataclasses.replace(
        rows, packages=packages, pypi=pypi, pypi_left_out=left_out, **nothing
    )
