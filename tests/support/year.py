"""A team's year: five projects, one workspace that mirrors their locks, and a far side.

    with served(folder) as url:
        year = make_year(tmp_path, folder, url)
        weeks = [live(year, number) for number in range(52)]

One workspace mirrors all locks, as docs/teams.md has it: five that shared a channel would leave a
snapshot each, every week, and only the last of them would be worth carrying.

All is done by the commands that docs/teams.md and docs/airgap.md tell, each a process of its own;
the far side runs the `unbundle.py` that its first bundle brought. In every quarter a bundle is
lost, an artifact is uploaded anew, an update is rolled back, unbundle.py is killed, and a file
damaged on the far side; every fourth week `prune` runs. Nothing is ever mended but by what an
error says. Time passes by that of what waits for its removal. Acts; POSIX alone.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.core.channel_paths import ChannelPaths, channel_paths
from scripts.core.errors import ExitCode
from scripts.keep.snapshots import (
    newest_snapshot,
    read_snapshot_files,
    read_snapshots,
    tree_of,
)
from scripts.keep.unbundle import parse_receipt
from tests.support.bundles import alone
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import let_grace_pass
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.pixi import path_without_clients
from tests.support.template import ROOT

PROJECTS = tuple(f"project-{number}" for number in range(1, 6))
# Weeks of each quarter, counted from 0.
LOST, ROLLED_BACK, DAMAGED = 2, 5, 7
UPLOADED_ANEW, KILLED = (4, 11), (6, 9)
QUARTER, PRUNED_EVERY = 13, 4
_SHARED = ("base", *(f"shared-{number}" for number in range(11)))
_OWN = 8  # packages of each project at first
_NEWS = 10  # new versions a week, at most
_LAST_STEP = 60  # changes of the disk before which unbundle.py is killed, at most
# In a process of its own, as it makes a copy of itself.
_KILLED = """
import sys
from scripts.keep import unbundle
from tests.support.steps import killed_at
step, root, *arguments = sys.argv[1:]
sys.exit(not killed_at(int(step), root, lambda: unbundle.main(arguments)))
"""

Rows = Mapping[str, tuple[int, str]]  # size in bytes and sha256, by path


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """What a week took, in bytes; of what is on a disk its blocks, each hard link once."""

    number: int
    carried: int
    """What is on the stick."""
    files: int
    """Files of the channel that the bundle adds or replaces."""
    artifacts: int
    """Bytes of the artifacts that the far side has not had."""
    index: int
    """Bytes of the index files that it has not had."""
    is_killed: bool
    """Whether unbundle.py was killed, and said again."""
    snapshots: int
    """On the builder: how many there are, with files or as a record alone."""
    channel: int
    """On the builder: the channel folder."""
    trees: int
    """On the builder: what the files of its snapshots take besides."""
    records: int
    """On the builder: the records of its snapshots, with the locks."""
    others: int
    """On the builder: the rest of its state, and its caches."""
    far: int
    """On the far side: the channel folder."""
    far_state: int
    """On the far side: the state beside it."""
    seconds: float
    """What `mirror` took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Year:
    """Where it happens, and what upstream and the projects' locks have at the moment."""

    root: Path
    upstream: Path
    url: str
    chance: random.Random
    proofs: tuple[str, ...]
    """Options of `mirror`: what it proves."""
    newest: dict[str, WrittenPackage] = field(default_factory=dict)
    locked: dict[str, dict[str, WrittenPackage]] = field(default_factory=dict)
    carried: list[str] = field(default_factory=list)
    """The snapshots that the far side has had, the last one last."""

    @property
    def builder(self) -> ChannelPaths:
        """The channel that is mirrored."""
        return channel_paths(self.root / "builder" / "local-channel")

    @property
    def far(self) -> ChannelPaths:
        """The channel on the far side."""
        return channel_paths(self.root / "far" / "channel")

    @property
    def stick(self) -> Path:
        """What is carried: a bundle there, a receipt back."""
        return self.root / "stick"


def make_year(root: Path, upstream: Path, url: str, *proofs: str) -> Year:
    """Write the projects and their locks, and the workspace that mirrors them; nothing runs yet."""
    year = Year(root=root, upstream=upstream, url=url, chance=random.Random(52), proofs=proofs)
    for folder in ("builder", "far", "home", "stick"):
        (root / folder).mkdir(parents=True)
    (root / "builder" / "pixi.toml").write_text(
        f'[workspace]\nname = "builder"\nchannels = ["{url}/ch"]\nplatforms = ["linux-64"]\n\n'
        '[tool.pixi-mirror]\nlocks = ["../project-*/pixi.lock"]\n',
        encoding="utf-8",
    )
    for name in _SHARED:
        _upload(year, name)
    for project in PROJECTS:
        own = [f"{project}-{number}" for number in range(_OWN)]
        for name in own:
            _upload(year, name)
        year.locked[project] = {name: year.newest[name] for name in (*_SHARED, *own)}
        _write_project(year, project)
    return year


