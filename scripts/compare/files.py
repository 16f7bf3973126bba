"""The level `files`: read every byte of every locked artifact and compare. Acts.

No known digest is believed here, and none is written down: what was right at its download may
have changed on the disk since.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from scripts.core.errors import ExitCode, Problem
from scripts.core.files import hash_file
from scripts.core.redact import redact
from scripts.lock.select import Artifact
from scripts.proof.findings import FilesResult, Finding, Level, Place, Uses, used_by

# One more than can hash at a time: it opens the next file meanwhile.
_THREADS = (os.cpu_count() or 1) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """An artifact as it is on the disk: its size and digest, or why it cannot be read."""

    artifact: Artifact
    size: int = 0
    digest: str | None = None
    unread: str | None = None


def check_files(
    folder: Path, artifacts: Sequence[Artifact], uses: Uses, *, allow_unhashed: bool
) -> FilesResult:
    """Compare all artifacts with what the lock says of them.

    An artifact of which the lock has no hash is a finding, unless they are allowed.
    """
    # The largest first, so that no thread is left with one of them at the end.
    ordered = sorted(artifacts, key=lambda each: each.package.size or 0, reverse=True)
    waiting = iter(ordered)  # a list's iterator gives each artifact to one thread only

    def look_on(_thread: int) -> list[_Seen]:
        return [_look(folder, artifact) for artifact in waiting]

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        seen = [each for part in pool.map(look_on, range(_THREADS)) for each in part]
    findings = [
        Finding(level=Level.FILES, problem=problem, places=places)
        for each in seen
        for trouble in [_trouble(each, allow_unhashed=allow_unhashed)]
        if trouble is not None
        for places in [uses.places(each.artifact.path)]
        for problem in [_problem(each.artifact, trouble, places)]
    ]
    return FilesResult(
        findings=tuple(sorted(findings, key=lambda finding: finding.problem.subject)),
        artifacts=sum(each.unread is None for each in seen),
        size=sum(each.size for each in seen),
        unhashed=sum(each.unread is None and each.artifact.package.digest is None for each in seen),
    )


def _look(folder: Path, artifact: Artifact) -> _Seen:
    """Read one artifact; not its bytes where its size is wrong already."""
    wanted, expected = artifact.package.digest, artifact.package.size
    file = folder / artifact.path
    try:
        status = file.stat()
        if not S_ISREG(status.st_mode):
            return _Seen(artifact=artifact, unread="is not a file")
        size = status.st_size
        if wanted is None or (expected is not None and size != expected):
            return _Seen(artifact=artifact, size=size)
        return _Seen(artifact=artifact, size=size, digest=hash_file(file, wanted.algorithm))
    except (FileNotFoundError, NotADirectoryError):
        return _Seen(artifact=artifact, unread="is missing")
    except OSError as error:
        return _Seen(artifact=artifact, unread=f"cannot be read: {error.strerror}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """What is wrong with an artifact: in words, in expected and actual values, what to do."""

    words: str
    contrast: tuple[str, str] | None = None
    help: str = "pixi run fetch"


def _trouble(seen: _Seen, *, allow_unhashed: bool) -> _Trouble | None:
    """Tell what is wrong with an artifact; the first thing only."""
    size, wanted = seen.artifact.package.size, seen.artifact.package.digest
    if seen.unread is not None:
        return _Trouble(words=seen.unread)
    if size is not None and seen.size != size:
        contrast = (f"{size} bytes", f"{seen.size} bytes")
        return _Trouble(words="size differs from pixi.lock", contrast=contrast)
    if wanted is not None and seen.digest != wanted.hex:
        return _Trouble(
            words=f"{wanted.algorithm} differs from pixi.lock",
            contrast=(wanted.hex, str(seen.digest)),
            # fetch believes a digest that it knows, and a disk may forget bits without telling
            help="remove this file, then `pixi run fetch`",
        )
    if wanted is None and not allow_unhashed:
        return _Trouble(
            words="nothing can be proven of it: pixi.lock has neither sha256 nor md5",
            help="allow-unhashed = true under [tool.pixi-mirror], if that will do",
        )
    return None


def _problem(artifact: Artifact, trouble: _Trouble, places: frozenset[Place]) -> Problem:
    """Put it so that a person can act on it."""
    facts: tuple[tuple[str, str], ...] = (("from", redact(artifact.urls[0])), used_by(places))
    if trouble.contrast is not None:
        expected, actual = trouble.contrast
        facts = (("expected", expected), ("actual", actual), *facts)
    return Problem(
        subject=str(artifact.path),
        trouble=trouble.words,
        code=ExitCode.NO,
        facts=facts,
        help=trouble.help,
    )
