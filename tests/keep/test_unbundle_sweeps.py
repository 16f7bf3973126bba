"""`unbundle`, killed at any change of a file or refused it: said again, it ends the same.

A sample in a normal run; every change with `--deep`.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.channel.state import read_state
from scripts.core.channel_paths import channel_paths
from scripts.core.errors import ExitCode
from scripts.keep import unbundle as far
from scripts.keep.snapshots import newest_snapshot
from tests.support.bundles import NEW, OLD, digest_of, snapshot_id, there, write_bundle
from tests.support.steps import failing_at, killed_at
from tests.support.strace import TaskRun, disturb, plain

SAMPLE = 12  # of each kind of trouble, in this process
TRACED = 2  # of each kind, under strace
KINDS = ("signal=KILL", "error=EIO", "error=ENOSPC")
LONGEST = 2000
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="a copy of the process is needed")


class Scene:
    """A channel at OLD, and a bundle to NEW, with each kind of file in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.beginning = root / "far", root / "beginning"
        self.channel = self.root / "channel"
        self.place = channel_paths(self.channel)
        first = {**OLD, "linux-64/waiting-1.0-0.conda": b"w", "osx-64/repodata.json": b"{}"}
        far.unbundle(str(write_bundle(root / "first", first, day=1)), str(self.channel))
        second = write_bundle(root / "second", OLD, base=first, day=2)
        far.unbundle(str(second), str(self.channel))
        removals = read_state(self.place).removals
        assert len(removals) == 2, "one folder goes as well"
        self.bundle = write_bundle(root / "out", NEW, base=OLD, base_day=2, day=3, volumes=2)
        document = self.place.state / "removals.json"
        document.write_text(document.read_text().replace('"dropped": "20', '"dropped": "19'))
        self.root.rename(self.beginning)

    def begin(self) -> None:
        """Put the beginning there again."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.beginning, self.root)

    def run(self) -> int:
        """Unbundle."""
        return far.main(["-q", str(self.bundle), str(self.channel)])

    def wrong(self) -> Iterator[str]:
        """Yield what a client that comes now would find wrong."""
        files = there(self.channel)
        for path, data in files.items():
            if data not in {OLD.get(path), NEW.get(path), b"w", b"{}"}:
                yield f"{path} is neither the old nor the new one"
        named = NEW if files.get("linux-64/repodata.json") == NEW["linux-64/repodata.json"] else OLD
        yield from (f"{path} is named and missing" for path in named.keys() - files.keys())

    def unfinished(self) -> Iterator[str]:
        """Yield what is not as an undisturbed run leaves it."""
        if there(self.channel) != {**OLD, **NEW}:
            yield f"the channel has {sorted(there(self.channel))}"
        newest = newest_snapshot(self.place)
        if newest is None or (newest.id, newest.parent) != (
            snapshot_id(NEW, 3),
            snapshot_id(OLD, 2),
        ):
            yield f"the newest snapshot is {newest}"
        if [str(x.path) for x in read_state(self.place).removals] != sorted(
            OLD.keys() - NEW.keys()
        ):
            yield f"others wait for removal: {read_state(self.place).removals}"
        receipt = json.loads((self.place.state / "receipt.json").read_bytes())
        if (receipt["content-digest"], receipt["damaged"]) != (digest_of(NEW), 0):
            yield f"the receipt is {receipt}"
        files = [each for each in self.root.rglob("*") if each.is_file()]  # an empty folder may be
        left = [each for each in files if each.name == "unbundling.json" or "cache" in each.parts]
        left += [each for each in files if each.suffix == ".tmp"]
        yield from (f"left: {each}" for each in left)

    def states(self) -> dict[str, bytes]:
        """Read the channel and its state, but for scratch, which the next run replaces."""
        return {
            path: data
            for path, data in there(self.root).items()
            if "/cache/" not in path and not path.endswith(("run.lock", ".pixi-mirror.tmp"))
        }


@pytest.fixture(autouse=True)
def _no_waiting_for_other_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without `os.sync`, which waits for all that any program has written."""
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_undisturbed(scene: Scene) -> None:
    """The control: it ends so, and before it something is found."""
    scene.begin()
    assert list(scene.wrong()) == []
    assert list(scene.unfinished())
    assert scene.run() == 0
    assert list(scene.wrong()) == []
    assert list(scene.unfinished()) == []
    (scene.channel / "linux-64" / "b-1.0-0.conda").unlink()
    (scene.channel / "noarch" / "repodata.json").write_bytes(b"")
    assert len(list(scene.wrong())) == 2


