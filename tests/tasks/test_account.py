"""Every file below the channel folder is in one of five classes, wherever it is told."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.core.invocation import version
from scripts.core.report import human_size
from tasks import index, mirror, prune, verify
from tests.support.mirrors import Mirror
from tests.tasks.conftest import BOTH, NEW, OLD

RETAINED = "linux-64/a-1.0-0.conda"
UNTRACKED = {
    "letter.txt": b"Dear operator",
    "extra/x.bin": b"\0" * 7,
    "linux-65/a-1.0-0.conda": b"in a folder that is no subdir",
    "noarch/deep/er/y": b"",
}
Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "one bit": lambda data: bytes((data[0] ^ 1, *data[1:])),
    "half the file": lambda data: data[: len(data) // 2],
    "nothing": lambda data: b"",
}


def run(task: Any, mirror: Mirror, *options: str) -> int:
    code = task.main(["--manifest-path", str(mirror.root), *options])
    assert isinstance(code, int)
    return code


def add_untracked(mirror: Mirror) -> None:
    for name, data in UNTRACKED.items():
        file = mirror.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def damage(mirror: Mirror, name: str, how: str) -> None:
    file = mirror.folder / name
    data = file.read_bytes()
    file.unlink()  # not in place: it is linked
    file.write_bytes(DAMAGES[how](data))


def test_five_classes_account_for_every_file(
    moved_on: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    add_untracked(moved_on)
    before = moved_on.states()
    assert run(verify, moved_on, "--level", "files,index", "--json") == 0
    document = json.loads(capsys.readouterr().out)["channel-files"]
    assert list(document) == ["mirrored", "index", "retained", "waiting-for-removal", "untracked"]
    sizes = {name: len(data) for name, (data, _) in before.items()}
    assert sum(each["files"] for each in document.values()) == len(sizes)
    assert sum(each["bytes"] for each in document.values()) == sum(sizes.values())
    (shard,) = moved_on.waiting()
    assert shard in sizes
    assert document["mirrored"] == {"files": 2, "bytes": len(NEW.data) + len(BOTH.data)}
    assert document["retained"]["paths"] == [{"path": RETAINED, "size": len(OLD.data)}]
    (waiting,) = document["waiting-for-removal"]["paths"]
    assert (waiting["path"], waiting["size"]) == (shard, sizes[shard])
    assert waiting["dropped"].endswith("+00:00")
    assert document["untracked"]["paths"] == [
        {"path": name, "size": len(UNTRACKED[name])} for name in sorted(UNTRACKED)
    ]
    # The control: none of them but the shard is an index file.
    assert document["index"]["files"] == sum(
        name.startswith(("linux-64/", "noarch/")) and ("repodata" in name or "shards" in name)
        for name in sizes
    ) - len([shard])
    assert run(verify, moved_on, "--level", "files,index") == 0
    out = capsys.readouterr().out
    assert (
        f"retained (indexed, in no lock): 1 artifact, {human_size(len(OLD.data))};"
        " `pixi run prune` removes them\n"
        f"waiting for removal: 1 file, {human_size(sizes[shard])}\n"
        "untracked, not proven: 4 files\n  extra/x.bin\n  letter.txt\n"
        "  linux-65/a-1.0-0.conda\n  noarch/deep/er/y\n"
    ) in out
    assert moved_on.states() == before


def test_the_transfer_report_tells_the_same(moved_on: Mirror, tmp_path: Path) -> None:
    add_untracked(moved_on)
    report = tmp_path / "report.md"
    assert run(verify, moved_on, "--level", "files,index", "-q", "--report", str(report)) == 0
    text = report.read_text(encoding="utf-8")
    assert f"| by | pixi-mirror {version()} |\n" in text
    states = moved_on.states()
    (shard,) = moved_on.waiting()
    index_files = [
        name
        for name in states
        if ("repodata" in name or "/shards/" in name) and name not in {shard, *UNTRACKED}
    ]
    for name in index_files:
        data = states[name][0]
        row = f"| {name} | {len(data)} | {hashlib.sha256(data).hexdigest()} |\n"
        assert row in text
    classes = text.partition("\n## All files\n")[2]
    counts = {"mirrored": 2, "index": len(index_files), "retained": 1, "waiting for removal": 1}
    for name, count in (*counts.items(), ("untracked", len(UNTRACKED))):
        (row,) = (line for line in classes.splitlines() if line.startswith(f"| {name} | "))
        assert row.split(" | ")[2] == str(count)
    assert sum(counts.values()) + len(UNTRACKED) == len(states)
    for name, kind in ((RETAINED, "retained"), (shard, "waiting for removal")):
        assert f"| {name} | {kind} | {len(states[name][0])} |\n" in text
    for name, data in UNTRACKED.items():
        assert f"| {name} | untracked | {len(data)} |\n" in text
    assert "\n- untracked, not proven: 4 files\n- extra/x.bin\n- letter.txt\n" in text


def test_strict(moved_on: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--level", "files,index", "--strict", "-q")
    assert run(verify, moved_on, *options) == 0, "retained and waiting files are known"
    assert capsys.readouterr().err == ""
    (moved_on.folder / "letter.txt").write_bytes(b"Dear operator")
    assert run(verify, moved_on, *options) == 1
    assert capsys.readouterr().err == (
        "error: letter.txt: is untracked: named by no workspace, and by no index ever\n"
        "  size  13 bytes\n"
        "help: move it out of the channel folder\n"
    )
    (moved_on.folder / "letter.txt").unlink()
    assert run(verify, moved_on, *options) == 0


def test_what_only_looks_like_a_shard_or_metadata_is_untracked(
    moved_on: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    """Control: a true shard is an index file, and so is one of an index that nobody can read."""
    names = [
        "_pypi/files/x.org/a-1.0-py3-none-any.whl.metadata",
        f"linux-64/shards/{'0' * 64}.msgpack.zst",
    ]
    for name in names:
        (moved_on.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (moved_on.folder / name).write_bytes(b"junk")
    options = ("--level", "files", "--strict", "-q")
    assert run(verify, moved_on, *options) == 1
    assert capsys.readouterr().err == "".join(
        f"error: {name}: is untracked: named by no workspace, and by no index ever\n"
        "  size  4 bytes\n"
        "help: move it out of the channel folder\n"
        for name in names
    )
    (moved_on.folder / "linux-64/repodata_shards.msgpack.zst").unlink()
    assert run(verify, moved_on, *options) == 1
    err = capsys.readouterr().err
    assert [x for x in names if f"error: {x}: is untracked" in err] == names[:1]
    assert run(index, moved_on, "-q") == 0
    assert names[1] in moved_on.waiting()


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
def test_links_are_untracked_and_not_followed(moved_on: Mirror, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"?")
    (moved_on.folder / "folder").symlink_to(tmp_path / "outside")
    (moved_on.folder / "nowhere").symlink_to(tmp_path / "not there")
    options = ("--level", "files", "-q")
    assert run(verify, moved_on, *options) == 0
    assert run(verify, moved_on, *options, "--strict") == 1


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_retained_artifact_is_a_finding(
    moved_on: Mirror, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--level", "files", "-q")
    assert run(verify, moved_on, *options) == 0, "the control: whole"
    damage(moved_on, RETAINED, how)
    assert run(verify, moved_on, *options) == 1
    data = DAMAGES[how](OLD.data)
    if how == "one bit":
        message, expected, actual = (
            "sha256",
            hashlib.sha256(OLD.data).hexdigest(),
            hashlib.sha256(data).hexdigest(),
        )
    else:
        message, expected, actual = "size", f"{len(OLD.data)} bytes", f"{len(data)} bytes"
    assert capsys.readouterr().err == (
        f"error: {RETAINED}: retained, {message} differs from its record\n"
        f"  expected  {expected}\n"
        f"  actual    {actual}\n"
        f"help: pixi run prune --drop {RETAINED}\n"
    )
    assert run(prune, moved_on, "--drop", RETAINED, "-q") == 0
    assert run(verify, moved_on, "--level", "files,index", "--strict", "-q") == 0
    assert RETAINED in moved_on.waiting()
    assert run(prune, moved_on, "--now", "-q") == 0
    assert not (moved_on.folder / RETAINED).exists()


@pytest.mark.parametrize("task", [index, mirror])
def test_the_index_leaves_out_what_was_cut_short(
    moved_on: Mirror, task: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(moved_on, RETAINED, "half the file")
    assert run(task, moved_on, "-q") == 1
    assert capsys.readouterr().err == (
        f"error: {RETAINED}: is in no lock, and its size is not that of its record\n"
        f"  expected  {len(OLD.data)} bytes\n"
        f"  actual    {len(OLD.data) // 2} bytes\n"
        f"help: pixi run prune --drop {RETAINED}\n"
    )
    assert list(moved_on.repodata("linux-64")["packages.conda"]) == ["a-2.0-0.conda"]
    # Now it is untracked, and what the help says mends that, too.
    assert run(verify, moved_on, "--level", "files", "--strict", "-q") == 1
    assert run(prune, moved_on, "--drop", RETAINED, "--now", "-q") == 0
    assert not (moved_on.folder / RETAINED).exists()
    assert run(verify, moved_on, "--level", "files,index", "--strict", "-q") == 0
    assert run(task, moved_on, "-q") == 0


def test_what_prune_does_not_drop(moved_on: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    (moved_on.folder / "letter.txt").write_bytes(b"Dear operator")
    before, waiting = moved_on.states(), moved_on.waiting()
    assert run(prune, moved_on, "--drop", "noarch/both-1.0-0.conda") == 2
    assert capsys.readouterr().err == (
        "error: noarch/both-1.0-0.conda: is named by a workspace\n"
        f"  workspace  mirrored ({moved_on.root / 'pixi.toml'})\n"
        "help: pixi run fetch\n"
    )
    for name in ("letter.txt", "noarch/none-1.0-0.conda", "../pixi.lock", "noarch/repodata.json"):
        assert run(prune, moved_on, "--drop", name) == 2
        assert capsys.readouterr().err == (
            f"error: {name}: no such artifact in the channel folder that no workspace names\n"
            "help: pixi run prune --dry-run\n"
        )
    assert (moved_on.states(), moved_on.waiting()) == (before, waiting)
