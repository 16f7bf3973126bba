"""The self-check: each way to break a copy is noticed; and it fails where one is not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path, PurePosixPath

import pytest

from scripts.core.file_lock import file_lock
from scripts.verify.findings import Level, LevelResult
from scripts.verify.self_check.mutations import MUTATIONS, Candidates, Copy, Mutation, Scope
from tasks import verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import CHANNEL, make_mirror
from tests.support.packages import TinyPackage
from tests.support.verified import World, elsewhere, here

LIB = "noarch/lib-1.0-0.tar.bz2"
FAR = f"{elsewhere()}/far-1.0-0.conda"
BIO = "https://conda.anaconda.org/bioconda"
NOT = "–"  # noqa: RUF001


def _foreign(world: World, *names: str, without: frozenset[str] = frozenset()) -> None:
    """Lock these packages for another machine: no installation, which takes its time."""
    rows = world.rows()
    some = tuple(
        LockRow(written=rows[name].written, channel=CHANNEL, without=without) for name in names
    )
    world.lock(EnvironmentRows(platforms=(PlatformRows(name=elsewhere(), rows=some),)))


@pytest.fixture
def by_channel(tmp_path: Path) -> World:
    """Two channels, one with a noarch python package, which is not installed without python."""
    mirror = make_mirror(tmp_path / "workspace", "by-channel")
    (mirror.root / "pixi.toml").write_text(
        '[workspace]\nname = "w"\nchannels = ["bioconda", "conda-forge"]\n'
        f'platforms = ["{here()}"]\n\n[dependencies]\nalign = "*"\nmodule = "*"\n\n'
        '[tool.pixi-mirror]\nlayout = "by-channel"\n',
        encoding="utf-8",
    )
    upstream = tmp_path / "upstream"
    packages = (
        TinyPackage(
            name="python",
            version="3.12.1",
            subdir=here(),
            files=(("bin/python3.12", b"#!/bin/sh\n"), ("python.exe", b"MZ")),
        ),
        TinyPackage(
            name="module",
            build="pyh0",
            noarch="python",
            files=(("site-packages/module.txt", b"x"),),
            depends=("python",),
        ),
    )
    rows = [LockRow(written=each.write(upstream), channel=CHANNEL) for each in packages]
    align = TinyPackage(
        name="align",
        build="pyh0",
        noarch="python",
        files=(("site-packages/align.txt", b"x"),),
        padding=500,
        depends=("python",),
    )
    rows.append(LockRow(written=align.write(upstream), channel=BIO))
    environment = EnvironmentRows(
        platforms=(PlatformRows(name=here(), rows=tuple(rows)),), channels=(BIO, CHANNEL)
    )
    write_lock(mirror.root / "pixi.lock", (environment,))
    for artifact in mirror.selection.artifacts:
        target = mirror.folder / artifact.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(upstream.joinpath(*artifact.path.parts[-2:]), target)
    mirror.index()
    return World(mirror=mirror, upstream=upstream)


def _table(*rows: tuple[str, str, str]) -> str:
    return "".join(
        f"self-check  {one.ljust(41)}  {two.ljust(8)} {rest}\n" for one, two, rest in rows
    )


def test_a_flat_mirror(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = world.mirror.states()
    assert world.loud("--self-check") == 0
    out, err = capsys.readouterr()
    assert out == _table(
        ("artifact missing", "files", f"✓ {FAR}"),
        ("artifact cut", "files", f"✓ {FAR}"),
        ("one bit of an artifact flipped", "files", f"✓ {FAR}"),
        ("artifact swapped for another of its size", "files", f"✓ {FAR}"),
        ("page of a server in an artifact's place", "archives", f"✓ {FAR}"),
        ("record missing", "index", f"✓ {FAR}"),
        ("depends altered", "index", f"✓ {FAR}"),
        ("record for an artifact of another channel", "index", f"{NOT} the mirror is one channel"),
        ("repodata.json of another subdir", "index", f"✓ {elsewhere()}/repodata.json"),
        ("zst older than json", "index", f"✓ {elsewhere()}/repodata.json.zst"),
        ("record missing", "closure", f"✓ {LIB}"),
        ("depends altered", "closure", f"✓ {LIB}"),
        ("record missing", "solve", f"✓ {LIB}"),
        ("needed noarch moved away", "files", f"✓ {LIB}"),
        ("needed noarch moved away", "install", f"✓ {LIB}"),
    ) + (
        "self-check: 14 of 14 noticed, 1 not possible in this channel; the channel itself is as"
        " it was, every byte of its 15 files\n"
    )
    assert err.splitlines()[:2] == [
        "self-check: reading the channel, to compare it afterwards",
        "self-check: artifact missing (files)",
    ]
    assert world.mirror.states() == before
    assert not world.mirror.workspace.place.self_check.exists()


def test_a_mirror_by_channel(by_channel: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = by_channel.mirror.states()
    capsys.readouterr()
    assert by_channel.loud("--self-check") == 0
    python = f"conda-forge/{here()}/python-3.12.1-0.conda"
    module = "conda-forge/noarch/module-1.0-pyh0.conda"
    smallest = module
    assert capsys.readouterr().out == _table(
        ("artifact missing", "files", f"✓ {smallest}"),
        ("artifact cut", "files", f"✓ {smallest}"),
        ("one bit of an artifact flipped", "files", f"✓ {smallest}"),
        ("artifact swapped for another of its size", "files", f"✓ {smallest}"),
        ("page of a server in an artifact's place", "archives", f"✓ {smallest}"),
        ("record missing", "index", f"✓ {smallest}"),
        ("depends altered", "index", f"✓ {smallest}"),
        (
            "record for an artifact of another channel",
            "index",
            "✓ bioconda/noarch/module-1.0-pyh0.conda",
        ),
        (
            "repodata.json of another subdir",
            "index",
            f"✓ {PurePosixPath(python).parent}/repodata.json",
        ),
        ("zst older than json", "index", "✓ conda-forge/noarch/repodata.json.zst"),
        ("record missing", "closure", f"✓ {module}"),
        ("depends altered", "closure", f"✓ {module}"),
        ("record missing", "solve", f"✓ {module}"),
        ("needed noarch moved away", "files", f"✓ {module}"),
        ("needed noarch moved away", "install", f"✓ {module}"),
    ) + (
        "self-check: 15 of 15 noticed; the channel itself is as it was,"
        " every byte of its 15 files\n"
    )
    assert by_channel.mirror.states() == before


def _mutation(title: str, level: str) -> Mutation:
    return next(each for each in MUTATIONS if (each.title, each.level) == (title, level))


def _scope(world: World, mutation: Mutation) -> Scope:
    mirror = world.mirror
    sizes = {
        each: (mirror.folder / each.path).stat().st_size for each in mirror.selection.artifacts
    }
    ordered = dict(sorted(sizes.items(), key=lambda pair: pair[1]))
    return mutation.choose(
        Candidates(
            workspace=mirror.workspace, selection=mirror.selection, sizes=ordered, subdir=here()
        )
    )


@pytest.mark.parametrize(
    ("title", "level", "finding"),
    [
        ("artifact missing", "files", "{named}: is missing"),
        ("artifact cut", "files", "{named}: size differs from pixi.lock"),
        ("one bit of an artifact flipped", "files", "{named}: sha256 differs from pixi.lock"),
        (
            "artifact swapped for another of its size",
            "files",
            "{named}: sha256 differs from pixi.lock",
        ),
        (
            "page of a server in an artifact's place",
            "archives",
            "{named}: is no artifact that can be opened",
        ),
        ("record missing", "index", "{named}: has no record in repodata.json"),
        (
            "depends altered",
            "index",
            "{named}: depends in repodata.json is not what it should be",
        ),
        (
            "record for an artifact of another channel",
            "index",
            "{named}: has a record in repodata.json, but is not there",
        ),
        ("repodata.json of another subdir", "index", "{named}: says that its subdir is noarch"),
        (
            "zst older than json",
            "index",
            "{named}: has another sha256 than repodata_shards.msgpack.zst says",
        ),
        ("record missing", "closure", "{named}: has no record in repodata.json"),
        (
            "depends altered",
            "closure",
            "{named}: requires no-such-package-of-the-self-check, which is not met",
        ),
        (
            "record missing",
            "solve",
            f"default/{here()}: cannot be solved from the channel alone",
        ),
        ("needed noarch moved away", "files", "{named}: is missing"),
        (
            "needed noarch moved away",
            "install",
            f"default/{here()}: py-rattler cannot install it from the channel alone",
        ),
    ],
)
def test_each_mutation_is_seen_in_the_whole_channel(
    title: str, level: str, finding: str, by_channel: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the task as people run it; and nothing but what was broken is complained of."""
    mutation = _mutation(title, level)
    scope = _scope(by_channel, mutation)
    whole = by_channel.folder.parent / "whole"
    shutil.copytree(by_channel.folder, whole)
    assert by_channel.verify("--level", level, "--client", "rattler") == 0
    capsys.readouterr()
    mutation.damage(Copy(source=whole, folder=by_channel.folder), scope)
    assert by_channel.verify("--level", level, "--client", "rattler") == 1
    err = capsys.readouterr().err
    heads = [line for line in err.splitlines() if line.startswith("error: ")]
    assert f"error: {finding.format(named=scope.named)}" in heads
    assert (scope.marker or str(scope.named)) in err
    # Of a record that is gone it is told, too, who needs it: the manifest.
    expected = 2 if (title, level) == ("record missing", "closure") else 1
    if title != "repodata.json of another subdir":
        assert len(heads) == expected


