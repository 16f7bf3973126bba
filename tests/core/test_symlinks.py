"""Nothing is written through a link, nor where a folder and a file are in each other's place."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from scripts.core.channel_paths import ChannelPaths, channel_paths
from scripts.core.errors import ExitCode, MirrorError
from scripts.core.symlinks import check_output_paths, refuse_odd_state

AGAIN = "help: remove it, then run this again"


def link(path: Path, target: Path) -> None:
    path.symlink_to(target, target_is_directory=target.is_dir())


def refusal(folder: Path, *files: str, folders: tuple[str, ...] = ()) -> str:
    with pytest.raises(MirrorError) as caught:
        check_output_paths(folder, map(PurePosixPath, files), map(PurePosixPath, folders))
    assert {problem.code for problem in caught.value.problems} == {ExitCode.USAGE}
    return str(caught.value)


def test_a_channel_as_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "noarch" / "shards").mkdir(parents=True)
    (tmp_path / "noarch" / "a").touch()
    files = [PurePosixPath("noarch/a"), PurePosixPath("noarch/b"), PurePosixPath("win-64/c")]
    check_output_paths(tmp_path, files, [PurePosixPath("noarch/shards")])
    check_output_paths(tmp_path / "missing", files)


def test_links_in_place_of_folders(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "channel"
    (folder / "noarch").mkdir(parents=True)
    link(folder / "linux-64", outside)
    link(folder / "win-64", tmp_path / "nowhere")
    link(folder / "noarch" / "shards", outside)
    assert refusal(folder, "linux-64/a", "win-64/a", "noarch/a", folders=("noarch/shards",)) == (
        f"linux-64: a link, through which nothing is written\n  leads to  {outside}\n{AGAIN}\n"
        f"noarch/shards: a link, through which nothing is written\n  leads to  {outside}\n{AGAIN}\n"
        "win-64: a link, through which nothing is written\n"
        f"  leads to  {tmp_path / 'nowhere'}\n{AGAIN}"
    )


def test_a_link_far_above(tmp_path: Path) -> None:
    (tmp_path / "channel").mkdir()
    link(tmp_path / "channel" / "nvidia", tmp_path)
    assert refusal(tmp_path / "channel", "nvidia/label/x/noarch/a") == (
        f"nvidia: a link, through which nothing is written\n  leads to  {tmp_path}\n{AGAIN}"
    )


def test_a_link_in_place_of_a_file_is_replaced_by_a_rename(tmp_path: Path) -> None:
    link(tmp_path / "a", tmp_path)
    check_output_paths(tmp_path, [PurePosixPath("a")])


def test_files_and_folders_in_each_others_place(tmp_path: Path) -> None:
    (tmp_path / "noarch").touch()
    (tmp_path / "linux-64" / "a-1-0.conda").mkdir(parents=True)
    assert refusal(tmp_path, "noarch/a-1-0.conda", "linux-64/a-1-0.conda") == (
        f"noarch: a file is where a folder must be\n{AGAIN}\n"
        f"linux-64/a-1-0.conda: a folder is where a file must go\n{AGAIN}"
    )


@pytest.fixture
def place(tmp_path: Path) -> ChannelPaths:
    place = channel_paths(tmp_path / "channel")
    place.parts.mkdir(parents=True)
    return place


def odd(place: ChannelPaths) -> str:
    with pytest.raises(MirrorError) as caught:
        refuse_odd_state(place)
    return str(caught.value)


def test_working_state_as_it_should_be(place: ChannelPaths) -> None:
    refuse_odd_state(channel_paths(place.folder / "not yet"))
    place.lock.touch()
    (place.parts / "a.part").touch()
    refuse_odd_state(place)


@pytest.mark.parametrize(
    "name",
    [
        "run.lock",
        "state/workspaces",
        "state/channel.json",
        "cache/digests.jsonl",
        "cache/upstream",
        "cache/parts/a.part",
    ],
)
def test_links_in_the_working_state(place: ChannelPaths, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    (place.root / name).parent.mkdir(exist_ok=True)
    link(place.root / name, victim)
    assert odd(place) == (
        f"{place.root / name}: a link, through which nothing is written\n"
        f"  leads to  {victim}\n{AGAIN}"
    )


@pytest.mark.parametrize("name", ["cache", "cache/parts", "state/workspaces", "."])
def test_a_file_where_a_folder_of_the_working_state_must_be(tmp_path: Path, name: str) -> None:
    place = channel_paths(tmp_path / "channel")
    path = place.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert odd(place) == f"{path}: a file is where a folder must be\n{AGAIN}"


def test_a_folder_where_the_lock_file_must_be(place: ChannelPaths) -> None:
    place.lock.mkdir()
    assert odd(place) == f"{place.lock}: a folder is where a file must go\n{AGAIN}"


def test_working_state_behind_a_link(tmp_path: Path) -> None:
    place = channel_paths(tmp_path / "channel")
    link(place.root.parent, tmp_path)
    assert odd(place) == (
        f"{place.root.parent}: a link, through which nothing is written\n"
        f"  leads to  {tmp_path}\n{AGAIN}"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_in_the_working_state(place: ChannelPaths) -> None:
    """Reading it would wait forever."""
    os.mkfifo(place.digests)
    assert odd(place) == f"{place.digests}: neither a file nor a folder\n{AGAIN}"
