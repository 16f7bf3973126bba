"""The level `files`: read every byte of every locked artifact and compare.

No known digest is believed here, and none is written down: what was right at its download may
have changed on the disk since.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, Problem
from scripts.core.files import hash_file
from scripts.core.record import Digest
from scripts.core.redact import redact
from scripts.index.files import IndexedArtifact
from scripts.verify.findings import FilesResult, Finding, Level, Place, Uses, used_by

# One more than can hash at a time: it opens the next file meanwhile.
_THREADS = (os.cpu_count() or 1) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A file to read, and what is expected of it; `source` is where that is said."""

    path: PurePosixPath
    size: int | None
    digest: Digest | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A file as it is on the disk: its size and digest, or why it cannot be read."""

    size: int = 0
    digest: str | None = None
    unread: str | None = None


def check_files(
    folder: Path,
    artifacts: Sequence[Artifact],
    uses: Uses,
    *,
    allow_unhashed: bool,
    retained: Sequence[IndexedArtifact] = (),
    others: Sequence[IndexedArtifact] = (),
) -> FilesResult:
    """Compare all artifacts with what the lock says of them.

    An artifact of which the lock has no hash is a finding, unless they are allowed. `retained`
    and `others` are artifacts that the index names and this lock does not, others that another
    workspace's lock names: they are what their records say.
    """
    locked = [
        _Wanted(
            path=each.path,
            size=each.size,
            digest=each.digest,
            source="pixi.lock",
        )
        for each in artifacts
    ]
    indexed = [
        _Wanted(
            path=each.path,
            size=each.record.size,
            digest=_digest_of(each),
            source="its record",
        )
        for each in (*retained, *others)
    ]
    seen = _look_at_all(folder, (*locked, *indexed))
    findings: list[Finding] = []
    for artifact, wanted in zip(artifacts, locked, strict=True):
        trouble = _trouble(seen[wanted.path], wanted, allow_unhashed=allow_unhashed)
        if trouble is not None:
            places = uses.places(artifact.path)
            problem = _problem(artifact, trouble, places)
            findings.append(Finding(level=Level.FILES, problem=problem, places=places))
    for wanted in indexed:
        trouble = _trouble(seen[wanted.path], wanted, allow_unhashed=True)
        if trouble is not None:
            is_retained = any(each.path == wanted.path for each in retained)
            problem = _indexed_problem(wanted, trouble, is_retained=is_retained)
            findings.append(Finding(level=Level.FILES, problem=problem, places=frozenset()))
    return FilesResult(
        findings=tuple(sorted(findings, key=lambda finding: finding.problem.subject)),
        artifacts=sum(each.unread is None for each in seen.values()),
        size=sum(each.size for each in seen.values()),
        unhashed=sum(seen[each.path].unread is None and each.digest is None for each in locked),
    )


def _digest_of(indexed: IndexedArtifact) -> Digest | None:
    record = indexed.record
    if record.sha256:
        return Digest("sha256", record.sha256)
    return Digest("md5", record.md5) if record.md5 else None


def _look_at_all(folder: Path, wanted: Sequence[_Wanted]) -> dict[PurePosixPath, _Seen]:
    """Read all files, side by side."""
    # The largest first, so that no thread is left with one of them at the end.
    ordered = sorted(wanted, key=lambda each: each.size or 0, reverse=True)
    waiting = iter(ordered)  # a list's iterator gives each artifact to one thread only

    def look_on(_thread: int) -> list[tuple[PurePosixPath, _Seen]]:
        return [(each.path, _look(folder, each)) for each in waiting]

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return dict(each for part in pool.map(look_on, range(_THREADS)) for each in part)


def _look(folder: Path, wanted: _Wanted) -> _Seen:
    """Read one artifact; not its bytes where its size is wrong already."""
    file = folder / wanted.path
    try:
        status = file.stat()
        if not S_ISREG(status.st_mode):
            return _Seen(unread="is not a file")
        size = status.st_size
        if wanted.digest is None or (wanted.size is not None and size != wanted.size):
            return _Seen(size=size)
        return _Seen(size=size, digest=hash_file(file, wanted.digest.algorithm))
    except (FileNotFoundError, NotADirectoryError):
        return _Seen(unread="is missing")
    except OSError as error:
        return _Seen(unread=f"cannot be read: {error.strerror}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """What is wrong with an artifact: in words, in expected and actual values, what to do."""

    words: str
    contrast: tuple[str, str] | None = None
    help: str = "pixi run fetch"


def _trouble(seen: _Seen, wanted: _Wanted, *, allow_unhashed: bool) -> _Trouble | None:
    """Tell what is wrong with an artifact; the first thing only."""
    if seen.unread is not None:
        return _Trouble(words=seen.unread)
    if wanted.size is not None and seen.size != wanted.size:
        contrast = (f"{wanted.size} bytes", f"{seen.size} bytes")
        return _Trouble(words=f"size differs from {wanted.source}", contrast=contrast)
    if wanted.digest is not None and seen.digest != wanted.digest.hex:
        return _Trouble(
            words=f"{wanted.digest.algorithm} differs from {wanted.source}",
            contrast=(wanted.digest.hex, str(seen.digest)),
            # fetch believes a digest that it knows, and a disk may forget bits without telling
            help="remove this file, then `pixi run fetch`",
        )
    if wanted.digest is None and not allow_unhashed:
        return _Trouble(
            words="nothing can be proven of it: pixi.lock has neither sha256 nor md5",
            help="allow-unhashed = true under [tool.pixi-mirror], if that will do",
        )
    return None


def _problem(artifact: Artifact, trouble: _Trouble, places: frozenset[Place]) -> Problem:
    """Put it so that a person can act on it."""
    facts: tuple[tuple[str, str], ...] = (("from", redact(artifact.urls[0])), used_by(places))
    return Problem(
        subject=str(artifact.path),
        trouble=trouble.words,
        code=ExitCode.NO,
        facts=(*_contrast(trouble), *facts),
        help=trouble.help,
    )


def _indexed_problem(wanted: _Wanted, trouble: _Trouble, *, is_retained: bool) -> Problem:
    """Say it of an artifact that this lock does not name, and so does not fetch again."""
    return Problem(
        subject=str(wanted.path),
        trouble=f"retained, {trouble.words}" if is_retained else trouble.words,
        code=ExitCode.NO,
        facts=_contrast(trouble),
        help=f"pixi run prune --drop {wanted.path}"
        if is_retained
        else "remove this file, then `pixi run mirror` in the workspace that names it",
    )


def _contrast(trouble: _Trouble) -> tuple[tuple[str, str], ...]:
    return tuple(zip(("expected", "actual"), trouble.contrast or (), strict=False))
