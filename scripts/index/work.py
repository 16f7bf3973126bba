"""What the index of each conda channel is to be made from."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import attrgetter
from pathlib import PurePosixPath

from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, Problem
from scripts.core.record import RECORD_FIELDS
from scripts.core.subdir import NOARCH
from scripts.index.complete import OLDEST_COMPLETE
from scripts.index.contents import ChannelContents
from scripts.lock.select import Selection

_fields_of = attrgetter(*RECORD_FIELDS)  # much faster than repr() of a Record


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelWork:
    """One conda channel: what the lock wants in it, and what is there.

    `is_wanted`: it must be a channel even with nothing in it.
    """

    path: PurePosixPath
    artifacts: tuple[Artifact, ...]
    contents: ChannelContents
    is_wanted: bool
    lock_version: int

    def unlocked(self) -> Iterator[tuple[str, str, os.stat_result]]:
        """Yield subdir, name and status of all that is named like an artifact but not locked."""
        locked = {(artifact.path.parent.name, artifact.path.name) for artifact in self.artifacts}
        for subdir, contents in self.contents.subdirs.items():
            for name, status in contents.artifacts.items():
                if (subdir, name) not in locked:
                    yield subdir, name, status


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Digests of all that decides an index: the rows of the lock, and the files on the disk."""

    records: str
    files: str


def plan_work(selection: Selection, channels: Sequence[ChannelContents]) -> tuple[ChannelWork, ...]:
    """Give each channel its artifacts."""
    by_channel: dict[PurePosixPath, list[Artifact]] = {}
    for artifact in selection.artifacts:
        by_channel.setdefault(artifact.channel, []).append(artifact)
    wanted = frozenset(selection.channels)
    return tuple(
        ChannelWork(
            path=contents.path,
            artifacts=tuple(by_channel.get(contents.path, ())),
            contents=contents,
            is_wanted=contents.path in wanted,
            lock_version=selection.lock_version,
        )
        for contents in channels
    )


def without(contents: ChannelContents, waiting: AbstractSet[PurePosixPath]) -> ChannelContents:
    """Return the contents as they will be when these files are gone."""
    if not waiting:
        return contents
    subdirs = {}
    for subdir, each in contents.subdirs.items():
        artifacts, index_files = (
            {
                name: status
                for name, status in files.items()
                if contents.path / subdir / name not in waiting
            }
            for files in (each.artifacts, each.index_files)
        )
        subdirs[subdir] = dataclasses.replace(each, artifacts=artifacts, index_files=index_files)
    return dataclasses.replace(contents, subdirs=subdirs)


def missing_artifacts(work: ChannelWork) -> Iterator[Problem]:
    """Yield a problem for each artifact of the lock that is not there, or has another size."""
    for artifact in work.artifacts:
        subdir, name = artifact.path.parent.name, artifact.path.name
        status = work.contents.subdir(subdir).artifacts.get(name)
        size = artifact.size
        if status is None:
            yield _unfit(artifact, "is not in the channel folder")
        elif size is not None and status.st_size != size:
            sizes = (("expected", f"{size} bytes"), ("actual", f"{status.st_size} bytes"))
            yield dataclasses.replace(_unfit(artifact, "size differs from pixi.lock"), facts=sizes)


def _unfit(artifact: Artifact, trouble: str) -> Problem:
    return Problem(
        subject=str(artifact.path), trouble=trouble, code=ExitCode.USAGE, help="pixi run fetch"
    )


def identify(work: ChannelWork) -> Identity:
    """Compute the digests by which a later run sees that nothing has changed."""
    rows = [(str(artifact.path), _fields_of(artifact.conda_record)) for artifact in work.artifacts]
    records = hashlib.sha256(repr((work.lock_version < OLDEST_COMPLETE, rows)).encode())
    by_bytes = {str(each.path) for each in work.artifacts if depends_on_bytes(each, work)}
    files = hashlib.sha256()
    for subdir, contents in sorted(work.contents.subdirs.items()):
        start = str(work.path / subdir)
        for name, status in sorted(contents.artifacts.items()):
            path = f"{start}/{name}"
            time = status.st_mtime_ns if path in by_bytes else 0
            files.update(f"{path}\0{status.st_size}\0{time}\n".encode())
    return Identity(records=records.hexdigest(), files=files.hexdigest())


def depends_on_bytes(artifact: Artifact, work: ChannelWork) -> bool:
    """Tell whether the record cannot be made without reading the artifact."""
    return work.lock_version < OLDEST_COMPLETE or artifact.conda_record.sha256 is None


def subdirs_to_write(work: ChannelWork, filled: AbstractSet[str]) -> tuple[str, ...]:
    """Name the subdirs that get an index: those with records; and `noarch`, which clients need.

    CEP 26: a channel without `noarch/repodata.json` is none.
    """
    if filled or work.is_wanted:
        return tuple(sorted(filled | {NOARCH}))
    return ()
