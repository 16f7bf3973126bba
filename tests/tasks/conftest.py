"""A mirror whose lock has moved on, made once; each test gets it as it was, at the same place."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.mirrors import Mirror, copy_linked, make_mirror, rows
from tests.support.packages import TinyPackage

OLD = TinyPackage(name="a", subdir="linux-64")
NEW = replace(OLD, version="2.0")
BOTH = TinyPackage(name="both")


@pytest.fixture(scope="session")
def made_moved_on(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """`a` 1.0 is retained, `a` 2.0 and `both` are mirrored, one shard waits for its removal."""
    root = tmp_path_factory.mktemp("moved")
    mirror = make_mirror(root / "workspace")
    for packages in ((OLD, BOTH), (NEW, BOTH)):
        mirror.lock(rows(root / "upstream", packages))
        mirror.index()
    copy_linked(mirror.root, root / "kept")
    return mirror


@pytest.fixture
def moved_on(made_moved_on: Mirror, capsys: pytest.CaptureFixture[str]) -> Mirror:
    """The same for each test: no file of the channel folder is to be written in place."""
    shutil.rmtree(made_moved_on.root)
    copy_linked(made_moved_on.root.parent / "kept", made_moved_on.root)
    capsys.readouterr()
    return made_moved_on


def relock(mirror: Mirror, *packages: TinyPackage) -> None:
    """Give the mirror another lock, and put its artifacts in place, as fetch would."""
    mirror.lock(rows(Path(mirror.root).parent / "upstream", packages))
