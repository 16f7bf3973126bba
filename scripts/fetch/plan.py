"""What is to be downloaded, and whether it fits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from scripts.channel.inventory import ArtifactStatus, CheckedArtifact
from scripts.core.artifact import Artifact
from scripts.core.errors import Problem, usage_problem
from scripts.core.record import Digest
from scripts.core.redact import redact
from scripts.core.report import human_size
from scripts.lock.location import is_path
from scripts.lock.mirrored import of_locks
from scripts.lock.select import Selection, locks_by_path
from scripts.workspace.model import Manifest

if TYPE_CHECKING:  # a run with nothing to do does without the network
    from scripts.network.errors import DownloadError

# Kept free on the disk besides the artifacts: the index and its staging, the journal.
_MARGIN = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which artifacts are missing, there, or there with other bytes.

    Artifacts with the same digest, or without one the same URL, are downloaded once, from any of
    their locations; `copies` are the others, each behind the path that it is copied from.
    `to_download` is in the order in which to start: large ones first, so that no large one is left
    for the end. `replaced` are artifacts with the digest or size of the wrong file in their place.
    `there` counts those that are right, `resumed` the bytes that an earlier run has left in parts.
    `sizes`, by path, are what servers say where the lock has no size.
    """

    artifacts: tuple[Artifact, ...]
    to_download: tuple[Artifact, ...]
    copies: tuple[tuple[PurePosixPath, Artifact], ...]
    replaced: tuple[tuple[Artifact, str], ...]
    there: int
    resumed: int = 0
    sizes: Mapping[PurePosixPath, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes of the artifacts to download whose size is known."""
        return sum(self.size_of(each) or 0 for each in self.to_download)

    @property
    def unsized(self) -> tuple[Artifact, ...]:
        """The artifacts to download whose size is unknown."""
        return tuple(each for each in self.to_download if self.size_of(each) is None)

    @property
    def left(self) -> int:
        """The bytes of `size` that are still to come."""
        return self.size - self.resumed

    def size_of(self, artifact: Artifact) -> int | None:
        """Return an artifact's size in bytes; None where it is unknown."""
        return self.sizes.get(artifact.path) if artifact.size is None else artifact.size

    def with_sizes(self, sizes: Mapping[PurePosixPath, int]) -> Plan:
        """Return the plan with sizes from servers, large artifacts still first."""
        plan = dataclasses.replace(self, sizes=sizes)
        largest_first = sorted(
            self.to_download, key=lambda each: (-(plan.size_of(each) or 0), str(each.path))
        )
        return dataclasses.replace(plan, to_download=tuple(largest_first))

    def headline(self, folder: str, free: int) -> str:
        """Say before the first byte what will come, and where.

        `12 to download into local-channel, 34.5 MB, 1.2 GB free`
        """
        unknown = f" and {len(self.unsized)} of unknown size" if self.unsized else ""
        resumed = ""
        if self.resumed:
            resumed = f" (resumes {human_size(self.resumed)} of {human_size(self.size)})"
        same = f", {len(self.copies)} with the same bytes as another" if self.copies else ""
        return (
            f"{len(self.to_download)} to download into {folder}, {human_size(self.left)}{resumed}"
            f"{unknown}{same}, {human_size(free)} free"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """An artifact that is now in the channel: its digest, and its file's status."""

    artifact: Artifact
    digest: Digest
    status: os.stat_result


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedDownload:
    """An artifact that did not come, and why."""

    artifact: Artifact
    error: DownloadError


def make_plan(artifacts: tuple[Artifact, ...], found: Iterable[CheckedArtifact]) -> Plan:
    """Sort the artifacts into what is there and what is to be downloaded."""
    by_path = {each.path: each for each in found}
    right = [each for each in artifacts if by_path[each.path].status is ArtifactStatus.RIGHT]
    there = {each.digest: each.path for each in reversed(right) if each.digest}
    missing: dict[Digest | str, list[Artifact]] = {}
    for each in artifacts:
        if by_path[each.path].status is not ArtifactStatus.RIGHT:
            missing.setdefault(each.digest or each.urls[0], []).append(each)
    to_download: list[Artifact] = []
    copies: list[tuple[PurePosixPath, Artifact]] = []
    for key, same in missing.items():
        source = there.get(key) if isinstance(key, Digest) else None
        if source is None:
            same.sort(key=lambda each: each.size is None)
            urls = dict.fromkeys(url for each in same for url in each.urls)
            to_download.append(dataclasses.replace(same.pop(0), urls=tuple(urls)))
            source = to_download[-1].path
        copies += [(source, each) for each in same]
    wrong = [each for each in artifacts if by_path[each.path].status is ArtifactStatus.WRONG]
    plan = Plan(
        artifacts=artifacts,
        to_download=tuple(to_download),
        copies=tuple(copies),
        replaced=tuple((each, by_path[each.path].actual or "unknown") for each in wrong),
        there=len(right),
    )
    return plan.with_sizes({})


def unhashed_problems(selection: Selection) -> Iterator[Problem]:
    """Yield a problem for each conda artifact without a digest, with how to give it one."""
    unhashed = [each for each in selection.conda_artifacts if each.is_unhashed]
    locks = locks_by_path(selection) if unhashed else {}
    for artifact in unhashed:
        problem = usage_problem(
            artifact.path,
            "the lock has neither sha256 nor md5 for it",
            ("from", redact(artifact.urls[0])),
            help=_digest_help(artifact, locks[artifact.path][0].manifest),
        )
        yield of_locks(problem, locks[artifact.path])


def _digest_help(artifact: Artifact, manifest: Manifest | None) -> str:
    """Say how a digest gets into the lock: pixi locks that of a `url`, but none of a `path`."""
    cure = "pixi update"  # to `pixi lock` such a lock is up to date
    if manifest is None:
        return f"{cure}, or fetch it all the same with --allow-unhashed"
    locations = (
        each.location
        for feature in manifest.features
        for target in feature.targets
        for each in target.requirements
        if each.location is not None and each.name == artifact.name.lower()
    )
    location = next(locations, None)
    if location is not None and is_path(location):
        cure = 'pixi locks none of a path: write url = "file:///…", sha256 = "…"'
        cure = f"{cure} in its place in {manifest.file_name}, then `pixi lock`"
    elif location is not None:
        cure = f'write sha256 = "…" beside url in {manifest.file_name}, then `pixi lock`'
    return f"{cure}, or fetch it all the same with --allow-unhashed"


def space_problem(plan: Plan, free: int, folder: str) -> Problem | None:
    """Return the problem of a disk without enough room (`free`, in bytes); None: it fits."""
    if plan.left == 0 or plan.left + _MARGIN <= free:
        return None
    return usage_problem(
        folder,
        "not enough room on this disk",
        ("needed", f"{human_size(plan.left)} and {human_size(_MARGIN)} to work with"),
        ("free", human_size(free)),
        help="free some room, or set channel-dir to a folder on a larger disk",
    )
