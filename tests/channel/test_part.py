"""Parts: hashed while written, gone on with, begun anew, placed by a rename."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.channel import part as module
from scripts.channel.part import PartFile
from scripts.core.files import CHUNK
from tests.support.template import ROOT

DATA = random.Random(0).randbytes(2 * CHUNK + 5)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a part in a folder that is not there yet."""
    return tmp_path / "parts" / "x.part"


def test_bytes_are_hashed_while_they_are_written(path: Path) -> None:
    with PartFile(path, "sha256") as part:
        assert (part.size, part.hex) == (0, sha256(b""))
        part.write(b"ab")
        part.write(memoryview(b"cd"))
        part.write(b"")
        assert (part.size, part.hex) == (4, sha256(b"abcd"))
        assert path.read_bytes() == b"abcd"
    assert path.read_bytes() == b"abcd"


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(0, len(DATA)), max_size=4), st.sampled_from(["sha256", "md5"]))
def test_a_part_is_gone_on_with(path: Path, cuts: list[int], algorithm: str) -> None:
    path.unlink(missing_ok=True)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(DATA)], strict=True):
        with PartFile(path, algorithm) as part:
            assert part.size == begin
            assert part.hex == hashlib.new(algorithm, DATA[:begin]).hexdigest()
            part.write(DATA[begin:end])
    assert path.read_bytes() == DATA
    with PartFile(path, algorithm) as part:
        assert part.hex == hashlib.new(algorithm, DATA).hexdigest()


def test_a_part_is_begun_anew(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"of an earlier try, and longer than the artifact")
    with PartFile(path, "sha256") as part:
        assert part.size == 47
        part.restart()
        assert (part.size, part.hex) == (0, sha256(b""))
        assert path.read_bytes() == b""
        part.write(b"new")
        assert (part.size, part.hex) == (3, sha256(b"new"))
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("durable", [True, False])
def test_placing_is_a_rename(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, durable: bool
) -> None:
    flushed: list[bytes] = []
    monkeypatch.setattr(module, "fsync", lambda fileno: flushed.append(path.read_bytes()))
    target = tmp_path / "channel" / "noarch" / "a-1-0.conda"
    with PartFile(path, "sha256") as part:
        part.write(b"whole")
        inode = path.stat().st_ino
        status = part.place(target, durable=durable)
        assert part._fileno == -1  # Windows renames no open file
    assert target.read_bytes() == b"whole"
    assert not path.exists()
    assert (status.st_ino, status.st_size) == (inode, 5)
    assert status.st_mtime_ns == target.stat().st_mtime_ns
    assert flushed == ([b"whole"] if durable else [])


def test_placing_replaces_what_is_wrong(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "a-1-0.conda"
    target.write_bytes(b"something wrong, and longer")
    with PartFile(path, "sha256") as part:
        part.write(b"right")
        part.place(target, durable=False)
    assert target.read_bytes() == b"right"


def test_readers_of_the_old_file_keep_it(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "a-1-0.conda"
    target.write_bytes(b"old")
    if os.name == "nt":
        pytest.skip("Windows replaces no open file")
    with target.open("rb") as reader, PartFile(path, "sha256") as part:
        part.write(b"new")
        part.place(target, durable=False)
        assert reader.read() == b"old"


def test_a_place_that_is_taken_by_a_folder(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "a-1-0.conda"
    (target / "x").mkdir(parents=True)
    with PartFile(path, "sha256") as part:
        part.write(b"whole")
        with pytest.raises(OSError, match=r"a-1-0\.conda"):
            part.place(target, durable=False)
    assert path.read_bytes() == b"whole"


def test_a_part_is_thrown_away(path: Path) -> None:
    with PartFile(path, "sha256") as part:
        part.write(b"x")
        part.discard()
    assert not path.exists()


def test_an_error_keeps_what_came(path: Path) -> None:
    part = PartFile(path, "sha256")

    def fails() -> None:
        with part:
            part.write(b"came")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert part._fileno == -1
    assert path.read_bytes() == b"came"


def test_a_folder_in_the_place_of_a_part_is_an_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(OSError, match=r"x\.part"), PartFile(path, "sha256"):
        pytest.fail("it was opened")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full disk")
def test_a_full_disk_is_an_error(path: Path) -> None:
    with PartFile(path, "sha256") as part:
        part._close()
        part._fileno = os.open("/dev/full", os.O_RDWR)
        with pytest.raises(OSError, match="No space left") as caught:
            part.write(b"x")
        assert caught.value.errno == errno.ENOSPC
        assert part.size == 0


WRITES = """
import os, sys
from pathlib import Path
from scripts.channel.part import PartFile
with PartFile(Path(sys.argv[1]), "sha256") as part:
    for _ in range(5):
        part.write(b"x" * 100_000)
    os._exit(9)
"""


def test_a_kill_leaves_a_part_to_go_on_with(path: Path) -> None:
    """Nothing is held back in a buffer."""
    done = subprocess.run([sys.executable, "-c", WRITES, path], cwd=ROOT, check=False)
    assert done.returncode == 9
    with PartFile(path, "sha256") as part:
        assert (part.size, part.hex) == (500_000, sha256(b"x" * 500_000))


@pytest.mark.skipif(os.name == "nt", reason="Windows renames no open file")
def test_it_is_locked_until_it_is_in_its_place(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the end of the lock and the rename another run could begin to write to it."""
    busy: list[int | None] = []
    real = module.move

    def move(source: Path, target: Path) -> None:
        with pytest.raises(OSError) as caught, PartFile(source, "sha256"):  # noqa: PT011
            pass
        busy.append(caught.value.errno)
        real(source, target)

    monkeypatch.setattr(module, "move", move)
    with PartFile(path, "sha256") as part:
        part.write(b"ab")
        part.place(tmp_path / "target", durable=False)
    assert busy == [errno.EBUSY]
    assert (tmp_path / "target").read_bytes() == b"ab"
