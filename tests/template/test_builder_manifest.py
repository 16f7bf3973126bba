"""The manifest of a builder with its name, channels, platforms and packages."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.template.builder_manifest import (
    CHANNELS,
    PACKAGES,
    PLATFORMS,
    Fields,
    render_manifest,
)
from scripts.template.make_pyz import parse_tables
from tests.support.template import ROOT

OURS = (ROOT / "pixi.toml").read_bytes()
TEMPLATE = (ROOT / "builder" / "pixi.toml.in").read_text(encoding="utf-8")
SMALL = """\
[workspace]
name = $name
channels = $channels # from where
platforms = $all_platforms

[dependencies]
$packages

[feature.mirror]
platforms = $platforms # why

$tables
"""
TABLES = b"""\
[feature.tools]
channels = ["conda-forge"] # first
platforms = ["linux-64", "win-64"]

[feature.tools.dependencies]
python = ">=3.11"

[feature.tasks.tasks.update-mirror]
cmd = "python -m tasks.update_mirror"
description = "say \\"hi\\""

[feature.test.tasks.test]
cmd = "python -m tasks.test"
"""

BUILDER = """\
[workspace]
name = "we \\"mirror\\""
channels = ["nvidia", "https://conda.example.org/a"] # from where
platforms = ["linux-64", "win-64", "osx-arm64"]

[dependencies]
numpy = ">=2"
xz = { version = "*", channel = "nvidia" }
openssl = { version = ">=3", build = "h*" }
"a.b" = { extras = ["x", "y"] }

[feature.mirror]
platforms = ["osx-arm64", "win-64"] # why

[feature.tools]
channels = ["conda-forge"]
platforms = ["linux-64", "win-64"]

[feature.tools.dependencies]
python = ">=3.11"

[feature.tasks.tasks.update-mirror]
cmd = "python pixi-mirror.pyz update-mirror"
description = "say \\"hi\\""
"""


def package(name: str, **fields: str | tuple[str, ...]) -> dict[str, Fields]:
    return {name: fields}


def render(**options: Any) -> str:
    return render_manifest(SMALL, TABLES, **{"name": "a", **options})


def test_what_is_asked_for_is_written() -> None:
    assert (
        render(
            name='we "mirror"',
            channels=("nvidia", "https://conda.example.org/a", "nvidia"),
            platforms=("osx-arm64", "win-64", "osx-arm64"),
            packages=package("numpy", version=">=2")
            | package("xz", channel="nvidia")
            | package("openssl", version=">=3", build="h*")
            | package("a.b", extras=("x", "y")),
        )
        == BUILDER
    )


PIP = 'pip = "*" # conda requires it of every python, and installs none without it\n'


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, f'pandas = "*"\n{PIP}'),
        ({"with_pip": False}, 'pandas = "*"\n'),
        ({"packages": package("x")}, f'x = "*"\n{PIP}'),
        ({"packages": package("x"), "with_pip": False}, 'x = "*"\n'),
        ({"packages": package("pip", version=">=26")}, 'pip = ">=26"\n'),
        (
            {"packages": package("pip"), "channels": ("tiny",), "with_pip": False},
            'pip = "*"\n',
        ),
        ({"channels": ("tiny",)}, 'pandas = "*"\n'),
        (
            {"channels": ("tiny", "https://conda.anaconda.org/conda-forge/")},
            f'pandas = "*"\n{PIP}',
        ),
    ],
)
def test_pip_comes_along_where_it_may_come_from(options: dict[str, Any], expected: str) -> None:
    """A channel of somebody's own need not have it, and no lock would come."""
    text = render(**options)
    assert text.partition("[dependencies]\n")[2].partition("\n[feature.mirror]")[0] == expected
    tomllib.loads(text)


def test_where_nothing_is_asked_for_it_is_as_the_template() -> None:
    builder = tomllib.loads(render_manifest(TEMPLATE, OURS, name="mine"))
    ours = tomllib.loads(OURS.decode())
    assert list(CHANNELS) == ours["workspace"]["channels"]
    assert list(PLATFORMS) == ours["feature"]["mirror"]["platforms"]
    assert dict.fromkeys((*PACKAGES, "pip"), "*") == ours["dependencies"]
    # But for the tests, which stay with the template, and where the tasks are.
    del ours["feature"]["test"], ours["environments"]["test"]
    ours["tool"]["pixi-mirror"]["exclude-environments"] = ["tools"]
    for name, task in ours["feature"]["tasks"]["tasks"].items():
        task["cmd"] = f"python pixi-mirror.pyz {name}"
    ours["workspace"]["name"] = "mine"
    assert builder == ours
    assert builder["feature"] | parse_tables(OURS) == builder["feature"]


