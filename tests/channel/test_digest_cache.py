"""The journal of digests: when one is believed, and what kills, reboots and garbage do to it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scripts.channel import digest_cache as module
from scripts.channel.digest_cache import DigestCache, boot_id
from tests.support.template import ROOT

NAME = "noarch/a-1-0.conda"
BYTES = b"bytes of a"
SHA256 = hashlib.sha256(BYTES).hexdigest()
LIE = "f" * 64  # shows that a digest was believed, and not computed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A channel folder with one artifact."""
    folder = tmp_path / "channel"
    (folder / "noarch").mkdir(parents=True)
    (folder / NAME).write_bytes(BYTES)
    return folder


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Name the journal, in a folder that is not there yet."""
    return tmp_path / "state" / "digests.jsonl"


@pytest.fixture(autouse=True)
def _first_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    boot(monkeypatch, "boot-1")


def boot(monkeypatch: pytest.MonkeyPatch, number: str | None) -> None:
    """Start the machine anew, as far as the journal can tell: a test cannot do it for real.

    None: a machine that tells nothing of its boots.
    """
    monkeypatch.setattr(module, "boot_id", lambda: number)


def believed(journal: Path, folder: Path, algorithm: str = "sha256") -> str | None:
    """Ask a run of its own what it believes."""
    return DigestCache(journal).known(NAME, algorithm, (folder / NAME).stat())


def lie(journal: Path, folder: Path) -> DigestCache:
    digests = DigestCache(journal)
    digests.add(NAME, "sha256", LIE, (folder / NAME).stat())
    return digests


def test_this_machine_tells_its_boot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if sys.platform == "linux":
        assert boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    monkeypatch.setattr(module, "_BOOT_ID", tmp_path / "none")
    assert boot_id() is None
    (tmp_path / "none").write_text("\n")
    assert boot_id() is None


def test_an_unknown_file_is_read_and_remembered(journal: Path, folder: Path) -> None:
    assert believed(journal, folder) is None
    assert not journal.exists()
    assert DigestCache(journal).digest_of(folder, NAME, "sha256") == SHA256
    assert believed(journal, folder) == SHA256
    assert believed(journal, folder, "md5") is None
    status = (folder / NAME).stat()
    row = [NAME, "sha256", SHA256, len(BYTES), status.st_mtime_ns, status.st_ino, "boot-1"]
    assert journal.read_bytes() == f"{json.dumps(row)}\n".encode()


def test_a_known_file_is_not_read(journal: Path, folder: Path) -> None:
    lie(journal, folder)
    assert DigestCache(journal).digest_of(folder, NAME, "sha256") == LIE
    assert DigestCache(journal).digest_of(folder, NAME, "md5") == hashlib.md5(BYTES).hexdigest()


def test_another_size_is_another_file(journal: Path, folder: Path) -> None:
    lie(journal, folder)
    path, before = folder / NAME, (folder / NAME).stat()
    path.write_bytes(BYTES + b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_ino == before.st_ino
    assert believed(journal, folder) is None


def test_another_time_is_another_file(journal: Path, folder: Path) -> None:
    lie(journal, folder)
    path, before = folder / NAME, (folder / NAME).stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    assert believed(journal, folder) is None
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert believed(journal, folder) == LIE  # control


def test_another_inode_is_another_file(journal: Path, folder: Path) -> None:
    lie(journal, folder)
    path, before = folder / NAME, (folder / NAME).stat()
    other = path.with_name("other")
    other.write_bytes(BYTES)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert believed(journal, folder) is None


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    journal: Path, folder: Path
) -> None:
    before = (folder / NAME).stat()
    (folder / NAME).write_bytes(b"longer than before")
    DigestCache(journal).add_read(folder, NAME, "sha256", SHA256, before)
    (folder / NAME).unlink()
    DigestCache(journal).add_read(folder, NAME, "sha256", SHA256, before)
    assert not journal.exists()


def test_a_reboot_makes_it_void_until_read_back_then_it_is_believed_for_good(
    journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a file may have its size and time, and zeros for bytes."""
    lie(journal, folder)
    assert believed(journal, folder) == LIE
    boot(monkeypatch, "boot-2")
    assert believed(journal, folder) is None
    assert DigestCache(journal).digest_of(folder, NAME, "sha256") == SHA256
    assert json.loads(journal.read_bytes().splitlines()[-1])[-1] == "*"
    for number in ("boot-2", "boot-3", "boot-4", None):
        boot(monkeypatch, number)
        assert believed(journal, folder) == SHA256


