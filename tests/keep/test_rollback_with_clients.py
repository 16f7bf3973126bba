"""Clients see a rollback, and install all the while that there are some."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from scripts.core.channel_paths import ChannelPaths, channel_paths
from scripts.index.file_classes import is_index_path
from scripts.keep.snapshots import read_snapshot_files, read_snapshots, tree_of
from tasks import mirror, rollback
from tests.support.installing import OTHER, VERSIONS, package
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import PY_RATTLER, path_with
from tests.support.pixi import path_without_clients
from tests.support.servers import SENT, served
from tests.support.template import ROOT
from tests.support.upstream import Upstream
from tests.support.verified import elsewhere

CLIENTS = 8
TURNS = 6  # of them two each are of update, rollback and prune
DEEP_TURNS = 200
GRACE_TIMES = 6  # what the longest install takes of as many clients that nobody disturbs

# Installs by one client, the cache being kept, and prints the version.
INSTALL = """
import os, shutil, sys
from pathlib import Path, PurePosixPath
from tests.support.installing import CLIENTS
name, url, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
shutil.rmtree(folder / "installed", ignore_errors=True)
folder.mkdir(exist_ok=True)
CLIENTS[name](url, folder / "installed", folder / "cache")
print((folder / "installed/prefix/share/a.txt").read_text(), flush=True)
os._exit(0)
"""

ON_SERVERS = pytest.mark.parametrize(
    ("client", "server"),
    [
        ("rattler", "http.server"),
        pytest.param("rattler", "nginx", marks=pytest.mark.needs_nginx),
        pytest.param("pixi", "nginx", marks=[pytest.mark.needs_pixi, pytest.mark.needs_nginx]),
        pytest.param("conda", "http.server", marks=pytest.mark.needs_conda),
        pytest.param("conda", "nginx", marks=[pytest.mark.needs_conda, pytest.mark.needs_nginx]),
    ],
)


@pytest.fixture
def root(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace, a lock for each version in `locks`, and its mirror of the first."""
    root, channel = tmp_path / "w", f"{upstream.url}/ch"
    (root / "locks").mkdir(parents=True)
    set_grace(root, "1h", channel)
    other = LockRow(written=OTHER.write(upstream.folder / "ch"), channel=channel)
    for version in range(VERSIONS):
        row = LockRow(written=package(version).write(upstream.folder / "ch"), channel=channel)
        platform = PlatformRows(name=elsewhere(), rows=(row, other))
        write_lock(root / "locks" / f"{version}.lock", (EnvironmentRows(platforms=(platform,)),))
    with monkeypatch.context() as patched:
        patched.setenv("PATH", without_clients())
        move_to(root, 0)
    return root


def without_clients() -> str:
    """A PATH on which no client is, so that no proof takes long."""
    allowed = path_without_clients().split(os.pathsep)
    return os.pathsep.join(x for x in path_with(PY_RATTLER).split(os.pathsep) if x in allowed)


def set_grace(root: Path, grace: str, channel: str) -> None:
    (root / "pixi.toml").write_text(
        f'[workspace]\nname = "w"\nchannels = ["{channel}"]\nplatforms = ["{elsewhere()}"]\n\n'
        f'[dependencies]\na = "*"\n\n[tool.pixi-mirror]\nlayout = "flat"\ngrace = "{grace}"\n',
        encoding="utf-8",
    )


def move_to(root: Path, version: int) -> None:
    """Mirror by the lock of a version."""
    shutil.copyfile(root / "locks" / f"{version}.lock", root / "pixi.lock")
    levels = ("--level", "files,index")
    assert mirror.main(["-q", "--manifest-path", str(root), *levels]) == 0


def roll_back(root: Path) -> None:
    """Back to the first snapshot."""
    first = read_snapshots(channel_paths(root / "local-channel"))[0]
    assert rollback.main(["-q", "--manifest-path", str(root), first.id]) == 0


def restore(root: Path) -> None:
    """Do it as `cp -p` would: with the files of then, and their times."""
    place = channel_paths(root / "local-channel")
    tree = tree_of(place, read_snapshots(place)[0])
    for file in (path for path in tree.rglob("*") if path.is_file()):
        target = place.folder / file.relative_to(tree)
        if not (target.exists() and target.samefile(file)):
            shutil.copy2(file, target)


