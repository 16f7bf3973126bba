"""What is committed for the demo is what its maker makes, and what pixi and rattler take."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import rattler

from scripts.demo.stage import mirrors
from tests.support.demo_upstream import CHANNELS, DEMO, write_demo
from tests.support.pixi import find_pixi
from tests.support.upstream import Upstream


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_committed_bytes_are_what_the_maker_makes(tmp_path: Path) -> None:
    """To change them: `python -m tests.support.demo_upstream`."""
    write_demo(tmp_path)
    assert contents(tmp_path / "upstream") == contents(DEMO / "upstream")
    for name in ("workspace", "service"):
        assert contents(tmp_path / name) == {"pixi.lock": (DEMO / name / "pixi.lock").read_bytes()}


def test_it_is_small_and_shows_all_that_it_should() -> None:
    files = contents(DEMO / "upstream")
    assert max(map(len, files.values())) < 8192
    names = [name for name in files if name.split("/")[0] in CHANNELS and name[-5:] != ".json"]
    assert {name.split("/")[1] for name in names} == {
        "linux-64",
        "linux-aarch64",
        "noarch",
        "osx-64",
        "osx-arm64",
        "win-64",
    }
    assert {name.split("/")[0] for name in names} == {"data", "tools"}
    assert {name.split("/")[0] for name in files} - {"data", "tools"} == {
        "files.example.org",
        "pypi.example.org",
    }
    assert {name.endswith(".conda") for name in names} == {True, False}
    by_channel = [{package.name for package in packages} for packages in CHANNELS.values()]
    assert set.intersection(*by_channel) == set()


def test_rattler_reads_the_lock() -> None:
    environment = rattler.LockFile.from_path(DEMO / "workspace" / "pixi.lock").default_environment()
    assert environment is not None
    found = {
        str(platform): sorted(each.name for each in environment.packages(platform) or [])
        for platform in environment.platforms()
    }
    platforms = ("linux-64", "linux-aarch64", "osx-64", "osx-arm64", "win-64")
    everywhere = [
        "greetings",
        "hello",
        "hello-py",
        "loud-words",
        "pip",
        "python",
        "whisper",
        "words",
    ]
    expected = {each: sorted([*everywhere, "words"]) for each in platforms}
    assert found == expected | {"win-64": sorted([*expected["win-64"], "windows-words"])}


@pytest.mark.needs_pixi
@pytest.mark.parametrize("name", ["workspace", "service"])
def test_pixi_writes_the_same_lock_and_takes_ours(name: str, tmp_path: Path) -> None:
    shutil.copytree(DEMO / name, tmp_path / "workspace")
    lock = tmp_path / "workspace" / "pixi.lock"
    committed = lock.read_bytes()
    pixi = find_pixi(tmp_path / "home")
    with Upstream(DEMO / "upstream") as upstream:
        pixi.configure(mirrors(upstream.url))
        done = pixi.run(lock.parent, "lock", "--check")
        assert (done.returncode, lock.read_bytes()) == (0, committed), done.stderr
        lock.unlink()
        done = pixi.run(lock.parent, "lock")
        assert (done.returncode, lock.read_bytes()) == (0, committed), done.stderr
        # A control: --check does look.
        lock.write_bytes(committed.replace(b"words >=2.0,<3.0a0", b"words 1.*"))
        assert pixi.run(lock.parent, "lock", "--check").returncode != 0
