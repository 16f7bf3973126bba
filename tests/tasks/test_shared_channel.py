"""Two workspaces that mirror into one channel folder: what one needs, the other leaves alone."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from scripts.channel import state, users
from scripts.channel.state import read_state
from scripts.core.child_process import quoted
from scripts.core.files import unlink
from scripts.core.report import human_size
from scripts.keep.changes import known_before
from scripts.keep.snapshots import read_snapshots
from scripts.lock.read import read_lock
from tasks import fetch, index, mirror, prune, rollback, verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import Mirror, forbid, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow, TinyWheel

A = TinyPackage(name="a", subdir="linux-64")
A2 = replace(A, version="2.0")
B = TinyPackage(name="b")
BOTH = TinyPackage(name="both")
W = TinyPackage(name="w", subdir="win-64")
OTHER_CHANNEL = "https://conda.anaconda.org/bioconda"

TASKS: dict[str, Any] = {
    each.__name__.rpartition(".")[2]: each for each in (fetch, index, mirror, prune, verify)
}


@dataclass(frozen=True)
class World:
    """The workspaces `one` (a, w, both) and `two` (b, both), and what they share."""

    root: Path

    def workspace(self, name: str) -> Mirror:
        """Return a workspace that is there."""
        return Mirror(root=self.root / name, layout="flat")

    @property
    def one(self) -> Mirror:
        """The first workspace."""
        return self.workspace("one")

    @property
    def two(self) -> Mirror:
        """The second workspace."""
        return self.workspace("two")

    @property
    def state(self) -> Path:
        """The folder of what is known of the mirror."""
        return self.one.workspace.place.state

    def lock(self, name: str, *packages: TinyPackage, channel: str | None = None) -> None:
        """Give a workspace another lock; its artifacts are put in place, as fetch would."""
        more = {} if channel is None else {"channel": channel}
        self.workspace(name).lock(rows(self.root / "upstream", packages, **more))

    def artifacts(self) -> list[str]:
        """Name all artifacts of the shared folder."""
        shared = self.root / "common"
        return sorted(each.relative_to(shared).as_posix() for each in shared.rglob("*.conda"))


def make(root: Path, name: str, layout: str = "flat") -> Mirror:
    return make_mirror(root / name, layout, name=name, settings='channel-dir = "../common"\n')


def run(task: str, workspace: Mirror, *options: str) -> int:
    code = TASKS[task].main(["--manifest-path", str(workspace.root), *options])
    assert isinstance(code, int)
    return code


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Both workspaces, indexed; the tests get it as it was at this very place."""
    root = tmp_path_factory.mktemp("world")
    world = World(root=root / "world")
    for name, packages in (("one", (A, W, BOTH)), ("two", (B, BOTH))):
        made = make(world.root, name)
        world.lock(name, *packages)
        assert run("index", made, "-q") == 0
    shutil.copytree(world.root, root / "kept")
    return world


@pytest.fixture
def world(made: World, capsys: pytest.CaptureFixture[str]) -> World:
    """The state tells where its workspaces are: so it is no copy elsewhere."""
    shutil.rmtree(made.root)
    shutil.copytree(made.root.parent / "kept", made.root)
    capsys.readouterr()
    return made


