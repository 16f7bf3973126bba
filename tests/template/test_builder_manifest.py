"""The template's manifest with a builder's name, channels, platforms and packages."""

from __future__ import annotations

import tomllib

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.template.builder_files import TEMPLATE_TASKS
from scripts.template.builder_manifest import builder_manifest
from scripts.template.wishes import PackageWish, Wishes
from tests.support.template import ROOT

TEMPLATE = (ROOT / "pixi.toml").read_text(encoding="utf-8")

SMALL = """\
# top

[workspace]
name = "pixi-mirror" # whose
channels = ["conda-forge"] # from where
platforms = ["linux-64", "win-64"]

# ---- Payload ----

[dependencies]
pandas = "*"

# ---- Mirror ----

[feature.mirror]
platforms = ["linux-64"] # why

[feature.tasks.tasks.new]
cmd = "new"

[feature.tasks.tasks.fetch]
cmd = "fetch"

[feature.tasks.tasks.bench]
cmd = "bench"

# ---- Environments ----

[environments]
default = ["mirror"]
tools = { features = ["tasks"], no-default-feature = true }
"""

BUILDER = """\
# top

[workspace]
name = "we \\"mirror\\""
channels = ["nvidia", "https://conda.example.org/a"] # from where
platforms = ["linux-64", "win-64", "osx-arm64"]

# ---- Payload ----

[dependencies]
numpy = ">=2"
xz = { version = "*", channel = "nvidia" }
openssl = { version = ">=3", build = "h*" }
"a.b" = { extras = ["x", "y"] }

# ---- Mirror ----

[feature.mirror]
platforms = ["osx-arm64", "win-64"] # why

[feature.tasks.tasks.fetch]
cmd = "fetch"

# ---- Environments ----

[environments]
default = ["mirror"]
tools = { features = ["tasks"], no-default-feature = true }
"""


def wish(name: str, **fields: str | tuple[str, ...]) -> PackageWish:
    return PackageWish(text=name, name=name, fields=tuple(fields.items()))


def test_what_is_wished_for_is_written_and_nothing_else_changed() -> None:
    wishes = Wishes(
        name='we "mirror"',
        channels=("nvidia", "https://conda.example.org/a", "nvidia"),
        platforms=("osx-arm64", "win-64"),
        packages=(
            wish("numpy", version=">=2"),
            wish("xz", channel="nvidia"),
            wish("openssl", version=">=3", build="h*"),
            wish("a.b", extras=("x", "y")),
        ),
    )
    assert builder_manifest(SMALL, wishes, TEMPLATE_TASKS) == BUILDER


PIP = 'pip = "*" # why\n'


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (Wishes(name="a"), f'pandas = "*"\n{PIP}'),
        (Wishes(name="a", with_pip=False), 'pandas = "*"\n'),
        (Wishes(name="a", packages=(wish("x"),)), f'x = "*"\n{PIP}'),
        (Wishes(name="a", packages=(wish("x"),), with_pip=False), 'x = "*"\n'),
        (Wishes(name="a", packages=(wish("pip", version=">=26"),)), 'pip = ">=26"\n'),
        (
            Wishes(name="a", packages=(wish("pip"),), channels=("tiny",), with_pip=False),
            'pip = "*"\n',
        ),
        (Wishes(name="a", channels=("tiny",)), 'pandas = "*"\n'),
        (
            Wishes(name="a", channels=("tiny", "https://conda.anaconda.org/conda-forge/")),
            f'pandas = "*"\n{PIP}',
        ),
    ],
)
def test_pip_comes_along_where_it_may_come_from(wishes: Wishes, expected: str) -> None:
    """With its comment; a channel of somebody's own need not have it, and no lock would come."""
    template = SMALL.replace('pandas = "*"\n', f'pandas = "*"\n{PIP}')
    text = builder_manifest(template, wishes, ())
    assert text.partition("[dependencies]\n")[2].partition("\n# ---- Mirror")[0] == expected
    tomllib.loads(text)


def test_without_wishes_the_template_stays_but_for_its_name_and_tasks() -> None:
    text = builder_manifest(TEMPLATE, Wishes(name="mine"), TEMPLATE_TASKS)
    before, after = tomllib.loads(TEMPLATE), tomllib.loads(text)
    del before["feature"]["tasks"]["tasks"]["new"], before["feature"]["test"]["tasks"]["bench"]
    assert {"new", "bench"} == TEMPLATE_TASKS
    before["workspace"]["name"] = "mine"
    assert after == before
    gone = [line for line in TEMPLATE.splitlines() if line not in text.splitlines()]
    assert [line for line in gone if line.startswith("#")] == []


