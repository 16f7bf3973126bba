"""`mirror --relayout`: a channel arranged anew, with what other workspaces name in it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.channel.state import MirrorState, write_channel
from scripts.core.channel_paths import ChannelPaths
from scripts.keep import relayout
from tasks import diff, doctor, mirror, prune, verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.upstream import Upstream

QUICK = "files,archives,index"  # what is proven of most, where the arrangement is what matters
MANIFEST = """\
[workspace]
name = "{name}"
channels = [{channels}]
platforms = ["linux-64"]
[dependencies]
{requirements}
[tool.pixi-mirror]
channel-dir = "../common"
layout = "{layout}"
"""


@dataclass(frozen=True)
class World:
    """Workspaces that share the channel folder `common`, and their upstream."""

    root: Path
    upstream: Upstream

    def package(self, name: str, channel: str = "ch", version: str = "1.0") -> LockRow:
        """Publish an artifact, and name it as a lock does."""
        written: WrittenPackage = TinyPackage(name=name, version=version).write(
            self.upstream.folder / channel
        )
        return LockRow(written=written, channel=f"{self.upstream.url}/{channel}")

    def workspace(self, name: str, rows: Sequence[LockRow], layout: str) -> Path:
        """Write a manifest and its lock."""
        root = self.root / name
        root.mkdir(exist_ok=True)
        channels = tuple(dict.fromkeys(row.channel for row in rows))
        text = MANIFEST.format(
            name=name,
            channels=", ".join(f'"{each}"' for each in channels),
            requirements="\n".join(f'{row.written.package.name} = "*"' for row in rows),
            layout=layout,
        )
        (root / "pixi.toml").write_text(text, encoding="utf-8")
        platform = PlatformRows(name="linux-64", rows=tuple(rows))
        write_lock(root / "pixi.lock", (EnvironmentRows(channels=channels, platforms=(platform,)),))
        return root

    def artifacts(self) -> list[str]:
        """List the artifacts of the shared folder."""
        common = self.root / "common"
        return sorted(each.relative_to(common).as_posix() for each in common.rglob("*.conda"))

    @property
    def host(self) -> str:
        """The folder that the upstream gets in the layout by-channel."""
        return f"127.0.0.1_{self.upstream.port}"


@pytest.fixture
def world(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PATH", os.defpath)  # py-rattler alone installs
    return World(root=tmp_path, upstream=upstream)


def run(task: object, root: Path, *options: str) -> int:
    quick = ["--level", QUICK] if task is mirror and "--level" not in options else []
    code = task.main(["--manifest-path", str(root), *quick, *options])  # type: ignore[attr-defined]
    assert isinstance(code, int)
    return code


def test_another_layout_is_refused_and_relayout_makes_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = (world.package(name) for name in "abc")
    one, two = (
        world.workspace(name, rows, "flat") for name, rows in (("one", [a, b]), ("two", [b, c]))
    )
    assert run(mirror, one) == run(mirror, two) == 0
    requests = len(world.upstream.requests)
    one = world.workspace("one", [a, b], "by-channel")
    capsys.readouterr()
    for task in (verify, mirror, prune):
        assert run(task, one) == 2
        assert capsys.readouterr().err.endswith(
            "error: ../common: the layout of this channel is flat, not by-channel\n"
            'help: set layout = "flat" under [tool.pixi-mirror]; or set layout = "by-channel"'
            " there, and have all of it arranged anew: pixi run mirror --relayout\n"
        )
    assert run(mirror, one, "--relayout") == 0
    out = capsys.readouterr().out
    assert "relayout: 9 files at the old places wait for removal\n" in out
    new = [f"{world.host}/ch/noarch/{name}-1.0-0.conda" for name in "abc"]
    old = [f"noarch/{name}-1.0-0.conda" for name in "abc"]
    assert world.artifacts() == [*new, *old]
    assert len(world.upstream.requests) == requests, "links, no downloads"
    assert run(verify, one, "--level", "files,index", "--strict") == 0
    assert "waiting for removal: 9 files" in capsys.readouterr().out
    assert run(mirror, two) == 2, "the other workspace is told"
    two = world.workspace("two", [b, c], "by-channel")
    assert run(mirror, two) == 0
    capsys.readouterr()
    assert run(prune, two, "--now") == 0
    assert "held by snapshots" not in capsys.readouterr().out, "the new places hold the bytes"
    assert world.artifacts() == new
    assert not (world.root / "common" / "noarch").exists()
    proofs = ("--level", f"{QUICK},closure,solve,install")
    assert run(mirror, one, *proofs) == run(mirror, two, *proofs) == 0
    assert len(world.upstream.requests) == requests


@pytest.mark.parametrize("layouts", [("flat", "by-channel"), ("by-channel", "flat")])
def test_doctor_knows_the_new_layout_while_the_old_places_wait(
    layouts: tuple[str, str], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are whole until `prune`; the control has no state beside it to tell."""
    a, b = (world.package(name) for name in "ab")
    assert run(mirror, world.workspace("one", [a], layouts[0])) == 0
    one = world.workspace("one", [a, b], layouts[1])
    assert run(mirror, one, "--relayout") == 0
    asked = ("--lock", str(one / "pixi.lock"), "--json")
    capsys.readouterr()
    run(doctor, one, *asked)
    found = json.loads(capsys.readouterr().out)
    assert (found["layout"], found["environments"][0]["missing"]) == (layouts[1], [])
    if os.name != "nt":  # where links are for few
        (one / "link").symlink_to(world.root / "common")
        run(doctor, one, *asked, "--mirror", str(one / "link"))
        assert json.loads(capsys.readouterr().out)["layout"] == layouts[1]
    copy = shutil.copytree(world.root / "common", world.root / "copy")
    run(doctor, one, *asked, "--mirror", str(copy))
    assert json.loads(capsys.readouterr().out)["layout"] == "by-channel"


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
def test_an_artifact_that_is_a_relative_link(world: World) -> None:
    """Its new place gets the bytes; a hard link to the link would lead nowhere from there."""
    a = world.package("a")
    assert run(mirror, world.workspace("one", [a], "flat")) == 0
    artifact, store = world.root / "common/noarch/a-1.0-0.conda", world.root / "common/store"
    artifact.rename(store)
    artifact.symlink_to("../store")
    one = world.workspace("one", [a], "by-channel")
    assert run(mirror, one, "--relayout") == 0
    assert store.samefile(world.root / "common" / world.host / "ch/noarch/a-1.0-0.conda")


