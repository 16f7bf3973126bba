"""The pipelines that a builder gets: their form, and their shell steps run in a real repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.pipelines import (
    BRANCH,
    GITHUB,
    GitHub,
    Repository,
    github_scripts,
    github_steps,
    gitlab_job,
    gitlab_scripts,
    load,
)

CHANGES = '## linux-64\n\n| package | "from" | to |\n|---|---|---|\n| a\\|b | 1 | $2 ` |\n'

needs_shell = pytest.mark.skipif(
    os.name == "nt" or shutil.which("git") is None or shutil.which("bash") is None,
    reason="the runners of both are Linux; git and bash are needed",
)


def test_actions_are_pinned_by_commit_with_the_version_beside() -> None:
    lines = [line.strip() for line in GITHUB.read_text(encoding="utf-8").splitlines()]
    uses = [line.removeprefix("- ") for line in lines if "uses:" in line]
    assert len(uses) == 3
    for line in uses:
        assert re.fullmatch(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_both_run_weekly_and_publish_the_channel() -> None:
    workflow = load(GITHUB)
    (schedule,) = workflow[True]["schedule"]  # YAML 1.1 reads `on` as true
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", schedule["cron"])
    assert workflow["permissions"] == {}
    upload = github_steps()[-1]["with"]
    assert (upload["path"], upload["if-no-files-found"]) == ("local-channel", "error")
    job = gitlab_job()
    assert {'$CI_PIPELINE_SOURCE == "schedule"'} < {rule["if"] for rule in job["rules"]}
    assert "local-channel/" in job["artifacts"]["paths"]
    # The tasks are told the same by both.
    update = github_scripts()[0].splitlines()[0]
    assert update == 'pixi run update-mirror --markdown "$RUNNER_TEMP/changes.md"'
    assert gitlab_scripts()[0] == "pixi run update-mirror --markdown changes.md"


@pytest.mark.needs_actionlint
def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    done = subprocess.run(["actionlint", str(GITHUB)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)
    # The control: a step that names what is not there.
    bad = tmp_path / "bad.yml"
    text = GITHUB.read_text(encoding="utf-8").replace("github.token", "github.tokens")
    bad.write_text(text, encoding="utf-8")
    done = subprocess.run(["actionlint", str(bad)], capture_output=True, text=True, check=False)
    assert 'property "tokens" is not defined' in done.stdout
    assert done.returncode == 1


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository with a lock of before."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    made = Repository.make(tmp_path)
    made.updated("old\n")
    made.publish()
    return made


@pytest.fixture
def github(repository: Repository) -> GitHub:
    return GitHub.make(repository)


@needs_shell
def test_github_proposes_the_lock_and_says_what_changed(github: GitHub) -> None:
    github.repository.updated("new\n")
    done = github.propose(CHANGES)
    assert done.returncode == 0, done.stderr
    assert github.repository.proposed() == {"pixi.lock": "new\n", "titles": "Update the mirror\n"}
    assert github.request() == {
        "head": BRANCH,
        "base": "main",
        "title": "Update the mirror",
        "body": CHANGES,
    }
    # Next week, the request still open: one request, one commit, the newer text.
    github.repository.git("checkout", "-q", "-B", "main", "origin/main")
    github.repository.updated("newer\n")
    assert github.propose("newer text\n").returncode == 0
    assert github.repository.proposed() == {"pixi.lock": "newer\n", "titles": "Update the mirror\n"}
    assert github.request()["body"] == "newer text\n"


@needs_shell
def test_github_proposes_the_first_lock_too(github: GitHub) -> None:
    github.repository.git("rm", "-q", "pixi.lock")
    github.repository.publish()
    github.repository.updated("first\n")
    assert github.propose(CHANGES).returncode == 0
    assert github.repository.proposed()["pixi.lock"] == "first\n"


@needs_shell
def test_github_cuts_what_no_request_can_hold(github: GitHub) -> None:
    github.repository.updated("new\n")
    line = "| ä package that is there | 1.0 | 2.0 |\n"
    assert github.propose(line * 3000).returncode == 0
    body = github.request()["body"]
    assert len(body.encode()) < 60100
    assert body.replace(line, "") == "\n… and more\n"
    assert body.count(line) > 1000


@needs_shell
def test_without_a_change_nothing_is_proposed(github: GitHub, repository: Repository) -> None:
    (repository.work / "changes.md").write_text("x", encoding="utf-8")
    for done in (github.propose(CHANGES), repository.run(gitlab_scripts()[1], os.environ)):
        assert (done.stdout, done.returncode) == ("nothing has changed\n", 0)
    assert repository.git("branch", "--list", BRANCH, folder=repository.remote) == ""
    assert not (github.state / "said.txt").exists()


@needs_shell
def test_a_push_that_is_refused_fails_the_run(github: GitHub, repository: Repository) -> None:
    hook = repository.remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    repository.updated("new\n")
    assert github.propose(CHANGES).returncode != 0
    assert not (github.state / "said.txt").exists()


def _push_options(repository: Repository) -> Path:
    r"""Let the remote write down what GitLab would read; `\\n` is a new line there.

    (gitlabhq: app/services/merge_requests/push_options_handler_service.rb)
    """
    hook = repository.remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    said = repository.temp / "options.txt"
    hook.write_text(
        f"#!/bin/sh\nexec > '{said}'\ni=0\nwhile [ $i -lt $GIT_PUSH_OPTION_COUNT ]; do\n"
        'eval "printf \'%s\\\\n\' \\"\\$GIT_PUSH_OPTION_$i\\""\ni=$((i + 1))\ndone\n',
        encoding="utf-8",
    )
    hook.chmod(0o755)
    return said


@needs_shell
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (CHANGES, CHANGES),
        ("ä line\n" * 20_000, None),
    ],
    ids=["short", "too long"],  # pytest has it in a variable of the environment
)
def test_gitlab_proposes_the_lock_and_says_what_changed(
    repository: Repository, changes: str, expected: str | None
) -> None:
    said = _push_options(repository)
    repository.updated("new\n")
    (repository.work / "changes.md").write_text(changes, encoding="utf-8")
    variables = {
        **os.environ,
        "CI_DEFAULT_BRANCH": "main",
        "CI_SERVER_HOST": "gitlab.example.org",
        "MIRROR_REMOTE": str(repository.remote),
    }
    done = repository.run(gitlab_scripts()[1], variables)
    assert done.returncode == 0, done.stderr
    assert repository.proposed() == {"pixi.lock": "new\n", "titles": "Update the mirror\n"}
    *options, description = said.read_text(encoding="utf-8").splitlines()
    assert options == [
        "merge_request.create",
        "merge_request.target=main",
        "merge_request.title=Update the mirror",
    ]
    text = description.removeprefix("merge_request.description=").replace("\\n", "\n")
    if expected is not None:
        assert text == expected
    else:
        assert len(description.encode()) < 65_516
        assert text.replace("ä line\n", "") == "\n… and more"


def test_gitlabs_remote_is_the_project_with_the_token_as_a_password() -> None:
    assert gitlab_job()["variables"]["MIRROR_REMOTE"] == (
        "$CI_SERVER_PROTOCOL://oauth2:$MIRROR_TOKEN@$CI_SERVER_HOST:$CI_SERVER_PORT/"
        "$CI_PROJECT_PATH.git"
    )