@posix
def test_killed_at_any_change(scene: Scene, *, deep: bool) -> None:
    steps = _steps(scene)
    for step in steps if deep else sorted(random.Random(1).sample(steps, SAMPLE)):
        scene.begin()
        assert killed_at(step, scene.root, scene.run), step
        assert list(scene.wrong()) == [], step
        assert scene.run() == 0, step
        assert list(scene.unfinished()) == [], step
        assert not (scene.channel / "osx-64").exists(), "an empty folder is left"


@posix
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_refused_any_change(
    scene: Scene, capfd: pytest.CaptureFixture[str], number: int, *, deep: bool
) -> None:
    steps = _steps(scene)
    scene.begin()
    before = scene.states()
    for step in steps if deep else sorted(random.Random(number).sample(steps, SAMPLE)):
        scene.begin()
        capfd.readouterr()
        is_met, code = failing_at(step, scene.root, scene.run, number)
        said = capfd.readouterr().err
        assert is_met, step
        assert list(scene.wrong()) == [], step
        assert "Traceback" not in said, (step, said)
        if code != 0:  # where less is lost than a link, or a folder, it goes on
            assert (code, said.count("error: ")) == (ExitCode.USAGE, 1), (step, said)
            assert os.strerror(number) in said, (step, said)
        if not (scene.place.state / "unbundling.json").exists() and code != 0:
            done = snapshot_id(NEW, 3) in str(list((scene.place.state / "snapshots").iterdir()))
            assert done or scene.states() == before, step
        assert scene.run() == 0, step
        assert list(scene.unfinished()) == [], step


def _steps(scene: Scene) -> range:
    """Count the changes of an undisturbed run."""
    scene.begin()
    for step in range(1, LONGEST, 8):
        scene.begin()
        if not killed_at(step, scene.root, scene.run):
            return range(1, max(step - 8, 1))
    raise AssertionError(LONGEST)


@pytest.mark.needs_strace
def test_any_call_goes_wrong(scene: Scene, tmp_path: Path, *, deep: bool) -> None:
    """Writes, truncations and fsync as well, of which Python tells no hook."""
    if subprocess.run(["strace", "-o", os.devnull, "true"], check=False).returncode != 0:
        pytest.skip("strace may trace nothing here")
    run = TaskRun(
        task="tasks.unbundle",
        options=(str(scene.bundle), str(scene.channel)),
        root=scene.root,
        scratch=tmp_path / "scratch",
    )
    run.temporary.mkdir(parents=True)
    scene.begin()
    done, changes = plain(run)
    assert done.returncode == 0, done.stderr
    changes = tuple(each for each in changes if "snapshots/20261103" not in str(each.shown))
    assert {each.call for each in changes} >= {"write", "fsync", "rename"}
    met = 0
    for kind in KINDS:
        chance = random.Random(kind)
        for change in changes if deep else chance.sample(changes, TRACED):
            scene.begin()
            code, said, is_met = disturb(run, change, kind)
            met += is_met
            assert list(scene.wrong()) == [], change
            assert "Traceback" not in said, (change, said)
            if is_met and kind != "signal=KILL":
                assert code in {0, ExitCode.USAGE}, (change, said)
            assert scene.run() == 0, change
            assert list(scene.unfinished()) == [], (kind, change)
    assert met >= len(KINDS)
