"""Files read, hashed, linked and replaced; killed in the midst of it."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.core import files
from scripts.core.errors import ExitCode, MirrorError
from scripts.core.files import (
    CHUNK,
    exists,
    fsync,
    fsync_file,
    hash_file,
    is_dir,
    is_file,
    link_or_copy,
    not_readable,
    read_regular,
    read_text,
    reason_of,
    write_atomically,
)
from tests.support.template import ROOT


def refusal(path: Path, limit: int = 1 << 20) -> str:
    with pytest.raises(MirrorError) as caught:
        read_text(path, limit=limit, what="lock file")
    assert [problem.code for problem in caught.value.problems] == [ExitCode.USAGE]
    return str(caught.value)


def test_text_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("é\r\nb\n\rc".encode())
    assert read_text(path, limit=9, what="lock file") == "é\r\nb\n\rc"


def test_text_that_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert refusal(path) == f"{path}: cannot read this lock file: there is no such file"
    path.write_bytes(b"ab\xff")
    assert refusal(path) == f"{path}: not UTF-8 text (byte 2); a lock file always is"
    path.write_bytes(b"x" * ((2 << 20) + 1))
    assert refusal(path, 2 << 20) == f"{path}: larger than any lock file should be (2 MiB)"
    assert len(read_text(path, limit=(2 << 20) + 1, what="lock file")) == (2 << 20) + 1


@pytest.mark.skipif(os.name == "nt", reason="Windows gives another reason for a folder")
def test_a_folder_is_no_text(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: cannot read this lock file: Is a directory"
    (tmp_path / "a").touch()
    inside = tmp_path / "a" / "b"
    assert refusal(inside) == f"{inside}: cannot read this lock file: Not a directory"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_and_a_device_are_no_text(tmp_path: Path) -> None:
    """One would be waited for forever, the other read forever."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        assert refusal(path) == f"{path}: cannot read this lock file: not a file"


def test_the_error_for_what_cannot_be_read() -> None:
    error = not_readable(Path("a"), "manifest", PermissionError(errno.EACCES, "Permission denied"))
    assert str(error) == "a: cannot read this manifest: Permission denied"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "made" / "on the way" / "a"
    write_atomically(path, b"one")
    assert path.read_bytes() == b"one"
    write_atomically(path, b"")
    assert path.read_bytes() == b""
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is made up: a real one takes a file system of its own."""
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def full(fileno: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_target_that_cannot_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    (path / "b").mkdir(parents=True)
    with pytest.raises(OSError, match="a"):
        write_atomically(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


ENDS_BEFORE_THE_RENAME = """
import os, sys
from pathlib import Path
from scripts.core.files import write_atomically
Path.replace = lambda *_: os._exit(9)
write_atomically(Path(sys.argv[1]), b"new" * 1000)
"""


def test_a_kill_before_the_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    child = subprocess.Popen([sys.executable, "-c", ENDS_BEFORE_THE_RENAME, path], cwd=ROOT)
    assert child.wait(20) == 9
    assert path.read_bytes() == b"old"
    (left,) = set(tmp_path.iterdir()) - {path}
    assert left.read_bytes() == b"new" * 1000
    write_atomically(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert left.exists() == (os.name == "nt")  # where a file of this minute may be in use


WRITES_ON_AND_ON = """
import sys
from pathlib import Path
from scripts.core.files import write_atomically
print("ready", flush=True)
while True:
    for byte in b"ab":
        write_atomically(Path(sys.argv[1]), bytes([byte]) * 1_000_000)
"""


def test_kills_at_random_moments_leave_one_or_the_other(tmp_path: Path) -> None:
    path = tmp_path / "x"
    whole = {b"a" * 1_000_000, b"b" * 1_000_000}
    write_atomically(path, b"a" * 1_000_000)
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITES_ON_AND_ON, path], cwd=ROOT, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready" + os.linesep.encode()
            time.sleep(random.uniform(0, 0.05))
            child.kill()
        assert path.read_bytes() in whole
    write_atomically(path, b"")
    assert os.name == "nt" or list(tmp_path.iterdir()) == [path]


def test_durable_is_what_the_system_can_do(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.write(b"x")
        file.flush()
        fsync(file.fileno())
        fileno = os.dup(file.fileno())
    os.close(fileno)
    with pytest.raises(OSError, match=r"\w"):  # control: it really asks the system
        fsync(fileno)


def test_a_file_that_is_written_already_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made up, since nobody sees a flush; an error names the file, which the system would not."""
    file = tmp_path / "a"
    file.write_bytes(b"x")
    flushed: list[int] = []
    monkeypatch.setattr(files, "fsync", lambda fileno: flushed.append(os.fstat(fileno).st_ino))
    fsync_file(file)
    assert flushed == [file.stat().st_ino]

    def fails(fileno: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "fsync", fails)
    with pytest.raises(OSError, match="Input/output error") as caught:
        fsync_file(file)
    assert caught.value.filename == str(file)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no fcntl")
