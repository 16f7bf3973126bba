"""The level `files`: what is wrong with an artifact is found, named, and nothing is touched."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path, PurePosixPath

import pytest

from scripts.channel.state import write_first_seen
from scripts.core import rattler_child
from scripts.core.files import hash_file
from scripts.core.record import Digest
from scripts.core.report import human_size
from tasks import index
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow
from tests.support.mirrors import CHANNEL
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.verified import World, elsewhere, here

LIB = "noarch/lib-1.0-0.tar.bz2"
NOT = "–"  # noqa: RUF001
ALL = f"default/{here()}, default/{elsewhere()}, small/{here()}"


def _states(root: Path) -> dict[str, tuple[bytes, int]]:
    """Read every file of a workspace, its working state included."""
    return {
        file.relative_to(root).as_posix(): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def _size(world: World, *names: str) -> str:
    return human_size(sum(world.rows()[name].written.size for name in names))


def test_what_is_right_is_right(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = _states(world.mirror.root)
    assert world.loud("--level", "files") == 0
    wide = max(len(here()), len(elsewhere()))
    assert capsys.readouterr().out == (
        f"default  {here().ljust(wide)}  files ✓\n"
        f"default  {elsewhere().ljust(wide)}  files ✓\n"
        f"small    {here().ljust(wide)}  files ✓\n"
        f"read: 3 artifacts, {_size(world, 'hello', 'lib', 'far')}\n"
    )
    assert _states(world.mirror.root) == before


def test_a_missing_artifact_is_one_finding_and_blamed_on_all_who_use_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.folder / LIB).unlink()
    before = _states(world.mirror.root)
    assert world.loud("--level", "files") == 1
    out, err = capsys.readouterr()
    assert [line.split()[2:] for line in out.splitlines()[:3]] == [["files", "✗"]] * 3
    assert err == (
        "verify: reading 3 artifacts\n"
        f"error: {LIB}: is missing\n"
        f"  from     {CHANNEL}/{LIB}\n"
        f"  used by  {ALL}\n"
        "help: pixi run fetch\n"
    )
    assert _states(world.mirror.root) == before


def test_only_who_uses_it_is_blamed(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / here() / "hello-1.0-0.conda").unlink()
    assert world.loud("--level", "files") == 1
    marks = [line.split()[-1] for line in capsys.readouterr().out.splitlines()[:3]]
    assert marks == ["✗", "✓", "✓"]


def test_an_artifact_cut_short(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = world.folder / LIB
    size = file.stat().st_size
    os.truncate(file, size - 1)
    assert world.verify("--level", "files") == 1
    assert capsys.readouterr().err == (
        f"error: {LIB}: size differs from pixi.lock\n"
        f"  expected  {size} bytes\n"
        f"  actual    {size - 1} bytes\n"
        f"  from      {CHANNEL}/{LIB}\n"
        f"  used by   {ALL}\n"
        "help: pixi run fetch\n"
    )


def test_one_bit_flipped_behind_everybody_s_back(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Size, time and inode stay, as when a disk forgets: a known digest would be believed."""
    file = world.folder / LIB
    status, data = file.stat(), bytearray(file.read_bytes())
    expected = hashlib.sha256(data).hexdigest()
    data[len(data) // 2] ^= 1
    with file.open("r+b") as opened:
        opened.write(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert world.verify("--level", "files") == 1
    assert capsys.readouterr().err == (
        f"error: {LIB}: sha256 differs from pixi.lock\n"
        f"  expected  {expected}\n"
        f"  actual    {hashlib.sha256(data).hexdigest()}\n"
        f"  from      {CHANNEL}/{LIB}\n"
        f"  used by   {ALL}\n"
        "help: remove this file, then `pixi run fetch`\n"
    )


def test_all_findings_are_listed_sorted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for file in world.folder.glob("*/*-1.0-0.*"):
        file.write_bytes(b"")
    assert world.verify("--level", "files") == 1
    heads = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    names = sorted((f"{here()}/hello-1.0-0.conda", f"{elsewhere()}/far-1.0-0.conda", LIB))
    assert heads == [f"error: {name}: size differs from pixi.lock" for name in names]


def test_a_folder_in_an_artifact_s_place(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.folder / LIB).unlink()
    (world.folder / LIB).mkdir()
    assert world.verify("--level", "files") == 1
    first, *_, advice = capsys.readouterr().err.splitlines()
    assert first == f"error: {LIB}: is not a file"
    assert advice == "help: remove it, then `pixi run fetch`"  # which alone refuses


def test_a_link_is_no_artifact(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The channel would leave with a link that leads nowhere; a folder above counts, too."""
    (world.folder / LIB).rename(tmp_path / "lib")
    (world.folder / LIB).symlink_to(tmp_path / "lib")
    assert world.verify("--level", "files") == 1
    err = capsys.readouterr().err
    assert err.splitlines()[0] == f"error: {LIB}: is a link, not the file itself"
    assert err.endswith("help: put the files themselves in the place of the link\n")
    (world.folder / LIB).unlink()
    (tmp_path / "lib").rename(world.folder / LIB)
    (world.folder / "noarch").rename(tmp_path / "noarch")
    (world.folder / "noarch").symlink_to(tmp_path / "noarch")
    assert world.verify("--level", "files") == 1
    assert capsys.readouterr().err.splitlines()[0] == (
        f"error: {LIB}: is a link, not the file itself, since noarch is one"
    )


def test_a_disk_that_does_not_give_a_file(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No finding, and the rest is looked at. Patched, since root may read what nobody may."""

    def failing(path: Path, algorithm: str) -> str:
        if path.name.startswith("lib"):
            raise OSError(errno.EIO, "Input/output error")
        return hash_file(path, algorithm)

    (world.folder / here() / "hello-1.0-0.conda").unlink()
    monkeypatch.setattr("scripts.verify.files.hash_file", failing)
    assert world.loud("--level", "files,archives") == 2
    out, err = capsys.readouterr()
    marks = [line.split()[3::2] for line in out.splitlines()[:3]]
    assert marks == [["✗", NOT], [NOT, NOT], [NOT, NOT]]
    assert f"error: {here()}/hello-1.0-0.conda: is missing\n" in err
    assert err.endswith(
        f"error: {LIB}: cannot be read: Input/output error\n"
        f"  from     {CHANNEL}/{LIB}\n"
        f"  used by  {ALL}\n"
        "help: see to the disk and its permissions, then run this again\n"
    )


def test_a_broken_py_rattler_hides_no_finding(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It ranks versions, of the retained beside the locked; and is no refusal of rattler's."""
    older = TinyPackage(name="lib", version="0.9").write(world.upstream)
    shutil.copyfile(older.path, world.folder / "noarch" / older.path.name)
    row = LockRow(written=older, channel=CHANNEL)
    world.lock(EnvironmentRows(platforms=(PlatformRows(name=here(), rows=(row,)),)))
    assert index.main(["--manifest-path", str(world.mirror.root), "-q"]) == 0
    assert world.loud("--level", "files") == 0
    assert f"the mirror still offers {LIB}, newer" in capsys.readouterr().out
    (tmp_path / "scripts").symlink_to(Path(rattler_child.__file__).parents[1])
    (tmp_path / "rattler.py").write_text('raise ImportError("no such thing")', encoding="utf-8")
    monkeypatch.setattr(rattler_child, "TEMPLATE", tmp_path)
    (world.folder / "noarch" / older.path.name).write_bytes(b"?")
    assert world.verify("--level", "files") == 4
    err = capsys.readouterr().err
    assert f"error: noarch/{older.path.name}: size differs from pixi.lock\n" in err
    assert err.endswith(
        "error: py-rattler (rank_versions): cannot be imported: no such thing\n"
        "help: install py-rattler into the environment of the tasks anew, on no disk that is"
        " mounted with noexec\n"
    )


def _lock_lib(world: World, *without: str) -> WrittenPackage:
    written = TinyPackage(name="lib", extension=".tar.bz2", padding=2000).write(world.upstream)
    row = LockRow(written=written, channel=CHANNEL, without=frozenset(without))
    world.lock(EnvironmentRows(platforms=(PlatformRows(name=here(), rows=(row,)),)))
    return written


def test_md5_where_the_lock_has_only_that(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    written = _lock_lib(world, "sha256")
    assert world.verify("--level", "files") == 0
    data = bytearray((world.folder / LIB).read_bytes())
    data[-1] ^= 1
    (world.folder / LIB).write_bytes(data)
    assert world.verify("--level", "files") == 1
    assert capsys.readouterr().err == (
        f"error: {LIB}: md5 differs from pixi.lock\n"
        f"  expected  {written.md5}\n"
        f"  actual    {hashlib.md5(data, usedforsecurity=False).hexdigest()}\n"
        f"  from      {CHANNEL}/{LIB}\n"
        f"  used by   default/{here()}\n"
        "help: remove this file, then `pixi run fetch`\n"
    )


def test_nothing_is_proven_without_a_hash(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    _lock_lib(world, "sha256", "md5")
    assert world.verify("--level", "files") == 1
    assert capsys.readouterr().err == (
        f"error: {LIB}: nothing can be proven of it: pixi.lock has neither sha256 nor md5\n"
        f"  from     {CHANNEL}/{LIB}\n"
        f"  used by  default/{here()}\n"
        "help: allow-unhashed = true under [tool.pixi-mirror], if that will do\n"
    )
    assert world.loud("--level", "files", "--allow-unhashed") == 0
    size = _size(world, "hello", "lib", "far")
    expected = f"\nread: 3 artifacts, {size}; 1 of them without a hash\n"
    assert expected in capsys.readouterr().out


def test_without_a_hash_the_size_still_counts(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _lock_lib(world, "sha256", "md5")
    os.truncate(world.folder / LIB, 1)
    assert world.verify("--level", "files", "--allow-unhashed") == 1
    assert capsys.readouterr().err.startswith(f"error: {LIB}: size differs from pixi.lock\n")


def test_without_a_hash_the_first_seen_counts(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _lock_lib(world, "sha256", "md5")
    first, actual = Digest("sha256", "0" * 64), hash_file(world.folder / LIB, "sha256")
    write_first_seen(world.mirror.workspace.place, {PurePosixPath(LIB): first})
    assert world.verify("--level", "files", "--allow-unhashed") == 1
    assert capsys.readouterr().err == (
        f"error: {LIB}: sha256 differs from the one first seen, and pixi.lock has none\n"
        f"  expected  {first.hex}\n"
        f"  actual    {actual}\n"
        f"  from      {CHANNEL}/{LIB}\n"
        f"  used by   default/{here()}\n"
        "help: remove this file, then `pixi run fetch`\n"
    )
    write_first_seen(world.mirror.workspace.place, {PurePosixPath(LIB): Digest("sha256", actual)})
    assert world.verify("--level", "files", "--allow-unhashed") == 0


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [
        ("https", 'allow-unhashed = true, or add "pypi" to allow-incomplete,'),
        ("git+https", 'add "pypi" to allow-incomplete'),  # no hash would help
    ],
)
def test_what_is_left_out_for_want_of_a_hash_may_be_allowed(
    scheme: str, advice: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    location = f"{scheme}://files.example.org/x-1.0-py3-none-any.whl"
    row = RawRow(key="pypi", location=location, lines=("name: x", "version: '1.0'"))
    world.lock(EnvironmentRows(platforms=(PlatformRows(name=here(), rows=(row,)),)))
    assert world.verify("--level", "files") == 1
    help_line = capsys.readouterr().err.splitlines()[-1]
    assert help_line == f"help: {advice} under [tool.pixi-mirror], if that will do"


def test_a_wheel_beside_the_lock_is_what_it_is_there(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock has no hash of it, and none needs to be allowed: the file itself tells."""
    name, data = "wheels/x-1.0-py3-none-any.whl", b"as it is in the repository"
    for file in (beside := world.mirror.root / name, world.folder / f"_pypi/files/local/{name}"):
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
    row = RawRow(key="pypi", location=f"./{name}", lines=("name: x", "version: '1.0'"))
    world.lock(EnvironmentRows(platforms=(PlatformRows(name=here(), rows=(row,)),)))
    assert world.loud("--level", "files") == 0
    assert "without a hash" not in capsys.readouterr().out
    beside.write_bytes(b"changed, and the mirror not made anew")
    assert world.loud("--level", "files") == 1
    assert capsys.readouterr().err.splitlines()[1:4] == [
        f"error: _pypi/files/local/{name}: sha256 differs from the file beside the lock",
        f"  expected  {hash_file(beside, 'sha256')}",
        f"  actual    {hashlib.sha256(data).hexdigest()}",
    ]


def test_retained_and_untracked_files_are_told_and_no_finding(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _lock_lib(world)
    assert index.main(["--manifest-path", str(world.mirror.root), "-q"]) == 0
    (world.folder / "noarch" / "stranger-1-0.conda").write_bytes(b"?")
    (world.folder / "noarch" / "README").write_bytes(b"?")
    assert world.loud("--level", "files") == 0
    assert capsys.readouterr().out == (
        f"default  {here()}  files ✓\n"
        f"read: 3 artifacts, {_size(world, 'hello', 'lib', 'far')}\n"
        f"retained (indexed, in no lock): 2 artifacts, {_size(world, 'hello', 'far')};"
        " `pixi run prune` removes them\n"
        "untracked, not proven: noarch/README, noarch/stranger-1-0.conda\n"
    )


def test_an_artifact_of_many_is_hashed_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(path: Path, algorithm: str) -> str:
        read.append(path.name)
        return hashlib.new(algorithm, path.read_bytes()).hexdigest()

    monkeypatch.setattr("scripts.verify.files.hash_file", counting)
    assert world.verify("--level", "files") == 0
    assert sorted(read) == ["far-1.0-0.conda", "hello-1.0-0.conda", "lib-1.0-0.tar.bz2"]