def test_the_settings_shown_are_those_of_the_template() -> None:
    """Each with its default and what it means, as in pixi.toml."""
    shown = [
        [line for line in text.splitlines() if line.startswith("# ") and " = " in line]
        for text in (OURS.decode(), TEMPLATE)
    ]
    assert shown[0] == shown[1]


def test_the_tools_come_from_conda_forge_whatever_is_mirrored() -> None:
    text = render_manifest(TEMPLATE, OURS, name="mine", channels=("bioconda",))
    manifest = tomllib.loads(text)
    assert manifest["workspace"]["channels"] == ["bioconda"]
    assert manifest["feature"]["tools"]["channels"] == ["conda-forge"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"name": " "},
        "--name: no name for a workspace: ' '\nhelp: name it: --name my-mirror",
    ),
    (
        {"name": "a\nb"},
        "--name: no name for a workspace: 'a\\nb'\nhelp: name it: --name my-mirror",
    ),
    (
        {"channels": ("ok", "a b", "http://")},
        (
            "--channel: neither the name nor the URL of a channel: 'a b'\n"
            "help: --channel conda-forge, or https://…, or file:///…\n"
            "--channel: neither the name nor the URL of a channel: 'http://'\n"
            "help: --channel conda-forge, or https://…, or file:///…"
        ),
    ),
    (
        {"channels": ("./near",)},
        (
            "--channel: neither the name nor the URL of a channel: './near'\n"
            "help: --channel conda-forge, or https://…, or file:///…"
        ),
    ),
    (
        {"channels": ("https://me:secret@conda.example.org/a",)},
        (
            "--channel: holds what should not be in a file that others see: "
            "https://********@conda.example.org/a\n"
            "help: name the channel without it; pixi keeps secrets: pixi auth login HOST"
        ),
    ),
    (
        {"channels": ("https://conda.example.org/t/secret/a",)},
        (
            "--channel: holds what should not be in a file that others see: "
            "https://conda.example.org/t/********/a\n"
            "help: name the channel without it; pixi keeps secrets: pixi auth login HOST"
        ),
    ),
    *(
        (
            {"channels": (channel,)},
            (
                f"--channel: holds what should not be in a file that others see: {shown}\n"
                "help: name the channel without it; pixi keeps secrets: pixi auth login HOST"
            ),
        )
        for channel, shown in (
            ("https://h/c#SECRET", "https://********"),
            ("HTTPS://h/c?SECRET", "HTTPS://h/c?********"),
            ("https://me:a#b@h/c", "https://********"),
        )
    ),
    *(
        (
            {"channels": (channel,)},
            (
                f"--channel: neither the name nor the URL of a channel: {channel!r}\n"
                "help: --channel conda-forge, or https://…, or file:///…"
            ),
        )
        for channel in ("https://[::1", "https://h:99999/c", "https://h/c]", "https://h:x/c")
    ),
    (
        {"platforms": ("linux-65",)},
        "platforms: no such subdir: 'linux-65'\nhelp: did you mean linux-64?",
    ),
    (
        {"platforms": ("noarch",)},
        "platforms: noarch is no platform: its packages come with every other one",
    ),
    (
        {"packages": package("x", channel="bioconda")},
        (
            "x: is to come from bioconda, which is no channel of the workspace\n"
            "help: --channel bioconda"
        ),
    ),
    (
        {"packages": package("x", channel="t/token-1/own")},
        ("x: is to come from own, which is no channel of the workspace\nhelp: --channel own"),
    ),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_cannot_be_is_refused_with_a_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MirrorError) as refused:
        render(**options)
    assert str(refused.value) == message
    assert {problem.code for problem in refused.value.problems} == {ExitCode.USAGE}


@pytest.mark.parametrize(
    "channel",
    ["HTTPS://h/c", "https://[::1]:8080/c", "https://h:8080", "file:///srv/c", "a/label/b"],
)
def test_what_is_a_channel_is_taken(channel: str) -> None:
    text = render(channels=(channel,))
    assert tomllib.loads(text)["workspace"]["channels"] == [channel]


def test_a_package_may_come_from_a_channel_that_is_there_by_another_name() -> None:
    url = "https://conda.anaconda.org/conda-forge"
    text = render(packages=package("x", channel=url))
    assert tomllib.loads(text)["dependencies"]["x"] == {"version": "*", "channel": url}