def test_the_tools_come_from_conda_forge_whatever_is_mirrored() -> None:
    wishes = Wishes(name="mine", channels=("bioconda",))
    manifest = tomllib.loads(builder_manifest(TEMPLATE, wishes, TEMPLATE_TASKS))
    assert manifest["workspace"]["channels"] == ["bioconda"]
    assert manifest["feature"]["tools"]["channels"] == ["conda-forge"]


REFUSED = [
    (
        Wishes(name=" "),
        "--name: no name for a workspace: ' '\nhelp: name it: --name my-mirror",
    ),
    (
        Wishes(name="a\nb"),
        "--name: no name for a workspace: 'a\\nb'\nhelp: name it: --name my-mirror",
    ),
    (
        Wishes(name="a", channels=("ok", "a b", "http://")),
        (
            "--channel: neither the name nor the URL of a channel: 'a b'\n"
            "help: --channel conda-forge, or https://…, or file:///…\n"
            "--channel: neither the name nor the URL of a channel: 'http://'\n"
            "help: --channel conda-forge, or https://…, or file:///…"
        ),
    ),
    (
        Wishes(name="a", channels=("./near",)),
        (
            "--channel: neither the name nor the URL of a channel: './near'\n"
            "help: --channel conda-forge, or https://…, or file:///…"
        ),
    ),
    (
        Wishes(name="a", channels=("https://me:secret@conda.example.org/a",)),
        (
            "--channel: holds what should not be in a file that others see: "
            "https://********@conda.example.org/a\n"
            "help: name the channel without it; pixi keeps secrets: pixi auth login HOST"
        ),
    ),
    (
        Wishes(name="a", channels=("https://conda.example.org/t/secret/a",)),
        (
            "--channel: holds what should not be in a file that others see: "
            "https://conda.example.org/t/********/a\n"
            "help: name the channel without it; pixi keeps secrets: pixi auth login HOST"
        ),
    ),
    *(
        (
            Wishes(name="a", channels=(channel,)),
            (
                f"--channel: holds what should not be in a file that others see: {shown}\n"
                "help: name the channel without it; pixi keeps secrets: pixi auth login HOST"
            ),
        )
        for channel, shown in (
            ("https://h/c#SECRET", "https://h/c#********"),
            ("HTTPS://h/c?SECRET", "HTTPS://h/c?********"),
            ("https://me:a#b@h/c", "https://********"),
        )
    ),
    *(
        (
            Wishes(name="a", channels=(channel,)),
            (
                f"--channel: neither the name nor the URL of a channel: {channel!r}\n"
                "help: --channel conda-forge, or https://…, or file:///…"
            ),
        )
        for channel in ("https://[::1", "https://h:99999/c", "https://h/c]", "https://h:x/c")
    ),
    (
        Wishes(name="a", platforms=("linux-65",)),
        "platforms: no such subdir: 'linux-65'\nhelp: did you mean linux-64?",
    ),
    (
        Wishes(name="a", platforms=("noarch",)),
        "platforms: noarch is no platform: its packages come with every other one",
    ),
    (
        Wishes(name="a", packages=(wish("x"), wish("x", version="1"))),
        "x: asked for twice: 'x' and 'x'\nhelp: one MatchSpec may say both, with a comma",
    ),
    (
        Wishes(name="a", packages=(wish("x", channel="bioconda"),)),
        (
            "x: is to come from bioconda, which is no channel of the workspace\n"
            "help: --channel bioconda"
        ),
    ),
]


@pytest.mark.parametrize(("wishes", "message"), REFUSED)
def test_what_cannot_be_is_refused_with_a_sentence(wishes: Wishes, message: str) -> None:
    with pytest.raises(MirrorError) as refused:
        builder_manifest(SMALL, wishes, TEMPLATE_TASKS)
    assert str(refused.value) == message
    assert {problem.code for problem in refused.value.problems} == {ExitCode.USAGE}


@pytest.mark.parametrize(
    "channel",
    ["HTTPS://h/c", "https://[::1]:8080/c", "https://h:8080", "file:///srv/c", "a/label/b"],
)
def test_what_is_a_channel_is_taken(channel: str) -> None:
    text = builder_manifest(SMALL, Wishes(name="a", channels=(channel,)), ())
    assert tomllib.loads(text)["workspace"]["channels"] == [channel]


def test_a_package_may_come_from_a_channel_that_is_there_by_another_name() -> None:
    url = "https://conda.anaconda.org/conda-forge"
    text = builder_manifest(SMALL, Wishes(name="a", packages=(wish("x", channel=url),)), ())
    assert tomllib.loads(text)["dependencies"] == {"x": {"version": "*", "channel": url}}
