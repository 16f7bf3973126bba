"""The fixture `indexer`: each indexer of this machine in turn, found on PATH as a task finds it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.mirrors import INDEXERS, PY_RATTLER, path_with


def _parameters() -> list[Any]:
    programs = [
        pytest.param(each, id=f"rattler-index-{number}", marks=pytest.mark.needs_rattler_index)
        for number, each in enumerate(INDEXERS)
        if each != PY_RATTLER
    ]
    if not programs:  # skipped, and told of at the end
        programs.append(pytest.param("", id="rattler-index", marks=pytest.mark.needs_rattler_index))
    return [*programs, pytest.param(PY_RATTLER, id=PY_RATTLER)]


@pytest.fixture(params=_parameters())
def indexer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put one indexer on PATH; for py-rattler, no program."""
    monkeypatch.setenv("PATH", path_with(request.param))
    return str(request.param)


@pytest.fixture
def any_indexer(monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the quickest indexer on PATH, where it does not matter which it is."""
    monkeypatch.setenv("PATH", path_with(INDEXERS[0]))
    return INDEXERS[0]


@pytest.fixture
def fake_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a rattler-index on PATH that is a shell script, to be written by the test.

    The real ones do not fail on demand: this stands for one that ends well and did nothing,
    or ends badly.
    """
    if os.name == "nt":
        pytest.skip("the stand-in is a shell script")
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "rattler-index"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{path_with(PY_RATTLER)}")
    return program
