"""A rollback publishes the index of an earlier snapshot again, with all that it names."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scripts.channel.locks import read_locks
from scripts.channel.state import read_state
from scripts.core.channel_paths import Layout
from scripts.core.console import Console
from scripts.core.report import human_size
from scripts.index.publish import publish
from scripts.keep import rollback as rollback_stage
from scripts.keep.changes import known_before
from scripts.keep.relayout import relayout
from scripts.keep.snapshot_locks import locks_of
from scripts.keep.snapshots import Snapshot, read_snapshot_files, read_snapshots, tree_of
from scripts.keep.take_snapshot import take_snapshot
from scripts.lock.read import read_lock
from tasks import bundle, diff, index, prune, rollback, verify
from tasks import mirror as mirror_task
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage
from tests.support.snapshots import wrong_newest_snapshot, wrong_snapshots
from tests.support.steps import failing_at, killed_at
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow, TinyWheel

OLD = TinyPackage(name="a", subdir="linux-64", license="MIT")
NEW = replace(OLD, version="2.0")
BOTH = TinyPackage(name="b")
PATH = "linux-64/a-1.0-0.conda"
COPY = "copy" if os.name == "nt" else "cp"
NEW_PATH = "linux-64/a-2.0-0.conda"


def run(mirror: Mirror, task: Callable[..., int], *options: str) -> int:
    return task(["--manifest-path", str(mirror.root), *options])


def snapshots(mirror: Mirror) -> tuple[Snapshot, ...]:
    return read_snapshots(mirror.workspace.place)


def move_to(mirror: Mirror, *packages: TinyPackage) -> Snapshot:
    """Mirror by a lock of these; return the snapshot that stands."""
    mirror.lock(rows(mirror.root.parent / "upstream", packages))
    assert run(mirror, index.main, "-q") == 0
    return snapshots(mirror)[-1]


def roll_back(mirror: Mirror, snapshot: Snapshot) -> None:
    assert run(mirror, rollback.main, "-q", snapshot.id) == 0


def published(mirror: Mirror) -> dict[str, bytes]:
    """Read what is there and does not wait for its removal."""
    waiting = mirror.waiting()
    return {name: data for name, data in mirror.contents().items() if name not in waiting}


def lock_of(mirror: Mirror, snapshot: Snapshot) -> str:
    locks = locks_of(mirror.workspace.place, snapshot).relative_to(mirror.root)
    return str(locks / "1" / "pixi.lock")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """A mirror of OLD; beside it, as it was then, and as it was when it had moved on to NEW."""
    made = make_mirror(tmp_path_factory.mktemp("rollback") / "workspace")
    move_to(made, OLD, BOTH)
    copy(made.root, made.root.with_name("first"))
    move_to(made, NEW, BOTH)
    assert made.prune("--now") == 0
    assert not (made.folder / PATH).exists()
    copy(made.root, made.root.with_name("pruned"))
    return made


def copy(root: Path, target: Path) -> None:
    """Copy a folder, and what is one file in it as one file: a tree and its channel folder."""
    shutil.rmtree(target, ignore_errors=True)
    copies = dict[int, str]()

    def one(source: str, copied: str) -> None:
        inode = Path(source).stat().st_ino
        if inode in copies:
            os.link(copies[inode], copied)
        else:
            shutil.copy2(source, copied)
            copies[inode] = copied

    shutil.copytree(root, target, copy_function=one)


@pytest.fixture
def mirror(made: Mirror) -> Mirror:
    """A mirror of OLD."""
    copy(made.root.with_name("first"), made.root)
    return made


@pytest.fixture
def pruned(made: Mirror) -> Mirror:
    """It has moved on to NEW, and OLD is gone."""
    copy(made.root.with_name("pruned"), made.root)
    return made


def test_index_and_artifacts_are_as_they_were(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    before, [first] = mirror.states(), snapshots(mirror)
    move_to(mirror, NEW, BOTH)
    assert mirror.prune("--now") == 0
    moved_on = snapshots(mirror)[-1]
    left = {name: data for name, data in mirror.contents().items() if name not in before}
    capsys.readouterr()
    since = time.time_ns()
    assert run(mirror, rollback.main, first.id[:16]) == 0
    last = snapshots(mirror)[-1]
    here = f"mirrored ({mirror.root / 'pixi.toml'})"
    size = human_size(sum(len(data) for name, data in left.items() if "/shards/" in name))
    assert capsys.readouterr().out.splitlines() == [
        f"rolled back to {first.id}: local-channel is as `index` left it then",
        "brought back: 1 artifact",
        f"waiting for removal: 1 file, {size}; `pixi run prune` removes them when they are due",
        f"not in this index, and kept: 1 artifact that the lock of {here} names",
        "pixi.lock was left as it is: `pixi run mirror` moves the channel on to it, unless you say",
        f"  {COPY} {lock_of(mirror, first)} pixi.lock",
        f"snapshot {last.id}",
    ]
    after = mirror.states()
    assert {name: data for name, (data, _) in after.items()} == {
        **{name: data for name, (data, _) in before.items()},
        **left,
    }
    assert sorted(left) == mirror.waiting()
    for name, (_, time_) in after.items():
        if name.startswith("linux-64/repodata"):
            assert time_ >= since > before[name][1], "a new file, whatever its bytes"
        elif name.startswith("noarch/"):
            assert time_ == before[name][1], "the same bytes, under the very time"
    tree = tree_of(mirror.workspace.place, first)
    assert (mirror.folder / PATH).samefile(tree / PATH)
    assert not (mirror.folder / "linux-64/repodata.json").samefile(tree / "linux-64/repodata.json")
    assert (last.parent, last.made_by, last.locks) == (moved_on.id, "rollback", first.locks)
    assert last.content_digest == first.content_digest != moved_on.content_digest
    assert (mirror.root / lock_of(mirror, last)).read_bytes() == (
        mirror.root / lock_of(mirror, first)
    ).read_bytes()


def test_verify_says_that_the_channel_was_rolled_back(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    [first] = snapshots(mirror)
    move_to(mirror, NEW, BOTH)
    capsys.readouterr()
    roll_back(mirror, first)
    assert run(mirror, verify.main, "--level", "index") == 1
    kept = lock_of(mirror, snapshots(mirror)[-1])
    on = "`pixi run mirror`, which moves the channel on to the lock"
    assert capsys.readouterr().err.splitlines() == [
        "verify: comparing the index with pixi.lock",
        "error: local-channel: was rolled back, and what is locked is not",
        f"  rolled back by  {snapshots(mirror)[-1].id}",
        f"help: `{COPY} {kept} pixi.lock`, then this again; or {on}",
    ]
    shutil.copy(mirror.root / kept, mirror.root / "pixi.lock")
    assert run(mirror, verify.main, "--level", "index") == 0
    assert "rolled back" not in capsys.readouterr().err


def test_said_again_it_does_nothing(pruned: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    first = snapshots(pruned)[0]
    roll_back(pruned, first)
    before, there = pruned.states(), snapshots(pruned)
    capsys.readouterr()
    assert run(pruned, rollback.main, first.id) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "nothing to do: local-channel is as `index` left it then"
    assert out[-1] == f"snapshot {there[-1].id} stands"
    assert (pruned.states(), snapshots(pruned)) == (before, there)


def test_back_and_forward_and_back(pruned: Mirror) -> None:
    first, *_, moved_on = snapshots(pruned)
    for _ in range(2):
        for each in (first, moved_on):
            roll_back(pruned, each)
            assert snapshots(pruned)[-1].content_digest == each.content_digest
            names = {str(row.path) for row in read_snapshot_files(pruned.workspace.place, each)}
            assert published(pruned).keys() - names <= {PATH, NEW_PATH}
    assert len(snapshots(pruned)) == 3 + 4


@pytest.mark.parametrize("before", ["", "prune"])
def test_with_its_lock_all_else_goes_in_its_time(
    before: str, pruned: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    first = snapshots(pruned)[0]
    names = {str(row.path) for row in read_snapshot_files(pruned.workspace.place, first)}
    assert run(pruned, rollback.main, first.id) == 0
    out = capsys.readouterr().out.splitlines()
    [command] = [each for each in out if each.startswith(f"  {COPY} ")]
    if before:
        assert pruned.prune("--now") == 0
        assert (pruned.folder / NEW_PATH).exists(), "the lock still names it"
    at_once = {**os.environ, "COPYCMD": "/Y"}  # Windows asks before it replaces a file
    subprocess.run(command, shell=True, check=True, cwd=pruned.root, env=at_once)
    assert run(pruned, index.main, "-q") == 0
    assert published(pruned).keys() == names
    assert NEW_PATH in pruned.waiting()
    assert pruned.prune() == 0
    assert (pruned.folder / NEW_PATH).exists(), "a client at work may need it"
    pruned.let_grace_pass()
    assert pruned.prune() == 0
    assert pruned.contents().keys() == names
    assert snapshots(pruned)[-1].content_digest == first.content_digest


def test_prune_does_not_undo_it(pruned: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    first = snapshots(pruned)[0]
    roll_back(pruned, first)
    last, before = snapshots(pruned)[-1], pruned.contents()
    capsys.readouterr()
    undone = (
        "local-channel: was rolled back, and what is locked is not: the rollback would be undone"
    )
    help_ = (
        f"help: `{COPY} {lock_of(pruned, last)} pixi.lock`, then this again; or `pixi run mirror`,"
        " which moves the channel on to the lock\n"
    )
    for options in ((), ("--dry-run",)):
        assert run(pruned, prune.main, *options) == 0
        assert capsys.readouterr().err == (
            f"warning: {undone}; so the index stays as it is\n{help_}"
        )
    assert run(pruned, prune.main, "--json", "-q") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["warnings"] == [f"{undone}; so the index stays as it is"]
    assert run(pruned, prune.main, "--drop", PATH) == 2
    assert capsys.readouterr().err == f"error: {undone}\n  rolled back by  {last.id}\n{help_}"
    assert pruned.contents() == before
    lock = (pruned.root / "pixi.lock").read_bytes()
    shutil.copyfile(pruned.root / lock_of(pruned, last), pruned.root / "pixi.lock")
    assert pruned.prune() == 0
    (pruned.root / "pixi.lock").write_bytes(lock)
    assert run(pruned, index.main, "-q") == 0
    assert pruned.prune("--now") == 0
    assert not (pruned.folder / PATH).exists()


def test_prune_removes_what_is_due_after_it(mirror: Mirror) -> None:
    """It need not index for that."""
    [first] = snapshots(mirror)
    move_to(mirror, OLD, NEW, BOTH)
    roll_back(mirror, first)
    waiting = [name for name in mirror.waiting() if name != NEW_PATH]
    mirror.let_grace_pass()
    assert mirror.prune() == 0
    assert not [name for name in waiting if (mirror.folder / name).exists()]
    assert len(waiting) == 1
    assert (mirror.folder / NEW_PATH).exists(), "which the lock names"


def test_what_is_nowhere_any_more_is_told(
    pruned: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    """An artifact that is damaged is damaged in all trees: it is one file."""
    first, tree = snapshots(pruned)[0], tree_of(pruned.workspace.place, snapshots(pruned)[0])
    artifact = tree / PATH
    artifact.write_bytes(b"x" * artifact.stat().st_size)
    before, there = pruned.states(), snapshots(pruned)
    assert run(pruned, rollback.main, first.id) == 2
    assert capsys.readouterr().err == (
        f"error: {first.id}: 1 file of it can be found nowhere, or not as recorded;"
        " nothing was changed\n"
        f"  missing  {PATH}\n"
        f"help: {COPY} {lock_of(pruned, first)} pixi.lock && pixi run mirror\n"
    )
    shutil.rmtree(tree)
    shutil.rmtree(locks_of(pruned.workspace.place, first))
    assert run(pruned, rollback.main, first.id) == 2
    assert capsys.readouterr().err == (
        f"error: {first.id}: 5 files of it can be found nowhere, or not as recorded;"
        " nothing was changed\n"
        f"  missing  {PATH}\n"
        "  missing  linux-64/repodata.json\n"
        "  missing  linux-64/repodata.json.zst\n"
        "  missing  linux-64/repodata_shards.msgpack.zst\n"
        f"  missing  {shard_of(pruned, first)}\n"
        "help: pixi run mirror with its lock;"
        " where it came out of a bundle, unbundle a --full one\n"
    )
    assert (pruned.states(), snapshots(pruned)) == (before, there)


def shard_of(mirror: Mirror, snapshot: Snapshot) -> str:
    files = read_snapshot_files(mirror.workspace.place, snapshot)
    [shard] = [x.path for x in files if "shards" in x.path.parts and "linux-64" in x.path.parts]
    return str(shard)


def test_a_damaged_copy_is_found_in_another_tree(pruned: Mirror) -> None:
    """As on a disk that has run out of links for one file."""
    place, (first, second, *_) = pruned.workspace.place, snapshots(pruned)
    for each in (first, second):
        artifact = tree_of(place, each) / PATH
        data = artifact.read_bytes()
        artifact.unlink()
        artifact.write_bytes(data)
    (tree_of(place, first) / PATH).write_bytes(b"damaged")
    roll_back(pruned, first)
    assert (pruned.folder / PATH).samefile(tree_of(place, second) / PATH)
    assert snapshots(pruned)[-1].content_digest == first.content_digest


def test_who_left_it_so_is_told(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    """The task that made this snapshot, whatever made the same before; of a rollback, that one."""
    [first] = snapshots(mirror)
    move_to(mirror, NEW, BOTH)
    move_to(mirror, OLD, BOTH)
    assert mirror.prune("--now") == 0
    back = snapshots(mirror)[-1]
    assert (back.content_digest, back.made_by) == (first.content_digest, "prune")
    for _ in range(2):  # to what prune made, then to what the rollback to that made
        there = snapshots(mirror)[-1]
        move_to(mirror, NEW, BOTH)
        capsys.readouterr()
        assert run(mirror, rollback.main, there.id) == 0
        made_by = "index" if there.is_rollback else "prune"
        assert capsys.readouterr().out.startswith(
            f"rolled back to {there.id}: local-channel is as `{made_by}` left it then\n"
        )


def test_without_a_tree_the_index_is_made_of_what_is_still_there(
    mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    before, [first] = mirror.contents(), snapshots(mirror)
    shutil.rmtree(tree_of(mirror.workspace.place, first))
    move_to(mirror, NEW, BOTH)
    capsys.readouterr()
    assert run(mirror, rollback.main, first.id) == 0
    manifest = mirror.root / "pixi.toml"
    lines = capsys.readouterr().out.splitlines()
    assert (*lines[:2], lines[3]) == (
        f"rolled back to {first.id}: local-channel is as `index` left it then",
        "its index files are gone: the index was made anew by the present records",
        f"not in this index, and kept: 1 artifact that the lock of mirrored ({manifest}) names",
    )
    assert {name: data for name, data in mirror.contents().items() if name in before} == before
    assert snapshots(mirror)[-1].content_digest == first.content_digest
    assert NEW_PATH in mirror.waiting()
    move_to(mirror, NEW, BOTH)
    assert mirror.prune("--now") == 0
    for each in snapshots(mirror):
        shutil.rmtree(tree_of(mirror.workspace.place, each), ignore_errors=True)
    assert run(mirror, rollback.main, "-q", first.id) == 2, "now it is gone"


def test_where_links_are_impossible(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tree from a disk with links was carried to one without them, say."""
    [first] = snapshots(mirror)
    move_to(mirror, NEW, BOTH)
    assert mirror.prune("--now") == 0
    before = mirror.contents()

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("os.link", refuse)
    roll_back(mirror, first)
    last = snapshots(mirror)[-1]
    assert last.content_digest == first.content_digest
    assert not (mirror.folder / PATH).samefile(tree_of(mirror.workspace.place, first) / PATH)
    assert not tree_of(mirror.workspace.place, last).exists()
    monkeypatch.undo()
    assert mirror.contents().keys() > before.keys()
    assert mirror.waiting()


