"""What is known of a mirror and cannot be made again.

The layout of its channel folder, the workspaces that are mirrored into it with what each of them
names, and the files that wait for their removal. All of it is small JSON below
`.pixi-mirror/<name>/state/`, replaced whole and made durable.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from scripts.core.channel_paths import WORKSPACES, ChannelPlace
from scripts.core.errors import MirrorError, usage_error
from scripts.core.files import read_regular, remove_folder, unlink, write_atomically
from scripts.core.layout import Layout

_CHANNEL: Final = "channel.json"
_REMOVALS: Final = "removals.json"
_WORKSPACE: Final = "workspace.json"
_LOCK: Final = "pixi.lock"
_SCHEMA: Final = 1
_LARGEST: Final = 256 << 20  # bytes; a row of an artifact has some 200
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedArtifact:
    """An artifact that a workspace names: its place and what is known of its bytes.

    `elsewhere` is the place that it has in the other layout, `digest` is `sha256:…` or `md5:…`,
    `size` in bytes; None where the lock does not say.
    """

    path: PurePosixPath
    elsewhere: PurePosixPath
    package: str
    digest: str | None
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceState:
    """A workspace as of its last `mirror`: what its settings and its lock name, whole.

    `manifest` is the path of its manifest, `channel` that of the channel folder, as of then;
    `lock_sha256` in hex that of the lock, of which a copy is kept in `folder`; `layout` that of
    the places of its artifacts.
    """

    name: str
    manifest: Path
    channel: Path
    lock_sha256: str
    layout: Layout
    artifacts: tuple[NamedArtifact, ...]
    folder: Path

    @property
    def is_gone(self) -> bool:
        """Tell whether its manifest is no longer there."""
        return not self.manifest.exists()

    @property
    def lock(self) -> Path:
        """The copy of its last mirrored lock."""
        return self.folder / _LOCK

    def names(self, path: PurePosixPath) -> bool:
        """Tell whether it names what is at a place."""
        return any(each.path == path for each in self.artifacts)

    def arranged(self, layout: Layout) -> WorkspaceState:
        """Return the same with the places that its artifacts have in a layout."""
        if layout is self.layout:
            return self
        artifacts = (replace(a, path=a.elsewhere, elsewhere=a.path) for a in self.artifacts)
        return replace(self, layout=layout, artifacts=tuple(artifacts))

    def __str__(self) -> str:
        """Name it for people."""
        return f"{self.name} ({self.manifest}{', which is gone' if self.is_gone else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A file that a published index named once, and that waits for its removal.

    `size` and `mtime` (nanoseconds) are the file's, by which it is known. `dropped` is when the
    publication that no longer names it was done, None until then.
    """

    path: PurePosixPath
    size: int
    mtime: int
    dropped: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorState:
    """All of it. `layout` None: nothing has been placed yet, or nothing is known of it.

    `is_adopted` False: it is not known that no other workspaces than these need artifacts of this
    channel, as there were records when this state was begun, or there is none.
    """

    layout: Layout | None = None
    is_adopted: bool = False
    workspaces: tuple[WorkspaceState, ...] = ()
    removals: tuple[Removal, ...] = ()


