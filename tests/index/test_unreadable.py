"""Index files that cannot be read or written: whose fault it is, and what mends it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.core.files import read_regular
from tasks import index, verify
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.pypi_world import PypiWorld, made_with_pypi, pypi_world
from tests.support.template import ROOT
from tests.support.verified import stopped_clock

__all__ = ["made_with_pypi", "pypi_world", "stopped_clock"]

DISK = "help: see to the disk and its permissions, then run this again\n"


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    made = make_mirror(tmp_path / "w")
    made.lock(rows(tmp_path / "upstream", (TinyPackage(name="a"),)))
    made.index()
    return made


@pytest.mark.skipif(os.name == "nt", reason="a pipe is no file of Windows'")
def test_a_pipe_in_place_of_one(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    """`index` mends it."""
    where = ["--manifest-path", str(mirror.root)]
    file = mirror.folder / "noarch" / "repodata.json.zst"
    file.unlink()
    os.mkfifo(file)
    capsys.readouterr()
    assert verify.main([*where, "--level", "index", "-q"]) == 1
    assert capsys.readouterr().err == (
        "error: noarch/repodata.json.zst: cannot be read: not a file\nhelp: pixi run index\n"
    )
    assert index.main([*where, "-q"]) == verify.main([*where, "--level", "index", "-q"]) == 0


def test_a_folder_in_place_of_one(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    """`index` alone cannot mend it: somebody's files may be in it."""
    where = ["--manifest-path", str(mirror.root)]
    file = mirror.folder / "noarch" / "repodata.json.zst"
    file.unlink()
    file.mkdir()
    capsys.readouterr()
    assert verify.main([*where, "--level", "index", "-q"]) == 1
    assert capsys.readouterr().err == (
        "error: noarch/repodata.json.zst: a folder is where a file must go\n"
        "help: remove it, then pixi run index\n"
    )
    file.rmdir()
    assert index.main([*where, "-q"]) == verify.main([*where, "--level", "index", "-q"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="a pipe, and /dev/zero, are no files of Windows'")
@pytest.mark.parametrize("kind", ["pipe", "endless"])
@pytest.mark.parametrize("name", ["", "tiny-pure/"])
def test_what_is_no_file_in_place_of_a_page(kind: str, name: str, pypi_world: PypiWorld) -> None:
    """Nobody waits for it, or reads it to its end that never comes; `index` puts a page there.

    Each runs in a process of its own, which is ended if it does wait. The control is in the end.
    """
    root, file = pypi_world.mirror.root, pypi_world.folder / f"_pypi/index/{name}index.v1_json"
    data = file.read_bytes()
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")

    assert _run(root, "verify", "--level", "index") == 1
    assert _run(root, "doctor", "--lock", str(root / "pixi.lock")) == 2
    assert _run(root, "diff") == 0
    assert _run(root, "index") == 0
    assert (file.is_symlink(), file.read_bytes()) == (False, data)
    assert _run(root, "verify", "--level", "index") == 0


@pytest.mark.skipif(os.name == "nt", reason="a pipe is no file of Windows'")
def test_nobody_waits_for_a_pipe_in_place_of_a_wheel(pypi_world: PypiWorld) -> None:
    file = next(pypi_world.folder.rglob("tiny_pure*.whl"))
    file.unlink()
    os.mkfifo(file)
    assert _run(pypi_world.mirror.root, "verify", "--level", "index") == 0
    assert _run(pypi_world.mirror.root, "verify", "--level", "files,index") == 1


def _run(root: Path, task: str, *options: str) -> int:
    """Run a task in a process of its own, which is ended if it waits; return its exit code."""
    command = [sys.executable, "-P", "-m", f"tasks.{task}", "--manifest-path", str(root), "-q"]
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *options], env=env, capture_output=True, timeout=30, check=False
    ).returncode


def test_trouble_of_the_disk_is_no_finding(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(path: Path, limit: int) -> bytes:
        if path.name == "repodata.json.zst":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read_regular(path, limit)

    monkeypatch.setattr("scripts.index.readback.read_regular", failing)
    capsys.readouterr()
    where = ["--manifest-path", str(mirror.root)]
    assert verify.main([*where, "--level", "index", "-q"]) == 2
    assert capsys.readouterr().err == (
        f"error: noarch/repodata.json.zst: cannot be read: {os.strerror(errno.EIO)}\n{DISK}"
    )
    assert verify.main([*where, "--level", "index"]) == 2
    assert capsys.readouterr().out == "default  linux-64  index –\n"  # noqa: RUF001
    monkeypatch.undo()
    (mirror.folder / "noarch" / "repodata.json.zst").write_bytes(b"")  # control: the mirror's own
    assert verify.main([*where, "--level", "index"]) == 1
    assert capsys.readouterr().out == "default  linux-64  index ✗\n"


@pytest.mark.parametrize(
    "name",
    [
        "_pypi/index/tiny-pure/index.html",
        "_pypi/simple/pypi.example.org/simple/tiny-pure/index.v1_json",
        "_pypi/mapping/compressed-v0/compressed_mapping.json",
        "METADATA",
    ],
)
def test_nor_where_it_is_of_pypi(
    name: str,
    pypi_world: PypiWorld,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last lines are the control: a folder in its place is the mirror's own trouble."""
    file = pypi_world.folder / name
    if name == "METADATA":
        file = next(pypi_world.folder.rglob("tiny_pure*.metadata"))
        name = file.relative_to(pypi_world.folder).as_posix()

    def failing(path: Path, limit: int) -> bytes:
        if path == file:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read_regular(path, limit)

    level = ["--manifest-path", str(pypi_world.mirror.root), "--level", "index", "-q"]
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr("scripts.index.readback.read_regular", failing)
        assert verify.main(level) == 2
    assert capsys.readouterr().err == (
        f"error: {name}: cannot be read: {os.strerror(errno.EIO)}\n{DISK}"
    )
    file.unlink()
    file.mkdir()
    assert verify.main(level) == 1
    assert capsys.readouterr().err == (
        f"error: {name}: a folder is where a file must go\nhelp: remove it, then pixi run index\n"
    )


def test_a_full_disk_is_told_with_what_to_do(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self), None, str(target))

    (mirror.folder / "noarch" / "repodata.json").unlink()
    monkeypatch.setattr(Path, "replace", full)
    capsys.readouterr()
    assert index.main(["--manifest-path", str(mirror.root), "-q"]) == 2
    err = capsys.readouterr().err
    assert f": cannot be read or written: {os.strerror(errno.ENOSPC)}\n{DISK}" in err


@pytest.mark.parametrize("name", ["repodata.json.zst", "repodata_shards.msgpack.zst"])
def test_the_file_that_found_no_room_is_named(
    name: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The system does not: it is asked to write to a file that is open."""
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    (mirror.folder / "noarch" / "repodata.json").unlink()
    monkeypatch.setattr(Path, "write_bytes", full)
    capsys.readouterr()
    assert index.main(["--manifest-path", str(mirror.root), "-q"]) == 2
    said = f"{name}: cannot be read or written: {os.strerror(errno.ENOSPC)}\n{DISK}"
    assert capsys.readouterr().err.endswith(f"{os.sep}noarch{os.sep}{said}")
