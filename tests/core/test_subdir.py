"""The subdirs that are known, with rattler as the oracle."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import rattler

from scripts.core.errors import ExitCode, MirrorError
from scripts.core.subdir import KNOWN_SUBDIRS, check_subdir, is_known_subdir


@pytest.mark.parametrize("subdir", KNOWN_SUBDIRS)
def test_known_subdirs(subdir: str) -> None:
    assert is_known_subdir(subdir)
    assert check_subdir(subdir, "here") == subdir


def test_they_are_those_of_rattler() -> None:
    kind = getattr(rattler, "Subdir", None) or rattler.Platform
    theirs = {str(subdir) for subdir in kind.all()} - {"unknown"}
    assert theirs <= set(KNOWN_SUBDIRS)
    if tuple(map(int, version("py-rattler").split(".")[:2])) >= (0, 28):
        assert theirs == set(KNOWN_SUBDIRS)


@pytest.mark.parametrize("subdir", ["", "linux", "Linux-64", "linux-64 ", "unknown", "..", "x/y"])
def test_others_are_not_known(subdir: str) -> None:
    assert not is_known_subdir(subdir)


def test_the_nearest_is_named() -> None:
    with pytest.raises(MirrorError) as caught:
        check_subdir("linux_64", "pixi.toml")
    assert str(caught.value) == (
        "pixi.toml: no such subdir: 'linux_64'\nhelp: did you mean linux-64?"
    )
    assert caught.value.problems[0].code is ExitCode.USAGE


def test_where_none_is_near_all_are_named() -> None:
    with pytest.raises(MirrorError) as caught:
        check_subdir("../etc", "pixi.lock")
    assert str(caught.value) == (
        f"pixi.lock: no such subdir: '../etc'\nhelp: known are {', '.join(KNOWN_SUBDIRS)}"
    )
