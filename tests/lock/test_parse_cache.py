"""What parsing a lock gave, kept for the next run: when it is believed, and what it says."""

from __future__ import annotations

import copyreg
import os
import pickle
from pathlib import Path

import pytest

from scripts.core.errors import MirrorError
from scripts.lock import parse_cache as module
from scripts.lock.model import (
    LockedEnvironment,
    LockFile,
    LockPlatform,
    PlatformPackages,
    Unmirrorable,
    locked_packages,
)
from scripts.lock.parse_cache import keep_parse, load_parse, parse_file
from scripts.lock.read import read_lock
from scripts.workspace.settings import IncompleteKind
from tests.lock.test_read_real_locks import LOCKS, REFUSED

DATA = Path(__file__).parents[1] / "data"
LOCK = DATA / "cases" / "rich-platforms" / "pixi.lock"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache folder with the parse of LOCK."""
    keep_parse(tmp_path, LOCK, read_lock(LOCK))
    return tmp_path


def known(cache: Path, data: bytes | None = None) -> LockFile | None:
    """Return what a run of its own would believe of LOCK, were its bytes these."""
    return load_parse(cache, LOCK, LOCK.read_bytes() if data is None else data)


def lie(cache: Path) -> tuple[Path, bytes]:
    """Return the file, and what is in it without its digest, with another name in it."""
    file = parse_file(cache, LOCK)
    name = next(locked_packages(read_lock(LOCK).environments)).name.encode()
    written = file.read_bytes()[32:]
    assert name in written
    return file, written.replace(name, b"x" * len(name))


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.parent.name)
def test_a_kept_parse_says_what_a_new_one_says(path: Path, tmp_path: Path) -> None:
    try:
        new = read_lock(path)
    except MirrorError:
        assert path.parent.name in REFUSED
        return
    keep_parse(tmp_path, path, new)
    kept = load_parse(tmp_path, path, new.data)
    assert kept == new
    assert repr(kept) == repr(new)  # some fields are not compared
    assert kept is not None
    assert kept.data == new.data
    rows = [{*map(id, locked_packages(each.environments))} for each in (kept, new)]
    assert len(rows[0]) == len(rows[1])  # shared, as before


def test_it_is_believed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_lock(LOCK)

    def fail(*_: object) -> None:
        raise AssertionError("parsed anew")

    monkeypatch.setattr("scripts.lock.read.parse_lock", fail)
    assert read_lock(LOCK, cache=cache) == expected
    with pytest.raises(AssertionError, match="parsed anew"):
        read_lock(LOCK)


def test_a_lie_is_believed_by_its_digest_alone(cache: Path) -> None:
    file, written = lie(cache)
    file.write_bytes(file.read_bytes()[:32] + written)
    assert known(cache) is None
    file.write_bytes(module._digest(LOCK.read_bytes(), written) + written)
    assert known(cache) not in {None, read_lock(LOCK)}


def test_what_is_not_believed_is_parsed_and_kept_anew(cache: Path) -> None:
    file, written = lie(cache)
    for data in (file.read_bytes()[:32] + written, file.read_bytes()[:-1], b"", b"\0" * 99):
        file.write_bytes(data)
        assert known(cache) is None
        lock = read_lock(LOCK, cache=cache)
        assert lock == read_lock(LOCK)
        keep_parse(cache, LOCK, lock)
        assert known(cache) == lock


class Calls:
    """Pickled, it says: make this folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_parse_calls_nothing(cache: Path) -> None:
    made = cache / "made"
    written = pickle.dumps(Calls(made))
    parse_file(cache, LOCK).write_bytes(module._digest(LOCK.read_bytes(), written) + written)
    with pytest.raises(KeyError, match="mkdir"):
        known(cache)
    assert not made.exists()
    pickle.loads(written)  # control: it would
    assert made.is_dir()


def test_kinds_as_older_versions_of_python_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patched as in Lib/enum.py of 3.11.4: by a call of `getattr`, which a parse cannot make."""
    old = lambda kind, _: (getattr, (type(kind), kind.name))  # noqa: E731
    monkeypatch.setattr(IncompleteKind, "__reduce_ex__", old)
    row = Unmirrorable(kind=IncompleteKind.SOURCE, name="a", location="./a")
    platform = LockPlatform(name="linux-64", subdir="linux-64")
    packages = PlatformPackages(platform=platform, packages=(), unmirrorable=(row,))
    environment = LockedEnvironment(name="default", channels=(), platforms=(packages,))
    lock = LockFile(version=7, environments=(environment,), data=b"x")
    keep_parse(tmp_path, LOCK, lock)
    assert load_parse(tmp_path, LOCK, b"x") == lock
    monkeypatch.delitem(copyreg.dispatch_table, IncompleteKind)  # control
    keep_parse(tmp_path, LOCK, lock)
    with pytest.raises(KeyError, match="getattr"):
        load_parse(tmp_path, LOCK, b"x")


def test_another_lock_is_another_parse(cache: Path) -> None:
    assert known(cache, LOCK.read_bytes() + b"\n") is None


@pytest.mark.parametrize("change", ["python", "tool"])
def test_another_python_and_another_tool_parse_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "python":
        monkeypatch.setattr("sys.version", "4.0")
    else:
        monkeypatch.setattr(module, "_READERS", ("core",))
    assert known(cache) is None


def test_what_is_kept_is_not_written_again(cache: Path) -> None:
    before = parse_file(cache, LOCK).stat()
    keep_parse(cache, LOCK, read_lock(LOCK, cache=cache))
    assert parse_file(cache, LOCK).stat().st_ino == before.st_ino
    keep_parse(cache, LOCK, read_lock(LOCK))
    assert parse_file(cache, LOCK).stat().st_ino != before.st_ino


def test_reading_writes_nothing(tmp_path: Path) -> None:
    assert (
        read_lock(LOCK, cache=tmp_path)
        == read_lock(LOCK, cache=tmp_path / "none")
        == read_lock(LOCK)
    )
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(module, "write_atomically", full)
    keep_parse(tmp_path, LOCK, read_lock(LOCK))
    assert not list(tmp_path.iterdir())
