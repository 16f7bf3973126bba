"""What `--help` of every task says, word for word: tests/data/help.txt has it as it is printed."""

from __future__ import annotations

import importlib
import re
from typing import Final

import pytest

from scripts.core.invocation import LAUNCHER_VARIABLE
from tests.support.template import ROOT

_TEXT: Final = (ROOT / "tests" / "data" / "help.txt").read_text(encoding="utf-8")
_HELPS: Final = dict(each.split(" --help\n") for each in _TEXT.split("$ pixi run ")[1:])


def _words(text: str) -> str:
    """The words in whatever lines; Python 3.13 has `-e, --environment ENV`, `ENV` but once."""
    return "".join(re.sub(r" [A-Z]+, --", ", --", text).split())


def test_every_task_has_one() -> None:
    tasks = {each.stem.replace("_", "-") for each in (ROOT / "tasks").glob("[!_]*.py")}
    assert _HELPS.keys() == tasks


@pytest.mark.parametrize("task", _HELPS)
def test_the_help_of_a_task(
    task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(LAUNCHER_VARIABLE, raising=False)
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"tasks.{task.replace('-', '_')}").main(["--help"])
    assert ended.value.code == 0
    assert _words(capsys.readouterr().out) == _words(_HELPS[task])
