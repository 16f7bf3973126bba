"""A run that changes the published index leaves one snapshot; one that does not, none."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.keep.snapshot_locks import locks_of
from scripts.keep.snapshots import (
    newest_snapshot,
    read_snapshot_files,
    read_snapshots,
    tree_of,
)
from tasks.index import main as index_main
from tasks.rollback import main as rollback_main
from tests.support.mirrors import CHANNEL, Mirror, make_mirror, rows
from tests.support.packages import TinyPackage

OLD = TinyPackage(name="a", subdir="linux-64", license="MIT")
NEW = replace(OLD, version="2.0")
BOTH = TinyPackage(name="b")


def index(mirror: Mirror, *options: str) -> int:
    return index_main(["--manifest-path", str(mirror.root), *options])


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    made = make_mirror(tmp_path / "workspace")
    made.lock(rows(tmp_path / "upstream", (OLD, BOTH)))
    return made


def test_what_the_index_names_is_in_the_record_and_in_the_tree(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mirror.folder / "linux-64" / "mine-1.0-0.conda").write_bytes(b"not ours")
    assert index(mirror) == 0
    place = mirror.workspace.place
    snapshot = newest_snapshot(place)
    assert snapshot is not None
    assert capsys.readouterr().out.splitlines()[-1] == f"snapshot {snapshot.id}"
    files = read_snapshot_files(place, snapshot)
    untracked = "linux-64/mine-1.0-0.conda"
    contents = {path: data for path, data in mirror.contents().items() if path != untracked}
    assert {str(each.path): (each.size, each.sha256) for each in files} == {
        path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in contents.items()
    }
    [artifact] = [each for each in files if each.path.name == "a-1.0-0.conda"]
    assert (artifact.kind, artifact.url) == ("conda", f"{CHANNEL}/linux-64/a-1.0-0.conda")
    tree = tree_of(place, snapshot)
    there = {each.relative_to(tree).as_posix(): each for each in tree.rglob("*") if each.is_file()}
    assert {path: file.read_bytes() for path, file in there.items()} == contents
    for each in files:
        assert there[str(each.path)].samefile(mirror.folder / each.path) is not each.is_index


def test_a_lock_that_is_as_before_takes_no_room(mirror: Mirror, tmp_path: Path) -> None:
    assert index(mirror) == 0
    mirror.lock(rows(tmp_path / "upstream", (NEW, BOTH)))
    assert index(mirror) == 0
    first, second = (
        locks_of(mirror.workspace.place, x) for x in read_snapshots(mirror.workspace.place)
    )
    assert (second / "1" / "pixi.toml").samefile(first / "1" / "pixi.toml")
    # The control: the lock is another one.
    assert (second / "1" / "pixi.lock").read_bytes() == (mirror.root / "pixi.lock").read_bytes()
    assert (first / "1" / "pixi.lock").read_bytes() != (second / "1" / "pixi.lock").read_bytes()
    assert rollback_main(["--manifest-path", str(mirror.root), first.name.partition(".")[0]]) == 0
    third = locks_of(mirror.workspace.place, read_snapshots(mirror.workspace.place)[-1])
    for name in ("pixi.toml", "pixi.lock"):
        assert (third / "1" / name).samefile(first / "1" / name)


def test_nothing_new_leaves_none_and_names_the_one_that_stands(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert index(mirror) == 0
    place = mirror.workspace.place
    [first] = read_snapshots(place)
    for remembered in (True, False):
        if not remembered:
            (place.cache / "snapshot.json").unlink()
        capsys.readouterr()
        assert index(mirror) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"snapshot {first.id} stands"
        assert read_snapshots(place) == (first,)
    mirror.lock(rows(tmp_path / "upstream", (NEW, BOTH)))
    assert index(mirror) == 0
    _, second = read_snapshots(place)
    assert (second.parent, second.made_by) == (first.id, "index")
    retained = {str(each.path): each.url for each in read_snapshot_files(place, second)}
    assert retained["linux-64/a-1.0-0.conda"] == f"{CHANNEL}/linux-64/a-1.0-0.conda"
    assert mirror.waiting()
    assert not retained.keys() & set(mirror.waiting())
    mirror.prune()
    *_, third = read_snapshots(place)
    assert (third.parent, third.made_by) == (second.id, "prune")
    assert "linux-64/a-1.0-0.conda" not in {
        str(each.path) for each in read_snapshot_files(place, third)
    }
