"""The table of ratios: each stage beside a peer, all in one run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
    served_by_s3,
    task,
)

_ARTIFACTS, _BYTES = 600, 550_000_000
_LARGE = 5_000_000_000  # bytes, of as many artifacts
_MANY = 4_600
_VERSIONS = 10  # of each name in the large index, as in conda-forge
_LOCKS, _MANY_ROWS = 10, 20_000  # planned in 3 s where nothing else is going on
_SNAPSHOTS = 52  # a year of weekly ones
_FAR = 0.030  # seconds before each first byte, as over a real network
_YAML = (
    "import sys, yaml\n"
    "for each in sys.argv[1:]: yaml.load(open(each, encoding='utf-8'), yaml.CSafeLoader)"
)
_MB = 1_000_000
_CORES = "what the cores hash (openssl speed)"
NONE = "\N{EN DASH}"  # where there is no peer
# What is measured against, and how each tells its version.
PEERS = {
    "pixi-pack": ("--version",),
    "conda-mirror": ("--version",),
    "aria2c": ("--version",),
    "rattler-index": ("--version",),
    "versitygw": (),
    "openssl": ("version",),
    "curl": ("--version",),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured against what.

    `most` is the ratio aimed at, `within` the seconds, `memory` the megabytes of all processes
    together. `theirs` None: the peer is not here.
    """

    what: str
    against: str
    ours: Contender
    theirs: Contender | None = None
    most: float | None = None
    within: float | None = None
    memory: int | None = None

    @property
    def ratio(self) -> float | None:
        """Our time by theirs."""
        return None if self.theirs is None else self.ours.best / self.theirs.best


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run works: a scratch folder with a home of its own."""

    scratch: Path
    rounds: int

    @property
    def home(self) -> Path:
        """An empty home folder."""
        return self.scratch / "home"

    def race(self, *contenders: Contender | None) -> None:
        """Run them in turn here, those that are."""
        there = [each for each in contenders if each is not None]
        race(there, self.rounds, self.scratch, environment(self.home))

    def once(self, *contenders: Contender) -> None:
        """Run each of them once."""
        race(contenders, 1, self.scratch, environment(self.home), warms=False)

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


def rows(rounds: int, records: int, say: Callable[[str], None]) -> Iterator[Row]:
    """Measure everything, one row after the other; `records` are those of the large index."""
    for name in sorted(missing()):
        say(f"bench: {name} IS NOT ON PATH: nothing is measured against it")
    with tempfile.TemporaryDirectory(prefix="pixi-mirror-bench-") as folder:
        place = Place(Path(folder), rounds)
        place.home.mkdir()
        say(f"bench: writing {_ARTIFACTS} artifacts, {_BYTES // _MB} MB")
        channel = make_channel(place.scratch / "upstream", _ARTIFACTS, _BYTES)
        with served(channel.folder) as url:
            yield from _fetch(place, channel, url)
            yield from _fetch_s3(place, channel)
            yield from _libraries(place, channel, url)
        with served(channel.folder, _FAR) as url:
            yield from _fetch_far(place, channel, url)
        yield from _read_back(place, channel)
        yield from _again(place, place.scratch / "workspace", channel, 0.25)
        yield from _bundle(place, place.scratch / "workspace")
        say(f"bench: writing {_MANY} artifacts")
        yield from _large_lock(place)
        yield from _several_locks(place)
        if records:
            say(f"bench: writing {records} artifacts")
            yield from _large_index(place, records)
            say(f"bench: writing {_ARTIFACTS} artifacts, {_LARGE // _MB} MB")
            yield from _large_files(place)


def missing() -> set[str]:
    """Return the peers that are not here."""
    return {name for name in PEERS if shutil.which(name) is None}


def versions() -> list[str]:
    """Say of each peer that is here which one it is."""
    said = [f"Python {sys.version.split()[0]}"]
    for name, arguments in PEERS.items():
        if name in missing() or not arguments:
            continue
        run = subprocess.run([name, *arguments], capture_output=True, text=True, check=False)
        found = re.search(r"[0-9]+(?:\.[0-9]+)+", run.stdout)
        said.append(f"{name} {found[0] if found else '?'}")
    return said


def _if_there(program: str, contender: Contender) -> Contender | None:
    return None if program in missing() else contender


def _ours(place: Place, workspace: Path, name: str) -> Contender:
    cleared = (f"{workspace.name}/local-channel", f"{workspace.name}/.pixi-mirror")
    return Contender(name, task(name, workspace), place.clear(*cleared))


def _fetch(place: Place, channel: Channel, url: str) -> Iterator[Row]:
    """Measure a whole fetch from a near server."""
    workspace = make_workspace(place.scratch / "workspace", channel, url)
    ours = _ours(place, workspace, "fetch")
    curl, pack, mirror, aria = _peers(place, channel, url)
    place.race(ours, curl, pack, mirror, aria)
    yield Row("fetch", "curl --parallel, then sha256sum -c", ours, curl, 0.55, memory=120)
    yield Row("fetch", "pixi-pack --directory-only", ours, pack, 1.35)
    yield Row("fetch", "conda-mirror", ours, mirror)
    yield Row("fetch", "aria2c with checksums", ours, aria)


def _fetch_s3(place: Place, channel: Channel) -> Iterator[Row]:
    """Measure a fetch from a bucket beside one from the near server."""
    if "versitygw" in missing():
        return
    near = _ours(place, place.scratch / "workspace", "fetch")
    with served_by_s3(channel.folder, place.home) as (bucket, more):
        workspace = make_workspace(place.scratch / "of-s3", channel, bucket, more)
        ours = _ours(place, workspace, "fetch")
        place.race(ours, near)
        yield Row("fetch from s3 (versitygw)", "fetch over http", ours, near, 1.5, memory=120)


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


def _fetch_far(place: Place, channel: Channel, url: str) -> Iterator[Row]:
    """Measure a whole fetch from a server that is 30 ms away."""
    workspace = make_workspace(place.scratch / "workspace", channel, url)
    ours = _ours(place, workspace, "fetch")
    curl, pack, _, _ = _peers(place, channel, url)
    place.race(ours, curl, pack)
    yield Row("fetch, 30 ms away", "pixi-pack --directory-only", ours, pack, 1.7)
    yield Row("fetch, 30 ms away", "curl --parallel, then sha256sum -c", ours, curl)


def _peers(
    place: Place, channel: Channel, url: str
) -> tuple[Contender, Contender | None, Contender | None, Contender | None]:
    """Return everybody who can do the same job: curl, pixi-pack, conda-mirror, aria2c."""
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
    if "conda-mirror" not in missing():
        from scripts.core.rattler_child import call_rattler

        call_rattler("index", {"folder": str(channel.folder / "channel")})  # it needs repodata
    pack = ["pixi-pack", "--directory-only", "-o", "packed", "-p", "linux-64", "workspace"]
    mirror = (
        f"mkdir mirrored && conda-mirror --source {url}/channel --destination ./mirrored"
        " --subdir linux-64"
    )
    aria2c = "mkdir out && aria2c -q --console-log-level=error -i aria2.txt -j 8"
    clear = place.clear("out")
    curl = "mkdir out && curl -s --parallel -K curl.txt && sha256sum --quiet -c sums.txt"
    return (
        Contender("curl", curl, clear),
        _if_there("pixi-pack", Contender("pixi-pack", pack, place.clear("packed"))),
        _if_there("conda-mirror", Contender("conda-mirror", mirror, place.clear("mirrored"))),
        _if_there("aria2c", Contender("aria2c", aria2c, clear)),
    )


def _read_back(place: Place, channel: Channel) -> Iterator[Row]:
    """Measure verify and index on what the last fetch left."""
    workspace = place.scratch / "workspace"
    index = Contender(
        "index",
        task("index", workspace),
        lambda: _unindex(workspace / "local-channel", workspace / ".pixi-mirror"),
    )
    bare = place.scratch / "bare"
    shutil.copytree(channel.folder / "channel", bare)
    theirs = _if_there(
        "rattler-index",
        Contender("rattler-index fs", ["rattler-index", "fs", str(bare)], lambda: _unindex(bare)),
    )
    place.race(index, theirs)
    yield Row("index from cold", "rattler-index fs", index, theirs, 0.8)
    files, archives = (_level(workspace, level) for level in ("files", "archives"))
    cores = _hashing(channel.size)
    place.race(files, archives, cores)
    yield Row("verify, the level files", _CORES, files, cores, 1 / 0.9)
    yield Row("verify, the level archives", _CORES, archives, cores)


def _large_files(place: Place) -> Iterator[Row]:
    """Measure what `verify` reads in a mirror of the usual size, where starting hardly counts."""
    channel = make_channel(place.scratch / "heavy", _ARTIFACTS, _LARGE)
    with served(channel.folder) as url:
        workspace = make_workspace(place.scratch / "heaviest", channel, url)
        place.once(Contender("fetch", task("fetch", workspace)))
    shutil.rmtree(channel.folder)
    place.once(Contender("index", task("index", workspace)))
    files, cores = _level(workspace, "files"), _hashing(channel.size)
    place.race(files, cores)
    yield Row(f"verify, the level files, {_LARGE // 10**9} GB", _CORES, files, cores, 1 / 0.9)


def _hashing(size: int) -> Contender | None:
    """Return how long so many bytes take all cores to hash, without reading them."""
    speed = Contender(
        "openssl speed",
        f"openssl speed -multi {os.cpu_count()} -seconds 1 -bytes 1048576 -evp sha256",
        reads=lambda said: size / _hashed_a_second(said),
    )
    return _if_there("openssl", speed)


def _level(workspace: Path, level: str) -> Contender:
    """Look at one level alone; the seconds are those that it tells of, without the start."""
    command = [*task("verify", workspace, "--level", level), "--json"]
    return Contender(level, command, reads=lambda said: json.loads(said)["seconds"][level])


def _hashed_a_second(said: str) -> float:
    """Take the bytes per second of all processes from the last line of `openssl speed`."""
    found = re.findall(r"([0-9.]+)k\b", said)
    return float(found[-1]) * 1000


def _unindex(*folders: Path) -> None:
    """Remove every index file, and what is remembered of it; artifacts and digests stay."""
    for folder in folders:
        for name in ("repodata*", "index.json", "made-from.lock"):
            for file in folder.rglob(name):
                file.unlink()
        for shards in list(folder.rglob("shards")):
            shutil.rmtree(shards)


def _again(place: Place, workspace: Path, channel: Channel, within: float) -> Iterator[Row]:
    """Measure fetch, index and mirror again with nothing to do, beside only loading the lock."""
    count = f"{len(channel.packages):,} packages"
    fetch, index = (Contender(name, task(name, workspace)) for name in ("fetch", "index"))
    lock = workspace / "pixi.lock"
    load = Contender("yaml.load", [sys.executable, "-c", _YAML, str(lock)])
    place.once(*(Contender(f"first {name}", task(name, workspace)) for name in ("fetch", "index")))
    # As pixi runs it, who has looked by then whether the lock fits the manifest.
    by_pixi = ["env", f"PIXI_PROJECT_MANIFEST={workspace / 'pixi.toml'}"]
    mirror = None
    if len(channel.packages) <= _ARTIFACTS:  # to install thousands first would take too long
        command = [*by_pixi, *task("mirror", workspace, "--client", "rattler")]
        mirror = Contender("mirror", command)
        place.once(Contender("the first one", command))
    place.race(fetch, index, mirror, load)
    against = "yaml.load of the lock"
    yield Row(f"fetch again, {count}", against, fetch, load, within=within)
    yield Row(f"index again, {count}", against, index, load)
    if mirror is not None:
        yield Row(f"mirror again, {count}", against, mirror, load, within=1)


def _bundle(place: Place, workspace: Path) -> Iterator[Row]:
    """Measure a whole bundle, and unbundling it, on what `index` left; all of it ends on the disk.

    Unbundling also reads back every file that it has placed, which tar does not.
    """
    folder, volume = (
        Contender(name, task("bundle", workspace, name, "--full", *options), place.clear(name))
        for name, options in (("a folder", ()), ("a volume", ("--tar",)))
    )
    channel = "workspace/local-channel"
    tar = Contender(
        "tar, then sha256sum",
        f"tar -cf tarred.tar -C {channel} . && sha256sum tarred.tar && sync tarred.tar",
        place.clear("tarred.tar"),
    )
    place.race(folder, volume, tar)
    for each in (folder, volume):
        yield Row(f"bundle, {each.name}", tar.name, each, tar, 1 / 0.9)
    program = ["-I", "-S", "a folder/unbundle.py"]
    there, volumes_there = (
        Contender(name, [sys.executable, *program, name, "far/channel"], place.clear("far"))
        for name in ("a folder", "a volume")
    )
    untar = Contender(
        "sha256sum, then tar",
        "sha256sum tarred.tar && mkdir untarred && tar -xf tarred.tar -C untarred"
        " && sync -f untarred",
        place.clear("untarred"),
    )
    place.race(there, volumes_there, untar)
    for each in (there, volumes_there):
        yield Row(f"unbundle, {each.name}", untar.name, each, untar, 1 / 0.9)


def _large_lock(place: Place) -> Iterator[Row]:
    channel = make_channel(place.scratch / "many", _MANY, 0)
    with served(channel.folder) as url:
        workspace = make_workspace(place.scratch / "large", channel, url)
        yield from _again(place, workspace, channel, 0.5)
    load = Contender("yaml.load", [sys.executable, "-c", _YAML, str(workspace / "pixi.lock")])
    closure, solve = (
        Contender(f"verify --level {level}", task("verify", workspace, "--level", level))
        for level in ("closure", "solve")
    )
    place.race(closure, solve, load)
    for each in (closure, solve):
        yield Row(f"{each.name}, {_MANY:,} packages", "yaml.load of the lock", each, load)
    yield from _snapshots(place, workspace, load)


def _snapshots(place: Place, workspace: Path, load: Contender) -> Iterator[Row]:
    """Measure what a snapshot adds where nothing has changed, and the list of a year of them."""
    command = [sys.executable, "-m", "bench.snapshots", str(workspace), str(_SNAPSHOTS)]
    unchanged, first = (Contender("the snapshot", command, reads=float) for _ in range(2))
    listed = Contender("snapshots", task("snapshots", workspace))
    place.once(first)  # which makes them
    place.race(unchanged, listed, load)
    what, against = f"{_MANY:,} packages, {_SNAPSHOTS} snapshots", "yaml.load of the lock"
    yield Row(f"an unchanged snapshot, {what}", against, unchanged, load, within=0.5)
    yield Row(f"snapshots, {what}", against, listed, load)


def _large_index(place: Place, records: int) -> Iterator[Row]:
    """Measure an index from cold of very many records, once: all of it takes minutes."""
    channel = make_channel(place.scratch / "huge", records, 0, _VERSIONS)
    with served(channel.folder) as url:
        workspace = make_workspace(place.scratch / "hugest", channel, url)
        shutil.copytree(
            channel.folder / "channel", workspace / "local-channel", copy_function=os.link
        )
        place.once(Contender("fetch", task("fetch", workspace)))
    index = Contender("index", task("index", workspace))
    place.once(index)
    what = f"index from cold, {records:,} records, {_VERSIONS} of each name"
    yield Row(what, NONE, index, within=15, memory=500)


def _several_locks(place: Place) -> Iterator[Row]:
    """Measure the plan of ten locks, 20,000 rows between them, beside only loading them."""
    workspace, locks = make_locks(place.scratch / "team", _LOCKS, _MANY_ROWS)
    plan = Contender("plan", task("plan", workspace, "--offline"))
    load = Contender("yaml.load of them", [sys.executable, "-c", _YAML, *map(str, locks)])
    place.race(plan, load)
    yield Row(f"plan of {_LOCKS} locks, {_MANY_ROWS:,} rows", load.name, plan, load, 1.0)


def table(measured: Sequence[Row]) -> list[str]:
    """Write the rows as a Markdown table, and what they were measured on."""
    lines = [
        "| measured | against | ours | theirs | ratio | our CPU | our memory | aim |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in measured:
        theirs = NONE if row.theirs is None else f"{row.theirs.best:.2f} s"
        ratio = NONE if row.ratio is None else f"{row.ratio:.2f}"
        memory = f"{row.ours.peak / _MB:.0f} MB" if row.ours.peak else NONE
        aims = [] if row.most is None else [f"≤ {row.most:.2f}"]
        aims += [] if row.within is None else [f"≤ {row.within:g} s"]
        aims += [] if row.memory is None else [f"≤ {row.memory} MB"]
        lines.append(
            f"| {row.what} | {row.against} | {row.ours.best:.2f} s | {theirs} | {ratio} "
            f"| {row.ours.cpu:.2f} s | {memory} | {', '.join(aims)} |"
        )
    lines += ["", f"{os.cpu_count()} cores; {', '.join(versions())}."]
    if absent := sorted(missing()):
        lines.append(f"NOT HERE, and so not measured against: {', '.join(absent)}.")
    return lines
