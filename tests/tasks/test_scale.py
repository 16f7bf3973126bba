"""Twice as much takes twice as long: no task compares everything with everything."""

from __future__ import annotations

import cProfile
from functools import partial
from pathlib import Path

import pytest

from scripts.lock.model import LockFile
from scripts.lock.read import parse_lock
from tasks import channels, diff, fetch, index, locks, plan, prune, snapshots, verify, why
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage

_FORGE = "https://conda.anaconda.org/conda-forge"
_LEVELS = ("--level", "files,archives,index,closure")
_TASKS = {
    "plan": (plan.main, ("--offline",)),
    "fetch": (fetch.main, ()),
    "index": (index.main, ()),
    "verify": (verify.main, _LEVELS),
    "why": (why.main, ("p0-0",)),
    "locks": (locks.main, ()),
    "channels": (channels.main, ()),
    "diff": (diff.main, ()),
    "snapshots": (snapshots.main, ()),
    "prune": (prune.main, ("--dry-run",)),
}
_EACH = 10  # packages of a lock


def _mirror(root: Path, count: int) -> Path:
    """Write a workspace that mirrors so many locks, each with packages of its own."""
    for number in range(count):
        packages = (TinyPackage(name=f"p{number}-{each}") for each in range(_EACH))
        written = (each.write(root / "mirror" / "local-channel") for each in packages)
        rows = tuple(LockRow(written=each, channel=_FORGE) for each in written)
        folder = root / f"w{number}"
        folder.mkdir()
        platform = PlatformRows(name="linux-64", rows=rows)
        write_lock(folder / "pixi.lock", (EnvironmentRows(platforms=(platform,)),), version=6)
    (root / "mirror" / "pixi.toml").write_text(
        f'[workspace]\nname = "m"\nchannels = ["{_FORGE}"]\nplatforms = ["linux-64"]\n'
        '[tool.pixi-mirror]\nlocks = ["../w*/pixi.lock"]\n',
        encoding="utf-8",
    )
    return root / "mirror"


def _calls(root: Path, count: int) -> dict[str, int]:
    """Count the calls of functions in each task with nothing to do, on so many locks."""
    root.mkdir()
    where = ("--manifest-path", str(_mirror(root, count)), "-q")
    assert (fetch.main(where), index.main(where)) == (0, 0)
    found = {}
    for name, (main, options) in _TASKS.items():
        with cProfile.Profile() as profile:
            assert main([*options, *where]) == 0, name
        found[name] = sum(each.callcount for each in profile.getstats())
    return found


def test_twice_as_many_locks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _calls(tmp_path / "warm", 1)  # what is read, or compiled, but once
    one, two, four = (_calls(tmp_path / f"{count}", count) for count in (5, 10, 20))
    capsys.readouterr()
    growth = {name: (four[name] - two[name]) / (two[name] - one[name]) for name in _TASKS}
    assert {name: each for name, each in growth.items() if each > 2.1} == {}  # 2: linear


def test_who_parses_a_lock_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ("--manifest-path", str(_mirror(tmp_path, 1)), "-q")
    assert (fetch.main(where), index.main(where)) == (0, 0)
    parsed = list[str]()

    def parse(name: str, text: str, subject: str) -> LockFile:
        parsed.append(name)
        return parse_lock(text, subject)

    for name, (main, options) in _TASKS.items():
        monkeypatch.setattr("scripts.lock.read.parse_lock", partial(parse, name))
        assert main([*options, *where]) == 0
    assert parsed == ["verify", "prune"]  # what proves, and what removes