def test_records_that_cannot_be_read(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / "noarch" / "repodata.json").write_bytes(b"{")
    assert world.verify("--self-check") == 1
    assert (
        f"error: {LIB}: cannot be broken to see whether closure notices: it finds fault already\n"
        "  finds  noarch/repodata.json: py-rattler cannot read it: "
    ) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("level", "patched"),
    [
        ("files", "scripts.verify.stage.check_files"),
        ("archives", "scripts.verify.stage.check_archives"),
        ("index", "scripts.verify.index.check_index"),
        ("closure", "scripts.verify.closure.check_closure"),
        ("solve", "scripts.verify.solve.check_solve"),
        ("install", "scripts.verify.install.stage.check_install"),
    ],
)
def test_a_blind_level_is_found_out(
    level: str,
    patched: str,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A control. Patched, since no level that is ours is blind."""
    monkeypatch.setattr(patched, lambda *_, **__: LevelResult(data={"solved": []}))
    assert world.verify("--self-check") == 1
    err = capsys.readouterr().err
    found = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (
        len(found)
        == {"files": 5, "archives": 1, "index": 4, "closure": 2, "solve": 1, "install": 1}[level]
    )
    assert err.startswith(
        {
            "files": f"error: {FAR}: artifact missing, in a copy of the channel, and files did not"
            " name it\n",
            "archives": f"error: {FAR}: page of a server in an artifact's place, in a copy of the"
            " channel, and archives did not name it\n",
            "index": f"error: {FAR}: record missing, in a copy of the channel, and index did not"
            " name it\n",
            "closure": f"error: {LIB}: record missing, in a copy of the channel, and closure did"
            " not name it\n",
            "solve": f"error: {LIB}: record missing, in a copy of the channel, and solve did not"
            " name it\n",
            "install": f"error: {LIB}: needed noarch moved away, in a copy of the channel, and"
            " install did not name it\n",
        }[level]
        + "  finds  nothing\nhelp: do not rely on this level; report this as a bug of pixi-mirror\n"
    )


@pytest.mark.parametrize("hides", [False, True], ids=["plainly", "time set back"])
def test_a_change_of_the_channel_itself_is_found_out(
    hides: bool,  # noqa: FBT001
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A control. Patched, since the self-check writes into no link."""

    def through_the_link(copy: Copy, path: PurePosixPath, data: bytes) -> None:
        file = copy.folder / path
        if path.suffix != ".conda":
            return
        status = file.stat()
        with file.open("r+b") as opened:
            opened.write(data)
        if hides:
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    _foreign(world, "far", "lib")
    monkeypatch.setattr(Copy, "write", through_the_link)
    assert world.loud("--self-check") == 1
    out, err = capsys.readouterr()
    assert "the channel itself" not in out
    assert (
        f"error: {FAR}: this file of the channel itself changed during the self-check\n"
        "help: pixi run verify\n"
    ) in err


def test_what_is_wrong_already_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    _foreign(world, "far", "lib")
    (world.folder / FAR).write_bytes(b"?")
    (world.folder / elsewhere() / "repodata.json.zst").unlink()
    before = world.mirror.states()
    assert world.verify("--self-check") == 1
    err = capsys.readouterr().err
    assert err.startswith(
        f"error: {FAR}: cannot be broken to see whether files notices: it finds fault already\n"
        f"  finds  {FAR}: size differs from pixi.lock\n"
        "  and    3 more like this, which -v shows\n"
        "help: pixi run verify --level files\n"
    )
    assert "cannot be broken to see whether index notices: it finds fault already" in err
    assert f"  finds  {elsewhere()}/repodata.json.zst: is missing\n" in err
    assert world.mirror.states() == before


def test_ways_that_are_not_possible_are_said(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _foreign(world, "far", "lib", without=frozenset({"sha256", "md5"}))
    world.mirror.index()
    capsys.readouterr()
    assert world.loud("--self-check", "--allow-unhashed") == 0
    lines = capsys.readouterr().out.splitlines()
    no_hash = f"{NOT} pixi.lock has neither sha256 nor md5 of any artifact"
    no_noarch = f"{NOT} no environment for {here()} has a noarch artifact"
    assert [line[64:] for line in lines[:-1]] == [
        f"✓ {FAR}",
        *[no_hash] * 3,
        *[f"✓ {FAR}"] * 3,
        f"{NOT} the mirror is one channel",
        f"✓ {elsewhere()}/repodata.json",
        f"✓ {elsewhere()}/repodata.json.zst",
        *[f"✓ {FAR}"] * 3,
        no_noarch,
        no_noarch,
    ]
    assert lines[-1].startswith("self-check: 9 of 9 noticed, 6 not possible in this channel; ")


def test_noarch_alone(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    _foreign(world, "lib")
    manifest = world.mirror.root / "pixi.toml"
    manifest.write_text(manifest.read_text("utf-8").replace('far = "*"', ""), encoding="utf-8")
    assert world.loud("--self-check") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[64:] for line in (lines[3], lines[8], lines[12], lines[14])] == [
        f"{NOT} there is no other artifact whose bytes could take its place",
        f"{NOT} there is no subdir but noarch",
        f"{NOT} no environment has an artifact that the manifest asks for by name",
        f"{NOT} no environment for {here()} has a noarch artifact",
    ]


def test_where_no_links_can_be_made(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Patched, since the disk of a test has links: exFAT and some servers have none."""

    def refuse(*_: object) -> None:
        raise PermissionError

    _foreign(world, "far", "lib")
    before = world.mirror.states()
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    assert world.loud("--self-check") == 0
    assert "self-check: 12 of 12 noticed" in capsys.readouterr().out
    assert world.mirror.states() == before


def test_what_a_killed_run_left_is_in_nobody_s_way(world: World) -> None:
    _foreign(world, "far", "lib")
    folder = world.mirror.workspace.place.self_check
    (folder / "channel" / elsewhere()).mkdir(parents=True)
    (folder / "channel" / FAR).write_bytes(b"?")
    assert world.verify("--self-check") == 0
    assert not folder.exists()


def test_a_disk_on_which_no_copy_can_be_made(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Patched, since a full disk is not to be had."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    _foreign(world, "far", "lib")
    monkeypatch.setattr(Copy, "write", full)
    assert world.verify("--self-check") == 2
    folder = world.mirror.workspace.place.self_check
    assert capsys.readouterr().err == (
        f"error: {folder}: cannot be written: No space left on device\n"
        "help: set channel-dir to a folder beside which you may write\n"
    )
    assert not folder.exists()


def test_another_layout_is_named_as_by_any_task(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _foreign(world, "far", "lib")
    wrong = ("--layout", "by-channel")
    said = []
    for options in ((*wrong, "--level", "files"), (*wrong, "--self-check")):
        assert world.verify(*options) == 2
        said.append(capsys.readouterr().err)
    message = "the layout of this channel is flat, not by-channel"
    assert said[0].startswith(f"error: local-channel: {message}\n")
    assert said[1] == said[0]
    assert world.verify("--layout", "flat", "--self-check") == 0  # the control


def test_nothing_to_break(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(world.folder)
    assert world.verify("--self-check") == 2
    assert capsys.readouterr().err == (
        "error: local-channel: there is no such channel folder\nhelp: pixi run mirror\n"
    )
    world.folder.mkdir()
    assert world.verify("--self-check") == 2
    assert capsys.readouterr().err == (
        "error: local-channel: holds no artifact of pixi.lock, so there is nothing to break\n"
        "help: pixi run mirror\n"
    )


def test_another_run_is_at_work(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with file_lock(world.mirror.workspace.place.lock, "a test"):
        assert world.verify("--self-check") == 2
    assert capsys.readouterr().err.startswith(
        "error: local-channel: another run is at work on it\n"
    )


@pytest.mark.parametrize("options", [("--level", "files"), ("--strict",)])
def test_levels_are_its_own(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        verify.main(["--self-check", *options])
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "pixi run verify: error: --self-check goes with none of --level, --client, --report,"
        " --strict"
    )


def test_json(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    _foreign(world, "far", "lib")
    assert world.verify("--self-check", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["task"], document["exit-code"], document["changed"]) == ("verify", 0, [])
    ways = document["self-check"]
    assert ways[0] == {
        "way": "artifact missing",
        "level": "files",
        "noticed": True,
        "named": FAR,
        "reason": None,
    }
    assert ways[-1] == {
        "way": "needed noarch moved away",
        "level": "install",
        "noticed": None,
        "named": None,
        "reason": f"no environment for {here()} has a noarch artifact",
    }


def test_there_are_eleven_mutations() -> None:
    assert len({each.title for each in MUTATIONS}) == 11
    assert len({(each.title, each.level) for each in MUTATIONS}) == len(MUTATIONS)
    assert {each.level for each in MUTATIONS} == set(Level)
