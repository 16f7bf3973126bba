"""The state of a mirror that cannot be made again.

It is the layout of the channel folder, the workspaces that are mirrored into it with what each of
them names, the files that wait for their removal, and the copies of remote locks: small JSON files
below `.pixi-mirror/<name>/state/`, each replaced whole and made durable.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from scripts.channel.inventory import cannot_read
from scripts.core.channel_paths import (
    WORKSPACES,
    ChannelPaths,
    Layout,
    channel_path,
    channel_paths,
)
from scripts.core.errors import usage_error
from scripts.core.files import (
    disk_errors,
    exists,
    holds,
    is_dir,
    read_regular,
    remove_folder,
    unlink,
    write_atomically,
)
from scripts.core.record import Digest
from scripts.core.redact import without_secrets
from scripts.core.report import to_json
from scripts.core.typed_values import typed

_CHANNEL: Final = "channel.json"
_REMOVALS: Final = "removals.json"
_WORKSPACE: Final = "workspace.json"
_LOCK: Final = "pixi.lock"
_REMOTE: Final = "remote-locks"
_SCHEMA: Final = 1
_LARGEST: Final = 256 << 20  # bytes; a row of an artifact has some 200
GOES_ON: Final = "see to it, then run this again: it goes on where it stopped"
_Value = TypeVar("_Value")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedArtifact:
    """An artifact that a workspace names: its path and what is known of its bytes."""

    path: PurePosixPath
    path_in_other_layout: PurePosixPath
    package: str
    digest: Digest | None
    """None where the lock does not say."""
    size: int | None
    """Bytes; None where the lock does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceState:
    """A workspace as of its last `index`, or `mirror`: what its settings and its lock name."""

    name: str
    manifest: Path
    """Path of its manifest, as of then."""
    channel: Path
    """Path of the channel folder, as of then."""
    lock_sha256: str
    layout: Layout
    """Of the places of its artifacts."""
    artifacts: tuple[NamedArtifact, ...]
    find_links: frozenset[PurePosixPath] = frozenset()
    """The folders of the pages of `find-links` that its locks have."""
    folder: Path
    """The folder of this state, with a copy of the lock."""

    @property
    def is_gone(self) -> bool:
        """Tell whether its manifest is no longer there; False where that cannot be seen."""
        with contextlib.suppress(OSError):
            return not exists(self.manifest)
        return False

    @property
    def is_moved_away(self) -> bool:
        """Tell whether its folder is gone, but the folder around that is there.

        Where that is gone, too, this may be another machine, or a disk may not be mounted.
        """
        with contextlib.suppress(OSError):
            return self.is_gone and self.manifest.parent.parent.is_dir()
        return False

    @property
    def lock(self) -> Path:
        """The copy of its last mirrored lock."""
        return self.folder / _LOCK

    def with_layout(self, layout: Layout) -> WorkspaceState:
        """Return the same with the paths that its artifacts have in a layout."""
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
    mtime_ns: int
    """Nanoseconds; with the size it tells whether the file is still the same."""
    dropped: datetime | None
    """When the index was published that no longer names it; None: it is not published yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLock:
    """The copy of a remote lock."""

    text: str
    etag: str | None
    """The ETag of this version; None: the server sent none."""
    checked: datetime
    """When the server last confirmed this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorState:
    """The whole state of one mirror."""

    layout: Layout | None = None
    """None: nothing has been placed yet, or the state was lost."""
    is_adopted: bool = False
    """Whether `workspaces` are all that need artifacts of this channel.

    False where the channel had records before this state was begun, or there is no state.
    """
    workspaces: tuple[WorkspaceState, ...] = ()
    lost: tuple[Path, ...] = ()
    """Folders of workspaces of which at most the copy of the lock is left, not what they name."""
    removals: tuple[Removal, ...] = ()
    first_seen: Mapping[PurePosixPath, Digest] = field(default_factory=dict)
    """The digests, as of their first download, of artifacts without one in the lock."""
    is_unbundled: bool = False
    """Whether the channel came out of a bundle: what goes is decided where that was made."""
    before_relayout: tuple[PurePosixPath, ...] | None = None
    """Files that stay in channels of the other layout: all others there are the relayout's, and
    wait for their removal. None: no relayout is under way."""


def read_state(place: ChannelPaths) -> MirrorState:
    """Read the state; raises the error of exit code 2 where it is damaged."""
    state, seen = read_channel_state(place), read_first_seen(place)
    workspaces, lost = _read_workspaces(place.state / WORKSPACES)
    lost = tuple(sorted({*state.lost, *lost}))
    return replace(state, workspaces=workspaces, lost=lost, first_seen=seen)


