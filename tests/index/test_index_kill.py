"""Killed at any moment, the next run ends with the bytes of an undisturbed one."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = tuple(
    TinyPackage(name=f"p{number}", subdir=subdir, depends=("x 0.1 h",))
    for number in range(12)
    for subdir in ("linux-64", "noarch")
)
# Says when it begins, so that no time is lost on killing a starting interpreter.
CODE = """
import sys
from pathlib import Path
from tests.support.mirrors import Mirror
mirror = Mirror(root=Path(sys.argv[1]), layout="flat")
workspace, selection = mirror.workspace, mirror.selection
import scripts.index.build, scripts.index.publish
print("begins", flush=True)
mirror.index()
print("ended", flush=True)
"""


class KilledError(BaseException):
    """Stands for the end of the process: nothing in it may catch this."""


def two_locks(tmp_path: Path) -> tuple[Mirror, tuple[bytes, bytes]]:
    """Make a mirror and two locks for it: other packages, and other hotfixes."""
    mirror = make_mirror(tmp_path / "workspace", settings='grace = "0s"\n')
    every = rows(tmp_path / "upstream", PACKAGES)
    locks = []
    for chosen in (
        every[:-2],
        [replace(row, depends=("hot >=1",)) for row in every[4:]],
    ):
        mirror.lock(chosen)
        locks.append((mirror.root / "pixi.lock").read_bytes())
    return mirror, (locks[0], locks[1])


def not_waiting(mirror: Mirror) -> dict[str, bytes]:
    """Read all files but those that the next publication removes."""
    waiting = mirror.waiting()
    return {name: data for name, data in mirror.contents().items() if name not in waiting}


def undisturbed(mirror: Mirror, locks: tuple[bytes, bytes]) -> list[dict[str, bytes]]:
    """Index for one lock, then for the other, until both have been made from the other's index."""
    expected = []
    for lock in (*locks, *locks):
        (mirror.root / "pixi.lock").write_bytes(lock)
        mirror.index()
        expected.append(not_waiting(mirror))
    assert expected[2] != expected[3], "or nothing would be tested"
    return expected[2:]


def test_sigkill_at_random_moments(tmp_path: Path, any_indexer: str) -> None:
    mirror, locks = two_locks(tmp_path)
    started = time.perf_counter()
    expected = undisturbed(mirror, locks)
    longest = (time.perf_counter() - started) / 4
    chance, cut_short = random.Random(20), 0
    for turn in range(20):
        (mirror.root / "pixi.lock").write_bytes(locks[turn % 2])
        with subprocess.Popen(
            [sys.executable, "-c", CODE, str(mirror.root)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begins\n"
            time.sleep(chance.uniform(0, longest))
            process.kill()
            said = process.stdout.read()
        cut_short += not said
        mirror.index()
        assert not_waiting(mirror) == expected[turn % 2], f"turn {turn}"
    assert cut_short >= 5, "runs must have been killed before they ended"


def test_the_end_at_every_step_of_becoming_visible(
    tmp_path: Path, any_indexer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, locks = two_locks(tmp_path)
    expected = undisturbed(mirror, locks)
    steps = [0]
    last = [sys.maxsize]

    def counted(name: str) -> None:
        original = getattr(Path, name)

        def step(self: Path, *arguments: object, **options: object) -> object:
            touched = (self, *arguments[:1])
            if any(mirror.folder in each.parents for each in touched if isinstance(each, Path)):
                steps[0] += 1
            if steps[0] > last[0]:
                raise KilledError
            return original(self, *arguments, **options)

        monkeypatch.setattr(Path, name, step)

    counted("replace")
    counted("unlink")
    counts = []
    for lock in (*locks, locks[0]):
        (mirror.root / "pixi.lock").write_bytes(lock)
        steps[0] = 0
        mirror.index()
        counts.append(steps[0])
    every, cut_short = min(counts), 0
    assert every > 10
    for turn, stop in enumerate(range(0, every, 7), start=1):
        (mirror.root / "pixi.lock").write_bytes(locks[turn % 2])
        steps[0], last[0] = 0, stop
        try:
            mirror.index()
        except KilledError:
            cut_short += 1
        last[0] = sys.maxsize
        mirror.index()
        assert not_waiting(mirror) == expected[turn % 2], f"step {stop}"
    assert cut_short > every // 7 // 2, "after some kills there is less to do"
