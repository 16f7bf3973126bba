"""Remove the artifacts kept from before: index first, then files. Acts.

Kept from before are artifacts with a record that the lock names no more. Files without a record
are foreign: they are listed, and left alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.channel.digests import Fingerprint
from scripts.channel.state import ChannelPlace
from scripts.core.console import Console
from scripts.core.errors import usage_error
from scripts.core.files import write_atomically
from scripts.core.report import Json, Report, human_size
from scripts.index.leftovers import find_leftovers
from scripts.index.publish import remove_empty_channel
from scripts.index.stage import counted, index_without
from scripts.lock.select import Selection
from scripts.manifest.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """An artifact to be removed: this very file at this place."""

    path: PurePosixPath
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """What is to be removed, and the foreign files that are left alone."""

    doomed: tuple[Doomed, ...]
    foreign: tuple[PurePosixPath, ...]

    @property
    def size(self) -> int:
        """How many bytes the artifacts to be removed have."""
        return sum(each.fingerprint.size for each in self.doomed)


def prune(workspace: Workspace, selection: Selection, console: Console) -> Report:
    """Remove what was kept from before, and say how much that was.

    Killed between the index and the files, the next run goes on with the files.
    """
    place = workspace.place
    plan = _plan(place, selection, console)
    if not plan.doomed:
        return _report(plan, "nothing to prune")
    write_atomically(_journal(place), _render(plan.doomed))
    index_without(workspace, selection, frozenset(each.path for each in plan.doomed), console)
    _remove(place, plan)
    return _report(plan, f"removed {_amount(plan)}")


def preview(workspace: Workspace, selection: Selection, console: Console) -> Report:
    """Say what `prune` would remove, and change nothing."""
    plan = _plan(workspace.place, selection, console)
    if not plan.doomed:
        return _report(plan, "nothing to prune")
    return _report(plan, f"would remove {_amount(plan)}")


def _remove(place: ChannelPlace, plan: PrunePlan) -> None:
    """Remove the artifacts, and the folders that have nothing left in them."""
    try:
        for each in plan.doomed:
            (place.folder / each.path).unlink(missing_ok=True)
        _journal(place).unlink()
    except OSError as error:
        raise usage_error(str(error.filename), f"cannot be removed: {error.strerror}") from error
    for channel in sorted({each.path.parent.parent for each in plan.doomed}):
        remove_empty_channel(place.folder, channel)


def _plan(place: ChannelPlace, selection: Selection, console: Console) -> PrunePlan:
    """Find what was kept from before, and what a killed run had still to remove."""
    leftovers = find_leftovers(place, selection, console)
    begun = {each.path: each for each in _begun(place)}
    doomed = [_doomed(place, each.path) for each in leftovers.kept]
    foreign = []
    for path in leftovers.foreign:
        if path in begun and _doomed(place, path) == begun[path]:
            doomed.append(begun[path])
        else:
            foreign.append(path)
    return PrunePlan(
        doomed=tuple(sorted(doomed, key=lambda each: each.path)), foreign=tuple(foreign)
    )


def _doomed(place: ChannelPlace, path: PurePosixPath) -> Doomed:
    return Doomed(path=path, fingerprint=Fingerprint.of((place.folder / path).lstat()))


def _journal(place: ChannelPlace) -> Path:
    """Name the file that tells, after a kill, which artifacts no index names any more."""
    return place.state / "prune.json"


def _render(doomed: tuple[Doomed, ...]) -> bytes:
    rows = [
        [str(each.path), each.fingerprint.size, each.fingerprint.mtime, each.fingerprint.inode]
        for each in doomed
    ]
    return json.dumps(rows).encode()


def _begun(place: ChannelPlace) -> tuple[Doomed, ...]:
    """Read what a killed run was about; a damaged journal is none, so its files stay foreign."""
    journal = _journal(place)
    try:
        return tuple(
            Doomed(
                path=PurePosixPath(path),
                fingerprint=Fingerprint(size=size, mtime=mtime, inode=inode),
            )
            for path, size, mtime, inode in json.loads(journal.read_bytes())
        )
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return ()
    except OSError as error:
        raise usage_error(
            str(journal), f"cannot be read: {error.strerror}", help="remove it"
        ) from None


def _amount(plan: PrunePlan) -> str:
    return f"{counted(len(plan.doomed), 'artifact')}, {human_size(plan.size)}"


def _report(plan: PrunePlan, result: str) -> Report:
    lines = [f"  {each.path}" for each in plan.doomed]
    lines += [f"left alone, not from pixi-mirror: {path}" for path in plan.foreign]
    data: dict[str, Json] = {
        "artifacts": [
            {"path": str(each.path), "size": each.fingerprint.size} for each in plan.doomed
        ],
        "bytes": plan.size,
        "foreign": [str(path) for path in plan.foreign],
    }
    return Report(lines=(result, *lines), data=data)
