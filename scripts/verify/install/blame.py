"""Name the artifacts behind a program's failure, where its own words do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from scripts.core.artifact import Artifact
from scripts.core.errors import Problem
from scripts.verify.files import check_files
from scripts.verify.findings import UsageIndex


def name_damage(problem: Problem, folder: Path, artifacts: Sequence[Artifact]) -> Problem:
    """Add the damaged artifacts that are not named yet: conda says `EOF` and no more of one."""
    said = "\n".join(text for _, text in problem.facts)
    files = check_files(folder, artifacts, UsageIndex(None), allow_unhashed=True)
    damaged = [finding.problem for finding in files.findings]
    facts = tuple(
        ("damaged", f"{each.subject}: {each.trouble}")
        for each in damaged
        if each.subject.rpartition("/")[2] not in said
    )
    return dataclasses.replace(problem, facts=(*problem.facts, *facts))
