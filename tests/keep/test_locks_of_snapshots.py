"""Of which locks a snapshot is, whoever shares the channel, and what is proven of just those."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest

from scripts.channel.locks import read_locks
from scripts.channel.users import read_users, save_workspace
from scripts.core.channel_paths import Layout
from scripts.core.console import Console
from scripts.keep.snapshots import (
    Snapshot,
    SnapshotLock,
    SnapshotProof,
    new_snapshot,
    proven_text,
    read_snapshots,
    record_of,
)
from tasks import bundle, index, mirror, prune, rollback, verify
from tests.support.locks import EnvironmentRows, PlatformRows, RawRow, write_lock
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.verified import here

A, B = TinyPackage(name="a"), TinyPackage(name="b")
BROKEN = TinyPackage(name="broken", depends=("nowhere >=1",))
LEVELS = ("--level", "files,closure")


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A mirror that py-rattler alone installs from."""
    monkeypatch.setenv("PATH", "")
    return make_mirror(tmp_path / "one", name="one")


@pytest.fixture
def other(one: Mirror, tmp_path: Path) -> Mirror:
    """Another workspace that mirrors into the same channel."""
    where = f'channel-dir = "{one.folder.as_posix()}"\n'
    return make_mirror(tmp_path / "other", name="other", settings=where)


def lock(made: Mirror, *packages: TinyPackage) -> None:
    made.lock(rows(made.root.parent / "upstream", packages))


def run(made: Mirror, *options: str, code: int = 0) -> None:
    assert mirror.main(["--manifest-path", str(made.root), "-q", *(options or LEVELS)]) == code


def newest(made: Mirror) -> Snapshot:
    return read_snapshots(made.workspace.place)[-1]


def bundled(made: Mirror) -> tuple[list[str], dict[str, bytes], str]:
    """Return the sha256 of the locks that a bundle names, the locks that it carries, its label."""
    out = made.root / f"bundle-{len(list(made.root.iterdir()))}"
    options = [str(out), "--full", "--with-locks", "-q"]
    assert bundle.main(["--manifest-path", str(made.root), *options]) == 0
    named = [
        each["lock-sha256"] for each in json.loads((out / "bundle.json").read_bytes())["locks"]
    ]
    carried = sorted((out / "locks").rglob("*.lock"))
    label = (out / "LABEL.txt").read_text(encoding="utf-8")
    return named, {x.parent.name: x.read_bytes() for x in carried}, label


def digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def test_the_lock_that_is_mirrored_now_is_named_and_carried(one: Mirror) -> None:
    """Back at an older version: that is retained, so the channel is as it was."""
    lock(one, A)
    run(one)
    lock(one, replace(A, version="2.0"))
    run(one)
    record = record_of(one.workspace.place, newest(one).id).read_bytes()
    assert bundled(one)[0] == [digest(one.root / "pixi.lock")]
    lock(one, A)
    run(one)
    assert len(read_snapshots(one.workspace.place)) == 2
    assert record_of(one.workspace.place, newest(one).id).read_bytes() == record
    named, carried, label = bundled(one)
    assert (named, carried) == (
        [digest(one.root / "pixi.lock")],
        {"1": (one.root / "pixi.lock").read_bytes()},
    )
    assert "  proven          files, closure\n" in label


def test_what_was_proven_of_another_lock_is_not_proven_of_this_one(one: Mirror) -> None:
    lock(one, A, B)
    run(one)
    assert proven_text(newest(one)) == "files, closure"
    lock(one, A)  # `b` is retained: the same index
    assert index.main(["--manifest-path", str(one.root), "-q"]) == 0
    assert proven_text(newest(one)) == "not proven"
    run(one, "--level", "files")
    assert proven_text(newest(one)) == "files"


def test_what_is_proven_adds_up(one: Mirror) -> None:
    lock(one, A)
    run(one, "--level", "closure")
    run(one, "--level", "files")
    assert proven_text(newest(one)) == "files, closure"


def test_what_has_failed_since_is_proven_no_more(one: Mirror) -> None:
    git = f"git+https://git.example.org/six.git#{'c' * 40}"
    six = RawRow(key="pypi", location=git, lines=("name: six", "version: 1.17.0"))
    one.lock([*rows(one.root.parent / "upstream", (A,)), six])
    run(one, "--level", "files", "--allow-incomplete", "pypi")
    assert proven_text(newest(one)) == "files"
    run(one, "--level", "index", code=1)
    assert proven_text(newest(one)) == "files", "which was not looked at"
    run(one, "--level", "files", code=1)
    assert proven_text(newest(one)) == "not proven"


def test_in_a_shared_channel_it_is_of_all_locks_and_proven_for_all(
    one: Mirror, other: Mirror
) -> None:
    lock(one, A)
    run(one)
    lock(other, BROKEN)
    run(other, code=1)
    shas = {digest(each.root / "pixi.lock") for each in (one, other)}
    assert {each.lock_sha256 for each in newest(one).locks} == shas
    run(one)
    assert proven_text(newest(one)) == "files", "closure is not, for the other one"
    named, carried, label = bundled(one)
    assert set(named) == shas
    assert {sha256(each).hexdigest() for each in carried.values()} == shas
    assert "  proven          files\n" in label
    lock(other, B)
    run(other)
    assert proven_text(newest(one)) == "not proven", "not yet, of this one beside the other"
    run(one)
    assert proven_text(newest(one)) == "files, closure"
    # One that is forgotten has no say.
    assert prune.main(["--manifest-path", str(one.root), "-q", "--forget", "other"]) == 0
    lock(one, A, TinyPackage(name="c"))
    run(one)
    assert [each.label for each in newest(one).locks] == ["one"]


