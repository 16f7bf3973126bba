"""Retained artifacts that a solver would take before those of the lock.

Where upstream withdraws a version the lock goes back, and the mirror, which removes nothing by
itself, goes on offering the withdrawn one as the best.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from scripts.core.rattler_child import rank_versions
from scripts.core.subdir import NOARCH
from scripts.index.files import IndexedArtifact
from scripts.lock.model import LockedPackage
from scripts.lock.select import Selection, path_of
from scripts.verify.findings import EnvironmentPlatform, places_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StillOffered:
    """A retained artifact: newer than what the lock has of its name, version and build, there."""

    path: PurePosixPath
    locked: str
    places: tuple[EnvironmentPlatform, ...]

    def __str__(self) -> str:
        """Write it for people."""
        return f"{self.path}, newer than pixi.lock's {self.locked}"


def find_still_offered(
    selection: Selection, retained: Sequence[IndexedArtifact]
) -> tuple[StillOffered, ...]:
    """Find them, with the places to whose solver they are offered; rattler ranks the versions."""
    rivals = list(_rivals(selection, retained))
    pairs = ((kept.record.version, locked.record.version) for _, kept, locked in rivals)
    ranks = rank_versions(version for pair in pairs if pair[0] != pair[1] for version in pair)
    found: dict[tuple[PurePosixPath, str], list[EnvironmentPlatform]] = {}
    for place, kept, locked in rivals:
        mine, theirs = ranks.get(locked.record.version), ranks.get(kept.record.version)
        if locked.record.version == kept.record.version:
            mine = theirs = 0
        if mine is None or theirs is None:
            continue
        if (theirs, kept.record.build_number) > (mine, locked.record.build_number):
            text = f"{locked.record.version} {locked.record.build}"
            found.setdefault((kept.path, text), []).append(place)
    return tuple(
        StillOffered(path=path, locked=text, places=tuple(places))
        for (path, text), places in sorted(found.items())
    )


def _rivals(
    selection: Selection, retained: Iterable[IndexedArtifact]
) -> Iterator[tuple[EnvironmentPlatform, IndexedArtifact, LockedPackage]]:
    """Pair what has one name in one channel: retained, and locked at a place that sees both."""
    by_name: dict[tuple[PurePosixPath, str], list[IndexedArtifact]] = {}
    for kept in retained:
        key = (kept.path.parent.parent, kept.record.name.lower())
        by_name.setdefault(key, []).append(kept)
    if not by_name:
        return
    for place, _, rows in places_of(selection):
        for locked in rows.packages:
            channel = path_of(selection.layout, locked).parent.parent
            for kept in by_name.get((channel, locked.record.name.lower()), ()):
                if kept.path.parent.name in {rows.platform.subdir, NOARCH}:
                    yield place, kept, locked
