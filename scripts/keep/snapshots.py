"""Snapshots: what the published index of a mirror named at a time, never changed afterwards.

A record is `state/snapshots/<id>.jsonl`: a line of what is said of the whole, then a line for each
file. Its tree `state/snapshots/<id>/` holds the files themselves, `<id>.locks/` the locks. What
later runs have found of the same files, that they stand and are proven, is `<id>.later.json`.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from scripts.channel.inventory import cannot_read
from scripts.channel.state import parse_string, path_inside
from scripts.core.artifact import ArtifactKind
from scripts.core.channel_paths import ChannelPaths, Layout
from scripts.core.errors import MirrorError, first_details, usage_error, usage_problem
from scripts.core.files import exists, regular_status, write_atomically
from scripts.core.report import Json, to_json
from scripts.keep.unbundle import content_digest

ROLLBACK: Final = "rollback"
"""The task that publishes an earlier snapshot again."""
INDEX_KIND: Final = "index"
"""The kind of a file that describes artifacts; all others are of an `ArtifactKind`."""
_SCHEMA: Final = 1
_RECORD_END: Final = ".jsonl"
_YEARS: Final = range(1970, 2100)  # of which a time is
_LARGEST: Final = 1 << 62  # bytes, or files
_SHOWN: Final = 5  # ids that an error names


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """A file that the published index named, or that was of that index."""

    path: PurePosixPath
    """Relative to the channel folder."""
    kind: str
    """An `ArtifactKind`, or `INDEX_KIND`."""
    size: int
    sha256: str
    url: str | None = None
    """Where it was fetched from, without secrets; None: not known, or of the index."""
    license: str | None = None
    """As its record in the index says; None: it does not, or nobody knows."""

    @property
    def is_index(self) -> bool:
        """Tell whether it is of the index, and no artifact."""
        return self.kind == INDEX_KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotLock:
    """One of the locks that a snapshot was made by; None: the file was not there, or is remote."""

    label: str
    lock_sha256: str | None
    manifest_sha256: str | None
    manifest: str | None = None
    """Path of the manifest beside it, on the machine that mirrored it."""
    mirrored_by: str | None = None
    """Path of the manifest of the workspace that mirrors it, there; None: nobody here does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotProof:
    """A level that passed for the locks of a workspace, and the client, with its version."""

    level: str
    client: str | None
    proven: datetime
    mirrored_by: str | None = None
    """Path of the manifest of that workspace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is said of a snapshot as a whole; sizes in bytes, times in UTC."""

    id: str
    """Its time and the beginning of its content digest; a later one sorts behind."""
    created: datetime
    parent: str | None
    """The one before; None for the first."""
    made_by: str
    """The task that published it."""
    layout: Layout
    content_digest: str
    files: int
    artifacts: int
    size: int
    locks: tuple[SnapshotLock, ...] = ()
    """Of each workspace that shares the channel those that it was last found to hold."""
    proofs: tuple[SnapshotProof, ...] = ()
    """Of these locks, each workspace's own."""

    @property
    def proven(self) -> tuple[SnapshotProof, ...]:
        """What is proven for the locks of all workspaces: of each level and client the oldest.

        Where each workspace has another client, or version, all of these are named.
        """
        wanted = {each.mirrored_by for each in self.locks}
        levels = {
            each.level: [x for x in self.proofs if x.level == each.level] for each in self.proofs
        }
        found = list[SnapshotProof]()
        for level in (x for x in levels.values() if wanted <= {each.mirrored_by for each in x}):
            clients = {x.client: [y for y in level if y.client == x.client] for x in level}
            of_all = [x for x in clients.values() if wanted <= {each.mirrored_by for each in x}]
            found += (min(x, key=lambda x: x.proven) for x in of_all or clients.values())
        return tuple(found)

    @property
    def is_rollback(self) -> bool:
        """Tell whether it publishes what an earlier one did."""
        return self.made_by == ROLLBACK


_Row = TypeVar("_Row", SnapshotFile, SnapshotLock, SnapshotProof)


def tree_of(place: ChannelPaths, snapshot: Snapshot) -> Path:
    """Name the folder of its files; it is there only as long as the tree is kept."""
    return place.snapshots / snapshot.id


def record_of(place: ChannelPaths, snapshot_id: str) -> Path:
    """Name the file of its record."""
    return place.snapshots / f"{snapshot_id}{_RECORD_END}"


def is_snapshot_id(text: str) -> bool:
    """Tell the id of a snapshot from any other text; what has another name is none of ours."""
    return re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", text, re.ASCII) is not None


