"""The channel folder, the working state beside it, and how both are made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from scripts.channel.folders import free_bytes, prepare
from scripts.core.channel_paths import ChannelPaths, channel_paths
from scripts.core.errors import ExitCode, MirrorError

HELP = "help: set channel-dir to a folder you may write to"


def refusal(place: ChannelPaths) -> str:
    with pytest.raises(MirrorError) as caught:
        prepare(place)
    assert [problem.code for problem in caught.value.problems] == [ExitCode.USAGE]
    return str(caught.value)


def test_working_state_lies_beside_the_channel() -> None:
    place = channel_paths(Path("work") / "local-channel")
    root = Path("work") / ".pixi-mirror" / "local-channel"
    assert place == ChannelPaths(folder=Path("work") / "local-channel", root=root)
    names = ("lock", "state", "parts", "digests", "index_stamp", "self_check")
    paths = [getattr(place, name) for name in names]
    assert paths == [
        root / "run.lock",
        root / "state",
        root / "cache" / "parts",
        root / "cache" / "digests.jsonl",
        root / "cache" / "index.json",
        root / "cache" / "self-check",
    ]


def test_two_channels_side_by_side_do_not_share_state(tmp_path: Path) -> None:
    one, other = channel_paths(tmp_path / "one"), channel_paths(tmp_path / "other")
    assert one.root != other.root
    assert not one.root.is_relative_to(one.folder)


def test_both_folders_are_made(tmp_path: Path) -> None:
    place = channel_paths(tmp_path / "deep" / "er" / "channel")
    for _ in range(2):
        prepare(place)
        made = sorted(path.relative_to(tmp_path / "deep" / "er") for path in all_below(tmp_path))
        assert [path.as_posix() for path in made] == [
            ".pixi-mirror",
            ".pixi-mirror/.gitignore",
            ".pixi-mirror/channel",
            ".pixi-mirror/channel/cache",
            ".pixi-mirror/channel/state",
            "channel",
        ]
    ignore = place.root.parent / ".gitignore"
    assert ignore.read_bytes() == b"*\n"
    ignore.write_bytes(b"mine")
    prepare(place)
    assert ignore.read_bytes() == b"mine"


def all_below(folder: Path) -> list[Path]:
    return list((folder / "deep" / "er").rglob("*"))


def test_a_file_in_the_place_of_the_channel(tmp_path: Path) -> None:
    place = channel_paths(tmp_path / "channel")
    place.folder.touch()
    with pytest.raises(FileExistsError) as caught:  # in the words of the system
        place.folder.mkdir()
    assert refusal(place) == f"{place.folder}: cannot be made: {caught.value.strerror}\n{HELP}"


@pytest.mark.skipif(os.name == "nt", reason="Windows gives another reason")
def test_a_file_in_the_place_of_the_state(tmp_path: Path) -> None:
    place = channel_paths(tmp_path / "channel")
    (tmp_path / ".pixi-mirror").touch()
    assert refusal(place) == f"{place.state}: cannot be made: Not a directory\n{HELP}"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_state_that_may_not_be_written(tmp_path: Path) -> None:
    place = channel_paths(tmp_path / "channel")
    prepare(place)
    ignore = place.root.parent / ".gitignore"
    ignore.unlink()
    place.root.parent.chmod(0o500)
    try:
        assert refusal(place).endswith(f": cannot be made: Permission denied\n{HELP}")
    finally:
        place.root.parent.chmod(0o700)


def test_two_file_systems_are_refused(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    elsewhere = other / f"pixi-mirror-test-{os.getpid()}"
    place = ChannelPaths(folder=elsewhere, root=tmp_path / ".pixi-mirror" / "channel")
    try:
        assert refusal(place) == (
            f"{elsewhere}: is a disk of its own, and nothing beside it is on that disk\n"
            f"  working state  {place.root}\n"
            f"help: set channel-dir to a folder on that disk: {elsewhere / 'channel'}"
        )
        prepare(channel_paths(elsewhere / "channel"))  # what it says to do
    finally:
        shutil.rmtree(elsewhere)


def test_free_room_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    there = shutil.disk_usage(tmp_path).free
    found = free_bytes(tmp_path / "not" / "yet" / "there")
    assert abs(found - there) < 1 << 30  # others write to this disk as well
    assert free_bytes(Path("not-yet")) > 0
