"""Snapshots by the tasks that a person runs: what was proven of one, in any layout, of PyPI too."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest

from scripts.core.channel_paths import Layout
from scripts.keep.snapshot_locks import locks_of
from scripts.keep.snapshots import (
    newest_snapshot,
    read_snapshot_files,
    read_snapshots,
    record_of,
    tree_of,
)
from scripts.verify.findings import Level
from tasks import bundle, index, mirror, prune, rollback, snapshots
from tests.support.locks import RawRow
from tests.support.mirrors import Mirror, forbid, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.verified import here
from tests.support.wheels import PypiRow, TinySdist, TinyWheel

PYPI = "https://pypi.example.org/simple"
SECRET = "tk-0123456789abcdef"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A mirror that py-rattler alone installs from."""
    monkeypatch.setenv("PATH", "")
    made = make_mirror(tmp_path / "workspace")
    made.lock(rows(tmp_path / "upstream", (TinyPackage(name="lib"), TinyPackage(name="other"))))
    return made


def run(made: Mirror, *options: str) -> int:
    return mirror.main(["--manifest-path", str(made.root), *options])


def test_what_is_proven_is_in_the_snapshot(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made) == 0
    out = capsys.readouterr().out.splitlines()
    place = made.workspace.place
    snapshot = newest_snapshot(place)
    assert snapshot is not None
    assert out[-2:] == [
        f"snapshot {snapshot.id}",
        "mirror: local-channel holds what pixi.lock names, verified",
    ]
    levels: dict[str, str | None] = {each.level: each.client for each in snapshot.proofs}
    installed = {"install": f"py-rattler {version('py-rattler')}"} if here() == "linux-64" else {}
    assert levels == {each: installed.get(each) for each in Level if each in levels}
    assert set(Level) - levels.keys() <= {Level.INSTALL} - installed.keys()
    assert snapshots.main(["--manifest-path", str(made.root)]) == 0
    proven = "files, archives, index, closure, solve"
    if installed:
        proven += f", install ({installed['install']})"
    assert capsys.readouterr().out.endswith(f"  {proven}\n")
    lock, manifest = made.root / "pixi.lock", made.root / "pixi.toml"
    [kept] = snapshot.locks
    assert (kept.lock_sha256, kept.manifest_sha256) == (
        hashlib.sha256(lock.read_bytes()).hexdigest(),
        hashlib.sha256(manifest.read_bytes()).hexdigest(),
    )
    for each in (lock, manifest):
        assert (locks_of(place, snapshot) / "1" / each.name).read_bytes() == each.read_bytes()
    assert run(made) == 0
    assert f"snapshot {snapshot.id} stands" in capsys.readouterr().out.splitlines()


