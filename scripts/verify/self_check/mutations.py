"""What the self-check breaks, in a copy: for each mutation the level that must notice it, and how.

Each takes what is smallest of its kind: what is noticed of a small artifact is noticed of any, and
a large channel is not to cost hours.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.channel.inventory import files_below
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import Layout, is_pypi_path
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
from scripts.lock.model import PlatformPackages, spec_name
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.select import Selection, path_of
from scripts.verify.findings import EnvironmentPlatform, Level, places_of
from scripts.verify.solve import plan_solves
from scripts.workspace.settings import IncompleteKind
from scripts.workspace.workspace import Workspace

_PAGE: Final = b"<!DOCTYPE html>\n"
_NOBODY: Final = "no-such-package-of-the-self-check"
# A requirement with nothing in brackets, which may say that it does not always hold.
_PLAIN: Final = re.compile(r"([A-Za-z0-9_.-]+)[^\[]*")


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
    return scope_of(all_.first(lambda each: each.digest is not None, reason), subdirs=())


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


def _pair(all_: Candidates) -> tuple[Scope, Scope]:
    """Choose an artifact and what it needs, in the smallest environment where there are such."""
    selection = all_.selection
    artifacts = {each.path: each for each in selection.artifacts}
    places = [(len(rows.packages), place, rows) for place, _, rows in places_of(selection)]
    for _, place, rows in sorted(places, key=lambda each: each[:2]):
        if any(each.kind is IncompleteKind.SOURCE for each in rows.unmirrorable):
            continue  # they have no record: without them an environment may be open
        mine = tuple(artifacts[path_of(selection.layout, package)] for package in rows.packages)
        by_name = {each.name.lower(): each for each in mine}
        for needy in mine:
            for spec in needy.conda_record.depends:
                name = _PLAIN.fullmatch(spec)
                needed = None if name is None else by_name.get(name[1].lower())
                if needed is not None and needed is not needy:
                    return scope_of(needy, mine, place=place), scope_of(needed, mine, place=place)
    reason = "no environment without source packages has an artifact that another one needs"
    raise NotApplicable(reason)


def _required(all_: Candidates) -> Scope:
    """Choose what the manifest itself asks for, in the smallest environment there is."""
    workspace, selection = all_.workspace, all_.selection
    folder = workspace.place.folder
    plans = plan_solves(selection, folder)
    jobs = [each for each in plans if each.skip_reason is None]
    for job in sorted(jobs, key=lambda each: (len(each.locked), each.place)):
        names = {spec_name(spec.rpartition("::")[2]) for spec in job.question["specs"]}
        artifacts = tuple(each for each in all_.sizes if each.path in job.locked)
        for artifact in artifacts:
            if artifact.name.lower() in names:
                return scope_of(
                    artifact,
                    artifacts,
                    subdirs=tuple(
                        folder / each
                        for folder in job.folders
                        for each in sorted({job.question["subdir"], NOARCH})
                    ),
                    place=job.place,
                    marker=artifact.name,
                )
    raise NotApplicable("no environment has an artifact that the manifest asks for by name")


def _noarch(all_: Candidates) -> Scope:
    found = all_.first(lambda each: each.path.parent.name == NOARCH, "there is no noarch artifact")
    return scope_of(found, subdirs=(), other=found.channel / all_.subdir)


def _installed_noarch(all_: Candidates) -> Scope:
    """Choose one that is installed here, and the python that it may not do without.

    Those known to need none come first.
    """
    _noarch(all_)
    for place, _, rows in places_of(all_.selection):
        if rows.platform.subdir != all_.subdir:
            continue
        paths = {path_of(all_.selection.layout, each) for each in rows.packages}
        installed = [each for each in all_.sizes if each.path in paths]
        noarch = [each for each in installed if each.path.parent.name == NOARCH]
        for found in sorted(noarch, key=_needs_python):
            python = [each for each in installed if each.name == "python" and _needs_python(found)]
            return scope_of(
                found,
                (found, *python),
                place=place,
                marker=found.path.name,
                other=found.channel / all_.subdir,
            )
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
    Mutation("record missing", Level.CLOSURE, lambda all_: _pair(all_)[1], _drop_record),
    Mutation("depends altered", Level.CLOSURE, lambda all_: _pair(all_)[0], _alter_depends),
    Mutation("record missing", Level.SOLVE, _required, _drop_all_records),
    Mutation("needed noarch moved away", Level.FILES, _noarch, _move),
    Mutation("needed noarch moved away", Level.INSTALL, _installed_noarch, _move),
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
    packages, build_packages = (
        tuple(each for each in some if path_of(layout, each) in paths)
        for some in (rows.packages, rows.build_packages)
    )
    pypi = tuple(each for each in rows.pypi if next(pypi_artifacts(each)).path in paths)
    # Locked all the same: the manifest may ask for them.
    left_out = (*rows.pypi_left_out, *(each for each in rows.pypi if each not in pypi))
    nothing: Any = dict.fromkeys(("build_sets", "unmirrorable", "sources"), ())
    return dataclasses.replace(
        rows,
        packages=packages,
        build_packages=build_packages,
        pypi=pypi,
        pypi_left_out=left_out,
        **nothing,
    )
