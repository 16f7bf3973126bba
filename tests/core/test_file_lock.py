"""One run at a time, with real processes: who holds the lock file, and who is refused."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.core import file_lock as module
from scripts.core.errors import ExitCode, MirrorError
from scripts.core.file_lock import file_lock, try_lock
from tests.support.template import ROOT

HOLDS = """
import subprocess, sys
from subprocess import DEVNULL
from pathlib import Path
from scripts.core.file_lock import file_lock
with file_lock(Path(sys.argv[1]), "local-channel"):
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdin=DEVNULL, stdout=DEVNULL)
        for code in sys.argv[2:]
    ]
    print("held", *(child.pid for child in children), flush=True)
    input()
"""


@contextlib.contextmanager
def holder(path: Path, *more: str) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """Run a process that holds the lock file until the block ends, or it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, path, *more],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        word, *children = child.stdout.readline().split()
        assert word == b"held"
        try:
            yield child, [int(pid) for pid in children]
        finally:
            child.kill()


def refusal(path: Path) -> str:
    with pytest.raises(MirrorError) as caught, file_lock(path, "local-channel"):
        pytest.fail("the lock was given twice")
    assert [problem.code for problem in caught.value.problems] == [ExitCode.USAGE]
    return str(caught.value)


def busy(path: Path, process: int | str) -> str:
    return (
        "local-channel: another run is at work on it\n"
        f"  process    {process}\n"
        f"  lock file  {path}\n"
        "help: wait until it has ended, then run this again"
    )


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Name a lock file in a folder that is not there yet."""
    return tmp_path / ".pixi-mirror" / "local-channel" / "run.lock"


def test_it_can_be_held_again_and_again(lock: Path) -> None:
    for _ in range(3):
        with file_lock(lock, "local-channel"):
            assert lock.read_bytes() == f"{os.getpid()}\n".encode()
    with pytest.raises(ZeroDivisionError), file_lock(lock, "local-channel"):
        raise ZeroDivisionError
    with file_lock(lock, "local-channel"):
        pass


def test_a_longer_number_of_an_earlier_holder_leaves_nothing(lock: Path) -> None:
    lock.parent.mkdir(parents=True)
    lock.write_bytes(b"9" * 50 + b"\n")
    with file_lock(lock, "local-channel"):
        assert lock.read_bytes() == f"{os.getpid()}\n".encode()


def test_another_process_is_refused_and_told_of_the_holder(lock: Path) -> None:
    with holder(lock) as (child, _):
        assert refusal(lock) == busy(lock, child.pid)
        assert refusal(lock) == busy(lock, child.pid)
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.close()
        assert child.wait(20) == 0
    with file_lock(lock, "local-channel"):
        pass


def test_this_process_is_refused_too(lock: Path) -> None:
    with file_lock(lock, "local-channel"):
        assert refusal(lock) == busy(lock, os.getpid())
    with file_lock(lock, "local-channel"):
        pass


def test_other_channels_are_free(lock: Path) -> None:
    with holder(lock), file_lock(lock.with_name("other.lock"), "other"):
        pass


def test_after_a_kill_the_lock_is_free(lock: Path) -> None:
    with holder(lock) as (child, _):
        assert refusal(lock) == busy(lock, child.pid)
        child.kill()
        child.wait(20)
        with file_lock(lock, "local-channel"):
            assert lock.read_bytes() == f"{os.getpid()}\n".encode()


@pytest.mark.skipif(os.name == "nt", reason="ends the children by their id")
def test_children_that_outlive_the_holder_do_not_hold_it(lock: Path) -> None:
    """An indexer of a killed run may go on; it must not keep the next run out."""
    with holder(lock, "import time; time.sleep(60)") as (child, [pid]):
        try:
            child.kill()
            child.wait(20)
            with file_lock(lock, "local-channel"):
                os.kill(pid, 0)  # it is still there
        finally:
            os.kill(pid, signal.SIGKILL)


def test_what_is_locked_can_be_read_by_others(lock: Path) -> None:
    """All of it: on Windows a byte is locked, which must be none of the content."""
    lock.parent.mkdir(parents=True)
    with lock.open("wb") as held:
        held.truncate((1 << 30) + 1)  # sparse: takes no room
        assert try_lock(held.fileno())
        with lock.open("rb") as other:
            other.seek(1 << 30)
            assert other.read() == b"\0"
            assert not try_lock(other.fileno())


@pytest.mark.skipif(os.name == "nt", reason="Windows locks a byte, so that reading goes on")
def test_a_holder_without_a_number(lock: Path) -> None:
    with holder(lock):
        os.truncate(lock, 0)
        assert refusal(lock) == busy(lock, "unknown")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / ".pixi-mirror").touch()
    path = tmp_path / ".pixi-mirror" / "local-channel" / "run.lock"
    with pytest.raises(OSError, match=r"\w") as caught:  # in the words of the system
        path.parent.mkdir(parents=True, exist_ok=True)
    assert refusal(path) == (
        f"local-channel: cannot be kept to one run at a time: {caught.value.strerror}\n"
        f"  lock file  {path}\n"
        "help: set channel-dir to a folder you may write to"
    )


def test_a_file_system_without_locks(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made up: some network file systems are so, none of them is at hand."""

    def fails(fileno: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module, "try_lock", fails)
    assert refusal(lock) == (
        "local-channel: cannot be kept to one run at a time: No locks available\n"
        f"  lock file  {lock}\n"
        "help: set channel-dir to a folder you may write to"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full disk")
def test_a_full_disk_does_not_keep_a_run_out() -> None:
    """What follows may free room, as prune does."""
    with file_lock(Path("/dev/full"), "local-channel"):
        pass
