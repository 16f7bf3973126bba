"""A disk that forgets bits leaves size and time as they were: who finds it tells the next run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.channel.digest_cache import DigestCache
from scripts.core.files import hash_file
from scripts.keep.snapshots import read_snapshots, tree_of
from tasks import bundle, fetch, index, mirror, rollback, verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import Mirror, make_mirror
from tests.support.packages import TinyPackage
from tests.support.snapshots import wrong_snapshots
from tests.support.upstream import Upstream

OLD, NEW = TinyPackage(name="a"), TinyPackage(name="a", version="2.0")
LEVELS = ("-q", "--level", "files,archives,index")


@pytest.fixture
def made(tmp_path: Path, upstream: Upstream) -> Mirror:
    """A mirror with `OLD`, fetched."""
    made = make_mirror(tmp_path / "work")
    manifest = made.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('["conda-forge"]', f'["{upstream.url}/ch"]'), encoding="utf-8")
    lock(made, upstream, OLD)
    assert run(mirror, made, *LEVELS) == 0
    return made


def lock(made: Mirror, upstream: Upstream, *packages: TinyPackage) -> None:
    written = [each.write(upstream.folder / "ch") for each in packages]
    rows = tuple(LockRow(written=each, channel=f"{upstream.url}/ch") for each in written)
    write_lock(
        made.root / "pixi.lock",
        (EnvironmentRows(platforms=(PlatformRows(name="linux-64", rows=rows),)),),
    )


def run(task: object, made: Mirror, *options: object) -> int:
    arguments = ["--manifest-path", str(made.root), *map(str, options)]
    return int(task.main(arguments))  # type: ignore[attr-defined]


def flip(file: Path) -> None:
    """Flip a bit in the middle, in place."""
    status, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    with file.open("r+b") as opened:
        opened.write(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_verify_has_found_the_next_mirror_mends(made: Mirror) -> None:
    file = made.folder / "noarch" / OLD.file_name
    flip(file)
    assert run(mirror, made, *LEVELS) == 0, "nobody has looked yet"
    assert run(verify, made, "-q", "--level", "files") == 1
    assert run(mirror, made, *LEVELS) == 0
    assert file.read_bytes() == OLD.data
    assert run(verify, made, "-q", "--level", "files") == 0


@pytest.mark.parametrize("task", [verify, bundle])
def test_the_journal_of_digests_is_read_once_for_all_that_is_damaged(
    task: object, made: Mirror, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--level", "files") if task is verify else (made.root / "out", "--full")
    packages = [OLD, *(TinyPackage(name=f"p{number}") for number in range(9))]
    lock(made, upstream, *packages)
    assert run(mirror, made, *LEVELS) == 0
    files = [made.folder / "noarch" / each.file_name for each in packages]
    for file in files:
        flip(file)
    read = list[Path]()
    bare = DigestCache.__init__

    def counting(self: DigestCache, journal: Path) -> None:
        read.append(journal)
        bare(self, journal)

    with monkeypatch.context() as patch:
        patch.setattr(DigestCache, "__init__", counting)
        assert run(task, made, "-q", *options) == 1
    assert read == [made.workspace.place.digests]
    assert run(mirror, made, *LEVELS) == 0
    assert [each.read_bytes() for each in files] == [each.data for each in packages]


def test_what_verify_has_found_before_it_was_killed_is_mended(
    made: Mirror, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [TinyPackage(name=f"p{number}", padding=9999 - number) for number in range(9)]
    lock(made, upstream, *packages)
    assert run(mirror, made, *LEVELS) == 0
    files = [made.folder / "noarch" / each.file_name for each in packages]
    for file in files:
        flip(file)

    class KilledError(BaseException):
        """Nothing in the task may catch this."""

    def die_at_the_last(file: Path, algorithm: str) -> str:
        if file == files[-1]:  # the smallest, which is read last
            raise KilledError
        return hash_file(file, algorithm)

    with monkeypatch.context() as patch:
        patch.setattr("scripts.verify.files.hash_file", die_at_the_last)
        with pytest.raises(KilledError):
            run(verify, made, "-q", "--level", "files")
    assert run(mirror, made, *LEVELS) == 0
    mended = [file.read_bytes() == each.data for file, each in zip(files, packages, strict=True)]
    assert mended == [*[True] * 8, False], "the control: the last one nobody has read"


def test_the_newest_snapshot_is_mended_with_the_channel(made: Mirror) -> None:
    [snapshot] = read_snapshots(made.workspace.place)
    file = made.folder / "noarch" / OLD.file_name
    kept = tree_of(made.workspace.place, snapshot) / "noarch" / OLD.file_name
    flip(file)
    assert run(verify, made, "-q", "--level", "files") == 1
    assert run(mirror, made, *LEVELS) == 0
    assert kept.samefile(file)
    assert kept.read_bytes() == OLD.data
    # Control: of another file that somebody has put there the snapshot takes nothing.
    file.unlink()
    file.write_bytes(bytes(len(OLD.data)))
    assert run(index, made, "-q") == 0
    assert read_snapshots(made.workspace.place) == (snapshot,)
    assert kept.read_bytes() == OLD.data
    assert [*wrong_snapshots(made.workspace.place)] == []


def test_what_bundle_has_found_the_next_mirror_mends(made: Mirror, tmp_path: Path) -> None:
    file = made.folder / "noarch" / OLD.file_name
    flip(file)
    assert run(bundle, made, tmp_path / "out", "--full", "-q") == 1
    assert run(mirror, made, *LEVELS) == 0
    assert file.read_bytes() == OLD.data
    assert run(bundle, made, tmp_path / "out", "--full", "-q") == 0


def test_what_no_lock_names_is_gone_for_good_and_that_is_said(
    made: Mirror, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(made, upstream, NEW)
    assert run(mirror, made, *LEVELS) == 0
    [first, _] = read_snapshots(made.workspace.place)
    file = made.folder / "noarch" / OLD.file_name
    flip(file)
    capsys.readouterr()
    assert run(bundle, made, tmp_path / "out", "--full", "-q") == 1
    help_line = capsys.readouterr().err.splitlines()[-1]
    assert help_line == (
        f"help: `pixi run prune --drop noarch/{OLD.file_name}`, as no lock names it; where the"
        " channel came out of a bundle, unbundle a --full one"
    )
    # The file of its snapshot is the same one: it does not come back as if nothing were.
    file.unlink()
    assert run(rollback, made, first.id, "-q") == 2
    capsys.readouterr()
    assert run(index, made) == 0
    lost = "named by no lock here, gone from the channel folder, and so from the index: "
    assert f"warning: {lost}noarch/{OLD.file_name}\n" in capsys.readouterr().err
    assert list(made.repodata("noarch")["packages.conda"]) == [NEW.file_name]
    # Control: what is there stays, and nothing is said.
    lock(made, upstream, replace(NEW, version="3.0"))
    assert run(fetch, made, "-q") == 0
    assert run(index, made) == 0
    assert "gone from the channel folder" not in capsys.readouterr().err
    assert len(made.repodata("noarch")["packages.conda"]) == 2
