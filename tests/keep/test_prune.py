"""Retained artifacts are dropped from the index, then removed; nothing else is."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.channel.locks import read_locks
from scripts.core.console import Console
from scripts.core.errors import MirrorError
from scripts.core.report import Report, human_size
from scripts.keep.prune import prune
from scripts.keep.snapshots import newest_snapshot, read_snapshot_files, read_snapshots
from tasks.index import main as index_main
from tasks.prune import main as prune_main
from tasks.rollback import main as rollback_main
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage

OLD = TinyPackage(name="a", subdir="linux-64")
NEW = replace(OLD, version="2.0")
BOTH = TinyPackage(name="b")


def run(mirror: Mirror, *, dry_run: bool = False, at_once: bool = True) -> Report:
    locks = read_locks(mirror.workspace, Console())
    return prune(mirror.workspace, locks, Console(), dry_run=dry_run, at_once=at_once)


class KilledError(BaseException):
    """Stands for the end of the process: nothing in it may catch this."""


def run_killed(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prune up to where the index is published and nothing removed yet."""

    def die(*_args: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("scripts.keep.prune.remove", die)
        with pytest.raises(KilledError):
            run(mirror)


def mirror_that_moved_on(tmp_path: Path) -> Mirror:
    """Make a mirror whose lock has moved on from OLD to NEW, with an untracked file in it."""
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock(rows(tmp_path / "upstream", (OLD, BOTH)))
    mirror.index()
    (mirror.folder / "linux-64" / "mine-1.0-0.conda").write_bytes(b"not ours")
    mirror.lock(rows(tmp_path / "upstream", (NEW, BOTH)))
    mirror.index()
    return mirror


def test_just_what_is_retained_goes(tmp_path: Path, indexer: str) -> None:
    mirror = mirror_that_moved_on(tmp_path)
    before = mirror.states()
    report = run(mirror)
    after = mirror.states()
    gone = before.keys() - after.keys()
    freed = human_size(sum(len(before[name][0]) for name in gone))
    assert report.lines == (
        f"dropped from the index: 1 artifact, {human_size(len(OLD.data))}",
        ("  linux-64/a-1.0-0.conda",),
        f"removed {len(gone)} files, {freed}",
        "clients that are at work now may fail: what their index names is gone",
        "untracked, left alone: linux-64/mine-1.0-0.conda",
    )
    assert {name for name in gone if "/shards/" not in name} == {"linux-64/a-1.0-0.conda"}
    assert mirror.waiting() == []
    assert list(mirror.repodata("linux-64")["packages.conda"]) == ["a-2.0-0.conda"]
    assert {name: after[name] for name in after if name.startswith("noarch/")} == {
        name: before[name] for name in before if name.startswith("noarch/")
    }
    assert mirror.index().data["changed"] is False
    assert run(mirror).lines[0] == "nothing to prune"
    assert mirror.states() == after


def test_the_index_comes_first(
    tmp_path: Path, any_indexer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_that_moved_on(tmp_path)
    records: list[list[str]] = []
    unlink = Path.unlink

    def watched(self: Path, *, missing_ok: bool = False) -> None:
        if self.name == "a-1.0-0.conda" and self.is_relative_to(mirror.folder):
            records.append(list(mirror.repodata("linux-64")["packages.conda"]))
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    run(mirror)
    assert records == [["a-2.0-0.conda"]]


def test_a_preview_changes_nothing(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_that_moved_on(tmp_path)
    before = mirror.states()
    waiting = mirror.waiting()
    assert [name.rpartition("/")[0] for name in waiting] == ["linux-64/shards"]
    report = run(mirror, dry_run=True, at_once=False)
    size = len(OLD.data)
    assert report.lines == (
        f"would drop from the index: 1 artifact, {human_size(size)}",
        ("  linux-64/a-1.0-0.conda",),
        "untracked, left alone: linux-64/mine-1.0-0.conda",
    )
    assert report.data == {
        "dropped": [{"path": "linux-64/a-1.0-0.conda", "size": size}],
        "removed": [],
        "bytes": 0,
        "held": {"files": [], "bytes": 0},
        "trees": [],
        "tree-bytes": 0,
        "waiting-for-removal": waiting,
        "untracked": ["linux-64/mine-1.0-0.conda"],
        "workspaces": [],
    }
    shard = (mirror.folder / waiting[0]).stat().st_size
    assert f"would remove 2 files, {human_size(size + shard)}" in run(mirror, dry_run=True).lines
    assert (mirror.states(), mirror.waiting()) == (before, waiting)


def test_a_killed_run_is_finished_by_the_next(
    tmp_path: Path, any_indexer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_that_moved_on(tmp_path)
    run_killed(mirror, monkeypatch)
    assert (mirror.folder / "linux-64" / "a-1.0-0.conda").exists()
    assert list(mirror.repodata("linux-64")["packages.conda"]) == ["a-2.0-0.conda"]
    assert str(run(mirror).lines[0]).startswith("removed 3 files, ")
    assert not (mirror.folder / "linux-64" / "a-1.0-0.conda").exists()
    assert (mirror.folder / "linux-64" / "mine-1.0-0.conda").exists()


def test_what_a_killed_first_run_has_half_published_is_in_no_snapshot(tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock(rows(tmp_path / "upstream", (NEW, BOTH)))
    place = mirror.workspace.place
    assert mirror.prune() == 0
    assert newest_snapshot(place) is None, "the control: nothing is published yet"
    mirror.index()
    repodata = mirror.folder / "linux-64/repodata.json"  # published last
    data = repodata.read_bytes()
    repodata.unlink()
    assert mirror.prune() == 0
    assert repodata.read_bytes() == data
    newest = newest_snapshot(place)
    assert newest is not None
    named = {str(each.path) for each in read_snapshot_files(place, newest)}
    assert named == set(mirror.contents())


def test_a_file_put_there_since_the_kill_is_untracked(
    tmp_path: Path, any_indexer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_that_moved_on(tmp_path)
    run_killed(mirror, monkeypatch)
    file = mirror.folder / "linux-64" / "a-1.0-0.conda"
    file.unlink()
    file.write_bytes(b"somebody's own")
    lines = run(mirror).lines
    names = "linux-64/a-1.0-0.conda, linux-64/mine-1.0-0.conda"
    assert f"untracked, left alone: {names}" in lines
    assert file.exists()
    assert mirror.waiting() == []


def test_a_preview_tells_what_waits_already(tmp_path: Path) -> None:
    mirror = mirror_that_moved_on(tmp_path)
    untracked = "untracked, left alone: linux-64/mine-1.0-0.conda"
    assert run(mirror, at_once=False).problems == ()
    size = human_size(sum((mirror.folder / x).stat().st_size for x in mirror.waiting()))
    said = f"nothing to prune now: 3 files, {size} wait for their removal"
    assert run(mirror, dry_run=True, at_once=False).lines == (said, untracked)
    assert run(mirror).problems == ()
    assert run(mirror, dry_run=True, at_once=False).lines == ("nothing to prune", untracked)


def test_nothing_goes_while_an_artifact_of_the_lock_is_missing(
    tmp_path: Path, any_indexer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = mirror_that_moved_on(tmp_path)
    artifact = mirror.folder / "linux-64" / "a-2.0-0.conda"
    data = artifact.read_bytes()
    artifact.unlink()
    before, waiting = mirror.states(), mirror.waiting()
    for options in ([], ["--dry-run"]):
        capsys.readouterr()
        assert mirror.prune(*options) == 2
        assert capsys.readouterr().err == (
            "error: linux-64/a-2.0-0.conda: is not in the channel folder\nhelp: pixi run fetch\n"
        )
    assert (mirror.states(), mirror.waiting()) == (before, waiting)
    artifact.write_bytes(data)
    assert [mirror.prune("--dry-run"), mirror.prune()] == [0, 0], "the control"


def test_an_emptied_subdir_and_channel_go_whole(tmp_path: Path, indexer: str) -> None:
    mirror = make_mirror(tmp_path / "workspace", "by-channel")
    kept = rows(tmp_path / "upstream", (BOTH,))
    mirror.lock(
        (
            *kept,
            *rows(tmp_path / "upstream", (OLD,)),
            *rows(tmp_path / "other", (NEW,), "https://conda.anaconda.org/x/label/y"),
        )
    )
    mirror.index()
    mirror.lock(kept)
    mirror.index()
    run(mirror)
    assert {name.partition("/shards/")[0] for name in mirror.states()} == {
        "conda-forge/noarch",
        "conda-forge/noarch/b-1.0-0.conda",
        "conda-forge/noarch/repodata.json",
        "conda-forge/noarch/repodata.json.zst",
        "conda-forge/noarch/repodata_shards.msgpack.zst",
    }
    assert sorted(each.name for each in mirror.folder.iterdir()) == ["conda-forge"]
    assert [each.name for each in (mirror.folder / "conda-forge").iterdir()] == ["noarch"]


def test_noarch_stays(tmp_path: Path, any_indexer: str) -> None:
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock(rows(tmp_path / "upstream", (BOTH,)))
    mirror.index()
    mirror.lock(())
    mirror.index()
    run(mirror)
    assert mirror.repodata("noarch")["packages.conda"] == {}
    assert sorted(mirror.states()) == [
        "noarch/repodata.json",
        "noarch/repodata.json.zst",
        "noarch/repodata_shards.msgpack.zst",
    ]


def test_the_tasks(tmp_path: Path, any_indexer: str, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = mirror_that_moved_on(tmp_path)
    where = ["--manifest-path", str(mirror.root)]
    capsys.readouterr()
    assert index_main([*where, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.pop("snapshot")["new"] is True
    assert document == {
        "task": "index",
        "schema": 1,
        "exit-code": 0,
        "warnings": [],
        "changed": False,
        "channels": [{"channel": ".", "subdirs": ["linux-64", "noarch"], "records": 3}],
        "pypi": {"projects": 0, "files": 0},
        "retained": [{"path": "linux-64/a-1.0-0.conda", "size": len(OLD.data)}],
        "removed": [],
        "untracked": ["linux-64/mine-1.0-0.conda"],
        "problems": [],
    }
    assert prune_main([*where, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("would drop from the index: 1 artifact, ")
    assert prune_main(where) == 0
    assert capsys.readouterr().out.startswith("dropped from the index: 1 artifact, ")
    assert prune_main([*where, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["dropped"], document["removed"]) == ([], [])
    assert "linux-64/a-1.0-0.conda" in document["waiting-for-removal"]
    (mirror.folder / "noarch" / "b-1.0-0.conda").unlink()
    assert index_main(where) == 2
    assert capsys.readouterr().err == (
        "error: noarch/b-1.0-0.conda: is not in the channel folder\nhelp: pixi run fetch\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
def test_an_empty_path_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        prune_main(["--drop", ""])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("error: argument --drop: a path is needed\n")


def test_nothing_is_removed_through_a_link(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_that_moved_on(tmp_path)
    outside = tmp_path / "outside"
    (mirror.folder / "linux-64").rename(outside)
    (mirror.folder / "linux-64").symlink_to(outside)
    before = sorted(outside.rglob("*"))
    with pytest.raises(MirrorError) as caught:
        run(mirror)
    assert str(caught.value) == (
        f"linux-64: a link, through which nothing is written\n  leads to  {outside}\n"
        "help: remove it, then run this again"
    )
    assert sorted(outside.rglob("*")) == before


def test_a_list_that_cannot_be_read(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_that_moved_on(tmp_path)
    before = mirror.states()
    waiting = mirror.workspace.place.state / "removals.json"
    waiting.unlink()
    waiting.mkdir()
    reason = "Permission denied" if os.name == "nt" else "Is a directory"
    with pytest.raises(MirrorError) as caught:
        run(mirror)
    assert str(caught.value) == (
        f"{waiting}: cannot be read: {reason}\n"
        "help: see to the disk and its permissions, then run this again"
    )
    assert mirror.states() == before


def test_at_once_goes_what_a_lock_had_before_a_rollback(tmp_path: Path) -> None:
    """Once the old lock is back: one run is enough, and its dry run tells of as much."""
    mirror, locks = make_mirror(tmp_path / "workspace"), list[bytes]()
    windows = TinyPackage(name="w", subdir="win-64")
    for packages in ((OLD,), (NEW,), (replace(OLD, version="3.0"), windows)):
        mirror.lock(rows(tmp_path / "upstream", (*packages, BOTH)))
        mirror.index()
        locks.append((mirror.root / "pixi.lock").read_bytes())
        assert index_main(["--manifest-path", str(mirror.root), "-q"]) == 0
    ids = [each.id for each in read_snapshots(mirror.workspace.place)]
    manifest = ("--manifest-path", str(mirror.root), "-q")
    assert rollback_main([*manifest, ids[1]]) == 0
    (mirror.root / "pixi.lock").write_bytes(locks[1])
    # Control: who waits leaves what the lock of before names, which may come back.
    mirror.let_grace_pass()
    assert "win-64/w-1.0-0.conda" not in _removed(run(mirror, dry_run=True, at_once=False))
    gone = {"linux-64/a-1.0-0.conda", "linux-64/a-3.0-0.conda", "win-64/w-1.0-0.conda"}
    preview, report = run(mirror, dry_run=True), run(mirror)
    assert {x for x in _removed(preview, "dropped") if x.endswith(".conda")} == gone
    assert {x for x in _removed(report) if x.endswith(".conda")} == gone
    assert mirror.waiting() == []
    assert run(mirror).lines[0] == "nothing to prune"


def _removed(report: Report, *more: str) -> set[str]:
    found: Any = report.data
    return {each["path"] for key in ("removed", *more) for each in found[key]}
