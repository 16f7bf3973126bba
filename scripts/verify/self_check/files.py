"""The ways of the self-check that break artifacts.

Each takes what is smallest of its kind: what is noticed of a small artifact is noticed of any,
and a large channel is not to cost hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from scripts.core.artifact import Artifact
from scripts.core.subdir import NOARCH
from scripts.lock.select import Selection, path_of
from scripts.verify.findings import Level, Place, places_of
from scripts.verify.self_check.copy import Copy
from scripts.verify.self_check.way import NoWay, Scene, Way, whole_subdirs

CUT = "artifact cut"
FLIPPED = "one bit of an artifact flipped"
SWAPPED = "artifact swapped for another of its size"
NO_ARCHIVE = "page of a server in an artifact's place"
MOVED = "needed noarch moved away"
_PAGE = b"<!DOCTYPE html>\n"


def sizes_of(folder: Path, selection: Selection) -> dict[Artifact, int]:
    """Return the artifacts that are there, with their size in bytes, the smallest first.

    One that is missing or empty is for verify to find.
    """
    sizes = {}
    for artifact in selection.artifacts:
        file = folder / artifact.path
        if file.is_file() and (size := file.stat().st_size):
            sizes[artifact] = size
    return dict(sorted(sizes.items(), key=lambda pair: (pair[1], pair[0].path)))


def ways_of_files(sizes: Mapping[Artifact, int]) -> Iterator[Way | NoWay]:
    """Yield what is done to the bytes of an artifact: to one of which the lock has a digest."""
    yield _way("artifact missing", next(iter(sizes)), Copy.remove)
    artifact = next((each for each in sizes if each.digest is not None), None)
    if artifact is None:
        reason = "pixi.lock has neither sha256 nor md5 of any artifact"
        for title in (CUT, FLIPPED, SWAPPED):
            yield NoWay(title=title, level=Level.FILES, reason=reason)
        return
    size = sizes[artifact]
    yield _way(CUT, artifact, lambda copy, path: copy.fill(path, path, size - 1))
    yield _way(FLIPPED, artifact, lambda copy, path: _flip(copy, path, size))
    others = (each for each in sizes if sizes[each] >= size and _differ(each, artifact))
    other = next(others, None)
    if other is None:
        reason = "there is no other artifact whose bytes could take its place"
        yield NoWay(title=SWAPPED, level=Level.FILES, reason=reason)
        return
    origin = other.path
    yield _way(SWAPPED, artifact, lambda copy, path: copy.fill(path, origin, size))


def way_of_archives(sizes: Mapping[Artifact, int]) -> Way:
    """Put what a server may say in the place of an artifact, and as long."""
    artifact, size = next(iter(sizes.items()))
    page = _PAGE.ljust(size)
    return _way(NO_ARCHIVE, artifact, lambda copy, path: copy.write(path, page), Level.ARCHIVES)


def ways_of_noarch(
    there: Sequence[Artifact], selection: Selection, subdir: str
) -> Iterator[Way | NoWay]:
    """Yield a noarch artifact moved to a platform's folder: no reader and no installer finds it.

    `subdir` is this machine's, `there` has the smallest artifact first.
    """
    noarch = next((each for each in there if each.path.parent.name == NOARCH), None)
    if noarch is None:
        for level in (Level.FILES, Level.INSTALL):
            yield NoWay(title=MOVED, level=level, reason="there is no noarch artifact")
        return
    yield _way(MOVED, noarch, lambda copy, path: copy.move(path, _away(path, subdir)))
    scene = _installed_noarch(there, selection, subdir)
    if scene is None:
        reason = f"no environment for {subdir} has a noarch artifact"
        yield NoWay(title=MOVED, level=Level.INSTALL, reason=reason)
        return
    path = scene.artifacts[0].path
    yield Way(
        title=MOVED,
        level=Level.INSTALL,
        scene=scene,
        named=path,
        sign=path.name,
        damage=lambda copy: copy.move(path, _away(path, subdir)),
    )


def _way(
    title: str,
    artifact: Artifact,
    damage: Callable[[Copy, PurePosixPath], object],
    level: Level = Level.FILES,
) -> Way:
    return Way(
        title=title,
        level=level,
        scene=Scene(artifacts=(artifact,), channels=(artifact.channel,)),
        named=artifact.path,
        damage=lambda copy: damage(copy, artifact.path),
    )


def _differ(one: Artifact, other: Artifact) -> bool:
    return one.path != other.path and one.digest != other.digest


def _flip(copy: Copy, path: PurePosixPath, size: int) -> None:
    with copy.fill(path, path, size).open("r+b") as file:
        file.seek(size // 2)
        byte = file.read(1)[0]
        file.seek(size // 2)
        file.write(bytes([byte ^ 1]))


def _away(path: PurePosixPath, subdir: str) -> PurePosixPath:
    return path.parent.parent / subdir / path.name


def _installed_noarch(there: Sequence[Artifact], selection: Selection, subdir: str) -> Scene | None:
    """Choose a noarch artifact that is installed here, and the python that it may not do without.

    Those known to need none come first.
    """
    for place, _, rows in places_of(selection):
        if rows.platform.subdir != subdir:
            continue
        paths = {path_of(selection.layout, each) for each in rows.packages}
        installed = [each for each in there if each.path in paths]
        noarch = sorted(
            (each for each in installed if each.path.parent.name == NOARCH),
            key=lambda each: each.conda_record.noarch != "generic",
        )
        if noarch:
            return _install_scene(place, noarch[0], installed)
    return None


def _install_scene(place: Place, noarch: Artifact, installed: Sequence[Artifact]) -> Scene:
    python = [each for each in installed if each.name == "python"]
    artifacts = (noarch, *(python if noarch.conda_record.noarch != "generic" else ()))
    return Scene(
        artifacts=artifacts,
        channels=tuple(sorted({each.channel for each in artifacts})),
        subdirs=whole_subdirs(*artifacts),
        place=place,
    )
