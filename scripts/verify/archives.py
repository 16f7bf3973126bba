"""The level `archives`: open every locked artifact anew, whatever its platform.

Nothing known from before is believed, and nothing is written. An artifact that the level `files`
has just found missing or other than the lock's is told of there, and not opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.core.artifact import Artifact
from scripts.fetch.archives import Opened, archive_problem, open_archives
from scripts.verify.findings import (
    ArchivesResult,
    FilesResult,
    Finding,
    Level,
    Place,
    UsageIndex,
    used_by,
)


def check_archives(
    folder: Path, artifacts: Sequence[Artifact], uses: UsageIndex, files: FilesResult | None
) -> ArchivesResult:
    """Open them all; `files` is what that level found, None where it was not looked at."""
    wrong = {each.problem.subject for each in files.findings} if files is not None else set()
    wanted = [each for each in artifacts if str(each.path) not in wrong]
    opened = list(open_archives(folder, wanted))
    findings = [
        _finding(each, uses, is_proven=files is not None) for each in opened if not each.is_right
    ]
    left_alone = (uses.places(each.path) for each in artifacts if str(each.path) in wrong)
    return ArchivesResult(
        findings=tuple(sorted(findings, key=lambda each: each.problem.subject)),
        artifacts=sum(each.is_right for each in opened),
        left_alone=frozenset[Place]().union(*left_alone),
    )


def _finding(opened: Opened, uses: UsageIndex, *, is_proven: bool) -> Finding:
    places = uses.places(opened.artifact.path)
    problem = archive_problem(opened, used_by(places), is_proven=is_proven)
    return Finding(level=Level.ARCHIVES, problem=problem, places=places)
