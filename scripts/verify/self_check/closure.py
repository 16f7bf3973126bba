"""The ways of the self-check that leave an environment open.

The level `closure` reads pixi.lock and no file of the channel, of which the level `index` proves
that it says the same. Here it is shown what the broken copy's records say, as if they were the
lock's rows: what has no record is not there.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from scripts.core.artifact import Artifact
from scripts.core.record import Record
from scripts.index.repodata import REPODATA, parse_repodata
from scripts.lock.model import LockedPackage, PlatformPackages
from scripts.lock.select import Selection, path_of
from scripts.verify.findings import Level, Place, places_of
from scripts.verify.self_check.copy import Copy
from scripts.verify.self_check.index import Edit, dropping, requiring
from scripts.verify.self_check.records import ALTERED, MISSING, NOBODY, editing
from scripts.verify.self_check.way import NoWay, Scene, Way, whole_subdirs
from scripts.workspace.settings import Kind

# A requirement with nothing in brackets, which may say that it does not always hold.
_PLAIN: Final = re.compile(r"([A-Za-z0-9_.-]+)[^\[]*")


def ways_of_closing(selection: Selection) -> Iterator[Way | NoWay]:
    """Yield what is done to the records of the smallest environment in which one needs another."""
    scene, needy, needed = next(_needs(selection), (None, None, None))
    if scene is None or needy is None or needed is None:
        reason = "no environment without source packages has an artifact that another one needs"
        for title in (MISSING, ALTERED):
            yield NoWay(title=title, level=Level.CLOSURE, reason=reason)
        return
    sign = f"no {needed.name.lower()}"
    yield _way(MISSING, needed, scene, dropping(needed.path.name), sign)
    yield _way(ALTERED, needy, scene, requiring(needy.path.name, NOBODY), None)


def as_records_say(copy: Copy, selection: Selection) -> Selection:
    """Return the selection with rows that say what the copy's records do.

    Raises DamagedIndexError where a repodata.json of the copy cannot be read.
    """
    records = _Records(copy, selection)
    return dataclasses.replace(
        selection,
        environments=tuple(
            dataclasses.replace(
                environment,
                platforms=tuple(map(records.rows, environment.platforms)),
            )
            for environment in selection.environments
        ),
    )


class _Records:
    """Reads each repodata.json of the copy once."""

    def __init__(self, copy: Copy, selection: Selection) -> None:
        self._copy, self._selection = copy, selection
        self._read: dict[PurePosixPath, Mapping[str, Record]] = {}

    def rows(self, rows: PlatformPackages) -> PlatformPackages:
        packages = tuple(
            _said(package, record)
            for package in rows.packages
            if (record := self._record(package)) is not None
        )
        return dataclasses.replace(rows, packages=packages)

    def _record(self, package: LockedPackage) -> Record | None:
        path = _path(self._selection, package)
        file = path.parent / REPODATA
        if file not in self._read:
            is_there = (self._copy.folder / file).is_file()
            self._read[file] = (
                parse_repodata(self._copy.read(file), str(file)).records if is_there else {}
            )
        return self._read[file].get(path.name)


def _said(package: LockedPackage, record: Record) -> LockedPackage:
    return dataclasses.replace(package, record=record)


def _needs(selection: Selection) -> Iterator[tuple[Scene, Artifact, Artifact]]:
    """Yield who needs whom, and where, the smallest environments first."""
    artifacts = {artifact.path: artifact for artifact in selection.artifacts}
    places = [
        (len(rows.packages), place, rows)
        for place, _, rows in places_of(selection)
        # Source packages have no record: without them an environment may be open.
        if not any(each.kind is Kind.SOURCE for each in rows.unmirrorable)
    ]
    for _, place, rows in sorted(places, key=lambda each: each[:2]):
        mine = tuple(artifacts[_path(selection, package)] for package in rows.packages)
        for needy, needed in _pairs(mine):
            yield _scene(place, mine), needy, needed


def _pairs(artifacts: Sequence[Artifact]) -> Iterator[tuple[Artifact, Artifact]]:
    by_name = {each.name.lower(): each for each in artifacts}
    for needy in artifacts:
        for spec in needy.conda_record.depends:
            name = _PLAIN.fullmatch(spec)
            needed = None if name is None else by_name.get(name[1].lower())
            if needed is not None and needed is not needy:
                yield needy, needed


def _scene(place: Place, artifacts: tuple[Artifact, ...]) -> Scene:
    return Scene(
        artifacts=artifacts,
        channels=tuple(sorted({each.channel for each in artifacts})),
        subdirs=whole_subdirs(*artifacts),
        place=place,
    )


def _path(selection: Selection, package: LockedPackage) -> PurePosixPath:
    return path_of(selection.layout, package)


def _way(title: str, artifact: Artifact, scene: Scene, edit: Edit, sign: str | None) -> Way:
    return Way(
        title=title,
        level=Level.CLOSURE,
        scene=scene,
        named=artifact.path,
        sign=sign,
        damage=editing(artifact, edit),
    )
