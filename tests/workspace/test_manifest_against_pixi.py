"""The manifest reader against the real pixi, which says what each environment has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.core.channel_url import channel_base_url
from scripts.workspace.model import Environment, Manifest
from scripts.workspace.parse import parse_manifest
from scripts.workspace.platforms import change_platforms
from scripts.workspace.resolve import (
    asked_for,
    environment_channels,
    environment_platforms,
)
from tests.support.pixi import Pixi, find_pixi
from tests.support.template import ROOT

DATA = ROOT / "tests" / "data"
MANIFESTS = (
    *sorted((DATA / "manifests").glob("*.toml")),
    *sorted((DATA / "cases").glob("*/pixi.toml")),
    ROOT / "pixi.toml",
)

pytestmark = pytest.mark.needs_pixi


@pytest.fixture
def pixi(tmp_path: Path) -> Pixi:
    return find_pixi(tmp_path / "home")


def name_of(path: Path) -> str:
    return "pyproject.toml" if "pyproject" in path.name else "pixi.toml"


def environments_of(pixi: Pixi, folder: Path, text: str, name: str) -> list[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text.encode())
    done = pixi.run(folder, "info", "--json")
    environments: list[dict[str, Any]] = json.loads(done.stdout)["environments_info"]
    assert environments, done.stderr  # it goes on without where the manifest is wrong
    return environments


def assert_same(manifest: Manifest, environment: Environment, theirs: dict[str, Any]) -> None:
    platforms = environment_platforms(manifest, environment)
    channels = tuple(channel_base_url(each) for each in theirs["channels"])
    assert environment_channels(manifest, environment) == channels
    assert {(each.name, each.subdir) for each in platforms} == {
        (each["name"], each["subdir"]) for each in theirs["platforms"]
    }
    # Pixi lists those of this machine's platform, or, where none fits, those of every platform.
    asked = [asked_for(manifest, environment, each) for each in platforms]
    ours = [{each.name for each in some.requirements} for some in asked]
    named = {each.lower() for each in theirs["dependencies"]}
    assert named in ours or named <= set.intersection(*ours)
    assert {each.lower() for each in theirs["pypi_dependencies"]} in [
        {each.name for each in some.pypi} for some in asked
    ]
    assert environment.solve_group == theirs["solve_group"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_environments_are_what_pixi_says(path: Path, pixi: Pixi, tmp_path: Path) -> None:
    text, name = path.read_bytes().decode(), name_of(path)
    theirs = environments_of(pixi, tmp_path / "workspace", text, name)
    manifest = parse_manifest(text, name=name)
    assert {each["name"] for each in theirs} == {each.name for each in manifest.environments}
    for each in theirs:
        environment = manifest.environment(each["name"])
        assert environment is not None
        assert_same(manifest, environment, each)


def test_pixi_reads_an_edited_manifest_as_meant(pixi: Pixi, tmp_path: Path) -> None:
    text = (ROOT / "pixi.toml").read_bytes().decode()
    text = change_platforms(text, wanted=("linux-64", "win-64"), name="pixi.toml").text
    before = environments_of(pixi, tmp_path / "before", text, "pixi.toml")
    edit = change_platforms(text, add=["linux-ppc64le"], remove=["win-64"], name="pixi.toml")
    after = environments_of(pixi, tmp_path / "after", edit.text, "pixi.toml")
    names = [
        {
            each["name"]: sorted(platform["name"] for platform in each["platforms"])
            for each in environments
        }
        for environments in (before, after)
    ]
    assert set(names[1].pop("default")) == set(names[0].pop("default")) - {"win-64"} | {
        "linux-ppc64le"
    }
    assert names[0] == names[1]  # the tools are as they were