def test_what_is_retained_has_no_place_by_channel(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = world.package("a"), world.package("a", version="2.0")
    for row in (old, new):
        assert run(mirror, world.workspace("one", [row], "flat")) == 0
    one = world.workspace("one", [new], "by-channel")
    capsys.readouterr()
    assert run(mirror, one, "--relayout") == 2
    assert capsys.readouterr().err.endswith(
        "error: noarch/a-1.0-0.conda: is retained (indexed, in no lock), with no known place"
        " in the new layout\nhelp: pixi run mirror --relayout --drop-retained\n"
    )
    assert world.artifacts() == ["noarch/a-1.0-0.conda", "noarch/a-2.0-0.conda"]
    # What to say again has the layout, where that is an option of this run alone.
    flat = world.workspace("one", [new], "flat")
    assert run(mirror, flat, "--relayout", "--layout", "by-channel") == 2
    again = "help: pixi run mirror --relayout --layout by-channel --drop-retained\n"
    assert capsys.readouterr().err.endswith(again)
    one = world.workspace("one", [new], "by-channel")
    assert run(mirror, one, "--relayout", "--drop-retained") == 0
    assert run(prune, one, "--now") == 0
    assert world.artifacts() == [f"{world.host}/ch/noarch/a-2.0-0.conda"]


def test_what_is_retained_moves_to_a_flat_channel(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its channel is known; the control: a name that another channel has there, has no place."""
    a1, a2, other = world.package("a"), world.package("a", version="2.0"), world.package("b")
    for rows in ([a1, other], [a2, other]):
        assert run(mirror, world.workspace("one", rows, "by-channel")) == 0
    one = world.workspace("one", [a2, other], "flat")
    assert run(mirror, one, "--relayout") == 0
    assert run(prune, one, "--dry-run") == 0
    assert "would drop from the index: 1 artifact" in capsys.readouterr().out
    foreign = world.package("a", channel="x", version="3.0")
    one = world.workspace("one", [a2, other], "by-channel")
    assert run(mirror, one, "--relayout", "--drop-retained") == 0
    assert run(mirror, world.workspace("one", [foreign, other], "by-channel")) == 0
    one = world.workspace("one", [foreign, other], "flat")
    capsys.readouterr()
    assert run(mirror, one, "--relayout") == 2
    assert "ch/noarch/a-2.0-0.conda: is retained" in capsys.readouterr().err


def test_there_and_back_again_what_is_retained_stays(world: World) -> None:
    """Its old place still waits for its removal when it becomes its place anew."""
    old, new = world.package("a"), world.package("a", version="2.0")
    assert run(mirror, world.workspace("one", [old], "flat")) == 0
    assert run(mirror, world.workspace("one", [old], "by-channel"), "--relayout") == 0
    assert run(mirror, world.workspace("one", [new], "by-channel")) == 0
    one = world.workspace("one", [new], "flat")
    assert run(mirror, one, "--relayout") == 0
    repodata = json.loads((world.root / "common" / "noarch" / "repodata.json").read_bytes())
    assert sorted(repodata["packages.conda"]) == ["a-1.0-0.conda", "a-2.0-0.conda"]
    assert run(prune, one, "--now") == 0
    assert world.artifacts() == ["noarch/a-2.0-0.conda"]


def test_a_diff_is_told_in_the_layout_that_the_channel_has(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which the options of a run, not the settings, may have given it."""
    one = world.workspace("one", [world.package("a")], "flat")
    assert run(mirror, one, "--layout", "by-channel") == 0
    capsys.readouterr()
    assert run(diff, one) == 0
    assert capsys.readouterr().out == (
        "no package changed: channel -> lock\nto carry: 0 artifacts, 0 B\n"
    )
    world.workspace("one", [world.package("a", version="2.0")], "flat")  # the control
    assert run(diff, one) == 0
    assert f"{world.host}/ch, noarch: 1 changed\n  ~ a  1.0 0 -> 2.0 0\n" in capsys.readouterr().out


def test_a_killed_relayout_is_finished_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is published and the state does not know: as after a kill at that point.

    What only the lock of before names comes along, as it would have without the kill.
    """
    a, b = world.package("a"), world.package("b")
    assert run(mirror, world.workspace("one", [a, b], "flat")) == 0
    one = world.workspace("one", [world.package("a", version="2.0"), b], "by-channel")
    with monkeypatch.context() as patched:
        patched.setattr(relayout, "_end", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(mirror, one, "--relayout") == 130
    assert run(mirror, one) == 2, "the channel is still what its state says"
    assert run(mirror, one, "--relayout") == 0
    noarch = world.root / "common" / world.host / "ch" / "noarch"
    names = ["a-1.0-0.conda", "a-2.0-0.conda", "b-1.0-0.conda"]
    assert sorted(json.loads((noarch / "repodata.json").read_bytes())["packages.conda"]) == names
    assert run(prune, one, "--now") == 0  # the control: from then on it is retained
    assert world.artifacts() == [f"{world.host}/ch/noarch/{name}" for name in names[1:]]


@pytest.mark.parametrize("killed_at", ["removals_of", "write_removals"])
def test_killed_once_its_layout_is_noted_it_is_finished(
    world: World, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old layout is refused then, and what is retained is at its new place and stays."""
    old, new = world.package("a"), world.package("a", version="2.0")
    for row in (old, new):
        assert run(mirror, world.workspace("one", [row], "by-channel")) == 0
    one = world.workspace("one", [new], "flat")

    def note(place: ChannelPaths, state: MirrorState) -> None:
        write_channel(place, state)
        if state.layout == "flat":
            monkeypatch.setattr(relayout, killed_at, lambda *_: (_ for _ in ()).throw(SystemExit))

    with monkeypatch.context() as patched:
        patched.setattr(relayout, "write_channel", note)
        with pytest.raises(SystemExit):
            run(mirror, one, "--relayout")
    monkeypatch.undo()
    monkeypatch.setenv("PATH", os.defpath)
    everything = world.artifacts()
    assert run(mirror, world.workspace("one", [new], "by-channel")) == 2
    assert world.artifacts() == everything
    assert run(mirror, world.workspace("one", [new], "flat")) == 0
    assert run(verify, one, "--level", "files,index", "--strict") == 0
    repodata = json.loads((world.root / "common" / "noarch" / "repodata.json").read_bytes())
    assert sorted(repodata["packages.conda"]) == ["a-1.0-0.conda", "a-2.0-0.conda"]
    assert run(prune, one, "--now") == 0
    assert world.artifacts() == ["noarch/a-2.0-0.conda"]


@pytest.mark.parametrize("killed_at", ["_link", "fetch", "index", "_end"])
def test_a_killed_relayout_is_undone_in_the_old_layout(
    world: World,
    killed_at: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What it made waits for its removal; what somebody had laid there before stays."""
    a, b = world.package("a"), world.package("b")
    assert run(mirror, world.workspace("one", [a, b], "flat")) == 0
    mine = world.root / "common" / "x" / "noarch" / "mine-1.0-0.conda"
    mine.parent.mkdir(parents=True)
    shutil.copyfile(world.root / "common" / "noarch" / "a-1.0-0.conda", mine)
    original = getattr(relayout, killed_at)

    def die(*given: object, **options: object) -> None:
        if killed_at != "_end":
            original(*given, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(relayout, killed_at, die)
        one = world.workspace("one", [a, b], "by-channel")
        assert run(mirror, one, "--relayout") == 130
    made = [f"{world.host}/ch/noarch/{name}-1.0-0.conda" for name in "ab"]
    flat = ["noarch/a-1.0-0.conda", "noarch/b-1.0-0.conda"]
    assert world.artifacts() == [*made, *flat, "x/noarch/mine-1.0-0.conda"]
    one = world.workspace("one", [a, b], "flat")
    capsys.readouterr()
    for task, options in ((verify, ("--level", "files,index")), (mirror, ()), (verify, ())):
        assert run(task, one, *options, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        files = told.get("verify", told)["channel-files"]
        waiting = [each["path"] for each in files["waiting-for-removal"]["paths"]]
        assert set(made) <= set(waiting)
        assert files["untracked"]["paths"] == [
            {"path": "x/noarch/mine-1.0-0.conda", "size": mine.stat().st_size}
        ]
        assert files["index"]["files"] == 5
    assert run(prune, one, "--now") == 0
    assert world.artifacts() == [*flat, "x/noarch/mine-1.0-0.conda"]
    assert not (world.root / "common" / world.host).exists()
    assert run(verify, one, "--level", "files,index") == 0


def test_what_is_untracked_stays(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """An artifact of somebody's own that no index names: left alone, before and after."""
    one = world.workspace("one", [world.package("a")], "flat")
    assert run(mirror, one) == 0
    mine = world.root / "common" / "noarch" / "mine-1.0-0.conda"
    shutil.copyfile(mine.with_name("a-1.0-0.conda"), mine)
    one = world.workspace("one", [world.package("a")], "by-channel")
    assert run(mirror, one, "--relayout") == 0
    capsys.readouterr()
    assert run(prune, one, "--now") == 0
    assert "untracked, left alone: noarch/mine-1.0-0.conda\n" in capsys.readouterr().out
    assert world.artifacts() == [f"{world.host}/ch/noarch/a-1.0-0.conda", "noarch/mine-1.0-0.conda"]


@pytest.mark.parametrize("whose", ["retained", "another workspace's", "its own"])
def test_a_damaged_artifact_ends_it_before_anything_is_changed(
    world: World, whose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control: its own is fetched again."""
    a, b = world.package("a"), world.package("b")
    assert run(mirror, world.workspace("one", [a, b], "by-channel")) == 0
    if whose == "another workspace's":
        assert run(mirror, world.workspace("two", [b], "by-channel")) == 0
    if whose != "its own":
        assert run(mirror, world.workspace("one", [a], "by-channel")) == 0
    one = world.workspace("one", [a, b] if whose == "its own" else [a], "flat")
    old = f"{world.host}/ch/noarch/b-1.0-0.conda"
    file = world.root / "common" / old
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-4])
    before = world.artifacts()
    capsys.readouterr()
    if whose == "its own":
        assert run(mirror, one, "--relayout") == 0
        assert (world.root / "common" / "noarch" / "b-1.0-0.conda").stat().st_size == size
        return
    assert run(mirror, one, "--relayout", "-q") == 1
    help_line = (
        "remove this file, then run this again"
        if whose == "retained"
        else "remove this file, then `pixi run mirror` in the workspace that names it"
    )
    assert capsys.readouterr().err == (
        f"error: {old}: is damaged and cannot be arranged anew; nothing was changed\n"
        f"  actual  {size - 4} bytes\n"
        f"help: {help_line}\n"
    )
    assert world.artifacts() == before
    file.unlink()
    assert run(mirror, one, "--relayout", "-q") == 0
    assert world.artifacts()[-1] == "noarch/a-1.0-0.conda"


def test_the_others_are_compared_with_each_other(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two that share nothing by channel would get one place in a flat channel."""
    a, b, other = world.package("a"), world.package("b"), world.package("b", channel="x")
    for name, rows in (("one", [a]), ("two", [b]), ("three", [other])):
        assert run(mirror, world.workspace(name, rows, "by-channel")) == 0
    one, before = world.workspace("one", [a], "flat"), world.artifacts()
    capsys.readouterr()
    assert run(mirror, one, "--relayout") == 2
    err = capsys.readouterr().err
    assert "error: b: two workspaces that share this flat channel take it from two channels" in err
    assert f"of two ({world.root / 'two' / 'pixi.toml'})\n" in err
    assert f"of three ({world.root / 'three' / 'pixi.toml'})\n" in err
    assert world.artifacts() == before


def test_its_outcome_is_in_the_json(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(mirror, world.workspace("one", [world.package("a")], "flat")) == 0
    one = world.workspace("one", [world.package("a")], "by-channel")
    capsys.readouterr()
    assert run(mirror, one, "--relayout", "--json") == 0
    told = json.loads(capsys.readouterr().out)["relayout"]
    assert told["layout"] == "by-channel"
    assert "noarch/a-1.0-0.conda" in told["waiting-for-removal"]
    assert "noarch/repodata.json" in told["waiting-for-removal"]
    assert run(mirror, one, "--relayout", "--json") == 0
    again = json.loads(capsys.readouterr().out)["relayout"]
    assert again == {"layout": "by-channel", "waiting-for-removal": []}
    assert run(prune, one, "--now", "-q") == 0
    assert world.artifacts() == [f"{world.host}/ch/noarch/a-1.0-0.conda"]


def test_a_disk_that_takes_no_link_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(mirror, world.workspace("one", [world.package("a")], "flat")) == 0
    one = world.workspace("one", [world.package("a")], "by-channel")

    def full(self: Path, target: Path) -> Path:
        if target.suffix != ".conda":
            return rename(self, target)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self), None, str(target))

    rename = Path.replace
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        assert run(mirror, one, "--relayout") == 2
    new = world.root / "common" / world.host / "ch" / "noarch" / "a-1.0-0.conda"
    assert f"error: {new}: cannot be written: No space left on device\n" in capsys.readouterr().err
    assert run(mirror, one, "--relayout", "-q") == 0


def test_options_that_mean_nothing_are_refused(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    one = world.workspace("one", [world.package("a")], "flat")
    with pytest.raises(SystemExit) as caught:
        run(mirror, one, "--drop-retained")
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("error: --drop-retained goes with --relayout\n")