def read_state(place: ChannelPlace) -> MirrorState:
    """Read the state; raises the error of exit code 2 where it is damaged."""
    channel = _read(place.state / _CHANNEL)
    removals = _read(place.state / _REMOVALS)
    try:
        layout, is_adopted = None, False
        if channel is not None:
            layout, is_adopted = Layout(channel["layout"]), bool(channel["adopted"])
        rows = () if removals is None else tuple(map(_removal, removals["removals"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _damaged(place.state) from None
    return MirrorState(
        layout=layout,
        is_adopted=is_adopted,
        workspaces=tuple(_read_workspaces(place.state / WORKSPACES)),
        removals=rows,
    )


def write_channel(place: ChannelPlace, layout: Layout, *, is_adopted: bool) -> None:
    """Note the layout of the channel folder, and whether all that need it are known."""
    document = {"schema": _SCHEMA, "layout": layout, "adopted": is_adopted}
    _write(place.state / _CHANNEL, document)


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
        _write(path, {"schema": _SCHEMA, "removals": rows})


def workspace_folder(place: ChannelPlace, name: str, manifest: Path) -> Path:
    """Name the folder of a workspace's state, the same for the same name and manifest."""
    digest = hashlib.sha256(str(manifest).encode(errors="surrogateescape")).hexdigest()
    return place.state / WORKSPACES / f"{_UNSAFE.sub('_', name)[:40]}-{digest[:8]}"


def write_workspace(workspace: WorkspaceState, lock: bytes) -> None:
    """Replace what a workspace names, and the copy of its lock."""
    _replace(workspace.lock, lock)
    rows = [
        [str(each.path), str(each.elsewhere), each.package, each.digest, each.size]
        for each in workspace.artifacts
    ]
    document = {
        "schema": _SCHEMA,
        "name": workspace.name,
        "manifest": str(workspace.manifest),
        "channel": str(workspace.channel),
        "lock-sha256": workspace.lock_sha256,
        "layout": workspace.layout,
        "artifacts": rows,
    }
    _write(workspace.folder / _WORKSPACE, document)


def forget_workspace(workspace: WorkspaceState) -> None:
    """Drop a workspace: what it alone names may be pruned from now on."""
    try:
        unlink(workspace.folder / _WORKSPACE)
        remove_folder(workspace.folder)
    except OSError as error:
        raise _not_written(error, workspace.folder) from error


def _read_workspaces(folder: Path) -> Iterable[WorkspaceState]:
    try:
        entries = sorted(each for each in folder.iterdir() if each.is_dir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise usage_error(str(folder), f"cannot be read: {error.strerror}") from None
    for each in entries:
        document = _read(each / _WORKSPACE)
        if document is None:  # a kill between the two files, or while it was forgotten
            continue
        try:
            yield WorkspaceState(
                name=_text(document["name"]),
                manifest=Path(_text(document["manifest"])),
                channel=Path(_text(document["channel"])),
                lock_sha256=_text(document["lock-sha256"]),
                layout=Layout(document["layout"]),
                artifacts=tuple(map(_named, document["artifacts"])),
                folder=each,
            )
        except (KeyError, TypeError, ValueError):
            raise _damaged(each / _WORKSPACE) from None


def _named(row: Sequence[Any]) -> NamedArtifact:
    path, elsewhere, package, digest, size = row
    if size is not None and not isinstance(size, int):
        raise TypeError(size)
    return NamedArtifact(
        path=_inside(path),
        elsewhere=_inside(elsewhere),
        package=_text(package),
        digest=None if digest is None else _text(digest),
        size=size,
    )


def _removal(row: Any) -> Removal:
    dropped = row["dropped"]
    return Removal(
        path=_inside(row["path"]),
        size=int(row["size"]),
        mtime=int(row["mtime-ns"]),
        dropped=None if dropped is None else datetime.fromisoformat(dropped).astimezone(UTC),
    )


def _inside(text: Any) -> PurePosixPath:
    """Take a path below the channel folder; a list that leads out of it is damaged."""
    path = PurePosixPath(_text(text))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(text)
    return path


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(value)
    return value


def _read(path: Path) -> dict[str, Any] | None:
    """Read one document; None where there is none."""
    try:
        document = json.loads(read_regular(path, _LARGEST))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise usage_error(str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise _damaged(path) from None
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        raise _damaged(path)
    return document


def _write(path: Path, document: dict[str, Any]) -> None:
    """Replace one document, unless it is what is there."""
    data = (json.dumps(document, indent=1) + "\n").encode()
    try:
        if read_regular(path, _LARGEST) == data:
            return
    except OSError:  # none yet; where it cannot be written either, that is told
        pass
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


def _damaged(path: Path) -> MirrorError:
    return usage_error(
        str(path),
        "is damaged, or of another version of pixi-mirror: what it said of this mirror is lost",
        help="restore it from a backup; else remove it, `pixi run mirror` in each workspace that"
        " shares the channel, then `pixi run prune --adopt`",
    )
