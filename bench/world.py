"""What is measured on: a channel of real artifacts, and workspaces whose locks name them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage, WrittenPackage

ROOT = Path(__file__).resolve().parents[1]
_SUBDIR = "linux-64"
_KEY = "benchbenchbench"  # of versitygw, which listens on loopback alone
# What most packages of conda-forge ask for; it gives the lock its real length.
_DEPENDS = (
    "__glibc >=2.17,<3.0.a0",
    "libgcc >=14",
    "libstdcxx >=14",
    "libzlib >=1.3.1,<2.0a0",
    "python >=3.13,<3.14.0a0",
    "python_abi 3.13.* *_cp313",
)
# What meets that; these are the first of the artifacts.
_NEEDED = {
    "libgcc": ("15.2.0", "h0_0"),
    "libstdcxx": ("15.2.0", "h0_0"),
    "libzlib": ("1.3.1", "h0_0"),
    "python": ("3.13.9", "h0_0_cp313"),
    "python_abi": ("3.13", "0_cp313"),
}


@dataclass(frozen=True, slots=True)
class Channel:
    """Artifacts in a folder that stands for upstream."""

    folder: Path
    packages: tuple[WrittenPackage, ...]

    @property
    def size(self) -> int:
        """All their bytes."""
        return sum(package.size for package in self.packages)


def make_channel(folder: Path, count: int, total: int, versions: int = 1) -> Channel:
    """Write `count` artifacts of `total` bytes, so many of each name.

    Sizes are spread like conda-forge's: half of those are below 100 kB and a few make most of the
    bytes, a log-normal spread. It is done in a process of its own: a program's peak memory counts
    from what started it.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(_write_channel, folder, count, total, versions).result()


def _write_channel(folder: Path, count: int, total: int, versions: int) -> Channel:
    chance = random.Random(600)
    weights = [min(math.exp(chance.gauss(11.5, 2.2)), 6e7) for _ in range(count)]
    scale = total / sum(weights)
    others = ((f"package-{x // versions}", f"1.2.{3 + x % versions}") for x in range(count))
    names = [*((name, version) for name, (version, _) in _NEEDED.items()), *others]
    packages = []
    for (name, version), weight in zip(names, weights, strict=False):
        _, build = _NEEDED.get(name, ("", "py313h0123456_0"))
        package = TinyPackage(
            name=name,
            version=version,
            build=build,
            subdir=_SUBDIR,
            depends=() if name in _NEEDED else _DEPENDS,
            padding=int(weight * scale),
        )
        packages.append(package.write(folder / "channel"))
        vars(package).pop("data")  # its bytes, kept for a second writing that never comes
    return Channel(folder, tuple(packages))


def make_workspace(root: Path, channel: Channel, url: str, more: str = "") -> Path:
    """Write manifest and lock of a workspace that wants the whole channel from this server.

    Each environment has one version of a name. `more` are lines of the manifest.
    """
    root.mkdir(parents=True, exist_ok=True)
    rows: list[list[LockRow]] = []
    seen = Counter[str]()
    for each in channel.packages:
        number = seen[each.package.name]
        seen[each.package.name] += 1
        if number == len(rows):
            rows.append([])
        rows[number].append(LockRow(written=each, channel=f"{url}/channel"))
    names = ["default", *(f"of-version-{number}" for number in range(1, len(rows)))]
    (root / "pixi.toml").write_text(
        f'[workspace]\nname = "bench"\nchannels = ["{url}/channel"]\nplatforms = ["{_SUBDIR}"]\n'
        + more
        + "[dependencies]\n"
        + "".join(f'{name} = "*"\n' for name in seen)
        + "[environments]\n"
        + "".join(f"{name} = []\n" for name in names[1:]),
        encoding="utf-8",
    )
    environments = (
        EnvironmentRows(name=name, platforms=(PlatformRows(name=_SUBDIR, rows=tuple(some)),))
        for name, some in zip(names, rows, strict=True)
    )
    write_lock(root / "pixi.lock", tuple(environments), version=6)
    return root


def make_locks(root: Path, count: int, total: int) -> tuple[Path, list[Path]]:
    """Write workspaces with `total` rows between them, half of what each has also in the others.

    Returns one more that mirrors them all, and the locks. No artifact need be there.
    """
    each, url = total // count, "https://conda.anaconda.org/conda-forge"
    for number in range(count):
        own = range(each // 2, each)
        names = [*range(each // 2), *(number * each + position for position in own)]
        rows = tuple(LockRow(written=_unwritten(f"package-{x}"), channel=url) for x in names)
        folder = root / f"workspace-{number}"
        _write_manifest(folder, url, "")
        platform = PlatformRows(name=_SUBDIR, rows=rows)
        write_lock(folder / "pixi.lock", (EnvironmentRows(platforms=(platform,)),), version=6)
    mirror = root / "mirror"
    _write_manifest(mirror, url, '[tool.pixi-mirror]\nlocks = ["../workspace-*/pixi.lock"]\n')
    return mirror, sorted(root.glob("workspace-*/pixi.lock"))


def _unwritten(name: str) -> WrittenPackage:
    package = TinyPackage(
        name=name, version="1.2.3", build="py313h0123456_0", subdir=_SUBDIR, depends=_DEPENDS
    )
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return WrittenPackage(
        path=Path(name), sha256=sha256, md5=sha256[:32], size=1000, package=package
    )


def _write_manifest(folder: Path, channel: str, more: str) -> None:
    folder.mkdir(parents=True)
    (folder / "pixi.toml").write_text(
        f'[workspace]\nname = "{folder.name}"\nchannels = ["{channel}"]\n'
        f'platforms = ["{_SUBDIR}"]\n{more}',
        encoding="utf-8",
    )


@contextlib.contextmanager
def served(folder: Path, wait: float = 0.0) -> Iterator[str]:
    """Serve a folder while the block runs; yield the URL."""
    command = [sys.executable, "-m", "bench.server", str(folder), str(wait)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


@contextlib.contextmanager
def served_by_s3(folder: Path, home: Path) -> Iterator[tuple[str, str]]:
    """Serve a folder as a bucket by versitygw while the block runs.

    Yields the bucket's URL, and the lines of a manifest that lead there; the keys are in `home`.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["versitygw", "--port", f"127.0.0.1:{port}", "--access", _KEY, "--secret", _KEY]
    keys = {"access_key_id": _KEY, "secret_access_key": _KEY, "session_token": None}
    credentials = home / ".rattler" / "credentials.json"
    credentials.parent.mkdir(exist_ok=True)
    credentials.write_text(json.dumps({f"s3://{folder.name}": {"S3Credentials": keys}}))
    with subprocess.Popen(
        [*command, "posix", str(folder.parent)], stdout=subprocess.DEVNULL, cwd=home
    ) as server:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            options = (
                f"[workspace.s3-options.{folder.name}]",
                f'endpoint-url = "http://127.0.0.1:{port}"',
                'region = "us-east-1"\nforce-path-style = true\n',
            )
            yield f"s3://{folder.name}", "\n".join(options)
        finally:
            server.kill()


def task(name: str, workspace: Path, *options: str) -> Sequence[str]:
    """Return the command of a task on a workspace, as `./run` starts it."""
    return [
        *(sys.executable, "-m", f"tasks.{name}", "-q"),
        *("--manifest-path", str(workspace), *options),
    ]


def environment(home: Path) -> dict[str, str]:
    """Return an environment without the user's settings, caches and proxies."""
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "TMPDIR"}}
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1,localhost",
        "RATTLER_CACHE_DIR": str(home / "cache"),
        "PIXI_CACHE_DIR": str(home / "cache"),
    }