def test_it_needs_no_lock(pruned: Mirror) -> None:
    """As a channel that was unbundled has none."""
    first = snapshots(pruned)[0]
    (pruned.root / "pixi.lock").unlink()
    shutil.rmtree(pruned.workspace.place.state / "workspaces")
    roll_back(pruned, first)
    assert snapshots(pruned)[-1].content_digest == first.content_digest


def test_an_emptied_channel_without_its_state_is_nobody_else_s(mirror: Mirror) -> None:
    """The control: where index files are, others may have made them."""
    [first] = snapshots(mirror)
    for code in (0, 2):
        if code == 0:
            shutil.rmtree(mirror.folder)
        (mirror.workspace.place.state / "channel.json").unlink()
        roll_back(mirror, first)
        move_to(mirror, NEW, BOTH)
        assert run(mirror, prune.main, "--dry-run", "-q") == code


def test_what_is_untracked_stays(mirror: Mirror) -> None:
    [first] = snapshots(mirror)
    move_to(mirror, NEW, BOTH)
    mine = mirror.folder / "linux-64" / "mine-1.0-0.conda"
    mine.write_bytes(b"not ours")
    roll_back(mirror, first)
    assert mine.relative_to(mirror.folder).as_posix() not in mirror.waiting()
    assert mine.read_bytes() == b"not ours"


