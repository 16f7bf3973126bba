"""What conda, micromamba and an offline pixi are asked for, and what stands in their way."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from scripts.core.artifact import Artifact, artifact_of
from scripts.core.file_name import FileName
from scripts.core.record import PypiRecord, Record
from scripts.verify.findings import Client, EnvironmentPlatform
from scripts.verify.install.clients import (
    create_command,
    render_offline_manifest,
    render_specs,
    skip_reason,
)
from scripts.verify.install.plan import InstallJob
from scripts.workspace.settings import IncompleteKind

FOLDER = Path(Path.cwd().anchor) / "a mirror"
BASE = FOLDER.as_uri()


def _artifact(channel: str, name: str, version: str, build: str) -> Artifact:
    file_name = FileName(name=name, version=version, build=build, extension=".conda")
    url = f"https://conda.anaconda.org/{channel or 'conda-forge'}/noarch/{file_name}"
    record = Record(subdir="noarch", name=name, version=version, build=build, build_number=0)
    path = PurePosixPath(channel) / "noarch" / str(file_name)
    return artifact_of(record, path, (url,), url.rpartition("/noarch/")[0])


FLAT = InstallJob(
    place=EnvironmentPlatform("default", "linux-64"),
    subdir="linux-64",
    channels=(PurePosixPath(),),
    artifacts=(_artifact("", "one", "1!2.0+3", "h0_1"), _artifact("", "two", "1", "0")),
    asked=("one",),
    virtual_packages=("__unix=0=0", "__linux=4.18", "__glibc=2.28", "__archspec=0=x86_64"),
)
SEVERAL = InstallJob(
    place=EnvironmentPlatform("default", "p1"),
    subdir="linux-64",
    channels=(PurePosixPath("nvidia/label/cuda-1"), PurePosixPath("conda-forge")),
    artifacts=(
        _artifact("nvidia/label/cuda-1", "one", "1", "0"),
        _artifact("conda-forge", "two", "1", "0"),
    ),
    asked=("one", "two"),
    virtual_packages=("__cuda=11.8", "__unix=0=0", "__glibc=2.17", "__archspec=0=x86_64_v3"),
)


def test_the_documented_command() -> None:
    assert create_command(Path("conda"), FLAT, FOLDER, Path("wanted.txt")) == [
        *("conda", "create", "-n", "test-offline", "-c", f"{BASE}", "one"),
        *("--offline", "--override-channels", "--yes", "--file", "wanted.txt"),
    ]
    assert render_specs(FLAT, FOLDER) == (
        "one[version='==1!2.0+3',build='h0_1']\ntwo[version='==1',build='0']\n"
    )


def test_several_channels_in_their_order() -> None:
    nvidia, forge = f"{BASE}/nvidia/label/cuda-1", f"{BASE}/conda-forge"
    command = create_command(Path("conda"), SEVERAL, FOLDER, Path("w"))
    assert command[4:10] == ["-c", nvidia, "-c", forge, "one", "two"]
    assert render_specs(SEVERAL, FOLDER) == (
        f"{nvidia}::one[version='==1',build='0']\n{forge}::two[version='==1',build='0']\n"
    )


def test_the_manifest_of_an_offline_workspace() -> None:
    assert tomllib.loads(render_offline_manifest(FLAT, FOLDER)) == {
        "workspace": {"name": "test-offline", "channels": [BASE], "platforms": ["linux-64"]},
        "dependencies": {
            "one": {"version": "==1!2.0+3", "build": "h0_1", "channel": BASE},
            "two": {"version": "==1", "build": "0", "channel": BASE},
        },
    }


def test_the_manifest_declares_what_the_locked_platform_has() -> None:
    nvidia, forge = f"{BASE}/nvidia/label/cuda-1", f"{BASE}/conda-forge"
    declared = {"__cuda": "11.8", "__glibc": "2.17", "__archspec": "0=x86_64_v3"}
    platform = {"name": "locked", "platform": "linux-64", **declared}
    assert tomllib.loads(render_offline_manifest(SEVERAL, FOLDER)) == {
        "workspace": {
            "name": "test-offline",
            "channels": [nvidia, forge],
            "platforms": [platform],
        },
        "dependencies": {
            "one": {"version": "==1", "build": "0", "channel": nvidia},
            "two": {"version": "==1", "build": "0", "channel": forge},
        },
    }


@pytest.mark.parametrize("client", Client)
def test_nothing_stands_in_the_way(client: Client) -> None:
    assert skip_reason(FLAT, client, Path("/srv/channel").absolute(), Path()) is None


@pytest.mark.parametrize("client", Client)
def test_source_packages_that_others_depend_on(client: Client) -> None:
    """Whoever solves misses them; py-rattler does not solve."""
    installation = InstallJob(
        place=FLAT.place,
        subdir=FLAT.subdir,
        channels=FLAT.channels,
        artifacts=FLAT.artifacts,
        left_out=(IncompleteKind.SOURCE,),
        missing_source_packages=("mine", "yours"),
    )
    expected = {
        Client.RATTLER: None,
        Client.PIXI: "it has source packages, which pixi would have to build",
        Client.UV: None,
        Client.PIP: None,
    }
    solving = "its packages depend on what is built from source: mine, yours"
    assert skip_reason(installation, client, Path("/srv").absolute(), Path()) == expected.get(
        client, solving
    )


def _pypi(file_name: str, digest: str | None = "1" * 64) -> Artifact:
    url = f"https://files.example.org/{file_name}"
    name = file_name.partition("-")[0]
    record = PypiRecord(name=name, version="1", location=url, sha256=digest)
    return artifact_of(record, PurePosixPath("_pypi/files") / url[8:], (url,), None)


@pytest.mark.parametrize("client", [Client.UV, Client.PIP])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"pypi_obstacle": "it has no python"}, "it has no python"),
        ({"pypi": (_pypi("b-1.zip", None), _pypi("a-1.zip", None))}, "nobody knows a hash of a, b"),
        (
            {"pypi": (_pypi("a-1-py3-none-win_amd64.whl"), _pypi("b-1-py3-none-any.whl"))},
            "this machine takes no a-1-py3-none-win_amd64.whl",
        ),
        ({"wheels_only": True, "pypi": (_pypi("a-1-py3-none-other.whl"), _pypi("b-1.zip"))}, None),
        (
            {"wheels_only": True, "pypi": (_pypi("b-1.zip"),)},
            "it has no wheels, but sdists, which are built where they are installed",
        ),
    ],
)
def test_what_uv_and_pip_cannot_be_tried_with(
    client: Client, given: dict[str, Any], expected: str | None
) -> None:
    job = replace(FLAT, **{"pypi": (_pypi("b-1-py3-none-any.whl"), _pypi("c-1.zip")), **given})
    assert skip_reason(job, client, Path("/srv").absolute(), Path()) == expected


@pytest.mark.parametrize("client", Client)
@pytest.mark.parametrize(
    ("folder", "is_cut"),
    [("/srv/t/disk/channel", True), ("/srv/t", True), ("/srv/tt/x", False), ("/srv/T/x", False)],
)
def test_a_path_that_conda_takes_for_a_token(client: Client, folder: str, *, is_cut: bool) -> None:
    found = skip_reason(FLAT, client, Path(folder).absolute(), Path())
    assert (found is not None) == (is_cut and client is Client.CONDA)
    assert found is None or found.startswith("the channel has a folder called t in its path: ")
