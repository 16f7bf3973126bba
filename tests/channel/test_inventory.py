"""What is in the channel beside what should be."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest

from scripts.channel import inventory as module
from scripts.channel.digest_cache import DigestCache
from scripts.channel.inventory import (
    ArtifactStatus,
    CheckedArtifact,
    Expected,
    check_artifacts,
    files_below,
)
from scripts.core.files import hash_file as real_hash_file
from scripts.core.record import Digest
from tests.support.template import ROOT

BYTES = b"bytes of an artifact"
SHA256 = hashlib.sha256(BYTES).hexdigest()
MD5 = hashlib.md5(BYTES).hexdigest()
PATH = PurePosixPath("noarch/a-1-0.conda")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "channel"
    (folder / "noarch").mkdir(parents=True)
    (folder / PATH).write_bytes(BYTES)
    return folder


@pytest.fixture
def digests(tmp_path: Path) -> DigestCache:
    return DigestCache(tmp_path / "digests.jsonl")


def expect(
    path: PurePosixPath = PATH,
    size: int | None = len(BYTES),
    algorithm: Literal["sha256", "md5"] = "sha256",
    digest: str | None = SHA256,
) -> Expected:
    known = None if digest is None else Digest(algorithm, digest)
    return Expected(path=path, size=size, digest=known)


def right(path: PurePosixPath = PATH) -> CheckedArtifact:
    return CheckedArtifact(path=path, status=ArtifactStatus.RIGHT)


def missing() -> CheckedArtifact:
    return CheckedArtifact(path=PATH, status=ArtifactStatus.MISSING)


def wrong(actual: str) -> CheckedArtifact:
    return CheckedArtifact(path=PATH, status=ArtifactStatus.WRONG, actual=actual)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (expect(), right()),
        (expect(size=None), right()),
        (expect(algorithm="md5", digest=MD5), right()),
        (expect(digest=None), right()),
        (expect(size=None, digest=None), right()),
        (expect(digest="f" * 64), wrong(SHA256)),
        (expect(algorithm="md5", digest="f" * 32), wrong(MD5)),
        (expect(size=1), wrong("20 bytes")),
        (expect(size=0), wrong("20 bytes")),
        (expect(size=1, digest=None), wrong("20 bytes")),
    ],
)
def test_a_file_beside_what_should_be(
    folder: Path, digests: DigestCache, expected: Expected, found: CheckedArtifact
) -> None:
    for _ in range(2):  # also when it is known
        assert check_artifacts(folder, [expected], digests) == [found]
    (folder / PATH).unlink()
    assert check_artifacts(folder, [expected], digests) == [missing()]


def test_a_folder_that_is_missing(tmp_path: Path, digests: DigestCache) -> None:
    [found] = check_artifacts(tmp_path / "none", [expect()], digests)
    assert found.status is ArtifactStatus.MISSING
    (tmp_path / "file").touch()
    [found] = check_artifacts(tmp_path / "file", [expect()], digests)
    assert found.status is ArtifactStatus.MISSING


@pytest.mark.parametrize("size", [None, len(BYTES)])
def test_a_folder_in_its_place_is_wrong(
    folder: Path, digests: DigestCache, size: int | None
) -> None:
    (folder / PATH).unlink()
    (folder / PATH).mkdir()
    assert check_artifacts(folder, [expect(size=size)], digests) == [wrong("not a file")]
    assert check_artifacts(folder, [expect(size=size, digest=None)], digests) == [
        wrong("not a file")
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows makes links for administrators only")
def test_links(folder: Path, digests: DigestCache) -> None:
    path = folder / PATH
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")
    assert check_artifacts(folder, [expect()], digests) == [right()]
    (folder / "elsewhere").unlink()
    assert check_artifacts(folder, [expect()], digests) == [
        CheckedArtifact(path=PATH, status=ArtifactStatus.MISSING)
    ]
    path.unlink()
    path.symlink_to(path)
    reason = os.strerror(errno.ELOOP)
    assert check_artifacts(folder, [expect()], digests) == [wrong(f"cannot be read: {reason}")]


def test_a_file_that_cannot_be_read_is_wrong(
    folder: Path, digests: DigestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made up, since whoever tests as root may read everything."""
    other = PurePosixPath("noarch/b-1-0.conda")
    (folder / other).write_bytes(BYTES)

    def hash_file(path: Path, algorithm: str) -> str:
        if path.name == PATH.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real_hash_file(path, algorithm)

    monkeypatch.setattr(module, "hash_file", hash_file)
    assert check_artifacts(folder, [expect(), expect(other)], digests) == [
        wrong("cannot be read: Permission denied"),
        right(other),
    ]


