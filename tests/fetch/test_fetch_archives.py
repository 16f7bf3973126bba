"""What nobody can open: told by fetch, refused by index, found by verify; opened once."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks import fetch, index, mirror, verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.upstream import Upstream
from tests.support.verified import elsewhere, here

PAGE = b"<!DOCTYPE html>\n<title>Sign in</title>\n"
LIB, PAGED, TARRED = "noarch/lib-1.0-0.conda", "noarch/page-1.0-0.conda", "tar-1.0-0.conda"
HELP = (
    "help: the fault is upstream's, not the mirror's: lock another version"
    " (`pixi add 'NAME!=VERSION'`), or tell the channel's keeper\n"
)


def _as_if(package: TinyPackage, data: bytes, folder: Path) -> WrittenPackage:
    """Write other bytes under a package's name; the lock is to have their digests."""
    path = folder / package.subdir / package.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return WrittenPackage(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        size=len(data),
        package=package,
    )


@dataclass(frozen=True, kw_only=True)
class World:
    """A workspace whose lock names artifacts of `upstream`, some for another machine alone."""

    root: Path
    upstream: Upstream
    capsys: pytest.CaptureFixture[str]

    @property
    def url(self) -> str:
        """The channel's URL."""
        return f"{self.upstream.url}/chan"

    @property
    def folder(self) -> Path:
        """The channel folder."""
        return self.root / "local-channel"

    def lock(self, *written: WrittenPackage, without: frozenset[str] = frozenset()) -> None:
        """Lock them, each for its platform, noarch for the one that is not this machine's."""
        platforms = [
            PlatformRows(
                name=name,
                rows=tuple(
                    LockRow(written=each, channel=self.url, without=without)
                    for each in written
                    if each.package.subdir in ({name, "noarch"} if name != here() else {name})
                ),
            )
            for name in (here(), elsewhere())
        ]
        write_lock(self.root / "pixi.lock", (EnvironmentRows(platforms=tuple(platforms)),))

    def run(self, task: object, *options: str) -> tuple[int, str, str]:
        """Run a task; return exit code, stdout, stderr."""
        self.capsys.readouterr()
        code = task.main(["--manifest-path", str(self.root), *options])  # type: ignore[attr-defined]
        return code, *self.capsys.readouterr()


@pytest.fixture
def world(tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> World:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "pixi.toml").write_text(
        f'[workspace]\nname = "w"\nchannels = ["{upstream.url}/chan"]\n'
        f'platforms = ["{here()}", "{elsewhere()}"]\n',
        encoding="utf-8",
    )
    return World(root=root, upstream=upstream, capsys=capsys)


def _three(world: World) -> tuple[WrittenPackage, WrittenPackage, WrittenPackage]:
    """A sound one, a page of a server, and a tar.bz2 under another name, for another machine."""
    folder = world.upstream.folder / "chan"
    tarred = TinyPackage(name="tar", subdir=elsewhere())
    data = TinyPackage(name="tar", subdir=elsewhere(), extension=".tar.bz2").data
    return (
        TinyPackage(name="lib").write(folder),
        _as_if(TinyPackage(name="page"), PAGE, folder),
        _as_if(tarred, data, folder),
    )


def test_fetch_names_what_nobody_can_open(world: World) -> None:
    """For a platform that is not this machine's, too; the bytes are the lock's, so they stay."""
    lib, page, tar = _three(world)
    world.lock(lib, page, tar)
    code, out, err = world.run(fetch)
    assert code == 1
    assert out.startswith("fetch: 3 artifacts fetched, ")
    said = f"fetch: opening 3 artifacts\nerror: {PAGED}: is no artifact that can be opened\n"
    assert (
        said
        + (
            f"  because  it begins with {PAGE[:24]!r}, as no .conda does\n"
            f"  bytes    just those that pixi.lock names: sha256 {page.sha256}\n"
            f"  from     {world.url}/{PAGED}\n{HELP}"
        )
        in err
    )
    assert f"error: {elsewhere()}/{TARRED}: is no artifact that can be opened\n" in err
    assert "it begins with b'BZh" in err
    assert (world.folder / PAGED).read_bytes() == PAGE
    requests = len(world.upstream.requests)
    code, out, err = world.run(fetch)
    assert (code, out) == (1, "fetch: nothing to do, 3 artifacts are there\n")
    assert err.startswith("fetch: opening 2 artifacts\nerror: ")
    assert len(world.upstream.requests) == requests


