"""The level `install` with py-rattler: what installs offline is proven, what does not is named."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zstandard

from scripts.core.console import Console
from scripts.core.rattler_child import call_rattler
from scripts.core.report import Json
from scripts.verify.findings import Client
from scripts.verify.install import sandbox as sandboxes
from scripts.verify.stage import VerifyOptions, verify
from tests.support.archives import Member, conda
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow
from tests.support.mirrors import CHANNEL
from tests.support.packages import TinyPackage
from tests.support.terminal import unbroken
from tests.support.verified import World, elsewhere, here, overrides

HELLO = f"{here()}/hello-1.0-0.conda"
LIB = "noarch/lib-1.0-0.tar.bz2"
BY_RATTLER = ("--level", "install", "--client", "rattler")
HELP = "help: pixi run verify --level files,index\n"


def _only(world: World, *rows: LockRow | RawRow) -> None:
    world.lock(EnvironmentRows(platforms=(PlatformRows(name=here(), rows=rows),)))


def _cannot(*said: str, place: str = "default") -> str:
    lines = "".join(f"  said  {line}\n" for line in said)
    return (
        f"error: {place}/{here()}: py-rattler cannot install it from the channel alone\n"
        f"{lines}{HELP}"
    )


def _warm_the_cache(world: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install once as the user, into every cache that an installer may look for."""
    caches = [home / ".cache" / "rattler" / "cache" / "pkgs", home / "pixi" / "pkgs"]
    subdir: Json = {"path": "noarch", "names": ["lib"], "files": ["lib-1.0-0.tar.bz2"]}
    for number, cache in enumerate(caches):
        arguments: dict[str, Json] = {
            "prefix": str(home / f"p{number}"),
            "cache": str(cache),
            "folder": str(world.folder),
            "subdirs": [subdir],
        }
        assert call_rattler("install", arguments) == []
        assert (cache / "lib-1.0-0").is_dir()
    monkeypatch.setenv("RATTLER_CACHE_DIR", str(home / ".cache" / "rattler" / "cache"))
    monkeypatch.setenv("PIXI_CACHE_DIR", str(home / "pixi"))


