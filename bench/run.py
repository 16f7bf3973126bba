"""The table of ratios: each stage beside a peer, all in one run."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Contender, race
from bench.pool import LIBRARIES
from bench.world import (
    Channel,
    environment,
    make_channel,
    make_locks,
    make_workspace,
    served,
    task,
)

_ARTIFACTS, _BYTES = 600, 550_000_000
_MANY = 4_600
_LOCKS, _MANY_ROWS = 10, 20_000  # planned in 3 s where nothing else is going on
_FAR = 0.030  # seconds before each first byte, as over a real network
_YAML = (
    "import sys, yaml\n"
    "for each in sys.argv[1:]: yaml.load(open(each, encoding='utf-8'), yaml.CSafeLoader)"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured against what; `most` is the ratio aimed at."""

    what: str
    against: str
    ours: Contender
    theirs: Contender
    most: float | None = None

    @property
    def ratio(self) -> float:
        """Our time by theirs."""
        return self.ours.median / self.theirs.median


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run works: a scratch folder with a home of its own."""

    scratch: Path
    rounds: int

    @property
    def home(self) -> Path:
        """An empty home folder."""
        return self.scratch / "home"

    def race(self, *contenders: Contender) -> None:
        """Run them in turn here."""
        race(contenders, self.rounds, self.scratch, environment(self.home))

    def clear(self, *names: str) -> Callable[[], None]:
        """Return a function that empties these folders of the scratch folder and puts them aside.

        They go with the scratch folder: for a minute after a removal ext4 looks for other inodes
        than those set free, and whoever then makes files would be measured slower than it is.
        """

        def put_aside() -> None:
            for name in names:
                if (self.scratch / name).exists():
                    aside = Path(tempfile.mkdtemp(dir=self.scratch, prefix="aside-"))
                    (self.scratch / name).rename(aside / "old")
                    for file in filter(Path.is_file, aside.rglob("*")):
                        if file.stat().st_nlink == 1:
                            os.truncate(file, 0)
                        else:  # a peer's cache has it too
                            file.unlink()

        return put_aside


def rows(rounds: int, say: Callable[[str], None]) -> Iterator[Row]:
    """Measure everything, one row after the other; `say` hears what is missing."""
    with tempfile.TemporaryDirectory(prefix="pixi-mirror-bench-") as folder:
        place = Place(Path(folder), rounds)
        place.home.mkdir()
        say(f"bench: writing {_ARTIFACTS} artifacts, {_BYTES // 1_000_000} MB")
        channel = make_channel(place.scratch / "upstream", _ARTIFACTS, _BYTES)
        with served(channel.folder) as url:
            yield from _fetch(place, channel, url, say)
            yield from _libraries(place, channel, url)
        with served(channel.folder, _FAR) as url:
            yield from _fetch_far(place, channel, url, say)
        yield from _read_back(place, channel, say)
        say(f"bench: writing {_MANY} artifacts")
        yield from _nothing_to_do(place)
        yield from _several_locks(place)


def _ours(place: Place, workspace: Path, name: str, *options: str) -> Contender:
    return Contender(
        f"fetch{' '.join(options)}",
        task(name, workspace, *options),
        place.clear("workspace/local-channel", "workspace/.pixi-mirror"),
    )


def _fetch(place: Place, channel: Channel, url: str, say: Callable[[str], None]) -> Iterator[Row]:
    """Measure a whole fetch from a near server."""
    workspace = make_workspace(place.scratch / "workspace", channel, url)
    ours = _ours(place, workspace, "fetch")
    peers = [peer for peer in _peers(place, channel, url, say) if peer is not None]
    place.race(ours, *peers)
    yield Row("fetch", peers[0].name, ours, peers[0], 0.6)
    for peer in peers[1:]:
        yield Row("fetch", peer.name, ours, peer)


def _libraries(place: Place, channel: Channel, url: str) -> Iterator[Row]:
    """Measure what a bare pool costs with other HTTP libraries than requests."""
    base = f"{url}/channel/linux-64"
    urls = "".join(f"{each.sha256} {base}/{each.path.name}\n" for each in channel.packages)
    (place.scratch / "urls.txt").write_text(urls, encoding="utf-8")
    first, *others = (
        Contender(
            f"a bare pool with {library}",
            [sys.executable, "-m", "bench.pool", library, "urls.txt", "pool"],
            place.clear("pool"),
        )
        for library in LIBRARIES
    )
    place.race(first, *others)
    for other in others:
        yield Row(other.name, first.name, other, first)


def _fetch_far(
    place: Place, channel: Channel, url: str, say: Callable[[str], None]
) -> Iterator[Row]:
    """Measure a whole fetch from a server that is 30 ms away."""
    workspace = make_workspace(place.scratch / "workspace", channel, url)
    ours = _ours(place, workspace, "fetch")
    peer = _pixi_pack(place, say)
    if peer is not None:
        place.race(ours, peer)
        yield Row("fetch, 30 ms away", peer.name, ours, peer, 2.0)


def _peers(
    place: Place, channel: Channel, url: str, say: Callable[[str], None]
) -> Iterator[Contender | None]:
    """Name everybody who can do the same job; curl first, which must be there."""
    names = [each.path.name for each in channel.packages]
    base = f"{url}/channel/linux-64"
    config = "".join(f'url = "{base}/{name}"\noutput = "out/{name}"\n' for name in names)
    (place.scratch / "curl.txt").write_text(config, encoding="utf-8")
    sums = "".join(f"{each.sha256}  out/{each.path.name}\n" for each in channel.packages)
    (place.scratch / "sums.txt").write_text(sums, encoding="utf-8")
    aria = "".join(
        f"{base}/{each.path.name}\n  dir=out\n  checksum=sha-256={each.sha256}\n"
        for each in channel.packages
    )
    (place.scratch / "aria2.txt").write_text(aria, encoding="utf-8")
    clear = place.clear("out")
    yield Contender(
        "curl --parallel, then sha256sum -c",
        "mkdir out && curl -s --parallel -K curl.txt && sha256sum --quiet -c sums.txt",
        clear,
    )
    yield _pixi_pack(place, say)
    if _is_there("conda-mirror", say):
        from scripts.core.rattler_child import call_rattler

        call_rattler("index", {"folder": str(channel.folder / "channel")})  # it needs repodata
        command = (
            f"mkdir mirrored && conda-mirror --source {url}/channel --destination ./mirrored"
            " --subdir linux-64"
        )
        yield Contender("conda-mirror", command, place.clear("mirrored"))
    if _is_there("aria2c", say):
        command = "mkdir out && aria2c -q --console-log-level=error -i aria2.txt -j 8"
        yield Contender("aria2c with checksums", command, clear)


def _pixi_pack(place: Place, say: Callable[[str], None]) -> Contender | None:
    if not _is_there("pixi-pack", say):
        return None
    command = ["pixi-pack", "--directory-only", "-o", "packed", "-p", "linux-64", "workspace"]
    return Contender("pixi-pack --directory-only", command, place.clear("packed"))


def _read_back(place: Place, channel: Channel, say: Callable[[str], None]) -> Iterator[Row]:
    """Measure verify and index on what the last fetch left."""
    workspace = place.scratch / "workspace"
    # The same artifacts, for sha256sum to read.
    place.clear("out")()
    shutil.copytree(channel.folder / "channel" / "linux-64", place.scratch / "out")
    if not (workspace / "local-channel").exists():
        with served(channel.folder) as url:
            make_workspace(workspace, channel, url)
            place.race(_ours(place, workspace, "fetch"))
    index = Contender(
        "index",
        task("index", workspace),
        lambda: _unindex(workspace / "local-channel", workspace / ".pixi-mirror"),
    )
    place.race(index)
    ours = Contender("verify --level files", task("verify", workspace, "--level", "files"))
    theirs = Contender("sha256sum -c", "sha256sum --quiet -c sums.txt")
    place.race(ours, theirs)
    yield Row("verify --level files", theirs.name, ours, theirs, 0.25)
    if _is_there("rattler-index", say):
        bare = place.scratch / "bare"
        shutil.copytree(channel.folder / "channel", bare)
        theirs = Contender(
            "rattler-index fs", ["rattler-index", "fs", str(bare)], lambda: _unindex(bare)
        )
        place.race(index, theirs)
        yield Row("index from cold", theirs.name, index, theirs, 0.8)


def _unindex(*folders: Path) -> None:
    """Remove every index file, and what is remembered of it; artifacts and digests stay."""
    for folder in folders:
        for name in ("repodata*", "index.json", "made-from.lock"):
            for file in folder.rglob(name):
                file.unlink()
        for shards in list(folder.rglob("shards")):
            shutil.rmtree(shards)


def _nothing_to_do(place: Place) -> Iterator[Row]:
    """Measure fetch and index again on a large lock, beside only loading that lock."""
    channel = make_channel(place.scratch / "many", _MANY, 0)
    with served(channel.folder) as url:
        workspace = make_workspace(place.scratch / "large", channel, url)
        fetch = Contender("fetch", task("fetch", workspace))
        index = Contender("index", task("index", workspace))
        once = Place(place.scratch, 1)
        once.race(fetch)
        once.race(index)
        lock = workspace / "pixi.lock"
        load = Contender("yaml.load", [sys.executable, "-c", _YAML, str(lock)])
        closure, solve = (
            Contender(f"verify --level {level}", task("verify", workspace, "--level", level))
            for level in ("closure", "solve")
        )
        place.race(fetch, index, closure, solve, load)
        yield Row("fetch, nothing to do", "yaml.load of the lock", fetch, load, 2.0)
        yield Row("index, nothing to do", "yaml.load of the lock", index, load, 2.0)
        yield Row(f"verify --level closure, {_MANY:,} packages", load.name, closure, load)
        yield Row(f"verify --level solve, {_MANY:,} packages", load.name, solve, load)


def _several_locks(place: Place) -> Iterator[Row]:
    """Measure the plan of ten locks, 20,000 rows between them, beside only loading them."""
    workspace, locks = make_locks(place.scratch / "team", _LOCKS, _MANY_ROWS)
    plan = Contender("plan", task("plan", workspace, "--offline"))
    load = Contender("yaml.load of them", [sys.executable, "-c", _YAML, *map(str, locks)])
    place.race(plan, load)
    yield Row(f"plan of {_LOCKS} locks, {_MANY_ROWS:,} rows", load.name, plan, load, 1.0)


def _is_there(program: str, say: Callable[[str], None]) -> bool:
    if shutil.which(program):
        return True
    say(f"bench: {program} is not on PATH, so nothing is measured against it")
    return False


def table(measured: list[Row]) -> list[str]:
    """Write the rows as a Markdown table, times in seconds."""
    lines = [
        "| measured | against | ours | theirs | ratio | aim |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in measured:
        aim = "" if row.most is None else f"≤ {row.most:g}"
        lines.append(
            f"| {row.what} | {row.against} | {row.ours.median:.2f} s "
            f"| {row.theirs.median:.2f} s | {row.ratio:.2f} | {aim} |"
        )
    peak = max(row.ours.peak for row in measured if row.what.startswith("fetch"))
    lines.append("")
    lines.append(
        f"{os.cpu_count()} cores; {_ARTIFACTS} artifacts, {_BYTES // 1_000_000} MB, from a "
        f"server on loopback; peak memory of fetch {peak / 1e6:.0f} MB."
    )
    return lines