def test_index_refuses_it_and_mirror_ends_before(world: World) -> None:
    world.lock(*_three(world))
    code, _, err = world.run(mirror)
    assert code == 1
    assert "verify" not in err
    code, _, err = world.run(index)
    assert code == 1
    assert err.startswith(
        f"index: opening 2 artifacts\nerror: {PAGED}: is no artifact that can be opened\n"
    )
    assert not list(world.folder.rglob("repodata*"))
    world.lock(_three(world)[0])
    assert world.run(fetch)[0] == 0
    assert world.run(index)[0] == 0
    document = json.loads((world.folder / "noarch" / "repodata.json").read_bytes())
    assert list(document["packages.conda"]) == ["lib-1.0-0.conda"]


def test_what_would_be_outside_of_a_prefix_is_never_installed(world: World) -> None:
    """py-rattler removes what is there, before it fails."""
    folder = world.upstream.folder / "chan"
    world.lock(TinyPackage(name="out", files=(("share/../../victim", b""),)).write(folder))
    code, _, err = world.run(mirror)
    assert code == 1
    assert (
        "error: noarch/out-1.0-0.conda: is no artifact that can be opened\n"
        "  because  its share/../../victim would be outside of where it is installed\n"
    ) in err
    assert "verify" not in err
    # Control: dots alone.
    world.lock(TinyPackage(name="in", files=(("share/..a/b..", b""),)).write(folder))
    assert world.run(fetch)[0] == 0


def test_verify_finds_it_anew(world: World) -> None:
    """By the level of that name; another one proves that the bytes are the lock's."""
    lib, page, tar = _three(world)
    world.lock(lib, page, tar)
    world.run(fetch)
    code, out, err = world.run(verify, "--level", "files,archives")
    assert code == 1
    wide = max(len(here()), len(elsewhere()))
    assert out.splitlines()[:2] == [
        f"default  {here().ljust(wide)}  files ✓  archives ✓",
        f"default  {elsewhere().ljust(wide)}  files ✓  archives ✗",
    ]
    assert err.startswith("verify: reading 3 artifacts\nverify: opening 3 artifacts\nerror: ")
    assert (
        f"error: {PAGED}: is no artifact that can be opened\n"
        f"  because  it begins with {PAGE[:24]!r}, as no .conda does\n"
        f"  bytes    just those that pixi.lock names: sha256 {page.sha256}\n"
        f"  from     {world.url}/{PAGED}\n"
        f"  used by  default/{elsewhere()}\n{HELP}"
    ) in err
    code, _, err = world.run(verify, "--level", "archives")
    assert code == 1
    assert "bytes" not in err.replace("these are the bytes", "")
    assert "help: `pixi run verify --level files` tells whether these are the bytes" in err
    code, out, _ = world.run(verify, "--level", "archives", "--json")
    document = json.loads(out)
    assert (document["levels"], document["opened"]) == (["archives"], 1)
    assert [each["archives"] for each in document["environments"]] == [True, False]


def test_another_package_under_its_name(world: World) -> None:
    other = TinyPackage(name="lib", version="1.0.1").data
    written = _as_if(TinyPackage(name="lib"), other, world.upstream.folder / "chan")
    world.lock(written)
    code, _, err = world.run(fetch)
    assert code == 1
    assert (
        f"error: {LIB}: is another package than pixi.lock says\n"
        "  expected  lib 1.0 0\n"
        "  actual    lib 1.0.1 0\n"
        f"  bytes     just those that pixi.lock names: sha256 {written.sha256}\n"
        f"  from      {world.url}/{LIB}\n{HELP}"
    ) in err
    again = world.run(fetch)[2]
    assert again == err[err.index("fetch: opening") :]  # not blamed from memory
    assert world.run(verify, "--level", "archives")[0] == 1


