"""Scratch of runs that were killed goes with the next run; nobody else's does, and nothing else."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scripts.core.files import write_atomically
from scripts.core.scratch import clear_scratch, is_scratch, open_scratch_file, scratch_folder
from tasks.platforms import main as platforms
from tests.support.template import ROOT

IS_OURS = re.compile(r"(.+\.)?[0-9a-f]{8}\.pixi-mirror\.tmp")
MANIFEST = b'[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'

KILLED_IN_A_FOLDER = """
import os, sys
from pathlib import Path
from scripts.core.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "c").write_bytes(b"x")
    (folder / "a" / "b").chmod(0o500)
    os._exit(9)
"""
KILLED_BEFORE_THE_RENAME = """
import os, sys
from pathlib import Path
Path.replace = lambda *_: os._exit(9)
from tasks.platforms import main
main(["--manifest-path", sys.argv[1], "--add", "win-64"])
"""


def kill(code: str, argument: Path) -> None:
    command = [sys.executable, "-c", code, str(argument)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 9


def test_a_folder_is_there_for_a_while(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert list(folder.iterdir()) == []
        (folder / "a").mkdir()
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_it_is_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as folder:
        assert folder.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the file system that takes no folder")
def test_a_file_system_that_takes_no_folder_is_not_asked_forever(tmp_path: Path) -> None:
    """It says of a folder to be made that there is no such file. The control takes one."""
    code = "import sys; from pathlib import Path; from scripts.core.scratch import scratch_folder\n"
    code += "with scratch_folder(Path(sys.argv[1])) as folder: print(folder.is_dir())\n"

    def run(beside: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, beside]
        environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    assert run("/proc").stderr.splitlines()[-1].startswith("FileNotFoundError: ")
    assert run(str(tmp_path)).stdout == "True\n"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells which files are open")
def test_a_disk_that_keeps_what_is_open_is_left_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS and FUSE rename a removed file that is open: mocked, as no such disk is at hand."""

    def rmdir(path: Path) -> None:
        targets = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
        if any(each.startswith(f"{path}/") for each in targets):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
        remove(path)

    remove = Path.rmdir
    monkeypatch.setattr(Path, "rmdir", rmdir)
    with scratch_folder(tmp_path) as folder:
        (folder / "a").touch()
        with (folder.parent / "open").open("wb"):  # control
            (folder.parent / "open").unlink()
            with pytest.raises(OSError, match="not empty"):
                folder.parent.rmdir()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_be_renamed_away(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "a").touch()
        folder.rename(tmp_path / "mine")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine", tmp_path / "mine" / "a"]


def test_the_folder_of_a_killed_run_goes_with_the_next(tmp_path: Path) -> None:
    kill(KILLED_IN_A_FOLDER, tmp_path)
    (left,) = tmp_path.iterdir()
    assert IS_OURS.fullmatch(left.name) is not None
    assert (left / "work" / "a" / "b" / "c").is_file()
    with scratch_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder.parent]
    assert list(tmp_path.iterdir()) == []


MAKES_ON_AND_ON = """
import sys
from pathlib import Path
from scripts.core.files import write_atomically
from scripts.core.scratch import scratch_folder
parent = Path(sys.argv[1])
for number in range(100):
    with scratch_folder(parent) as folder:
        (folder / "a").write_text(str(number))
        if number % 20 == 0:
            write_atomically(parent / "shared", b"x")
        assert (folder / "a").read_text() == str(number)
"""


def test_many_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    """Each clears what it takes for nobody's while the others make theirs."""
    command = [sys.executable, "-c", MAKES_ON_AND_ON, str(tmp_path)]
    children = [subprocess.Popen(command, cwd=ROOT) for _ in range(6)]
    assert [child.wait() for child in children] == [0] * 6
    assert list(tmp_path.iterdir()) == [tmp_path / "shared"]


def test_a_folder_killed_before_it_had_an_owner(tmp_path: Path) -> None:
    (tmp_path / "0123abcd.pixi-mirror.tmp").mkdir()
    clear_scratch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_still_works_in_stays(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "a").touch()
        part, file = open_scratch_file(tmp_path / "a")
        with scratch_folder(tmp_path):
            pass
        clear_scratch(tmp_path)
        assert (folder / "a").exists()
        assert part.exists()
        file.close()
        if os.name == "nt":  # there it may be closed to be renamed
            os.utime(part, (0, 0))
        clear_scratch(tmp_path)
        assert not part.exists()  # control
    assert list(tmp_path.iterdir()) == []


def test_what_has_another_name_stays(tmp_path: Path) -> None:
    ours = "0123abcd.pixi-mirror.tmp"
    names = {"pixi.toml.4711.tmp", "a.pixi-mirror.tmp", "a.tmp", f"{ours}.old", f"a{ours}"}
    if os.name != "nt":  # where it is the same name
        names.add(ours.upper())
    for name in names:
        (tmp_path / name).touch()
    mine = tmp_path / ours  # ours by its name, and yet with no owner in it
    mine.mkdir()
    (mine / "mine.txt").touch()
    with scratch_folder(tmp_path):
        write_atomically(tmp_path / "b", b"")
    assert {each.name for each in tmp_path.iterdir()} == {*names, mine.name, "b"}
    assert (mine / "mine.txt").exists()
    assert not any(map(is_scratch, names))


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target, place = tmp_path / "target", tmp_path / "place"
    (target / "work").mkdir(parents=True)
    (target / "owner").touch()
    place.mkdir()
    (place / "0123abcd.pixi-mirror.tmp").symlink_to(target)
    (place / "a.0123abcd.pixi-mirror.tmp").symlink_to(target / "owner")
    clear_scratch(place)
    assert len(list(place.iterdir())) == 2
    assert sorted(each.name for each in target.iterdir()) == ["owner", "work"]


def test_a_manifest_that_was_not_written_whole_goes_with_the_next_run(tmp_path: Path) -> None:
    manifest = tmp_path / "pixi.toml"
    manifest.write_bytes(MANIFEST)
    mine = tmp_path / "pixi.toml.4711.tmp"
    mine.touch()
    kill(KILLED_BEFORE_THE_RENAME, manifest)
    (left,) = set(tmp_path.iterdir()) - {manifest, mine}
    assert re.fullmatch(r"pixi\.toml\.[0-9a-f]{8}\.pixi-mirror\.tmp", left.name)
    assert manifest.read_bytes() == MANIFEST
    kept = [tmp_path / ".pixi-mirror" / "local-channel" / each for each in ("state", "cache")]
    for folder in kept:
        folder.mkdir(parents=True)
        (folder / f"a.json.{'0' * 8}.pixi-mirror.tmp").touch()
    if os.name == "nt":
        for each in tmp_path.rglob("*.pixi-mirror.tmp"):
            os.utime(each, (0, 0))
    assert platforms(["--manifest-path", str(manifest)]) == 0  # which only looks
    assert set(tmp_path.iterdir()) == {manifest, mine, tmp_path / ".pixi-mirror"}
    assert [list(folder.iterdir()) for folder in kept] == [[], []]
