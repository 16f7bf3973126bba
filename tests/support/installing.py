r"""A client that installs from a channel again and again, each time with an empty cache.

    python -m tests.support.installing CLIENT URL FOLDER COUNT ENOUGH

It ends after COUNT installs or, with one at least, as soon as the file ENOUGH is there, and says as
JSON how many there were, how long the longest took, and of those that failed how long they took,
and why. Acts.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.core.rattler_solver import subdir_type
from tests.support.packages import TinyPackage
from tests.support.verified import here

VERSIONS: Final = 8
_PADDING: Final = 60_000
_MOST_FAILED: Final = 20


def package(version: int) -> TinyPackage:
    """Return the package of this version; it needs another one that stays the same."""
    return TinyPackage(name="a", version=f"{version}.0", depends=("b",), padding=_PADDING)


OTHER = TinyPackage(name="b", padding=_PADDING)


def wrong(prefix: Path) -> str | None:
    """Say what is not whole in a prefix."""
    for name in "ab":
        text = prefix / "share" / f"{name}.txt"
        if not text.is_file():
            return f"{name} is not installed"
        each = OTHER if name == "b" else package(int(text.read_text().split("-")[1][:-2]))
        for path, data in each.payload:
            found = (prefix / path).read_bytes()
            if hashlib.sha256(found).digest() != hashlib.sha256(data).digest():
                return f"{path} is not that of {each.file_name}"
    return None


def _by_rattler(url: str, folder: Path, cache: Path) -> None:
    asyncio.run(_install(url, folder, cache))


def _by_pixi(url: str, folder: Path, cache: Path) -> None:
    folder.mkdir()
    (folder / "pixi.toml").write_text(
        f'[workspace]\nname = "w"\nchannels = ["{url}"]\nplatforms = ["{here()}"]\n\n'
        '[dependencies]\na = "*"\n',
        encoding="utf-8",
    )
    _run(("pixi", "install", "--quiet"), folder, PIXI_CACHE_DIR=str(cache))
    (folder / ".pixi" / "envs" / "default").rename(folder / "prefix")


def _by_conda(url: str, folder: Path, cache: Path) -> None:
    folder.mkdir()
    command = ("conda", "create", "-qy", "-p", str(folder / "prefix"), "-c", url)
    packages = {"CONDA_PKGS_DIRS": str(cache)}
    _run((*command, "--override-channels", "a"), folder, **packages)


def _run(command: Sequence[str], folder: Path, **variables: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # conda's rattler may crash as Python ends; what was not installed then is missed by the caller.
    if done.returncode != 0 and "Python runtime state: finalizing" not in done.stderr:
        raise ValueError(f"{command[0]} ended with {done.returncode}: {done.stderr}{done.stdout}")


# Each installs `a` from a URL into `prefix` below a folder that is not there yet.
CLIENTS: Mapping[str, Callable[[str, Path, Path], None]] = {
    "rattler": _by_rattler,
    "pixi": _by_pixi,
    "conda": _by_conda,
}


async def _install(url: str, folder: Path, cache: Path) -> None:
    from rattler import Gateway, install, solve

    subdir = subdir_type()
    gateway = Gateway(cache_dir=cache / "repodata")
    records = await solve([url], ["a"], gateway=gateway, platforms=[subdir("noarch")])
    await install(records, folder / "prefix", cache_dir=cache / "packages", show_progress=False)


def main(name: str, url: str, folder: Path, count: int, enough: Path) -> dict[str, Any]:
    """Install until it is enough; what has failed time and again will not get better."""
    installs, longest = 0, 0.0
    failed: list[tuple[float, str]] = []
    while installs < count and len(failed) < _MOST_FAILED and not (installs and enough.exists()):
        shutil.rmtree(folder, ignore_errors=True)
        started = time.monotonic()
        try:
            CLIENTS[name](url, folder, folder / "cache")
            message = wrong(folder / "prefix")
        except Exception as error:  # rattler raises many kinds; each is told
            message = f"{type(error).__name__}: {error}"
        took = time.monotonic() - started
        longest = max(longest, took)
        if message is None:
            installs += 1
        else:
            failed.append((took, message))
    return {"installs": installs, "failed": failed, "longest": longest}


if __name__ == "__main__":
    name, url, folder, count, enough = sys.argv[1:]
    print(json.dumps(main(name, url, Path(folder), int(count), Path(enough))), flush=True)
    os._exit(0)  # rattler may crash as the interpreter ends
