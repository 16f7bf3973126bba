"""The stage `index`: describe the artifacts of the mirror as conda channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import PurePosixPath

from scripts.channel.digest_cache import Digests
from scripts.channel.mirror_state import Removal, write_removals
from scripts.channel.owners import Owners, remember
from scripts.channel.prepare import clear_staging
from scripts.channel.removals import is_due, now, published, remove, still_waiting, to_remove
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPlace
from scripts.core.console import Console
from scripts.core.errors import MirrorError, Problem, usage_error
from scripts.core.files import naming, replace
from scripts.core.record import Record
from scripts.core.report import Report, human_size, to_json
from scripts.core.subdir import NOARCH
from scripts.core.symlinks import refuse_obstacles
from scripts.fetch.archives import check_new_archives
from scripts.index.account import damaged_problem, indexed_of, look_into_mirror, untracked_of
from scripts.index.contents import INDEX_FILES, look_into_channel
from scripts.index.indexer import Indexer, find_indexer
from scripts.index.repodata import SHARDS
from scripts.index.stamp import ChannelStamp, Summary, parse_stamps, render_stamps
from scripts.index.unchanged import digest_of_index_files
from scripts.index.work import (
    ChannelWork,
    Identity,
    identify,
    missing_artifacts,
    without,
)
from scripts.lock.select import Selection
from scripts.workspace.workspace import Workspace

_NEVER_MADE = ChannelStamp(
    made_from=Identity(records="", files=""),
    indexer="",
    files="",
    summary=Summary(channel="", subdirs=(), records=0, not_locked=()),
)


def index(
    workspace: Workspace,
    selection: Selection,
    console: Console,
    *,
    owners: Owners,
    carried: Mapping[PurePosixPath, Record] | None = None,
    dropping: Collection[PurePosixPath] | None = None,
) -> Report:
    """Bring the index of every channel up to date; do nothing where it is.

    `carried` are records of
    artifacts that no index in this layout has yet. `dropping` are artifacts that it is to name no
    more; where it is given, the caller removes what is due. A client at work finds all that the
    index named before: what it no longer names waits for its removal.
    Raises a MirrorError, with nothing changed, where an artifact is missing (exit code 2) or can
    be opened by nobody (1), or the indexer does not do what it should (4).
    """
    place = workspace.place
    named = owners.named()
    try:
        waiting = still_waiting(place.folder, owners.state.removals, named)
        waiting += to_remove(place.folder, dropping or (), None)
        gone = frozenset(each.path for each in waiting)
        works = tuple(
            dataclasses.replace(work, contents=without(work.contents, gone))
            for work in look_into_mirror(place, selection)
        )
        _refuse_obstacles(place, works)
        problems = [problem for work in works for problem in missing_artifacts(work)]
        if problems:
            raise MirrorError(*problems)
        remember(workspace, owners, selection.layout)
        clear_staging(place)  # of a run that was killed
        if dropping:
            write_removals(place, waiting)
        indexing = _Indexing(place, find_indexer(), carried or {}, named, console)
        stamps = indexing.run(works, gone)
        when = now()
        removals = _drop(indexing, waiting, when)
        if removals != owners.state.removals:
            write_removals(place, removals)
        removed: tuple[Removal, ...] = ()
        if indexing.changed and dropping is None:
            due = [each for each in removals if is_due(each, workspace.settings.grace, when)]
            if due:
                removed = remove(place, due, [each for each in removals if each not in due])
        known = owners.named_now() | {each.path for each in removals}
        untracked = untracked_of(place.folder, stamps, known)
        return _report(stamps, known, untracked, indexing, removed)
    except BrokenPipeError:  # nobody reads what is printed
        raise
    except OSError as error:
        name, reason = error.filename or str(place.folder), error.strerror or str(error)
        raise usage_error(str(name), f"cannot be read or written: {reason}") from error


def _drop(indexing: _Indexing, waiting: Sequence[Removal], when: datetime) -> tuple[Removal, ...]:
    """Return all that waits for its removal now that the index is published."""
    still = [each for each in waiting if each.path not in indexing.published]
    listed = {each.path for each in still}
    stale = [path for path in indexing.stale if path not in listed]
    return published((*still, *to_remove(indexing.place.folder, stale, None)), when)


def _refuse_obstacles(place: ChannelPlace, works: tuple[ChannelWork, ...]) -> None:
    """Refuse links and folders in place of what is written, also of subdirs now empty."""
    subdirs = [
        work.path / subdir
        for work in works
        for subdir in {
            NOARCH,
            *work.contents.subdirs,
            *(each.path.parent.name for each in work.artifacts),
        }
    ]
    refuse_obstacles(
        place.folder,
        [subdir / name for subdir in subdirs for name in INDEX_FILES],
        [subdir / SHARDS for subdir in subdirs],
    )


class _Indexing:
    """One run over all channels: what it published, what that no longer names, what is damaged."""

    def __init__(
        self,
        place: ChannelPlace,
        indexer: Indexer,
        carried: Mapping[PurePosixPath, Record],
        named: AbstractSet[PurePosixPath],
        console: Console,
    ) -> None:
        self.place = place
        self._indexer = indexer
        self._carried = carried
        self._named = named
        self._console = console
        self.changed = False
        self.published: set[PurePosixPath] = set()
        self.stale: list[PurePosixPath] = []
        self.problems: list[Problem] = []

    def run(
        self, works: Sequence[ChannelWork], waiting: AbstractSet[PurePosixPath]
    ) -> list[ChannelStamp]:
        """Index what is not current; return a stamp for each channel."""
        known = {stamp.summary.channel: stamp for stamp in _read_stamps(self.place)}
        # Of a channel that is neither wanted nor filled, all that is left waits for its removal.
        works = [work for work in works if work.is_wanted or not work.contents.is_empty]
        identities = {work.path: identify(work) for work in works}
        outdated = [
            work
            for work in works
            for stamp in [known.get(str(work.path), _NEVER_MADE)]
            if (stamp.made_from, stamp.indexer, stamp.files)
            != (
                identities[work.path],
                self._indexer.identity,
                digest_of_index_files(self.place.folder / work.path, work.contents),
            )
        ]
        self._refuse_damaged([artifact for work in outdated for artifact in work.artifacts])
        stamps = {path: known[path] for work in works if (path := str(work.path)) in known}
        for work in outdated:
            path = str(work.path)
            made = self._index_channel(work, waiting)
            stamps.pop(path, None)
            if work.is_wanted or made.summary.subdirs:
                stamps[path] = dataclasses.replace(made, made_from=identities[work.path])
            known |= stamps
            _write_stamps(self.place, known.values())
            self.changed = True
        if known.keys() != stamps.keys():
            _write_stamps(self.place, stamps.values())
        return [stamps[path] for path in sorted(stamps)]

    def _refuse_damaged(self, artifacts: Sequence[Artifact]) -> None:
        """Refuse to index what nobody can open; what `fetch` has opened is not opened again."""
        if not artifacts:
            return
        place, note = self.place, self._console.note
        problems, _ = check_new_archives(
            place.folder, artifacts, Digests(place.digests), lambda said: note(f"index: {said}")
        )
        if problems:
            raise MirrorError(*problems)

    def _index_channel(
        self, work: ChannelWork, waiting: AbstractSet[PurePosixPath]
    ) -> ChannelStamp:
        """Build, compare and publish the index of one channel."""
        # A run with nothing to do does without these.
        from scripts.index.build import build_index
        from scripts.index.publish import make_repodata_durable, publish, published_names
        from scripts.index.seed import make_seed
        from scripts.index.staging import fresh_folder

        place, console = self.place, self._console
        indexed = indexed_of(work, place.folder, waiting, self._carried, console)
        self.problems += [damaged_problem(each) for each in indexed if not each.is_whole]
        kept = tuple(each for each in indexed if each.is_whole)
        console.detail(
            f"{place.folder.name}/{work.path}: {len(work.artifacts)} artifacts of the lock"
        )
        seed = make_seed(work, kept, place.folder, Digests(place.digests))
        channel = place.folder / work.path
        with fresh_folder(place) as staged:
            built = (
                build_index(place.folder, seed, self._indexer, staged, self._named)
                if seed.subdirs
                else ()
            )
            if kept:
                make_repodata_durable(built, staged)
            publish(built, staged, channel)
        names = published_names(built)
        published_now = {work.path / name for name in names}
        stale = [work.path / name for name, _ in work.contents.index_files() if name not in names]
        self.published |= published_now
        self.stale += stale
        # A shard that was waiting may be named again.
        still_gone = (waiting - published_now) | set(stale)
        contents = without(look_into_channel(place.folder, work.path), still_gone)
        return ChannelStamp(
            made_from=Identity(records="", files=""),
            indexer=self._indexer.identity,
            files=digest_of_index_files(channel, contents),
            summary=Summary(
                channel=str(work.path),
                subdirs=tuple(each.subdir for each in seed.subdirs),
                records=sum(len(each.locked) + len(each.kept) for each in seed.subdirs),
                not_locked=tuple((str(each.path), each.size) for each in kept),
            ),
        )


def _read_stamps(place: ChannelPlace) -> tuple[ChannelStamp, ...]:
    """Read what the indexes were last made from; nothing where that is not known."""
    path = place.index_stamp
    try:
        return parse_stamps(path.read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        trouble = f"cannot be read: {error.strerror}"
        raise usage_error(str(path), trouble, help="remove it; it is made again") from None


def _write_stamps(place: ChannelPlace, stamps: Iterable[ChannelStamp]) -> None:
    """Replace the stamps, not durably: where a power cut takes them, the index is made again."""
    place.cache.mkdir(parents=True, exist_ok=True)
    part = place.index_stamp.with_suffix(".tmp")
    with naming(place.index_stamp):
        part.write_bytes(render_stamps(tuple(stamps)))
    replace(part, place.index_stamp)


def _report(
    stamps: Sequence[ChannelStamp],
    known: AbstractSet[PurePosixPath],
    untracked: Sequence[PurePosixPath],
    indexing: _Indexing,
    removed: Sequence[Removal],
) -> Report:
    """Say what is indexed now, and whether that took anything; `known` is named, or waits."""
    summaries = [stamp.summary for stamp in stamps]
    records = counted(sum(each.records for each in summaries), "record")
    subdirs = counted(sum(len(each.subdirs) for each in summaries), "subdir")
    changed = indexing.changed
    lines = [f"{'indexed' if changed else 'index is up to date'}: {records} in {subdirs}"]
    retained = [
        (path, size)
        for each in summaries
        for path, size in each.not_locked
        if PurePosixPath(path) not in known
    ]
    if retained:
        lines.append(retained_line(len(retained), sum(size for _, size in retained)))
    if untracked:
        lines.append(f"untracked, and not indexed: {', '.join(map(str, untracked))}")
    return Report(
        lines=tuple(lines),
        data={
            "changed": changed,
            "channels": [
                {
                    "channel": each.channel,
                    "subdirs": to_json(each.subdirs),
                    "records": each.records,
                }
                for each in summaries
            ],
            "retained": [{"path": path, "size": size} for path, size in retained],
            "removed": [str(each.path) for each in removed],
            "untracked": [str(path) for path in untracked],
        },
        problems=tuple(indexing.problems),
    )


def retained_line(files: int, size: int) -> str:
    """Say how much is indexed that no lock names."""
    return (
        f"retained (indexed, in no lock): {counted(files, 'artifact')}, {human_size(size)};"
        " `pixi run prune` removes them"
    )


def counted(number: int, noun: str) -> str:
    """Write a number of things: `1 record`, `2 records`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
