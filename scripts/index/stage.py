"""The stage `index`: describe the artifacts of the mirror as conda channels."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from scripts.channel.digest_cache import DigestCache
from scripts.channel.inventory import SEE_TO_DISK, files_below
from scripts.channel.removals import is_due, now, removals_of, remove
from scripts.channel.state import Removal, write_channel, write_removals
from scripts.channel.users import ChannelUsers, save_workspace
from scripts.core.channel_paths import ChannelPaths, is_pypi_path
from scripts.core.channel_url import PYPI_FOLDER
from scripts.core.console import Console
from scripts.core.errors import Problem, raise_problems, usage_problem
from scripts.core.files import FileStatus, disk_errors, hash_file, read_json, write_atomically
from scripts.core.record import Record
from scripts.core.report import Json, Line, Report, counted, named
from scripts.fetch.archives import check_new_archives
from scripts.index.compare import differences, normalise_specs
from scripts.index.file_classes import (
    Channel,
    ChannelFiles,
    IndexedArtifact,
    classify_files,
    file_rows,
    fill_from_index,
    lost_artifacts,
    read_channels,
    read_indexed,
    refuse_links,
    retained_line,
    waiting_whoever_names_it,
)
from scripts.index.indexer import Indexer, find_indexer
from scripts.index.pypi_index import (
    PypiIndex,
    PypiPlan,
    identify_pypi,
    plan_pypi,
    publish_pypi,
    read_pypi_index,
    without_unnamed,
)
from scripts.index.pypi_pages import other_bytes
from scripts.index.repodata import REPODATA
from scripts.lock.model import OLDEST_COMPLETE
from scripts.lock.pypi import is_second_place
from scripts.lock.select import Selection, differing_rows
from scripts.workspace.workspace import Workspace

_OTHERWISE = (
    "a lock says otherwise than the one whose row is indexed: a hotfix has come since one of them"
    " was locked, and `pixi update NAME` there takes it:"
)
_LOST = "named by no lock here, gone from the channel folder, and so from the index:"
_COMES_BACK = " (`pixi run mirror` in the workspace that names it brings it back)"
_FORMAT = 6  # goes up when the same inputs would give another index than before


def index(
    workspace: Workspace,
    selection: Selection,
    console: Console,
    *,
    users: ChannelUsers,
    extra_records: Mapping[PurePosixPath, Record] | None = None,
    dropping: Collection[PurePosixPath] | None = None,
    dry_run: bool = False,
) -> Report:
    """Bring the index of every channel up to date; do nothing where it is.

    `extra_records` are of artifacts that no index in this layout has yet. `dropping` are taken out
    of it, and the caller removes what is due; the rest waits, so that clients at work still find
    it. Raises a MirrorError, with nothing changed, where an artifact is missing (exit code 2; a
    `dry_run` looks for no more) or cannot be opened (1), or the indexer fails (4).
    """
    place, folder, shared = workspace.place, workspace.place.folder, users.named_by_others()
    with disk_errors(folder, SEE_TO_DISK):
        waiting = _waiting(folder, users, dropping or ())
        gone, files = frozenset(each.path for each in waiting), tuple(files_below(folder))
        selection = fill_from_index(folder, selection, shared, extra_records)
        _tell_hotfixes(selection, console)
        channels = read_channels(folder, selection, gone, files)
        pypi = read_pypi_index(folder, selection, files, gone)
        pypi, unnamed = without_unnamed(folder, pypi, console, shared)
        waiting = (*waiting, *removals_of(folder, unnamed, None))
        pypi = replace(pypi, find_links=selection.find_links | users.find_links())
        refuse_links(folder, channels)
        digests = DigestCache(place.digests)
        every: tuple[Channel | PypiIndex, ...] = (*channels, pypi)
        raise_problems(x for each in every for x in _unfit_artifacts(each, digests))
        if dry_run:
            return Report()
        save_workspace(workspace, users, selection.layout)
        if dropping:
            write_removals(place, waiting)
        indexer = find_indexer()
        inputs = _inputs(channels, pypi, indexer)
        outdated, plan = _find_outdated(
            workspace, users, channels, pypi, inputs=inputs, console=console, digests=digests
        )
        del digests  # hundreds of bytes for each artifact, and nobody asks again
        problems, published = _publish_outdated(
            *(workspace, users, outdated, plan, extra_records or {}),
            inputs=inputs,
            indexer=indexer,
            console=console,
        )
        renewed: list[Channel | PypiIndex] = [*outdated, *([] if plan is None else [pypi])]
        stale = {path for each in renewed for path in each.index_files} - published
        still = [each for each in waiting if each.path not in published]
        present = _note_removals(workspace, selection, users, still=still, stale=stale)
        removed = _remove_due(workspace, present) if renewed and dropping is None else ()
        changed = published.union(each.path for each in removed)
        there = [each for each in files if each[0] not in changed]
        there += ((path, FileStatus.of((folder / path).lstat())) for path in published)
        account = classify_files(folder, selection, present, console, there)
        report = _report(channels, pypi, account, removed, is_changed=bool(renewed))
        return replace(report, problems=tuple(problems))


def _tell_hotfixes(selection: Selection, console: Console) -> None:
    found = {(path, label): pair for path, label, *pair in differing_rows(selection)}
    normal = normalise_specs(*({key: pair[n] for key, pair in found.items()} for n in (0, 1)))
    fields = {
        key: [field for field, *_ in differences(said, taken, normal)]
        for key, (said, taken) in found.items()
    }
    rows = [f"{path} ({label}: {', '.join(x)})" for (path, label), x in fields.items() if x]
    if rows:
        console.warn(named(_OTHERWISE, "artifact", rows))


def _waiting(
    folder: Path, users: ChannelUsers, dropping: Iterable[PurePosixPath]
) -> tuple[Removal, ...]:
    """Return what waits for its removal, or does so from now on (`dropping`)."""
    left = {each.path for each in users.last.artifacts} if users.last else set()
    listed = waiting_whoever_names_it(folder, users)
    again = (replace(each, dropped=None) if each.path in left else each for each in listed)
    return (*again, *removals_of(folder, dropping, None))


def _note_removals(
    workspace: Workspace,
    selection: Selection,
    users: ChannelUsers,
    *,
    still: Sequence[Removal],
    stale: Collection[PurePosixPath],
) -> ChannelUsers:
    """Write the list of removals: what is `still` waiting, and index files that are now `stale`."""
    place, when, state = workspace.place, now(), users.state
    new = set(stale) - {each.path for each in still}
    dropped = (*still, *removals_of(place.folder, sorted(new), None))
    removals = tuple(replace(each, dropped=each.dropped or when) for each in dropped)
    if removals != state.removals:
        write_removals(place, removals)
    state = replace(state, removals=removals)
    if state.before_relayout is not None and state.layout is selection.layout:
        state = replace(state, before_relayout=None)  # what it made is on the list now
        write_channel(place, state)
    return replace(users, state=state, last=None)


def _remove_due(workspace: Workspace, users: ChannelUsers) -> tuple[Removal, ...]:
    """Remove what no client can still need, and return it."""
    when, grace, state, named = now(), workspace.settings.grace, users.state, users.named()
    due = {each for each in state.removals if is_due(each, grace, when) and each.path not in named}
    return remove(workspace.place, due, [each for each in state.removals if each not in due])


def _unfit_artifacts(channel: Channel | PypiIndex, digests: DigestCache) -> Iterable[Problem]:
    """Yield a problem for each artifact of the lock that is missing, or has other bytes.

    Nothing is read: only digests in the cache are compared.
    """
    for artifact in channel.artifacts:
        status, size, digest = channel.there.get(artifact.path), artifact.size, artifact.digest
        known, details = None, tuple[tuple[str, str], ...]()
        if status is not None and digest is not None:
            known = digests.known(artifact.path, digest.algorithm, status)
        if status is None:
            message = "is not in the channel folder"
        elif size not in {None, status.st_size}:
            message = "size differs from pixi.lock"
            details = ("expected", f"{size} bytes"), ("actual", f"{status.st_size} bytes")
        elif digest is not None and known is not None and known != digest.hex:
            message = f"{digest.algorithm} differs from {artifact.digest_source}"
            details = ("expected", digest.hex), ("actual", known)
        else:
            continue
        yield usage_problem(artifact.path, message, *details, help="pixi run fetch")


def _inputs(channels: Sequence[Channel], pypi: PypiIndex, indexer: Indexer) -> dict[str, str]:
    """Return a digest of all that decides the index of each channel, and of PyPI's pages."""
    inputs = {str(each.path): _identify(each, indexer.identity) for each in channels}
    return inputs if pypi.is_empty else {**inputs, PYPI_FOLDER: identify_pypi(pypi)}