def test_what_installs_is_right(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = world.mirror.states()
    assert world.loud(*BY_RATTLER) == 0
    out, err = capsys.readouterr()
    wide = max(len(here()), len(elsewhere()))
    machine = " ".join(f"{name}={value}" for name, value in overrides().items() if value)
    assert out == (
        f"default  {here().ljust(wide)}  install ✓ (py-rattler)\n"
        f"default  {elsewhere().ljust(wide)}  install –\n"  # noqa: RUF001
        f"small    {here().ljust(wide)}  install ✓ (py-rattler)\n"
        f"installed {sandboxes.sandbox().description}, from file:// or loopback,"
        " into an empty cache\n"
        f"installed default/{here()}, small/{here()} with {machine}\n"
        f"not installed: default/{elsewhere()}; this machine is {here()}\n"
    )
    assert err == (
        f"verify: installing default/{here()} with py-rattler\n"
        f"verify: installing small/{here()} with py-rattler\n"
    )
    assert world.mirror.states() == before


def test_certificates_that_are_none_are_nothing_to_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked over TLS; the control: left alone, rattler makes no client."""
    (tmp_path / "none.pem").write_text("none", encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "missing"))
    options = ("--level", "closure,solve,install", "--client", "rattler")
    assert world.loud(*options) == 0
    if sys.platform == "linux":  # elsewhere the system is asked
        monkeypatch.setattr("scripts.verify.closure.sandbox_environment", lambda *_: os.environ)
        assert world.loud("--level", "closure") in {4, 70}  # rattler panics, or ends


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_an_artifact_is_missing_though_a_cache_of_the_user_s_has_it(
    cache: str,
    world: World,
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if cache == "warm":
        _warm_the_cache(world, clean_environment, monkeypatch)
    _only(world, world.rows()["lib"])
    (world.folder / LIB).unlink()
    assert world.verify(*BY_RATTLER) == 1
    err = capsys.readouterr().err
    assert err.startswith(
        f"error: default/{here()}: py-rattler cannot install it from the channel alone\n"
        "  said     failed to fetch lib-1.0-0.tar.bz2\n"
    )
    assert err.endswith("  missing  1 of its 1 artifacts\nhelp: pixi run mirror\n")


def test_an_artifact_is_cut_short(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    _only(world, world.rows()["lib"])
    (world.folder / LIB).write_bytes((world.folder / LIB).read_bytes()[:-100])
    assert world.verify(*BY_RATTLER) == 1
    err = capsys.readouterr().err
    assert err.startswith(_cannot("failed to fetch lib-1.0-0.tar.bz2").removesuffix(HELP))
    assert err.endswith(HELP)


def test_a_conda_archive_cut_behind_all_that_rattler_reads(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Streaming it, rattler would not miss the zip's directory; over HTTP it compares hashes."""
    (world.folder / HELLO).write_bytes((world.folder / HELLO).read_bytes()[:-100])
    assert world.verify(*BY_RATTLER) == 1
    err = capsys.readouterr().err
    assert err.startswith(_cannot("failed to fetch hello-1.0-0.conda").removesuffix(HELP))
    assert f": expected {world.rows()['hello'].written.sha256}, got " in err
    assert err.endswith(HELP)


@pytest.mark.parametrize("source", ["repodata.json", "repodata_shards.msgpack.zst"])
def test_one_record_is_missing(
    source: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads `file://` takes the first, whoever reads HTTP the second."""
    file = world.folder / "noarch" / source
    if source == "repodata.json":
        document = json.loads(file.read_bytes())
        document["packages"].clear()
        file.write_text(json.dumps(document), encoding="utf-8")
    else:
        _rewrite(file, lambda document: document["shards"].clear())
    assert world.verify(*BY_RATTLER) == 1
    assert capsys.readouterr().err == "".join(
        f"error: {place}/{here()}: py-rattler cannot install it from the channel alone\n"
        f"  no record of  {LIB} in its {source}\n{HELP}"
        for place in ("default", "small")
    )


def test_there_are_no_shards(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody may have taken the records from repodata.json instead, as clients otherwise do."""
    (world.folder / here() / "repodata_shards.msgpack.zst").unlink()
    assert world.verify(*BY_RATTLER, "-e", "small") == 0
    assert world.verify(*BY_RATTLER, "-e", "default") == 1
    assert capsys.readouterr().err == (
        f"error: default/{here()}: py-rattler cannot install it from the channel alone\n"
        f"  no record of  {HELLO} in its repodata_shards.msgpack.zst\n{HELP}"
    )


def _rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a shard index says."""
    document = msgpack.unpackb(zstandard.decompress(file.read_bytes(), 1 << 20))
    change(document)
    file.write_bytes(zstandard.compress(msgpack.packb(document)))


def _month_13(document: dict[str, Any]) -> None:
    created_at = document["info"]["created_at"]
    document["info"]["created_at"] = f"{created_at[:5]}13{created_at[7:]}"


def _map_for_base_url(document: dict[str, Any]) -> None:
    document["info"]["base_url"] = {}


@pytest.mark.parametrize("change", [_month_13, _map_for_base_url])
def test_the_index_of_the_shards_cannot_be_read(
    change: Callable[[dict[str, Any]], object], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bit makes the one and the other."""
    _rewrite(world.folder / "noarch" / "repodata_shards.msgpack.zst", change)
    assert world.verify(*BY_RATTLER, "-e", "small") == 1
    err = capsys.readouterr().err
    assert err.startswith(_cannot("", place="small").partition("  said")[0])
    assert "noarch/repodata_shards.msgpack.zst" in err


@pytest.mark.parametrize("damage", ["cut", "a flipped bit"])
def test_the_index_of_the_shards_is_damaged(
    damage: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    file = world.folder / "noarch" / "repodata_shards.msgpack.zst"
    data = bytearray(file.read_bytes())
    data[1] ^= 1  # of zstd's magic number
    file.write_bytes(file.read_bytes()[:-10] if damage == "cut" else data)
    assert world.verify(*BY_RATTLER, "-e", "small") == 1
    assert capsys.readouterr().err.startswith(f"error: small/{here()}: py-rattler cannot install")


def test_a_shard_is_missing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (shard,) = (world.folder / "noarch" / "shards").iterdir()
    shard.unlink()
    assert world.verify(*BY_RATTLER, "-e", "small") == 1
    assert shard.name in capsys.readouterr().err


def test_an_artifact_lacks_a_file_that_it_names(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The locked one itself: installed as it is, it is not what it says."""
    package = TinyPackage(name="hello", subdir=here(), files=(("share/a", b"a"), ("share/b", b"b")))
    wrong = TinyPackage(name="hello", subdir=here(), files=(("share/a", b"A"), ("share/b", b"b")))
    payload = tuple(Member(path, data) for path, data in wrong.payload)
    data = conda(package.distribution, package._info(), payload)
    (world.folder / HELLO).write_bytes(data)
    written = dataclasses.replace(
        package.write(world.upstream.parent / "other"),
        sha256=hashlib.sha256(data).hexdigest(),
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        size=len(data),
    )
    _only(world, LockRow(written=written, channel=CHANNEL))
    world.mirror.index()
    capsys.readouterr()
    assert world.verify(*BY_RATTLER) == 1
    err = capsys.readouterr().err
    found, wanted = (
        "559aead08264d5795d3909718cdd05abd49572e84fe55590eef31a88a08fdffd",
        "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    )
    assert err == (
        f"error: {HELLO}: a file of it did not arrive in default/{here()},"
        " installed by py-rattler\n"
        f"  differs  share/a (sha256 {found}, not {wanted})\n"
    )


def test_a_swapped_artifact_of_the_same_size(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of files nobody compares hashes, over HTTP rattler does; the level index never notices."""
    files = (
        ("bin/hello", b"#!/bin/sh\necho HELLO\n"),
        *world.rows()["hello"].written.package.payload[1:],
    )
    other = TinyPackage(name="hello", subdir=here(), depends=("lib >=1",), files=files)
    assert len(other.data) == (world.folder / HELLO).stat().st_size
    (world.folder / HELLO).write_bytes(other.data)
    assert world.verify("--level", "index") == 0
    assert world.verify(*BY_RATTLER) == 1
    err = capsys.readouterr().err
    assert f": expected {world.rows()['hello'].written.sha256}, got " in err
    assert world.verify("--level", "files") == 1
    assert capsys.readouterr().err.startswith(f"error: {HELLO}: sha256 differs from pixi.lock\n")


def test_no_environment_for_this_machine(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    rows = world.rows()
    platform = PlatformRows(name=elsewhere(), rows=(rows["far"], rows["lib"]))
    world.lock(EnvironmentRows(platforms=(platform,)))
    assert world.loud(*BY_RATTLER) == 0
    assert capsys.readouterr().out.startswith(
        f"default  {elsewhere()}  install –\n"  # noqa: RUF001
        f"not installed: default/{elsewhere()}; this machine is {here()}\n"
    )


def test_an_incomplete_environment(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Each row is named; allowed, it is named as well, but no finding."""
    git = f"git+https://git.example.org/six.git#{'c' * 40}"
    six = RawRow(key="pypi", location=git, lines=("name: six", "version: 1.17.0"))
    source = RawRow(key="conda_source", location="'mine[12345678] @ ./mine'")
    _only(world, world.rows()["lib"], six, source)
    assert world.loud(*BY_RATTLER) == 1
    out, err = capsys.readouterr()
    told = (
        f"left out: mine (./mine): a source package, built where it is installed;"
        f" in default/{here()}\n"
        f"left out: six 1.17.0 ({git}): a PyPI package built from git; in default/{here()}\n"
    )
    lines = [line for line in out.splitlines() if line.startswith("left out: ")]
    assert sorted(lines) == told.splitlines()
    assert out.splitlines()[0] == (
        f"default  {here()}  install ✓ (py-rattler)  incomplete ✗ (2 not mirrored)"
    )
    problems = sorted(err.partition("\n")[2].split("error: ")[1:])
    assert problems == [
        (
            "mine: is not mirrored: a source package, built where it is installed\n"
            f"  from     ./mine\n  used by  default/{here()}\n"
            'help: add "source" to allow-incomplete under [tool.pixi-mirror], if that will do\n'
        ),
        (
            "six 1.17.0: is not mirrored: a PyPI package built from git\n"
            f"  from     {git}\n  used by  default/{here()}\n"
            'help: add "pypi" to allow-incomplete under [tool.pixi-mirror], if that will do\n'
        ),
    ]
    assert world.loud(*BY_RATTLER, "--allow-incomplete", "pypi,source") == 0
    out, err = capsys.readouterr()
    first = unbroken(out).splitlines()[0]
    passed = "install ✓ (py-rattler)  incomplete, as allowed (2 not mirrored)"
    assert first == f"default  {here()}  {passed}"
    lines = [line for line in out.splitlines() if line.startswith("left out: ")]
    assert sorted(lines) == told.splitlines()
    assert "error" not in err


def test_the_channel_folder_is_not_there(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(world.folder)
    assert world.verify() == 2
    assert capsys.readouterr().err == (
        "error: local-channel: there is no such channel folder\nhelp: pixi run mirror\n"
    )


def test_without_network_namespaces(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sandboxes, "_can_unshare", lambda _: False)
    sandboxes.sandbox.cache_clear()
    try:
        assert world.loud(*BY_RATTLER) == 0
    finally:
        sandboxes.sandbox.cache_clear()
    assert (
        "installed with every proxy leading nowhere (this system gives no network of its own),"
        " from file:// or loopback, into an empty cache\n"
    ) in capsys.readouterr().out


def test_all_levels_are_looked_at_whatever_the_others_find(world: World) -> None:
    (world.folder / LIB).unlink()
    (world.folder / "noarch" / "repodata.json.zst").unlink()
    workspace, selection = world.mirror.workspace, world.mirror.selection
    options = VerifyOptions(clients=(Client.RATTLER,))
    report = verify(workspace, selection, options, Console())
    assert [problem.subject for problem in report.problems] == [
        LIB,
        "noarch/repodata.json.zst",
        f"default/{here()}",
        f"small/{here()}",
    ]