def test_prune_leaves_what_the_other_names(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.lock("one", A2, W, BOTH)
    assert run("index", world.one) == 0
    assert run("verify", world.one, "--level", "files,index", "--strict") == 0
    out = capsys.readouterr().out
    assert f"\nshared with: two ({world.two.root / 'pixi.toml'})\n" in out
    assert "\nretained (indexed, in no lock): 1 artifact, " in out
    before = world.artifacts()
    assert run("prune", world.one, "--now", "-q") == 0
    assert set(before) - set(world.artifacts()) == {"linux-64/a-1.0-0.conda"}, "and only this"
    assert run("verify", world.two, "--level", "files,index", "--strict") == 0
    assert run("prune", world.two, "--now") == 0
    assert "nothing to prune\n" in capsys.readouterr().out


@pytest.mark.parametrize("options", [("-p", "linux-64"), ("-e", "default", "-p", "win-64")])
def test_a_narrowed_run_narrows_nothing_but_itself(
    world: World, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Today's `-p` says nothing of what the workspace as a whole, and the other one, need."""
    before = world.artifacts()
    for task in ("index", "fetch"):
        assert run(task, world.one, *options, "-q") == 0
    for workspace in (world.one, world.two):
        assert run("prune", workspace, "--now") == 0
        assert capsys.readouterr().out.splitlines()[0] == "nothing to prune"
    assert world.artifacts() == before
    assert run("verify", world.one, "--level", "files,index", "-q") == 0
    # Control: what the settings no longer want goes, and that alone.
    manifest = world.one.root / "pixi.toml"
    manifest.write_text(f'{manifest.read_text()}platforms = ["linux-64"]\n', encoding="utf-8")
    assert run("index", world.one, "-q") == 0
    assert run("prune", world.one, "--now", "-q") == 0
    assert set(before) - set(world.artifacts()) == {"win-64/w-1.0-0.conda"}


@pytest.mark.parametrize("task", list(TASKS))
def test_one_place_and_two_digests(
    world: World, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(BOTH, padding=100)
    (row,) = rows(world.root / "other", (other,))
    (first,) = rows(world.root / "upstream", (BOTH,))
    world.two.lock((row,))
    before = world.one.states()
    assert run(task, world.two) == 2
    assert capsys.readouterr().err.endswith(
        "error: noarch/both-1.0-0.conda: two workspaces that share this channel want different"
        " bytes here\n"
        f"  sha256:{row.written.sha256}  of two ({world.two.root / 'pixi.toml'})\n"
        f"  sha256:{first.written.sha256}  of one ({world.one.root / 'pixi.toml'})\n"
        "help: pixi run prune --forget one, then pixi run update-mirror in both, if upstream has"
        " replaced it; else give one of them a channel of its own: channel-dir under"
        " [tool.pixi-mirror]\n"
    )
    assert world.one.states() == before, "not a byte"


def test_of_a_file_that_upstream_has_replaced_the_help_cures(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of the two has to move on first, as far as the other one tells."""
    other = replace(BOTH, padding=100)
    anew = rows(world.root / "other", (other,))
    for mirror_ in (world.one, world.two):
        lock = mirror_.root / "pixi.lock"
        before = lock.read_bytes()
        mirror_.lock(anew)
        assert run("index", mirror_) == 2, "the control"
        lock.write_bytes(before)
    world.two.lock(anew)
    (world.root / "common" / "noarch" / "both-1.0-0.conda").write_bytes(other.data)
    capsys.readouterr()
    assert run("index", world.two) == 2
    command = capsys.readouterr().err.partition("help: pixi run ")[2].partition(",")[0]
    assert command == "prune --forget one"
    task, *options = command.split()
    assert run(task, world.two, *options) == 0
    assert run("index", world.two) == 0
    world.one.lock((*anew, *rows(world.root / "upstream", (A, W))))
    assert run("index", world.one) == 0
    for mirror_ in (world.one, world.two):
        assert run("verify", mirror_, "--level", "files,index", "-q") == 0


def test_what_the_other_has_only_fetched_is_not_indexed(
    tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has fetched and not yet indexed is not known to the other: the bytes tell."""
    written = {}
    for name, package in (("one", BOTH), ("two", replace(BOTH, padding=100))):
        mirror = make(tmp_path, name)
        channel = upstream.folder / name
        (row,) = rows(channel, (package,), channel=f"{upstream.url}/{name}")
        row = replace(row, without=frozenset({"size"}))  # or the size tells
        rows_of = EnvironmentRows(platforms=(PlatformRows(name="linux-64", rows=(row,)),))
        write_lock(mirror.root / "pixi.lock", (rows_of,))
        assert run("fetch", mirror, "-q") == 0
        written[name] = row.written.sha256
    capsys.readouterr()
    one = Mirror(root=tmp_path / "one", layout="flat")
    assert run("index", one) == 2
    assert capsys.readouterr().err.endswith(
        "error: noarch/both-1.0-0.conda: sha256 differs from pixi.lock\n"
        f"  expected  {written['one']}\n"
        f"  actual    {written['two']}\n"
        "help: pixi run fetch\n"
    )
    assert run("fetch", one, "-q") == run("index", one, "-q") == 0
    repodata = json.loads((tmp_path / "common/noarch/repodata.json").read_bytes())
    assert repodata["packages.conda"]["both-1.0-0.conda"]["sha256"] == written["one"]


@pytest.mark.parametrize("task", list(TASKS))
def test_one_name_from_two_channels_of_a_flat_channel(
    world: World, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A solver could take the wrong one. The versions differ, so the places do not collide."""
    manifest = world.two.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace("conda-forge", "bioconda")
    manifest.write_text(text, encoding="utf-8")
    world.two.lock(rows(world.root / "other", (replace(BOTH, version="2.0"),), OTHER_CHANNEL))
    before = world.one.states()
    assert run(task, world.two) == 2
    assert capsys.readouterr().err.endswith(
        "error: both: two workspaces that share this flat channel take it from two channels, which"
        " a flat channel cannot keep apart\n"
        f"  bioconda     of two ({world.two.root / 'pixi.toml'})\n"
        f"  conda-forge  of one ({world.one.root / 'pixi.toml'})\n"
        "help: give one of them a channel of its own: channel-dir under [tool.pixi-mirror]\n"
    )
    assert world.one.states() == before, "not a byte"


def test_by_channel_two_channels_may_have_one_name(tmp_path: Path) -> None:
    """The control of the refusal above."""
    for name, channel in (("one", "conda-forge"), ("two", "bioconda")):
        workspace = make(tmp_path, name, "by-channel")
        url = f"https://conda.anaconda.org/{channel}"
        workspace.lock(rows(tmp_path / channel, (replace(BOTH, version=f"{len(name)}"),), url))
        assert run("index", workspace, "-q") == 0
        assert run("verify", workspace, "--level", "files,index,closure", "-q") == 0


def test_of_a_channel_of_which_all_waits_no_index_is_missing(tmp_path: Path) -> None:
    """After a rollback one workspace moves on, and what only the other has named still waits."""
    levels, places = ("--level", "files,index"), dict[str, Mirror]()
    for name, channel in (("one", "conda-forge"), ("two", "bioconda")):
        places[name] = make(tmp_path, name, "by-channel")
        url = f"https://conda.anaconda.org/{channel}"
        places[name].lock(rows(tmp_path / channel, (B,), url))
        assert run("index", places[name], "-q") == 0
    first = read_snapshots(places["one"].workspace.place)[0]
    assert rollback.main(["--manifest-path", str(places["one"].root), first.id, "-q"]) == 0
    places["one"].lock(rows(tmp_path / "conda-forge", (BOTH,)))
    places["one"].let_grace_pass()
    assert run("index", places["one"], "-q") == run("prune", places["one"], "-q") == 0
    assert places["one"].waiting() == ["bioconda/noarch/b-1.0-0.conda"]
    assert run("verify", places["one"], *levels, "-q") == 0
    # Control: whose lock names it needs its index.
    assert run("verify", places["two"], *levels, "-q") == 1
    assert run("index", places["two"], "-q") == run("verify", places["two"], *levels, "-q") == 0


def test_what_two_locks_say_otherwise_of_a_name_on_pypi_is_right_either_way(world: World) -> None:
    """As two versions of pixi do of python: the mapping has one name, whoever mirrors last."""
    wheel = TinyWheel(name="tiny").write(world.root / "upstream")
    for name, version, purls in (("one", "1.0", ()), ("two", "2.0", ("pkg:pypi/known",))):
        package = replace(B, version=version, purls=purls)
        conda = rows(world.root / "upstream", (package,))
        world.workspace(name).lock([*conda, PypiRow(written=wheel)])
        assert run("index", world.workspace(name), "-q") == 0
    mapping = world.one.folder / "_pypi/mapping/compressed-v0/compressed_mapping.json"
    assert json.loads(mapping.read_bytes()) == {"b": "known"}
    for workspace in (world.one, world.two):
        assert run("verify", workspace, "--level", "index", "-q") == 0
    mapping.write_text('{"b": "unknown"}', encoding="utf-8")  # the control
    for workspace in (world.one, world.two):
        assert run("verify", workspace, "--level", "index", "-q") == 1


def test_each_lock_is_compared_with_its_own_last_one(world: World) -> None:
    """What `lock` and `update-mirror` tell of is a workspace's own, whoever mirrored last."""
    locks = {name: read_lock(world.root / name / "pixi.lock") for name in ("one", "two")}
    world.lock("one", A2, W, BOTH)
    before = known_before(world.one.workspace)
    assert before.lock == locks["one"]
    assert before.since == "since the channel was last made"
    assert known_before(world.two.workspace).lock == locks["two"]
    assert run("index", world.one, "-q") == 0
    assert known_before(world.one.workspace).lock == read_lock(world.one.root / "pixi.lock")
    # Control: one that was never mirrored is told so.
    make(world.root, "three")
    world.lock("three", B)
    assert (
        known_before(world.workspace("three").workspace).since
        == "by this run (this lock had not been mirrored before)"
    )


def test_a_workspace_that_is_gone_counts_until_it_is_forgotten(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(world.two.root)
    before = world.artifacts()
    assert run("prune", world.one, "--now") == 0
    assert capsys.readouterr().out.startswith(
        "nothing to prune\n"
        f"shared with: two ({world.root / 'two' / 'pixi.toml'}, which is gone)\n"
        "  its artifacts stay; `pixi run prune --forget two` if it is no more\n"
    )
    assert world.artifacts() == before
    assert run("prune", world.one, "--forget", "tow") == 2
    assert capsys.readouterr().err == (
        "error: tow: no workspace of this name shares the channel\n"
        f"  known  one ({world.one.root / 'pixi.toml'})\n"
        f"  known  two ({world.root / 'two' / 'pixi.toml'}, which is gone)\n"
    )
    assert run("prune", world.one, "--forget", "one") == 2
    assert capsys.readouterr().err == (
        "error: one: is this workspace itself\nhelp: forget it from another one\n"
    )
    assert run("prune", world.one, "--forget", "two") == 0
    assert capsys.readouterr().out == (
        f"forgotten: two ({world.root / 'two' / 'pixi.toml'}, which is gone)\n"
    )
    assert world.artifacts() == before, "to forget removes nothing"
    assert run("prune", world.one, "--now", "-q") == 0
    assert set(before) - set(world.artifacts()) == {"noarch/b-1.0-0.conda"}


def test_what_another_names_is_fetched_anew_there(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control is what this workspace names itself: `fetch` here mends that."""
    for path, name, where in (
        ("noarch/b-1.0-0.conda", "two", ", in that workspace"),
        ("linux-64/a-1.0-0.conda", "one", ""),
    ):
        assert run("prune", world.one, "--drop", path) == 2
        assert capsys.readouterr().err == (
            f"error: {path}: is named by a workspace\n"
            f"  workspace  {name} ({world.workspace(name).root / 'pixi.toml'})\n"
            f"help: pixi run fetch{where}\n"
        )


def test_of_two_with_one_name_the_one_that_is_gone_is_forgotten(world: World) -> None:
    make_mirror(world.root / "twin", name="two", settings='channel-dir = "../common"\n')
    world.lock("twin", BOTH)
    assert run("index", world.workspace("twin"), "-q") == 0
    assert len(read_state(world.one.workspace.place).workspaces) == 3
    assert run("prune", world.one, "--forget", "two") == 2, "which one?"
    shutil.rmtree(world.two.root)
    assert run("prune", world.one, "--forget", "two") == 0
    left = [each.manifest.parent.name for each in read_state(world.one.workspace.place).workspaces]
    assert sorted(left) == ["one", "twin"]


def test_damage_to_what_the_other_names_is_told(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    file = world.root / "common" / "noarch" / "b-1.0-0.conda"
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    assert run("verify", world.one, "--level", "files", "-q") == 1
    assert capsys.readouterr().err == (
        "error: noarch/b-1.0-0.conda: size differs from its record\n"
        f"  expected  {len(data)} bytes\n"
        f"  actual    {len(data) - 1} bytes\n"
        "help: remove this file, then `pixi run mirror` in the workspace that names it\n"
    )
    file.write_bytes(data)
    assert run("verify", world.one, "--level", "files", "-q") == 0


def test_what_another_names_and_is_gone_is_told(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """It can be in no index; the control is that nothing is said once it is there again."""
    wheel = TinyWheel(name="wheel").write(world.root / "upstream")
    url = f"https://files.example/{wheel.path.name}"
    row = PypiRow(written=wheel, index="https://pypi.example/simple", url=url)
    whole: tuple[LockRow | PypiRow, ...] = (*rows(world.root / "upstream", (B, BOTH)), row)
    lost = ["noarch/b-1.0-0.conda", f"_pypi/files/files.example/{wheel.path.name}"]
    world.two.lock(whole)
    assert run("index", world.two, "-q") == 0
    for each in lost:
        (world.root / "common" / each).unlink()
    assert run("index", world.one) == 0
    assert [x for x in capsys.readouterr().err.splitlines() if " gone from " in x] == [
        f"warning: named by no lock here, gone from the channel folder, and so from the index: {x}"
        " (`pixi run mirror` in the workspace that names it brings it back)"
        for x in lost
    ]
    world.two.lock(whole)
    for workspace in (world.two, world.one):
        assert run("index", workspace) == 0
    assert " gone from " not in capsys.readouterr().err


def test_a_moved_workspace_is_taken_over(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.root / "two").rename(world.root / "elsewhere")
    moved = world.workspace("elsewhere")
    assert run("prune", moved, "--dry-run") == 0
    taken = f"taken for two, moved here from {world.two.root / 'pixi.toml'}"
    assert taken in capsys.readouterr().out.splitlines()
    assert run("index", moved, "-q") == 0
    known = [each.manifest for each in read_state(moved.workspace.place).workspaces]
    assert sorted(known) == [moved.root / "pixi.toml", world.one.root / "pixi.toml"]
    # Control: with another lock as well, it might be any workspace of that name.
    moved.root.rename(world.root / "again")
    world.lock("again", B)
    capsys.readouterr()
    assert run("index", world.workspace("again"), "-q") == 0
    assert run("prune", world.one) == 0
    out = capsys.readouterr().out
    assert f"shared with: two ({moved.root / 'pixi.toml'}, which is gone)\n" in out
    assert f"shared with: two ({world.root / 'again' / 'pixi.toml'})\n" in out


def test_all_that_have_moved_with_their_channel_are_taken_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a monorepo moves: the folder around each of them is gone, too."""
    world = World(root=tmp_path / "before")
    for name, packages in (("one", (A,)), ("two", (B,))):
        make(world.root, name)
        world.lock(name, *packages)
        assert run("index", world.workspace(name), "-q") == 0
    world.root.rename(tmp_path / "after")
    moved = World(root=tmp_path / "after")
    moved.lock("one", A2)
    assert run("index", moved.one, "-q") == 0
    capsys.readouterr()
    assert run("prune", moved.one, "--now") == 0
    gone = f"shared with: two ({world.root / 'two' / 'pixi.toml'}, which is gone)\n"
    assert gone in capsys.readouterr().out
    assert moved.artifacts() == ["linux-64/a-2.0-0.conda", "noarch/b-1.0-0.conda"]
    assert run("index", moved.two, "-q") == 0
    assert run("prune", moved.two) == 0
    there = f"nothing to prune\nshared with: one ({moved.one.root / 'pixi.toml'})\nsnapshot "
    assert capsys.readouterr().out.startswith(there)
    # Control: at another place beside the channel it may be any workspace of that name.
    shutil.copytree(moved.two.root, moved.root / "apart" / "two")
    moved.root.rename(world.root)
    shutil.rmtree(world.two.root)
    apart = world.workspace("apart/two")
    manifest = apart.root / "pixi.toml"
    manifest.write_text(manifest.read_text().replace("../common", "../../common"), encoding="utf-8")
    world.lock("apart/two", BOTH)
    assert run("index", apart, "-q") == 0
    assert run("prune", apart, "--now") == 0
    assert f"shared with: two ({moved.two.root / 'pixi.toml'}, which is gone)\n" in (
        capsys.readouterr().out
    )
    assert "noarch/b-1.0-0.conda" in world.artifacts()


def test_one_without_a_lock_of_its_own_is_taken_for_no_other(world: World) -> None:
    """All of them have the same one, none; the control is above, with a lock."""
    for folder, lock in (("here", "one"), ("there", "two")):
        settings = f'channel-dir = "../../common"\nlocks = ["../../{lock}/pixi.lock"]\n'
        made = make_mirror(world.root / folder / "team", name="team", settings=settings)
        assert run("index", made, "-q") == 0
        made.root.rename(made.root.with_name("moved"))
    names = [each.name for each in read_state(world.one.workspace.place).workspaces]
    assert sorted(names) == ["one", "team", "team", "two"]


def test_a_workspace_that_cannot_be_seen_is_not_taken_over(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second checkout, where the disk of the first is not mounted: both count."""
    (world.root / "far").mkdir()
    first = make(world.root / "far", "three")
    manifest = first.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace("../common", "../../common"), encoding="utf-8")
    first.lock(rows(world.root / "upstream", (A2,)))
    assert run("index", first, "-q") == 0
    second = make(world.root, "three")
    shutil.copyfile(first.root / "pixi.lock", second.root / "pixi.lock")
    (world.root / "far").rename(world.root / "hidden")
    assert run("index", second, "-q") == 0
    second.lock(rows(world.root / "upstream", (B,)))
    assert run("index", second, "-q") == 0
    capsys.readouterr()
    assert run("prune", second, "--now") == 0
    assert "linux-64/a-2.0-0.conda" in world.artifacts()
    assert "which is gone)\n" in capsys.readouterr().out


def test_a_workspace_of_which_only_the_lock_is_left_is_protected(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (lost,) = world.state.glob("workspaces/two-*/workspace.json")
    lost.unlink()
    before = world.artifacts()
    assert run("prune", world.one, "--now") == 2
    assert "pixi run prune --adopt" in capsys.readouterr().err
    assert world.artifacts() == before
    assert run("prune", world.one, "--adopt") == 0
    assert run("prune", world.one, "--now") == 0
    assert world.artifacts() == [each for each in before if not each.startswith("noarch/b-")]


@pytest.mark.parametrize("folder", ["workspaces", "workspaces/two-*"])
def test_a_workspace_whose_state_is_lost_is_protected(
    world: World, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (two,) = world.state.glob("workspaces/two-*")
    (lost,) = world.state.glob(folder)
    shutil.rmtree(lost)
    before = world.artifacts()
    assert run("prune", world.one, "--now") == 2
    assert f"\n  lost            {two}\n" in capsys.readouterr().err
    assert run("index", world.one) == 0, "what is named here is known again"
    said = "; `pixi run prune` after `pixi run mirror` in each workspace removes them\n"
    assert said in capsys.readouterr().out
    assert run("prune", world.one, "--now") == 2
    assert capsys.readouterr().err == (
        "error: ../common: the state of a workspace is lost, so other workspaces may need what"
        f" would go\n  lost            {two}\n  not named here  1 artifact\n"
        "help: pixi run mirror, in each workspace that shares it; then `pixi run prune --adopt`\n"
    )
    assert world.artifacts() == before
    # Control: once it is known again, or it is said that there is none, prune has its way.
    assert run("index", world.two, "-q") == run("prune", world.one, "--now", "-q") == 0
    assert world.artifacts() == before
    shutil.rmtree(two)
    assert run("prune", world.one, "--adopt", "-q") == 0
    assert run("prune", world.one, "--now", "-q") == 0
    assert set(before) - set(world.artifacts()) == {"noarch/b-1.0-0.conda"}


@pytest.mark.parametrize(
    ("done", "step", "code"),
    [(0, "unlink", 0), (0, "write_channel", 0), (1, "unlink", 0), (0, "remove_folder", 2)],
)
def test_forgetting_that_was_killed_can_be_said_again(
    world: World, monkeypatch: pytest.MonkeyPatch, done: int, step: str, code: int
) -> None:
    """Or it was done but for the folder; at no moment is it a workspace whose state is lost."""
    calls = itertools.count()

    def die(path: Path, *, missing_ok: bool = False) -> None:
        if next(calls) == done:
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(state, step, die if step == "unlink" else lambda *_: die(world.root))
        assert run("prune", world.one, "--forget", "two") == 130
    assert run("prune", world.one, "--forget", "two") == code
    assert run("prune", world.one, "--now") == 0
    assert not any(each.startswith("noarch/b-") for each in world.artifacts())


def test_a_renamed_workspace_is_the_same(world: World) -> None:
    manifest = world.two.root / "pixi.toml"
    manifest.write_text(manifest.read_text().replace('"two"', '"new"'), encoding="utf-8")
    assert known_before(world.two.workspace).lock == read_lock(world.two.root / "pixi.lock")
    assert run("index", world.two, "-q") == 0
    names = [each.name for each in read_state(world.one.workspace.place).workspaces]
    assert sorted(names) == ["new", "one"]


@pytest.mark.parametrize("disk", ["copy", "disk"])
def test_a_copied_mirror_is_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], disk: str
) -> None:
    """With its channel folder and its state, as `cp -r` does: who is copied needs none of it.

    Wherever its channel lies beside it.
    """
    made = make_mirror(tmp_path / "made")
    made.lock(rows(tmp_path / "upstream", (B, BOTH)))
    made.index()
    shutil.copytree(made.root, tmp_path / "copy")
    (tmp_path / disk).mkdir(exist_ok=True)
    for name in ("local-channel", ".pixi-mirror"):
        (tmp_path / "copy" / name).rename(tmp_path / disk / name)
    manifest = tmp_path / "copy" / "pixi.toml"
    with manifest.open("a", encoding="utf-8") as file:
        file.write(f'channel-dir = "../{disk}/local-channel"\n')
    copy = Mirror(root=tmp_path / "copy", layout="flat")
    copy.lock(rows(tmp_path / "upstream", (BOTH,)))
    assert known_before(copy.workspace).lock == read_lock(made.root / "pixi.lock")
    capsys.readouterr()
    assert run("index", copy) == 0
    assert "retained (indexed, in no lock): 1 artifact" in capsys.readouterr().out
    assert run("prune", copy, "--now") == 0
    assert "shared with" not in capsys.readouterr().out
    assert not (copy.folder / "noarch" / "b-1.0-0.conda").exists()
    assert (made.folder / "noarch" / "b-1.0-0.conda").exists()


def test_a_lost_state_protects_until_it_is_adopted(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(world.state)
    before = world.artifacts()
    refusal = (
        "error: ../common: its state is younger than its index, so other workspaces may need what"
        " would go\n"
        "  not named here  1 artifact\n"
        "help: pixi run mirror, in each workspace that shares it; then `pixi run prune --adopt`\n"
    )
    assert run("prune", world.one, "--now") == 2
    assert capsys.readouterr().err == refusal
    assert run("index", world.one) == 0, "what is named here is known again"
    said = "`pixi run prune` after `pixi run mirror` in each workspace and `pixi run prune --adopt`"
    assert f"{said} removes them\n" in capsys.readouterr().out
    for options in (("--now",), ("--dry-run",), ("--drop", "noarch/b-1.0-0.conda")):
        assert run("prune", world.one, *options) == 2
        assert capsys.readouterr().err == refusal
    assert run("prune", world.one, "--adopt") == 0
    assert capsys.readouterr().out == (
        "adopted: ../common is shared with no unknown workspace\n"
        "  now retained, so that `prune` removes it: noarch/b-1.0-0.conda\n"
    )
    assert world.artifacts() == before, "to adopt removes nothing"
    assert run("index", world.one) == 0
    assert "; `pixi run prune` removes them\n" in capsys.readouterr().out
    assert run("prune", world.one, "--now", "-q") == 0
    assert set(before) - set(world.artifacts()) == {"noarch/b-1.0-0.conda"}


def test_with_all_workspaces_known_again_there_is_nothing_to_adopt(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(world.state)
    before = world.artifacts()
    for workspace in (world.one, world.two):
        assert run("index", workspace, "-q") == 0
    capsys.readouterr()
    assert run("prune", world.one, "--adopt") == 0
    assert "now retained" not in capsys.readouterr().out
    assert run("prune", world.one, "--now", "-q") == 0
    assert world.artifacts() == before


DAMAGED = ("", "{", "[]", '{"schema": 2}', '{"schema": 1}', "[" * 100_000)


@pytest.mark.parametrize("text", DAMAGED)
@pytest.mark.parametrize("name", ["channel.json", "removals.json", "workspace.json"])
def test_a_damaged_state_is_a_sentence(
    world: World, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = world.state / name
    if name == "workspace.json":
        (file,) = (world.state / "workspaces").glob("two-*/workspace.json")
    file.write_text(text, encoding="utf-8")
    before = world.one.states()
    for task in ("prune", "index", "verify"):
        assert run(task, world.one, "-q") == 2
        err = capsys.readouterr().err
        assert err.startswith(f"error: {world.state}"), err
        assert ": is damaged, or of another version of pixi-mirror: what it said of this" in err
        assert "help: take the newer pixi-mirror, or restore it from a backup; else remove" in err
    assert world.one.states() == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("artifacts", [["../../etc/passwd", "x", "n", None, 1]]),
        ("artifacts", [["/etc/passwd", "x", "n", None, 1]]),
        ("artifacts", [["a", "b", "n", 7, 1]]),
        ("artifacts", [["a", "b", "n", "sha1:00", 1]]),
        ("artifacts", [["a", "b", "n", None, "1"]]),
        ("artifacts", ["abcde"]),
        ("artifacts", None),
        ("manifest", "\0"),
        ("name", 7),
        ("layout", "round"),
    ],
)
def test_a_workspace_s_state_that_says_nonsense(
    world: World, key: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (world.state / "workspaces").glob("two-*/workspace.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    assert run("prune", world.one, "-q") == 0
    file.write_text(json.dumps({**document, key: value}), encoding="utf-8")
    assert run("prune", world.one, "-q") == 2
    assert capsys.readouterr().err.startswith(f"error: {file}: is damaged, or of another version")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("removals.json", {"dropped": ""}),
        ("removals.json", {"size": "1"}),
        ("removals.json", {"path": "\ud83d"}),
        ("channel.json", {"schema": True}),
        ("channel.json", {"adopted": "no"}),
        ("channel.json", {"before-relayout": "ab"}),
    ],
)
def test_a_channel_s_state_that_says_nonsense(
    world: World, name: str, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    file = world.state / name
    if name == "removals.json":
        row: dict[str, object] = {"path": "a", "size": 1, "mtime-ns": 1, "dropped": None}
        file.write_text(json.dumps({"schema": 1, "removals": [{**row, **change}]}))
    else:
        file.write_text(json.dumps({**json.loads(file.read_bytes()), **change}))
    assert run("prune", world.one, "-q") == 2
    assert capsys.readouterr().err.startswith(f"error: {file}: is damaged, or of another version")


@pytest.mark.parametrize(
    "option", ["-p", "--platforms", "-e", "--environments", "--exclude-environments", "--layout"]
)
def test_prune_takes_nothing_that_narrows(
    world: World, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run("prune", world.one, option, "flat")
    assert caught.value.code == 2
    assert f"error: unrecognized arguments: {option} flat\n" in capsys.readouterr().err


@pytest.mark.parametrize("more", [("--dry-run",), ("--now",), ("--drop", "noarch/b-1.0-0.conda")])
@pytest.mark.parametrize("options", [("--adopt",), ("--forget", "two")])
def test_what_prunes_goes_with_nothing_that_does_not(
    world: World,
    options: tuple[str, ...],
    more: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = _bytes_below(world.state)
    with pytest.raises(SystemExit) as caught:
        run("prune", world.one, *more, *options)
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(
        "error: --adopt and --forget remove nothing: no --dry-run, --now or --drop with them\n"
    )
    assert _bytes_below(world.state) == state


def test_to_forget_nobody_prunes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.lock("one", A2, W, BOTH)
    assert run("index", world.one, "-q") == 0
    before = world.artifacts()
    with pytest.raises(SystemExit) as caught:
        run("prune", world.one, "--forget", "")
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("error: --forget needs the name of a workspace\n")
    assert world.artifacts() == before


def test_a_name_with_a_blank_is_quoted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = world.two.root / "pixi.toml"
    manifest.write_text(manifest.read_text().replace('"two"', '"the two"'), encoding="utf-8")
    assert run("index", world.two, "-q") == 0
    shutil.rmtree(world.two.root)
    assert run("prune", world.one) == 0
    command = f"pixi run prune --forget {quoted('the two')}"
    assert f"`{command}` if it is no more" in capsys.readouterr().out
    other = replace(BOTH, padding=100)
    world.one.lock(rows(world.root / "other", (other,)))
    assert run("prune", world.one) == 2
    assert capsys.readouterr().err.endswith(f"help: {command}\n")


def test_the_lock_that_is_kept_is_the_one_that_was_mirrored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody locks anew while the mirror is made."""
    before = (world.one.root / "pixi.lock").read_bytes()
    world.lock("one", A2, W, BOTH)
    mirrored = (world.one.root / "pixi.lock").read_bytes()
    real = users.save_workspace

    def late(*arguments: Any) -> None:
        (world.one.root / "pixi.lock").write_bytes(before)
        real(*arguments)

    monkeypatch.setattr("scripts.index.stage.save_workspace", late)
    assert run("index", world.one, "-q") == 0
    (own,) = (
        each for each in read_state(world.one.workspace.place).workspaces if each.name == "one"
    )
    assert own.lock.read_bytes() == mirrored
    assert own.lock_sha256 == hashlib.sha256(mirrored).hexdigest()


@pytest.mark.parametrize("is_same", [True, False])
def test_a_sha256_and_a_md5_are_compared_by_the_file(
    world: World,
    is_same: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A lock of old names its artifacts by md5 alone. Nothing but the bytes can tell."""
    package = BOTH if is_same else replace(BOTH, depends=("b",))
    (row,) = rows(world.root / "other", (package,))
    world.two.lock((replace(row, without=frozenset({"sha256", "size"})),))
    md5 = hashlib.md5(row.written.path.read_bytes()).hexdigest()
    if is_same:
        for task in ("index", "prune", "fetch"):
            assert run(task, world.two, "-q") == 0
        assert run("index", world.one, "-q") == 0
        return
    before = world.one.states()
    assert run("fetch", world.two) == 2
    err = capsys.readouterr().err
    assert "want different bytes here\n" in err
    assert f"  md5:{md5} " in err
    assert world.one.states() == before


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root"
)
@pytest.mark.parametrize("task", ["index", "prune", "verify"])
def test_a_folder_that_nobody_may_read(
    world: World, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    private = world.root / "common" / "private"
    private.mkdir(mode=0)
    try:
        assert run(task, world.one) == 2
    finally:
        private.chmod(0o700)
    assert f"error: {private}: cannot be read: Permission denied\n" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["index", "prune", "verify"])
def test_a_folder_that_cannot_be_read_is_named(
    world: World,
    task: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A stand-in for a folder of another user, for whoever is root."""
    private = world.root / "common" / "private"
    private.mkdir()
    for target in (private, world.state / "workspaces"):
        with monkeypatch.context() as patched:
            forbid(patched, target, os.scandir, os.listdir)
            assert run(task, world.one, "-q") == 2
        err = capsys.readouterr().err
        assert err.startswith(f"error: {target}: cannot be read: Permission denied\n")
    assert run(task, world.one, "-q") == 0


@pytest.mark.parametrize("task", ["index", "prune", "verify"])
def test_workspaces_that_one_may_not_look_into_are_not_forgotten(
    world: World,
    task: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A stand-in for a folder whose names alone may be read, for whoever is root."""
    folder = world.state / "workspaces"
    with monkeypatch.context() as patched:
        forbid(patched, folder, os.stat, os.lstat)
        assert run(task, world.one, "-q") == 2
    said = capsys.readouterr().err
    assert any(f"{x}: cannot be read: Permission denied\n" in said for x in folder.iterdir())
    assert run(task, world.one, "-q") == 0


@pytest.mark.parametrize("task", ["index", "prune", "verify"])
def test_a_state_that_one_may_not_look_into_is_named(
    world: World,
    task: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A stand-in for that of another user, made under the umask 077, for whoever is root."""
    with monkeypatch.context() as patched:
        forbid(patched, world.state, os.stat, os.lstat, open)
        assert run(task, world.one, "-q") == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {world.state / 'channel.json'}: cannot be read: Permission")
    assert run(task, world.one, "-q") == 0


def rolled_back(world: World) -> None:
    """Move `one` on, then back, and leave its lock as it is."""
    first = read_snapshots(world.one.workspace.place)[-1]
    world.lock("one", A2, W, BOTH)
    assert run("index", world.one, "-q") == 0
    assert rollback.main(["--manifest-path", str(world.one.root), first.id, "-q"]) == 0
    assert "linux-64/a-2.0-0.conda" in world.one.waiting()


def test_what_one_was_rolled_back_from_waits_whoever_mirrors(world: World) -> None:
    """It is in no index, and not untracked; the control is that nobody removes what is locked."""
    rolled_back(world)
    world.lock("two", BOTH)
    world.one.let_grace_pass()
    assert run("index", world.two, "-q") == run("prune", world.two, "--now", "-q") == 0
    assert "linux-64/a-2.0-0.conda" in world.one.waiting()
    assert "linux-64/a-2.0-0.conda" in world.artifacts()
    world.lock("one", replace(A, version="3.0"), W, BOTH)
    assert run("index", world.one, "-q") == 0
    assert run("verify", world.two, "--level", "files,index", "--strict", "-q") == 0
    assert run("prune", world.two, "--now", "-q") == 0
    assert "linux-64/a-2.0-0.conda" not in world.artifacts()


def test_prune_leaves_what_another_was_rolled_back_to(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    rolled_back(world)
    before = world.one.repodata("linux-64")
    behind = (
        "what a workspace has locked waits for its removal, as after a rollback, and it may use"
        " what would go instead"
    )
    for mirrored in (False, True):  # after that the newest snapshot is none of a rollback
        if mirrored:
            world.lock("two", B, BOTH, replace(B, name="c"))
            assert run("index", world.two, "-q") == 0
        for workspace in (world.two, world.one) if mirrored else (world.two,):
            assert run("prune", workspace, "--now") == 0
            assert f"warning: ../common: {behind}; so the index stays" in capsys.readouterr().err
            assert run("prune", workspace, "--drop", "linux-64/a-1.0-0.conda") == 2
            assert capsys.readouterr().err == (
                f"error: ../common: {behind}\n"
                "help: `pixi run mirror` in each that shares it: it moves the channel on to its"
                " lock\n"
            )
        assert world.one.repodata("linux-64") == before
    assert run("verify", world.two, "--level", "files,index") == 0
    assert (
        "; `pixi run prune` after `pixi run mirror` in each workspace removes them\n"
        in capsys.readouterr().out
    )
    # Control: once that is done, it goes.
    assert run("index", world.one, "-q") == 0
    assert run("verify", world.two, "--level", "files,index") == 0
    assert "; `pixi run prune` removes them\n" in capsys.readouterr().out
    assert run("prune", world.two, "--now") == 0
    assert "linux-64/a-1.0-0.conda" not in world.artifacts()
    assert "linux-64/a-2.0-0.conda" in world.artifacts()


def test_what_is_no_workspace_s_folder_is_passed_over(world: World) -> None:
    (world.state / "workspaces" / ".DS_Store").write_bytes(b"\0")
    (world.state / "workspaces" / "empty").mkdir()
    assert run("prune", world.one, "-q") == 0


def test_what_was_never_indexed_is_said_to_be_removed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = world.root / "common" / "noarch"
    shutil.copyfile(folder / "b-1.0-0.conda", folder / "zz-1.0-0.conda")
    size = (folder / "zz-1.0-0.conda").stat().st_size
    name = "noarch/zz-1.0-0.conda"
    assert run("prune", world.one, "--drop", name, "--dry-run") == 0
    shared = f"shared with: two ({world.two.root / 'pixi.toml'})\n"
    assert capsys.readouterr().out == (f"would be removed, and was never indexed: {name}\n{shared}")
    assert run("prune", world.one, "--drop", name) == 0
    assert capsys.readouterr().out.startswith(
        f"is to be removed, and was never indexed: {name}\n"
        f"waiting for removal: 1 file, {human_size(size)}; `pixi run prune` removes them when no"
        f" client can need them, `--now` at once\n{shared}"
    )
    assert run("prune", world.one, "--now", "-q") == 0
    assert not (folder / "zz-1.0-0.conda").exists()


def test_the_digests_of_all_are_kept(world: World) -> None:
    """Else each workspace's `fetch` would have the others hash and open all of theirs again."""
    assert run("fetch", world.two, "-q") == 0
    assert run("fetch", world.one, "-q") == 0
    new = rows(world.root / "upstream", (A2, W, BOTH))
    world.one.lock(replace(row, url=row.written.path.as_uri()) for row in new)
    (world.root / "common" / "linux-64" / "a-2.0-0.conda").unlink()
    journal = world.one.workspace.place.digests
    with journal.open("a", encoding="utf-8") as file:
        file.write("x\n" * 2000)  # so that it is worth to be rewritten
    assert run("fetch", world.one, "-q") == 0
    lines = journal.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 100, "rewritten"
    known = {json.loads(line)[0] for line in lines}
    assert {"noarch/b-1.0-0.conda", "noarch/both-1.0-0.conda"} <= known
    assert "linux-64/a-1.0-0.conda" in known, "as it was last mirrored"


def test_a_record_of_another_workspace_that_cannot_be_indexed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """`prune` removes nothing that is named; the control is what nobody names."""
    noarch = world.root / "common" / "noarch"
    for name in ("repodata_shards.msgpack.zst", "repodata.json.zst"):
        (noarch / name).unlink()
    repodata = noarch / "repodata.json"
    document = json.loads(repodata.read_bytes())
    document["packages.conda"]["b-1.0-0.conda"]["depends"] = ["x >=1,,<"]
    repodata.write_text(json.dumps(document), encoding="utf-8")
    for help_line in (
        "pixi update b, in the workspace that names it",
        "pixi run prune, which removes it",
    ):
        assert run("index", world.one) == 2
        assert capsys.readouterr().err.endswith(
            "error: noarch/b-1.0-0.conda: depends of its record holds 'x >=1,,<', which is no"
            " MatchSpec\n"
            "  from    the index of before\n"
            "  reason  unable to parse version spec: >=1,,<\n"
            f"help: {help_line}\n"
        )
        shutil.rmtree(world.two.root, ignore_errors=True)
        run("prune", world.one, "--forget", "two", "-q")
    assert run("prune", world.one, "-q") == 0
    assert run("verify", world.one, "--level", "files,index", "-q") == 0


def test_the_cache_may_go_at_any_time(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before, state = world.one.states(), _bytes_below(world.state)
    cache = world.one.workspace.place.cache
    for task, *options in (
        ("fetch",),
        ("verify", "--level", "files,index", "--strict"),
        ("prune", "--now"),
        ("index",),
    ):
        shutil.rmtree(cache, ignore_errors=True)
        assert run(task, world.one, "-q", *options) == 0, task
        assert world.one.states() == before, task
        assert _bytes_below(world.state) == state, task
    shutil.rmtree(cache)
    assert known_before(world.one.workspace).lock == read_lock(world.one.root / "pixi.lock")
    assert run("prune", world.one, "--now") == 0
    assert capsys.readouterr().out.startswith("nothing to prune\nshared with: two (")


def _bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}