@pytest.mark.parametrize("text", ["2", "20000101T000000Z"])
def test_an_id_that_is_none_or_several(
    pruned: Mirror, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    ids = [each.id for each in snapshots(pruned)]
    message = {"2": "begins the id of several snapshots"}.get(text, "is the id of no snapshot")
    assert run(pruned, rollback.main, text) == 2
    shown = "".join(f"  there is  {each}\n" for each in reversed(ids))
    assert capsys.readouterr().err == f"error: {text}: {message}\n{shown}help: pixi run snapshots\n"


def test_pages_of_pypi_come_back(tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "w")
    wheel = TinyWheel(name="w")
    old, new = (
        PypiRow(written=each.write(tmp_path / "wheels"))
        for each in (wheel, replace(wheel, version="2.0"))
    )
    conda = rows(tmp_path / "upstream", (BOTH,))
    mirror.lock((*conda, old))
    assert run(mirror, index.main, "-q") == 0
    before, [first] = mirror.contents(), snapshots(mirror)
    mirror.lock((*conda, new))
    assert run(mirror, index.main, "-q") == 0
    assert mirror.prune("--now") == 0
    gone = before.keys() - mirror.contents().keys()
    assert any(each.endswith(".whl") for each in gone)
    assert any(each.endswith(".whl.metadata") for each in gone)
    roll_back(mirror, first)
    after = mirror.contents()
    assert {name: after[name] for name in before} == before
    assert snapshots(mirror)[-1].content_digest == first.content_digest
    assert {name for name in after if name not in before} == set(mirror.waiting())


def test_bytes_without_a_hash_in_the_lock_are_the_ones_first_seen_then(
    tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror, wheel = make_mirror(tmp_path / "work"), TinyWheel(name="w")
    url = f"{upstream.url}/dl/{wheel.file_name}"
    manifest = mirror.root / "pixi.toml"
    settings = f'\nallow-unhashed = true\n[pypi-dependencies]\nw = {{ url = "{url}" }}\n'
    text = manifest.read_text(encoding="utf-8").replace('["conda-forge"]', "[]")
    manifest.write_text(text + settings, encoding="utf-8")
    mirror.lock([PypiRow(written=wheel.write(upstream.folder / "dl"), url=url, index=None)])
    [file] = mirror.folder.rglob("*.whl")
    file.unlink()
    levels = ("--level", "files", "-q")
    assert run(mirror, mirror_task.main, *levels) == 0
    [first] = snapshots(mirror)
    # Upstream replaces it, and they take that.
    other = replace(wheel, files=(("w.py", b"2"),))
    other.write(upstream.folder / "dl")
    file.unlink()
    mirror.workspace.place.first_seen.unlink()
    assert run(mirror, mirror_task.main, *levels) == 0
    assert file.read_bytes() == other.data
    roll_back(mirror, first)
    assert file.read_bytes() == wheel.data
    assert run(mirror, verify.main, *levels) == 0
    # The control: other bytes than these are still told.
    file.write_bytes(other.data)
    capsys.readouterr()
    assert run(mirror, verify.main, *levels) == 1
    assert "sha256 differs from the one first seen" in capsys.readouterr().err


def test_the_layout_follows(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    """Back to it as it was before a relayout, and forward again."""
    flat, before = snapshots(mirror)[0], mirror.contents()
    manifest = mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('"flat"', '"by-channel"'), encoding="utf-8")
    workspace, console = mirror.workspace, Console()
    relayout(workspace, read_locks(workspace, console), console, drop_retained=False)
    assert take_snapshot(workspace, console, made_by="mirror").problems == ()
    by_channel = snapshots(mirror)[-1]
    assert by_channel.layout is Layout.BY_CHANNEL
    assert mirror.prune("--now") == 0
    names = mirror.contents().keys()
    assert not names & before.keys()
    capsys.readouterr()
    assert run(mirror, rollback.main, flat.id) == 0
    line = 'the layout is flat now: set layout = "flat" under [tool.pixi-mirror]'
    assert line in capsys.readouterr().out.splitlines()
    assert read_state(workspace.place).layout is Layout.FLAT
    assert published(mirror) == before
    assert set(mirror.waiting()) == names
    assert (mirror.folder / PATH).samefile(
        tree_of(workspace.place, by_channel) / "conda-forge" / PATH
    )
    assert run(mirror, index.main) == 2, "the layout that is set is another one"
    manifest.write_text(text, encoding="utf-8")
    assert run(mirror, index.main, "-q") == 0
    assert mirror.prune("--now") == 0
    assert mirror.contents() == before
    roll_back(mirror, by_channel)
    assert read_state(workspace.place).layout is Layout.BY_CHANNEL
    assert published(mirror).keys() == names
    capsys.readouterr()
    assert run(mirror, rollback.main, flat.id) == 0, "all of it is still in its place"
    assert capsys.readouterr().out.startswith(f"rolled back to {flat.id}: ")
    assert set(mirror.waiting()) == names


def test_what_a_killed_relayout_has_made_goes(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first], before = snapshots(mirror), mirror.contents()
    manifest = mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('"flat"', '"by-channel"'), encoding="utf-8")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.keep.relayout.index", die)
    workspace, console = mirror.workspace, Console()
    with pytest.raises(KeyboardInterrupt):
        relayout(workspace, read_locks(workspace, console), console, drop_retained=False)
    manifest.write_text(text, encoding="utf-8")
    made = {name for name in mirror.contents() if name.startswith("conda-forge/")}
    assert made
    roll_back(mirror, first)
    assert read_state(workspace.place).before_relayout is None
    assert set(mirror.waiting()) == made
    assert mirror.prune("--now") == 0
    assert mirror.contents() == before


def test_what_a_killed_rollback_has_published_in_another_layout_goes(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever goes on with the lock instead, in the layout that is set, finds it on the list."""
    flat, manifest = snapshots(mirror)[0], mirror.root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8").replace('"flat"', '"by-channel"')
    manifest.write_text(text, encoding="utf-8")
    workspace, console = mirror.workspace, Console()
    relayout(workspace, read_locks(workspace, console), console, drop_retained=False)
    assert take_snapshot(workspace, console, made_by="mirror").problems == ()
    assert mirror.prune("--now") == 0
    before = mirror.contents()

    def publish_and_die(*given: Any, **named: Any) -> None:
        publish(*given, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("scripts.keep.rollback.publish", publish_and_die)
        assert run(mirror, rollback.main, "-q", flat.id) == 130
    made = mirror.contents().keys() - before
    assert "linux-64/repodata.json" in made
    assert run(mirror, index.main, "-q") == 0
    assert set(mirror.waiting()) == made
    assert mirror.prune("--now") == 0
    assert mirror.contents() == before


def test_as_json(pruned: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    first = snapshots(pruned)[0]
    capsys.readouterr()
    assert run(pruned, rollback.main, first.id, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    last = snapshots(pruned)[-1]
    assert document == {
        "schema": 1,
        "task": "rollback",
        "exit-code": 0,
        "warnings": [],
        "problems": [],
        "changed": True,
        "rolled-back-to": first.id,
        "layout": "flat",
        "brought-back": [PATH],
        "published": 4,
        "index-made-anew": False,
        "waiting-for-removal": [name for name in pruned.waiting() if name != NEW_PATH],
        "snapshot": {"id": last.id, "new": True, "content-digest": first.content_digest},
    }


@pytest.mark.parametrize("task", ["index", "rollback"])
def test_two_indexes_of_one_second_are_told_apart_by_time(mirror: Mirror, task: str) -> None:
    """`If-Modified-Since` has whole seconds."""
    [first] = snapshots(mirror)
    if task == "rollback":
        move_to(mirror, NEW, BOTH)
    names = [f"linux-64/{name}" for name in ("repodata.json", "repodata.json.zst")]
    ahead = (time.time_ns() // 10**9 + 60) * 10**9 + 5  # of the same second, if it were now
    for name in names:
        os.utime(mirror.folder / name, ns=(ahead, ahead))
    if task == "rollback":
        roll_back(mirror, first)
    else:
        move_to(mirror, NEW, BOTH)
    times = [(mirror.folder / name).stat().st_mtime_ns for name in names]
    assert times == [(ahead // 10**9 + 1) * 10**9] * 2


@pytest.mark.skipif(os.name == "nt", reason="a copy of the process is killed, which needs fork")
@pytest.mark.parametrize("trouble", [None, errno.ENOSPC, errno.EIO])
def test_killed_or_refused_at_any_change_it_ends_the_same(
    pruned: Mirror, trouble: int | None, *, deep: bool
) -> None:
    """Every change with `--deep`; None: it is killed. Unlike in the sweeps threads are met, too."""
    first, place = snapshots(pruned)[0], pruned.workspace.place
    roll_back(pruned, first)
    expected, waiting = pruned.contents(), pruned.waiting()

    def again() -> int:
        return run(pruned, rollback.main, "-q", first.id)

    met = 0
    for step in range(1 if deep else 5 + (trouble or 0) % 7, 10**6, 1 if deep else 13):
        copy(pruned.root.with_name("pruned"), pruned.root)
        if trouble is None:
            is_met = killed_at(step, pruned.root, again)
        else:
            is_met, code = failing_at(step, pruned.root, again, trouble)
            assert code in {0, 2}, step
        met += is_met
        assert list(wrong_snapshots(place)) == [], step
        assert again() == 0, step
        assert (pruned.contents(), pruned.waiting()) == (expected, waiting), step
        assert list(wrong_newest_snapshot(place)) == [], step
        if not is_met:
            break
    assert met > (40 if deep else 4)


@pytest.mark.parametrize("following", [rollback, index, prune])
def test_killed_before_its_snapshot_whatever_follows_leaves_one(
    pruned: Mirror,
    following: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The channel is rolled back, and its newest snapshot says otherwise."""
    (first, *_, newest), place = snapshots(pruned), pruned.workspace.place
    there = published(pruned)
    whole = (str(pruned.root.with_name("out")), "--full", "--dry-run")

    def die(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr(rollback_stage, "take_snapshot", die)
        with pytest.raises(SystemExit):
            run(pruned, rollback.main, "-q", first.id)
    assert snapshots(pruned)[-1] == newest
    assert list(wrong_newest_snapshot(place)) == [f"snapshot {newest.id}: another one is published"]
    capsys.readouterr()
    assert run(pruned, bundle.main, *whole) == 1
    assert "is no longer what its newest snapshot says" in capsys.readouterr().err
    assert run(pruned, following.main, "-q", *[first.id] * (following is rollback)) == 0
    assert list(wrong_newest_snapshot(place)) == []
    is_back = snapshots(pruned)[-1].content_digest == first.content_digest
    assert is_back is (following is rollback)
    if following is prune:
        assert published(pruned) == there
    assert run(pruned, bundle.main, *whole) == 0


def test_moved_on_by_a_lock_with_nothing_new_it_is_over(
    pruned: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that this lock names was in the index already, and no snapshot is taken of that."""
    first = snapshots(pruned)[0]
    roll_back(pruned, first)
    last = snapshots(pruned)[-1]
    lock = pruned.root / "pixi.lock"
    shutil.copyfile(pruned.root / lock_of(pruned, last), lock)
    lock.write_bytes(lock.read_bytes() + b"# another one\n")
    capsys.readouterr()
    assert run(pruned, prune.main, "--dry-run") == 0
    assert run(pruned, index.main) == 0
    assert capsys.readouterr().out.endswith(f"snapshot {last.id} stands\n")
    assert run(pruned, prune.main, "--dry-run") == 0
    assert capsys.readouterr().err == ""


def test_what_changed_is_told_from_there(pruned: Mirror) -> None:
    """What is locked, which is not what was rolled back to, would be news to the channel again."""
    first, second, *_ = snapshots(pruned)
    assert known_before(pruned.workspace).since == "since the channel was last made"  # control
    roll_back(pruned, first)
    before = known_before(pruned.workspace)
    assert before.since == "since the channel was rolled back"
    assert before.lock == read_lock(pruned.root / lock_of(pruned, first))
    assert before.lock != read_lock(pruned.root / "pixi.lock")
    assert run(pruned, index.main) == 0
    assert known_before(pruned.workspace).since == "since the channel was last made"
    assert known_before(pruned.workspace).lock == read_lock(pruned.root / lock_of(pruned, second))


def test_what_moves_on_from_it_says_so(pruned: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    first = snapshots(pruned)[0]
    roll_back(pruned, first)
    back = snapshots(pruned)[-1]
    capsys.readouterr()
    assert run(pruned, index.main) == 0
    new = snapshots(pruned)[-1]
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"snapshot {new.id}; it is not what was rolled back to any more:"
        f" `pixi run rollback {back.id}`"
    )


@pytest.mark.parametrize("is_moved", [False, True])
@pytest.mark.parametrize("name", ["mirrored", "another"])
def test_after_a_move_the_locks_of_before_are_known(
    pruned: Mirror,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    is_moved: bool,  # noqa: FBT001
    name: str,
) -> None:
    """Or in a copy; control: one of another name is another one's."""
    first, root = snapshots(pruned)[0], tmp_path / "elsewhere"
    here = replace(pruned, root=root)
    copy(pruned.root, root)
    if is_moved:
        shutil.rmtree(pruned.root)
    manifest = root / "pixi.toml"
    manifest.write_text(manifest.read_text().replace('"mirrored"', f'"{name}"'))
    assert run(here, index.main, "-q") == 0  # which is taken for the one of before
    capsys.readouterr()
    assert run(here, rollback.main, first.id) == 0
    back, said = snapshots(here)[-1], capsys.readouterr().out
    line = "pixi.lock was left as it is: `pixi run mirror` moves the channel on to it"
    known = [f"{line}, unless you say", f"  {COPY} {lock_of(here, first)} pixi.lock"]
    assert said[said.index("pixi.lock was") :].splitlines() == [
        *(known if name == "mirrored" else [line]),
        f"snapshot {back.id}",
    ]
    if name == "mirrored":
        assert run(here, diff.main) == 0
        assert "  ~ a  1.0 0 -> 2.0 0" in capsys.readouterr().out
        shutil.copyfile(root / lock_of(here, back), root / "pixi.lock")
        assert here.prune() == 0
        assert capsys.readouterr().err == ""
