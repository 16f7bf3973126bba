"""Closure beside rattler's own solver: what is closed can be solved from itself alone, else not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from scripts.core.layout import Layout
from scripts.core.rattler_child import call_rattler
from scripts.lock.read import read_lock
from scripts.lock.select import select
from scripts.verify.closure.inquire import Catalogue, read_answers, specs_asked
from scripts.verify.closure.look import Look
from scripts.verify.closure.plan import Closing, plan_closings
from scripts.workspace.parse import parse_manifest
from scripts.workspace.settings import Settings
from tests.support.locks import with_fields
from tests.support.pinned import pinned_question

DATA = Path(__file__).parents[1] / "data"
NOTHING = parse_manifest(
    '[workspace]\nname = "x"\nchannels = []\nplatforms = []\n', name="pixi.toml"
)
SUBDIR = "linux-64"  # that of the first platform of each
LOCKS = {
    "cases/pytorch-nvidia": 24,
    "locks/pablovela5620__monoprior__2": 8,
    "locks/prefix-dev__pixi__163": 24,
    "locks/prefix-dev__pixi__189": 8,
    "locks/prefix-dev__pixi__226": 24,
}


def _broken(closing: Closing, count: int) -> Iterator[Closing]:
    """Yield a set as it is, then with this and that wrong, or perhaps wrong, with it."""
    yield closing
    random = Random(count)
    for _ in range(count):
        packages = list(closing.packages)
        virtual = closing.virtual_packages or ()
        for _ in range(random.choice((1, 1, 2))):
            one, other = random.sample(range(len(packages)), 2)
            name = packages[other].record.name
            spec = random.choice(
                (f"{name} {packages[other].record.version}", f"{name} <0.0.0a0", name)
            )
            match random.randrange(5):
                case 0 | 1:
                    del packages[one]
                case 2:
                    wider = (*packages[one].record.depends, spec)
                    packages[one] = with_fields(packages[one], depends=wider)
                case 3:
                    tighter = (*packages[one].record.constrains, spec, "absent <1")
                    packages[one] = with_fields(packages[one], constrains=tighter)
                case _:
                    virtual = tuple(random.sample(virtual, len(virtual) - 1)) if virtual else ()
        yield dataclasses.replace(closing, packages=tuple(packages), virtual_packages=virtual)


@pytest.mark.parametrize("name", LOCKS)
def test_rattler_says_the_same(name: str, tmp_path: Path) -> None:
    lock = read_lock(DATA / name / "pixi.lock")
    planned = plan_closings(select(lock, Settings(layout=Layout.BY_CHANNEL)), NOTHING)
    whole = next(each for each in planned if not each.is_of_builds)
    closings = list(_broken(dataclasses.replace(whole, sources=()), LOCKS[name]))
    catalogue = Catalogue(closings)
    answers = read_answers(
        call_rattler("match_each", {"specs": specs_asked(closings), "records": catalogue.records()})
    )
    looks = [Look(each, catalogue, answers, DATA) for each in closings]
    replies = call_rattler(
        "solve",
        {
            "cache": str(tmp_path / "cache"),
            "questions": [
                pinned_question(each, SUBDIR, tmp_path / str(number))
                for number, each in enumerate(closings)
            ],
        },
    )
    assert isinstance(replies, list)
    solved = ["urls" in dict(each) for each in replies]
    said = [str(each.get("refused", "")) for each in replies]
    ours = [not look.unmet for look in looks]
    for number, (mine, theirs) in enumerate(zip(ours, solved, strict=True)):
        assert mine is theirs, (number, looks[number].unmet, said[number])
    assert ours[0]
    assert set(ours) == {True, False}
