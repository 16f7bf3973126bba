"""Killed at any change of a file, or refused it by the disk: nothing wrong is ever to be seen.

A sample in a normal run; every change of every task with `--deep`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zstandard

from scripts.channel.state import read_state
from scripts.core.channel_paths import channel_paths
from scripts.core.errors import ExitCode
from scripts.keep.snapshots import read_snapshots
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import PY_RATTLER, let_grace_pass, path_with
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.pixi import path_without_clients
from tests.support.snapshots import wrong_newest_snapshot, wrong_snapshots
from tests.support.strace import Change, TaskRun, disturb, orphan, plain
from tests.support.upstream import Upstream

pytestmark = pytest.mark.needs_strace

# Of no machine that runs this, so that nothing is installed: that changes no channel.
PLATFORM = "win-64" if os.name != "nt" else "linux-64"
OLD = TinyPackage(name="a", subdir=PLATFORM, depends=("b",))
NEW = TinyPackage(name="a", version="2.0", subdir=PLATFORM, depends=("b",))
OTHER = TinyPackage(name="b", extension=".tar.bz2")
FIRST = "{the id of the first snapshot}"
PLAN = "plan.json"  # in the scratch folder
KINDS = ("signal=KILL", "error=EIO", "error=ENOSPC")
SAMPLE = 1  # of each kind of trouble, for each task
PROBES = (b"", b"blat")
DRAWS = 6  # for one that is met: two runs need not make just the same calls

# pixi is not what is swept: this one renews the lock as it is told.
PIXI = """#!/bin/sh
case "$*" in
*--version*) echo "pixi 0.77.0";;
*update*) cp "{next}" "{lock}.new" && mv "{lock}.new" "{lock}";;
*) exit 1;;
esac
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A task and what it is run on."""

    task: str
    options: tuple[str, ...]
    layout: str
    make: Callable[[World], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A workspace that is put back to the same beginning as often as it is asked for."""

    run: TaskRun
    upstream: Upstream
    packages: Mapping[str, WrittenPackage]

    @property
    def folder(self) -> Path:
        """The channel folder."""
        return self.run.root / "local-channel"

    def settings(self, layout: str, grace: str = "1h", trees: int = 10) -> None:
        """Write the manifest; so many `trees` of snapshots are kept."""
        channels = ", ".join(f'"{self.upstream.url}/{name}"' for name in ("one", "two"))
        (self.run.root / "pixi.toml").write_text(
            f'[workspace]\nname = "w"\nchannels = [{channels}]\nplatforms = ["{PLATFORM}"]\n\n'
            '[dependencies]\na = "*"\n\n'
            f'[tool.pixi-mirror]\nlayout = "{layout}"\ngrace = "{grace}"\n'
            f"keep-snapshots = {trees}\n",
            encoding="utf-8",
        )

    def lock(self, *packages: TinyPackage, path: Path | None = None) -> None:
        """Write a lock of these; the last comes from a second channel."""
        *_, last = packages
        rows = tuple(
            LockRow(
                written=self.packages[each.file_name],
                channel=f"{self.upstream.url}/{'two' if each is last else 'one'}",
            )
            for each in packages
        )
        environment = EnvironmentRows(
            platforms=(PlatformRows(name=PLATFORM, rows=rows),),
            channels=tuple(f"{self.upstream.url}/{name}" for name in ("one", "two")),
        )
        write_lock(path or self.run.root / "pixi.lock", (environment,))

    def do(self, *options: str, task: str | None = None) -> int:
        """Run a task, the scene's where none is named, in this process."""
        module = importlib.import_module(f"tasks.{task}" if task else self.run.task)
        return int(module.main(["-q", "--manifest-path", str(self.run.root), *options]))

    def keep(self) -> None:
        """Make what is there the beginning."""
        self.run.root.rename(self.run.scratch / "beginning")

    def begin(self) -> None:
        """Begin anew, with the very files of the channel: by their inodes it knows them.

        And of snapshots, of which none is ever written to.
        """
        for folder in (self.run.root, self.run.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        self.run.temporary.mkdir()

        def put(source: str, target: str) -> None:
            parts = Path(source).parts
            if "snapshots" in parts or ("local-channel" in parts and ".pixi-mirror" not in parts):
                os.link(source, target)
            else:
                shutil.copy2(source, target)

        shutil.copytree(self.run.scratch / "beginning", self.run.root, copy_function=put)

    def bytes(self) -> dict[str, bytes]:
        """Read every file of the channel folder."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def waiting(self) -> list[str]:
        """Name what waits for its removal."""
        return [str(each.path) for each in read_state(channel_paths(self.folder)).removals]


def _unzipped(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def _unpacked(data: bytes) -> Any:
    return msgpack.unpackb(_unzipped(data))


def _nothing(world: World) -> None:
    world.lock(OLD, OTHER)


def _fetched(world: World) -> None:
    world.lock(OLD, OTHER)
    assert world.do(task="fetch") == 0


def _moved_on(world: World) -> None:
    _fetched(world)
    assert world.do(task="index") == 0
    world.lock(NEW, OTHER)


def _due(world: World) -> None:
    """Shards of an earlier index wait, and their time is over."""
    world.settings("flat", grace="0s")
    _retained(world)
    world.lock(OLD, OTHER)


def _retained(world: World) -> None:
    _moved_on(world)
    assert world.do(task="fetch") == 0
    assert world.do(task="index") == 0


def _with_trees_to_go(world: World) -> None:
    world.settings("flat", trees=1)
    _retained(world)


def _planned(world: World) -> None:
    """A plan has a tree, files that are due and an artifact to go."""
    _with_trees_to_go(world)
    let_grace_pass(channel_paths(world.folder))
    plan = world.run.scratch / PLAN
    assert world.do("--dry-run", "--output", str(plan), task="prune") == 0
    document = json.loads(plan.read_bytes())
    assert all(document[each] for each in ("dropped", "removed", "trees"))


def _pruned(world: World) -> None:
    """The lock has gone back since, so that what is rolled back to passes its proofs."""
    _retained(world)
    assert world.do("--now", task="prune") == 0
    world.lock(OLD, OTHER)


def _of_another_layout(world: World) -> None:
    _retained(world)
    world.settings("flat")
    assert world.do("--relayout", "--jobs", "1", "--level", "files", task="mirror") == 0
    assert world.do("--now", task="prune") == 0
    world.settings("by-channel")
    world.lock(OLD, OTHER)


def _arranged_otherwise(world: World) -> None:
    _retained(world)
    world.settings("flat")


def _updated(world: World) -> None:
    _moved_on(world)
    world.lock(OLD, OTHER)
    programs, following = world.run.scratch / "programs", world.run.scratch / "next.lock"
    world.lock(NEW, OTHER, path=following)
    programs.mkdir()
    text = PIXI.replace("{next}", str(following))
    (programs / "pixi").write_text(
        text.replace("{lock}", str(world.run.root / "pixi.lock")), encoding="utf-8"
    )
    (programs / "pixi").chmod(0o755)


SCENES = {
    "fetch": Scene(task="fetch", options=("--jobs", "1"), layout="by-channel", make=_nothing),
    "index": Scene(task="index", options=(), layout="flat", make=_fetched),
    "prune": Scene(task="prune", options=("--now",), layout="flat", make=_retained),
    "prune-trees": Scene(task="prune", options=("--now",), layout="flat", make=_with_trees_to_go),
    "prune-by-plan": Scene(task="prune", options=("--apply", PLAN), layout="flat", make=_planned),
    "mirror": Scene(task="mirror", options=("--jobs", "1"), layout="flat", make=_due),
    "relayout": Scene(
        task="mirror",
        options=("--relayout", "--jobs", "1"),
        layout="by-channel",
        make=_arranged_otherwise,
    ),
    "rollback": Scene(task="rollback", options=(FIRST,), layout="flat", make=_pruned),
    "rollback-in-another-layout": Scene(
        task="rollback", options=(FIRST,), layout="by-channel", make=_of_another_layout
    ),
    "update-mirror": Scene(
        task="update_mirror", options=("--jobs", "1"), layout="flat", make=_updated
    ),
}


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """A workspace at the beginning of a scene."""
    if subprocess.run(["strace", "-o", os.devnull, "true"], check=False).returncode != 0:
        pytest.skip("strace may trace nothing here")
    scene = SCENES[request.param]
    root, scratch = tmp_path / "w", tmp_path / "scratch"
    scratch.mkdir()
    root.mkdir()
    written = {}
    for each in (OLD, NEW, OTHER):
        for channel in ("one", "two"):
            written[each.file_name] = each.write(upstream.folder / channel)
    run = TaskRun(task=f"tasks.{scene.task}", options=scene.options, root=root, scratch=scratch)
    run.temporary.mkdir()
    allowed = path_without_clients().split(os.pathsep)
    folders = [each for each in path_with(PY_RATTLER).split(os.pathsep) if each in allowed]
    monkeypatch.setenv("PATH", os.pathsep.join([str(scratch / "programs"), *folders]))
    monkeypatch.setenv("TMPDIR", str(run.temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    world = World(run=run, upstream=upstream, packages=written)
    world.settings(scene.layout)
    scene.make(world)
    if FIRST in scene.options:
        first = read_snapshots(channel_paths(world.folder))[0].id
        world = replace(world, run=replace(run, options=(first,)))
    if PLAN in scene.options:
        plan = str(scratch / PLAN)
        world = replace(world, run=replace(run, options=("--apply", plan)))
    world.keep()
    return world


@pytest.mark.parametrize("world", SCENES, indirect=True)
def test_any_change_goes_wrong(
    world: World, capsys: pytest.CaptureFixture[str], *, deep: bool
) -> None:
    """Each case is a process, and the next run after it: some seconds for a sample of them.

    Of each kind of trouble at least one is met, whoever's call it was.
    """
    world.begin()
    done, changes = plain(world.run)
    assert done.returncode == 0, done.stderr
    expected, waiting = world.bytes(), world.waiting()
    assert tidy(world) == []
    levels = "files" if world.run.task == "tasks.fetch" else "files,index"
    chance, wrong = random.Random(world.run.task), list[str]()
    for kind in KINDS:
        met = tried = 0
        for change in changes if deep else chance.sample(changes, min(DRAWS, len(changes))):
            found, was_met = disturbed(world, change, kind, capsys)
            found += different(world, expected, waiting)
            found += tidy(world)
            if world.do("--level", levels, "--strict", task="verify") != 0:
                found.append(f"verify: {capsys.readouterr().err}")
            wrong += [f"{kind} at {change}: {each}" for each in found]
            met, tried = met + was_met, tried + 1
            if met == SAMPLE and not deep:
                break
        assert met >= (tried // 3 if deep else SAMPLE), f"{kind}: {met} of {tried} were met"
    assert not wrong, "\n".join(wrong)


def disturbed(
    world: World, change: Change, kind: str, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], bool]:
    """Have one change go wrong, and run the task again; say what is wrong, and whether it was."""
    world.begin()
    code, said, met = disturb(world.run, change, kind)
    found = [*untrue(world), *wrong_snapshots(channel_paths(world.folder))]
    if kind == "signal=KILL":
        found += [f"killed, and yet it ended with {code}"] * (met and code >= 0)
    elif met:
        found += badly_said(change, code, said)
    code = world.do(*world.run.options)
    if code == ExitCode.USAGE and "--apply" in world.run.options:
        code = world.do()  # the mirror has moved since the plan was made
    if code != 0:
        found.append(f"the next run failed: {capsys.readouterr().err}")
    return found, met


def different(world: World, expected: dict[str, bytes], waiting: list[str]) -> list[str]:
    """Say what is not as an undisturbed run leaves it."""
    found = []
    if world.bytes() != expected:
        found.append(f"other files: {difference(world.bytes(), expected)}")
    if world.run.task != "tasks.fetch":
        found += wrong_newest_snapshot(channel_paths(world.folder))
    if world.waiting() != waiting:
        found.append(f"others wait for removal: {world.waiting()}, not {waiting}")
    return found


@pytest.mark.parametrize("world", ["mirror"], indirect=True)
def test_what_is_wrong_would_be_seen(world: World) -> None:
    """The control, with no strace in it."""
    wrong = {
        "noarch/b-1.0-0.tar.bz2": {"is not what its lock names", "promises b-1.0-0.tar.bz2"},
        "noarch/repodata.json": {"cannot be read"},
        "noarch/repodata.json.zst": {"cannot be read"},
        "noarch/repodata_shards.msgpack.zst": {"cannot be read"},
        "shard": {"cannot be read"},
    }
    for name, expected in wrong.items():
        world.begin()
        assert list(untrue(world)) == []
        (shard,) = (world.folder / "noarch" / "shards").iterdir()
        path = shard if name == "shard" else world.folder / name
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[: len(data) // 2])
        (world.folder / "noarch" / "empty").mkdir()
        (world.folder / "noarch" / "x.1f2e3d4c.pixi-mirror.tmp").touch()
        found = {each.partition(" ")[2].partition(":")[0] for each in untrue(world)}
        assert found == expected, name
        assert len(tidy(world)) == 2


@pytest.mark.parametrize("world", ["index"], indirect=True)
def test_the_indexer_of_a_killed_run_disturbs_nobody(world: World) -> None:
    world.begin()
    assert world.do(task="index") == 0
    expected = world.bytes()
    for _ in range(5):
        world.begin()
        assert orphan(world.run) == -signal.SIGKILL
        assert world.do(task="index") == 0
        assert world.bytes() == expected


def difference(actual: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Name the files that are not the same."""
    names = actual.keys() | expected.keys()
    return sorted(name for name in names if actual.get(name) != expected.get(name))


def badly_said(change: Change, code: int, said: str) -> Iterator[str]:
    """Yield what is wrong with how a run told of trouble with the disk; it may need none.

    What is in the tree of a snapshot may be told by that.
    """
    if code not in {ExitCode.OK, ExitCode.USAGE} or "Traceback" in said:
        yield f"ended with {code}: {said}"
    is_told = change.name in said
    is_told |= any(each.endswith(".part") for each in change.shown.parts) and ".part: " in said
    if code == ExitCode.USAGE and not change.is_child and not is_told:
        yield f"does not name the file: {said}"


def untrue(world: World) -> Iterator[str]:
    """Yield what a client that comes now would find wrong."""
    digests = {name: each.sha256 for name, each in world.packages.items()}
    for path in sorted(world.folder.rglob("*")):
        shown = path.relative_to(world.folder).as_posix()
        if path.name in digests and _sha256(path) != digests[path.name]:
            yield f"{shown} is not what its lock names"
        elif path.name in INDEXES:
            try:
                rows = INDEXES[path.name](path)
            except (OSError, ValueError, KeyError, AssertionError, zstandard.ZstdError) as error:
                yield f"{shown} cannot be read: {error!r}"
                continue
            for name, digest in rows.items():
                artifact = path.parent / name
                if not artifact.exists() or _sha256(artifact) != digest:
                    yield f"{shown} promises {name}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rows(document: Any) -> dict[str, str]:
    maps = (document["packages"], document["packages.conda"])
    digests = {name: record["sha256"] for each in maps for name, record in each.items()}
    return {name: each if isinstance(each, str) else each.hex() for name, each in digests.items()}


def _plain_rows(path: Path) -> dict[str, str]:
    return _rows(json.loads(path.read_bytes()))


def _zst_rows(path: Path) -> dict[str, str]:
    return _rows(json.loads(_unzipped(path.read_bytes())))


def _shard_rows(path: Path) -> dict[str, str]:
    rows: dict[str, str] = {}
    for digest in _unpacked(path.read_bytes())["shards"].values():
        data = (path.parent / "shards" / f"{digest.hex()}.msgpack.zst").read_bytes()
        assert hashlib.sha256(data).digest() == digest
        rows |= _rows(_unpacked(data))
    return rows


INDEXES: Mapping[str, Callable[[Path], dict[str, str]]] = {
    "repodata.json": _plain_rows,
    "repodata.json.zst": _zst_rows,
    "repodata_shards.msgpack.zst": _shard_rows,
}


def tidy(world: World) -> list[str]:
    """Name all scratch, and all folders with nothing in them, that a run has left."""
    state = world.run.root / ".pixi-mirror"
    left = [
        path
        for path in world.run.root.rglob("*")
        if path.name.endswith((".tmp", ".new")) or ".pixi-mirror-new." in path.name
    ]
    left += [path for path in state.rglob("parts/*") if path.is_file()]
    left += [each for each in world.folder.rglob("*") if each.is_dir() and not any(each.iterdir())]
    # Python's tempfile looks with a file of its own whether it may write there: killed, it stays.
    left += [x for x in world.run.temporary.iterdir() if x.is_dir() or x.read_bytes() not in PROBES]
    return [f"left: {path.relative_to(world.run.root.parent)}" for path in sorted(left)]
