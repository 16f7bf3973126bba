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

from scripts.core.errors import ExitCode, Problem
from scripts.core.files import hash_file
from scripts.core.redact import redact
from scripts.lock.select import Artifact
from scripts.proof.findings import FilesResult, Finding, Level, Uses, used_by

_FEWEST_THREADS = 2  # one reads while the other hashes, even on one core


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """An artifact as it is on the disk: its size and digest, or why it cannot be read."""

    artifact: Artifact
    size: int = 0
    digest: str | None = None
    trouble: str | None = None


def check_files(
    folder: Path, artifacts: Sequence[Artifact], uses: Uses, *, allow_unhashed: bool
) -> FilesResult:
    """Compare all artifacts with what the lock says of them.

    An artifact of which the lock has no hash is a finding, unless they are allowed.
    """
    # The largest first, so that no thread is left with one of them at the end.
    ordered = sorted(artifacts, key=lambda each: each.package.size or 0, reverse=True)
    with ThreadPoolExecutor(max_workers=max(_FEWEST_THREADS, os.cpu_count() or 1)) as pool:
        seen = list(pool.map(lambda artifact: _look(folder, artifact), ordered))
    findings = [
        Finding(level=Level.FILES, problem=problem, places=places)
        for each in seen
        for places in [uses.places(each.artifact.path)]
        for problem in [_problem(each, used_by(places), allow_unhashed=allow_unhashed)]
        if problem is not None
    ]
    return FilesResult(
        findings=tuple(sorted(findings, key=lambda finding: finding.problem.subject)),
        artifacts=sum(each.trouble is None for each in seen),
        size=sum(each.size for each in seen),
        unhashed=sum(
            each.trouble is None and each.artifact.package.digest is None for each in seen
        ),
    )


def _look(folder: Path, artifact: Artifact) -> _Seen:
    """Read one artifact; not its bytes where its size is wrong already."""
    wanted, expected = artifact.package.digest, artifact.package.size
    file = folder / artifact.path
    try:
        size = file.stat().st_size
        if not file.is_file():
            return _Seen(artifact=artifact, trouble="is not a file")
        if wanted is None or (expected is not None and size != expected):
            return _Seen(artifact=artifact, size=size)
        return _Seen(artifact=artifact, size=size, digest=hash_file(file, wanted.algorithm))
    except (FileNotFoundError, NotADirectoryError):
        return _Seen(artifact=artifact, trouble="is missing")
    except OSError as error:
        return _Seen(artifact=artifact, trouble=f"cannot be read: {error.strerror}")


def _problem(seen: _Seen, users: tuple[str, str], *, allow_unhashed: bool) -> Problem | None:
    """Say what is wrong with an artifact; the first thing only."""
    package, wanted = seen.artifact.package, seen.artifact.package.digest
    facts: tuple[tuple[str, str], ...] = (("from", redact(seen.artifact.urls[0])), users)
    help_line = "pixi run fetch"
    if seen.trouble is not None:
        trouble = seen.trouble
    elif package.size is not None and seen.size != package.size:
        trouble = "size differs from pixi.lock"
        facts = (
            ("expected", f"{package.size} bytes"),
            ("actual", f"{seen.size} bytes"),
            *facts,
        )
    elif wanted is not None and seen.digest != wanted.hex:
        trouble = f"{wanted.algorithm} differs from pixi.lock"
        facts = (("expected", wanted.hex), ("actual", str(seen.digest)), *facts)
        # fetch believes a digest that it knows, and a disk may forget bits without telling
        help_line = "remove this file, then `pixi run fetch`"
    elif wanted is None and not allow_unhashed:
        trouble = "nothing can be proven of it: pixi.lock has neither sha256 nor md5"
        help_line = "allow-unhashed = true under [tool.pixi-mirror], if that will do"
    else:
        return None
    return Problem(
        subject=str(seen.artifact.path),
        trouble=trouble,
        code=ExitCode.NO,
        facts=facts,
        help=help_line,
    )
