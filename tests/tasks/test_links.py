"""A link in the channel folder leads out of it: nothing is written, or removed, through one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks import fetch, index, prune, verify
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links are for few on Windows")


def indexed_mirror(folder: Path, subdir: str = "noarch") -> Mirror:
    """Make a mirror of one artifact."""
    mirror = make_mirror(folder / "w")
    mirror.lock(rows(folder / "upstream", (TinyPackage(name="a", subdir=subdir),)))
    mirror.index()
    return mirror


def test_a_link_in_place_of_a_subdir_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where all is behind it that should be in the subdir."""
    mirror = indexed_mirror(tmp_path)
    outside, linked = tmp_path / "outside", mirror.folder / "noarch"
    linked.rename(outside)
    linked.symlink_to(outside)
    before = {each: each.lstat().st_mtime_ns for each in (outside, *outside.rglob("*"))}
    for task in (fetch, index, prune):
        capsys.readouterr()
        assert task.main(["--manifest-path", str(mirror.root)]) == 2
        assert capsys.readouterr().err == (
            f"error: noarch: a link, through which nothing is written\n  leads to  {outside}\n"
            "help: remove it, then run this again\n"
        )
    after = {each: each.lstat().st_mtime_ns for each in (outside, *outside.rglob("*"))}
    assert after == before


def test_a_link_in_place_of_a_noarch_without_artifacts_is_no_stranger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every channel has that folder. Control: another link is one."""
    mirror = indexed_mirror(tmp_path, "linux-64")
    (mirror.folder / "noarch").rename(tmp_path / "outside")
    options = ["--manifest-path", str(mirror.root), "-q", "--level", "files", "--strict"]
    for name, code in ("noarch", 0), ("other", 1):
        (mirror.folder / name).symlink_to(tmp_path / "outside")
        capsys.readouterr()
        assert verify.main(options) == code
    size = len(str(tmp_path / "outside"))
    assert capsys.readouterr().err == (
        "error: other: is untracked: named by no workspace, and by no index ever\n"
        f"  size  {size} bytes\nhelp: move it out of the channel folder\n"
    )


@pytest.mark.parametrize("name", ["repodata.json", "repodata_shards.msgpack.zst"])
def test_a_link_in_place_of_an_index_file_is_replaced(tmp_path: Path, name: str) -> None:
    """Even by the same bytes: what it leads to does not come along when the channel is carried."""
    mirror = indexed_mirror(tmp_path)
    outside, linked = tmp_path / "outside", mirror.folder / "noarch" / name
    linked.rename(outside)
    linked.symlink_to(outside)
    before = outside.stat()
    assert index.main(["--manifest-path", str(mirror.root), "-q"]) == 0
    assert not linked.is_symlink()
    assert linked.read_bytes() == outside.read_bytes()
    assert outside.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("leads_to", ["nowhere", "outside"])
def test_a_link_in_place_of_what_waits_for_its_removal_stays(tmp_path: Path, leads_to: str) -> None:
    """Another file took the place, also where it leads to the very bytes. Control: the other."""
    mirror = indexed_mirror(tmp_path)
    mirror.lock(rows(tmp_path / "upstream", (TinyPackage(name="c"),)))
    mirror.index()
    assert prune.main(["--manifest-path", str(mirror.root), "-q"]) == 0
    linked, outside = mirror.folder / "noarch" / "a-1.0-0.conda", tmp_path / "outside"
    other = next(mirror.folder / x for x in mirror.waiting() if x != "noarch/a-1.0-0.conda")
    linked.rename(outside)
    linked.symlink_to(tmp_path / leads_to)
    assert prune.main(["--manifest-path", str(mirror.root), "--now", "-q"]) == 0
    assert linked.is_symlink()
    assert outside.exists()
    assert not other.exists()