def _find_outdated(
    workspace: Workspace,
    users: ChannelUsers,
    channels: Sequence[Channel],
    pypi: PypiIndex,
    *,
    inputs: Mapping[str, str],
    console: Console,
    digests: DigestCache,
) -> tuple[list[Channel], PypiPlan | None]:
    """Return the channels whose index is not what their inputs give, and a plan for PyPI's pages.

    None in its place where these are right. Artifacts that cannot be opened are refused; what was
    opened before is not opened again.
    """
    folder, stamps = workspace.place.folder, _read_stamps(workspace.place)

    def is_outdated(path: str, index_files: Sequence[PurePosixPath]) -> bool:
        stamp = inputs.get(path, "") + _digest_of_files(folder, index_files)
        return path in inputs and stamps.get(path) != stamp

    outdated = [each for each in channels if is_outdated(str(each.path), each.index_files)]
    artifacts = [artifact for each in outdated for artifact in each.artifacts]
    damaged, _ = check_new_archives(
        folder, artifacts, digests, lambda said: console.note(f"index: {said}")
    )
    plan = None
    if is_outdated(PYPI_FOLDER, pypi.index_files):
        plan = plan_pypi(folder, pypi, digests, console, shared=users.named_by_others())
        damaged += plan.damaged
    raise_problems(damaged)
    return outdated, plan


