"""The project's own workflows and issue form: their form, and their shell steps run here.

What would reach the network is done by a stand-in, or by pip without an index.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.template.make_pyz import archive
from tests.support.pipelines import GITHUB, Repository, load
from tests.support.template import ROOT, copy_template

FOLDER: Final = ROOT / ".github" / "workflows"
WORKFLOWS: Final = sorted(FOLDER.glob("*.yml"))
SWITCH: Final = "vars.PIXI_MIRROR_CI == 'true'"
VERSION: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "version"
]

needs_shell = pytest.mark.skipif(
    os.name == "nt" or shutil.which("bash") is None, reason="these steps are for bash on Linux"
)


def jobs(workflow: str) -> dict[str, dict[str, Any]]:
    """The jobs of a workflow by name."""
    found: dict[str, dict[str, Any]] = load(FOLDER / f"{workflow}.yml")["jobs"]
    return found


def script(workflow: str, job: str, name: str) -> str:
    """The shell of a step."""
    (text,) = (step["run"] for step in jobs(workflow)[job]["steps"] if step.get("name") == name)
    return str(text)


def speaking(found: dict[str, dict[str, Any]]) -> list[str]:
    """The jobs that would run in a copy, where nobody has set the variable."""
    silent = {name for name, job in found.items() if str(job.get("if", "")).startswith(SWITCH)}
    return sorted(
        name for name, job in found.items() if name not in silent and job.get("needs") not in silent
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_copy_stays_silent(path: Path) -> None:
    found = jobs(path.stem)
    assert speaking(found) == []
    assert not any("||" in job.get("if", "").partition(" && ")[0] for job in found.values())
    # The control: a job that asks nobody.
    assert speaking({**found, "loud": {"steps": []}}) == ["loud"]
    assert SWITCH.split()[0].removeprefix("vars.") in (ROOT / "docs" / "ci.md").read_text("utf-8")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_may_write_nothing(path: Path) -> None:
    """By commit, those that builders have by the same one; only what publishes may write."""
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (\S+) # (v\d+\.\d+\.\d+)\n", text)
    assert len(uses) == text.count("uses:") >= 3
    pinned = {action.partition("@")[0]: action for action, _ in uses}
    of_builder = {
        name: f"{name}@{commit}"
        for name, commit in re.findall(r"uses: (\S+)@(\S+)", GITHUB.read_text(encoding="utf-8"))
    }
    assert pinned == {name: of_builder.get(name, action) for name, action in pinned.items()}
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in pinned.values())
    workflow = load(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    writers = [
        name
        for name, job in workflow["jobs"].items()
        if "write" in job.get("permissions", {}).values()
    ]
    assert writers == (["publish"] if path.stem == "release" else [])


def test_three_systems_with_each_python_that_is_allowed() -> None:
    matrix = jobs("ci")["test"]["strategy"]["matrix"]
    assert [each.partition("-")[0] for each in matrix["os"]] == ["ubuntu", "macos", "windows"]
    manifest = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))
    bounds = manifest["feature"]["tools"]["dependencies"]["python"]
    lowest, above = map(int, re.findall(r"3\.(\d+)", bounds))
    assert matrix["python"] == [f"3.{minor}" for minor in range(lowest, above)]
    real = jobs("ci")["real"]
    assert "schedule" in real["if"]
    (weekly,) = load(FOLDER / "ci.yml")[True]["schedule"]  # YAML 1.1 reads `on` as true
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", weekly["cron"])


@pytest.mark.needs_actionlint
def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    command = ["actionlint", *map(str, WORKFLOWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)
    # The control: a job that waits for one that is not there.
    bad = tmp_path / "bad.yml"
    text = (FOLDER / "release.yml").read_text(encoding="utf-8")
    bad.write_text(text.replace("needs: build", "needs: built"), encoding="utf-8")
    done = subprocess.run(["actionlint", str(bad)], capture_output=True, text=True, check=False)
    assert '"built"' in done.stdout
    assert done.returncode == 1


# ---- Steps --------------------------------------------------------------------------------------

_STAND_IN: Final = """\
#!{python}
import json, os, pathlib, sys
with open(os.environ["SAID"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["exec", "rattler-build"]:
    folder = pathlib.Path(sys.argv[sys.argv.index("--output-dir") + 1]) / "noarch"
    folder.mkdir(parents=True)
    (folder / "pixi-mirror-{version}-pyh_0.conda").write_text("built")
print(os.environ.get("SAY", ""))
"""


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A checkout on a runner, where this Python is `python`; pixi and gh are stand-ins."""
    temp = tmp_path / "temp"
    programs = temp / "bin"
    programs.mkdir(parents=True)
    for name in ("pixi", "gh"):
        text = _STAND_IN.format(python=sys.executable, version=VERSION)
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    path = (str(programs), str(Path(sys.executable).parent), os.environ["PATH"])
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    for name, value in (
        ("SAID", str(temp / "said.txt")),
        ("RUNNER_TEMP", str(temp)),
        ("GITHUB_REF_NAME", f"v{VERSION}"),
        ("GITHUB_RUN_ID", "7"),
        ("PIP_NO_INDEX", "1"),
        ("PIP_NO_BUILD_ISOLATION", "0"),  # pip's way of saying yes to it
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    ):
        monkeypatch.setenv(name, value)
    return Repository(work=copy_template(tmp_path / "work"), remote=tmp_path, temp=temp)


def follow(runner: Repository, workflow: str, job: str, name: str) -> str:
    """Run a step, which must succeed; return what it printed."""
    done = runner.run(script(workflow, job, name), os.environ)
    assert done.returncode == 0, f"{name}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@needs_shell
def test_a_release_is_built_summed_and_published(runner: Repository) -> None:
    for name in (
        "Tag, version and changelog agree",
        "The wheel",
        "The conda package",
        "The tool as one file",
        "The sha256 of each",
    ):
        follow(runner, "release", "build", name)
    dist = runner.work / "dist"
    built = {
        f"pixi_mirror-{VERSION}-py3-none-any.whl",
        f"pixi-mirror-{VERSION}-pyh_0.conda",
        "pixi-mirror.pyz",
    }
    assert {file.name for file in dist.iterdir()} == {
        "notes.md",
        *built,
        *(f"{name}.sha256" for name in built),
    }
    assert (dist / "pixi-mirror.pyz").read_bytes() == archive()
    with zipfile.ZipFile(dist / f"pixi_mirror-{VERSION}-py3-none-any.whl") as wheel:
        assert "pixi_mirror/template/tasks/mirror.py" in wheel.namelist()
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    notes = (dist / "notes.md").read_text(encoding="utf-8")
    assert notes in changes
    assert "### Added" in notes
    assert "\n## " not in notes

    published = follow(runner, "release", "publish", "Publish what was built")
    assert published.count(": OK\n") == len(built)
    said = [json.loads(line) for line in (runner.temp / "said.txt").read_text().splitlines()]
    assert said[1] == ["run", "download", "7", "--name", "dist", "--dir", "dist"]
    assert said[2][:4] == ["release", "create", f"v{VERSION}", "--verify-tag"]
    assert {name.removeprefix("./") for name in said[2][8:]} == {
        *built,
        *(f"{name}.sha256" for name in built),
    }
    # The control: a bit flipped on the way.
    (dist / "pixi-mirror.pyz").write_bytes(archive()[:-1] + b"x")
    done = runner.run(script("release", "publish", "Publish what was built"), os.environ)
    assert "pixi-mirror.pyz: FAILED" in done.stdout
    assert done.returncode == 1
    assert len((runner.temp / "said.txt").read_text().splitlines()) == len(said) + 1  # the download


@needs_shell
@pytest.mark.parametrize(
    ("tag", "heading", "message"),
    [
        ("v9.9", None, f"the tag is v9.9, and pyproject.toml has version {VERSION}"),
        (
            f"v{VERSION}",
            "## [9.9] - 2026-01-01",
            f"CHANGELOG.md has no section '## [{VERSION}] - DATE', or an empty one",
        ),
    ],
)
def test_a_release_that_does_not_agree_is_not_built(
    runner: Repository, tag: str, heading: str | None, message: str
) -> None:
    changelog = runner.work / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    if heading is not None:
        text = re.sub(rf"^## \[{re.escape(VERSION)}\].*$", heading, text, flags=re.MULTILINE)
    changelog.write_text(text, encoding="utf-8")
    done = runner.run(
        script("release", "build", "Tag, version and changelog agree"),
        {**os.environ, "GITHUB_REF_NAME": tag},
    )
    assert (done.stdout, done.returncode) == (f"::error::{message}\n", 1)


@needs_shell
def test_a_test_left_out_for_want_of_a_program_fails_the_weekly_run(runner: Repository) -> None:
    step = script("ci", "real", "The tests, none of them left out for want of a program")
    reason = "needs nginx, which is not on PATH"
    # The words that tests/conftest.py says.
    assert "which is not on PATH" in (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    for say, code in (("3 passed", 0), (f"1 test skipped: {reason}", 1)):
        done = runner.run(step, {**os.environ, "SAY": say})
        assert (done.stdout.splitlines()[0], done.returncode) == (say, code)


# ---- Changelog and issue form -------------------------------------------------------------------


def headings(changelog: str) -> list[str]:
    """The second headings of a changelog."""
    return re.findall(r"^## (.*)$", changelog, re.MULTILINE)


def test_the_changelog_is_dated() -> None:
    """In the form of Keep a Changelog: what is not released, then releases, newest first."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, *released = headings(changelog)
    assert unreleased == "[Unreleased]"
    parsed = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", each) for each in released]
    assert all(parsed), released
    found = [(each[1], dt.date.fromisoformat(each[2])) for each in parsed if each]
    assert found[0][0] == VERSION
    assert [date for _, date in found] == sorted((date for _, date in found), reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", changelog, re.MULTILINE)) <= kinds


def test_the_issue_form_asks_for_json() -> None:
    form = load(ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml")
    assert {"name", "description", "body"} <= form.keys()
    fields = {each["id"]: each for each in form["body"] if each["type"] != "markdown"}
    assert len(fields) == len(form["body"]) - 1
    assert all(re.fullmatch(r"[\w-]+", name) for name in fields)
    assert {each["type"] for each in fields.values()} <= {"input", "textarea"}
    assert all(each["attributes"]["label"] for each in fields.values())
    asked = fields["json"]
    assert asked["attributes"]["render"] == "json"
    assert asked["validations"] == {"required": True}
    assert "--json" in asked["attributes"]["label"]
    assert (ROOT / "SECURITY.md").is_file()  # which it names