def test_a_workspace_that_was_killed_as_it_joined_is_named(one: Mirror, other: Mirror) -> None:
    """It is noted before its index is published: the next snapshot, by whomever, has its lock."""
    lock(one, A)
    run(one)
    lock(other, B)
    fetched = read_users(other.workspace, read_locks(other.workspace, Console()))
    save_workspace(other.workspace, fetched, Layout.FLAT)
    lock(one, A, TinyPackage(name="c"))
    run(one)
    assert [each.label for each in newest(one).locks] == ["one", "other"]
    assert proven_text(newest(one)) == "not proven"


def test_clients_of_several_workspaces_are_all_named_where_none_is_of_all() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    locks = tuple(
        SnapshotLock(label=x, lock_sha256=None, manifest_sha256=None, mirrored_by=x) for x in "ab"
    )
    made = new_snapshot(
        (), made_by="mirror", layout=Layout.FLAT, before=None, when=when, locks=locks
    )
    for proven, text in (
        ((("a", "install", "pixi 1"), ("b", "install", "pixi 2")), "install (pixi 1, pixi 2)"),
        ((("a", "install", "x"), ("b", "install", "x"), ("b", "install", "y")), "install (x)"),
        ((("a", "files", None), ("b", "install", "x")), "not proven"),
    ):
        proofs = tuple(
            SnapshotProof(level=level, client=client, proven=when, mirrored_by=who)
            for who, level, client in proven
        )
        assert proven_text(replace(made, proofs=proofs)) == text


def test_a_rollback_is_each_workspace_s_own(one: Mirror, other: Mirror) -> None:
    """To a snapshot that another one made: this one's lock is that of then."""
    lock(one, A)
    run(one)
    lock(other, B)
    run(other)
    then = newest(one)
    lock(other, TinyPackage(name="c"))
    run(other)
    assert rollback.main(["--manifest-path", str(one.root), "-q", then.id]) == 0
    assert verify.main(["--manifest-path", str(one.root), "-q", "--level", "index"]) == 0
    assert verify.main(["--manifest-path", str(other.root), "-q", "--level", "index"]) == 1


def test_what_is_published_has_a_snapshot_however_verify_ends(
    one: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(one, A)
    run(one)
    before = newest(one)
    lock(one, A, B)
    capsys.readouterr()
    asked = ["--manifest-path", str(one.root), "--client", "conda"]
    assert mirror.main(asked) == 4
    out, err = capsys.readouterr()
    assert out.splitlines()[-2:] == [
        f"snapshot {newest(one).id}",
        f"published all the same; back: `pixi run rollback {before.id}`",
    ]
    assert err.splitlines()[-2:] == [
        "error: conda: this program is not on PATH, and --client conda asks for it",
        "help: pixi run verify --client rattler",
    ]
    assert newest(one).parent == before.id
    assert proven_text(newest(one)) == "not proven"


def test_a_rollback_of_what_no_snapshot_was_taken_of_leaves_one(
    one: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed as its index was published: nobody knows of it, and `prune` would bring it back."""
    lock(one, A)
    run(one)
    before = newest(one)
    lock(one, A, B)
    with monkeypatch.context() as patch:  # a kill just there
        patch.setattr("tasks.mirror.take_snapshot", _killed)
        with pytest.raises(SystemExit):
            run(one)
    assert newest(one) == before
    assert rollback.main(["--manifest-path", str(one.root), "-q", before.id]) == 0
    assert newest(one).is_rollback
    capsys.readouterr()
    assert verify.main(["--manifest-path", str(one.root), "-q", "--level", "index"]) == 1
    assert "was rolled back, and what is locked is not" in capsys.readouterr().err
    assert prune.main(["--manifest-path", str(one.root), "-q"]) == 0
    assert list(one.repodata("noarch")["packages.conda"]) == [A.file_name]
    # Said again nothing changes, and none is left.
    assert rollback.main(["--manifest-path", str(one.root), "-q", before.id]) == 0
    assert len(read_snapshots(one.workspace.place)) == 2


def _killed(*_: object, **__: object) -> None:
    raise SystemExit(137)


@pytest.mark.skipif(here() != "linux-64", reason="its locks are not for this machine")
def test_for_which_platforms_it_was_installed_is_said_where_there_are_others(one: Mirror) -> None:
    manifest = one.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('["linux-64"]', '["linux-64", "win-64"]'), encoding="utf-8")
    packages = rows(one.root.parent / "upstream", (A,))
    both = tuple(PlatformRows(name=name, rows=packages) for name in ("linux-64", "win-64"))
    write_lock(one.root / "pixi.lock", (EnvironmentRows(platforms=both),))
    lock_artifacts(one)
    run(one, "--level", "install")
    client = f"py-rattler {version('py-rattler')}"
    assert proven_text(newest(one)) == f"install ({client} for linux-64)"


def lock_artifacts(made: Mirror) -> None:
    """Put the artifact in its place, as `fetch` would."""
    target = made.folder / "noarch" / A.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(A.data)
