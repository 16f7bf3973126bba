"""The level `solve`: solve every mirrored environment from the mirror alone.

Foreign platforms too, as the machine that the lock declares. All in one child process without
a network, and with a cache of its own.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from scripts.core.rattler_child import call_rattler
from scripts.core.report import Json
from scripts.core.scratch import scratch_folder
from scripts.lock.select import Selection
from scripts.verify.install.sandbox import sandbox, sandbox_environment
from scripts.verify.solve.plan_solve import NotSolved, Solving, Wanted, plan_solves
from scripts.verify.solve.solved import Answer, SolveResult, conclude
from scripts.workspace.workspace import Workspace


def check_solve(
    workspace: Workspace, selection: Selection, retained: AbstractSet[PurePosixPath]
) -> SolveResult:
    """Solve what can be, and hold every answer against pixi.lock.

    `retained` are the artifacts that are indexed though the lock names them no more.
    Raises the error of exit code 4 where rattler ends without an answer.
    """
    plans = plan_solves(selection, workspace.manifest, workspace.root)
    solvings = [each for each in plans if isinstance(each, Solving)]
    hindered = tuple(each for each in plans if isinstance(each, NotSolved))
    answers = _ask(solvings, workspace.place.folder) if solvings else []
    return SolveResult(
        places=tuple(
            conclude(solving, answer, retained)
            for solving, answer in zip(solvings, answers, strict=True)
        ),
        hindered=hindered,
    )


def _ask(solvings: list[Solving], folder: Path) -> list[Answer]:
    """Put all questions at once."""
    with scratch_folder() as scratch:
        arguments: dict[str, Json] = {
            "cache": str(scratch / "cache"),
            "questions": [solve_question(each, folder) for each in solvings],
        }
        environment = sandbox_environment(scratch / "home", {})
        replies = call_rattler("solve", arguments, environment, sandbox().command)
    assert isinstance(replies, list)
    return [solve_answer(reply, folder) for reply in replies]


def solve_question(solving: Solving, folder: Path) -> Json:
    """Write what the worker is asked; `folder` is the channel folder."""
    return {
        "channels": [(folder / each).as_uri() for each in solving.channels],
        "undeclared": [
            {"channel": (folder / each.folder).as_uri(), "folder": str(folder / each.folder)}
            | {"names": sorted(each.names)}
            for each in solving.undeclared
        ],
        "subdir": solving.subdir,
        "specs": [_spec(each, folder) for each in solving.wanted],
        "constraints": [_spec(each, folder) for each in solving.constraints],
        "virtual_packages": [
            [each.name, each.version, each.build] for each in solving.virtual_packages
        ],
        "channel_priority": solving.channel_priority,
        "strategy": solving.strategy,
    }


def _spec(wanted: Wanted, folder: Path) -> str:
    if wanted.channel is None:
        return wanted.spec
    return f"{(folder / wanted.channel).as_uri()}::{wanted.spec}"


def solve_answer(reply: Json, folder: Path) -> Answer:
    """Read one reply of the worker; what lies outside the mirror keeps its URL."""
    assert isinstance(reply, dict)
    if "refused" in reply:
        return Answer(refused=str(reply["refused"]))
    root = unquote(folder.as_uri()) + "/"
    urls = reply["urls"]
    assert isinstance(urls, list)
    return Answer(
        artifacts=frozenset(PurePosixPath(unquote(str(url)).removeprefix(root)) for url in urls)
    )
