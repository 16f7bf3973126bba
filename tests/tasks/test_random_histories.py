"""Two workspaces share a channel, one mirrors another's lock, too, and a far side follows.

Whatever they do, in whatever order: what the index names is there with its bytes, and nothing else
is said to be; who has mirrored can verify; said again nothing changes; a snapshot that is rolled
back to, and a bundle that is unpacked, give just what they are of.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from scripts.core.channel_paths import ChannelPaths, channel_paths
from scripts.index.repodata import parse_repodata, parse_shard, parse_shard_index, parse_zst
from scripts.keep.snapshots import newest_snapshot, read_snapshots
from tasks import bundle, diff, fetch, index, locks, mirror, prune, rollback, snapshots
from tasks import receipt as receipt_task
from tasks import unbundle as unbundle_task
from tasks import verify as verify_task
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow, TinyWheel

PACKAGES = [
    TinyPackage(name=f"p{number}", version=version, subdir=("noarch", "linux-64")[number % 2])
    for number in range(6)
    for version in ("1.0", "2.0")
]
WHEELS = [TinyWheel(name=f"w{number}", version=v) for number in range(3) for v in ("1.0", "2.0")]
LEVELS = ("--level", "files,archives,index")
LINK = re.compile(r'href="([^"#]+)#sha256=([0-9a-f]+)"')


@dataclass
class _Team:
    """What there is on the disk, and who has mirrored the lock that he has."""

    root: Path
    upstream: Upstream
    chance: random.Random
    layout: str = "flat"
    takes_service: set[str] = field(default_factory=set)
    mirrored: set[str] = field(default_factory=set)
    is_rolled_back: bool = False
    receipt: Path | None = None
    log: list[str] = field(default_factory=list)

    @property
    def place(self) -> ChannelPaths:
        """The shared channel."""
        return channel_paths(self.root / "channel")

    @property
    def far(self) -> ChannelPaths:
        """The channel on the far side."""
        return channel_paths(self.root / "far" / "channel")

    def run(self, task: ModuleType, *options: object, codes: tuple[int, ...] = (0,)) -> int:
        """Run a task; return its exit code, which must be one of these."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = int(task.main([str(each) for each in options]))
        self.log.append(f"{task.__name__} {' '.join(map(str, options))} -> {code}")
        assert code in codes, "\n".join((*self.log[-20:], out.getvalue()))
        self.said = out.getvalue()
        return code

    def of(self, name: str) -> tuple[str, Path]:
        return "--manifest-path", self.root / name

    def manifests(self) -> None:
        for name in ("one", "two", "service"):
            others = 'locks = ["../service/pixi.lock"]\n' if name in self.takes_service else ""
            where = f'layout = "{self.layout}"\nchannel-dir = "../channel"\nkeep-snapshots = 3\n'
            (self.root / name).mkdir(parents=True, exist_ok=True)
            (self.root / name / "pixi.toml").write_text(
                f'[workspace]\nname = "{name}"\nchannels = ["{self.upstream.url}/ch"]\n'
                f'platforms = ["linux-64"]\n\n[tool.pixi-mirror]\n{where}{others}',
                encoding="utf-8",
            )

    def lock(self, name: str) -> None:
        """Lock some of the packages, of each name one version."""
        folder, url = self.upstream.folder, self.upstream.url
        rows = list[LockRow | PypiRow]()
        for each in self.chance.sample(range(6), 3):
            package = self.chance.choice([x for x in PACKAGES if x.name == f"p{each}"])
            rows.append(LockRow(written=package.write(folder / "ch"), channel=f"{url}/ch"))
        wheel = self.chance.choice(WHEELS)
        written = wheel.write(folder / "pypi")
        rows.append(
            PypiRow(written=written, index=f"{url}/simple", url=f"{url}/pypi/{wheel.file_name}")
        )
        platforms = (PlatformRows(name="linux-64", rows=tuple(rows)),)
        environment = EnvironmentRows(platforms=platforms, channels=(f"{url}/ch",))
        write_lock(self.root / name / "pixi.lock", (environment,))
        self.log.append(f"lock {name}")
        self.mirrored -= self.takes_service if name == "service" else {name}

    # What may be done.

    def lock_anew(self, name: str) -> None:
        self.lock(self.chance.choice((name, "service")))

    def take_service(self, name: str) -> None:
        self.takes_service ^= {name}
        self.mirrored.discard(name)
        self.manifests()

    def mirror(self, name: str) -> None:
        self.run(mirror, *self.of(name), *LEVELS)
        before = tree(self.place.folder)
        self.run(mirror, *self.of(name), *LEVELS)
        assert tree(self.place.folder) == before, "\n".join(self.log[-20:])
        assert " stands" in self.said
        self.mirrored.add(name)
        self.is_rolled_back = False
        self.run(diff, *self.of(name))
        assert self.said.startswith("no package changed"), self.said

    def relayout(self, name: str) -> None:
        before = self.layout
        self.layout = {"flat": "by-channel", "by-channel": "flat"}[before]
        self.manifests()
        options = (*LEVELS, "--relayout", *self.chance.choice(((), ("--drop-retained",))))
        if self.run(mirror, *self.of(name), *options, codes=(0, 2)) != 0:
            self.layout = before  # what is retained has no place there
            self.manifests()
            return
        self.mirrored, self.is_rolled_back = {name}, False

    def index(self, name: str) -> None:
        if self.run(index, *self.of(name), codes=(0, 2)) == 0:
            self.is_rolled_back = False
            self.mirrored.discard(name)

    def fetch(self, name: str) -> None:
        self.run(fetch, *self.of(name))

    def prune(self, name: str) -> None:
        options = self.chance.choice(((), ("--now",), ("--dry-run",)))
        # Refused where something that is locked has not been fetched yet.
        self.run(prune, *self.of(name), *options, codes=(0, 2))

    def prune_by_plan(self, name: str) -> None:
        plan = self.root / "plan.json"
        self.run(prune, *self.of(name), "--dry-run", "--output", plan)
        self.run(prune, *self.of(name), "--apply", plan, codes=(0, 2))

    def rollback(self, name: str) -> None:
        known = read_snapshots(self.place)
        if known:
            target = self.chance.choice(known)
            if self.run(rollback, *self.of(name), target.id, codes=(0, 2)) == 0:
                newest = newest_snapshot(self.place)
                assert newest is not None
                is_same = newest.content_digest == target.content_digest
                assert is_same or "made anew" in self.said, "\n".join(self.log[-20:])
                self.layout = newest.layout.value
                self.manifests()
                self.mirrored, self.is_rolled_back = set(), True

    def carry(self, name: str) -> None:
        out, newest = self.root / "out", newest_snapshot(self.place)
        if newest is None:
            return
        shutil.rmtree(out, ignore_errors=True)
        base: tuple[object, ...] = ("--full",)
        if self.receipt is not None and self.chance.random() < 0.7:
            base = ("--since-receipt", self.receipt)
        form = self.chance.choice(((), ("--tar",)))
        # A receipt that no snapshot here is of any more needs a whole one.
        if self.run(bundle, *self.of(name), out, *base, *form, codes=(0, 2)) == 0 and out.exists():
            self.run(unbundle_task, out, self.far.folder)
            self.receipt = self.far.state / "receipt.json"
            there = newest_snapshot(self.far)
            assert there is not None
            assert there.content_digest == newest.content_digest

    def look(self, name: str) -> None:
        for each in (snapshots, locks):
            self.run(each, *self.of(name))
        if newest_snapshot(self.place) is not None:
            self.run(receipt_task, self.place.folder)

    # What must hold.

    def check(self) -> None:
        for place in (self.place, self.far):
            check_channel(place.folder)
        for name in sorted(self.mirrored) if not self.is_rolled_back else ():
            self.run(verify_task, *self.of(name), *LEVELS)


