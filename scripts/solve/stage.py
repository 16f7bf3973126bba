"""The level `solve`: solve every mirrored environment from the mirror alone. Acts.

Foreign platforms too, as the machine that the lock declares. All in one child process without
a network, and with a cache of its own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from scripts.core.rattler_child import call_rattler
from scripts.core.report import Json
from scripts.lock.select import Selection
from scripts.manifest.workspace import Workspace
from scripts.proof.alone import alone_environment, seclusion
from scripts.proof.virtual import virtual_package_parts
from scripts.solve.plan_solve import NotSolved, Solving, Wanted, plan_solves
from scripts.solve.solved import Answer, SolveResult, conclude


def check_solve(workspace: Workspace, selection: Selection) -> SolveResult:
    """Solve what can be, and hold every answer against pixi.lock.

    Raises the error of exit code 4 where rattler ends without an answer.
    """
    plans = plan_solves(selection, workspace.manifest, workspace.root)
    solvings = [each for each in plans if isinstance(each, Solving)]
    hindered = tuple(each for each in plans if isinstance(each, NotSolved))
    answers = _ask(solvings, workspace.place.folder) if solvings else []
    return SolveResult(
        places=tuple(map(conclude, solvings, answers)),
        hindered=hindered,
    )


def _ask(solvings: list[Solving], folder: Path) -> list[Answer]:
    """Put all questions at once."""
    with tempfile.TemporaryDirectory(prefix="pixi-mirror-", ignore_cleanup_errors=True) as name:
        scratch = Path(name).resolve()
        arguments: dict[str, Json] = {
            "cache": str(scratch / "cache"),
            "questions": [_question(each, folder) for each in solvings],
        }
        environment = alone_environment(scratch / "home", {})
        replies = call_rattler("solve", arguments, environment, seclusion().command)
    assert isinstance(replies, list)
    return [_answer(reply, folder) for reply in replies]


def _question(solving: Solving, folder: Path) -> Json:
    return {
        "channels": [(folder / each).as_uri() for each in solving.channels],
        "subdir": solving.subdir,
        "specs": [_spec(each, folder) for each in solving.wanted],
        "constraints": [_spec(each, folder) for each in solving.constraints],
        "virtual_packages": [virtual_package_parts(each) for each in solving.virtual_packages],
        "channel_priority": solving.channel_priority,
        "strategy": solving.strategy,
    }


def _spec(wanted: Wanted, folder: Path) -> str:
    if wanted.channel is None:
        return wanted.spec
    return f"{(folder / wanted.channel).as_uri()}::{wanted.spec}"


def _answer(reply: Json, folder: Path) -> Answer:
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
