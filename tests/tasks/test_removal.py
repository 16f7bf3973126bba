"""What a published index named stays for a while; then it goes, whatever happens meanwhile."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scripts.channel.removals import now
from scripts.channel.state import read_state, write_removals
from scripts.core.files import replace as replace_file
from scripts.index.repodata import REPODATA, parse_zst
from tasks import index, prune, snapshots, verify
from tests.support.mirrors import CHANNEL, Mirror, copy_linked, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.snapshots import wrong_newest_snapshot
from tests.support.steps import failing_at, killed_at
from tests.tasks.conftest import BOTH, NEW, OLD, relock

RETAINED = "linux-64/a-1.0-0.conda"
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="a copy of the process is needed")


def run(task: Any, mirror: Mirror, *options: str) -> int:
    code = task.main(["--manifest-path", str(mirror.root), *options])
    assert isinstance(code, int)
    return code


def is_sound(mirror: Mirror) -> bool:
    """Tell whether verify finds nothing, and no file that nobody knows."""
    return run(verify, mirror, "--level", "files,index", "--strict", "-q") == 0


def test_a_pruned_artifact_waits_and_goes_when_it_is_due(
    moved_on: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    (shard,) = moved_on.waiting()
    there = moved_on.states().keys()
    assert run(prune, moved_on) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("dropped from the index: 1 artifact, ")
    assert out[1] == f"  {RETAINED}"
    assert out[2].startswith("waiting for removal: 3 files, ")
    assert list(moved_on.repodata("linux-64")["packages.conda"]) == ["a-2.0-0.conda"]
    assert there <= moved_on.states().keys(), "a client at work finds all that it has read of"
    waiting = moved_on.waiting()
    assert {RETAINED, shard} < set(waiting)
    assert is_sound(moved_on)
    assert run(verify, moved_on, "--level", "files", "--json") == 0
    told = json.loads(capsys.readouterr().out)["channel-files"]["waiting-for-removal"]
    assert [each["path"] for each in told["paths"]] == waiting
    # Not yet.
    before = moved_on.states()
    assert run(prune, moved_on) == 0
    assert capsys.readouterr().out.startswith("waiting for removal: 3 files, ")
    assert moved_on.states() == before
    moved_on.let_grace_pass()
    # Due, and a run with nothing to publish removes nothing.
    assert run(index, moved_on) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:-1] == ["index is up to date: 2 records in 2 subdirs"]
    assert said[-1].endswith(" stands")  # the snapshot
    assert moved_on.states() == before
    assert run(prune, moved_on) == 0
    assert capsys.readouterr().out.startswith("removed 3 files, ")
    assert before.keys() - moved_on.states().keys() == set(waiting)
    assert moved_on.waiting() == []
    assert is_sound(moved_on)


def test_the_next_publication_removes_what_is_due(
    moved_on: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says so."""
    (shard,) = moved_on.waiting()
    moved_on.let_grace_pass()
    relock(moved_on, NEW, BOTH, TinyPackage(name="c", subdir="linux-64"))
    capsys.readouterr()
    assert run(index, moved_on) == 0
    assert not (moved_on.folder / shard).exists()
    assert "\nremoved: 1 file whose grace has passed\n" in capsys.readouterr().out
    relock(moved_on, NEW, BOTH, TinyPackage(name="d", subdir="linux-64"))
    (moved_on.folder / "linux-64" / "c-1.0-0.conda").unlink()
    assert run(index, moved_on) == 0
    assert "removed" not in capsys.readouterr().out
    (waiting,) = moved_on.waiting()
    assert (moved_on.folder / waiting).exists(), "dropped just now, it is not due"
    assert run(prune, moved_on, "-q") == 0
    assert {RETAINED, waiting} < {*(all_due := moved_on.waiting())}
    moved_on.let_grace_pass()
    relock(moved_on, NEW, BOTH, TinyPackage(name="e", subdir="linux-64"))
    capsys.readouterr()
    assert run(index, moved_on, "--json") == 0
    assert json.loads(capsys.readouterr().out)["removed"] == all_due


