"""The ways of the self-check that break index files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from scripts.core.artifact import Artifact
from scripts.core.record import record_to_json
from scripts.core.subdir import NOARCH
from scripts.index.repodata import REPODATA, REPODATA_ZST, SHARD_END, SHARD_INDEX, SHARDS
from scripts.lock.select import Selection
from scripts.verify.findings import Level
from scripts.verify.self_check.copy import Copy
from scripts.verify.self_check.index import (
    Edit,
    adding,
    dropping,
    edited_repodata,
    edited_shard,
    packed,
    requiring,
    shard_digest,
)
from scripts.verify.self_check.way import NoWay, Scene, Way, whole_subdirs

MISSING = "record missing"
ALTERED = "depends altered"
STRANGER = "record for an artifact of another channel"
OTHER_SUBDIR = "repodata.json of another subdir"

NOBODY = "no-such-package-of-the-self-check"
INDEX_FILES = (REPODATA, REPODATA_ZST, SHARD_INDEX)


def ways_of_records(
    folder: Path, there: Sequence[Artifact], selection: Selection
) -> Iterator[Way | NoWay]:
    """Yield what is done to the index, the same in all its files where one alone would show it."""
    artifact = there[0]
    path = artifact.path
    scene = _scene(artifact)
    yield _way(MISSING, path, scene, editing(artifact, dropping(path.name)))
    yield _way(ALTERED, path, scene, editing(artifact, requiring(path.name, NOBODY)))
    yield _stranger(folder, there, selection)
    yield _other_subdir(there)
    yield _way("zst older than json", path.parent / REPODATA_ZST, scene, _making_old(path))


def _scene(artifact: Artifact) -> Scene:
    return Scene(
        artifacts=(artifact,), channels=(artifact.channel,), subdirs=whole_subdirs(artifact)
    )


def _way(title: str, named: PurePosixPath, scene: Scene, damage: Callable[[Copy], None]) -> Way:
    return Way(title=title, level=Level.INDEX, scene=scene, named=named, damage=damage)


def _stranger(folder: Path, there: Sequence[Artifact], selection: Selection) -> Way | NoWay:
    """Give one channel the record of another one's artifact, which it does not hold."""
    for channel in selection.channels:
        for artifact in there:
            subdir = channel / artifact.path.parent.name
            named = subdir / artifact.path.name
            if artifact.channel == channel or (folder / named).exists():
                continue
            if (folder / subdir / REPODATA).is_file():
                scene = Scene(
                    artifacts=(),
                    channels=(channel,),
                    subdirs=tuple(sorted({subdir, channel / NOARCH})),
                )
                return _way(STRANGER, named, scene, _adding(artifact, subdir))
    reason = "no two channels of the mirror have a subdir in common"
    if len(selection.channels) == 1:
        reason = "the mirror is one channel"
    return NoWay(title=STRANGER, level=Level.INDEX, reason=reason)


def _adding(artifact: Artifact, subdir: PurePosixPath) -> Callable[[Copy], None]:
    row = record_to_json(artifact.conda_record)
    edit, package = adding(artifact.path.name, dict(row)), artifact.name.lower()
    return lambda copy: edit_index(copy, subdir, package, edit)


def _other_subdir(there: Sequence[Artifact]) -> Way | NoWay:
    """Put the whole index of a channel's `noarch` into another subdir of it."""
    artifact = next((each for each in there if each.path.parent.name != NOARCH), None)
    if artifact is None:
        reason = "there is no subdir but noarch"
        return NoWay(title=OTHER_SUBDIR, level=Level.INDEX, reason=reason)
    subdir, origin = artifact.path.parent, artifact.channel / NOARCH

    def damage(copy: Copy) -> None:
        for name in INDEX_FILES:
            copy.write(subdir / name, copy.read(origin / name))
        for shard in sorted((copy.folder / origin / SHARDS).glob(f"*{SHARD_END}")):
            copy.write(subdir / SHARDS / shard.name, shard.read_bytes())

    return _way(OTHER_SUBDIR, subdir / REPODATA, _scene(artifact), damage)


def _making_old(path: PurePosixPath) -> Callable[[Copy], None]:
    """Make the zst one from before the artifact came."""

    def damage(copy: Copy) -> None:
        earlier = edited_repodata(copy.read(path.parent / REPODATA), dropping(path.name))
        copy.write(path.parent / REPODATA_ZST, packed(earlier))

    return damage


def editing(artifact: Artifact, edit: Edit) -> Callable[[Copy], None]:
    """Return what makes a change to the record of an artifact, in all index files of its subdir."""
    package, subdir = artifact.name.lower(), artifact.path.parent
    return lambda copy: edit_index(copy, subdir, package, edit)


def edit_index(copy: Copy, subdir: PurePosixPath, package: str, edit: Edit) -> None:
    """Change what all index files of a subdir say of an artifact of this package."""
    repodata = edited_repodata(copy.read(subdir / REPODATA), edit)
    copy.write(subdir / REPODATA, repodata)
    zst = packed(repodata)
    copy.write(subdir / REPODATA_ZST, zst)
    index = copy.read(subdir / SHARD_INDEX)
    digest = shard_digest(index, package)
    earlier = None if digest is None else copy.read(_shard(subdir, digest))
    shard = edited_shard(index, package, earlier, edit, repodata=repodata, zst=zst)
    copy.write(_shard(subdir, shard.digest), shard.data)
    copy.write(subdir / SHARD_INDEX, shard.index)


def _shard(subdir: PurePosixPath, digest: str) -> PurePosixPath:
    return subdir / SHARDS / f"{digest}{SHARD_END}"
