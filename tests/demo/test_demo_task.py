"""The demo, as somebody runs it on a fresh machine; and what it says when its mirror fails."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.core.console import Console
from scripts.core.errors import ExitCode
from scripts.core.rattler_child import call_rattler
from scripts.demo import stage
from scripts.demo.stage import UPSTREAM, WORKSPACE, demo
from tests.support.pixi import path_without_clients

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def here() -> str:
    """The subdir of this machine; the demo has a program for five."""
    subdir = str(call_rattler("current_platform", {}))
    if not UPSTREAM.joinpath("tools", subdir).is_dir():
        pytest.skip(f"the demo has nothing for {subdir}")
    return subdir


@pytest.fixture
def _py_rattler_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide pixi and conda, with which the install is proven too where they are: it takes longer."""
    monkeypatch.setenv("PATH", path_without_clients())


def run_demo(
    folder: Path, *options: str, wrapper: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the task from an unrelated folder, proxies that lead nowhere set."""
    dead = "http://127.0.0.1:9"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    env |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), dead)
    return subprocess.run(
        [*wrapper, sys.executable, "-P", "-m", "tasks.demo", *options],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def _version(subdir: str, here: str) -> str:
    """The Python that runs the demo is mirrored for its own platform."""
    return platform.python_version() if subdir == here else "3.12.0"


def test_the_demo_shows_the_main_job(tmp_path: Path, here: str) -> None:
    done = run_demo(tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    assert (
        lines[0]
        == "demo: https://conda.example.org, served on loopback, mirrored by the task mirror:"
    )
    start = lines.index("demo: the channel that this made:")
    assert lines[start + 1 : start + 6] == [
        "  local-channel/",
        "    _pypi/",
        "      files/",
        "        files.example.org/",
        "          packages/",
    ]
    start = lines.index("    linux-64/")
    assert lines[start - 3 : start + 7] == [
        "      index/  (12 files)",
        "      mapping/  (1 file)",
        "      simple/  (12 files)",
        "    linux-64/",
        "      shards/  (2 files)",
        "      hello-1.0-h1_0.conda",
        f"      python-{_version('linux-64', here)}-0.tar.bz2",
        "      repodata.json",
        "      repodata.json.zst",
        "      repodata_shards.msgpack.zst",
    ]
    assert lines[-6:] == [
        (
            "demo: hotfix kept: noarch/greetings-2.1-0.conda was built for words 1.*;"
            " the record says words >=2.0,<3.0a0"
        ),
        "demo: the upstream is gone; installed from the channel alone, the program says:",
        f"  hello, world without a network ({here})",
        "demo: its PyPI packages, installed by uv, say:",
        "  HELLO, WORLD WITHOUT A NETWORK, 1.0",
        "demo: done, the channel was made, verified and used; nothing is left of it",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_py_rattler_alone")
def test_json(tmp_path: Path, here: str) -> None:
    done = run_demo(tmp_path, "--json", "--manifest-path", "nowhere")
    document = json.loads(done.stdout)
    aside = "warning: the demo has a workspace of its own; --manifest-path is not used\n"
    assert done.stderr.startswith(aside)
    assert (done.returncode, document["exit-code"], document["problems"]) == (0, 0, [])
    assert document["mirror"]["task"] == "mirror"
    assert {"fetch", "index", "verify"} <= document["mirror"].keys()
    assert document["said"] == f"hello, world without a network ({here})"
    assert document["pypi-said"] == "HELLO, WORLD WITHOUT A NETWORK, 1.0"
    assert document["platform"] == here
    assert document["hotfixes"][0]["archive"] == ["words 1.*"]
    assert "fetch: 23 to download" in done.stderr
    quiet = run_demo(tmp_path, "--json", "-q")
    assert (quiet.returncode, quiet.stderr) == (0, "")


@pytest.mark.usefixtures("_py_rattler_alone")
def test_quiet_is_quiet(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.needs_mount
@pytest.mark.usefixtures("_py_rattler_alone", "here")
def test_a_temporary_folder_from_which_no_program_starts(tmp_path: Path) -> None:
    """The control is every other run of it."""
    script = 'mount -t tmpfs -o noexec none "$0" && exec "$@"'
    wrapper = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(tmp_path))
    done = run_demo(tmp_path, "-q", wrapper=wrapper)
    assert done.returncode == 1
    assert done.stderr.startswith("error: hello: installed from the channel alone, it ended with ")
    assert done.stderr.endswith("\nhelp: TMPDIR=/a/folder/without/noexec pixi run demo\n")


def test_a_damaged_upstream_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A control."""
    shutil.copytree(UPSTREAM, tmp_path / "upstream")
    artifact = tmp_path / "upstream" / "data" / "noarch" / "words-2.0-0.tar.bz2"
    artifact.write_bytes(bytes(artifact.stat().st_size))
    monkeypatch.setattr(stage, "UPSTREAM", tmp_path / "upstream")
    report = demo(Console())
    assert (report.exit_code, [str(each) for each in report.problems]) == (
        ExitCode.FINDINGS,
        ["the demo's mirror: ended with exit code 1, for the reason it gave"],
    )
    captured = capfd.readouterr()
    assert "error: noarch/words-2.0-0.tar.bz2: sha256 differs from pixi.lock\n" in captured.err
    assert "demo: done" not in captured.out


def test_the_exit_code_is_that_of_the_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A control: whatever the mirror ends with, also under --json."""
    shutil.copytree(WORKSPACE, tmp_path / "workspace")
    (tmp_path / "workspace" / "pixi.lock").write_bytes(b"version: 99\n")
    monkeypatch.setattr("scripts.demo.stage.WORKSPACE", tmp_path / "workspace")
    report = demo(Console(json_wanted=True))
    assert (report.exit_code, [str(each) for each in report.problems]) == (
        ExitCode.USAGE,
        ["the demo's mirror: ended with exit code 2, for the reason it gave"],
    )
    (mirror,) = report.data.values()
    assert isinstance(mirror, dict)
    assert (mirror["task"], mirror["exit-code"], len(mirror["problems"])) == ("mirror", 2, 1)
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("_py_rattler_alone")
def test_a_machine_for_which_there_is_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patched, since the machine of a test is one of the five."""
    monkeypatch.setattr(
        "scripts.demo.stage.call_rattler",
        lambda function, *rest: (
            "linux-riscv64" if function == "current_platform" else call_rattler(function, *rest)
        ),
    )
    report = demo(Console())
    assert report.exit_code == ExitCode.OK
    assert report.lines[-2:] == (
        "demo: the program was not run, since it is not made for linux-riscv64",
        "demo: done, the channel was made and verified; nothing is left of it",
    )
