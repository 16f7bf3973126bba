"""The proofs held against each other, for every real lock and case.

An installation proves files, not requirements: these are proven by `closure` (of the locked records
alone) and by `solve` (of all the mirror). Both must say the same of a lock, and what pixi itself
says of it, where pixi is.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.core.channel_paths import Layout
from scripts.core.rattler_child import call_rattler
from scripts.core.report import Json
from scripts.lock.model import LockFile, PlatformPackages
from scripts.lock.read import read_lock
from scripts.lock.select import Selection
from scripts.verify.closure import prove_sets
from scripts.verify.findings import EnvironmentPlatform, LevelResult, UsageIndex
from scripts.verify.plan import PackageSet, plan_sets
from scripts.verify.solve import SolveJob, compare_answer, plan_solves
from scripts.verify.solve_answer import SolveAnswer
from scripts.workspace.model import (
    Environment,
    Feature,
    Manifest,
    ManifestChannel,
    ManifestPlatform,
    Requirement,
    Target,
)
from scripts.workspace.parse import parse_manifest
from scripts.workspace.settings import Settings
from scripts.workspace.virtual_packages import is_default
from tests.support.mirrored import select
from tests.support.pinned import write_mirror
from tests.support.pixi import find_pixi

DATA = Path(__file__).parents[1] / "data"
# Manifests that are not beside their lock.
MANIFESTS = {
    "prefix-dev__pixi-build-backends": "backends.toml",
    "prefix-dev__pixi__111": "extras.toml",
    "pablovela5620__monoprior__2": "monoprior.toml",
}
# No lock files: test_closure_of_real_locks.py says why each is refused.
UNREADABLE = {
    "ami-iit__jaxsim",
    "conda__conda-lockfiles__3",
    "conda__conda-lockfiles__5",
    "conda__rattler__5",
    "rhysnewell__aviary__3",
}
# A requirement is really unmet: made by hand to test a reader, of source packages alone.
UNMET = {"conda__rattler__40", "conda__rattler__43", "conda__rattler__53"}
# Of whose PyPI rows not all can be proven: no Python is there, or nobody can tell a version.
NOT_PROVEN = {"conda__rattler__49", "conda__rattler__50", "prefix-dev__pixi__90"}
# Made by hand to test a reader: a file name that no wheel has.
MADE_UP = {"prefix-dev__pixi__90": "my-dep-1.0.0.whl"}
# Locked from a channel in a folder: where on that machine the lock's own folder was.
FOLDERS = {
    "conda__conda-lockfiles__7": "/Users/kodegard/dev/plugins/conda-lockfiles/tests/data",
    "prefix-dev__ai-forge": "/Users/wolfv/Programs/ai-examples",
}
PLACES = ("locks", "cases", ".")
LOCKS = {
    path.parent.name: path
    for folder in PLACES
    for path in sorted((DATA / folder).glob("*/pixi.lock"))
    if path.parent.name not in UNREADABLE
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What each says of one place; `less` is the same place without one package it needs."""

    place: EnvironmentPlatform
    closed: LevelResult
    solved: SolveAnswer
    less: Said | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A lock laid out as a mirror without artifacts, below `root`."""

    root: Path
    selection: Selection

    @property
    def folder(self) -> Path:
        return self.root / "local-channel"

    def places(self) -> Iterator[tuple[PackageSet, PlatformPackages, SolveJob]]:
        sets = plan_sets(self.selection)
        solves = plan_solves(self.selection, self.folder)
        for whole, plan in zip(sets, solves, strict=True):
            yield whole, whole.rows, plan

    def without(self, closing: PackageSet, rows: PlatformPackages) -> _Asked | None:
        """Take away one package that another one needs, from everything."""
        needed = {
            spec.split()[0] for each in closing.packages.values() for spec in each.record.depends
        }
        gone = next((each for each in rows.packages if each.record.name in needed), None)
        if gone is None:
            return None
        rest = dataclasses.replace(
            rows, packages=tuple(each for each in rows.packages if each is not gone)
        )
        (environment,) = (
            each for each in self.selection.environments if each.name == closing.place.environment
        )
        selection = dataclasses.replace(
            self.selection,
            locks=(
                dataclasses.replace(
                    self.selection.locks[0],
                    environments=(dataclasses.replace(environment, platforms=(rest,)),),
                ),
            ),
            artifacts=tuple(each for each in self.selection.artifacts if each.name != gone.name),
        )
        root = self.root.with_name(
            f"{self.root.name}-{closing.place.environment}-{rows.platform.name}"
        )
        return dataclasses.replace(self, root=root, selection=selection)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Said]]:
    """Ask everything of all locks at once."""
    root = tmp_path_factory.mktemp("locks")
    return _ask_all({name: _asked(name, root / name / "w") for name in LOCKS})


def _asked(name: str, root: Path) -> _Asked:
    root.mkdir(parents=True)
    lock = read_lock(_copy(name, root))
    path = _manifest_path(name)
    manifest = _demanding(lock)
    if path is not None:
        manifest = parse_manifest(path.read_text(encoding="utf-8"), name="pixi.toml")
    return _Asked(
        root=root,
        selection=select(lock, Settings(layout=Layout.BY_CHANNEL), manifest=manifest, root=root),
    )


def _copy(name: str, root: Path) -> Path:
    """Copy a lock; a channel in a folder is where the manifest says, beside the workspace."""
    text = LOCKS[name].read_text(encoding="utf-8")
    if name in FOLDERS:
        text = text.replace(FOLDERS[name], root.parent.as_posix())
    (root / "pixi.lock").write_text(text, encoding="utf-8")
    return root / "pixi.lock"


def _manifest_path(name: str) -> Path | None:
    path = LOCKS[name].with_name("pixi.toml")
    path = DATA / "manifests" / MANIFESTS[name] if name in MANIFESTS else path
    return path if path.is_file() else None


def _demanding(lock: LockFile) -> Manifest:
    """Make the manifest of a lock that has none: it asks for every row."""
    platforms: dict[str, ManifestPlatform] = {}
    features = []
    for environment in lock.environments:
        targets = []
        for rows in environment.platforms:
            subdir, declared = rows.platform.subdir, rows.platform.virtual_packages or ()
            platforms[rows.platform.name] = ManifestPlatform(
                name=rows.platform.name,
                subdir=subdir,
                virtual_packages=tuple(x for x in declared if not is_default(x, subdir)),
            )
            pins = [
                Requirement(
                    name=x.record.name.lower(),
                    spec=f"{x.name} =={x.record.version} {x.record.build}",
                )
                for x in rows.packages
            ]
            pins += [Requirement(name=x, spec=x, is_source=True) for x in rows.source_names]
            targets.append(Target(selector=rows.platform.name, requirements=tuple(pins)))
        features.append(
            Feature(
                name=environment.name,
                platforms=tuple(rows.platform.name for rows in environment.platforms),
                channels=tuple(ManifestChannel(url=url) for url in environment.channels),
                targets=tuple(targets),
            )
        )
    return Manifest(
        file_name="pixi.toml",
        name=None,
        channels=(),
        platforms=tuple(platforms.values()),
        features=tuple(features),
        environments=tuple(
            Environment(name=each.name, features=(each.name,), no_default_feature=True)
            for each in lock.environments
        ),
        settings=Settings(),
        has_settings=False,
    )


def _ask_all(asked: dict[str, _Asked]) -> dict[str, list[Said]]:
    """Solve all questions in one child process; the closed sets of a mirror in one each."""
    whole = [(name, each, *place) for name, each in asked.items() for place in each.places()]
    less = [
        (position, broken, *next(iter(broken.places())))
        for position, (_, each, closing, rows, _) in enumerate(whole)
        if (broken := each.without(closing, rows)) is not None
    ]
    every = [*whole, *less]
    questions: list[Json] = []
    for _, each, _, _, plan in every:
        write_mirror(each.folder, each.selection)
        assert plan.skip_reason is None
        questions.append(plan.question)
    root = next(iter(asked.values())).root.parent
    replies = call_rattler("solve", {"cache": str(root / "cache"), "questions": questions})
    assert isinstance(replies, list)
    coming = iter(replies)
    found = []
    for _, each, closing, _, plan in every:
        answer: Any = next(coming)
        solved = compare_answer(plan, answer, each.folder, frozenset())
        uses = UsageIndex(each.selection)
        closed = prove_sets((closing,), uses, each.folder)
        said = Said(place=closing.place, closed=closed, solved=solved)
        found.append(said)
    for (position, *_), broken_said in zip(less, found[len(whole) :], strict=True):
        found[position] = dataclasses.replace(found[position], less=broken_said)
    told: dict[str, list[Said]] = {name: [] for name in asked}
    for (name, *_), each_said in zip(whole, found[: len(whole)], strict=True):
        told[name].append(each_said)
    return told


def test_nothing_is_left_out() -> None:
    assert len(LOCKS) + len(UNREADABLE) == 36 + 5
    assert set(LOCKS) >= UNMET | set(FOLDERS) | set(MANIFESTS)


@pytest.mark.parametrize("name", LOCKS)
def test_they_agree(name: str, said: dict[str, list[Said]]) -> None:
    """Whole is what all call whole; where one package is taken away, nobody does."""
    if os.name == "nt" and name in FOLDERS:
        pytest.skip("its channel is a folder of POSIX")
    for each in said[name]:
        is_met = name not in UNMET
        open_ones = [x for x in each.closed.rows.values() if x["not-proven"] or x["skip-reason"]]
        assert bool(open_ones) is (name in NOT_PROVEN)
        subjects = {x.problem.subject for x in each.closed.findings} - {MADE_UP.get(name)}
        assert (subjects == set()) is is_met, each
        assert (each.solved.problem is None) is is_met, each.solved.problem
        assert each.solved.differences == ()
        if each.less is not None:
            less = each.less
            assert less.closed.findings, less.place
            assert less.solved.problem is not None or less.solved.differences, less.place


# Of which the real pixi can say nothing here, and why.
NOT_ASKED_OF_PIXI = {
    "matthewfeickert-talks__reproducible-cuda-workflows-with-pixi-scipy-2026__9": "its sources",
    "prefix-dev__pixi-build-backends": "its sources",
    "prefix-dev__pixi-build-testsuite__12": "its sources",
    "prefix-dev__pixi-build-testsuite__3": "its sources",
    "prefix-dev__pixi__226": "its sources",
    "prefix-dev__pixi__135": "a PyPI archive in its folder",
    "pypi": "PyPI archives in its folder",
    "prefix-dev__pixi__90": "the version of a PyPI package, which its lock was made to lack",
    "prefix-dev__pixi__183": "a manifest that pixi reads by now",
}
# What pixi says of a lock that is satisfied, where there is nothing to list on this machine.
NOTHING_TO_LIST = ("No packages found in", "no platform supported by environment")
# Whose rows have no list of requirements: none at all, or a map in version 1.
WITHOUT_LISTS = {"no-payload", "prefix-dev__pixi__111", "prefix-dev__rattler-build__3"}
_DEPENDS = re.compile(r"^( *)depend(?:s|encies):\n(?= *- )", re.MULTILINE)


@pytest.mark.needs_pixi
@pytest.mark.parametrize(
    "name",
    sorted(name for name in LOCKS if _manifest_path(name) and name not in NOT_ASKED_OF_PIXI),
)
def test_pixi_says_the_same(name: str, tmp_path: Path) -> None:
    """`--locked` refuses a lock that is not satisfied; `pixi lock --check` renews old ones."""
    root = tmp_path / "w"
    root.mkdir()
    lock = _copy(name, root)
    (root / "README.md").touch()  # a manifest may name it
    manifest = _manifest_path(name)
    assert manifest is not None
    (root / "pixi.toml").write_bytes(manifest.read_bytes())
    assert _is_satisfied(root, tmp_path / "home")
    text = lock.read_text(encoding="utf-8")
    broken = _DEPENDS.sub(lambda found: f"{found[0]}{found[1]}- absent-package >=1\n", text)
    if broken != text:
        lock.write_text(broken, encoding="utf-8")
        assert not _is_satisfied(root, tmp_path / "home")
    assert (broken != text) is (name not in WITHOUT_LISTS)


def _is_satisfied(root: Path, home: Path) -> bool:
    pixi = find_pixi(home)
    pixi.configure("offline = true\n")
    done = pixi.run(root, "list", "--locked", "--no-install")
    if "lock file not up-to-date with the workspace" in done.stderr:
        return False
    assert done.returncode == 0 or any(each in done.stderr for each in NOTHING_TO_LIST), done.stderr
    return True
