"""Clients install all the while that the mirror is moved on, indexed and pruned: none fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgpack
import pytest
import zstandard

from tasks import mirror, prune
from tests.support.installing import OTHER, VERSIONS, package
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import PY_RATTLER, path_with
from tests.support.pixi import path_without_clients
from tests.support.servers import served
from tests.support.template import ROOT
from tests.support.upstream import Upstream
from tests.support.verified import elsewhere

GRACE = 4  # seconds, or so many times what an install takes that nobody disturbs
GRACE_TIMES = 6
TURNS = 8
# By client and server: how many installs there are with `--deep`, ten thousand in all.
INSTALLS = {
    ("rattler", "http.server"): 4000,
    ("rattler", "nginx"): 4000,
    ("pixi", "nginx"): 1500,
    ("conda", "nginx"): 500,
}

# Runs the tasks one after the other, by one lock after the other, until it is told to stop, or so
# many times, and until something was removed.
LOOP = """
import itertools, shutil, sys
from pathlib import Path
from tasks import fetch, index, mirror, prune

root, turns, gone = Path(sys.argv[1]), int(sys.argv[2]), 0
def there():
    return {path for path in (root / "local-channel").rglob("*") if path.is_file()}
try:
    for turn, lock, tasks in zip(
        itertools.count(1),
        itertools.cycle(sorted((root / "locks").iterdir())),
        itertools.cycle(((fetch, index, prune), (fetch, index), (mirror, prune))),
    ):
        shutil.copyfile(lock, root / "new.lock")
        (root / "new.lock").replace(root / "pixi.lock")
        for task in tasks:
            before = there()
            code = task.main(["-q", "--manifest-path", str(root)])
            if code:
                sys.exit(f"{task.__name__} ended with {code}")
            gone += len(before - there())
        if (root / "enough").exists() or (gone and turn >= turns):
            break
finally:  # the clients wait for it, also where a task has failed
    (root / "enough").touch()
print(gone)
"""


@pytest.fixture
def root(tmp_path: Path, upstream: Upstream) -> Path:
    """A workspace, a lock for each version in `locks`, and its mirror of the first."""
    root = tmp_path / "w"
    (root / "locks").mkdir(parents=True)
    channel = f"{upstream.url}/ch"
    (root / "pixi.toml").write_text(
        f'[workspace]\nname = "w"\nchannels = ["{channel}"]\nplatforms = ["{elsewhere()}"]\n\n'
        f'[dependencies]\na = "*"\n\n[tool.pixi-mirror]\nlayout = "flat"\ngrace = "{GRACE}s"\n',
        encoding="utf-8",
    )
    other = LockRow(written=OTHER.write(upstream.folder / "ch"), channel=channel)
    for version in range(VERSIONS):
        row = LockRow(written=package(version).write(upstream.folder / "ch"), channel=channel)
        platform = PlatformRows(name=elsewhere(), rows=(row, other))
        write_lock(root / "locks" / f"{version}.lock", (EnvironmentRows(platforms=(platform,)),))
    move_to(root, 0)
    return root


def move_to(root: Path, version: int) -> None:
    """Mirror by the lock of a version."""
    (root / "pixi.lock").write_bytes((root / "locks" / f"{version}.lock").read_bytes())
    assert mirror.main(["-q", "--manifest-path", str(root)]) == 0


@pytest.mark.parametrize(
    ("client", "server"),
    [
        ("rattler", "http.server"),
        pytest.param("rattler", "nginx", marks=pytest.mark.needs_nginx),
        pytest.param("pixi", "nginx", marks=[pytest.mark.needs_pixi, pytest.mark.needs_nginx]),
        pytest.param("conda", "nginx", marks=[pytest.mark.needs_conda, pytest.mark.needs_nginx]),
    ],
)
def test_none_fails(root: Path, tmp_path: Path, client: str, server: str, *, deep: bool) -> None:
    """Some seconds: what a published index named once must have been removed meanwhile."""
    clients = (os.cpu_count() or 1) if deep else 2
    each_one = -(-INSTALLS[client, server] // clients) if deep else 10**9
    enough = root / "enough"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    allowed = path_without_clients().split(os.pathsep)
    folders = [each for each in path_with(PY_RATTLER).split(os.pathsep) if each in allowed]
    alone = environment | {"PATH": os.pathsep.join(folders)}  # so that no proof takes long
    loop = [sys.executable, "-P", "-c", LOOP, str(root), str(10**9 if deep else TURNS)]
    with served(root / "local-channel", server, tmp_path) as url:

        def install(name: str, count: int) -> subprocess.Popen[bytes]:
            installing = ("-m", "tests.support.installing", client, url)
            command = [sys.executable, "-P", *installing, str(tmp_path / name), str(count)]
            return subprocess.Popen(
                [*command, str(enough)], env=environment, stdout=subprocess.PIPE
            )

        began = time.monotonic()
        with install("alone", 1) as first:
            assert json.loads(first.communicate()[0])["failed"] == []
        grace = max(GRACE, round(GRACE_TIMES * (time.monotonic() - began)))
        set_grace(root, f"{grace}s")
        with subprocess.Popen(loop, env=alone, stdout=subprocess.PIPE, text=True) as publisher:
            at_work = [install(f"client-{number}", each_one) for number in range(clients)]
            said = [json.loads(each.communicate()[0]) for each in at_work]
            enough.touch()
            gone = int(publisher.communicate()[0])
    failed = [each for one in said for each in one["failed"]]
    assert [message for took, message in failed if took < grace] == []
    # Nothing is promised to an install that took longer: then the machine is too slow to tell.
    assert failed == []
    assert min(one["installs"] for one in said) >= (each_one if deep else 1)
    assert gone > 0, "or nothing would be tested"


def set_grace(root: Path, grace: str) -> None:
    """Set how long what is no longer named stays."""
    manifest = root / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    assert f'grace = "{GRACE}s"' in text
    manifest.write_text(text.replace(f'grace = "{GRACE}s"', f'grace = "{grace}"'), encoding="utf-8")


@pytest.mark.parametrize("at_once", [False, True])
def test_who_has_read_the_index_finds_all_that_it_names(root: Path, *, at_once: bool) -> None:
    """The control: with `prune --now` it is gone."""
    folder = root / "local-channel"
    set_grace(root, "1h")
    with served(folder, "http.server", root) as url:
        index = _get(f"{url}/noarch/repodata_shards.msgpack.zst")
        assert index is not None
        shards = msgpack.unpackb(zstandard.ZstdDecompressor().decompressobj().decompress(index))
        move_to(root, 1)
        options = ["--now"] if at_once else []
        assert prune.main(["-q", "--manifest-path", str(root), *options]) == 0
        named = {
            name: _get(f"{url}/noarch/shards/{digest.hex()}.msgpack.zst") is not None
            for name, digest in shards["shards"].items()
        }
        artifact = _get(f"{url}/noarch/{package(0).file_name}") is not None
    assert named == {"a": not at_once, "b": True}
    assert artifact is not at_once


def _get(url: str) -> bytes | None:
    """Ask for a file; None where there is none."""
    try:
        with urllib.request.urlopen(url) as reply:
            return bytes(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 404:
                raise
        return None