def new_snapshot(
    files: Sequence[SnapshotFile],
    *,
    made_by: str,
    layout: Layout,
    before: Snapshot | None,
    when: datetime,
    locks: tuple[SnapshotLock, ...] = (),
    proofs: tuple[SnapshotProof, ...] = (),
) -> Snapshot:
    """Describe these files as the snapshot that follows `before`, whatever the clock says."""
    digest = digest_of(files)
    when = when.astimezone(UTC).replace(microsecond=0)
    if before is not None:
        when = max(when, before.created + timedelta(seconds=1))
    return Snapshot(
        id=f"{when:%Y%m%dT%H%M%SZ}-{digest[:8]}",
        created=when,
        parent=None if before is None else before.id,
        made_by=made_by,
        layout=layout,
        content_digest=digest,
        files=len(files),
        artifacts=sum(not each.is_index for each in files),
        size=sum(each.size for each in files),
        locks=locks,
        proofs=proofs,
    )


def by_path(file: SnapshotFile) -> bytes:
    """Return what files are sorted by, in a record and in a bundle."""
    return str(file.path).encode()


def digest_of(files: Iterable[SnapshotFile]) -> str:
    """Return the content digest of these files."""
    return content_digest((str(each.path), each.size, each.sha256) for each in files)


class DamagedRecordError(MirrorError):
    """A record of a snapshot that nobody can read."""


def read_records(place: ChannelPaths) -> tuple[tuple[str, Snapshot | None], ...]:
    """Read what is said of every snapshot, by its id, oldest first; None: its record is damaged.

    Raises the error of exit code 2 of one that may not be read.
    """
    found = list[tuple[str, Snapshot | None]]()
    for each in _records(place):
        try:
            found.append((each.stem, _read_header(each)))
        except DamagedRecordError:
            found.append((each.stem, None))
    return tuple(found)


def read_snapshots(place: ChannelPaths) -> tuple[Snapshot, ...]:
    """Read what is said of every snapshot, oldest first; the files of none are read.

    One whose record is damaged is left out: it stops nobody who can do without it.
    """
    return tuple(each for _, each in read_records(place) if each is not None)


def newest_snapshot(place: ChannelPaths) -> Snapshot | None:
    """Read what is said of the newest one; None: there is none yet."""
    records = _records(place)
    return _read_header(records[-1]) if records else None


def proven_text(snapshot: Snapshot) -> str:
    """Say what was proven of a snapshot, each level once, and by which clients."""
    levels = dict[str, list[str]]()
    for each in snapshot.proven:
        levels.setdefault(each.level, []).extend(filter(None, [each.client]))
    said = (f"{level} ({', '.join(each)})" if each else level for level, each in levels.items())
    return ", ".join(said) or "not proven"


def find_snapshot(place: ChannelPaths, name: str, *, help: str = "pixi run snapshots") -> Snapshot:
    """Return the one of this id, or whose id alone begins so.

    Raises the error of exit code 2, with this help, where there is none, or several.
    """
    return _read_header(find_record(place, name, help=help))


def find_record(place: ChannelPaths, name: str, *, help: str = "pixi run snapshots") -> Path:
    """Name the record of that snapshot, damaged or not; raises the same errors."""
    if not name:
        raise usage_error("snapshot", "the id of one is needed, and this is empty", help=help)
    records = _records(place)
    found = [each for each in records if each.stem == name] or [
        each for each in records if each.stem.startswith(name)
    ]
    if len(found) != 1:
        message = "begins the id of several snapshots" if found else "is the id of no snapshot"
        newest_first = [("there is", each.stem) for each in reversed(found or records)]
        raise usage_error(name, message, *first_details(newest_first, _SHOWN), help=help)
    return found[0]


def read_snapshot_files(place: ChannelPaths, snapshot: Snapshot) -> tuple[SnapshotFile, ...]:
    """Read the files of a snapshot, by path; of a damaged record the error of exit code 2."""
    with _reading(record_of(place, snapshot.id)) as rows:
        next(rows)
        files = tuple(_parse_row(SnapshotFile, _FILE, row) for row in rows)
        if digest_of(files) != snapshot.content_digest:
            raise ValueError(snapshot.id)
    return files


def write_snapshot(place: ChannelPaths, snapshot: Snapshot, files: Iterable[SnapshotFile]) -> None:
    """Write a record, durably; it is never changed afterwards."""
    rows = _rows(sorted(files, key=by_path))
    _write(record_of(place, snapshot.id), [_header(snapshot), *rows])


def write_later(place: ChannelPaths, snapshot: Snapshot) -> None:
    """Write what a later run has found: by what it is mirrored, and what is proven of it."""
    found = {"mirrored-by": _rows(snapshot.locks), "proofs": _rows(snapshot.proofs)}
    _write(later_of(record_of(place, snapshot.id)), [found])


def _write(file: Path, values: Iterable[object]) -> None:
    """Replace a file of the JSON of these, a line each."""
    lines = map(json.JSONEncoder(default=to_json).encode, values)
    write_atomically(file, ("\n".join(lines) + "\n").encode())


def later_of(record: Path) -> Path:
    """Name the file of what was found later, by the file of the record."""
    return record.with_suffix(".later.json")


