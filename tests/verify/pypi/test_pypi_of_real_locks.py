"""PyPI rows of real locks through closure: nothing is lacking, and all that is needed is missed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.core.channel_paths import Layout
from scripts.core.record import PypiRecord
from scripts.lock.read import read_lock
from scripts.verify.plan import PackageSet, plan_sets
from scripts.verify.pypi_closure import prove_pypi
from scripts.verify.requirements import find_requirements
from scripts.workspace.parse import parse_manifest
from scripts.workspace.settings import Settings
from tests.support.mirrored import select
from tests.verify.closure.test_closure_of_real_locks import DATA, READABLE, manifest_of, name_of

CASE = DATA / "pypi/pixi.lock"
# Made by hand to test a reader: a file name that no wheel has.
MADE_UP = {"prefix-dev__pixi__90": "my-dep-1.0.0.whl"}
# Without any conda package, so without a Python.
WITHOUT_PYTHON = {"conda__rattler__49", "conda__rattler__50"}


def sets_of(lock: Path) -> list[PackageSet]:
    settings = Settings(layout=Layout.BY_CHANNEL, allow_unhashed=True)
    manifest = manifest_of(lock)
    if lock == CASE:
        text = lock.with_name("pixi.toml").read_text(encoding="utf-8")
        manifest = parse_manifest(text, name="pixi.toml")
    return list(plan_sets(select(read_lock(lock), settings, manifest=manifest, root=DATA)))


def _has_rows(lock: Path) -> bool:
    return any(rows.pypi for x in read_lock(lock).environments for rows in x.platforms)


LOCKS = [each for each in (*READABLE, CASE) if _has_rows(each)]


def test_these_are_all() -> None:
    assert len(LOCKS) == 13
    assert sum(len(each.rows.pypi) for lock in LOCKS for each in sets_of(lock)) == 602


@pytest.mark.parametrize("lock", LOCKS, ids=name_of)
def test_nothing_is_lacking(lock: Path) -> None:
    answers = prove_pypi(sets_of(lock)).values()
    subjects = {problem.subject for problems, _ in answers for problem in problems}
    assert subjects == {x for name, x in MADE_UP.items() if name == name_of(lock)}
    without_python = {"no Python is locked there"}
    not_proven = {text for _, texts in answers for text in texts}
    if name_of(lock) not in MADE_UP:
        assert not_proven == (without_python if name_of(lock) in WITHOUT_PYTHON else set())


def _without(each: PackageSet, row: PypiRecord) -> PackageSet:
    pypi, left_out = (
        tuple(x for x in some if x != row) for some in (each.rows.pypi, each.rows.pypi_left_out)
    )
    rows = dataclasses.replace(each.rows, pypi=pypi, pypi_left_out=left_out)
    return dataclasses.replace(each, rows=rows)


@pytest.mark.parametrize("lock", LOCKS, ids=name_of)
def test_what_is_needed_is_missed(lock: Path) -> None:
    """Each row that another one, or the manifest, requires there; the first place of each lock."""
    each = sets_of(lock)[0]
    python = each.python
    if isinstance(python, str):
        return
    asked, undecided = find_requirements(each, python)
    assert undecided == []
    wanted = {x.requirement.name.lower() for x in asked if x.requirement is not None}
    needed = [row for row in each.pypi_rows if row.name in wanted]
    assert needed or len(each.pypi_rows) < 6
    for row in needed:
        ((problems, _),) = prove_pypi([_without(each, row)]).values()
        lacking = {dict(problem.details).get("has") for problem in problems}
        assert f"no {row.name}" in lacking
