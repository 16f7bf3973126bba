"""What is mirrored, with the digests that the locks do not have.

A file beside a lock is hashed as it is now. Of anything else the digest of its first download is
kept, and compared from then on.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.digest_cache import Fingerprint
from scripts.channel.state import read_first_seen
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import Layout
from scripts.core.errors import usage_error
from scripts.core.files import hash_file, is_file
from scripts.core.record import Digest
from scripts.lock.location import is_path, local_path
from scripts.lock.mirrored import MirroredLock
from scripts.lock.select import Selection, named_of, select, unite, unknown_name
from scripts.workspace.settings import TABLE, Settings
from scripts.workspace.workspace import Workspace

_LOCKS: Final = f"{TABLE}.locks"
# A run chooses for itself, and for who shares the channel.
_selected = functools.lru_cache(maxsize=64)(select)


def add_only_option(parser: argparse.ArgumentParser) -> None:
    """Add `--only LABEL`."""
    parser.add_argument(
        "--only",
        metavar="LABEL",
        help="look at this lock alone, by its label: its workspace's name, else its path",
    )


def read_selection(
    workspace: Workspace,
    locks: Sequence[MirroredLock],
    *,
    only: str | None = None,
    layout: Layout | None = None,
) -> Selection:
    """Select what settings and options want of the locks; `only`: of the lock with this label.

    `layout` replaces that of the settings. Raises the error of exit code 2 where they leave out
    every environment of all locks: nothing would be proven, and all that is there be retained.
    """
    chosen, settings = chosen_locks(locks, only), workspace.settings
    found = _select(workspace, chosen, replace(settings, layout=layout or settings.layout))
    left_out = [named_of(label, x) for label, lock in found.labelled for x in lock.excluded]
    if left_out and only is None and not found.environments:
        where, what = ", ".join(each.location for each in locks), ("left out", ", ".join(left_out))
        advice = f"take one out of `exclude-environments` under [{TABLE}], or say --environment"
        raise usage_error(where, "no environment is mirrored", what, help=advice)
    return found


def chosen_locks(locks: Sequence[MirroredLock], only: str | None) -> Sequence[MirroredLock]:
    """Return the lock with this label; None: all.

    Raises the error of exit code 2 where there is none.
    """
    chosen = [each for each in locks if only in {None, each.label}]
    if only is not None and not chosen:
        raise unknown_name(_LOCKS, "lock", only, [each.label for each in locks])
    return chosen


def read_whole_selection(workspace: Workspace, locks: Sequence[MirroredLock]) -> Selection:
    """Select what the settings want of the locks, whatever options narrow this run.

    With the option `--allow-unhashed`, what that adds is selected as well.
    """
    own, run = workspace.manifest.settings, workspace.settings
    lets_in = own.allow_unhashed or run.allow_unhashed
    return _select(workspace, locks, replace(own, layout=run.layout, allow_unhashed=lets_in))


def with_digests(
    workspace: Workspace, selection: Selection, pinned: Container[PurePosixPath] = ()
) -> Selection:
    """Fill in the digests that the locks do not have, as far as they are known by now.

    What was first seen of a `pinned` path does not count: another lock has its digest.
    """
    if not any(each.digest is None for each in selection.artifacts):
        return selection
    seen = read_first_seen(workspace.place)
    seen = {path: digest for path, digest in seen.items() if path not in pinned}
    known = (replace(x, digest=_digest(workspace, x, seen)) for x in selection.artifacts)
    return replace(selection, artifacts=tuple(known))


def _select(workspace: Workspace, locks: Sequence[MirroredLock], settings: Settings) -> Selection:
    if not locks:  # of a channel that came out of a bundle
        return Selection(layout=settings.layout)
    selections = [_located(_selected(each, each.wanted(settings)), workspace) for each in locks]
    pinned = {x.path for each in selections for x in each.artifacts if x.digest is not None}
    return unite([with_digests(workspace, each, pinned) for each in selections])


def _located(selection: Selection, workspace: Workspace) -> Selection:
    """Make the relative paths of another workspace's lock absolute."""
    (lock,) = selection.locks
    artifacts = selection.artifacts
    if lock.root == workspace.root or not any(is_path(x) for each in artifacts for x in each.urls):
        return selection
    paths = (tuple(str(lock.root / x) if is_path(x) else x for x in y.urls) for y in artifacts)
    located = (replace(x, urls=urls) for x, urls in zip(artifacts, paths, strict=True))
    return replace(selection, artifacts=tuple(located))


def _digest(
    workspace: Workspace, artifact: Artifact, seen: Mapping[PurePosixPath, Digest]
) -> Digest | None:
    """Return the lock's digest, else a local PyPI file's present one, else the one first seen."""
    if artifact.digest is not None:
        return artifact.digest
    file = local_path(artifact.urls[0], workspace.root)
    if file is not None and not artifact.is_conda and is_file(file):
        return Digest("sha256", _sha256(file, Fingerprint.of(file.stat())))
    return seen.get(artifact.path)


@functools.lru_cache(maxsize=1024)  # a run chooses several times, and such a file may be large
def _sha256(file: Path, _unchanged: Fingerprint) -> str:
    return hash_file(file, "sha256")