def _records(place: ChannelPaths) -> list[Path]:
    folder = place.snapshots
    try:
        found = sorted(each for each in folder.iterdir() if each.suffix == _RECORD_END)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise cannot_read(error, folder) from None
    return [each for each in found if is_snapshot_id(each.stem)]


def summary_of(snapshot: Snapshot) -> dict[str, Json]:
    """Describe a snapshot as its record and `bundle.json` have it."""
    return {key: to_json(getattr(snapshot, name)) for key, name, _ in _SUMMARY}


def _header(snapshot: Snapshot) -> dict[str, object]:
    return {
        "schema": _SCHEMA,
        **summary_of(snapshot),
        "parent": snapshot.parent,
        "made-by": snapshot.made_by,
        "locks": _rows(snapshot.locks),
        "proofs": _rows(snapshot.proofs),
    }


def _rows(values: Iterable[_Row]) -> list[list[object]]:
    """Write each as a row: its fields, in their order."""
    return [[getattr(each, name) for name in each.__slots__] for each in values]


def _read_header(file: Path) -> Snapshot:
    with _reading(file) as rows:
        document = next(rows)
        values = {name: parse(document[key]) for key, name, parse in (*_SUMMARY, *_REST)}
        if document["schema"] != _SCHEMA or values["id"] != file.stem:
            raise ValueError(document)
    snapshot, later = Snapshot(**values), later_of(file)
    if exists(later):
        with _reading(later) as rows:
            document = next(rows)
            locks, proofs = _parse_locks(document["mirrored-by"]), _parse_proofs(document["proofs"])
        snapshot = replace(snapshot, locks=locks, proofs=proofs)
    return snapshot


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[Iterator[Any]]:
    """Open a record; raise the error of exit code 2 where that may not be, or it is damaged."""
    try:
        regular_status(file)
        with file.open(encoding="utf-8") as opened:
            yield map(json.loads, opened)
    except PermissionError as error:
        raise cannot_read(error, file) from None
    except OSError as error:
        raise DamagedRecordError(*cannot_read(error, file).problems) from None
    except (StopIteration, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        message = "is damaged, or of another version of pixi-mirror"
        problem = usage_problem(
            str(file),
            f"{message}: nothing can be said of this snapshot",
            help="take the newer pixi-mirror, or restore it from a backup; else, as only this"
            f" snapshot is lost then: pixi run snapshots --forget {file.name.partition('.')[0]}",
        )
        raise DamagedRecordError(problem) from None


def _parse_locks(rows: Any) -> tuple[SnapshotLock, ...]:
    return tuple(_parse_row(SnapshotLock, _LOCK, row) for row in rows)


def _parse_proofs(rows: Any) -> tuple[SnapshotProof, ...]:
    return tuple(_parse_row(SnapshotProof, _PROOF, row) for row in rows)


def _parse_row(kind: type[_Row], parsers: Iterable[Callable[[Any], Any]], row: Any) -> _Row:
    """Read a row of `_rows`, each field by its own parser.

    unbundle.py, and versions of before, write no paths of manifests at its end.
    """
    if len(row) > len(fields(kind)):
        raise ValueError(row)
    values = zip(fields(kind), parsers, row, strict=False)
    return kind(**{field.name: parse(value) for field, parse, value in values})


def _parse_kind(value: Any) -> str:
    return INDEX_KIND if value == INDEX_KIND else ArtifactKind(value)


def _parse_string_or_none(value: Any) -> str | None:
    return None if value is None else parse_string(value)


def _parse_number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise ValueError(value)
    return value


def _parse_time(value: Any) -> datetime:
    """Take a time to which days can be added."""
    time = datetime.fromisoformat(parse_string(value)).astimezone(UTC)
    if time.year not in _YEARS:
        raise ValueError(value)
    return time


# How the fields of a row are read.
_FILE: Final = (
    *(path_inside, _parse_kind, _parse_number, parse_string),
    *(_parse_string_or_none, _parse_string_or_none),
)
_LOCK: Final = (parse_string, *[_parse_string_or_none] * 4)
_PROOF: Final = (parse_string, _parse_string_or_none, _parse_time, _parse_string_or_none)
# The keys of a header, the fields of a snapshot that they are of, and how these are read.
_SUMMARY: Final[tuple[tuple[str, str, Callable[[Any], Any]], ...]] = (
    ("id", "id", parse_string),
    ("created", "created", _parse_time),
    ("layout", "layout", Layout),
    ("content-digest", "content_digest", parse_string),
    ("files", "files", _parse_number),
    ("artifacts", "artifacts", _parse_number),
    ("bytes", "size", _parse_number),
)
_REST: Final[tuple[tuple[str, str, Callable[[Any], Any]], ...]] = (
    ("parent", "parent", _parse_string_or_none),
    ("made-by", "made_by", parse_string),
    ("locks", "locks", _parse_locks),
    ("proofs", "proofs", _parse_proofs),
)
