"""What is known of a mirror and cannot be made again.

The layout of its channel folder, the workspaces that are mirrored into it with what each of them
names, and the files that wait for their removal. All of it is small JSON below
`.pixi-mirror/<name>/state/`, replaced whole and made durable.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.core.channel_paths import WORKSPACES, ChannelPlace, Layout
from scripts.core.errors import MirrorError, usage_error
from scripts.core.files import read_regular, remove_folder, unlink, write_atomically
from scripts.core.record import Digest

_CHANNEL: Final = "channel.json"
_REMOVALS: Final = "removals.json"
_WORKSPACE: Final = "workspace.json"
_LOCK: Final = "pixi.lock"
_READABLE: Final = "see that you may read it and that it is a file, then run this again"
_SCHEMA: Final = 1
_LARGEST: Final = 256 << 20  # bytes; a row of an artifact has some 200
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedArtifact:
    """An artifact that a workspace names: its place and what is known of its bytes."""

    path: PurePosixPath
    path_in_other_layout: PurePosixPath
    package: str
    digest: Digest | None
    """None where the lock does not say."""
    size: int | None
    """Bytes; None where the lock does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceState:
    """A workspace as of its last `mirror`: what its settings and its lock name, whole."""

    name: str
    manifest: Path
    """Path of its manifest, as of then."""
    channel: Path
    """Path of the channel folder, as of then."""
    lock_sha256: str
    layout: Layout
    """Of the places of its artifacts."""
    artifacts: tuple[NamedArtifact, ...]
    folder: Path
    """Where this is written down, with a copy of the lock."""

    @property
    def is_gone(self) -> bool:
        """Tell whether its manifest is no longer there; not where nobody may look."""
        try:
            return not self.manifest.exists()
        except OSError:
            return False

    @property
    def is_moved_away(self) -> bool:
        """Tell whether its folder is gone from a folder that is there.

        Another machine, or a disk that is not mounted, does not show that one either.
        """
        try:
            return self.is_gone and self.manifest.parent.parent.is_dir()
        except OSError:
            return False

    @property
    def lock(self) -> Path:
        """The copy of its last mirrored lock."""
        return self.folder / _LOCK

    def names(self, path: PurePosixPath) -> bool:
        """Tell whether it names what is at a place."""
        return any(each.path == path for each in self.artifacts)

    def with_layout(self, layout: Layout) -> WorkspaceState:
        """Return the same with the places that its artifacts have in a layout."""
        if layout is self.layout:
            return self
        artifacts = (
            replace(each, path=each.path_in_other_layout, path_in_other_layout=each.path)
            for each in self.artifacts
        )
        return replace(self, layout=layout, artifacts=tuple(artifacts))

    def __str__(self) -> str:
        """Name it for people."""
        return f"{self.name} ({self.manifest}{', which is gone' if self.is_gone else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A file that a published index named once, and that waits for its removal."""

    path: PurePosixPath
    size: int
    mtime: int
    """Nanoseconds; by it and by its size the file is known."""
    dropped: datetime | None
    """When the publication that no longer names it was done; None until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorState:
    """All of it."""

    layout: Layout | None = None
    """None: nothing has been placed yet, or nothing is known of it."""
    is_adopted: bool = False
    """No other workspaces than these need artifacts of this channel.

    False where there were records when this state was begun, or there is none.
    """
    workspaces: tuple[WorkspaceState, ...] = ()
    lost: tuple[Path, ...] = ()
    """Folders of workspaces of which nobody knows any more what they name: their lock is there."""
    removals: tuple[Removal, ...] = ()


def read_state(place: ChannelPlace) -> MirrorState:
    """Read the state; raises the error of exit code 2 where it is damaged."""
    channel, removals = _read(place.state / _CHANNEL), _read(place.state / _REMOVALS)
    workspaces, lost = _read_workspaces(place.state / WORKSPACES)
    with _undamaged(place.state / _REMOVALS):
        waiting = () if removals is None else tuple(map(_removal, removals["removals"]))
    with _undamaged(place.state / _CHANNEL):
        return MirrorState(
            layout=None if channel is None else Layout(channel["layout"]),
            is_adopted=channel is not None and _flag(channel["adopted"]) and not lost,
            workspaces=workspaces,
            lost=lost,
            removals=waiting,
        )


def write_channel(place: ChannelPlace, layout: Layout, *, is_adopted: bool) -> None:
    """Note the layout of the channel folder, and whether all that need it are known."""
    _write(place.state / _CHANNEL, {"layout": layout, "adopted": is_adopted})


def write_removals(place: ChannelPlace, removals: Iterable[Removal]) -> None:
    """Replace the list of files that wait for their removal."""
    rows = [
        {
            "path": str(each.path),
            "size": each.size,
            "mtime-ns": each.mtime,
            "dropped": None if each.dropped is None else each.dropped.isoformat(),
        }
        for each in sorted(removals, key=lambda each: each.path)
    ]
    path = place.state / _REMOVALS
    if rows or path.exists():
        _write(path, {"removals": rows})


def workspace_folder(place: ChannelPlace, name: str, manifest: Path) -> Path:
    """Name the folder of a workspace's state, the same for the same name and manifest."""
    digest = hashlib.sha256(str(manifest).encode(errors="surrogateescape")).hexdigest()
    return place.state / WORKSPACES / f"{_UNSAFE.sub('_', name)[:40]}-{digest[:8]}"


