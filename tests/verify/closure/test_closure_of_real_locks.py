"""Real locks through closure: what each lacks and why, and none is closed when something goes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.core.layout import Layout
from scripts.core.rattler_child import call_rattler
from scripts.core.report import Json
from scripts.lock.read import read_lock
from scripts.lock.select import select
from scripts.verify.closure.closed import ClosureResult, conclude
from scripts.verify.closure.inquire import Catalogue, read_answers, specs_asked
from scripts.verify.closure.look import Look, Want
from scripts.verify.closure.plan import Closing, plan_closings
from scripts.workspace.model import Manifest
from scripts.workspace.parse import parse_manifest
from scripts.workspace.settings import Settings

DATA = Path(__file__).parents[1] / "data"
LOCKS = sorted((DATA / "locks").glob("*/pixi.lock")) + sorted((DATA / "cases").glob("*/pixi.lock"))
# Manifests that are not beside their lock; of locks that have none the packages are looked at.
MANIFESTS = {
    "prefix-dev__pixi-build-backends": "backends.toml",
    "prefix-dev__pixi__111": "extras.toml",
    "pablovela5620__monoprior__2": "monoprior.toml",
}
# What cannot be read, and why.
REFUSED = {
    "ami-iit__jaxsim": "a Git LFS pointer, not the lock file itself",
    "conda__conda-lockfiles__3": "environments of the lock file is not a map of environments",
    "conda__conda-lockfiles__5": "packages of the lock file is not a list of packages",
    "conda__rattler__5": "lock file version 1000 is newer than this pixi-mirror knows",
    "rhysnewell__aviary__3": "not a pixi lock file: there is no map at its top",
}
# What cannot be satisfied: made by hand to test a reader, of source packages alone.
OPEN = {
    "conda__rattler__40": {
        ("my-partial-pkg (my-partial-pkg)", "python >=3.10", "default/linux-64")
    },
    "conda__rattler__43": {
        ("my-partial-pkg (my-partial-pkg)", "python >=3.10", "default/linux-64")
    },
    "conda__rattler__53": {
        ("child-package 0.1.0 (child-package)", name, "default/win-64")
        for name in ("git_lfs", "git_no_lfs", "git_plain")
    },
}
READABLE = [each for each in LOCKS if each.parent.name not in REFUSED]
NONE = '[workspace]\nname = "x"\nchannels = []\nplatforms = []\n'


def name_of(path: Path) -> str:
    return path.parent.name


def manifest_of(lock: Path) -> Manifest:
    path = lock.with_name("pixi.toml")
    if name_of(lock) in MANIFESTS:
        path = DATA / "manifests" / MANIFESTS[name_of(lock)]
    text = path.read_text(encoding="utf-8") if path.is_file() else NONE
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


def test_all_are_here() -> None:
    names = {name_of(each) for each in LOCKS}
    assert len(names) == 36 + 4
    assert names >= {*REFUSED, *OPEN, *MANIFESTS}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_the_reason(name: str) -> None:
    (lock,) = (each for each in LOCKS if name_of(each) == name)
    with pytest.raises(MirrorError) as caught:
        closings_of(lock)
    (problem,) = caught.value.problems
    assert (problem.trouble, problem.code) == (REFUSED[name], ExitCode.USAGE)


@pytest.mark.parametrize("lock", READABLE, ids=name_of)
def test_is_closed(lock: Path) -> None:
    """But for those made up: what pixi itself locked lacks nothing, source packages included."""
    result = Asked(lock).close()
    found = [
        (each.problem.subject, each.problem.trouble, ", ".join(map(str, each.places)))
        for each in result.findings
    ]
    assert sorted(found) == sorted(
        (subject, f"requires {spec}, which is not met", places)
        for subject, spec, places in OPEN.get(name_of(lock), ())
    )
    assert [text for each in result.places for text in each.not_proven] == []
    if name_of(lock) in MANIFESTS or lock.with_name("pixi.toml").exists():
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
        for position, want in whole.wanted_from_above:
            needed.setdefault(position, set()).add(f"{_who(whole, want)}: {want.text}")
        for position, package in whole.packages.items():
            rest = tuple(each for each in closing.packages if each is not package)
            look = asked.look(dataclasses.replace(closing, packages=rest))
            missed = {
                f"{_who(look, each.want)}: {each.want.text}"
                for each in look.unmet
                if each.answer.name == package.name
            }
            mine = {text for text in needed.get(position, set()) if _is_other(text, package.name)}
            assert missed == mine, package.name


def _who(look: Look, want: Want) -> str:
    if want.source is not None:
        return f"the source package {want.source.name}"
    return "the manifest" if want.who is None else look.packages[want.who].record.name


def _is_other(text: str, name: str) -> bool:
    """A package that needs itself is gone with it."""
    return not text.startswith(f"{name}: ")


def test_without_virtual_packages_it_is_not() -> None:
    (lock,) = (each for each in READABLE if name_of(each) == "pytorch-nvidia")
    asked = Asked(lock)
    (closing,) = asked.closings
    look = asked.look(dataclasses.replace(closing, virtual_packages=()))
    assert {each.answer.name for each in look.unmet} == {"__glibc", "__unix"}
