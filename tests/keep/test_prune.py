"""Artifacts kept from before are removed, index first; nothing else is."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.core.console import Console
from scripts.core.errors import MirrorError
from scripts.core.report import Report, human_size
from scripts.keep.prune import preview, prune
from tasks.index import main as index_main
from tasks.prune import main as prune_main
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage

OLD = TinyPackage(name="a", subdir="linux-64")
NEW = replace(OLD, version="2.0")
BOTH = TinyPackage(name="b")


def run(mirror: Mirror) -> Report:
    return prune(mirror.workspace, mirror.selection, Console())


def mirror_with_leftovers(tmp_path: Path) -> Mirror:
    """Make a mirror whose lock has moved on from OLD to NEW, with a foreign file in it."""
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock(rows(tmp_path / "upstream", (OLD, BOTH)))
    mirror.index()
    (mirror.folder / "linux-64" / "mine-1.0-0.conda").write_bytes(b"foreign")
    mirror.lock(rows(tmp_path / "upstream", (NEW, BOTH)))
    mirror.index()
    return mirror


def test_just_what_was_kept_from_before_goes(tmp_path: Path, indexer: str) -> None:
    mirror = mirror_with_leftovers(tmp_path)
    before = mirror.states()
    assert run(mirror).lines == (
        f"removed 1 artifact, {human_size(len(OLD.data))}",
        "  linux-64/a-1.0-0.conda",
        "left alone, not from pixi-mirror: linux-64/mine-1.0-0.conda",
    )
    after = mirror.states()
    gone = {name for name in before if name not in after and "/shards/" not in name}
    assert gone == {"linux-64/a-1.0-0.conda"}
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
    mirror = mirror_with_leftovers(tmp_path)
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
    mirror = mirror_with_leftovers(tmp_path)
    before = mirror.states()
    report = preview(mirror.workspace, mirror.selection, Console())
    size = len(OLD.data)
    assert report.lines[0] == f"would remove 1 artifact, {human_size(size)}"
    assert report.data == {
        "artifacts": [{"path": "linux-64/a-1.0-0.conda", "size": size}],
        "bytes": size,
        "foreign": ["linux-64/mine-1.0-0.conda"],
    }
    assert mirror.states() == before


def test_a_killed_run_is_finished_by_the_next(
    tmp_path: Path, any_indexer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_with_leftovers(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(
            "scripts.keep.prune._remove", lambda place, plan: (_ for _ in ()).throw(MemoryError)
        )
        with pytest.raises(MemoryError):
            run(mirror)
    assert (mirror.folder / "linux-64" / "a-1.0-0.conda").exists()
    assert list(mirror.repodata("linux-64")["packages.conda"]) == ["a-2.0-0.conda"]
    assert run(mirror).lines[0] == f"removed 1 artifact, {human_size(len(OLD.data))}"
    assert not (mirror.folder / "linux-64" / "a-1.0-0.conda").exists()
    assert (mirror.folder / "linux-64" / "mine-1.0-0.conda").exists()


def test_a_file_put_there_since_the_kill_is_foreign(
    tmp_path: Path, any_indexer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_with_leftovers(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(
            "scripts.keep.prune._remove", lambda place, plan: (_ for _ in ()).throw(MemoryError)
        )
        with pytest.raises(MemoryError):
            run(mirror)
    file = mirror.folder / "linux-64" / "a-1.0-0.conda"
    file.unlink()
    file.write_bytes(b"somebody's own")
    assert run(mirror).lines[0] == "nothing to prune"
    assert file.exists()


def test_nothing_goes_while_an_artifact_of_the_lock_is_missing(
    tmp_path: Path, any_indexer: str
) -> None:
    mirror = mirror_with_leftovers(tmp_path)
    (mirror.folder / "linux-64" / "a-2.0-0.conda").unlink()
    before = mirror.states()
    with pytest.raises(MirrorError, match=r"linux-64/a-2.0-0.conda: is not in the channel folder"):
        run(mirror)
    assert mirror.states() == before


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
    run(mirror)
    assert mirror.repodata("noarch")["packages.conda"] == {}
    assert sorted(mirror.states()) == [
        "noarch/repodata.json",
        "noarch/repodata.json.zst",
        "noarch/repodata_shards.msgpack.zst",
    ]


def test_the_tasks(tmp_path: Path, any_indexer: str, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = mirror_with_leftovers(tmp_path)
    where = ["--manifest-path", str(mirror.root)]
    capsys.readouterr()
    assert index_main([*where, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "task": "index",
        "exit-code": 0,
        "changed": False,
        "channels": [
            {
                "channel": ".",
                "subdirs": ["linux-64", "noarch"],
                "records": 3,
                "kept": 1,
                "kept-bytes": len(OLD.data),
                "foreign": ["linux-64/mine-1.0-0.conda"],
            }
        ],
        "problems": [],
    }
    assert prune_main([*where, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("would remove 1 artifact, ")
    assert prune_main(where) == 0
    assert capsys.readouterr().out.startswith("removed 1 artifact, ")
    assert prune_main([*where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["artifacts"] == []
    (mirror.folder / "noarch" / "b-1.0-0.conda").unlink()
    assert index_main(where) == 2
    assert capsys.readouterr().err == (
        "error: noarch/b-1.0-0.conda: is not in the channel folder\nhelp: pixi run fetch\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
def test_nothing_is_removed_through_a_link(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_with_leftovers(tmp_path)
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


def test_a_journal_that_cannot_be_read(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_with_leftovers(tmp_path)
    journal = mirror.workspace.place.state / "prune.json"
    journal.write_text("[" * 100_000, encoding="utf-8")
    assert run(mirror).lines[0].startswith("removed 1 artifact, ")  # damaged is as good as none
    journal.mkdir()
    reason = "Permission denied" if os.name == "nt" else "Is a directory"
    with pytest.raises(MirrorError) as caught:
        run(mirror)
    assert str(caught.value) == f"{journal}: cannot be read: {reason}\nhelp: remove it"
