"""The way of the self-check that leaves an environment without a solution."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from scripts.core.artifact import Artifact
from scripts.core.subdir import NOARCH
from scripts.index.repodata import REPODATA
from scripts.lock.select import Selection
from scripts.verify.findings import Level
from scripts.verify.self_check.copy import Copy
from scripts.verify.self_check.index import dropping_all
from scripts.verify.self_check.records import MISSING, edit_index
from scripts.verify.self_check.way import NoWay, Scene, Way
from scripts.verify.solve.plan_solve import Solving, plan_solves
from scripts.workspace.workspace import Workspace

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


def way_of_solving(
    workspace: Workspace, selection: Selection, there: Sequence[Artifact]
) -> Way | NoWay:
    """Take away what the manifest itself asks for, in the smallest environment there is.

    Every record of that name goes: a solver is right to take another one where it can.
    """
    plans = plan_solves(selection, workspace.manifest, workspace.root)
    solvings = [each for each in plans if isinstance(each, Solving)]
    for solving in sorted(solvings, key=lambda each: (len(each.locked), each.place)):
        names = {match[0].lower() for each in solving.wanted if (match := _NAME.match(each.spec))}
        artifacts = tuple(each for each in there if each.path in solving.locked)
        artifact = next((each for each in artifacts if each.name.lower() in names), None)
        if artifact is not None:
            return _way(solving, artifact, artifacts)
    reason = "no environment has an artifact that the manifest asks for by name"
    return NoWay(title=MISSING, level=Level.SOLVE, reason=reason)


def _way(solving: Solving, artifact: Artifact, artifacts: Iterable[Artifact]) -> Way:
    name = artifact.name
    subdirs = tuple(
        folder / each for folder in solving.folders for each in sorted({solving.subdir, NOARCH})
    )

    def damage(copy: Copy) -> None:
        for subdir in subdirs:
            if (copy.folder / subdir / REPODATA).is_file():  # a channel need not have them all
                edit_index(copy, subdir, name.lower(), dropping_all(name))

    return Way(
        title=MISSING,
        level=Level.SOLVE,
        scene=Scene(
            artifacts=tuple(artifacts),
            channels=tuple(sorted(solving.folders)),
            subdirs=subdirs,
            place=solving.place,
        ),
        named=artifact.path,
        sign=name,
        damage=damage,
    )
