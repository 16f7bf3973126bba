"""The level `closure`: every requirement is met within its environment and platform.

Of all mirrored platforms, foreign ones too, by what pixi.lock says of the packages; that the
channel's own records say the same is the level `index`. One child process matches every
MatchSpec once.
"""

from __future__ import annotations

from scripts.core.rattler_child import call_rattler
from scripts.core.report import Json
from scripts.lock.select import Selection
from scripts.verify.closure.closed import ClosureResult, conclude
from scripts.verify.closure.inquire import Catalogue, read_answers, specs_asked
from scripts.verify.closure.plan import plan_closings
from scripts.workspace.workspace import Workspace


def check_closure(workspace: Workspace, selection: Selection) -> ClosureResult:
    """Look at every environment on every platform.

    Raises the error of exit code 4 where rattler ends without an answer.
    """
    closings = plan_closings(selection, workspace.manifest)
    catalogue = Catalogue(closings)
    specs = specs_asked(closings)
    reply: Json = {}
    if specs:
        arguments: dict[str, Json] = {"specs": specs, "records": catalogue.records()}
        reply = call_rattler("match_each", arguments)
    answers = read_answers(reply)
    return conclude(closings, catalogue, answers, selection.layout, workspace.root)
