"""The pipelines of a builder, and where their shell steps run: a repository with a bare remote.

What `gh` does is done by a stand-in, since the real one speaks to GitHub alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.template import ROOT

GITHUB: Final = ROOT / "builder/.github/workflows/update-mirror.yml"
GITLAB: Final = ROOT / "builder/.gitlab-ci.yml"
BRANCH: Final = "update-mirror"

# Records what it is told, and keeps the one pull request there may be in a file.
_GH = """\
#!{python}
import json, os, pathlib, sys
state = pathlib.Path(os.environ["GH_STATE"])
given = sys.argv[1:]
with (state / "said.txt").open("a") as file:
    file.write(json.dumps(given) + "\\n")
assert os.environ["GH_TOKEN"] == "token"
request = state / "request.json"
if given[:2] == ["pr", "list"]:
    assert given[2:] == ["--head", "update-mirror", "--json", "number", "--jq", "length"], given
    print(int(request.exists()))
else:
    body = pathlib.Path(given[given.index("--body-file") + 1]).read_text()
    known = json.loads(request.read_text()) if request.exists() else {{}}
    if given[1] == "create":
        assert not known
        known = {{key: given[given.index(f"--{{key}}") + 1] for key in ("head", "base", "title")}}
    request.write_text(json.dumps(known | {{"body": body}}))
"""


def load(path: Path) -> dict[Any, Any]:
    """Read a YAML file."""
    document: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def github_steps() -> list[dict[str, Any]]:
    """The steps of the workflow's one job."""
    steps: list[dict[str, Any]] = load(GITHUB)["jobs"]["update-mirror"]["steps"]
    return steps


def gitlab_job() -> dict[str, Any]:
    """The one job of GitLab's pipeline."""
    job: dict[str, Any] = load(GITLAB)["update-mirror"]
    return job


def github_scripts() -> list[str]:
    """The steps of the workflow that are shell: update, then propose."""
    return [step["run"] for step in github_steps() if "run" in step]


def gitlab_scripts() -> list[str]:
    """The lines of the job: update, then propose."""
    scripts: list[str] = gitlab_job()["script"]
    return scripts


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A clone of a bare repository on disk, as a runner has it; `temp` is for what is neither's."""

    work: Path
    remote: Path
    temp: Path

    @classmethod
    def make(cls, folder: Path) -> Repository:
        """Make all three in a folder: the remote is empty, and takes push options as GitLab does.

        The work tree may be there already, with what is to be committed first.
        """
        made = cls(work=folder / "work", remote=folder / "remote", temp=folder / "temp")
        made.temp.mkdir()
        made.git("init", "--bare", "-q", "--initial-branch=main", str(made.remote), folder=folder)
        made.git("config", "receive.advertisePushOptions", "true", folder=made.remote)
        made.work.mkdir(exist_ok=True)
        made.git("init", "-q")
        made.git("remote", "add", "origin", str(made.remote))
        return made

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        """Run git, which must succeed, and return what it printed."""
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            cwd=self.work if folder is None else folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def publish(self) -> None:
        """Commit all that is there to the main branch, and push that."""
        self.git("checkout", "-q", "-B", "main")
        self.git("add", "--all")
        self.git("commit", "-qm", "as it is")
        self.git("push", "-q", "origin", "main")

    def run(self, script: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a step as GitHub's runner does for `shell: bash`; GitLab's is less strict."""
        path = self.temp / "step.sh"
        path.write_text(script, encoding="utf-8")
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(path)],
            cwd=self.work,
            env=dict(environment),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    def updated(self, text: str) -> None:
        """Let update-mirror have written another lock."""
        (self.work / "pixi.lock").write_text(text, encoding="utf-8")

    def proposed(self) -> dict[str, str]:
        """What the branch has beyond the main one: by file its text, and the commits' titles."""
        names = self.git("diff", "--name-only", "main", BRANCH, folder=self.remote).split()
        texts = {name: self.git("show", f"{BRANCH}:{name}", folder=self.remote) for name in names}
        titles = self.git("log", "--format=%s", f"main..{BRANCH}", folder=self.remote)
        return {**texts, "titles": titles}


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHub:
    """GitHub's side of it: a stand-in for `gh` in `state`, which keeps the one pull request."""

    repository: Repository
    state: Path

    @classmethod
    def make(cls, repository: Repository) -> GitHub:
        """Put the stand-in for `gh` beside the repository."""
        state = repository.temp / "gh"
        state.mkdir()
        (state / "gh").write_text(_GH.format(python=sys.executable), encoding="utf-8")
        (state / "gh").chmod(0o755)
        return cls(repository=repository, state=state)

    def step(
        self, script: str, environment: Mapping[str, str] = os.environ
    ) -> subprocess.CompletedProcess[str]:
        """Run a step of the workflow with the variables that it has there."""
        temp = self.repository.temp
        variables = {
            "PATH": f"{self.state}{os.pathsep}{environment['PATH']}",
            "RUNNER_TEMP": str(temp),
            "GITHUB_STEP_SUMMARY": str(temp / "summary.md"),
            "GITHUB_REF_NAME": "main",
            "GH_TOKEN": "token",
            "GH_STATE": str(self.state),
        }
        return self.repository.run(script, {**environment, **variables})

    def propose(self, changes: str) -> subprocess.CompletedProcess[str]:
        """Run the step that proposes what is there, these being the changes."""
        (self.repository.temp / "changes.md").write_text(changes, encoding="utf-8")
        return self.step(github_scripts()[1])

    def request(self) -> dict[str, str]:
        """Return the pull request there is."""
        request: dict[str, str] = json.loads((self.state / "request.json").read_text())
        return request