def test_a_file_read_twice_in_one_boot_is_not_believed_for_good(
    journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may still be in memory only."""
    digests = DigestCache(journal)
    for _ in range(2):
        digests.add_read(folder, NAME, "sha256", SHA256, (folder / NAME).stat())
    boot(monkeypatch, "boot-2")
    assert believed(journal, folder) is None


def test_a_file_replaced_since_the_reboot_is_not_believed_for_good(
    journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie(journal, folder)
    boot(monkeypatch, "boot-2")
    (folder / NAME).write_bytes(BYTES + b"!")
    digest = DigestCache(journal).digest_of(folder, NAME, "sha256")
    assert believed(journal, folder) == digest
    boot(monkeypatch, "boot-3")
    assert believed(journal, folder) is None


def test_without_boot_ids_files_are_made_durable(
    journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not DigestCache(journal).must_be_durable
    boot(monkeypatch, None)
    assert DigestCache(journal).must_be_durable
    flushed: list[Path] = []
    monkeypatch.setattr(module, "fsync_file", flushed.append)
    assert DigestCache(journal).digest_of(folder, NAME, "sha256") == SHA256
    assert flushed == [folder / NAME]
    assert believed(journal, folder) == SHA256


def test_without_boot_ids_what_cannot_be_made_durable_is_not_remembered(
    journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise OSError(5, "Input/output error")

    boot(monkeypatch, None)
    monkeypatch.setattr(module, "fsync_file", fails)
    assert DigestCache(journal).digest_of(folder, NAME, "sha256") == SHA256
    assert not journal.exists()
    reading = DigestCache(journal, writes=False)
    assert reading.digest_of(folder, NAME, "sha256") == SHA256
    assert reading.known(NAME, "sha256", (folder / NAME).stat()) == SHA256


def test_without_writes_the_disk_is_not_touched(journal: Path, folder: Path) -> None:
    for there in (False, True):
        if there:
            lie(journal, folder)
            os.utime(folder / NAME, ns=(1, 1))
        before = journal.read_bytes() if there else None
        digests = DigestCache(journal, writes=False)
        assert digests.digest_of(folder, NAME, "sha256") == SHA256
        assert digests.known(NAME, "sha256", (folder / NAME).stat()) == SHA256
        digests.compact(frozenset())
        assert journal.exists() == there
        assert before is None or journal.read_bytes() == before
    assert believed(journal, folder) is None  # control: nothing of it was kept


GARBAGE = [
    b"",
    b"\0" * 4096,
    b"\xff\xfe",
    b"[]",
    b"{}",
    b"null",
    b'"abcdefg"',
    b"[1,2,3,4,5,6,7]",
    b'["a","sha256","ff",1,2,3]',
    b'["a","sha256","ff",1,2,3,"b","c"]',
    b'["a","sha256","ff",null,2,3,"b"]',
    b'["a","sha256","ff",{},2,3,"b"]',
    b'["a","sha256","ff",1e999,2,3,"b"]',
    b'["a","sha256","ff",NaN,2,3,"b"]',
    b'["a","sha256","ff",' + b"9" * 5000 + b',2,3,"b"]',
    b"[" * 100_000,
]


@pytest.mark.parametrize("line", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("end", [b"\n", b""])
def test_garbage_costs_nothing_but_itself(
    journal: Path, folder: Path, line: bytes, end: bytes
) -> None:
    lie(journal, folder)
    good = journal.read_bytes()
    journal.write_bytes(line + b"\n" + good + line + end)
    assert believed(journal, folder) == LIE
    other = folder / "other"
    other.write_bytes(b"other")
    DigestCache(journal).add("other", "sha256", LIE, other.stat())
    assert DigestCache(journal).known("other", "sha256", other.stat()) == LIE
    assert believed(journal, folder) == LIE


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
@example(b'["\\ud800","","",1,2,3,""]\n')
def test_no_bytes_make_it_fail(journal: Path, data: bytes) -> None:
    journal.parent.mkdir(exist_ok=True)
    journal.write_bytes(data)
    DigestCache(journal).compact(frozenset())


def test_a_torn_line_costs_one_hashing(journal: Path, folder: Path) -> None:
    """At every length; believed is either the whole line's digest, or none."""
    lie(journal, folder)
    line = journal.read_bytes()
    for length in range(len(line) + 1):
        journal.write_bytes(line[:length])
        whole = length >= len(line) - 1
        assert believed(journal, folder) == (LIE if whole else None)
        digests = DigestCache(journal)
        assert digests.digest_of(folder, NAME, "sha256") == (LIE if whole else SHA256)
        assert believed(journal, folder) == (LIE if whole else SHA256)


def test_a_journal_whose_folder_could_not_be_made_is_begun_later(
    journal: Path, folder: Path
) -> None:
    journal.parent.write_bytes(b"")
    digests = lie(journal, folder)
    journal.parent.unlink()
    digests.add(NAME, "sha256", SHA256, (folder / NAME).stat())
    assert believed(journal, folder) == SHA256


def test_the_last_of_several_lines_counts(journal: Path, folder: Path) -> None:
    lie(journal, folder)
    DigestCache(journal).add(NAME, "sha256", SHA256, (folder / NAME).stat())
    assert len(journal.read_bytes().splitlines()) == 2
    assert believed(journal, folder) == SHA256


def test_a_journal_that_has_grown_stale_is_rewritten(journal: Path, folder: Path) -> None:
    status = (folder / NAME).stat()
    digests = DigestCache(journal)
    for name in ("a", "b", "c"):
        digests.add(name, "sha256", LIE, status)
    digests.add("a", "md5", LIE, status)
    before = journal.read_bytes()
    digests.compact(frozenset("ab"))  # three of four: not worth it
    assert journal.read_bytes() == before
    digests.compact(frozenset("b"))  # one of four
    assert journal.read_bytes() == before.splitlines(keepends=True)[1]
    assert DigestCache(journal).known("b", "sha256", status) == LIE
    assert DigestCache(journal).known("a", "sha256", status) is None


def test_many_stale_lines_are_worth_it_always(journal: Path, folder: Path) -> None:
    status = (folder / NAME).stat()
    digests = DigestCache(journal)
    kept = frozenset(f"kept-{number}" for number in range(1100))
    for name in kept:
        digests.add(name, "sha256", LIE, status)
    for number in range(999):
        digests.add(f"stale-{number}", "sha256", LIE, status)
    size = journal.stat().st_size
    digests.compact(kept)
    assert journal.stat().st_size == size
    digests.add("stale", "sha256", LIE, status)
    digests.compact(kept)
    assert len(journal.read_bytes().splitlines()) == 1100
    again = DigestCache(journal)
    assert all(again.known(name, "sha256", status) == LIE for name in kept)


def test_odd_names_survive_the_journal(journal: Path, folder: Path) -> None:
    status = (folder / NAME).stat()
    for name in ("a\nb", 'a"b', "é", "\u2028", "\udcff"):
        DigestCache(journal).add(name, "sha256", LIE, status)
        assert DigestCache(journal).known(name, "sha256", status) == LIE
    assert journal.read_bytes().isascii()


def test_a_journal_that_cannot_be_written_costs_hashing_alone(journal: Path, folder: Path) -> None:
    journal.mkdir(parents=True)
    digests = DigestCache(journal)
    assert digests.digest_of(folder, NAME, "sha256") == SHA256
    assert digests.known(NAME, "sha256", (folder / NAME).stat()) == SHA256
    digests.compact(frozenset())
    journal.rmdir()
    assert DigestCache(journal).digest_of(folder, NAME, "sha256") == SHA256
    assert believed(journal, folder) == SHA256


APPENDS = """
import sys
from pathlib import Path
from scripts.channel.digest_cache import DigestCache
status = Path(sys.argv[2]).stat()
digests = DigestCache(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(1_000_000):
    digests.add(f"{number}", "sha256", f"{number:064}", status)
"""


def test_a_kill_while_it_appends(
    journal: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "boot_id", boot_id)  # the child has the real one
    status = (folder / NAME).stat()
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", APPENDS, journal, folder / NAME],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(random.uniform(0.01, 0.05))
            child.kill()
    count = len(journal.read_bytes().splitlines())
    assert count > 10
    digests = DigestCache(journal)
    for number in range(count):
        assert digests.known(f"{number}", "sha256", status) in {None, f"{number:064}"}
    assert digests.known("0", "sha256", status) is not None
