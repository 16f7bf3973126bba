"""A folder whose name is not UTF-8 is refused before a child makes another one beside it.

A lock that is called so is mirrored; what else is in the channel folder is untracked.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.core.redact import printable
from tasks import bundle, index, mirror, prune, snapshots, unbundle
from tests.support.mirrors import make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.several import make_several
from tests.support.template import ROOT
from tests.support.upstream import Upstream

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="others have names of text alone")

TASKS = ("platforms", "channels", "lock", "fetch", "index", "verify", "mirror", "update_mirror")
TROUBLE = "this folder's name is not UTF-8, and not all programs can be told it"


def odd(folder: Path) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"/w\xff"))


def run(task: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", f"tasks.{task}", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("task", [*TASKS, "prune", "upgrade"])
def test_a_workspace(tmp_path: Path, task: str) -> None:
    workspace = odd(tmp_path)
    workspace.mkdir()
    make_mirror(workspace)
    done = run(task, "--manifest-path", str(workspace))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {tmp_path}/w\\udcff: {TROUBLE}\n"
        "help: give the workspace's folder, or the one around it, another name\n"
    )
    assert list(tmp_path.iterdir()) == [workspace]
    assert [each.name for each in workspace.iterdir()] == ["pixi.toml"]


def test_a_channel_folder_that_a_link_leads_to(tmp_path: Path) -> None:
    """A manifest is UTF-8 and cannot name it itself."""
    workspace, folder = tmp_path / "workspace", odd(tmp_path)
    folder.mkdir()
    make_mirror(workspace)
    (workspace / "local-channel").symlink_to(folder)
    done = run("index", "--manifest-path", str(workspace))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path}/w\\udcff: {TROUBLE}\n"
        'help: channel-dir = "local-channel" under [tool.pixi-mirror]\n'
    )
    assert list(folder.iterdir()) == []


def test_the_folder_of_temporary_files(tmp_path: Path) -> None:
    temporary = odd(tmp_path)
    temporary.mkdir()
    mirror = make_mirror(tmp_path / "workspace")
    manifest = mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8") + '\n[dependencies]\na = "*"\n'
    manifest.write_text(text, encoding="utf-8")
    mirror.lock(rows(tmp_path / "upstream", (TinyPackage(name="a"),)))
    mirror.index()
    options = ("--manifest-path", str(mirror.root), "--level", "solve")
    done = run("verify", *options, TMPDIR=str(temporary))
    assert done.returncode == 2
    assert done.stderr.endswith(
        f"error: {tmp_path}/w\\udcff: {TROUBLE}\nhelp: set TMPDIR to a folder with another name\n"
    )
    assert list(temporary.iterdir()) == []
    assert run("verify", *options, TMPDIR=str(tmp_path)).returncode == 0  # control


def test_a_lock_that_a_pattern_finds(tmp_path: Path, upstream: Upstream) -> None:
    """What it is called goes into a snapshot, which is read again, and over to the far side."""
    made, out = make_several(tmp_path / "work", upstream), tmp_path / "out"
    (made.root / "lone" / "team.lock").rename(made.root / "lone" / "w\udcff.lock")
    for _ in range(2):
        assert made.task(mirror.main, "--level", "files") == 0
    assert made.task(bundle.main, str(out), "--full", "--with-locks") == 0
    assert "\n  made by         ../lone/w\\udcff.lock\n" in (out / "LABEL.txt").read_text("utf-8")
    assert made.task(unbundle.main, str(out), str(tmp_path / "far" / "channel")) == 0


@pytest.mark.parametrize("tail", ["", "\udcff"], ids=["UTF-8", "not"])
def test_what_is_named_like_a_file_of_a_channel(
    tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str], tail: str
) -> None:
    """No index and no snapshot can hold it; the control: what is named so, in UTF-8."""
    made = make_several(tmp_path / "work", upstream)
    assert made.task(mirror.main, "--level", "files") == 0
    wheel = made.channel / f"_pypi/files/h/a{tail}-1.0-py3-none-any.whl"
    shard = made.channel / f"noarch/shards/{64 * 'a'}{tail}.msgpack.zst"
    for each in (wheel, shard):
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_bytes(b"x")
    capsys.readouterr()
    changed = "what is published is no longer what its newest snapshot says"
    assert made.task(snapshots.main) == 0
    assert (changed in capsys.readouterr().out) == (tail == "")
    assert made.task(index.main) == 0
    untracked = printable(str(wheel.relative_to(made.channel)))
    assert f"\nuntracked, and not indexed: {untracked}\n" in capsys.readouterr().out
    assert made.task(prune.main, "--now") == 0
    assert (wheel.exists(), shard.exists()) == (True, False), "a shard is of the index, and goes"
    assert made.task(bundle.main, str(tmp_path / "out"), "--full") == 0