def _publish_outdated(
    workspace: Workspace,
    users: ChannelUsers,
    outdated: Sequence[Channel],
    plan: PypiPlan | None,
    extra_records: Mapping[PurePosixPath, Record],
    *,
    inputs: Mapping[str, str],
    indexer: Indexer,
    console: Console,
) -> tuple[list[Problem], set[PurePosixPath]]:
    """Index each of these channels, publish PyPI's pages, and note what they were made from.

    Returns problems of retained artifacts, and the index files published.
    """
    place, folder = workspace.place, workspace.place.folder
    stamps, published = _read_stamps(place), set[PurePosixPath]()

    def note(path: str, index_files: Collection[PurePosixPath]) -> None:
        published.update(index_files)
        stamps[path] = inputs[path] + _digest_of_files(folder, sorted(index_files))
        write_atomically(place.index_stamp, json.dumps(stamps, indent=1).encode())

    def tell_lost(lost: Collection[PurePosixPath]) -> None:
        if lost:
            comes_back = _COMES_BACK if users.others else ""
            console.warn(named(_LOST, "artifact", [*map(str, lost)], comes_back))

    def read(channel: Channel) -> tuple[Channel, Sequence[IndexedArtifact]]:
        count = counted(len(channel.artifacts), "artifact")
        console.detail(f"{folder.name / channel.path}: {count} of the lock")
        tell_lost(lost_artifacts(folder, channel))
        return channel, read_indexed(folder, channel, console, extra_records)

    problems = [] if plan is None else list(plan.problems)
    if outdated:
        from scripts.index.publish import rebuild_indexes  # a run with nothing to do does without

        each_read = map(read, outdated)
        rebuilt = rebuild_indexes(place, each_read, indexer=indexer, named=users.named())
        for channel, files, wrong in rebuilt:
            problems += wrong
            note(str(channel.path), files)
    if plan is not None:
        tell_lost(plan.lost)
        publish_pypi(place, plan)
        note(PYPI_FOLDER, plan.files)
    return problems, published


