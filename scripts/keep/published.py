"""What the published index of a channel folder names, read from that index alone.

So it is told without any lock, and of a channel that was unbundled as of one that was mirrored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from scripts.channel.inventory import files_below
from scripts.channel.removals import still_waiting
from scripts.channel.state import read_channel_state
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPaths, Layout
from scripts.core.console import Console
from scripts.core.errors import Problem, finding_problem
from scripts.core.files import FileStatus, exists, hash_file
from scripts.core.redact import is_utf8, without_secrets
from scripts.core.report import listed
from scripts.core.scratch import is_scratch
from scripts.index.file_classes import read_channels, read_indexed
from scripts.index.pypi_index import read_pages, read_pypi_index
from scripts.keep.snapshots import (
    INDEX_KIND,
    Snapshot,
    SnapshotFile,
    by_path,
)
from scripts.lock.location import is_path
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.select import Selection


def read_published(
    place: ChannelPaths,
    layout: Layout,
    console: Console,
    *,
    files: Sequence[tuple[PurePosixPath, FileStatus]] | None = None,
    urls: Mapping[PurePosixPath, str | None] | None = None,
    before: Iterable[SnapshotFile] = (),
) -> tuple[SnapshotFile, ...]:
    """Return what the index names and is there, and the files of the index itself, by path.

    Of an artifact its index says sha256 and size, and no byte is read; index files are hashed. Left
    out is what waits for its removal, and scratch. `files` are all below the channel
    folder, where they are known; `urls` say where conda artifacts are from, without secrets, and
    else `before`, the files of an earlier snapshot.
    Raises an OSError, or the error of exit code 2, where one cannot look.
    """
    folder, nothing = place.folder, Selection(layout=layout)
    there = tuple(files_below(folder)) if files is None else files
    removals = read_channel_state(place).removals
    gone = {each.path for each in still_waiting(folder, removals, frozenset())}
    channels = read_channels(folder, nothing, gone, there)
    pypi = read_pypi_index(folder, nothing, there, gone)
    known = {(each.path, each.sha256): each.url for each in before}
    named: dict[PurePosixPath, tuple[Artifact, int]] = {
        each.path: (each.artifact, each.size)
        for channel in channels
        for each in read_indexed(folder, channel, console)
    }
    named |= {
        each.path: (each, file.size)
        for file in read_pages(folder, pypi, console)
        for record in file.records
        for each in pypi_artifacts(record)  # at all its places
        if each.path in pypi.there
    }
    found = list[SnapshotFile]()
    for path, (artifact, size) in named.items():
        sha256 = artifact.digest_hex("sha256") or hash_file(folder / path, "sha256")
        found.append(
            SnapshotFile(
                path=path,
                kind=artifact.kind,
                size=size if artifact.size is None else artifact.size,
                sha256=sha256,
                url=_url_of(artifact) or (urls or {}).get(path) or known.get((path, sha256)),
                license=artifact.license,
            )
        )
    index_files = [path for each in channels for path in each.index_files]
    index_files += pypi.index_files
    # What is named like a shard, and not UTF-8, no index names: the next one removes it.
    left = (each for each in index_files if is_utf8(str(each)) and not is_scratch(each.name))
    found += (_index_file(folder, path) for path in left)
    return tuple(sorted(found, key=by_path))


def moved_problems(
    place: ChannelPaths, newest: Snapshot, files: Iterable[SnapshotFile], console: Console
) -> tuple[Problem, ...]:
    """Return the problem where what is published is not what the newest snapshot says: `files`.

    So it is between the index and the snapshot of a run that was stopped, and of a far side where
    an `unbundle` was.
    """
    published = read_published(place, newest.layout, console)
    there, wanted = ({(str(x.path), x.sha256) for x in each} for each in (published, files))
    if there == wanted:
        return ()
    message = "is no longer what its newest snapshot says: a run was stopped, or somebody else"
    odd = listed(sorted({path for path, _ in there ^ wanted}), 1, "")
    details = (("snapshot", newest.id), ("differs", odd))
    help_ = "pixi run mirror, which leaves a snapshot of what is there"
    if exists(place.unbundled):
        help_ = "unbundle its last bundle again, which ends what was stopped, or a --full one; or"
        help_ += f" `pixi run rollback {newest.id}`, which goes back"
    help_ += "; then run this again"
    return (finding_problem(place.folder, f"{message} has changed it", *details, help=help_),)


def urls_of(selection: Selection) -> dict[PurePosixPath, str | None]:
    """Say where the conda artifacts of a selection are from, without secrets."""
    return {each.path: _url_of(each) for each in selection.conda_artifacts}


def _url_of(artifact: Artifact) -> str | None:
    url = next(iter(artifact.urls), None)
    if url is None or is_path(url):
        return None
    return without_secrets(url, of_pypi=not artifact.is_conda)


def _index_file(folder: Path, path: PurePosixPath) -> SnapshotFile:
    return SnapshotFile(
        path=path,
        kind=INDEX_KIND,
        size=(folder / path).stat().st_size,
        sha256=hash_file(folder / path, "sha256"),
    )