def test_a_file_that_vanishes_while_it_is_read(
    folder: Path, digests: DigestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made up, since the moment is too short to be met."""

    def hash_file(path: Path, algorithm: str) -> str:
        digest = real_hash_file(path, algorithm)
        path.unlink()
        return digest

    monkeypatch.setattr(module, "hash_file", hash_file)
    status = (folder / PATH).stat()
    assert check_artifacts(folder, [expect()], digests) == [right()]
    assert digests.known(PATH, "sha256", status) is None
    assert check_artifacts(folder, [expect()], digests) == [
        CheckedArtifact(path=PATH, status=ArtifactStatus.MISSING)
    ]


def test_each_file_is_hashed_once_and_only_if_its_size_fits(
    folder: Path, digests: DigestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [PurePosixPath(f"noarch/{letter}-1-0.conda") for letter in "abcdefgh"]
    for name in names:
        (folder / name).write_bytes(BYTES)
    hashed: list[str] = []

    def hash_file(path: Path, algorithm: str) -> str:
        hashed.append(path.name)
        return real_hash_file(path, algorithm)

    monkeypatch.setattr(module, "hash_file", hash_file)
    expected = [expect(name) for name in names]
    expected[3] = expect(names[3], size=1)
    expected[4] = expect(names[4], digest=None)
    expected[5] = expect(names[5], digest="f" * 64)
    for _ in range(2):
        found = {each.path: each for each in check_artifacts(folder, expected, digests)}
        assert len(found) == len(names)
        statuss = [found[name].status for name in names]
        assert statuss == ["right"] * 3 + ["wrong", "right", "wrong"] + ["right"] * 2
        assert found[names[5]].actual == SHA256
        assert sorted(hashed) == [names[at].name for at in (0, 1, 2, 5, 6, 7)]


def test_nothing_expected(folder: Path, digests: DigestCache) -> None:
    assert check_artifacts(folder, [], digests) == []


LOOKS = """
import signal, sys
from pathlib import Path, PurePosixPath
from scripts.channel.digest_cache import DigestCache
from scripts.channel.inventory import Expected, check_artifacts
from scripts.core.record import Digest
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
names = sorted(path.name for path in Path(sys.argv[1]).iterdir())
expected = [
    Expected(path=PurePosixPath(name), size=None, digest=Digest("sha256", "")) for name in names
]
print("ready", flush=True)
check_artifacts(Path(sys.argv[1]), expected, DigestCache(Path(sys.argv[2]), writes=False))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals for others")
def test_ctrl_c_does_not_wait_for_the_whole_channel(tmp_path: Path) -> None:
    """30 GB would take a minute; the files are sparse."""
    folder = tmp_path / "channel"
    folder.mkdir()
    for number in range(300):
        with (folder / f"{number}").open("wb") as file:
            file.truncate(100 << 20)
    with subprocess.Popen(
        [sys.executable, "-c", LOOKS, folder, tmp_path / "none"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        try:
            _, err = child.communicate(timeout=20)
        finally:
            child.kill()
        assert time.monotonic() - begun < 10
    assert err.splitlines()[-1] == b"KeyboardInterrupt"


def test_a_listing_tells_of_a_file_what_its_status_does(folder: Path, digests: DigestCache) -> None:
    """Its inode, too, which on Windows no listing has: a known digest is believed."""
    digests.add(PATH, "sha256", SHA256, (folder / PATH).stat())
    assert [(path, digests.known(path, "sha256", x)) for path, x in files_below(folder)] == [
        (PATH, SHA256)
    ]


def test_what_vanishes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    """`verify` holds no lock: a folder may go between its listing and its turn."""
    (tmp_path / "a" / "below").mkdir(parents=True)
    (tmp_path / "b").touch()
    found = []
    for path, _ in files_below(tmp_path):
        found.append(str(path))
        (tmp_path / "a" / "below").rmdir()
        (tmp_path / "a").rmdir()
    assert found == ["b"]