def _identify(channel: Channel, indexer: str) -> str:
    """Return a digest of all that decides an index: rows of the lock, files, the indexer."""
    is_old = channel.lock_version < OLDEST_COMPLETE
    digest = hashlib.sha256(repr((_FORMAT, indexer, is_old)).encode())
    for artifact in channel.artifacts:
        digest.update(repr((str(artifact.path), tuple(artifact.conda_record))).encode())
    records = {each.path: each.conda_record for each in channel.artifacts}
    for path in sorted(channel.there, key=str):  # to compare paths takes much longer
        status = channel.there[path]
        record = records.get(path)  # which may need bytes of the artifact
        time = status.st_mtime_ns if record and (is_old or record.sha256 is None) else 0
        digest.update(f"{path}\0{status.st_size}\0{time}\n".encode())
    return digest.hexdigest()


def _digest_of_files(folder: Path, paths: Sequence[PurePosixPath]) -> str:
    """Return a digest of the names and bytes of index files, and of which of them are links.

    Every byte is read: a disk may lose a bit and leave a file's size and time as they were.
    """
    read = hashlib.sha256()
    for path in paths:
        file = f"{folder}/{path}"
        if os.path.islink(file):  # noqa: PTH114 -- a Path costs as much again
            read.update(b"link\n")
        digest = hash_file(file, "sha256")
        read.update(f"{path}\0{digest}\n".encode(errors="surrogateescape"))
    return read.hexdigest()


def _read_stamps(place: ChannelPaths) -> dict[str, str]:
    """Read, by channel, the digest of what its index was made from and of the index itself.

    Empty where that is missing or damaged: then all are indexed again.
    """
    stamps = read_json(place.index_stamp)
    return stamps if isinstance(stamps, dict) else {}


def _report(
    channels: Sequence[Channel],
    pypi: PypiIndex,
    files: ChannelFiles,
    removed: Sequence[Removal],
    *,
    is_changed: bool,
) -> Report:
    """Report what is indexed now, and whether anything had to be done."""
    rows: list[dict[str, Json]] = []
    kept = (*files.retained, *files.others)
    records = subdirs = 0
    for channel in channels:
        paths = (each.path for each in files.index if each.path.name == REPODATA)
        own = [each.parent.name for each in paths if each.parents[1] == channel.path]
        number = len(channel.artifacts)
        number += sum(each.path.parents[1] == channel.path for each in kept)
        records, subdirs = records + number, subdirs + len(own)
        if own:
            rows.append({"channel": str(channel.path), "subdirs": own, "records": number})
    done = "indexed" if is_changed else "index is up to date"
    done += f": {counted(records, 'record')} in {counted(subdirs, 'subdir')}"
    of_pypi = (*pypi.artifacts, *(each.artifact for each in kept if is_pypi_path(each.path)))
    # but for the second places of direct URLs
    names = {each.path: each.name for each in of_pypi if not is_second_place(each.path)}
    projects = len(set(names.values()))
    if projects:
        done += f"; {counted(len(names), 'file')} of {counted(projects, 'PyPI project')}"
    lines: list[Line] = [done]
    if files.retained:
        lines.append(retained_line(files))
    untracked = [str(each.path) for each in files.untracked]
    if untracked:
        lines.append(named("untracked, and not indexed:", "file", untracked))
    if removed:
        lines.append(f"removed: {counted(len(removed), 'file')} whose grace has passed")
    all_rows = (*pypi.rows, *(row for each in kept for row in each.rows))
    lines += (f"warning: {each}" for each in other_bytes(all_rows))
    return Report(
        lines=tuple(lines),
        data={
            "changed": is_changed,
            "channels": rows,
            "pypi": {"projects": projects, "files": len(names)},
            "retained": file_rows(files.retained),
            "removed": [str(each.path) for each in removed],
            "untracked": untracked,
        },
    )
