"""Which environments, platforms and packages pixi is asked to update."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from scripts.core.errors import MirrorError
from scripts.lock.model import LockedEnvironment, LockFile
from scripts.lock.update import UpdatePlan, plan_update
from scripts.workspace.parse import parse_manifest
from scripts.workspace.settings import Settings

MANIFEST = parse_manifest(
    """
[workspace]
channels = ["conda-forge"]
platforms = ["linux-64", { name = "linux-cuda", platform = "linux-64", cuda = "12" }, "win-64"]

[feature.x.dependencies]
a = "*"

[feature.y]
platforms = ["linux-64"]

[environments]
default = { solve-group = "main" }
dev = { features = ["x"], solve-group = "main" }
tools = { features = ["x", "y"], no-default-feature = true }
linked = { features = ["x"], solve-group = "main" }
""",
    name="pixi.toml",
)
NAMES = ("default", "dev", "linked", "tools")
TOOLS_OUT = Settings(exclude_environments=("tools",))


def lock(*names: str) -> LockFile:
    environments = (LockedEnvironment(name=each, channels=(), platforms=()) for each in names)
    return LockFile(version=7, environments=tuple(environments))


def plan(settings: Settings = TOOLS_OUT, **request: Any) -> UpdatePlan:
    return plan_update(MANIFEST, lock(*NAMES), settings, **request)


def asked_for(plan: UpdatePlan, option: str) -> tuple[str, ...]:
    return tuple(value for each, value in pairwise(plan.arguments) if each == option)


def test_what_is_mirrored_is_updated_and_the_tools_are_not() -> None:
    assert plan().arguments == (
        *("update", "--environment", "default"),
        *("--environment", "dev", "--environment", "linked"),
    )


def test_who_shares_a_solve_group_comes_along_and_is_named() -> None:
    settings = Settings(exclude_environments=("tools", "dev", "linked"))
    found = plan(settings)
    assert asked_for(found, "--environment") == ("default", "dev", "linked")
    assert found.notes == (
        "also updating dev (not mirrored): it shares the solve group main",
        "also updating linked (not mirrored): it shares the solve group main",
    )


def test_an_environment_asked_for_brings_its_group() -> None:
    found = plan(environments=("dev",))
    assert asked_for(found, "--environment") == ("default", "dev", "linked")
    assert found.notes == (
        "also updating default: it shares the solve group main",
        "also updating linked: it shares the solve group main",
    )


def test_whoever_is_not_mirrored_may_be_asked_for() -> None:
    found = plan(environments=("tools",))
    assert (asked_for(found, "--environment"), found.notes) == (("tools",), ())


def test_environments_not_mirrored_by_choice_are_named_so() -> None:
    settings = Settings(environments=("default",))
    found = plan(settings)
    assert found.notes[0] == ("also updating dev (not mirrored): it shares the solve group main")


def test_packages_come_last() -> None:
    found = plan(packages=("a", "-b"), environments=("tools",))
    assert found.arguments == ("update", "--environment", "tools", "--", "a", "-b")


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (("win-64",), ("win-64",)),
        (("linux-64",), ("linux-64",)),
        (("linux-cuda", "win-64"), ("linux-cuda", "win-64")),
    ],
)
def test_platforms_are_named_as_pixi_does(asked: tuple[str, ...], named: tuple[str, ...]) -> None:
    assert asked_for(plan(platforms=asked), "--platform") == named


def test_a_subdir_stands_for_the_platforms_that_have_it() -> None:
    """Pixi itself updates nothing then, and says nothing."""
    manifest = parse_manifest(
        '[workspace]\nchannels = []\nplatforms = ["linux-64", "win-64"]\n'
        '[system-requirements]\ncuda = "12"\n',
        name="pixi.toml",
    )
    found = plan_update(manifest, lock("default"), Settings(), platforms=("linux-64",))
    assert asked_for(found, "--platform") == ("linux-64-cuda-12",)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            {"environments": ("tool",)},
            (
                "pixi.lock: has no environment 'tool'\n"
                "  nearest  tools\n"
                "  it has   default, dev, linked, tools"
            ),
        ),
        (
            {"platforms": ("osx-arm64",)},
            (
                "default, dev, linked: has no platform 'osx-arm64'\n"
                "  it has  linux-64, linux-cuda, win-64"
            ),
        ),
        (  # `pixi.toml` has it
            {"environments": ("tools",), "platforms": ("win-64",)},
            "tools: has no platform 'win-64'\n  nearest  linux-64\n  it has   linux-64",
        ),
    ],
)
def test_what_is_not_there_is_an_error(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(MirrorError) as caught:
        plan(**request_)
    assert str(caught.value) == message


def test_nothing_mirrored_is_an_error_and_never_all() -> None:
    """`pixi update` without an environment would update the tools too."""
    with pytest.raises(MirrorError) as caught:
        plan(Settings(exclude_environments=NAMES))
    assert str(caught.value) == (
        "update-mirror: no environment is mirrored, so there is nothing to update\n"
        "  pixi.lock has  default, dev, linked, tools\n"
        "help: correct `environments` or `exclude-environments` under [tool.pixi-mirror]"
    )


def test_an_environment_that_left_the_manifest_is_not_asked_for() -> None:
    found = plan_update(MANIFEST, lock("default", "gone"), TOOLS_OUT)
    assert "gone" not in asked_for(found, "--environment")


@pytest.mark.parametrize(("name", "advice"), [("dev", "\nhelp: pixi lock"), ("tool", "")])
def test_an_environment_that_the_lock_does_not_have_yet(name: str, advice: str) -> None:
    with pytest.raises(MirrorError) as caught:
        plan_update(MANIFEST, lock("default"), Settings(), environments=(name,))
    assert str(caught.value) == f"pixi.lock: has no environment '{name}'\n  it has  default{advice}"
