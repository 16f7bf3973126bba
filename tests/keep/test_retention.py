"""Trees of snapshots: how long they are kept, what they hold, what prune says that it frees."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from scripts.core.report import human_size
from scripts.keep.retention import trees_to_keep
from scripts.keep.snapshot_locks import locks_of
from scripts.keep.snapshots import Snapshot, read_snapshots, record_of, tree_of
from scripts.workspace.settings import Settings
from tasks import index, prune, snapshots
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage

OLD = TinyPackage(name="a", subdir="linux-64", padding=5000)
BOTH = TinyPackage(name="b")


def run(task: object, mirror: Mirror, *options: str) -> int:
    main = getattr(task, "main")  # noqa: B009 - a module has what it has
    return int(main(["--manifest-path", str(mirror.root), *options]))


def version(number: int) -> TinyPackage:
    return replace(OLD, version=f"{number}.0")


def make(tmp_path: Path, count: int, settings: str = "") -> Mirror:
    """Index so many locks, each with another version of `a`; what a lock names no more stays."""
    mirror = make_mirror(tmp_path / "workspace", settings=settings)
    for number in range(1, count + 1):
        mirror.lock(rows(tmp_path / "upstream", (version(number), BOTH)))
        assert run(index, mirror, "-q") == 0
    return mirror


def trees(mirror: Mirror) -> list[bool]:
    place = mirror.workspace.place
    return [tree_of(place, each).is_dir() for each in read_snapshots(place)]


def test_what_a_tree_holds_is_freed_when_its_last_link_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = make(tmp_path, 2, "keep-snapshots = 2\n")
    artifact = mirror.folder / "linux-64" / "a-1.0-0.conda"
    size = artifact.stat().st_size
    first, second = read_snapshots(mirror.workspace.place)
    shards = [mirror.folder / each for each in mirror.waiting()]
    shards += [x for x in mirror.folder.rglob("*.msgpack.zst") if x.parent.name == "shards"]
    capsys.readouterr()
    assert run(prune, mirror, "--dry-run", "--now") == 0
    would = capsys.readouterr().out.splitlines()
    assert f"held by snapshots until 1 more is taken: 1 file, {human_size(size)}" in would
    size_of_first = human_size(own_bytes(mirror, first))
    assert would[-2:] == [
        f"would remove 1 tree of older snapshots, {size_of_first}; their records stay",
        f"  {first.id}",
    ]
    assert run(prune, mirror, "--now", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    gone = [each for each in shards if not each.exists()]
    assert not artifact.exists()
    removed = {each["path"]: each["size"] for each in document["removed"]}
    assert removed["linux-64/a-1.0-0.conda"] == size
    assert document["bytes"] == sum(removed.values()) - size
    assert document["held"] == {"files": ["linux-64/a-1.0-0.conda"], "bytes": size}
    assert document["trees"] == [first.id]
    assert gone
    third = read_snapshots(mirror.workspace.place)[-1]
    assert document["snapshot"]["id"] == third.id
    assert trees(mirror) == [False, True, True]
    # The tree of `second` has the last link now; with it goes the artifact.
    own = own_bytes(mirror, second)
    assert own >= size
    mirror.lock(rows(tmp_path / "upstream", (version(3), BOTH)))
    assert run(index, mirror, "-q") == 0
    assert trees(mirror) == [False, True, True, True]  # only prune removes one
    capsys.readouterr()
    assert run(prune, mirror, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert second.id in document["trees"]
    assert document["tree-bytes"] >= own
    assert trees(mirror)[:2] == [False, False]


def test_the_dry_run_tells_what_goes_with_the_trees_that_held_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = make(tmp_path, 2)
    size = (mirror.folder / "linux-64" / "a-1.0-0.conda").stat().st_size
    assert run(prune, mirror, "-q") == 0
    told = []
    for options in (["--dry-run"], []):
        capsys.readouterr()
        assert run(prune, mirror, "--now", "--keep-snapshots", "1", "--json", *options) == 0
        document = json.loads(capsys.readouterr().out)
        told.append([document[each] for each in ("removed", "held", "trees", "tree-bytes")])
    assert told[0] == told[1]
    assert told[0][-1] > size, "its last link is that of a tree"


def own_bytes(mirror: Mirror, snapshot: Snapshot) -> int:
    """Sum what no other place has a link to, by looking at each file."""
    tree = tree_of(mirror.workspace.place, snapshot)
    return sum(x.stat().st_size for x in tree.rglob("*") if x.is_file() and x.stat().st_nlink == 1)


def bytes_below(folder: Path) -> int:
    """Sum the bytes of all files, each inode once."""
    every = (each.lstat() for each in folder.rglob("*") if each.is_file())
    return sum({each.st_ino: each.st_size for each in every}.values())


def test_the_newest_tree_never_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = make(tmp_path, 2, "keep-snapshots = 1\n")
    mirror.lock(rows(tmp_path / "upstream", (version(1), version(2), BOTH)))  # nothing to drop
    assert run(prune, mirror, "--now", "--keep-snapshots", "2") == 0
    assert trees(mirror) == [True, True]
    first, second = read_snapshots(mirror.workspace.place)
    size = human_size(own_bytes(mirror, first))
    capsys.readouterr()
    assert run(prune, mirror) == 0
    assert capsys.readouterr().out == (
        f"snapshot {second.id} stands\n"
        f"removed 1 tree of older snapshots, {size}; their records stay\n  {first.id}\n"
    )
    assert run(prune, mirror) == 0
    assert capsys.readouterr().out == f"nothing to prune\nsnapshot {second.id} stands\n"
    assert trees(mirror) == [False, True]
    assert read_snapshots(mirror.workspace.place) == (first, second)
    with pytest.raises(SystemExit):
        run(prune, mirror, "--keep-snapshots", "0")


def test_the_dry_run_counts_the_snapshot_that_a_killed_run_has_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        """Nothing in the task may catch this."""

    def die(*_arguments: object, **_options: object) -> None:
        raise KilledError

    mirror = make(tmp_path, 3, "keep-snapshots = 1\n")
    ids = [each.id for each in read_snapshots(mirror.workspace.place)]
    with monkeypatch.context() as patched:
        patched.setattr("tasks.prune.take_snapshot", die)
        with pytest.raises(KilledError):
            run(prune, mirror)
    for options in (["--dry-run"], []):
        capsys.readouterr()
        assert run(prune, mirror, "--json", *options) == 0
        assert json.loads(capsys.readouterr().out)["trees"] == ids
    assert run(prune, mirror, "--json", "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["trees"] == [], "the control: none is to come"


def test_of_what_the_coming_snapshot_may_share_the_dry_run_tells_the_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = make(tmp_path, 2, "keep-snapshots = 1\n")
    ids = [each.id for each in read_snapshots(mirror.workspace.place)]
    told = []
    for options in (["--dry-run"], []):
        capsys.readouterr()
        assert run(prune, mirror, "--json", *options) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["trees"] == ids
        told.append(document["tree-bytes"])
    assert told[0] > told[1], "noarch/ is the same in the new one"
    size = human_size(told[0])
    again = make(tmp_path / "again", 2, "keep-snapshots = 1\n")
    capsys.readouterr()
    assert run(prune, again, "--dry-run") == 0
    assert f"would remove 2 trees of older snapshots, at most {size}; their records stay\n" in (
        capsys.readouterr().out
    )
    # Control: of trees before the newest one nothing is shared.
    assert run(prune, again, "--dry-run", "--keep-snapshots", "2") == 0
    assert "at most" not in capsys.readouterr().out


def test_the_memory_is_that_of_one_file_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = make(tmp_path, 2, "keep-snapshots = 1\n")
    old = tree_of(mirror.workspace.place, read_snapshots(mirror.workspace.place)[0])
    peaks = []
    for count in (0, 4000):
        for number in range(count):
            (old / f"{number}").hardlink_to(old / "noarch" / "repodata.json")
        tracemalloc.start()
        assert run(prune, mirror, "--dry-run") == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert "would remove 2 trees of older snapshots" in capsys.readouterr().out
    assert peaks[1] - peaks[0] < 500_000


def test_days_keep_more(tmp_path: Path) -> None:
    mirror = make(tmp_path, 1)
    [newest] = read_snapshots(mirror.workspace.place)
    weekly = [
        replace(newest, created=newest.created - timedelta(weeks=x)) for x in range(9, -1, -1)
    ]
    at = newest.created + timedelta(minutes=1)
    for settings, kept in (
        (Settings(), 10),
        (Settings(keep_snapshots=3), 3),
        (Settings(keep_snapshots=3, keep_days=1), 3),
        (Settings(keep_snapshots=1, keep_days=29), 5),
        (Settings(keep_snapshots=1, keep_days=9999), 10),
        (Settings(keep_snapshots=1, keep_days=10**18), 10),
    ):
        assert trees_to_keep(weekly, settings, at) == tuple(weekly[-kept:])
    assert trees_to_keep(weekly, Settings(keep_snapshots=3), at, coming=True) == tuple(weekly[-2:])
    # Of two runs within a second the later has the next second: no day is asked for all the same.
    early = newest.created - timedelta(seconds=1)
    assert trees_to_keep(weekly, Settings(keep_snapshots=1), early, coming=True) == ()


def test_until_a_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = make(tmp_path, 2, "keep-snapshots = 1\nkeep-days = 30\n")
    [*_, newest] = read_snapshots(mirror.workspace.place)
    assert run(prune, mirror, "--dry-run", "--now", "--keep-days", "9" * 18) == 0
    assert run(prune, mirror, "--now") == 0
    ends = newest.created + timedelta(days=30)
    assert f"held by snapshots until {ends:%Y-%m-%d}: 1 file, " in capsys.readouterr().out


def test_the_list_and_forgetting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = make(tmp_path, 2)
    place = mirror.workspace.place
    first, second = read_snapshots(place)
    shutil.rmtree(tree_of(place, first))
    capsys.readouterr()
    assert run(snapshots, mirror) == 0
    one, two = capsys.readouterr().out.splitlines()
    assert [each.strip() for each in one.split("  ") if each] == [
        first.id,
        f"{first.created:%Y-%m-%d %H:%M}",
        "index",
        "2 packages",
        human_size(first.size),
        "record only",
        "not proven",
    ]
    told = f"{second.id}  {second.created:%Y-%m-%d %H:%M}  index, published  3 packages  "
    assert two.startswith(told)
    assert run(snapshots, mirror, "--json") == 0
    said = json.loads(capsys.readouterr().out)["snapshots"]
    assert [each["id"] for each in said] == [first.id, second.id]
    assert [each["own-bytes"] for each in said] == [None, own_bytes(mirror, second)]
    assert (said[1]["parent"], said[1]["packages"], said[1]["bytes"]) == (
        first.id,
        second.artifacts,
        second.size,
    )
    record_size = record_of(place, first.id).stat().st_size
    assert run(snapshots, mirror, "--forget", second.id) == 2
    assert capsys.readouterr().err == (
        f"error: {second.id}: is the newest snapshot: what the channel holds now\n"
        "help: pixi run snapshots\n"
    )
    before = bytes_below(tmp_path)
    assert run(snapshots, mirror, "--forget", first.id) == 0
    freed = before - bytes_below(tmp_path)
    assert freed > record_size, "its locks, too"
    assert capsys.readouterr().out == f"forgotten: {first.id}, {human_size(freed)}\n"
    assert read_snapshots(place) == (second,)
    assert not record_of(place, first.id).exists()
    assert not locks_of(place, first).exists()
    assert tree_of(place, second).is_dir()
    assert run(snapshots, mirror, "--forget", first.id) == 2
    assert capsys.readouterr().err == (
        f"error: {first.id}: is the id of no snapshot\n  there is  {second.id}\n"
        "help: pixi run snapshots\n"
    )


def test_no_snapshots_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = make_mirror(tmp_path / "workspace")
    assert run(snapshots, mirror) == 0
    assert capsys.readouterr().out == "no snapshots yet: `pixi run mirror` leaves one\n"