def test_what_is_proven_later_is_shown(made: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    """The record of what `index` left never changes; what `mirror` finds stands beside it."""
    assert index.main(["--manifest-path", str(made.root), "-q"]) == 0
    [snapshot] = read_snapshots(made.workspace.place)
    assert snapshot.proofs == ()
    record = (made.workspace.place.snapshots / f"{snapshot.id}.jsonl").read_bytes()
    assert run(made, "-q", "--level", "files,closure") == 0
    [later] = read_snapshots(made.workspace.place)
    assert (later.id, [each.level for each in later.proofs]) == (snapshot.id, ["files", "closure"])
    assert (made.workspace.place.snapshots / f"{later.id}.jsonl").read_bytes() == record
    assert bundle.main(["--manifest-path", str(made.root), str(made.root / "out"), "--full"]) == 0
    assert "bundle: proven: files, closure\n" in capsys.readouterr().out
    assert "  proven          files, closure\n" in (made.root / "out/LABEL.txt").read_text()
    before = made.contents()
    assert run(made, "-q", "--level", "files") == 0  # less than is known: nothing changes
    assert made.contents() == before
    assert snapshots.main(["--manifest-path", str(made.root), "--forget", later.id]) == 2


def test_what_fails_is_published_and_not_proven(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = TinyPackage(name="lib", version="2.0", depends=("nowhere >=1",))
    made.lock(rows(made.root.parent / "upstream", (broken,)))
    assert run(made, "--level", "closure") == 1
    *_, snapshot = read_snapshots(made.workspace.place)
    assert snapshot.made_by == "mirror"
    assert snapshot.proofs == ()
    out = capsys.readouterr().out
    assert f"snapshot {snapshot.id}" in out.splitlines()
    assert "published all the same" not in out, "before it there was nothing to go back to"


def test_what_lacks_something_is_not_proven(made: Mirror) -> None:
    git = f"git+https://git.example.org/six.git#{'c' * 40}"
    six = RawRow(key="pypi", location=git, lines=("name: six", "version: 1.17.0"))
    made.lock([*rows(made.root.parent / "upstream", (TinyPackage(name="lib"),)), six])
    assert run(made, "-q", "--level", "files") == 1
    [snapshot] = read_snapshots(made.workspace.place)
    assert snapshot.proofs == ()
    # Control: it may be missing.
    assert run(made, "-q", "--level", "files", "--allow-incomplete", "pypi") == 0
    [snapshot] = read_snapshots(made.workspace.place)
    assert [each.level for each in snapshot.proofs] == ["files"]


def test_of_what_is_published_and_has_failed_the_way_back_is_told(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made, "-q", "--level", "closure") == 0
    [good] = read_snapshots(made.workspace.place)
    upstream = made.root.parent / "upstream"
    made.lock(rows(upstream, (TinyPackage(name="lib", version="2.0", depends=("nowhere >=1",)),)))
    capsys.readouterr()
    assert run(made, "--level", "closure") == 1
    out, err = capsys.readouterr()
    *_, bad = read_snapshots(made.workspace.place)
    assert out.splitlines()[-2:] == [
        f"snapshot {bad.id}",
        f"published all the same; back: `pixi run rollback {good.id}`",
    ]
    assert err.startswith("mirror: ")
    assert run(made, "--level", "closure") == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"snapshot {bad.id} stands"
    assert rollback.main(["--manifest-path", str(made.root), good.id]) == 0
    # Control: what passes says nothing of a way back.
    made.lock(rows(upstream, (TinyPackage(name="lib", version="3.0"),)))
    capsys.readouterr()
    assert run(made, "--level", "closure") == 0
    assert "published all the same" not in capsys.readouterr().out


def test_a_part_that_is_proven_does_not_prove_the_whole(made: Mirror) -> None:
    manifest = made.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace('["linux-64"]', '["linux-64", "win-64"]')
    manifest.write_text(text, encoding="utf-8")
    both = (TinyPackage(name="far", subdir="win-64"), TinyPackage(name="near", subdir="linux-64"))
    proven = []
    for number, options in enumerate((("--platform", "linux-64"), ()), 1):
        packages = (*both, TinyPackage(name="other", version=f"{number}.0", subdir="linux-64"))
        made.lock(rows(made.root.parent / "upstream", packages))
        assert run(made, "-q", "--level", "files", *options) == 0
        proven.append([each.level for each in read_snapshots(made.workspace.place)[-1].proofs])
    assert proven == [[], ["files"]]


@pytest.mark.parametrize("layout", list(Layout))
def test_pypi_packages_and_secrets(layout: Layout, tmp_path: Path) -> None:
    made = make_mirror(tmp_path / "workspace", layout)
    channel = f"https://conda.example.org/t/{SECRET}/ours"
    index_url = f"https://user:{SECRET}@pypi.example.org/simple"
    written = (TinyWheel(name="tiny"), TinySdist(name="built"))
    pypi = [PypiRow(written=each.write(tmp_path / "pypi"), index=index_url) for each in written]
    made.lock((*rows(tmp_path / "upstream", (TinyPackage(name="lib"),), channel), *pypi))
    assert index.main(["--manifest-path", str(made.root), "-q"]) == 0
    place = made.workspace.place
    snapshot = newest_snapshot(place)
    assert snapshot is not None
    assert snapshot.layout is layout
    files = read_snapshot_files(place, snapshot)
    contents = made.contents()
    assert {str(each.path): (each.size, each.sha256) for each in files} == {
        path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in contents.items()
    }
    found = {each.path.name: (each.kind, each.url) for each in files if not each.is_index}
    assert {kind for kind, _ in found.values()} == {"conda", "wheel", "sdist"}
    assert found["lib-1.0-0.conda"][1] == "https://conda.example.org/ours/noarch/lib-1.0-0.conda"
    assert all(url is not None and url.startswith("https://") for _, url in found.values())
    kept = [each for each in place.snapshots.rglob("*") if each.is_file()]
    assert {each.name for each in kept if SECRET in each.read_bytes().decode("latin-1")} == {
        "pixi.lock"  # in `<id>.locks`, as the lock is
    }
    assert tree_of(place, snapshot).is_dir()


def test_another_layout_is_another_snapshot(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made, "-q", "--level", "index") == 0
    options = ("--relayout", "--layout", "by-channel", "--level", "index", "--json")
    capsys.readouterr()
    assert run(made, *options) == 0
    said = json.loads(capsys.readouterr().out)["snapshot"]
    first, second = read_snapshots(made.workspace.place)
    assert (first.layout, second.layout) == (Layout.FLAT, Layout.BY_CHANNEL)
    assert said == {"id": second.id, "new": True, "content-digest": second.content_digest}
    paths = {str(each.path) for each in read_snapshot_files(made.workspace.place, second)}
    assert paths
    assert all(each.startswith("conda-forge/") for each in paths)


def test_nothing_is_taken_of_no_index(made: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    (made.folder / "noarch" / "lib-1.0-0.conda").unlink()
    assert index.main(["--manifest-path", str(made.root)]) == 2
    assert read_snapshots(made.workspace.place) == ()
    assert prune.main(["--manifest-path", str(made.root)]) == 0
    assert "snapshot" not in capsys.readouterr().out
    assert read_snapshots(made.workspace.place) == ()


@pytest.mark.parametrize("task", ["snapshots", "rollback", "bundle"])
def test_snapshots_that_one_may_not_list_are_not_called_none(
    made: Mirror, task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for a folder of another user, for whoever is root."""
    main, options = {
        "snapshots": (snapshots.main, []),
        "rollback": (rollback.main, ["20"]),
        "bundle": (bundle.main, [str(made.root / "out"), "--full"]),
    }[task]
    manifest, folder = ["--manifest-path", str(made.root)], made.workspace.place.snapshots
    assert index.main([*manifest, "-q"]) == 0
    capsys.readouterr()
    with monkeypatch.context() as patched:
        forbid(patched, folder, os.scandir, os.listdir)
        assert main([*manifest, *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", f"error: {folder}: cannot be read: Permission denied")
    assert main([*manifest, *options]) == 0


def test_files_of_a_snapshot_that_one_may_not_look_at_are_named(
    made: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, place = ["--manifest-path", str(made.root)], made.workspace.place
    assert index.main([*manifest, "-q"]) == 0
    folder = tree_of(place, read_snapshots(place)[-1]) / "noarch"
    capsys.readouterr()
    with monkeypatch.context() as patched:
        forbid(patched, folder, os.scandir)
        assert snapshots.main(manifest) == 2
    assert capsys.readouterr().err.splitlines()[0] == (
        f"error: {folder}: cannot be read: Permission denied"
    )
    assert snapshots.main(manifest) == 0


def test_the_list_is_shown_beside_an_index_that_cannot_be_read(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has that wants to know what to go back to."""
    manifest, repodata = ["--manifest-path", str(made.root)], made.folder / "noarch/repodata.json"
    assert index.main([*manifest, "-q"]) == 0
    (newest,) = read_snapshots(made.workspace.place)
    capsys.readouterr()
    assert snapshots.main(manifest) == 0
    listed = capsys.readouterr().out
    assert listed.startswith(newest.id)
    assert ", published" in listed
    repodata.unlink()
    repodata.mkdir()
    assert snapshots.main(manifest) == 2
    out, err = capsys.readouterr()
    assert out.split() == listed.replace(", published", "").split()
    reason = "Permission denied" if os.name == "nt" else "Is a directory"
    assert err.splitlines()[0] == f"error: {repodata}: cannot be read: {reason}"


def test_an_artifact_that_one_may_not_read_is_not_called_missing(
    made: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, place = ["--manifest-path", str(made.root)], made.workspace.place
    assert index.main([*manifest, "-q"]) == 0
    (snapshot,) = read_snapshots(place)
    path = made.selection.artifacts[0].path
    file, kept = (folder / path for folder in (place.folder, tree_of(place, snapshot)))
    kept.unlink()
    place.digests.unlink()
    capsys.readouterr()
    with monkeypatch.context() as patched:
        forbid(patched, file, open)
        assert rollback.main([*manifest, snapshot.id]) == 2
    assert capsys.readouterr().err.splitlines()[0] == (
        f"error: {file}: cannot be read: Permission denied"
    )
    file.unlink()
    assert rollback.main([*manifest, snapshot.id]) == 2
    assert f"\n  missing  {path}\n" in capsys.readouterr().err


def test_a_record_that_one_may_not_read_is_not_called_damaged(
    made: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, place = ["--manifest-path", str(made.root)], made.workspace.place
    assert index.main([*manifest, "-q"]) == 0
    file = record_of(place, read_snapshots(place)[-1].id)
    capsys.readouterr()
    with monkeypatch.context() as patched:
        forbid(patched, file, open)
        assert snapshots.main(manifest) == 2
    assert capsys.readouterr().err.splitlines()[0] == (
        f"error: {file}: cannot be read: Permission denied"
    )
    file.write_text("{}\n")
    assert snapshots.main(manifest) == 0
    assert "damaged" in "".join(capsys.readouterr())
