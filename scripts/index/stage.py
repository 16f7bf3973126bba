"""The stage `index`: describe the artifacts of the mirror as conda channels. Acts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath

from scripts.channel.digests import Digests
from scripts.channel.obstacles import refuse_obstacles
from scripts.channel.state import ChannelPlace
from scripts.core.console import Console
from scripts.core.errors import MirrorError, usage_error
from scripts.core.file_name import parse_file_name
from scripts.core.files import replace
from scripts.core.report import Report, human_size, to_json
from scripts.core.subdir import NOARCH
from scripts.fetch.archives import check_archives
from scripts.index.contents import INDEX_FILES, look_into_channel
from scripts.index.indexer import Indexer, find_indexer
from scripts.index.leftovers import leftovers_of, look_into_mirror, read_stamps
from scripts.index.repodata import SHARDS
from scripts.index.stamp import ChannelStamp, IndexFiles, Summary, render_stamps
from scripts.index.unchanged import are_unchanged, index_files_of
from scripts.index.work import (
    ChannelWork,
    Identity,
    identify,
    missing_artifacts,
    without,
)
from scripts.lock.select import Artifact, Selection
from scripts.manifest.workspace import Workspace

_NEVER_MADE = ChannelStamp(
    made_from=Identity(records="", files=""),
    indexer="",
    files=IndexFiles(contents="", statuses="", boot=None),
    summary=Summary(channel="", subdirs=(), records=0, kept=0, kept_bytes=0, foreign=()),
)


def index(workspace: Workspace, selection: Selection, console: Console) -> Report:
    """Bring the index of every channel up to date; do nothing where it is.

    Raises a MirrorError, with nothing changed, where an artifact is missing (exit code 2) or can
    be opened by nobody (1), or the indexer does not do what it should (4).
    """
    return index_without(workspace, selection, frozenset(), console)


def index_without(
    workspace: Workspace,
    selection: Selection,
    dropped: AbstractSet[PurePosixPath],
    console: Console,
) -> Report:
    """Index as if these artifacts (relative to the channel folder) were already gone."""
    place = workspace.place
    try:
        works = tuple(
            dataclasses.replace(work, contents=without(work.contents, dropped))
            for work in look_into_mirror(place, selection)
        )
        _refuse_obstacles(place, works)
        problems = [problem for work in works for problem in missing_artifacts(work)]
        if problems:
            raise MirrorError(*problems)
        return _index_all(place, works, find_indexer(), console)
    except BrokenPipeError:  # nobody reads what is printed
        raise
    except OSError as error:
        name, reason = error.filename or str(place.folder), error.strerror or str(error)
        raise usage_error(str(name), f"cannot be read or written: {reason}") from error


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


def _index_all(
    place: ChannelPlace, works: tuple[ChannelWork, ...], indexer: Indexer, console: Console
) -> Report:
    """Index what is not current, and report of all channels."""
    known = {stamp.summary.channel: stamp for stamp in read_stamps(place)}
    stamps = {str(work.path): known.get(str(work.path), _never_made(work)) for work in works}
    identities = {work.path: identify(work) for work in works}
    stale = {
        work.path: work
        for work in works
        for stamp in [stamps[str(work.path)]]
        if (stamp.made_from, stamp.indexer) != (identities[work.path], indexer.identity)
        or not are_unchanged(stamp.files, place.folder / work.path, work.contents)
    }
    _refuse_damaged(
        place, [artifact for work in stale.values() for artifact in work.artifacts], console
    )
    for work in works:
        path = str(work.path)
        if work.path not in stale:
            stamps[path] = _with_foreign(stamps[path], work)
            continue
        if path not in known:
            # known before it is visible: so a later lock without this channel finds it again
            _write_stamps(place, stamps.values())
        made = _index_channel(place, work, indexer, console)
        stamps[path] = dataclasses.replace(made, made_from=identities[work.path])
        if not work.is_wanted and not made.summary.subdirs:
            del stamps[path]
        _write_stamps(place, stamps.values())
    return _report(list(stamps.values()), changed=bool(stale))


def _refuse_damaged(place: ChannelPlace, artifacts: Sequence[Artifact], console: Console) -> None:
    """Refuse to index what nobody can open; what `fetch` has opened is not opened again."""
    if not artifacts:
        return
    problems, _ = check_archives(
        place.folder, artifacts, Digests(place.digests), lambda said: console.note(f"index: {said}")
    )
    if problems:
        raise MirrorError(*problems)


def _with_foreign(stamp: ChannelStamp, work: ChannelWork) -> ChannelStamp:
    """List what is foreign now; among files named like artifacts that cannot have changed."""
    earlier = stamp.summary.foreign
    archives = [each for each in earlier if parse_file_name(PurePosixPath(each).name) is not None]
    foreign = tuple(sorted({*archives, *map(str, work.others())}))
    return dataclasses.replace(stamp, summary=dataclasses.replace(stamp.summary, foreign=foreign))


def _never_made(work: ChannelWork) -> ChannelStamp:
    summary = dataclasses.replace(_NEVER_MADE.summary, channel=str(work.path))
    return dataclasses.replace(_NEVER_MADE, summary=summary)


def _write_stamps(place: ChannelPlace, stamps: Iterable[ChannelStamp]) -> None:
    """Replace the stamps, not durably: where a power cut takes them, the index is made again."""
    place.state.mkdir(parents=True, exist_ok=True)
    part = place.index_stamp.with_suffix(".tmp")
    part.write_bytes(render_stamps(tuple(stamps)))
    replace(part, place.index_stamp)


def _index_channel(
    place: ChannelPlace, work: ChannelWork, indexer: Indexer, console: Console
) -> ChannelStamp:
    """Build, compare and publish the index of one channel."""
    # A run with nothing to do does without these.
    from scripts.index.build import build_index
    from scripts.index.publish import make_repodata_durable, publish, remove_empty_channel
    from scripts.index.seed import make_seed
    from scripts.index.staging import fresh_folder

    leftovers = leftovers_of(work, place.folder, console)
    console.detail(f"{place.folder.name}/{work.path}: {len(work.artifacts)} artifacts of the lock")
    seed = make_seed(work, leftovers.kept, place.folder, Digests(place.digests))
    channel = place.folder / work.path
    with fresh_folder(place.staging) as staged:
        built = build_index(place.folder, seed, indexer, staged) if seed.subdirs else ()
        if leftovers.kept:
            make_repodata_durable(built, staged)
        publish(built, staged, channel, work.contents)
    if not built:
        remove_empty_channel(place.folder, work.path)
    return ChannelStamp(
        made_from=Identity(records="", files=""),
        indexer=indexer.identity,
        files=index_files_of(channel, look_into_channel(place.folder, work.path)),
        summary=Summary(
            channel=str(work.path),
            subdirs=tuple(each.subdir for each in seed.subdirs),
            records=sum(len(each.locked) + len(each.kept) for each in seed.subdirs),
            kept=len(leftovers.kept),
            kept_bytes=sum(each.size for each in leftovers.kept),
            foreign=tuple(map(str, leftovers.foreign)),
        ),
    )


def _report(stamps: list[ChannelStamp], *, changed: bool) -> Report:
    """Say what is indexed now, and whether that took anything."""
    summaries = [stamp.summary for stamp in stamps]
    records = counted(sum(each.records for each in summaries), "record")
    subdirs = counted(sum(len(each.subdirs) for each in summaries), "subdir")
    lines = [f"{'indexed' if changed else 'index is up to date'}: {records} in {subdirs}"]
    kept = sum(each.kept for each in summaries)
    if kept:
        size = human_size(sum(each.kept_bytes for each in summaries))
        artifacts = counted(kept, "artifact")
        lines.append(f"kept from before: {artifacts}, {size}; `pixi run prune` removes them")
    foreign = [name for each in summaries for name in each.foreign]
    if foreign:
        lines.append(f"not indexed, since pixi-mirror does not know them: {', '.join(foreign)}")
    return Report(
        lines=tuple(lines),
        data={"changed": changed, "channels": [to_json(each) for each in summaries]},
    )


def counted(number: int, noun: str) -> str:
    """Write a number of things: `1 record`, `2 records`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
