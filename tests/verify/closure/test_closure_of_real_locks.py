"""Real locks through closure: what each lacks and why, and none is closed when something goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from scripts.core.channel_paths import Layout
from scripts.core.errors import ExitCode, MirrorError
from scripts.lock.model import LockedPackage, spec_name
from scripts.lock.read import read_lock
from scripts.verify.closure import prove_sets
from scripts.verify.findings import LevelResult, UsageIndex
from scripts.verify.plan import PackageSet, plan_builds, plan_sets
from scripts.workspace.model import Manifest
from scripts.workspace.parse import parse_manifest
from scripts.workspace.settings import Settings
from tests.support.mirrored import select
from tests.support.pinned import write_mirror

DATA = Path(__file__).parents[2] / "data"
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


class Laid:
    """A lock laid out as a mirror without artifacts."""

    def __init__(self, lock: Path, folder: Path) -> None:
        self.selection = select(
            read_lock(lock),
            Settings(layout=Layout.BY_CHANNEL),
            manifest=manifest_of(lock),
            root=DATA,
        )
        self.sets: list[PackageSet] = []
        for each in plan_sets(self.selection):
            # Those of PyPI are held to the same in tests/verify/pypi/test_pypi_of_real_locks.py.
            rows = dataclasses.replace(each.rows, pypi=(), pypi_left_out=())
            conda = dataclasses.replace(each, rows=rows, pypi_roots=())
            self.sets += (conda, *plan_builds(self.selection, conda))
        self._folder = folder
        write_mirror(folder, self.selection)

    def prove(self, sets: Sequence[PackageSet]) -> LevelResult:
        """Look at sets of its packages."""
        return prove_sets(sets, UsageIndex(self.selection), self._folder)


def test_all_are_here() -> None:
    names = {name_of(each) for each in LOCKS}
    assert len(names) == 36 + 4
    assert names >= {*REFUSED, *OPEN, *MANIFESTS}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_the_reason(name: str) -> None:
    (lock,) = (each for each in LOCKS if name_of(each) == name)
    with pytest.raises(MirrorError) as caught:
        read_lock(lock)
    (problem,) = caught.value.problems
    assert (problem.message, problem.code) == (REFUSED[name], ExitCode.USAGE)


@pytest.mark.parametrize("lock", READABLE, ids=name_of)
def test_is_closed(lock: Path, tmp_path: Path) -> None:
    """But for those made up: what pixi itself locked lacks nothing, source packages included."""
    laid = Laid(lock, tmp_path)
    result = laid.prove(laid.sets)
    found = [
        (each.problem.subject, each.problem.message, ", ".join(map(str, each.places)))
        for each in result.findings
    ]
    assert sorted(found) == sorted(
        (subject, f"requires {spec}, which is not met", places)
        for subject, spec, places in OPEN.get(name_of(lock), ())
    )
    closed = result.rows.values()
    assert [text for each in closed for text in each["not-proven"]] == []
    if name_of(lock) in MANIFESTS or lock.with_name("pixi.toml").exists():
        assert {each["skip-reason"] for each in closed} <= {None}


@pytest.mark.parametrize("lock", READABLE, ids=name_of)
def test_without_one_package_it_is_not(lock: Path, tmp_path: Path) -> None:
    """A package that others need, taken away alone, is missed by all who need it, by name."""
    laid = Laid(lock, tmp_path)
    random = Random(name_of(lock))
    for whole in random.sample(laid.sets, min(len(laid.sets), 6)):
        needed = [each for each in whole.packages.values() if _needers(whole, each)]
        if not needed:
            continue
        gone = random.choice(needed)
        rest = {path: each for path, each in whole.packages.items() if each is not gone}
        found = laid.prove((dataclasses.replace(whole, packages=rest),)).findings
        missed = {
            (each.problem.subject.rpartition("/")[2], each.problem.message)
            for each in found
            if each.problem.subject != whole.required_by
        }
        assert missed >= _needers(whole, gone), gone.name
        assert {each.problem.details[0][1] for each in found} >= {f"no {gone.name.lower()}"}


def _needers(whole: PackageSet, gone: LockedPackage) -> set[tuple[str, str]]:
    """Return who requires a package by name alone, and the sentences that are to be said."""
    return {
        (str(each.file_name), f"requires {spec}, which is not met")
        for each in whole.packages.values()
        for spec in each.record.depends
        if each is not gone and spec_name(spec) == gone.name.lower() and "[" not in spec
    }


def test_without_virtual_packages_it_is_not(tmp_path: Path) -> None:
    (lock,) = (each for each in READABLE if name_of(each) == "pytorch-nvidia")
    laid = Laid(lock, tmp_path)
    (whole,) = laid.sets
    found = laid.prove((dataclasses.replace(whole, virtual_packages=()),)).findings
    assert {each.problem.details[0][1] for each in found} == {"no __glibc", "no __unix"}