def read_channel_state(place: ChannelPaths) -> MirrorState:
    """Read the state but for its workspaces, which may be large, and `first_seen`."""
    parse = partial(_parse_channel, place.state / WORKSPACES)
    state = _read(place.state / _CHANNEL, parse) or MirrorState()
    removals = _read(place.state / _REMOVALS, _parse_removals) or ()
    return replace(state, removals=removals, is_unbundled=exists(place.unbundled))


def newest_tree(folder: Path) -> Path:
    """Return the folder with the files of the newest snapshot that has any; it may be missing."""
    snapshots = channel_paths(folder).snapshots
    return max(snapshots.glob("*Z-????????"), default=snapshots / "none")


def read_first_seen(place: ChannelPaths) -> Mapping[PurePosixPath, Digest]:
    """Read the digests, as of their first download, of artifacts without one in the lock.

    Where another lock has pinned other bytes since, theirs.
    """
    return _read(place.first_seen, _parse_first_seen) or {}


def write_first_seen(place: ChannelPaths, seen: Mapping[PurePosixPath, Digest]) -> None:
    """Replace the digests that `read_first_seen` reads."""
    rows = {str(path): str(each) for path, each in sorted(seen.items())}
    _write(place.first_seen, {"digests": rows})


def read_kept_lock(place: ChannelPaths, url: str) -> KeptLock | None:
    """Read the copy of a remote lock; None: there is none yet."""
    return _read(_kept_lock(place, url), _parse_kept_lock)


def write_kept_lock(place: ChannelPaths, url: str, lock: KeptLock) -> None:
    """Replace the copy of a remote lock."""
    checked = lock.checked.isoformat(timespec="seconds")
    document = {"url": without_secrets(url), "etag": lock.etag, "checked": checked}
    _write(_kept_lock(place, url), {**document, "lock": lock.text})


def _kept_lock(place: ChannelPaths, url: str) -> Path:
    digest = hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()
    return place.state / _REMOTE / f"{digest[:16]}.json"


def write_channel(place: ChannelPaths, state: MirrorState) -> None:
    """Write the layout of the channel folder, who shares it, and a relayout under way."""
    there = {x.parent for x in (place.state / WORKSPACES).glob(f"*/{_LOCK}")}
    document: dict[str, Any] = {"layout": state.layout, "adopted": state.is_adopted}
    document["workspaces"] = sorted(each.name for each in there.union(state.lost))
    if state.before_relayout is not None:
        document["before-relayout"] = [str(each) for each in state.before_relayout]
    _write(place.state / _CHANNEL, document)


def write_removals(place: ChannelPaths, removals: Iterable[Removal]) -> None:
    """Replace the list of files that wait for their removal."""
    rows = [to_json(each) for each in sorted(removals, key=lambda each: each.path)]
    path = place.state / _REMOVALS
    if rows or exists(path):
        _write(path, {"removals": rows})


def workspace_folder(place: ChannelPaths, name: str, manifest: Path) -> Path:
    """Return the folder of a workspace's state, by its name and the path of its manifest."""
    digest = hashlib.sha256(str(manifest).encode(errors="surrogateescape")).hexdigest()
    return place.state / WORKSPACES / f"{_UNSAFE.sub('_', name)[:40]}-{digest[:8]}"


def write_workspace(workspace: WorkspaceState, lock: bytes) -> None:
    """Replace what a workspace names, and the copy of its lock."""
    with disk_errors(workspace.lock, GOES_ON, "written"):
        write_atomically(workspace.lock, lock)
    document = {
        "name": workspace.name,
        "manifest": str(workspace.manifest),
        "channel": str(workspace.channel),
        "lock-sha256": workspace.lock_sha256,
        "layout": workspace.layout,
        "artifacts": [
            [
                str(x.path),
                str(x.path_in_other_layout),
                x.package,
                x.digest and str(x.digest),
                x.size,
            ]
            for x in workspace.artifacts
        ],
        "find-links": sorted(map(str, workspace.find_links)),
    }
    _write(workspace.folder / _WORKSPACE, document)


def forget_workspace(place: ChannelPaths, workspace: WorkspaceState) -> None:
    """Remove a workspace from the state: what it alone names may be pruned from now on."""
    state = read_channel_state(place)
    with disk_errors(workspace.folder, GOES_ON, "written"):
        # The lock first: alone, or on the list, it would stand for one of which the rest was lost.
        unlink(workspace.lock, missing_ok=True)
        if state.layout is not None:
            write_channel(place, state)
        unlink(workspace.folder / _WORKSPACE, missing_ok=True)
        remove_folder(workspace.folder)


