"""Commands that we name are those that the user can paste."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.core.command import task_parser
from scripts.core.console import Console, render_json
from scripts.core.errors import ExitCode, Problem
from scripts.core.invocation import LAUNCHER_VARIABLE, as_invoked
from scripts.core.report import Report

SAID = "run `pixi run fetch` again; `pixi run --frozen x` and `pixi lock` are pixi's own"


@pytest.mark.parametrize("launcher", ["./run", "run", "pixi-mirror", "pixi mirror"])
def test_started_by_the_launcher(launcher: str) -> None:
    assert as_invoked(SAID, {LAUNCHER_VARIABLE: launcher}) == SAID.replace(
        "pixi run fetch", f"{launcher} fetch"
    )


@pytest.mark.parametrize("environ", [{}, {LAUNCHER_VARIABLE: ""}, {LAUNCHER_VARIABLE: "rm -r"}])
def test_else_it_is_pixi(environ: dict[str, str]) -> None:
    assert as_invoked(SAID, environ) == SAID


def test_in_help_and_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = Problem(subject="it", message="no", code=ExitCode.FINDINGS, help="pixi run fetch")
    assert task_parser("fetch", "").prog == "pixi run fetch"
    monkeypatch.setenv(LAUNCHER_VARIABLE, "./run")
    assert task_parser("fetch", "").prog == "./run fetch"
    Console().report(Report(problems=(problem,)))
    assert capsys.readouterr().err == "error: it: no\nhelp: ./run fetch\n"
    said: Any = render_json("x", Report(problems=(problem,), data={"next": ["pixi run index"]}))
    assert (said["problems"][0]["help"], said["next"]) == ("./run fetch", ["./run index"])
