"""A rollback publishes the index of an earlier snapshot again, with all that it names."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.keep.snapshots import newest_snapshot, read_snapshot_files, read_snapshots, tree_of
from tasks.index import main as index_main
from tasks.rollback import main as rollback_main
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage

OLD = TinyPackage(name="a", subdir="linux-64")
NEW = replace(OLD, version="2.0")
BOTH = TinyPackage(name="b")


def run(mirror: Mirror, task, *options: str) -> int:
    return task(["--manifest-path", str(mirror.root), *options])


def test_first(tmp_path: Path, indexer: str, capsys) -> None:
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock(rows(tmp_path / "upstream", (OLD, BOTH)))
    assert run(mirror, index_main) == 0
    first = mirror.contents()
    mirror.lock(rows(tmp_path / "upstream", (NEW, BOTH)))
    assert run(mirror, index_main) == 0
    assert mirror.prune("--now") == 0
    ids = [each.id for each in read_snapshots(mirror.workspace.place)]
    capsys.readouterr()
    assert run(mirror, rollback_main, ids[0]) == 0
    print(capsys.readouterr())
    after = mirror.contents()
    assert {n: after[n] for n in first} == first
    print(mirror.waiting())
    assert run(mirror, rollback_main, ids[0]) == 0
    print(capsys.readouterr())
    assert mirror.prune() == 2
    print(capsys.readouterr())
    assert 0
