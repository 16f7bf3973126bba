"""The level `index`: every way in which a channel can say other than the lock is found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import msgpack
import pytest
import zstandard

from scripts.index.repodata import parse_shard_index, parse_zst, render_shard_index
from tests.support.archives import Member, conda, stored_zip
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows
from tests.support.mirrors import CHANNEL
from tests.support.verified import World, elsewhere, here

HELLO = f"{here()}/hello-1.0-0.conda"
LIB = "noarch/lib-1.0-0.tar.bz2"


def _edit(file: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(file.read_bytes())
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")


def _errors(world: World, capsys: pytest.CaptureFixture[str]) -> str:
    """Verify, and return what it has to say; the plain JSON alone was changed."""
    assert world.verify("--level", "index") == 1
    return capsys.readouterr().err


def _unlike_zst(subdir: str) -> str:
    return (
        f"error: {subdir}/repodata.json: is not the one that repodata.json.zst holds\n"
        "help: pixi run index\n"
    )


def test_what_is_right_is_right(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = world.mirror.states()
    assert world.loud("--level", "index") == 0
    marks = [line.split()[2:] for line in capsys.readouterr().out.splitlines()]
    assert marks == [["index", "✓"]] * 3
    assert world.mirror.states() == before


def test_a_record_is_missing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = world.folder / "noarch" / "repodata.json"
    _edit(file, lambda document: document["packages"].clear())
    assert _errors(world, capsys) == (
        _unlike_zst("noarch")
        + f"error: {LIB}: has no record in repodata.json\nhelp: pixi run index\n"
    )


def test_a_requirement_is_altered(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def change(document: Any) -> None:
        document["packages.conda"]["hello-1.0-0.conda"]["depends"] = ["lib >=2"]

    _edit(world.folder / here() / "repodata.json", change)
    assert _errors(world, capsys) == (
        _unlike_zst(here()) + f"error: {HELLO}: depends in repodata.json is not what it should be\n"
        "  expected  lib >=1\n"
        "  actual    lib >=2\n"
        "help: pixi run index\n"
    )


def test_a_requirement_the_lock_does_not_have(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock's row, the hotfix, is the truth, also where it says nothing."""
    rows = world.rows()
    fixed = LockRow(written=rows["hello"].written, channel=CHANNEL, depends=())
    platform = PlatformRows(name=here(), rows=(fixed, rows["lib"]))
    world.lock(EnvironmentRows(platforms=(platform,)))
    assert _errors(world, capsys) == (
        f"error: {HELLO}: depends in repodata.json is not what it should be\n"
        "  expected  nothing\n"
        "  actual    lib >=1\n"
        "help: pixi run index\n"
    )