def test_now_says_that_clients_may_fail(
    moved_on: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(prune, moved_on, "--now") == 0
    assert (
        "clients that are at work now may fail: what their index names is gone\n"
        in capsys.readouterr().out
    )
    assert not (moved_on.folder / RETAINED).exists()
    assert moved_on.waiting() == []
    assert is_sound(moved_on)
    assert run(prune, moved_on, "--now") == 0
    assert capsys.readouterr().out.splitlines()[:-1] == ["nothing to prune"]


def test_no_grace_at_all(moved_on: Mirror) -> None:
    assert run(prune, moved_on, "--grace", "0s", "-q") == 0
    assert not (moved_on.folder / RETAINED).exists()
    assert moved_on.waiting() == []


def test_a_grace_that_outlasts_the_calendar(moved_on: Mirror) -> None:
    assert run(prune, moved_on, "--grace", "999999w", "-q") == 0
    assert (moved_on.folder / RETAINED).exists()


def test_a_clock_that_was_set_back_keeps_nothing_for_years(moved_on: Mirror) -> None:
    place = moved_on.workspace.place
    later = now() + timedelta(days=4000)
    write_removals(place, [replace(each, dropped=later) for each in read_state(place).removals])
    (shard,) = moved_on.waiting()
    assert run(prune, moved_on, "-q") == 0
    assert not (moved_on.folder / shard).exists()


def test_a_shard_that_is_named_again_stays(moved_on: Mirror) -> None:
    """With `a` 1.0 and no other, the index names the very shard that waits."""
    (shard,) = moved_on.waiting()
    assert run(prune, moved_on, "-q") == 0
    relock(moved_on, OLD, BOTH)
    (moved_on.folder / "linux-64" / "a-2.0-0.conda").unlink()
    assert run(index, moved_on, "-q") == 0
    assert shard not in moved_on.waiting()
    others = moved_on.waiting()
    assert others, "the control"
    assert run(prune, moved_on, "--now", "-q") == 0
    assert (moved_on.folder / shard).exists()
    assert not any((moved_on.folder / each).exists() for each in others)
    assert is_sound(moved_on)


@pytest.mark.parametrize("is_indexed", [True, False])
def test_an_artifact_that_is_named_again_stays(moved_on: Mirror, is_indexed: bool) -> None:  # noqa: FBT001
    assert run(prune, moved_on, "-q") == 0
    assert RETAINED in moved_on.waiting()
    relock(moved_on, OLD, BOTH)
    if is_indexed:
        assert run(index, moved_on, "-q") == 0
        assert RETAINED not in moved_on.waiting()
    assert run(prune, moved_on, "--now", "-q") == 0
    assert (moved_on.folder / RETAINED).exists()
    assert run(index, moved_on, "-q") == 0
    assert run(verify, moved_on, "--level", "files,index", "-q") == 0
    assert next(iter(moved_on.repodata("linux-64")["packages.conda"])) == "a-1.0-0.conda"


@pytest.fixture(scope="module")
def made_emptied(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """A mirror by channel; in one of its channels all is retained, which prune then removes whole.

    No indexer is needed for that, so that each of very many runs is over in a moment.
    """
    root = tmp_path_factory.mktemp("emptied")
    mirror = make_mirror(root / "workspace", "by-channel")
    (mirror.root / "pixi.toml").write_text(
        (mirror.root / "pixi.toml").read_text(encoding="utf-8") + '[dependencies]\nboth = "*"\n',
        encoding="utf-8",
    )
    kept = rows(root / "upstream", (BOTH,), CHANNEL)
    mirror.lock((*kept, *rows(root / "other", (OLD,), "https://conda.anaconda.org/x/label/y")))
    mirror.index()
    mirror.lock(kept)
    mirror.index()
    copy_linked(mirror.root, root / "kept")
    return mirror


def anew(mirror: Mirror) -> None:
    shutil.rmtree(mirror.root)
    copy_linked(mirror.root.parent / "kept", mirror.root)


def left_of(mirror: Mirror) -> list[str]:
    """List all files and folders of the channel folder, and what the state says of them."""
    there = [each.relative_to(mirror.folder).as_posix() for each in mirror.folder.rglob("*")]
    return [*sorted(there), *mirror.waiting()]


@posix
@pytest.mark.parametrize("options", [("--now",), ()])
def test_killed_at_every_step_the_next_run_finishes(
    made_emptied: Mirror, options: tuple[str, ...]
) -> None:
    """No folder is left empty, no file untracked; with grace, nothing goes before its time."""
    mirror = made_emptied
    anew(mirror)
    whole = mirror.states().keys()
    assert run(prune, mirror, "--now", "-q") == 0
    expected = left_of(mirror)
    assert expected == sorted(expected)
    assert {each.partition("/")[0] for each in expected} == {"conda-forge"}, "all of it went"
    step = 0
    while True:
        step += 1
        anew(mirror)
        if not killed_at(step, mirror.root, lambda: run(prune, mirror, *options, "-q")):
            break
        if not options:
            assert mirror.states().keys() == whole, step
        assert run(prune, mirror, "--now", "-q") == 0
        assert left_of(mirror) == expected, f"killed at step {step}"
    assert is_sound(mirror)
    assert step > (12 if options else 6)


@posix
def test_killed_before_it_was_published_the_next_index_publishes(
    made_emptied: Mirror,
) -> None:
    """The list is there, the index not yet: index, or prune, or verify may be the next to come."""
    mirror = made_emptied
    anew(mirror)
    step = 1
    while not any(each.endswith(".conda") for each in mirror.waiting()):
        anew(mirror)
        assert killed_at(step, mirror.root, lambda: run(prune, mirror, "--now", "-q"))
        step += 1
    assert all(each.dropped is None for each in read_state(mirror.workspace.place).removals)
    before = mirror.states()
    assert run(prune, mirror, "--dry-run", "-q") == 0
    assert mirror.states() == before
    assert run(index, mirror, "-q") == 0
    assert all(each.dropped for each in read_state(mirror.workspace.place).removals)
    assert run(prune, mirror, "-q") == 0
    assert mirror.states() == before, "grace begins with the publication"
    assert is_sound(mirror)
    mirror.let_grace_pass()
    assert run(prune, mirror, "-q") == 0
    assert {each.partition("/")[0] for each in left_of(mirror)} == {"conda-forge"}


@posix
@pytest.mark.parametrize("start", [0, 1, 2])
def test_an_error_at_every_step_is_told_and_the_next_run_finishes(
    made_emptied: Mirror,
    start: int,
    deep: bool,  # noqa: FBT001
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One error after the other, each step with one of them; with `--deep`, each with all."""
    if start and not deep:
        pytest.skip("a sample will do")
    mirror, codes = made_emptied, (errno.EIO, errno.ENOSPC, errno.EACCES)
    anew(mirror)
    assert run(prune, mirror, "--now", "-q") == 0
    expected = left_of(mirror)
    step, failed = 0, 0
    while True:
        step += 1
        code = codes[(start + step) % len(codes)]
        anew(mirror)
        capfd.readouterr()
        came, exit_code = failing_at(
            step, mirror.root, lambda: run(prune, mirror, "--now", "-q"), code
        )
        if not came:
            break
        err = capfd.readouterr().err
        if exit_code == 0:  # what is no more than tidy is no reason to fail
            assert err == ""
        else:
            assert exit_code == 2, (step, err)
            assert os.strerror(code) in err
            assert err.startswith("error: ")
            failed += 1
        assert run(prune, mirror, "--now", "-q") == 0, f"after step {step}"
        assert run(prune, mirror, "--now", "-q") == 0
        assert left_of(mirror) == expected, f"failed at step {step}"
    assert failed > 8


def test_a_file_that_cannot_be_removed_is_named(
    moved_on: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for a disk that fails: none is to be had."""
    unlink = Path.unlink

    def fails(self: Path, *, missing_ok: bool = False) -> None:
        if self.name == "a-1.0-0.conda" and self.is_relative_to(moved_on.folder):
            raise OSError(errno.EIO, "Input/output error", str(self))
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", fails)
        assert run(prune, moved_on, "--now", "-q") == 2
    assert capsys.readouterr().err == (
        f"error: {moved_on.folder / RETAINED}: cannot be removed: Input/output error\n"
        "help: see to it, then run this again: it goes on where it stopped\n"
    )
    assert (moved_on.folder / RETAINED).exists()
    assert RETAINED in moved_on.waiting()
    assert run(prune, moved_on, "--now", "-q") == 0
    assert not (moved_on.folder / RETAINED).exists()
    assert is_sound(moved_on)


@pytest.mark.parametrize(("behind", "is_due"), [(10, False), (3700, True)])
def test_a_clock_set_back_a_little_shortens_no_grace(
    moved_on: Mirror,
    behind: int,
    is_due: bool,  # noqa: FBT001
) -> None:
    """By more than the grace, an hour, it tells nothing."""
    place = moved_on.workspace.place
    later = now() + timedelta(seconds=behind)
    write_removals(place, [replace(each, dropped=later) for each in read_state(place).removals])
    (shard,) = moved_on.waiting()
    assert run(prune, moved_on, "-q") == 0
    assert (moved_on.folder / shard).exists() is not is_due


def test_a_mirror_carried_to_another_disk_knows_what_waits(
    moved_on: Mirror, tmp_path: Path
) -> None:
    """Its files have other inodes, and times as exactly as that disk keeps them."""
    assert run(prune, moved_on, "-q") == 0
    waiting = moved_on.waiting()
    shutil.copytree(moved_on.root, tmp_path / "disk")
    carried = Mirror(root=tmp_path / "disk", layout="flat")
    for file in carried.folder.rglob("*"):
        if file.is_file():
            time = int(file.stat().st_mtime) // 2 * 2
            os.utime(file, (time, time))
    assert is_sound(carried), "none is untracked"
    assert carried.waiting() == waiting
    # The control: another file at the same place is somebody's own.
    own = carried.folder / RETAINED
    own.write_bytes(b"?" * own.stat().st_size)
    os.utime(own, (0, 0))
    assert not is_sound(carried)
    assert run(prune, carried, "--now", "-q") == 0
    assert [each for each in waiting if (carried.folder / each).exists()] == [RETAINED]


@pytest.mark.parametrize("task", [index, prune])
def test_another_run_that_was_stopped_as_it_published_is_ended(
    moved_on: Mirror,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    task: ModuleType,
) -> None:
    """`index` is killed when `repodata.json` alone is as it was; nothing is retained to be dropped.

    The control is what is there in between: no snapshot may be of that.
    """
    assert run(prune, moved_on, "--now") == 0
    place = moved_on.workspace.place

    def die(source: Path, target: Path) -> None:
        if target.name == REPODATA:
            raise SystemExit("killed")
        replace_file(source, target)

    relock(moved_on, NEW, BOTH, TinyPackage(name="more"))
    with monkeypatch.context() as patched:
        patched.setattr("scripts.index.publish.replace_file", die)
        with pytest.raises(SystemExit, match="killed"):
            run(index, moved_on)
    zst = (moved_on.folder / "noarch" / "repodata.json.zst").read_bytes()
    assert parse_zst(zst, "") != (moved_on.folder / "noarch" / REPODATA).read_bytes()
    assert len(list(wrong_newest_snapshot(place))) == 1
    capsys.readouterr()
    assert run(snapshots, moved_on) == 0
    out = capsys.readouterr().out
    assert ", published" not in out
    assert out.splitlines()[-1] == (
        "what is published is no longer what its newest snapshot says: a run was stopped, or"
        " somebody else has changed it: pixi run mirror, which leaves a snapshot of what is there;"
        " then run this again"
    )
    assert run(task, moved_on) == 0
    capsys.readouterr()
    assert run(snapshots, moved_on) == 0
    out = capsys.readouterr().out
    assert ", published" in out.splitlines()[-1]
    assert "what is published" not in out
    assert parse_zst(zst, "") == (moved_on.folder / "noarch" / REPODATA).read_bytes()
    assert list(wrong_newest_snapshot(place)) == []
    assert is_sound(moved_on)