def test_a_wrong_line_of_the_journal_blames_nobody(world: World) -> None:
    world.lock(TinyPackage(name="lib").write(world.upstream.folder / "chan"))
    world.run(fetch)
    journal = world.root / ".pixi-mirror" / "local-channel" / "cache" / "digests.jsonl"
    journal.write_text(journal.read_text().replace("lib 1.0 0", "lab 1.0 0"))
    there = "fetch: nothing to do, 1 artifact is there\n"
    assert world.run(fetch) == (0, there, "fetch: opening 1 artifact\n")
    assert world.run(fetch) == (0, there, ""), "and is right from then on"


def test_without_a_digest_the_file_may_be_at_fault(world: World) -> None:
    page = _as_if(TinyPackage(name="page"), PAGE, world.upstream.folder / "chan")
    world.lock(page, without=frozenset({"sha256", "md5"}))
    code, _, err = world.run(fetch, "--allow-unhashed")
    assert code == 1
    assert err.endswith(
        f"  from     {world.url}/{PAGED}\n"
        "help: remove this file, then `pixi run fetch`; pixi.lock has no digest to tell it by\n"
    )


def test_each_is_opened_once_and_whatever_is_new(world: World) -> None:
    lib, page, _ = _three(world)
    world.lock(lib)
    assert "fetch: opening 1 artifact\n" in world.run(fetch)[2]
    assert world.run(fetch) == (0, "fetch: nothing to do, 1 artifact is there\n", "")
    code, out, _ = world.run(fetch, "--json")
    assert (code, json.loads(out)["opened"]) == (0, 0)
    assert "opening" not in world.run(index)[2]
    shutil.copyfile(world.folder / LIB, world.root / "copy")
    (world.root / "copy").replace(world.folder / LIB)  # another file, of the same bytes
    assert world.run(fetch)[2] == "fetch: opening 1 artifact\n"
    world.lock(lib, page)
    assert "fetch: opening 1 artifact\n" in world.run(fetch)[2]


def test_what_was_there_before_is_opened_too(world: World) -> None:
    """A mirror made before archives were opened, whose index is as it was."""
    world.lock(*_three(world))
    world.run(fetch)
    (world.root / ".pixi-mirror" / "local-channel" / "cache" / "digests.jsonl").unlink()
    code, out, err = world.run(fetch)
    assert (code, out) == (1, "fetch: nothing to do, 3 artifacts are there\n")
    assert err.startswith(f"fetch: opening 3 artifacts\nerror: {PAGED}: ")


def test_a_dry_run_opens_nothing(world: World) -> None:
    world.lock(*_three(world))
    world.run(fetch)
    assert world.run(fetch, "--dry-run") == (0, "fetch: nothing to do, 3 artifacts are there\n", "")


def test_what_files_has_told_is_not_opened(world: World) -> None:
    """One finding for one missing artifact; but alone, the level says so itself."""
    lib = TinyPackage(name="lib").write(world.upstream.folder / "chan")
    world.lock(lib)
    world.run(fetch)
    (world.folder / LIB).unlink()
    code, out, err = world.run(verify, "--level", "files,archives")
    assert (code, err.count("error: ")) == (1, 1)
    assert "files ✗  archives –" in out  # noqa: RUF001
    code, out, err = world.run(verify, "--level", "archives")
    assert (code, err.count("error: ")) == (1, 1)
    assert f"error: {LIB}: is missing\n" in err
    assert "archives ✗" in out
    (world.folder / LIB).mkdir()
    assert "  because  it is not a file\n" in world.run(verify, "--level", "archives")[2]
