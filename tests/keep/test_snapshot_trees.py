"""The trees of snapshots where links are refused, disks are full, or a run is killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.keep.snapshots import newest_snapshot, read_snapshots, tree_of
from tasks import index
from tasks import mirror as mirror_task
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.wheels import PypiRow, TinyWheel

OLD = TinyPackage(name="a", subdir="linux-64")
BOTH = TinyPackage(name="b")


def run(mirror: Mirror, *options: str) -> int:
    return index.main(["--manifest-path", str(mirror.root), *options])


def lock(mirror: Mirror, version: str) -> None:
    upstream = mirror.root.parent / "upstream"
    mirror.lock(rows(upstream, (replace(OLD, version=version), BOTH)))


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    made = make_mirror(tmp_path / "workspace")
    lock(made, "1.0")
    return made


def refuse_links(monkeypatch: pytest.MonkeyPatch, code: int, name: str) -> None:
    """Have the system refuse hard links of such files into trees of snapshots."""
    link = os.link

    def refused(source: Path, target: Path) -> None:
        if Path(source).name.startswith(name) and "snapshots" in Path(target).parts:
            if os.name == "nt" and code == errno.EMLINK:
                raise OSError(None, "too many links", str(source), 1142, str(target))
            raise OSError(code, os.strerror(code), str(source), None, str(target))
        link(source, target)

    monkeypatch.setattr(os, "link", refused)


def there(mirror: Mirror) -> list[str]:
    folder = mirror.workspace.place.snapshots
    return sorted(x.name for x in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSYS])
def test_without_links_there_are_records_and_that_is_said_once(
    code: int,
    mirror: Mirror,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refuse_links(monkeypatch, code, "a-")
    said = (
        "warning: local-channel: its disk has no hard links, so of snapshots only the records are"
        " kept: a rollback works as far as the files are still there\n"
    )
    assert run(mirror) == 0
    assert said in capsys.readouterr().err
    lock(mirror, "2.0")
    assert run(mirror) == 0
    assert said not in capsys.readouterr().err
    found = read_snapshots(mirror.workspace.place)
    names = [f"{each.id}{end}" for each in found for end in (".jsonl", ".locks")]
    assert there(mirror) == sorted(names)


def test_a_file_with_all_its_links_is_copied(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch, errno.EMLINK, "a-")
    assert run(mirror) == 0
    place = mirror.workspace.place
    snapshot = newest_snapshot(place)
    assert snapshot is not None
    for name, is_link in (("linux-64/a-1.0-0.conda", False), ("noarch/b-1.0-0.conda", True)):
        kept, own = tree_of(place, snapshot) / name, mirror.folder / name
        assert kept.samefile(own) is is_link
        assert kept.read_bytes() == own.read_bytes()


def test_mirror_says_once_that_none_was_taken(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--manifest-path", str(mirror.root), "--level", "files"]
    with monkeypatch.context() as patched:
        refuse_links(patched, errno.ENOSPC, "a-1.0")
        assert mirror_task.main(command) == 2
    said = capsys.readouterr()
    assert said.err.count(": no snapshot was taken, as this cannot be read or written: ") == 1
    assert "\nsnapshot " not in said.out
    assert mirror_task.main(command) == 0
    said = capsys.readouterr()
    assert "no snapshot" not in said.err
    assert said.out.count("\nsnapshot ") == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_where_the_disk_refuses_the_next_run_takes_it(
    code: int,
    mirror: Mirror,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(mirror, "-q") == 0
    before = there(mirror)
    lock(mirror, "2.0")
    with monkeypatch.context() as patched:
        refuse_links(patched, code, "a-2.0")
        capsys.readouterr()
        assert run(mirror) == 2
    error = capsys.readouterr().err
    (refused,) = (each for each in error.splitlines() if "no snapshot was taken" in each)
    assert refused.startswith(f"error: {mirror.workspace.place.snapshots}{os.sep}")
    assert refused.endswith(
        f"a-2.0-0.conda: no snapshot was taken, as this cannot be read or written: "
        f"{os.strerror(code)}"
    )
    assert "a-2.0-0.conda" in mirror.repodata("linux-64")["packages.conda"]
    assert [each for each in there(mirror) if not each.endswith(".locks")] == [
        each for each in before if not each.endswith(".locks")
    ]
    assert run(mirror, "-q") == 0
    first, second = read_snapshots(mirror.workspace.place)
    assert second.parent == first.id
    assert len(there(mirror)) == 6


class KilledError(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    "before", ["scripts.keep.take_snapshot.write_snapshot", "shutil.copyfileobj"]
)
def test_what_a_killed_run_leaves_goes(
    before: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_args: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(before, die)
        patched.setattr("shutil.rmtree", lambda *_args, **_more: None)  # it clears up no more
        with pytest.raises(KilledError):
            run(mirror)
    assert there(mirror) != []
    assert read_snapshots(mirror.workspace.place) == ()
    lock(mirror, "2.0")
    assert run(mirror, "-q") == 0
    [snapshot] = read_snapshots(mirror.workspace.place)
    assert there(mirror) == [snapshot.id, f"{snapshot.id}.jsonl", f"{snapshot.id}.locks"]


def test_unchanged_index_files_are_kept_once(mirror: Mirror) -> None:
    assert run(mirror, "-q") == 0
    lock(mirror, "2.0")
    assert run(mirror, "-q") == 0
    place = mirror.workspace.place
    first, second = (tree_of(place, each) for each in read_snapshots(place))
    for name, same in (("noarch/repodata.json", True), ("linux-64/repodata.json", False)):
        assert (first / name).samefile(second / name) is same
        assert not (second / name).samefile(mirror.folder / name)


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no file's size")
def test_a_copy_that_the_disk_takes_in_part_is_none(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    """A write may end short, and say so with the next one alone: here at a limit of the system."""
    import resource

    assert run(mirror, "-q") == 0
    (snapshot,) = read_snapshots(mirror.workspace.place)
    tree, largest = tree_of(mirror.workspace.place, snapshot), "linux-64/repodata.json"
    whole = (tree / largest).read_bytes()
    shutil.rmtree(tree)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) - 1, before[1]))
    try:
        assert run(mirror, "-q") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "no snapshot was taken, as this cannot be read or written: " in capsys.readouterr().err
    assert there(mirror) == [f"{snapshot.id}.jsonl", f"{snapshot.id}.locks"]
    assert run(mirror, "-q") == 0
    assert (tree / largest).read_bytes() == whole


@pytest.mark.parametrize("has_tree", [True, False])
def test_what_the_newest_one_knows_outlives_the_index(
    has_tree: bool,  # noqa: FBT001
    mirror: Mirror,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of conda and of PyPI; the control has no tree any more."""
    wheel = PypiRow(written=TinyWheel(name="w").write(tmp_path))
    mirror.lock((*rows(tmp_path / "upstream", (OLD, BOTH)), wheel))
    assert run(mirror) == 0
    lock(mirror, "2.0")
    assert run(mirror) == 0
    before, place = mirror.contents(), mirror.workspace.place
    described = [x for x in before if not x.endswith((".conda", ".whl"))]
    for each in described:
        (mirror.folder / each).unlink()
    if not has_tree:
        for snapshot in read_snapshots(place):
            shutil.rmtree(tree_of(place, snapshot))
    capsys.readouterr()
    assert run(mirror, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    kept = [path for path in before if path.endswith((".whl", "/a-1.0-0.conda"))]
    if has_tree:
        assert ([x["path"] for x in told["retained"]], told["untracked"]) == (kept, [])
        assert told["snapshot"]["new"] is False, "byte for byte"
    else:
        assert (told["retained"], told["untracked"]) == ([], kept)


def test_a_page_that_is_removed_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One project's of several, and the mapping; the other pages are there."""
    mirror = make_mirror(tmp_path / "workspace")
    wheels = [TinyWheel(name=name).write(tmp_path) for name in ("one", "other")]
    one, other = (PypiRow(written=each) for each in wheels)
    mapped = TinyPackage(name="py-one", purls=("pkg:pypi/one-of-conda",))
    (conda,) = rows(tmp_path / "upstream", (mapped,))
    for gone in ((one, conda), ()):
        mirror.lock((*gone, other))
        assert run(mirror) == 0
    before = mirror.contents()
    for each in (
        *mirror.folder.glob("_pypi/index/one/*"),
        *mirror.folder.glob("_pypi/mapping/*/*"),
    ):
        each.unlink()
    capsys.readouterr()
    assert run(mirror, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    kept = [path for path in before if path.endswith(("/one-1.0-py3-none-any.whl", ".conda"))]
    assert ([x["path"] for x in told["retained"]], told["untracked"]) == (kept, [])
    assert (told["snapshot"]["new"], mirror.contents()) == (False, before)