def write_workspace(workspace: WorkspaceState, lock: bytes) -> None:
    """Replace what a workspace names, and the copy of its lock."""
    _replace(workspace.lock, lock)
    document = {
        "name": workspace.name,
        "manifest": str(workspace.manifest),
        "channel": str(workspace.channel),
        "lock-sha256": workspace.lock_sha256,
        "layout": workspace.layout,
        "artifacts": [
            [
                str(each.path),
                str(each.path_in_other_layout),
                each.package,
                None if each.digest is None else f"{each.digest.algorithm}:{each.digest.hex}",
                each.size,
            ]
            for each in workspace.artifacts
        ],
    }
    _write(workspace.folder / _WORKSPACE, document)


def forget_workspace(workspace: WorkspaceState) -> None:
    """Drop a workspace: what it alone names may be pruned from now on."""
    try:
        unlink(workspace.folder / _WORKSPACE)
        remove_folder(workspace.folder)
    except OSError as error:
        raise _not_written(error, workspace.folder) from error


def _read_workspaces(folder: Path) -> tuple[tuple[WorkspaceState, ...], tuple[Path, ...]]:
    """Read what is known of each, and name the folders of those of which the rest was lost."""
    found, lost = [], []
    try:
        entries = sorted(each for each in folder.iterdir() if each.is_dir())
    except FileNotFoundError:
        return (), ()
    except OSError as error:
        raise usage_error(
            str(folder), f"cannot be read: {error.strerror}", help=_READABLE
        ) from None
    for each in entries:
        document = _read(each / _WORKSPACE)
        if document is None:  # lost, or a kill between the two files
            if (each / _LOCK).exists():
                lost.append(each)
            continue
        with _undamaged(each / _WORKSPACE):
            workspace = WorkspaceState(
                name=_string(document["name"]),
                manifest=Path(_string(document["manifest"])),
                channel=Path(_string(document["channel"])),
                lock_sha256=_string(document["lock-sha256"]),
                layout=Layout(document["layout"]),
                artifacts=tuple(map(_named, document["artifacts"])),
                folder=each,
            )
        found.append(workspace)
    return tuple(found), tuple(lost)


def _named(row: Sequence[Any]) -> NamedArtifact:
    path, other, package, digest, size = row
    if size is not None and not isinstance(size, int):
        raise TypeError(size)
    return NamedArtifact(
        path=_inside(path),
        path_in_other_layout=_inside(other),
        package=_string(package),
        digest=None if digest is None else _digest(digest),
        size=size,
    )


def _digest(value: Any) -> Digest:
    algorithm, _, digits = _string(value).partition(":")
    if algorithm not in {"sha256", "md5"}:
        raise ValueError(value)
    return Digest("md5" if algorithm == "md5" else "sha256", digits)


def _removal(row: Any) -> Removal:
    dropped = row["dropped"]
    return Removal(
        path=_inside(row["path"]),
        size=int(row["size"]),
        mtime=int(row["mtime-ns"]),
        dropped=None if dropped is None else datetime.fromisoformat(dropped).astimezone(UTC),
    )


def _inside(value: Any) -> PurePosixPath:
    """Take a path below the channel folder; a list that leads out of it is damaged."""
    path = PurePosixPath(_string(value))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(value)
    return path


def _string(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(value)
    value.encode(errors="surrogateescape")  # half a surrogate pair is no name of a file
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _read(path: Path) -> dict[str, Any] | None:
    """Read one document; None where there is none."""
    try:
        with _undamaged(path):
            document: Any = json.loads(read_regular(path, _LARGEST))
            if not isinstance(document, dict) or document["schema"] is not _SCHEMA:
                raise ValueError(document)
            return document
    except FileNotFoundError:
        return None
    except OSError as error:
        raise usage_error(str(path), f"cannot be read: {error.strerror}", help=_READABLE) from None


@contextlib.contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Make the error of exit code 2 of what is not as it was written here."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise usage_error(
            str(path),
            "is damaged, or of another version of pixi-mirror: what it said of this mirror is lost",
            help="restore it from a backup; else remove it, `pixi run mirror` in each workspace"
            " that shares the channel, then `pixi run prune --adopt`",
        ) from None


def _write(path: Path, document: dict[str, Any]) -> None:
    """Replace one document, unless it is what is there."""
    data = (json.dumps({"schema": _SCHEMA, **document}, indent=1) + "\n").encode()
    with contextlib.suppress(OSError):  # none yet; where it cannot be written either, that is told
        if read_regular(path, _LARGEST) == data:
            return
    _replace(path, data)


def _replace(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data)
    except OSError as error:
        raise _not_written(error, path) from error


def _not_written(error: OSError, path: Path) -> MirrorError:
    return usage_error(
        str(error.filename or path),
        f"cannot be written: {error.strerror}",
        help="see to it, then run this again: it goes on where it stopped",
    )
