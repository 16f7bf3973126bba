"""Which list is edited and how, what is refused, and what a person is told besides."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.core.errors import ExitCode, MirrorError
from scripts.workspace.parse import parse_manifest
from scripts.workspace.platforms import PlatformEdit, change_platforms

DATA = Path(__file__).parents[1] / "data"
MANIFESTS = sorted((DATA / "manifests").glob("*.toml")) + sorted(
    DATA.glob("*/*/pixi.toml")  # cases, and the manifests of real locks
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
        "  \"linux-64\",  # servers\n  'win-64',\n", "  'win-64',\n  'osx-arm64',\n"
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
    edit = change_platforms(PLAIN, wanted=["osx-64", "win-64"], name="pixi.toml")
    assert edit.after == ("win-64", "osx-64")
    assert 'platforms = ["win-64", "osx-64"] # ours' in edit.text


def test_setting_what_is_there_changes_nothing() -> None:
    edit = change_platforms(PLAIN, wanted=["win-64", "linux-64"], name="pixi.toml")
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


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_platform_of_every_manifest_can_be_removed(path: Path) -> None:
    """Unless a feature needs it: no list of a real manifest is refused for how it is written."""
    name = "pyproject.toml" if "pyproject" in path.name else "pixi.toml"
    text = path.read_bytes().decode()
    for platform in change(text, add=("linux-ppc64le",), name=name).before:
        try:
            edit = change(text, add=("linux-ppc64le",), remove=(platform,), name=name)
        except MirrorError as error:
            assert "still names the platform" in str(error)  # noqa: PT017 - not of each
        else:
            assert platform not in edit.after


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        ("['osx-64']", "['osx-64', 'win-64']"),
        ('[\n  "osx-64",\n]', '[\n  "osx-64",\n  "win-64",\n]'),
        ('[\n  "osx-64" # why\n]', '[\n  "osx-64", # why\n  "win-64"\n]'),
        ('[\r\n\t"osx-64", # why\r\n]', '[\r\n\t"osx-64", # why\r\n\t"win-64",\r\n]'),
        ('["osx-64"\r\n]', '["osx-64",\r\n    "win-64"\r\n]'),
        ('[\n  "osx-64",\n  "linux-32"]', '[\n  "osx-64",\n  "linux-32",\n  "win-64"]'),
    ],
)
def test_a_platform_is_added_in_the_style_there(array: str, expected: str) -> None:
    text = "[workspace]\nchannels = []\nplatforms = {} # ours\n[tasks]\nx = 'y'\n"
    text = text.replace("\n", "\r\n" if "\r" in array else "\n")
    edit = change(text.replace("{}", array), add=("win-64",))
    assert edit.text == text.replace("{}", expected)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        ('["win-64", "osx-64"]', '["osx-64"]'),
        ('["osx-64", "win-64"]', '["osx-64"]'),
        ('[\n  "osx-64",\n  "win-64",\n]', '[\n  "osx-64",\n]'),
        ('[\n  "osx-64", # a\n  "win-64", # b\n]', '[\n  "osx-64", # a\n]'),
        ('[\n  # all\n  "win-64", # b\n  "osx-64", # a\n]', '[\n  # all\n  "osx-64", # a\n]'),
    ],
)
def test_a_platform_that_goes_takes_its_own_comment_along(array: str, expected: str) -> None:
    text = "[workspace]\nchannels = []\nplatforms = {}\n"
    assert change(text.replace("{}", array), remove=("win-64",)).text == text.replace(
        "{}", expected
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_whose_comments_would_suffer_is_refused(end: str) -> None:
    text = '[workspace]\nplatforms = [\n  "osx-64",\n  "linux-64", "linux-32", # old\n]\n'
    text = text.replace("\n", end)
    assert refusal(text, add=("win-64",)) == (
        "pixi.toml: workspace.platforms is written in a way that cannot be edited without risk\n"
        'help: write `platforms = ["osx-64", "linux-64", "linux-32", "win-64"]` in [workspace] '
        "by hand; nothing was written"
    )
    assert change(text.replace(" # old", ""), add=("win-64",)).after[-1] == "win-64"  # control


@st.composite
def lists(draw: st.DrawFn, blanks: tuple[str, ...]) -> str:
    """A list of three platforms, with odd blanks between, and a comma at its end or none."""
    gaps = st.lists(st.sampled_from(blanks), max_size=2).map("".join)
    quote = draw(st.sampled_from(("'", '"')))
    values = [f"{draw(gaps)}{quote}{each}{quote}{draw(gaps)}" for each in SUBDIRS[:3]]
    return f"[{','.join(values)}{draw(st.sampled_from((',', '')))}{draw(gaps)}]"


FRAMES = (
    '# top\n[workspace]\nname = "x"\nplatforms = {}\n\n[dependencies]\na = "*"\n',
    "[workspace]\nplatforms={} # end\n[tasks]\nx = [1, 2]",
    "workspace.platforms = {}\nworkspace.name = 'x'\n",
    "workspace = { name = 'x', platforms = {} }\n",
    (
        "[feature.a]\nplatforms = ['win-64']\n[tasks]\na = 'b'\n[feature.b]\n"
        '[workspace]\n"platforms"\t= {}\t# t\n[[y]]\nz = 1979-05-27\n'
    ),
)
SUBDIRS = ("linux-64", "osx-64", "osx-arm64", "linux-aarch64", "win-64")
BLANKS = (" ", "  ", "\t", "\n", "\n    ")


@settings(max_examples=150, deadline=None)
@given(
    array=lists(BLANKS),
    frame=st.sampled_from(FRAMES),
    remove=st.sets(st.sampled_from(SUBDIRS[:3]), max_size=3),
    add=st.sets(st.sampled_from(SUBDIRS[3:]), min_size=1),
)
def test_a_list_without_comments_is_never_refused(
    array: str, frame: str, remove: set[str], add: set[str]
) -> None:
    added = sorted(add)
    edit = change(frame.replace("{}", array), add=tuple(added), remove=tuple(sorted(remove)))
    assert edit.after == (*(each for each in SUBDIRS[:3] if each not in remove), *added)
    head, _, tail = frame.partition("{}")
    assert edit.text.startswith(f"{head}[")
    assert edit.text.endswith(f"]{tail}")
    assert tuple(tomlkit.parse(edit.text).unwrap()["workspace"]["platforms"]) == edit.after


@settings(max_examples=150, deadline=None)
@given(
    array=lists((*BLANKS, "# a\n", '# "win-64", ]\n')),
    frame=st.sampled_from(FRAMES),
    remove=st.sampled_from(SUBDIRS[:3]),
    add=st.sampled_from(SUBDIRS[3:]),
)
def test_a_list_with_comments_is_edited_right_or_refused(
    array: str, frame: str, remove: str, add: str
) -> None:
    try:
        edit = change(frame.replace("{}", array), add=(add,), remove=(remove,))
    except MirrorError as error:
        assert "by hand; nothing was written" in str(error)  # noqa: PT017 - not of each
        return
    head, _, tail = frame.partition("{}")
    assert edit.text.startswith(f"{head}[")
    assert edit.text.endswith(f"]{tail}")
    assert edit.text.count("#") >= frame.count("#") + array.count("#") - 1
    assert tuple(tomlkit.parse(edit.text).unwrap()["workspace"]["platforms"]) == edit.after


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
                'without risk\nhelp: write `platforms = [{platform = "linux-64"}, '
                '"win-64"]` in [workspace] by hand; nothing was written'
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
