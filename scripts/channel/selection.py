"""What is mirrored, with the digests that the lock does not have.

A file beside the lock is what it is now. Of anything else its first download tells, and that is
compared ever after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from scripts.channel.state import read_first_seen
from scripts.core.artifact import Artifact, ArtifactKind
from scripts.core.files import hash_file
from scripts.core.record import Digest
from scripts.lock.location import local_path
from scripts.lock.model import LockFile
from scripts.lock.select import Selection, select
from scripts.workspace.workspace import Workspace


def read_selection(workspace: Workspace, lock: LockFile) -> Selection:
    """Choose what settings and options want of the lock."""
    return with_digests(workspace, select(lock, workspace.settings))


def read_whole_selection(workspace: Workspace, lock: LockFile) -> Selection:
    """Choose what the settings want of the lock, whatever options narrow this run."""
    settings = replace(workspace.manifest.settings, layout=workspace.settings.layout)
    return with_digests(workspace, select(lock, settings))


def with_digests(workspace: Workspace, selection: Selection) -> Selection:
    """Fill in the digests that the lock does not have, as far as they are known by now."""
    if not any(each.digest is None for each in selection.artifacts):
        return selection
    seen = read_first_seen(workspace.place)
    known = (replace(x, digest=_digest(workspace, x, seen)) for x in selection.artifacts)
    return replace(selection, artifacts=tuple(known))


def _digest(
    workspace: Workspace, artifact: Artifact, seen: Mapping[PurePosixPath, Digest]
) -> Digest | None:
    """Return the lock's digest, else that of a PyPI package's file beside it, else the first."""
    if artifact.digest is not None:
        return artifact.digest
    file = local_path(artifact.urls[0], workspace.root)
    if file is not None and artifact.kind is not ArtifactKind.CONDA and file.is_file():
        return Digest("sha256", hash_file(file, "sha256"))
    return seen.get(artifact.path)
