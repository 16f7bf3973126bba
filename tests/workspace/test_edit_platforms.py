"""Which array is edited, what is refused, and what a person is told besides."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.workspace.edit_platforms import PlatformEdit, change_platforms, set_platforms
from scripts.workspace.parse import parse_manifest

DATA = Path(__file__).parents[1] / "data"
MANIFESTS = sorted((DATA / "manifests").glob("*.toml")) + sorted(
    (DATA / "cases").glob("*/pixi.toml")
)
PLAIN = '[workspace]\nchannels = []\nplatforms = ["linux-64", "win-64"] # ours\n'
MIRROR = """\
[workspace]
channels = []
platforms = ["linux-64", "osx-arm64", "win-64"]

[feature.mirror]
platforms = [
  "linux-64",  # servers
  'win-64',
]

[environments]
default = ["mirror"]
all = []
"""


def change(
    text: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = (), name: str = "pixi.toml"
) -> PlatformEdit:
    return change_platforms(text, add=add, remove=remove, name=name)


def refusal(
    text: str, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = (), name: str = "pixi.toml"
) -> str:
    with pytest.raises(MirrorError) as caught:
        change(text, add=add, remove=remove, name=name)
    assert caught.value.problems[0].code is ExitCode.USAGE
    return str(caught.value)


def test_the_workspaces_platforms_are_edited_where_there_is_no_mirror() -> None:
    edit = change(PLAIN, add=("osx-64",), remove=("win-64",))
    assert edit == PlatformEdit(
        text='[workspace]\nchannels = []\nplatforms = ["linux-64", "osx-64"] # ours\n',
        table="workspace.platforms",
        before=("linux-64", "win-64"),
        after=("linux-64", "osx-64"),
    )


def test_the_mirror_feature_is_edited_where_there_is_one() -> None:
    edit = change(MIRROR, add=("osx-arm64",), remove=("linux-64",))
    assert edit.text == MIRROR.replace(
        "  \"linux-64\",  # servers\n  'win-64',\n", "  # servers\n  'win-64',\n  'osx-arm64',\n"
    )
    assert edit.table == "feature.mirror.platforms"
    assert edit.notes == ()


def test_a_platform_new_to_the_workspace_is_added_there_too() -> None:
    """As `pixi workspace platform add --feature mirror` does; pixi before 0.71 needs it."""
    edit = change(MIRROR, add=("linux-aarch64",))
    assert edit.text == MIRROR.replace(
        '"osx-arm64", "win-64"]', '"osx-arm64", "win-64", "linux-aarch64"]'
    ).replace("  'win-64',\n", "  'win-64',\n  'linux-aarch64',\n")
    assert edit.notes == ("added to workspace.platforms too: linux-aarch64",)


def test_setting_keeps_what_is_there_in_its_place() -> None:
    edit = set_platforms(PLAIN, ["osx-64", "win-64"], name="pixi.toml")
    assert edit.after == ("win-64", "osx-64")
    assert 'platforms = ["win-64", "osx-64"] # ours' in edit.text


def test_setting_what_is_there_changes_nothing() -> None:
    edit = set_platforms(PLAIN, ["win-64", "linux-64"], name="pixi.toml")
    assert edit.text == PLAIN
    assert edit.after == edit.before


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_adding_and_removing_again_gives_the_same_bytes(path: Path, end: str) -> None:
    """On every manifest, with both line ends, and without a final one."""
    text = path.read_bytes().decode()
    text = text.replace("\n", "\r\n") if end == "\r\n" else text if end else text.rstrip("\n")
    name = "pyproject.toml" if "pyproject" in path.name else "pixi.toml"
    there = change(text, add=("linux-ppc64le",), name=name)
    assert there.after == (*there.before, "linux-ppc64le")
    assert there.text.count("linux-ppc64le") == text.count("linux-ppc64le") + 1
    assert ("\n" in there.text.replace("\r\n", "")) == (end != "\r\n")
    back = change(there.text, remove=("linux-ppc64le",), name=name)
    assert back.text == text


def test_rich_platforms_are_known_by_name_and_stay_whole() -> None:
    text = (DATA / "manifests" / "rich.toml").read_text("utf-8")
    edit = change(text, remove=("linux-64-future-1-2-abc",), add=("osx-64",))
    assert edit.text == text.replace(
        '  { platform = "linux-64", glibc = "2.28", "__future" = "1.2=abc" },\n', ""
    ).replace('  { name = "win-64" },\n', '  { name = "win-64" },\n  "osx-64",\n')


def test_a_rich_platform_may_be_named_for_the_mirror() -> None:
    text = """\
