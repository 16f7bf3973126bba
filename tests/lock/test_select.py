"""What of a lock is mirrored, where it goes, and what two artifacts cannot share."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import pytest

from scripts.core.channel_paths import Layout
from scripts.core.errors import ExitCode, MirrorError
from scripts.core.file_name import parse_file_name
from scripts.core.record import Record
from scripts.core.report import flattened
from scripts.lock.model import (
    LockedEnvironment,
    LockedPackage,
    LockFile,
    LockPlatform,
    PlatformPackages,
    locked_packages,
)
from scripts.lock.read import read_lock
from scripts.lock.select import Selection, left_out_lines
from scripts.workspace.settings import Settings
from tests.support.locks import with_fields
from tests.support.mirrored import select
from tests.support.template import ROOT

DATA = ROOT / "tests" / "data"
FORGE = "https://conda.anaconda.org/conda-forge"
NVIDIA = "https://conda.anaconda.org/nvidia"
SECRET = "https://user:hunter2@host:8080/t/tk-SECRET/team"
BY_CHANNEL = Settings(layout=Layout.BY_CHANNEL)
ONE, OTHER = "1" * 64, "2" * 64


def package(
    name: str = "zlib",
    channel: str | None = FORGE,
    subdir: str = "linux-64",
    **fields: Any,
) -> LockedPackage:
    file_name = parse_file_name(f"{name}-1.0-0.conda")
    assert file_name is not None
    made = LockedPackage(
        url=f"{channel}/{subdir}/{file_name}",
        channel=channel,
        file_name=file_name,
        record=Record(
            subdir=subdir,
            name=name,
            version="1.0",
            build="0",
            build_number=0,
            sha256=ONE,
            md5="a" * 32,
            size=7,
        ),
    )
    return with_fields(made, **fields)


def on(
    name: str, *packages: LockedPackage, build: tuple[LockedPackage, ...] = (), subdir: str = ""
) -> PlatformPackages:
    return PlatformPackages(
        platform=LockPlatform(name=name, subdir=subdir or name),
        packages=packages,
        build_packages=build,
    )


def environment(
    name: str, *platforms: PlatformPackages, channels: tuple[str, ...] = (FORGE,)
) -> LockedEnvironment:
    return LockedEnvironment(name=name, channels=channels, platforms=platforms)


def lock(*environments: LockedEnvironment) -> LockFile:
    return LockFile(version=6, environments=environments)


def one_environment(*packages: LockedPackage) -> LockFile:
    return lock(environment("default", on("linux-64", *packages)))


def paths(selection: Selection) -> list[str]:
    return [str(artifact.path) for artifact in selection.artifacts]


def refusal(lock: LockFile, settings: Settings) -> str:
    with pytest.raises(MirrorError) as caught:
        select(lock, settings)
    assert {problem.code for problem in caught.value.problems} == {ExitCode.USAGE}
    return str(caught.value)


# The settings.

WIDE = lock(
    environment("default", on("linux-64", package("a")), on("p1", package("b"), subdir="linux-64")),
    environment("gpu", on("p1", package("b"), package("c"), subdir="linux-64")),
    environment("test", on("linux-64", package("d")), on("win-64", package("e", subdir="win-64"))),
)


def chosen(settings: Settings) -> tuple[dict[str, list[str]], list[str], tuple[str, ...]]:
    """Return the environments with their platforms, the artifacts, what is excluded."""
    selection = select(WIDE, settings)
    environments = {
        each.name: [rows.platform.name for rows in each.platforms]
        for each in selection.environments
    }
    names = [artifact.name for artifact in selection.artifacts]
    return environments, names, selection.locks[0].excluded


def test_all_that_the_lock_has() -> None:
    everything = {"default": ["linux-64", "p1"], "gpu": ["p1"], "test": ["linux-64", "win-64"]}
    assert chosen(Settings()) == (everything, ["a", "b", "c", "d", "e"], ())


def test_environments() -> None:
    settings = Settings(environments=("gpu", "default"))
    everything = {"default": ["linux-64", "p1"], "gpu": ["p1"]}
    assert chosen(settings) == (everything, ["a", "b", "c"], ("test",))


def test_excluded_environments() -> None:
    settings = Settings(exclude_environments=("test", "default", "not there"))
    assert chosen(settings) == ({"gpu": ["p1"]}, ["b", "c"], ("default", "test"))
    both = Settings(environments=("gpu", "test"), exclude_environments=("test",))
    assert chosen(both) == ({"gpu": ["p1"]}, ["b", "c"], ("default", "test"))


def test_a_platform_of_excluded_environments_alone() -> None:
    """Nothing would be mirrored, and that be called verified."""
    alone = Settings(platforms=("win-64",), exclude_environments=("test",))
    with pytest.raises(MirrorError) as caught:
        chosen(alone)
    assert str(caught.value).startswith("pixi.lock: has no platform 'win-64'\n")
    both = Settings(platforms=("win-64",))
    assert chosen(both)[0]["test"] == ["win-64"]


def test_platforms_by_their_name() -> None:
    settings = Settings(platforms=("p1", "win-64"))
    environments = {"default": ["p1"], "gpu": ["p1"], "test": ["win-64"]}
    assert chosen(settings) == (environments, ["b", "c", "e"], ())


def test_platforms_by_their_subdir() -> None:
    settings = Settings(platforms=("linux-64",), environments=("default", "gpu"))
    environments = {"default": ["linux-64", "p1"], "gpu": ["p1"]}
    assert chosen(settings) == (environments, ["a", "b", "c"], ("test",))


def test_an_environment_that_is_not_for_the_platform_stays_empty() -> None:
    assert chosen(Settings(platforms=("win-64",)))[0] == {
        "default": [],
        "gpu": [],
        "test": ["win-64"],
    }


@pytest.mark.parametrize(
    ("key", "name", "details"),
    [
        ("environments", "tset", "  nearest  test\n  it has   default, gpu, test\n"),
        ("environments", "xyz", "  it has  default, gpu, test\n"),
        ("platforms", "linux_64", "  nearest  linux-64\n  it has   linux-64, p1, win-64\n"),
    ],
)
def test_unknown_names(key: str, name: str, details: str) -> None:
    settings = (
        Settings(environments=("default", name))
        if key == "environments"
        else Settings(platforms=("linux-64", name))
    )
    assert refusal(WIDE, settings) == (
        f"pixi.lock: has no {key[:-1]} {name!r}\n{details}"
        f"help: correct `{key}` under [tool.pixi-mirror] or the option --{key}, or run `pixi lock`"
    )


def test_an_empty_lock() -> None:
    assert select(lock(), Settings()).artifacts == ()
    assert refusal(lock(), Settings(environments=("default",))) == (
        "pixi.lock: has no environment 'default'\n"
        "  it has  none\n"
        "help: correct `environments` under [tool.pixi-mirror] or the option --environments, "
        "or run `pixi lock`"
    )


def test_what_the_selection_says_of_the_lock() -> None:
    selection = select(one_environment(package()), BY_CHANNEL)
    assert selection.layout is Layout.BY_CHANNEL
    assert selection.lock_version == 6


# Artifacts and their places.


def test_an_artifact_is_there_once_for_all_that_want_it() -> None:
    shared = package("shared", subdir="noarch")
    selection = select(
        lock(
            environment("a", on("linux-64", package(), shared), on("win-64", shared)),
            environment("b", on("linux-64", shared, dataclasses.replace(shared))),
        ),
        Settings(),
    )
    assert paths(selection) == ["linux-64/zlib-1.0-0.conda", "noarch/shared-1.0-0.conda"]
    assert [artifact.urls for artifact in selection.artifacts] == [
        (f"{FORGE}/linux-64/zlib-1.0-0.conda",),
        (f"{FORGE}/noarch/shared-1.0-0.conda",),
    ]


def test_build_packages_belong_to_the_mirror() -> None:
    selection = select(
        lock(environment("default", on("linux-64", package("a"), build=(package("gcc"),)))),
        Settings(),
    )
    assert paths(selection) == ["linux-64/a-1.0-0.conda", "linux-64/gcc-1.0-0.conda"]
    clash = lock(
        environment(
            "default",
            on("linux-64", package("gcc"), build=(package("gcc", sha256=OTHER),)),
        )
    )
    assert "two different artifacts" in refusal(clash, Settings())


@pytest.mark.parametrize(
    ("channel", "folder"),
    [
        (FORGE, "conda-forge"),
        ("conda-forge", "conda-forge"),
        ("nvidia/label/cuda-11.8.0", "nvidia/label/cuda-11.8.0"),
        ("https://conda.anaconda.org/t/tk-SECRET/private", "private"),
        (SECRET, "host_8080/team"),
        ("https://prefix.dev/conda-forge", "prefix.dev/conda-forge"),
        ("file:///srv/channel", "local/srv/channel"),
        ("C:\\channel", "local/C_/channel"),
        ("https://[bad/x", "_bad/x"),
        (None, "local"),
    ],
)
def test_places_by_channel(channel: str | None, folder: str) -> None:
    made = lock(environment("default", on("linux-64", package(channel=channel)), channels=()))
    selection = select(made, BY_CHANNEL)
    [artifact] = selection.artifacts
    assert artifact.path == PurePosixPath(folder) / "linux-64" / "zlib-1.0-0.conda"
    assert artifact.channel == PurePosixPath(folder)
    assert selection.channels == (PurePosixPath(folder),)
    flat = select(made, Settings())
    assert [str(each.channel) for each in flat.artifacts] == ["."]
    assert [str(each) for each in flat.channels] == ["."]
    assert paths(flat) == ["linux-64/zlib-1.0-0.conda"]


def test_a_channel_without_artifacts_is_a_channel_too() -> None:
    made = lock(environment("default", on("linux-64", package()), channels=(NVIDIA, SECRET)))
    assert [str(channel) for channel in select(made, BY_CHANNEL).channels] == [
        "conda-forge",
        "host_8080/team",
        "nvidia",
    ]


PRIVATE = "https://user:hunter2@conda.anaconda.org/t/tk-SECRET/conda-forge"


@pytest.mark.parametrize("layout", list(Layout))
def test_rows_of_one_artifact_are_joined(layout: Layout) -> None:
    """Each says what it knows, and from where it may be had."""
    bare = package(sha256=None, md5=None, size=None, depends=("a",))
    more = package(channel=PRIVATE, sha256=None, depends=("b",))
    again = package(channel=PRIVATE, url=more.url, md5=None)
    [artifact] = select(one_environment(bare, more, again), Settings(layout=layout)).artifacts
    assert artifact.urls == (bare.url, more.url)
    expected = with_fields(bare, sha256=ONE, md5="a" * 32, size=7)
    assert artifact.record == expected.record


# Collisions.


@pytest.mark.parametrize(
    ("fields", "one", "other"),
    [
        ({"sha256": OTHER}, ONE, OTHER),
        ({"md5": "b" * 32}, ONE, ONE),
        ({"md5": "b" * 32, "sha256": None}, ONE, "b" * 32),
        ({"size": 8}, ONE, ONE),
        ({"size": 8, "sha256": None, "md5": None}, ONE, "8"),
    ],
)
@pytest.mark.parametrize("layout", list(Layout))
def test_one_place_for_two_artifacts(
    layout: Layout, fields: dict[str, Any], one: str, other: str
) -> None:
    made = one_environment(package(), package(channel=PRIVATE, **fields))
    place = "linux-64/zlib-1.0-0.conda"
    place = place if layout is Layout.FLAT else f"conda-forge/{place}"
    assert refusal(made, Settings(layout=layout)) == (
        f"{place}: the lock names two different artifacts for this place\n"
        f"  one    {one} from {FORGE}/linux-64/zlib-1.0-0.conda\n"
        f"  other  {other} from https://********@conda.anaconda.org/t/********/conda-forge/"
        "linux-64/zlib-1.0-0.conda\n"
        'help: set layout = "by-channel" under [tool.pixi-mirror], or mirror them in two workspaces'
    )


def test_what_a_joined_row_adds_is_compared_too() -> None:
    """The third row differs from the second alone."""
    made = one_environment(
        package(sha256=None, md5=None, size=None),
        package(channel=PRIVATE),
        package(channel=PRIVATE, url="https://third/x", sha256=OTHER),
    )
    assert "from https://third/x" in refusal(made, Settings())


def test_all_places_are_told_at_once() -> None:
    made = one_environment(
        package("a"), package("a", sha256=OTHER), package("b"), package("b", size=1), package("c")
    )
    with pytest.raises(MirrorError) as caught:
        select(made, Settings())
    assert [problem.subject for problem in caught.value.problems] == [
        "linux-64/a-1.0-0.conda",
        "linux-64/b-1.0-0.conda",
    ]


def test_what_is_not_mirrored_collides_with_nothing() -> None:
    made = lock(
        environment("a", on("linux-64", package())),
        environment("b", on("linux-64", package(sha256=OTHER), package("x", channel=NVIDIA))),
        environment("c", on("win-64", package("x", subdir="win-64"))),
    )
    assert "two different artifacts" in refusal(made, Settings())
    assert "two channels" in refusal(made, Settings(exclude_environments=("a",)))
    assert paths(select(made, Settings(environments=("a",)))) == ["linux-64/zlib-1.0-0.conda"]
    narrow = Settings(exclude_environments=("a",), platforms=("win-64",))
    assert paths(select(made, narrow)) == ["win-64/x-1.0-0.conda"]


def test_one_name_from_two_channels() -> None:
    """Other platforms and versions do not matter: strict priority is by name."""
    made = lock(
        environment("a", on("linux-64", package("cuda", NVIDIA), package("b"))),
        environment("b", on("win-64", package("cuda", SECRET, "win-64"), package("a", SECRET))),
        environment("c", on("linux-64", package("a", None, "noarch", url="./a-1.0-0.conda"))),
    )
    assert refusal(made, Settings()) == (
        "a: comes from two channels, which a flat mirror cannot keep apart\n"
        "  host_8080/team  https://********@host:8080/t/********/team/linux-64/a-1.0-0.conda\n"
        "  local           ./a-1.0-0.conda\n"
        'help: set layout = "by-channel" under [tool.pixi-mirror]\n'
        "cuda: comes from two channels, which a flat mirror cannot keep apart\n"
        f"  nvidia          {NVIDIA}/linux-64/cuda-1.0-0.conda\n"
        "  host_8080/team  https://********@host:8080/t/********/team/win-64/cuda-1.0-0.conda\n"
        'help: set layout = "by-channel" under [tool.pixi-mirror]'
    )
    assert paths(select(made, BY_CHANNEL)) == [  # what the help says to do
        "conda-forge/linux-64/b-1.0-0.conda",
        "host_8080/team/linux-64/a-1.0-0.conda",
        "host_8080/team/win-64/cuda-1.0-0.conda",
        "local/noarch/a-1.0-0.conda",
        "nvidia/linux-64/cuda-1.0-0.conda",
    ]


def test_the_same_bytes_at_one_place_are_one_artifact_whatever_the_channel() -> None:
    made = one_environment(package("a"), package("a", NVIDIA))
    [artifact] = select(made, Settings()).artifacts
    assert artifact.urls == (f"{FORGE}/linux-64/a-1.0-0.conda", f"{NVIDIA}/linux-64/a-1.0-0.conda")
    assert len(select(made, BY_CHANNEL).artifacts) == 2


def test_one_channel_written_in_two_ways_is_one() -> None:
    made = one_environment(
        package("a"), package("a", "conda-forge", "noarch"), package("a", PRIVATE, "win-64")
    )
    assert len(select(made, Settings()).artifacts) == 3


# Real locks.


def case(name: str) -> LockFile:
    return read_lock(DATA / "cases" / name / "pixi.lock")


def test_channel_priority_is_refused_flat_and_kept_by_channel() -> None:
    made = case("channel-priority")
    assert refusal(made, Settings()) == (
        "cuda-cudart: comes from two channels, which a flat mirror cannot keep apart\n"
        f"  nvidia       {NVIDIA}/linux-64/cuda-cudart-12.1.105-0.tar.bz2\n"
        f"  conda-forge  {FORGE}/linux-64/cuda-cudart-13.3.29-hecca717_0.conda\n"
        'help: set layout = "by-channel" under [tool.pixi-mirror]'
    )
    selection = select(made, BY_CHANNEL)
    assert [str(channel) for channel in selection.channels] == ["conda-forge", "nvidia", "pytorch"]
    assert len(selection.artifacts) == 8
    assert paths(selection)[-1] == "nvidia/linux-64/cuda-cudart-12.1.105-0.tar.bz2"
    # One environment alone has nothing that collides.
    assert len(select(made, Settings(environments=("a",))).artifacts) == 1


@pytest.mark.parametrize(
    ("url", "by_channel"),
    [
        (f"{FORGE}/linux-64/zlib-1.0-0.conda", "linux-64"),
        (f"{FORGE}/noarch/zlib-1.0-0.conda?x=/y/z#a/b", "noarch"),
        ("s3://bucket/forge/osx-64/zlib-1.0-0.conda", "osx-64"),
        (f"{FORGE}/releases/zlib-1.0-0.conda", "win-64"),  # no subdir: then the record's
        ("./linux-64/zlib-1.0-0.conda", "win-64"),
    ],
)
def test_the_subdir_is_the_url_s_by_channel_and_the_record_s_in_flat(
    url: str, by_channel: str
) -> None:
    made = one_environment(package(subdir="win-64", url=url))
    assert paths(select(made, BY_CHANNEL)) == [f"conda-forge/{by_channel}/zlib-1.0-0.conda"]
    flat = select(made, Settings())
    assert paths(flat) == ["win-64/zlib-1.0-0.conda"]
    [*_, last] = ["", *flattened(left_out_lines(flat))]
    is_moved = url.startswith(("https", "s3")) and "releases" not in url
    assert last.startswith("an unchanged pixi.lock will not find here") is is_moved
    assert tuple(flattened(left_out_lines(select(made, BY_CHANNEL)))) == ()


def test_many_moved_artifacts_are_counted_and_listed() -> None:
    url = f"{FORGE}/noarch/x-1.0-0.conda"
    some = [package(f"x{each}", url=url.replace("x-", f"x{each}-")) for each in range(7)]
    [told] = left_out_lines(select(one_environment(*some), Settings()))
    assert told[0].startswith("an unchanged pixi.lock will not find here 7 artifacts: a flat ")
    assert told[1:] == tuple(
        f"  linux-64/x{each}-1.0-0.conda (the lock: noarch)" for each in range(7)
    )


def test_no_payload() -> None:
    for settings, channel in ((Settings(), "."), (BY_CHANNEL, "conda-forge")):
        selection = select(case("no-payload"), settings)
        assert selection.artifacts == ()
        assert [str(each) for each in selection.channels] == [channel]


def test_pytorch_from_four_channels() -> None:
    assert len(select(case("pytorch-nvidia"), Settings()).artifacts) == 216
    selection = select(case("pytorch-nvidia"), BY_CHANNEL)
    assert [str(channel) for channel in selection.channels] == [
        "conda-forge",
        "nvidia",
        "nvidia/label/cuda-11.8.0",
        "pytorch",
    ]
    counts = {str(channel): 0 for channel in selection.channels}
    for artifact in selection.artifacts:
        counts[str(artifact.channel)] += 1
        assert artifact.path.is_relative_to(artifact.channel)
    assert sum(counts.values()) == 216
    assert counts["nvidia/label/cuda-11.8.0"] > 0
    assert counts["pytorch"] > 0


def test_two_platforms_of_one_subdir() -> None:
    made = case("rich-platforms")
    everything = set(paths(select(made, Settings())))
    plain = set(paths(select(made, Settings(platforms=("p1",)))))
    both = set(paths(select(made, Settings(platforms=("linux-64",)))))
    windows = set(paths(select(made, Settings(platforms=("win-64",)))))
    assert plain < both < everything
    assert both | windows == everything
    assert not any(path.startswith("win-64/") for path in both)
    assert any("cuda" in path for path in plain)
    assert not any("cuda" in path for path in windows)


@pytest.mark.parametrize(
    "path", sorted((DATA / "locks").glob("*/pixi.lock")), ids=lambda p: p.parent.name
)
@pytest.mark.parametrize("layout", list(Layout))
def test_each_real_artifact_has_one_place(path: Path, layout: Layout) -> None:
    try:
        made = read_lock(path)
    except MirrorError:
        return  # test_read_real_locks says which
    selection = select(made, Settings(layout=layout))
    every = {artifact.path for artifact in selection.artifacts}
    assert len(every) == len(selection.artifacts)
    locations = {url for artifact in selection.conda_artifacts for url in artifact.urls}
    assert locations == {package.url for package in locked_packages(made.environments)}
    for artifact in selection.artifacts:
        assert not artifact.path.is_absolute()
        assert ".." not in artifact.path.parts
    for artifact in selection.conda_artifacts:
        assert artifact.path == artifact.channel / artifact.conda_record.subdir / artifact.path.name
    rows = [rows for environment in selection.environments for rows in environment.platforms]
    wanted = {row.location for each in rows for row in each.pypi}
    assert {artifact.urls[0] for artifact in selection.pypi_artifacts} == wanted
    for artifact in selection.pypi_artifacts:
        assert artifact.path.parts[:2] == ("_pypi", "files")
        name, mark, fragment = artifact.urls[0].rpartition("/")[2].partition("#")
        assert artifact.path.name in {unquote(name), f"{unquote(name)}{mark}{fragment}"}
