"""The stage on real tiny artifacts, with every indexer of this machine."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import msgpack
import pytest
import zstandard

from scripts.core.errors import ExitCode, MirrorError
from scripts.core.report import human_size
from scripts.core.scratch import is_scratch
from scripts.index import stage
from scripts.index.indexer import Indexer, find_indexer, run_indexer
from scripts.index.readback import read_subdir_index
from tests.support.mirrors import (
    CHANNEL,
    INDEXERS,
    PY_RATTLER,
    Mirror,
    make_mirror,
    path_with,
    rows,
)
from tests.support.packages import TinyPackage
from tests.support.template import ROOT

A = TinyPackage(name="a", subdir="linux-64", depends=("b 0.1 h", "c =1.2", "Foo"))
B = TinyPackage(name="b", extension=".tar.bz2", track_features=("x",), run_exports=())
W = TinyPackage(name="w", subdir="win-64", version="1!2.0+x", constrains=("a >=1",))
OTHERS = "https://conda.anaconda.org/bioconda"

# What the index files of a channel of A, B and W are, but for the shards.
FILES = ("repodata.json", "repodata.json.zst", "repodata_shards.msgpack.zst")

# What an index was made from, of another channel.
STAMP = (
    '{"format": 3, "channels": [{"made-from": {"records": "1", "files": "2"}, "indexer": "3",'
    ' "files": "4", "summary": {"channel": NAME,'
    ' "subdirs": [], "records": 0, "not-locked": []}}]}'
)


def mirror_of(tmp_path: Path, *packages: TinyPackage) -> Mirror:
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock(rows(tmp_path / "upstream", packages))
    return mirror


def shards(mirror: Mirror, subdir: str) -> dict[str, str]:
    """Read the names and digests that a shard index holds."""
    data = (mirror.folder / subdir / "repodata_shards.msgpack.zst").read_bytes()
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return {name: digest.hex() for name, digest in msgpack.unpackb(unpacked)["shards"].items()}


def test_a_cold_index(tmp_path: Path, indexer: str) -> None:
    mirror = mirror_of(tmp_path, A, B, W)
    artifacts = mirror.states()
    report = mirror.index()
    assert report.lines == ("indexed: 3 records in 3 subdirs",)
    assert report.exit_code is ExitCode.OK
    after = mirror.states()
    assert {name: after[name] for name in artifacts} == artifacts
    written = {f"{subdir}/{name}" for subdir in ("linux-64", "noarch", "win-64") for name in FILES}
    written |= {
        f"{subdir}/shards/{digest}.msgpack.zst"
        for subdir in ("linux-64", "noarch", "win-64")
        for digest in shards(mirror, subdir).values()
    }
    assert after.keys() - artifacts.keys() == written
    assert sorted(shards(mirror, "noarch")) == ["b"]
    assert list(mirror.repodata("noarch")["packages"]) == ["b-1.0-0.tar.bz2"]
    assert list(mirror.repodata("win-64")["packages.conda"]) == ["w-1!2.0+x-0.conda"]
    for subdir in ("linux-64", "noarch", "win-64"):
        assert read_subdir_index(mirror.folder / subdir, PurePosixPath(subdir)).problems == ()
    assert scratch_of(mirror) == []


def scratch_of(mirror: Mirror) -> list[Path]:
    """Name what a run has left of the folders in which indexes are made."""
    return [each for each in mirror.workspace.place.cache.iterdir() if is_scratch(each.name)]


def test_a_second_run_starts_no_indexer_and_changes_no_byte(
    tmp_path: Path, indexer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_of(tmp_path, A, B, W)
    mirror.index()
    before = mirror.states()
    with monkeypatch.context() as patched:
        patched.setattr("subprocess.run", None)
        assert mirror.index().lines == ("index is up to date: 3 records in 3 subdirs",)
    assert mirror.states() == before


def test_a_changed_file_is_of_a_later_second(tmp_path: Path, indexer: str) -> None:
    """By which a server tells whoever asks whether it has changed (HTTP's If-Modified-Since)."""
    mirror = mirror_of(tmp_path, A)
    mirror.index()
    files = [mirror.folder / "linux-64" / name for name in FILES]
    ahead = (time.time_ns() // 10**9 + 100) * 10**9 + 5 * 10**8  # by another machine's clock
    for each in files:
        os.utime(each, ns=(ahead, ahead))
    mirror.lock(rows(tmp_path / "upstream", (A, replace(A, version="2.0"))))
    mirror.index()
    assert {each.stat().st_mtime_ns // 10**9 - ahead // 10**9 for each in files} == {1}


def test_without_the_state_the_bytes_stay(tmp_path: Path, indexer: str) -> None:
    mirror = mirror_of(tmp_path, A, B, W)
    mirror.index()
    before = mirror.states()
    mirror.workspace.place.index_stamp.unlink()
    assert mirror.index().data["changed"] is True
    assert mirror.states() == before


def test_made_anew_elsewhere_the_index_has_the_same_bytes(tmp_path: Path, indexer: str) -> None:
    """At another time, too: nothing in it tells when it was made. And whatever the rows' order."""
    versions = [replace(A, version=f"{each}.0") for each in range(2, 9)]
    mirror, other = (mirror_of(tmp_path / name, A, B, W, *versions) for name in ("one", "other"))
    mirror.index()
    time.sleep(1.1)  # longer than any clock's step
    other.index()
    assert mirror.contents() == other.contents()


def test_a_bit_lost_on_the_disk_is_mended(tmp_path: Path, any_indexer: str) -> None:
    """Whichever file lost it, and though its size and time are as they were."""
    old, new = rows(tmp_path / "upstream", (A, replace(A, version="2.0")))
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock([replace(old, depends=("hot >=1",))])
    mirror.index()
    mirror.lock([new])  # so the index alone tells the hotfix of the older one
    mirror.index()
    before = mirror.contents()
    for each in (*FILES, None):
        name = f"linux-64/{each}"
        if each is None:
            name = f"linux-64/shards/{shards(mirror, 'linux-64')['a']}.msgpack.zst"
        file = mirror.folder / name
        status, data = file.stat(), file.read_bytes()
        flipped = data.replace(b"hot >=1", b"hot >=3") if b"hot >=1" in data else b""
        file.write_bytes(flipped or data[:-20] + bytes([data[-20] ^ 4]) + data[-19:])
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert mirror.contents() != before
        assert mirror.index().data["changed"] is True
        assert mirror.contents() == before, name
        assert mirror.record("linux-64/a-1.0-0.conda")["depends"] == ["hot >=1"], name
        assert mirror.index().data["changed"] is False


def test_hotfixes_of_the_lock_survive(tmp_path: Path, indexer: str) -> None:
    row, other = rows(tmp_path / "upstream", (A, W))
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock([replace(row, depends=("b >=0.1", "hot >=1"), constrains=("cold <1",)), other])
    mirror.index()
    record = mirror.record("linux-64/a-1.0-0.conda")
    assert record["depends"] == ["b >=0.1", "hot >=1"]
    assert record["constrains"] == ["cold <1"]
    # Control: the same indexer, unseeded, knows nothing of it.
    (mirror.folder / "linux-64" / "repodata.json").unlink()
    run_indexer(find_indexer(), mirror.folder, 2)
    assert mirror.record("linux-64/a-1.0-0.conda")["depends"] != ["b >=0.1", "hot >=1"]
    assert "constrains" not in mirror.record("linux-64/a-1.0-0.conda")


def test_a_seed_that_the_indexer_drops_is_caught(
    tmp_path: Path, indexer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control of the typed records: one size as a text, and the indexer opens every artifact.

    In their place it finds empty files.
    """
    row, other = rows(tmp_path / "upstream", (A, W))
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock([replace(row, depends=("hot >=1",)), other])
    before = mirror.states()
    monkeypatch.setattr("scripts.index.publish.render_repodata", _with_text_size)
    with pytest.raises(MirrorError) as error:
        mirror.index()
    [problem] = error.value.problems
    assert "Could not open conda file" in str(problem.details)
    assert problem.code is ExitCode.PROGRAM
    assert mirror.states() == before


def _with_text_size(subdir: str, records: object) -> bytes:
    from scripts.index.repodata import render_repodata

    document = json.loads(render_repodata(subdir, records))  # type: ignore[arg-type]
    for row in document["packages.conda"].values():
        row["size"] = str(row["size"])
    return json.dumps(document).encode()


def test_specs_of_v3_go_where_they_belong(tmp_path: Path, indexer: str) -> None:
    row, other = rows(tmp_path / "upstream", (A, W))
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock([replace(row, depends=("b[extras=[c]]", 'd *[when="python >=3.10"]')), other])
    try:
        mirror.index()
    except MirrorError as error:  # a rattler-index of before (0.28)
        said = {each.message for each in error.problems}
        assert indexer != PY_RATTLER
        assert "'repodata_revisions' in it is not a map of names" in said
        assert not (mirror.folder / "linux-64" / "repodata.json").exists()
        pytest.skip("this indexer writes a draft of repodata_revisions, which is refused")
    document = mirror.repodata("linux-64")
    assert (document["packages"], document["packages.conda"]) == ({}, {})
    assert list(document["v3"]["conda"]) == ["a-1.0-0"]
    assert mirror.index().data["changed"] is False


def test_an_old_lock_is_completed_from_the_artifacts(tmp_path: Path, indexer: str) -> None:
    package = replace(A, constrains=("c <9",), license_family="BSD", track_features=("x",))
    (row,) = rows(tmp_path / "upstream", (package,))
    mirror = make_mirror(tmp_path / "workspace")
    thin = replace(
        row, depends=("hot >=1",), without=frozenset({"size", "timestamp", "license", "md5"})
    )
    mirror.lock([thin], version=1)
    mirror.index()
    assert mirror.record("linux-64/a-1.0-0.conda") == {
        "build": "0",
        "build_number": 0,
        "constrains": ["c <9"],
        "depends": ["hot >=1"],
        "license": "BSD-3-Clause",
        "license_family": "BSD",
        "name": "a",
        "sha256": row.written.sha256,
        "size": row.written.size,
        "subdir": "linux-64",
        "timestamp": 1_700_000_000_000,
        "track_features": "x",
        "version": "1.0",
    }
    assert mirror.index().data["changed"] is False


def test_a_sha256_that_the_lock_lacks_is_computed(tmp_path: Path, indexer: str) -> None:
    (row,) = rows(tmp_path / "upstream", (A,))
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock([replace(row, without=frozenset({"sha256", "size"}))])
    mirror.index()
    record = mirror.record("linux-64/a-1.0-0.conda")
    assert (record["sha256"], record["size"]) == (row.written.sha256, row.written.size)
    assert record["md5"] == row.written.md5


def test_records_of_retained_artifacts(tmp_path: Path, indexer: str) -> None:
    old, new = rows(tmp_path / "upstream", (A, replace(A, version="2.0")))
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock([replace(old, depends=("hot >=1",))])
    mirror.index()
    before = mirror.record("linux-64/a-1.0-0.conda")
    earlier = shards(mirror, "linux-64")["a"]
    mirror.lock([new])
    size = human_size(old.written.size)
    assert mirror.index().lines == (
        "indexed: 2 records in 2 subdirs",
        f"retained (indexed, in no lock): 1 artifact, {size}; `pixi run prune` removes them",
    )
    assert mirror.record("linux-64/a-1.0-0.conda") == before
    assert "linux-64/a-2.0-0.conda" in mirror.states()
    digest = shards(mirror, "linux-64")["a"]
    assert digest != earlier
    names = {each.name for each in (mirror.folder / "linux-64" / "shards").iterdir()}
    assert names == {f"{each}.msgpack.zst" for each in (digest, earlier)}, "a client may want it"
    assert mirror.waiting() == [f"linux-64/shards/{earlier}.msgpack.zst"]
    assert mirror.index().data["changed"] is False


@pytest.mark.parametrize("is_there", [True, False], ids=["torn", "missing"])
def test_records_are_found_in_the_zst_where_repodata_is_torn(
    *, is_there: bool, tmp_path: Path, any_indexer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = rows(tmp_path / "upstream", (A, replace(A, version="2.0")))
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock([old])
    mirror.index()
    repodata = mirror.folder / "linux-64" / "repodata.json"

    def damage() -> None:
        repodata.unlink()
        if is_there:
            repodata.write_bytes(b"\0")

    damage()
    mirror.lock([new])
    assert len(mirror.index().lines) == 2
    assert sorted(mirror.repodata("linux-64")["packages.conda"]) == [
        "a-1.0-0.conda",
        "a-2.0-0.conda",
    ]
    assert "lost" not in capsys.readouterr().err
    # Control: with both torn, the older artifact counts as untracked, and it is said.
    damage()
    repodata.with_name("repodata.json.zst").write_bytes(b"\0")
    assert mirror.index().lines[1:] == ("untracked, and not indexed: linux-64/a-1.0-0.conda",)
    why = "not JSON" if is_there else "is missing"
    said = f"linux-64/repodata.json: {why}; what it said of artifacts that the lock does not name"
    assert f"{said} is lost" in " ".join(capsys.readouterr().err.split())


def test_untracked_files_are_not_indexed(tmp_path: Path, indexer: str) -> None:
    mirror = mirror_of(tmp_path, A)
    for name in ("._a-1.0-0.conda", "odd.conda", "a-1.0-py3-none-any.whl", "README"):
        (mirror.folder / "linux-64" / name).write_bytes(b"not ours")
    expected = (
        "untracked, and not indexed: 4 files",
        "  linux-64/._a-1.0-0.conda",
        "  linux-64/README",
        "  linux-64/a-1.0-py3-none-any.whl",
        "  linux-64/odd.conda",
    )
    assert mirror.index().lines == ("indexed: 1 record in 2 subdirs", expected)
    assert list(mirror.repodata("linux-64")["packages.conda"]) == ["a-1.0-0.conda"]
    (mirror.folder / "linux-64" / "README").unlink()
    first, *rest = mirror.index().lines
    assert first == "index is up to date: 1 record in 2 subdirs"
    few = "linux-64/._a-1.0-0.conda, linux-64/a-1.0-py3-none-any.whl, linux-64/odd.conda"
    assert rest == [f"untracked, and not indexed: {few}"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know only names of text")
def test_untracked_names_that_are_no_text(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_of(tmp_path, A)
    for name in (b"x\xff.conda", b"\xff", b"repodata.json\xff.0123abcd.pixi-mirror.tmp"):
        Path(os.fsdecode(bytes(mirror.folder / "linux-64") + b"/" + name)).write_bytes(b"")
    (mirror.folder / "linux-64" / "shards").mkdir()
    odd = os.fsdecode(bytes(mirror.folder / "linux-64" / "shards") + b"/\xff.msgpack.zst")
    Path(odd).write_bytes(b"")
    untracked = ("linux-64/x\udcff.conda", "linux-64/\udcff")
    assert mirror.index().lines == (
        "indexed: 1 record in 2 subdirs",
        "untracked, and not indexed: " + ", ".join(untracked),
    )
    # Named like shards and index files, and no index names them: they go in time.
    assert mirror.waiting() == [
        "linux-64/repodata.json\udcff.0123abcd.pixi-mirror.tmp",
        "linux-64/shards/\udcff.msgpack.zst",
    ]
    assert mirror.index().data["changed"] is False
    assert mirror.prune("--now") == 0
    assert not Path(odd).exists()


@pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")
@pytest.mark.parametrize("name", ["linux-64", "noarch", "win-64", "noarch/shards"])
def test_nothing_is_written_through_a_link(tmp_path: Path, any_indexer: str, name: str) -> None:
    mirror = mirror_of(tmp_path, A, B)
    mirror.index()
    outside = tmp_path / "outside"
    shutil.copytree(mirror.folder / "noarch", outside)
    (outside / "stale.msgpack.zst").touch()
    shutil.rmtree(mirror.folder / name, ignore_errors=True)
    (mirror.folder / name).symlink_to(outside)
    before = {path: path.lstat().st_mtime_ns for path in outside.rglob("*")}
    with pytest.raises(MirrorError) as caught:
        mirror.index()
    assert str(caught.value) == (
        f"{name}: a link, through which nothing is written\n  leads to  {outside}\n"
        "help: remove it, then run this again"
    )
    assert {path: path.lstat().st_mtime_ns for path in outside.rglob("*")} == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
@pytest.mark.parametrize("name", FILES)
def test_pipes_and_links_in_place_of_index_files(
    tmp_path: Path, any_indexer: str, name: str
) -> None:
    mirror = mirror_of(tmp_path, A)
    mirror.index()
    before = mirror.contents()
    for make in (os.mkfifo, lambda path: path.symlink_to(os.devnull), Path.mkdir):
        file = mirror.folder / "noarch" / name
        file.unlink()
        make(file)
        if file.is_dir():
            with pytest.raises(MirrorError) as caught:
                mirror.index()
            assert str(caught.value) == (
                f"noarch/{name}: a folder is where a file must go\n"
                "help: remove it, then run this again"
            )
            continue
        mirror.index()
        assert file.is_file()
        assert not file.is_symlink()
        assert mirror.contents() == before


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "null",
        '{"format": 3, "channels": [{}]}',
        STAMP.replace("NAME", '"a\\u0000b"'),
        STAMP.replace("NAME", f'"{"x" * 300}"'),
        STAMP.replace("NAME", "7"),
        STAMP.replace("NAME", '"../../outside"'),
        STAMP.replace("NAME", '"/"'),
    ],
)
def test_a_damaged_stamp_costs_one_indexing(tmp_path: Path, any_indexer: str, text: str) -> None:
    mirror = mirror_of(tmp_path, A)
    mirror.index()
    before = mirror.contents()
    mirror.workspace.place.index_stamp.write_text(text, encoding="utf-8")
    assert mirror.index().lines == ("indexed: 1 record in 2 subdirs",)
    assert mirror.contents() == before
    assert sorted(path.name for path in mirror.folder.iterdir()) == ["linux-64", "noarch"]


def test_a_stamp_that_cannot_be_replaced(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_of(tmp_path, A)
    mirror.index()
    stamp = mirror.workspace.place.index_stamp
    stamp.unlink()
    stamp.mkdir()
    with pytest.raises(MirrorError) as caught:
        mirror.index()
    assert str(caught.value) == (
        f"{stamp}: cannot be read or written: Is a directory\n"
        "help: see to the disk and its permissions, then run this again"
    )


@pytest.mark.skipif(os.name == "nt", reason="chmod takes nothing away there")
def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is a mock: root may list everything."""
    mirror = mirror_of(tmp_path, A)
    folder, before = mirror.folder / "linux-64", mirror.contents()
    real = os.scandir

    def refuse(path: Any = ".") -> Any:
        if str(path) == str(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(MirrorError) as caught:
        mirror.index()
    assert str(caught.value) == (
        f"{folder}: cannot be read: Permission denied\n"
        "help: see to the disk and its permissions, then run this again"
    )
    assert caught.value.problems[0].code is ExitCode.USAGE
    monkeypatch.undo()
    assert mirror.contents() == before  # no index was published


def test_a_damaged_shard_is_made_again(tmp_path: Path, indexer: str) -> None:
    mirror = mirror_of(tmp_path, A, B)
    mirror.index()
    before = mirror.contents()
    shard = mirror.folder / "noarch" / "shards" / f"{shards(mirror, 'noarch')['b']}.msgpack.zst"
    shard.write_bytes(b"torn")
    (problem,) = read_subdir_index(mirror.folder / "noarch", PurePosixPath("noarch")).problems
    assert str(problem) == (
        f"noarch/shards/{shard.name}: the shard of b has another sha256 than its name\n"
        "help: pixi run index"
    )
    mirror.index()
    assert mirror.contents() == before
    assert read_subdir_index(mirror.folder / "noarch", PurePosixPath("noarch")).problems == ()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_index_file_is_made_again(tmp_path: Path, any_indexer: str, name: str) -> None:
    mirror = mirror_of(tmp_path, A, B)
    mirror.index()
    before = mirror.contents()
    (mirror.folder / "noarch" / name).unlink()
    (problem, *_) = read_subdir_index(mirror.folder / "noarch", PurePosixPath("noarch")).problems
    assert str(problem) == f"noarch/{name}: is missing\nhelp: pixi run index"
    mirror.index()
    assert mirror.contents() == before
    assert (mirror.folder / "noarch" / name).exists()


def test_an_index_that_says_two_things(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_of(tmp_path, A, replace(A, version="2.0"))
    mirror.index()
    file = mirror.folder / "linux-64" / "repodata.json"
    file.write_bytes(file.read_bytes().replace(b'"size":', b'"size":1'))
    problems = read_subdir_index(mirror.folder / "linux-64", PurePosixPath("linux-64")).problems
    assert [str(each).partition("\n")[0] for each in problems] == [
        "linux-64/repodata.json: is not the one that repodata.json.zst holds",
    ]


def test_missing_and_wrong_artifacts_are_all_named(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_of(tmp_path, A, B, W)
    (mirror.folder / "linux-64" / "a-1.0-0.conda").unlink()
    (mirror.folder / "noarch" / "b-1.0-0.tar.bz2").write_bytes(b"short")
    before = mirror.states()
    with pytest.raises(MirrorError) as error:
        mirror.index()
    size = len(B.data)
    assert str(error.value) == (
        "linux-64/a-1.0-0.conda: is not in the channel folder\nhelp: pixi run fetch\n"
        "noarch/b-1.0-0.tar.bz2: size differs from pixi.lock\n"
        f"  expected  {size} bytes\n  actual    5 bytes\nhelp: pixi run fetch"
    )
    assert {problem.code for problem in error.value.problems} == {ExitCode.USAGE}
    assert mirror.states() == before


def test_each_of_very_many_missing_artifacts_is_a_problem(tmp_path: Path, any_indexer: str) -> None:
    packages = [TinyPackage(name=f"p{number:02}") for number in range(23)]
    mirror = mirror_of(tmp_path, *packages)
    for file in (mirror.folder / "noarch").iterdir():
        file.unlink()
    with pytest.raises(MirrorError) as error:
        mirror.index()
    assert [problem.subject for problem in error.value.problems] == [
        f"noarch/p{number:02}-1.0-0.conda" for number in range(23)
    ]


def test_a_mirror_of_nothing_is_a_channel(tmp_path: Path, indexer: str) -> None:
    mirror = make_mirror(tmp_path / "workspace")
    mirror.lock(())
    assert mirror.index().lines == ("indexed: 0 records in 1 subdir",)
    assert mirror.repodata("noarch")["packages.conda"] == {}
    assert mirror.index().data["changed"] is False


def test_every_channel_is_indexed_on_its_own(tmp_path: Path, indexer: str) -> None:
    mirror = make_mirror(tmp_path / "workspace", "by-channel")
    here = rows(tmp_path / "upstream", (A, B))
    there = rows(tmp_path / "other", (replace(W, name="v"), replace(W, name="u")), OTHERS)
    mirror.lock((*here, *there))
    report = mirror.index()
    assert report.lines == ("indexed: 4 records in 4 subdirs",)
    assert list(mirror.repodata("bioconda/win-64")["packages.conda"]) == [
        "u-1!2.0+x-0.conda",
        "v-1!2.0+x-0.conda",
    ]
    assert mirror.repodata("bioconda/noarch")["packages.conda"] == {}
    assert list(mirror.repodata("conda-forge/linux-64")["packages.conda"]) == ["a-1.0-0.conda"]
    before = mirror.states()
    mirror.lock((*here, there[0]))
    mirror.index()
    changed = {name for name, state in mirror.states().items() if state != before.get(name)}
    assert changed == set(), "one artifact is retained, so nothing is to be written"
    # A channel that the lock names no more stays one while it has artifacts.
    mirror.lock(here)
    assert str(mirror.index().lines[1]).startswith("retained (indexed, in no lock): 2 artifacts, ")
    for name in ("v-1!2.0+x-0.conda", "u-1!2.0+x-0.conda"):
        (mirror.folder / "bioconda" / "win-64" / name).unlink()
    assert mirror.index().lines == ("indexed: 2 records in 2 subdirs",)
    assert {name.partition("/")[0] for name in mirror.waiting()} == {"bioconda"}
    assert mirror.index().lines == ("index is up to date: 2 records in 2 subdirs",)
    assert mirror.prune("--now") == 0
    assert not (mirror.folder / "bioconda").exists()
    assert mirror.index().lines == ("index is up to date: 2 records in 2 subdirs",)


def test_an_emptied_subdir_loses_its_index(tmp_path: Path, indexer: str) -> None:
    mirror = mirror_of(tmp_path, A, B)
    mirror.index()
    (mirror.folder / "linux-64" / "a-1.0-0.conda").unlink()
    (mirror.folder / "linux-64" / "mine.txt").write_text("not ours")
    mirror.lock(rows(tmp_path / "upstream", (B,)))
    mirror.index()
    assert set(mirror.waiting()) == {
        name
        for name in mirror.states()
        if name.startswith("linux-64/") and name != "linux-64/mine.txt"
    }
    assert mirror.prune("--now") == 0
    assert [file.name for file in (mirror.folder / "linux-64").iterdir()] == ["mine.txt"]
    assert (mirror.folder / "noarch" / "repodata.json").exists()


def test_shards_come_first_and_repodata_last(
    tmp_path: Path, any_indexer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_of(tmp_path, A, B)
    mirror.index()
    placed: list[str] = []
    replaced = Path.replace

    def watched(self: Path, target: Path) -> Path:
        if target.is_relative_to(mirror.folder):
            placed.append(target.relative_to(mirror.folder).as_posix())
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    mirror.lock(rows(tmp_path / "upstream", (replace(A, version="2.0"), replace(B, version="2"))))
    mirror.index()
    kinds = ["shards" if "/shards/" in name else name.partition("/")[2] for name in placed]
    first, last = ["shards"] * 2, ["repodata.json"] * 2
    middle = ["repodata.json.zst", "repodata_shards.msgpack.zst"] * 2
    assert kinds == [*first, *middle, *last]


def test_an_indexer_that_fails(tmp_path: Path, fake_program: Path) -> None:
    fake_program.write_text("#!/bin/sh\necho the reason >&2\nexit 3\n", encoding="utf-8")
    mirror = mirror_of(tmp_path, A)
    before = mirror.states()
    with pytest.raises(MirrorError) as error:
        mirror.index()
    assert str(error.value) == "rattler-index: ended with status 3\n  said  the reason"
    assert error.value.problems[0].code is ExitCode.PROGRAM
    assert mirror.states() == before


@pytest.mark.skipif(os.name == "nt", reason="there, what runs is told by its name")
def test_an_indexer_that_cannot_be_started(tmp_path: Path) -> None:
    broken = tmp_path / "rattler-index"
    broken.write_bytes(b"#!/nowhere\n")
    broken.chmod(0o755)
    with pytest.raises(MirrorError) as caught:
        run_indexer(Indexer(program=broken, identity="broken"), tmp_path, 0)
    assert caught.value.problems[0].code is ExitCode.PROGRAM
    assert str(caught.value) == (
        "rattler-index: ended with status 126\n"
        f"  said  {broken}: cannot be started: No such file or directory"
    )


@pytest.mark.parametrize(
    ("reason", "number", "trouble"),
    [
        ("No space left on device", 28, "the disk (df, dmesg)"),
        (
            *("Too many open files", 24),
            "how many files may be open here, two for each package (ulimit -Hn)",
        ),
    ],
)
def test_an_indexer_that_the_system_refuses(
    reason: str, number: int, trouble: str, tmp_path: Path, fake_program: Path
) -> None:
    said = f"failed to write: Unexpected (persistent) => {reason} (os error {number})"
    fake_program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n", encoding="utf-8")
    mirror = mirror_of(tmp_path, A)
    before = mirror.states()
    with pytest.raises(MirrorError) as error:
        mirror.index()
    assert str(error.value) == (
        f"{mirror.workspace.place.cache}: rattler-index cannot read or write here:"
        f" {reason}\n  said  {said}\nhelp: see to {trouble}, then pixi run index"
    )
    assert error.value.problems[0].code is ExitCode.USAGE
    assert mirror.states() == before


@pytest.mark.skipif(sys.platform != "linux", reason="a small disk of one's own is Linux's")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """The cache folder is a file system of four pages, in a mount namespace of its own."""
    mirror = mirror_of(tmp_path, A, B)
    cache = mirror.workspace.place.cache
    cache.mkdir(parents=True, exist_ok=True)
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system gives no mount namespace of one's own")
    before = mirror.states()
    script = 'mount -t tmpfs -o size=16k tmpfs "$1" && exec "$0" -P -m tasks.index'
    done = subprocess.run(
        [*alone, "sh", "-c", script, sys.executable, cache],
        cwd=mirror.root,
        env=os.environ | {"PATH": path_with(PY_RATTLER), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    opening, first, *_, last = done.stderr.splitlines()
    assert opening == "index: opening 2 artifacts"
    assert first == (
        f"error: {cache}: py-rattler (index) cannot read or write here: No space left on device"
    )
    assert last == "help: see to the disk (df, dmesg), then pixi run index"
    assert done.returncode == ExitCode.USAGE
    assert mirror.states() == before


def test_an_indexer_that_hangs_is_ended(
    tmp_path: Path, fake_program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it has started with it, which would hold its streams open."""
    monkeypatch.setattr("scripts.index.indexer._TIMEOUT", 0.5)
    fake_program.write_text("#!/bin/sh\nsleep 600\necho never\n", encoding="utf-8")
    mirror = mirror_of(tmp_path, A)
    before = mirror.states()
    with pytest.raises(MirrorError) as error:
        mirror.index()
    assert str(error.value) == (
        "rattler-index: was ended, since it had not finished after 0 minutes"
    )
    assert error.value.problems[0].code is ExitCode.PROGRAM
    assert mirror.states() == before


def test_locked_records_that_no_indexer_could_read(tmp_path: Path, any_indexer: str) -> None:
    """Each artifact is named, also where the indexer alone could have said that something is."""
    packages = (A, B, replace(W, timestamp=10**18), TinyPackage(name="fine"))
    a, b, w, fine = rows(tmp_path / "upstream", packages)
    mirror = make_mirror(tmp_path / "workspace")
    bad, odd = replace(a, depends=("b >=1,,<", "Foo")), replace(b, constrains=("c[no_key=1]",))
    mirror.lock([bad, odd, w, fine])
    before = mirror.states()
    no_time = (
        "win-64/w-1!2.0+x-0.conda: its record cannot be indexed\n"
        "  from    pixi.lock\n"
        "  reason  timestamp is 1000000000000000000, which is no time up to the year 9999\n"
        "help: pixi update w, or correct its row in pixi.lock"
    )
    with pytest.raises(MirrorError) as error:
        mirror.index()
    assert str(error.value) == (
        "linux-64/a-1.0-0.conda: depends of its record holds 'b >=1,,<', which is no MatchSpec\n"
        "  from    pixi.lock\n"
        "  reason  unable to parse version spec: >=1,,<\n"
        "help: pixi update a, or correct its row in pixi.lock\n"
        "noarch/b-1.0-0.tar.bz2: constrains of its record holds 'c[no_key=1]', which is no"
        " MatchSpec\n"
        "  from    pixi.lock\n"
        "  reason  invalid bracket key: no_key\n"
        f"help: pixi update b, or correct its row in pixi.lock\n{no_time}"
    )
    assert {problem.code for problem in error.value.problems} == {ExitCode.USAGE}
    assert mirror.states() == before
    mirror.lock([w, fine])
    with pytest.raises(MirrorError) as error:
        mirror.index()
    assert str(error.value) == no_time
    assert mirror.states() == before
    (odd,) = rows(tmp_path / "upstream", (TinyPackage(name="v", version="1.0.=x"),))
    mirror.lock([odd, fine])
    with pytest.raises(MirrorError) as error:
        mirror.index()
    (problem,) = error.value.problems
    assert problem.message == "the version of its record is '1.0.=x', which is none"
    # Control: without these rows the rest is indexed.
    mirror.lock([replace(a, depends=("Foo",)), replace(b, constrains=()), fine])
    assert mirror.index().lines[0] == "indexed: 3 records in 2 subdirs"


def test_of_several_channels_none_is_published_where_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever is the first: `bioconda`, `conda-forge`."""
    mirror = make_mirror(tmp_path / "workspace", "by-channel")
    (a,) = rows(tmp_path / "upstream", (A,), OTHERS)
    (b,) = rows(tmp_path / "upstream", (B,))
    for bad in (
        [replace(a, depends=("b >=1,,<",)), b],
        [a, replace(b, depends=("b >=1,,<",))],
    ):
        mirror.lock(bad)
        before = mirror.states()
        with pytest.raises(MirrorError, match="which is no MatchSpec"):
            mirror.index()
        assert mirror.states() == before
        assert scratch_of(mirror) == []
    mirror.lock([a, b])
    capsys.readouterr()
    assert mirror.index().lines[0] == "indexed: 2 records in 3 subdirs"
    assert capsys.readouterr().err.splitlines() == [
        "local-channel/bioconda: 1 artifact of the lock",
        "local-channel/conda-forge: 1 artifact of the lock",
    ]


def test_an_indexer_that_does_nothing_is_not_believed(tmp_path: Path, fake_program: Path) -> None:
    mirror = mirror_of(tmp_path, A)
    before = mirror.states()
    with pytest.raises(MirrorError) as error:
        mirror.index()
    program = find_indexer()
    assert [str(each).partition("\n")[0] for each in error.value.problems] == [
        "linux-64/repodata.json.zst: is missing",
        "linux-64/repodata_shards.msgpack.zst: is missing",
        "noarch/repodata.json.zst: is missing",
        "noarch/repodata_shards.msgpack.zst: is missing",
    ]
    (problem, *_) = error.value.problems
    assert problem.details == (("indexer", program.identity),)
    assert problem.help == "nothing was changed in the channel; try another version of the indexer"
    assert {each.code for each in error.value.problems} == {4}
    assert mirror.states() == before
    assert scratch_of(mirror) == []


@pytest.mark.needs_rattler_index
def test_an_indexer_that_finds_more_is_not_believed(tmp_path: Path, fake_program: Path) -> None:
    """The real one, in a folder where another artifact has appeared."""
    mirror, more = mirror_of(tmp_path, A), replace(B, timestamp=0).write(tmp_path / "more").path
    fake_program.write_text(
        f'#!/bin/sh\nfor last; do :; done\ncp "{more}" "$last/noarch" 2>/dev/null\n'
        f'exec "{INDEXERS[0]}" "$@"\n',
        encoding="utf-8",
    )
    before = mirror.states()
    with pytest.raises(MirrorError) as error:
        mirror.index()
    assert str(error.value) == (
        "noarch/b-1.0-0.tar.bz2: has a record in repodata.json, but no place\n"
        f"  indexer  {find_indexer().identity}\n"
        "help: nothing was changed in the channel; try another version of the indexer"
    )
    assert mirror.states() == before


def test_a_record_that_py_rattler_drops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `purls` look like one and are none, so it reads the artifact, of which a stub is there.

    In words that change with its version.
    """
    monkeypatch.setenv("PATH", path_with(PY_RATTLER))
    mirror = mirror_of(tmp_path, replace(A, depends=()))
    lock = mirror.root / "pixi.lock"
    text = lock.read_text(encoding="utf-8")
    lock.write_text(text.replace("  sha256:", '  purls: ["pkg:pypi/a b@@@?x"]\n  sha256:'))
    before = mirror.states()
    with pytest.raises(MirrorError) as error:
        mirror.index()
    assert str(error.value).startswith("py-rattler (index): could not index the channel\n  said  ")
    assert error.value.problems[0].code is ExitCode.PROGRAM
    assert mirror.states() == before


def test_another_indexer_indexes_again(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_of(tmp_path, A)
    mirror.index()
    found = find_indexer()
    other = Indexer(program=found.program, identity="another version")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stage, "find_indexer", lambda: other)
        assert mirror.index().data["changed"] is True
        assert mirror.index().data["changed"] is False
    assert mirror.index().data["changed"] is True


def test_no_indexer_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(MirrorError) as error:
        find_indexer()
    assert str(error.value) == (
        "rattler-index: neither this program nor py-rattler is installed\n"
        "help: pixi add --feature tools rattler-index"
    )


def access_to(file: Path) -> str:
    """Return who may do what with a file, as Windows lists it."""
    done = subprocess.run(["icacls", str(file)], capture_output=True, text=True, check=True)
    return done.stdout.replace(str(file), "")


@pytest.mark.skipif(os.name != "nt", reason="files of other systems inherit nothing")
def test_an_index_file_is_as_open_as_its_folder(tmp_path: Path, any_indexer: str) -> None:
    """The control moves one out of a folder of tempfile's, which newer Pythons close to others."""
    mirror = mirror_of(tmp_path, A)
    mirror.index()
    file = mirror.folder / "linux-64" / "repodata.json"
    (beside := file.with_name("beside")).touch()
    if not access_to(beside):
        pytest.skip("icacls lists nothing here")
    assert access_to(file) == access_to(beside)
    if sys.version_info >= (3, 13):
        (closed := Path(tempfile.mkdtemp(dir=tmp_path)) / "closed").touch()
        assert access_to(closed.replace(file.with_name("closed"))) != access_to(beside)


def test_leftovers_of_killed_runs_are_cleared(tmp_path: Path, any_indexer: str) -> None:
    mirror = mirror_of(tmp_path, A)
    killed = mirror.workspace.place.cache / "0123abcd.pixi-mirror.tmp"
    stale = killed / "work" / "noarch"
    stale.mkdir(parents=True)
    (killed / "owner").touch()
    (stale / "repodata.json").write_text("{}")
    torn = mirror.folder / "linux-64" / "repodata.json.0123abcd.pixi-mirror.tmp"
    torn.write_text("{")
    mine = torn.with_name("repodata.json.4711.tmp")
    mine.write_text("{")
    mirror.index()
    assert mine.exists()
    assert scratch_of(mirror) == []
    assert mirror.waiting() == ["linux-64/repodata.json.0123abcd.pixi-mirror.tmp"]
    assert mirror.prune("--now") == 0
    assert not torn.exists()


def test_a_channel_folder_that_cannot_be_written(
    tmp_path: Path, any_indexer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirror_of(tmp_path, A)

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(MirrorError) as error:
        mirror.index()
    (problem,) = error.value.problems
    assert problem.code is ExitCode.USAGE
    assert problem.message == "cannot be written: Permission denied"


def test_the_shards_are_named_by_their_sha256(tmp_path: Path, indexer: str) -> None:
    mirror = mirror_of(tmp_path, A, B, W)
    mirror.index()
    for file in mirror.folder.rglob("*.msgpack.zst"):
        if file.parent.name == "shards":
            assert hashlib.sha256(file.read_bytes()).hexdigest() in file.name


def test_rattler_reads_it(tmp_path: Path, indexer: str) -> None:
    """The oracle: py-rattler's own record types, in a process of their own as they may crash."""
    mirror = mirror_of(tmp_path, A, B, W)
    mirror.index()
    code = (
        "import os, sys\nfrom rattler import Channel, RepoData\n"
        "records = RepoData.from_path(sys.argv[1]).into_repo_data(Channel(sys.argv[2]))\n"
        "print([(each.file_name, each.size, each.sha256.hex()) for each in records], flush=True)\n"
        "os._exit(0)\n"
    )
    file = mirror.folder / "noarch" / "repodata.json"
    done = subprocess.run(
        [sys.executable, "-c", code, str(file), CHANNEL], capture_output=True, text=True, check=True
    )
    digest = hashlib.sha256(B.data).hexdigest()
    assert done.stdout.strip() == str([("b-1.0-0.tar.bz2", len(B.data), digest)])
