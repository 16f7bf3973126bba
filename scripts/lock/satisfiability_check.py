"""Ask py-rattler whether a lock still fits its manifest, where there is no pixi."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.core.errors import Problem
from scripts.core.rattler_child import call_rattler
from scripts.lock.model import LockFile
from scripts.lock.satisfiability import Examination, conclude, examine, not_checked
from scripts.lock.satisfiability_requirement import match_pair
from scripts.workspace.workspace import Workspace


def check_fit(workspace: Workspace, lock: LockFile) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Return the findings (exit code 2), and sentences on what was not checked."""
    examination = examine(workspace.manifest, lock, workspace.root)
    answers = _answers(examination)
    return (
        conclude(examination, answers, workspace.root),
        not_checked(workspace.manifest, examination, answers),
    )


def _answers(examination: Examination) -> Sequence[bool | None]:
    """Put all questions at once; the child starts only where there are some."""
    pairs = [
        match_pair(question.requirement, question.package)
        for question in examination.questions
        if question.package is not None
    ]
    result = call_rattler("matches", {"pairs": pairs}) if pairs else []
    assert isinstance(result, list)
    replies = iter(result)
    return [
        None if question.package is None else next(replies) for question in examination.questions
    ]
