"""Every bit of every index file: flipped, it is found, and the file is named."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Final

import pytest

from tasks import verify
from tests.support.mirrors import Mirror, make_mirror, rows
from tests.support.packages import TinyPackage

SAMPLE: Final = 80  # bits
LIB = TinyPackage(name="lib", depends=("x >=1,<2",), extension=".tar.bz2")
OLDER = TinyPackage(name="lib", version="0.9", track_features=("f",))


def _channel(tmp_path: Path) -> Mirror:
    """A channel with an artifact that the lock names and an older one, and without its state."""
    mirror = make_mirror(tmp_path / "made", settings='grace = "0s"\n')
    older, lib = rows(tmp_path / "upstream", (OLDER, LIB))
    mirror.lock([older])
    mirror.index()
    mirror.lock([lib])
    mirror.index()
    copied = Mirror(root=tmp_path / "copied", layout="flat")
    shutil.copytree(mirror.root, copied.root, ignore=shutil.ignore_patterns(".pixi-mirror"))
    return copied


def _named(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Verify, and return the files that the findings name."""
    root = str(mirror.root)
    code = verify.main(["--manifest-path", root, "--level", "index", "-q", "--json"])
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert code == bool(problems)
    return {each["subject"] for each in problems}


def test_every_flipped_bit_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, deep: bool
) -> None:
    """Thousands of runs of the task: minutes if it is to be deep, seconds of a sample."""
    mirror = _channel(tmp_path)
    files = {
        name: data
        for name, data in mirror.contents().items()
        if not name.endswith((".conda", ".tar.bz2"))
    }
    assert [name.partition("/")[2].partition("/")[0] for name in files] == [
        "repodata.json",
        "repodata.json.zst",
        "repodata_shards.msgpack.zst",
        "shards",
    ]
    capsys.readouterr()
    assert _named(mirror, capsys) == set()  # control
    bits = [(name, bit) for name, data in files.items() for bit in range(8 * len(data))]
    if not deep:
        bits = random.Random(9).sample(bits, SAMPLE)
    unseen = []
    for name, bit in bits:
        flipped = bytearray(files[name])
        flipped[bit // 8] ^= 1 << bit % 8
        (mirror.folder / name).write_bytes(flipped)
        if name not in _named(mirror, capsys):
            unseen.append((name, bit))
        (mirror.folder / name).write_bytes(files[name])
    assert unseen == []