def install(client: str, url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Install with a cache that is kept."""
    command = [sys.executable, "-P", "-c", INSTALL, client, url, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def installed(client: str, url: str, folder: Path) -> str:
    """Do so, and return which `a` it is."""
    done = install(client, url, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().removesuffix("-0")


def age(folder: Path) -> None:
    """Have all index files been published a day ago."""
    when = time.time() - 86400
    for each in folder.glob("*/repodata*"):
        os.utime(each, (when, when))


@ON_SERVERS
def test_a_warm_cache_does_not_hide_it(root: Path, client: str, server: str) -> None:
    with served(root / "local-channel", server, root) as url:
        assert installed(client, url, root / "client") == "a-0.0"
        move_to(root, 1)
        assert installed(client, url, root / "client") == "a-1.0"
        roll_back(root)
        assert installed(client, url, root / "client") == "a-0.0"


def test_an_index_with_its_old_time_would_not_be_sent(root: Path) -> None:
    """The control: `http.server` is asked whether anything is newer."""
    with served(root / "local-channel", "http.server", root) as url:
        move_to(root, 1)
        assert installed("rattler", url, root / "client") == "a-1.0"
        restore(root)
        assert "304 Not Modified" in install("rattler", url, root / "client").stderr
        assert installed("rattler", url, root / "another") == "a-0.0", "with no cache"


@pytest.mark.needs_nginx
@pytest.mark.parametrize("says", ["", "add_header Cache-Control no-cache;"])
def test_an_index_that_is_a_day_old(root: Path, says: str) -> None:
    """A tenth of that it is not asked for, as HTTP allows, unless the server says otherwise."""
    move_to(root, 1)
    age(root / "local-channel")
    with served(root / "local-channel", "nginx", root, more=says) as url:
        assert installed("rattler", url, root / "client") == "a-1.0"
        roll_back(root)
        assert installed("rattler", url, root / "client") == ("a-0.0" if says else "a-1.0")


def test_none_of_many_fails(root: Path, tmp_path: Path, *, deep: bool) -> None:
    """While the mirror is moved on, rolled back and pruned, and each of these is killed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": without_clients()}
    place, turns = channel_paths(root / "local-channel"), DEEP_TURNS if deep else TURNS
    enough = root / "enough"

    with served(place.folder, "http.server", tmp_path) as url:

        def installing(name: str, count: int) -> subprocess.Popen[bytes]:
            options = (url, str(tmp_path / name), str(count), str(enough))
            command = [sys.executable, "-P", "-m", "tests.support.installing", "rattler", *options]
            return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)

        alone = [installing(f"alone-{number}", 2) for number in range(CLIENTS)]
        longest = max(json.loads(each.communicate()[0])["longest"] for each in alone)
        grace = max(2, round(GRACE_TIMES * longest))
        channel = (root / "pixi.toml").read_text(encoding="utf-8").split('"')[3]
        set_grace(root, f"{grace}s", channel)
        publishing = ("-m", "tests.support.publishing", str(root), str(turns), "13")
        command = [sys.executable, "-P", *publishing]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as publisher:
            clients = [installing(f"client-{number}", 10**9) for number in range(CLIENTS)]
            said = publisher.communicate()
            enough.touch()
            found = [json.loads(each.communicate()[0]) for each in clients]
    assert publisher.returncode == 0, said[1]
    done = json.loads(said[0])
    assert [each for one in found for each in one["failed"]] == []
    assert min(one["installs"] for one in found) >= 1
    assert done["removed"] > 0, "or nothing would be tested"
    assert min(done["runs"].get(task, 0) for task in ("mirror", "rollback", "prune")) >= turns // 3
    assert sum(done["kills"].values()) >= 1
    recorded, sent = set(rows(place)), set(index_files_sent(tmp_path / SENT))
    assert len({path for path, _ in sent}) > 1
    assert sent <= recorded


def rows(place: ChannelPaths) -> Iterator[tuple[str, str]]:
    """Yield path and sha256 of every index file of every snapshot."""
    for snapshot in read_snapshots(place):
        for each in read_snapshot_files(place, snapshot):
            if each.is_index:
                yield str(each.path), each.sha256


def index_files_sent(log: Path) -> Iterator[tuple[str, str]]:
    """Yield path and sha256 of every index file that a client was sent, whole."""
    for line in log.read_text(encoding="utf-8").splitlines():
        path, sha256 = line.split()
        path = path.removeprefix("/")
        if is_index_path(PurePosixPath(path)):
            yield path, sha256