ACTIONS: tuple[Callable[[_Team, str], None], ...] = (
    *(_Team.mirror,) * 3,
    *(
        _Team.lock_anew,
        _Team.take_service,
        _Team.relayout,
        _Team.index,
        _Team.fetch,
        _Team.prune,
        _Team.prune_by_plan,
    ),
    *(_Team.rollback, _Team.carry, _Team.carry, _Team.look),
)


def tree(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return all files with time and inode."""
    found = ((each, each.stat()) for each in folder.rglob("*") if each.is_file())
    return {each: (status.st_mtime_ns, status.st_ino) for each, status in found}


def check_channel(folder: Path) -> None:
    """Read all that the index says as a client does, and hash what it names."""
    for file in folder.rglob("repodata.json"):
        data = file.read_bytes()
        records = parse_repodata(data, "").records
        for name, record in records.items():
            assert hashlib.sha256((file.parent / name).read_bytes()).hexdigest() == record.sha256
        assert parse_zst((file.parent / "repodata.json.zst").read_bytes(), "") == data
        shards = (file.parent / "repodata_shards.msgpack.zst").read_bytes()
        said = {
            name
            for digest in parse_shard_index(shards, "").shards.values()
            for name in parse_shard(
                (file.parent / "shards" / f"{digest}.msgpack.zst").read_bytes(), ""
            ).records
        }
        assert said == records.keys()
    for page in folder.glob("_pypi/index/*/index.html"):
        for path, sha256 in LINK.findall(page.read_text(encoding="utf-8")):
            assert hashlib.sha256((page.parent / path).read_bytes()).hexdigest() == sha256


@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_whatever_they_do_it_holds(
    layout: str, tmp_path: Path, upstream: Upstream, *, deep: bool
) -> None:
    for seed in range(60 if deep else 2):
        team = _Team(tmp_path / str(seed), upstream, random.Random(f"{seed} {layout}"), layout)
        team.manifests()
        for name in ("one", "two", "service"):
            team.lock(name)
        for _ in range(40 if deep else 20):
            team.chance.choice(ACTIONS)(team, team.chance.choice(("one", "two")))
            team.check()
        assert team.log