def live(year: Year, number: int) -> Week:
    """Live through a week; raises AssertionError where a command does what it must not."""
    for place in (year.builder, year.far):
        let_grace_pass(place)
    seconds = _move_on(year, number)
    had = {} if number % QUARTER == DAMAGED else rows_of(year.far)
    bundle, is_killed = _carry(year, number)
    changed = {path: row for path, row in rows_of(year.builder).items() if had.get(path) != row}
    known = {sha256 for _, sha256 in had.values()}
    new = {sha256: (size, path) for path, (size, sha256) in changed.items() if sha256 not in known}
    artifacts = sum(size for size, path in new.values() if path.endswith(".conda"))
    snapshots = read_snapshots(year.builder)
    trees = [tree for each in snapshots if (tree := tree_of(year.builder, each)).is_dir()]
    channel, kept = year.builder.folder, year.builder.snapshots
    week = Week(
        number=number,
        carried=sum(each.stat().st_size for each in bundle.rglob("*") if each.is_file()),
        files=len(changed),
        artifacts=artifacts,
        index=sum(size for size, _ in new.values()) - artifacts,
        is_killed=is_killed,
        snapshots=len(snapshots),
        channel=on_disk(channel),
        trees=on_disk(channel, *trees) - on_disk(channel),
        records=on_disk(kept) - on_disk(*trees),
        others=on_disk(year.builder.root) - on_disk(kept),
        far=on_disk(year.far.folder),
        far_state=on_disk(year.far.root),
        seconds=seconds,
    )
    if bundle.exists():
        shutil.rmtree(bundle)
    return week