@pytest.mark.parametrize(("message", "expected"), [(0, [51]), (errno.ENOTSUP, [51, "fsync"])])
def test_durable_on_macos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: int, expected: list[object]
) -> None:
    """Made up, since only macOS has F_FULLFSYNC, and not on every file system."""
    import fcntl

    calls: list[object] = []

    def control(fileno: int, command: int) -> None:
        calls.append(command)
        if message:
            raise OSError(message, "not here")

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda fileno: calls.append("fsync"))
    with (tmp_path / "a").open("wb") as file:
        fsync(file.fileno())
    assert calls == expected


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7]),
    st.binary(max_size=30),
    st.sampled_from(["sha256", "md5"]),
)
def test_digests_are_hashlibs(tmp_path: Path, size: int, tail: bytes, algorithm: str) -> None:
    data = random.Random(size).randbytes(size) + tail
    path = tmp_path / "a"
    path.write_bytes(data)
    assert hash_file(path, algorithm) == hashlib.new(algorithm, data).hexdigest()


def test_a_link_where_links_are_possible(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"bytes")
    link_or_copy(source, target)
    assert target.read_bytes() == b"bytes"
    assert target.samefile(source)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP])
def test_a_copy_where_links_are_impossible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Made up: file systems without links are not at hand everywhere."""
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"bytes")

    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fails)
    link_or_copy(source, target)
    assert target.read_bytes() == b"bytes"
    assert not target.samefile(source)


def test_a_copy_across_two_real_file_systems(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    source, target = tmp_path / "a", other / f"pixi-mirror-test-{os.getpid()}"
    source.write_bytes(b"bytes")
    try:
        link_or_copy(source, target)
        assert target.read_bytes() == b"bytes"
    finally:
        target.unlink(missing_ok=True)


def test_what_is_at_the_target_already_is_not_written_into(tmp_path: Path) -> None:
    """It may be a link to an artifact of the channel."""
    source, artifact, target = tmp_path / "a", tmp_path / "artifact", tmp_path / "b"
    source.write_bytes(b"new")
    artifact.write_bytes(b"kept")
    link_or_copy(artifact, target)
    with pytest.raises(FileExistsError):
        link_or_copy(source, target)
    assert artifact.read_bytes() == b"kept"


def test_a_source_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "a", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ask", [exists, is_dir, is_file])
def test_what_cannot_be_seen_is_not_said_to_be_missing(
    ask: Callable[[Path], bool], tmp_path: Path
) -> None:
    """As `Path.exists` does until Python 3.13."""
    (tmp_path / "file").touch()
    assert not ask(tmp_path / "none")
    assert not ask(tmp_path / "file" / "none")
    assert ask(tmp_path) is (ask is not is_file)
    assert ask(tmp_path / "file") is (ask is not is_dir)
    if os.name != "nt":  # which calls it missing, too
        with pytest.raises(OSError, match="File name too long"):
            ask(tmp_path / ("x" * 300))


def test_a_small_file_asks_for_little_room(tmp_path: Path) -> None:
    """However large it might be: Windows sets aside what is asked for, many times at once."""
    path = tmp_path / "small"
    path.write_bytes(b"small")
    tracemalloc.start()
    try:
        assert read_regular(path, 1 << 30) == b"small"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_file_of_which_nobody_knows_the_size_is_read_whole() -> None:
    """As those of /proc, which are empty by their status; the control has a limit."""
    path = Path("/proc/self/environ")
    assert path.stat().st_size == 0
    assert read_regular(path, 1 << 20) == path.read_bytes() != b""
    with pytest.raises(OSError, match="File too large"):
        read_regular(path, 1)


TOO_LONG = (
    "missing (a path of 260 characters, and Windows takes 259, unless LongPathsEnabled is set in"
    " its registry)"
)


@pytest.mark.parametrize(
    ("error", "length", "system", "expected"),
    [
        (FileNotFoundError(2, "missing"), 260, "nt", TOO_LONG),
        (FileNotFoundError(2, "missing"), 259, "nt", "missing"),
        (FileNotFoundError(2, "missing"), 260, "posix", "missing"),
        (PermissionError(13, "not allowed"), 260, "nt", "not allowed"),
    ],
)
def test_a_path_too_long_for_windows_is_no_missing_one(
    error: OSError, length: int, system: str, expected: str
) -> None:
    assert reason_of(error, "x" * length, system) == expected