def test_zst_of_another_time(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """As after a kill between the two files, had the order been another."""
    old = (world.folder / "noarch" / "repodata.json.zst").read_bytes()
    (world.folder / here() / "repodata.json.zst").write_bytes(old)
    assert _errors(world, capsys) == (
        f"error: {here()}/repodata.json.zst: has another sha256 than"
        " repodata_shards.msgpack.zst says\n"
        "help: pixi run index\n"
    )


def test_a_zst_that_nothing_vouches_for(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    old = (world.folder / "noarch" / "repodata.json.zst").read_bytes()
    (world.folder / here() / "repodata.json.zst").write_bytes(old)
    (world.folder / here() / "repodata_shards.msgpack.zst").unlink()
    assert _errors(world, capsys) == (
        f"error: {here()}/repodata.json.zst: holds another repodata.json than the one here\n"
        "help: pixi run index\n"
        f"error: {here()}/repodata_shards.msgpack.zst: is missing\n"
        "help: pixi run index\n"
    )


@pytest.mark.parametrize("keep", [0, 10])
def test_a_zst_cut_short(keep: int, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = world.folder / "noarch" / "repodata.json.zst"
    file.write_bytes(file.read_bytes()[:keep])
    assert _errors(world, capsys) == (
        "error: noarch/repodata.json.zst: not a whole zst file\nhelp: pixi run index\n"
    )


def test_a_damaged_shard(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (shard,) = (world.folder / "noarch" / "shards").iterdir()
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert _errors(world, capsys) == (
        f"error: noarch/shards/{shard.name}: the shard of lib has another sha256 than its name\n"
        "help: pixi run index\n"
    )


def test_a_missing_shard(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (shard,) = (world.folder / "noarch" / "shards").iterdir()
    shard.unlink()
    assert _errors(world, capsys) == (
        f"error: noarch/shards/{shard.name}: is missing\nhelp: pixi run index\n"
    )


SHARDS_CHANGED: tuple[tuple[dict[str, Any], str | None], ...] = (
    ({"base_url": "../other/"}, "leads to artifacts at ../other/"),
    ({"shards_base_url": "https://x.example.org/"}, "leads to shards at https://x.example.org/"),
    (
        {"created_at": "2001-01-01T00:00:00Z"},
        (
            "created_at is not the newest timestamp of its records\n  expected  NEWEST\n"
            "  actual    2001-01-01T00:00:00Z"
        ),
    ),
    (
        {"revisions": {"v3": {"n_packages": 1, "oldest": 1, "newest": 2}}},
        "has other repodata_revisions than repodata.json",
    ),
    ({"base_url": "./", "shards_base_url": "shards"}, None),  # the control
)


@pytest.mark.parametrize(("change", "message"), SHARDS_CHANGED)
def test_what_the_shard_index_says_of_itself(
    change: dict[str, Any],
    message: str | None,
    world: World,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "noarch/repodata_shards.msgpack.zst"
    said = parse_shard_index((world.folder / name).read_bytes(), name)
    (world.folder / name).write_bytes(render_shard_index(replace(said, **change)))
    assert world.verify("--level", "index") == (0 if message is None else 1)
    told = f"error: {name}: {message}\nhelp: pixi run index\n".replace(
        "NEWEST", f"{said.created_at}"
    )
    assert capsys.readouterr().err == ("" if message is None else told)


def test_a_shard_that_says_otherwise(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It is whole, and what names it knows it: repodata.json alone says otherwise."""
    (shard,) = (world.folder / "noarch" / "shards").iterdir()
    document = msgpack.unpackb(parse_zst(shard.read_bytes(), "the shard"))
    document["packages"][PurePath(LIB).name]["license"] = "X"
    data = zstandard.compress(msgpack.packb(document))
    sha256 = hashlib.sha256(data).hexdigest()
    shard.unlink()
    shard.with_name(f"{sha256}.msgpack.zst").write_bytes(data)
    index = world.folder / "noarch" / "repodata_shards.msgpack.zst"
    said = parse_shard_index(index.read_bytes(), "the index")
    index.write_bytes(render_shard_index(replace(said, shards={"lib": sha256})))
    assert _errors(world, capsys) == (
        f"error: {LIB}: the shards and repodata.json say different things of it\n"
        "help: pixi run index\n"
    )


def test_a_channel_needs_noarch(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """CEP 26; everybody is blamed, also who uses no noarch package."""
    rows = world.rows()
    platform = PlatformRows(name=here(), rows=(rows["hello"],))
    world.lock(EnvironmentRows(platforms=(platform,)))
    shutil.rmtree(world.folder / "noarch")
    assert world.loud("--level", "index") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["default", here(), "index", "✗"]
    assert err == (
        "verify: comparing the index with pixi.lock\n"
        "error: noarch/repodata.json: is missing\n"
        "help: pixi run index\n"
        "error: noarch/repodata.json.zst: is missing\n"
        "help: pixi run index\n"
        "error: noarch/repodata_shards.msgpack.zst: is missing\n"
        "help: pixi run index\n"
    )


def test_the_index_of_another_subdir(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """All files of it agree with each other, yet it is not this folder's."""
    folder = world.folder / elsewhere()
    for name in ("repodata.json", "repodata.json.zst", "repodata_shards.msgpack.zst", "shards"):
        target = folder / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        source = world.folder / "noarch" / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    assert _errors(world, capsys) == (
        f"error: {elsewhere()}/repodata.json: says that its subdir is noarch\n"
        "help: pixi run index\n"
        f"error: {elsewhere()}/repodata_shards.msgpack.zst: says that its subdir is noarch\n"
        "help: pixi run index\n"
        f"error: {elsewhere()}/far-1.0-0.conda: has no record in repodata.json\n"
        "help: pixi run index\n"
        f"error: {elsewhere()}/lib-1.0-0.tar.bz2: has a record in repodata.json, but is not there\n"
        "help: pixi run index\n"
    )


def test_a_record_without_its_artifact(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Kept from before, and then taken away behind the index: clients would get a 404."""
    platform = PlatformRows(name=here(), rows=(world.rows()["lib"],))
    world.lock(EnvironmentRows(platforms=(platform,)))
    assert world.verify("--level", "index") == 0
    (world.folder / HELLO).unlink()
    assert _errors(world, capsys) == (
        f"error: {HELLO}: has a record in repodata.json, but is not there\nhelp: pixi run index\n"
    )


@pytest.mark.parametrize("version", [5, 6])
def test_a_locked_artifact_that_is_missing_is_the_level_files_affair(
    version: int, world: World
) -> None:
    """An old lock says too little, and no bytes are there to tell the rest."""
    rows = world.rows()
    hello = replace(rows["hello"], without=frozenset({"license"} if version < 6 else ()))
    platform = PlatformRows(name=here(), rows=(hello, rows["lib"]))
    world.lock(EnvironmentRows(platforms=(platform,)), version=version)
    (world.folder / HELLO).unlink()
    assert world.verify("--level", "index") == 0


@pytest.mark.parametrize("version", [1, 4, 5, 6])
def test_locks_of_all_ages(version: int, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Old ones say too little: the artifacts are read, as `index` reads them."""
    rows = world.rows()
    platform = PlatformRows(name=here(), rows=(rows["hello"], rows["lib"]))
    world.lock(EnvironmentRows(platforms=(platform,)), version=version)
    assert world.verify("--level", "index") == 0

    def change(document: Any) -> None:
        document["packages.conda"]["hello-1.0-0.conda"]["license"] = "Other"

    _edit(world.folder / here() / "repodata.json", change)
    assert _errors(world, capsys).endswith(
        f"error: {HELLO}: license in repodata.json is not what it should be\n"
        "  expected  BSD-3-Clause\n"
        "  actual    Other\n"
        "help: pixi run index\n"
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no zip", "File is not a zip file"),
        (stored_zip((Member("a", b""),)), "not a .conda artifact"),
        (conda("hello-1.0-0", (), ()), "there is none"),
    ],
)
def test_an_old_lock_s_artifact_that_cannot_be_read(
    data: bytes, reason: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are compared all the same."""
    rows = world.rows()
    platform = PlatformRows(name=here(), rows=(rows["hello"], rows["lib"]))
    world.lock(EnvironmentRows(platforms=(platform,)), version=5)
    (world.folder / HELLO).write_bytes(data)
    _edit(world.folder / "noarch" / "repodata.json", lambda document: document["packages"].clear())
    assert _errors(world, capsys) == (
        f"error: {HELLO}: cannot read its info/index.json: {reason}\n"
        "help: pixi run fetch\n"
        + _unlike_zst("noarch")
        + f"error: {LIB}: has no record in repodata.json\nhelp: pixi run index\n"
    )


def test_no_known_digest_is_used_or_remembered(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row with a md5 alone has its sha256 computed anew, though a journal tells another."""
    rows = world.rows()
    bare = LockRow(written=rows["lib"].written, channel=CHANNEL, without=frozenset({"sha256"}))
    world.lock(EnvironmentRows(platforms=(PlatformRows(name=here(), rows=(bare,)),)))
    status = (world.folder / LIB).stat()
    boot = Path("/proc/sys/kernel/random/boot_id")
    row = [LIB, "sha256", "0" * 64, status.st_size, status.st_mtime_ns, status.st_ino]
    journal = world.mirror.workspace.place.digests
    journal.parent.mkdir(parents=True, exist_ok=True)
    known = boot.read_text(encoding="ascii").strip() if boot.exists() else "*"
    journal.write_text(json.dumps([*row, known]) + "\n", encoding="utf-8")
    before = hashlib.sha256(journal.read_bytes()).digest()
    assert world.verify("--level", "index") == 0
    assert hashlib.sha256(journal.read_bytes()).digest() == before


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
@pytest.mark.parametrize(
    "name", ["repodata.json", "repodata.json.zst", "repodata_shards.msgpack.zst", "shards", ""]
)
def test_a_link_is_no_index(
    name: str, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It leads to what is right, and to nothing where the channel is carried to."""
    linked = world.folder / "noarch" / name
    linked.rename(tmp_path / "elsewhere")
    linked.symlink_to(tmp_path / "elsewhere")
    path = linked.relative_to(world.folder).as_posix()
    sentence = (
        f"error: {path}: is a link, not the file itself\n"
        "help: put the files themselves in the place of the link\n"
    )
    assert _errors(world, capsys) == sentence
    assert world.loud("--level", "files,archives,index,closure,solve", "--strict") == 1
    out, err = capsys.readouterr()
    assert "untracked" not in out + err
    assert err.count(sentence) == 1
    assert ["index ✗" in line for line in out.splitlines()[:3]] == [True] * 3