def run(year: Year, task: str, *options: str, expected: int = 0) -> str:
    """Run a task on the builder; return what it said on stderr."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", f"tasks.{task}", "-q", *options],
        cwd=year.root / "builder",
        env=_environment(year),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expected, (task, options, done.stdout, done.stderr)
    return done.stderr


def rows_of(place: ChannelPaths) -> dict[str, tuple[int, str]]:
    """Return size and sha256 of every file that the newest snapshot of a channel names."""
    newest = newest_snapshot(place)
    files = () if newest is None else read_snapshot_files(place, newest)
    return {str(each.path): (each.size, each.sha256) for each in files}


def on_disk(*folders: Path) -> int:
    """Return the bytes that folders take on the disk together, as `du` counts them."""
    every = (each.lstat() for folder in folders for each in (folder, *folder.rglob("*")))
    return 512 * sum({(each.st_dev, each.st_ino): each.st_blocks for each in every}.values())


def _environment(year: Year) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name in {"LANG", "TMPDIR"}}
    home = str(year.root / "home")
    own = {"HOME": home, "PATH": path_without_clients(), "PYTHONPATH": str(ROOT)}
    return kept | own | {"NO_PROXY": "127.0.0.1"}


def _upload(year: Year, name: str) -> None:
    """Have upstream make the next version of a package, or its first."""
    before = year.newest.get(name)
    package = TinyPackage(
        name=name,
        version=f"1.{int(before.package.version[2:]) + 1 if before else 0}",
        subdir=before.package.subdir if before else year.chance.choice(["noarch", "linux-64"]),
        depends=() if name == "base" else ("base >=1",),
        padding=min(int(math.exp(year.chance.gauss(9.5, 1.2))), 300_000),
    )
    year.newest[name] = package.write(year.upstream / "ch")


def _write_project(year: Year, project: str) -> None:
    """Write manifest and lock of a project, as `pixi lock` would leave them."""
    folder, locked = year.root / project, year.locked[project]
    folder.mkdir(exist_ok=True)
    channel = f"{year.url}/ch"
    wanted = "".join(f'{name} = "*"\n' for name in locked)
    (folder / "pixi.toml").write_text(
        f'[workspace]\nname = "{project}"\nchannels = ["{channel}"]\nplatforms = ["linux-64"]\n\n'
        f"[dependencies]\n{wanted}",
        encoding="utf-8",
    )
    rows = tuple(LockRow(written=each, channel=channel) for each in locked.values())
    platforms = (PlatformRows(name="linux-64", rows=rows),)
    write_lock(folder / "pixi.lock", (EnvironmentRows(platforms=platforms),))


def _renew(year: Year, project: str) -> None:
    """Do what `pixi update` does in a project."""
    year.locked[project] = {name: year.newest[name] for name in year.locked[project]}
    _write_project(year, project)


def _move_on(year: Year, number: int) -> float:
    """Have upstream and the projects move on, and mirror; return the seconds that took."""
    if number:
        for name in year.chance.sample(sorted(year.newest), year.chance.randint(1, _NEWS)):
            _upload(year, name)
        for project in year.chance.sample(PROJECTS, year.chance.randint(1, len(PROJECTS))):
            _add_or_remove(year, project, number)
            _renew(year, project)
    week = number % QUARTER
    if week in UPLOADED_ANEW:
        _upload_anew(year)
    began = time.perf_counter()
    run(year, "mirror", *year.proofs)
    seconds = time.perf_counter() - began
    if number % PRUNED_EVERY == PRUNED_EVERY - 1:
        run(year, "prune")
    if week == ROLLED_BACK:
        run(year, "rollback", year.carried[-2])
    return seconds


def _add_or_remove(year: Year, project: str, number: int) -> None:
    """Have a project want one package more now and then, or one less."""
    locked = year.locked[project]
    own = [name for name in locked if name.startswith(project)]
    chance = year.chance.random()
    if chance < 0.15:
        name = f"{project}-of-week-{number}"
        _upload(year, name)
        locked[name] = year.newest[name]
    elif chance < 0.3 and len(own) > 2:
        del locked[year.chance.choice(own)]


def _upload_anew(year: Year) -> None:
    """Have upstream replace an artifact of two projects, of which at first one follows.

    `mirror` refuses, and says what to do: the other one is locked anew.
    """
    one, other = year.chance.sample(PROJECTS, 2)
    for project in (one, other):
        _renew(year, project)
    name = year.chance.choice(_SHARED[1:])
    before = year.newest[name]
    changed = replace(before.package, padding=before.package.padding + 1)
    year.newest[name] = changed.write(year.upstream / "ch")
    _renew(year, one)
    said = run(year, "mirror", *year.proofs, expected=ExitCode.USAGE)
    place = f"{changed.subdir}/{changed.file_name}"
    assert said.startswith(f"error: {place}: two locks name two different artifacts"), said
    assert "help: have one of them locked anew, " in said, said
    for project in PROJECTS:
        if before in year.locked[project].values():
            _renew(year, project)


def _carry(year: Year, number: int) -> tuple[Path, bool]:
    """Bundle what the far side lacks, and unbundle it there; tell whether that was killed."""
    week, receipt, is_killed = number % QUARTER, year.stick / "receipt.json", False
    bundle = year.stick / f"week-{number}"
    base = ("--since-receipt", str(receipt)) if receipt.exists() else ("--full",)
    if week == DAMAGED:
        _damage(year, bundle)
        base = ("--full",)
    run(year, "bundle", str(bundle), *base)
    if week == LOST or not bundle.exists():  # where there is nothing to carry
        return bundle, False
    program = year.root / "far" / "unbundle.py"
    if not program.exists():
        shutil.copyfile(bundle / "unbundle.py", program)
    if week in KILLED:
        is_killed = _kill_unbundle(year, bundle)
    done = alone(program, bundle, year.far.folder)
    assert (done.returncode, done.stderr) == (0, ""), done
    shutil.copyfile(year.far.state / "receipt.json", receipt)
    year.carried.append(parse_receipt(receipt.read_bytes()).id)
    return bundle, is_killed


def _kill_unbundle(year: Year, bundle: Path) -> bool:
    """Kill unbundle.py somewhere on its way; False: it was done before."""
    step = str(year.chance.randint(1, _LAST_STEP))
    arguments = [step, str(year.root / "far"), str(bundle), str(year.far.folder)]
    done = subprocess.run(
        [sys.executable, "-P", "-c", _KILLED, *arguments], env=_environment(year), check=False
    )
    return done.returncode == 0


def _damage(year: Year, bundle: Path) -> None:
    """Flip a bit on the far side, have it found there, and a delta refused, with what helps."""
    artifacts = sorted(path for path in rows_of(year.far) if path.endswith(".conda"))
    file = year.far.folder / year.chance.choice(artifacts)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    done = alone(year.root / "far" / "unbundle.py", "--receipt", year.far.folder)
    assert done.returncode == ExitCode.FINDINGS, done
    assert "help: on the builder: pixi run bundle OUT --full; " in done.stderr, done
    shutil.copyfile(year.far.state / "receipt.json", year.stick / "receipt.json")
    since = ("--since-receipt", str(year.stick / "receipt.json"))
    said = run(year, "bundle", str(bundle), *since, expected=ExitCode.FINDINGS)
    assert said.endswith("help: pixi run bundle OUT --full, which needs no base\n"), said
