"""Real locks through closure: all that can be read are closed, and none is when something goes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.channel.layout import Layout
from scripts.closure.closed import ClosureResult, conclude
from scripts.closure.inquire import Catalogue, read_answers, specs_asked
from scripts.closure.look import Look
from scripts.closure.plan import Closing, plan_closings
from scripts.core.rattler_child import call_rattler
from scripts.core.report import Json
from scripts.lock.read import read_lock
from scripts.lock.select import select
from scripts.manifest.model import Manifest
from scripts.manifest.parse import parse_manifest
from scripts.manifest.settings import Settings

DATA = Path(__file__).parents[1] / "data"
LOCKS = sorted((DATA / "locks").glob("*/pixi.lock")) + sorted((DATA / "cases").glob("*/pixi.lock"))
# The manifests of these locks; of the other locks only the packages are looked at.
MANIFESTS = {
    "prefix-dev__pixi-build-backends": "backends.toml",
    "prefix-dev__pixi__111": "extras.toml",
    "pablovela5620__monoprior__2": "monoprior.toml",
}
# The reader's own tests tell why.
REFUSED = {
    "ami-iit__jaxsim",
    "conda__conda-lockfiles__3",
    "conda__conda-lockfiles__5",
    "conda__rattler__5",
    "rhysnewell__aviary__3",
}
READABLE = [each for each in LOCKS if each.parent.name not in REFUSED]
NONE = '[workspace]\nname = "x"\nchannels = []\nplatforms = []\n'


def name_of(path: Path) -> str:
    return path.parent.name


def manifest_of(lock: Path) -> Manifest:
    path = lock.with_name("pixi.toml")
    if name_of(lock) in MANIFESTS:
        path = DATA / "manifests" / MANIFESTS[name_of(lock)]
    text = path.read_text(encoding="utf-8") if path.exists() else NONE
    return parse_manifest(text, name="pixi.toml")


def closings_of(lock: Path) -> tuple[Closing, ...]:
    selection = select(read_lock(lock), Settings(layout=Layout.BY_CHANNEL))
    return plan_closings(selection, manifest_of(lock))


class Asked:
    """A lock, and what rattler says of it."""

    def __init__(self, lock: Path) -> None:
        self.closings = closings_of(lock)
        self.catalogue = Catalogue(self.closings)
        arguments: dict[str, Json] = {
            "specs": specs_asked(self.closings),
            "records": self.catalogue.records(),
        }
        self.answers = read_answers(call_rattler("match_each", arguments))

    def close(self) -> ClosureResult:
        """Look at every place."""
        return conclude(self.closings, self.catalogue, self.answers, Layout.BY_CHANNEL, DATA)

    def look(self, closing: Closing) -> Look:
        """Look at one."""
        return Look(closing, self.catalogue, self.answers, DATA)


@pytest.mark.parametrize("lock", READABLE, ids=name_of)
def test_is_closed(lock: Path) -> None:
    """None of them lacks anything; the made-up ones that cannot be satisfied lack PyPI packages."""
    result = Asked(lock).close()
    assert [str(each.problem) for each in result.findings] == []
    not_proven = {text for each in result.places for text in each.not_proven}
    if name_of(lock) == "prefix-dev__pixi-build-backends":
        assert not_proven == {"pixi.toml requires py-pixi-build-backend * (built from source)"}
        assert {each.place.environment for each in result.places if each.not_proven} == {
            "default",
            "test",
        }
    else:
        assert not_proven == set()
    if name_of(lock) in MANIFESTS or lock.is_relative_to(DATA / "cases"):
        assert {each.hindrance for each in result.places} <= {None}


@pytest.mark.parametrize("lock", READABLE, ids=name_of)
def test_without_one_package_it_is_not(lock: Path) -> None:
    """Every package that anything needs, taken away alone, is missed by all who need it."""
    asked = Asked(lock)
    for closing in asked.closings:
        whole = asked.look(closing)
        needed: dict[int, set[str]] = {}
        for position, package in whole.packages.items():
            for met, text in whole.needs_of(position):
                needed.setdefault(met, set()).add(f"{package.name}: {text}")
        for position, want in whole.wanted_by_root:
            needed.setdefault(position, set()).add(f"the manifest: {want.text}")
        for position, package in whole.packages.items():
            rest = tuple(each for each in closing.packages if each is not package)
            look = asked.look(dataclasses.replace(closing, packages=rest))
            missed = {
                f"{_who(look, each.want.who)}: {each.want.text}"
                for each in look.unmet
                if each.answer.name == package.name
            }
            mine = {text for text in needed.get(position, set()) if _is_other(text, package.name)}
            assert missed == mine, package.name


def _who(look: Look, position: int | None) -> str:
    return "the manifest" if position is None else look.packages[position].name


def _is_other(text: str, name: str) -> bool:
    """A package that needs itself is gone with it."""
    return not text.startswith(f"{name}: ")


def test_without_virtual_packages_it_is_not() -> None:
    (lock,) = (each for each in READABLE if name_of(each) == "pytorch-nvidia")
    asked = Asked(lock)
    (closing,) = asked.closings
    look = asked.look(dataclasses.replace(closing, virtual_packages=()))
    assert {each.answer.name for each in look.unmet} == {"__glibc", "__unix"}