def _read_workspaces(folder: Path) -> tuple[tuple[WorkspaceState, ...], tuple[Path, ...]]:
    """Read all workspaces; also return the folders of which only the lock is left."""
    try:
        entries = sorted(each for each in folder.iterdir() if is_dir(each))
    except FileNotFoundError:
        return (), ()
    except OSError as error:
        raise cannot_read(error, folder) from None
    found, lost = [], []
    for each in entries:
        workspace = _read(each / _WORKSPACE, partial(_parse_workspace, each))
        if workspace is not None:
            found.append(workspace)
        elif exists(each / _LOCK):  # without it, a run was killed between the two files
            lost.append(each)
    return tuple(found), tuple(lost)


def _parse_channel(folder: Path, document: Mapping[str, Any]) -> MirrorState:
    before = document.get("before-relayout")
    listed = [folder / path_inside(x) for x in typed(document.get("workspaces", []), list)]
    return MirrorState(
        layout=Layout(document["layout"]),
        is_adopted=typed(document["adopted"], bool),
        lost=tuple(x for x in listed if not os.path.lexists(x / _WORKSPACE)),
        before_relayout=None if before is None else tuple(map(path_inside, typed(before, list))),
    )


def _parse_first_seen(document: Mapping[str, Any]) -> Mapping[PurePosixPath, Digest]:
    return {path_inside(path): _digest(each) for path, each in document["digests"].items()}


def _parse_kept_lock(document: Mapping[str, Any]) -> KeptLock:
    etag = document["etag"]
    return KeptLock(
        text=typed(document["lock"], str),
        etag=None if etag is None else parse_string(etag),
        checked=datetime.fromisoformat(parse_string(document["checked"])).astimezone(UTC),
    )


def _parse_removals(document: Mapping[str, Any]) -> tuple[Removal, ...]:
    return tuple(map(_parse_removal, document["removals"]))


def _parse_removal(row: Mapping[str, Any]) -> Removal:
    dropped = row["dropped"]
    return Removal(
        path=path_inside(row["path"]),
        size=typed(row["size"], int),
        mtime_ns=typed(row["mtime-ns"], int),
        dropped=None if dropped is None else datetime.fromisoformat(dropped).astimezone(UTC),
    )


def _parse_workspace(folder: Path, document: Mapping[str, Any]) -> WorkspaceState:
    return WorkspaceState(
        name=parse_string(document["name"]),
        manifest=Path(parse_string(document["manifest"])),
        channel=Path(parse_string(document["channel"])),
        lock_sha256=parse_string(document["lock-sha256"]),
        layout=Layout(document["layout"]),
        artifacts=tuple(
            NamedArtifact(
                path=path_inside(path),
                path_in_other_layout=path_inside(other),
                package=parse_string(package),
                digest=None if digest is None else _digest(digest),
                size=None if size is None else typed(size, int),
            )
            for path, other, package, digest, size in document["artifacts"]
        ),
        find_links=frozenset(map(path_inside, document.get("find-links", ()))),
        folder=folder,
    )


def _digest(value: Any) -> Digest:
    algorithm, _, digits = parse_string(value).partition(":")
    if algorithm not in {"sha256", "md5"}:
        raise ValueError(value)
    return Digest("md5" if algorithm == "md5" else "sha256", digits)


def path_inside(value: Any) -> PurePosixPath:
    """Parse a path below the channel folder; TypeError or ValueError where it is none."""
    text = parse_string(value)
    path = channel_path(text)
    if text.startswith("/") or ".." in text.split("/") or not path.name:
        raise ValueError(value)
    return path


def parse_string(value: Any) -> str:
    """Parse a string that may be of a path; TypeError or ValueError where it is none."""
    text = typed(value, str)
    if "\0" in text:
        raise ValueError(text)
    if not text.isascii():
        text.encode(errors="surrogateescape")  # half a surrogate pair is no name of a file
    return text


def _read(path: Path, parse: Callable[[Mapping[str, Any]], _Value]) -> _Value | None:
    """Read one document; None where there is none, an error of exit code 2 where it is damaged."""
    try:
        return parse(_parse_document(read_regular(path, _LARGEST)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot_read(error, path) from None
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise usage_error(
            str(path),
            "is damaged, or of another version of pixi-mirror: what it said of this mirror is lost",
            help="take the newer pixi-mirror, or restore it from a backup; else remove it,"
            " `pixi run mirror` in each workspace that shares the channel, then"
            " `pixi run prune --adopt`",
        ) from None


def _parse_document(data: bytes) -> Mapping[str, Any]:
    document = typed(json.loads(data), dict)
    if typed(document["schema"], int) != _SCHEMA:
        raise ValueError(document)
    return document


def _write(path: Path, document: dict[str, Any]) -> None:
    """Replace one document, unless it is what is there."""
    data = (json.dumps({"schema": _SCHEMA, **document}) + "\n").encode()  # by C without `indent`
    if not holds(path, data):
        with disk_errors(path, GOES_ON, "written"):
            write_atomically(path, data)