[workspace]
channels = []
platforms = ["win-64", { name = "gpu", platform = "linux-64", cuda = "12" }]
[feature.mirror]
platforms = ["win-64"]
[environments]
default = ["mirror"]
"""
    edit = change(text, add=("gpu",))
    assert edit.text == text.replace('["win-64"]', '["win-64", "gpu"]')
    assert edit.notes == ()
    assert refusal(text, add=("cpu",)).startswith("platforms: no such subdir: 'cpu'\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[project]\nname = 'x'\nchannels = []\nplatforms = ['win-64']",
            "[project]\nname = 'x'\nchannels = []\nplatforms = ['win-64', 'osx-64']",
        ),
        (
            "workspace.channels = []\nworkspace.platforms = ['win-64']\n",
            "workspace.channels = []\nworkspace.platforms = ['win-64', 'osx-64']\n",
        ),
        (
            "workspace = { channels = [], platforms = ['win-64'] }\n",
            "workspace = { channels = [], platforms = ['win-64', 'osx-64'] }\n",
        ),
        (
            "workspace = {\n  channels = [],\n  platforms = ['win-64'], # why\n}\n",
            "workspace = {\n  channels = [],\n  platforms = ['win-64', 'osx-64'], # why\n}\n",
        ),
        (
            "feature.mirror = { platforms = ['win-64'] }\nworkspace = { channels = [] }\n",
            (
                "feature.mirror = { platforms = ['win-64', 'osx-64'] }\n"
                "workspace = { channels = [] }\n"
            ),
        ),
    ],
)
def test_every_way_of_writing_the_list_is_edited(text: str, expected: str) -> None:
    assert change(text, add=("osx-64",)).text == expected


def test_a_list_within_pyproject_is_edited() -> None:
    text = "[project]\nname = 'x'\n[tool.pixi.workspace]\nchannels = []\nplatforms = ['win-64']\n"
    edit = change(text, add=("osx-64",), name="pyproject.toml")
    assert edit.text == text.replace("['win-64']", "['win-64', 'osx-64']")
    assert edit.table == "tool.pixi.workspace.platforms"


@pytest.mark.parametrize(
    ("add", "remove", "message"),
    [
        (("linux64",), (), "platforms: no such subdir: 'linux64'\nhelp: did you mean linux-64?"),
        (
            ("noarch",),
            (),
            "platforms: noarch is no platform: its packages come with every other one",
        ),
        (
            (),
            ("osx-64",),
            "pixi.toml: osx-64 is not in workspace.platforms\n  there  linux-64, win-64",
        ),
        (("osx-64",), ("osx-64",), "platforms: osx-64 is both to be added and to be removed"),
        ((), ("linux-64", "win-64"), "pixi.toml: workspace.platforms would have no platform left"),
    ],
)
def test_what_cannot_be_is_refused(
    add: tuple[str, ...], remove: tuple[str, ...], message: str
) -> None:
    assert refusal(PLAIN, add=add, remove=remove) == message


def test_an_environment_that_would_become_empty_is_named() -> None:
    text = MIRROR + 'gpu = ["mirror", "gpu"]\n[feature.gpu]\nplatforms = ["win-64"]\n'
    assert refusal(text, remove=("win-64",)) == (
        "pixi.toml: environment gpu would have no platform left\n"
        "  now  win-64\n"
        "help: change or remove that environment first; nothing was written"
    )
    assert change(text, remove=("linux-64",)).after == ("win-64",)


def test_a_rich_platform_that_a_feature_names_is_not_taken_away() -> None:
    text = (DATA / "manifests" / "rich.toml").read_text("utf-8")
    assert refusal(text, remove=("jetson",)) == (
        "pixi.toml: feature gpu still names the platform jetson\n"
        "help: remove it from gpu's platforms first; nothing was written"
    )


def test_a_subdir_that_a_feature_names_lives_on_and_that_is_said() -> None:
    text = PLAIN + '[feature.x]\nplatforms = ["win-64"]\n[environments]\nx = ["x"]\n'
    edit = change(text, remove=("win-64",))
    assert edit.after == ("linux-64",)
    assert edit.notes == ("win-64 is still a platform of default, x, since the feature x names it",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[workspace]\nchannels = []\n",
            (
                "pixi.toml: there is no list workspace.platforms to edit\n"
                'help: write `platforms = ["linux-64"]` into [workspace]'
            ),
        ),
        (
            "[workspace]\n[[workspace.platforms]]\nplatform = 'linux-64'\n",
            (
                "pixi.toml: workspace.platforms is written in a way that cannot be edited "
                "without risk\nhelp: change it by hand; nothing was written"
            ),
        ),
        (
            "\ufeff[workspace]\nplatforms = []\n",
            (
                "pixi.toml: begins with a byte order mark, which pixi does not read either\n"
                "help: save it as UTF-8 without BOM"
            ),
        ),
    ],
)
def test_what_cannot_be_edited_is_refused(text: str, message: str) -> None:
    assert refusal(text, add=("win-64",)) == message


def test_the_edited_manifest_is_read_as_said() -> None:
    edit = change(MIRROR, add=("linux-aarch64",), remove=("win-64",))
    mirror = parse_manifest(edit.text, name="pixi.toml").feature("mirror")
    assert mirror is not None
    assert mirror.platforms == edit.after == ("linux-64", "linux-aarch64")
