"""Finding pixi, what it inherits, how its failures are told: with the real one and impostors."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from scripts.core.errors import ExitCode, MirrorError
from scripts.core.invocation import LAUNCHER_VARIABLE
from scripts.workspace.pixi import (
    find_pixi,
    is_run_by_pixi,
    need_pixi,
    pixi_environment,
    run_pixi,
)

posix_scripts = pytest.mark.skipif(os.name == "nt", reason="programs here are shell scripts")


def program(folder: Path, says: str, name: str = "pixi", code: int = 0) -> Path:
    """Write a program that prints its variables to `seen`, then what it is told to say."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "{says}" && exit 0\n'
        f'env > "{folder}/seen"\necho "$@" > "{folder}/arguments"\n'
        f"echo out; printf '{says}' >&2; exit {code}\n",
        encoding="utf-8",
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@posix_scripts
def test_the_pixi_that_runs_the_task_comes_first(tmp_path: Path) -> None:
    outer = program(tmp_path / "outer", "pixi 0.77.0")
    on_path = program(tmp_path / "path", "pixi 0.70.1")
    path = str(on_path.parent)
    assert find_pixi({"PIXI_EXE": str(outer), "PATH": path}) == outer
    for gone in ("gone", "x" * 300):  # the system does not even look at the longer one
        assert find_pixi({"PIXI_EXE": str(tmp_path / gone), "PATH": path}) == on_path
    assert find_pixi({"PATH": path}) == on_path


@posix_scripts
def test_a_program_that_only_shares_the_name_is_passed_over(tmp_path: Path) -> None:
    """PyPI has another `pixi`."""
    other = program(tmp_path / "other", "Pixi version 1.0")
    broken = tmp_path / "broken" / "pixi"
    broken.parent.mkdir()
    broken.write_text("#!/nowhere\n", encoding="utf-8")
    broken.chmod(0o755)
    real = program(tmp_path / "real", "pixi 0.77.0-rc.1")
    folders = [str(each.parent) for each in (other, broken, real)]
    assert find_pixi({"PATH": os.pathsep.join(folders)}) == real
    assert find_pixi({"PATH": folders[0]}) is None


def test_pixi_run_is_told_from_a_launcher_in_a_shell_of_pixi_s(tmp_path: Path) -> None:
    """Only the first has renewed the lock; the variables of activation are the same."""
    manifest = tmp_path / "pixi.toml"
    run = {"PIXI_PROJECT_MANIFEST": str(manifest)}
    assert is_run_by_pixi(run, manifest)
    assert not is_run_by_pixi(run, tmp_path / "other" / "pixi.toml")
    assert not is_run_by_pixi({}, manifest)
    for launcher in ("./run", "pixi mirror"):
        assert not is_run_by_pixi({**run, LAUNCHER_VARIABLE: launcher}, manifest)


def test_without_pixi_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MirrorError) as caught:
        need_pixi({"PATH": str(tmp_path)}, "lock")
    assert str(caught.value) == (
        "pixi: this program is not on PATH, and `lock` cannot do without it\n"
        "help: install pixi (https://pixi.sh), or run this on a machine that has it"
    )
    assert caught.value.problems[0].code is ExitCode.PROGRAM


@posix_scripts
def test_a_pixi_that_does_not_start_is_another_sentence(tmp_path: Path) -> None:
    """It is on PATH, and to install it is not what is missing."""
    other = program(tmp_path / "other", "Pixi version 1.0")
    broken = tmp_path / "broken" / "pixi"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'no libc' >&2\nexit 127\n", encoding="utf-8")
    broken.chmod(0o755)
    with pytest.raises(MirrorError) as caught:
        need_pixi({"PATH": f"{other.parent}{os.pathsep}{broken.parent}"}, "lock")
    assert str(caught.value) == (
        "pixi: this program does not start: `pixi --version` ended with exit code 127\n"
        f"  program  {broken}\n"
        "  said     no libc\n"
        "help: install pixi (https://pixi.sh), or run this on a machine that has it"
    )
    assert caught.value.problems[0].code is ExitCode.PROGRAM


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("pixi 0.77.0", True),
        ("pixi 0.77.0-rc.1", True),
        ("pixi, version 0.1.0", False),
        ("pixi", False),
        ("Usage: pixi 0.77.0", False),
        ("", False),
    ],
)
@posix_scripts
def test_the_version_line(tmp_path: Path, line: str, answer: bool) -> None:  # noqa: FBT001
    found = program(tmp_path / "path", line)
    assert find_pixi({"PATH": str(found.parent)}) == (found if answer else None)


def test_what_of_the_outer_pixi_is_inherited() -> None:
    outer = {
        "PIXI_PROJECT_MANIFEST": "/outer/pixi.toml",
        "PIXI_PROJECT_ROOT": "/outer",
        "PIXI_ENVIRONMENT_NAME": "tools",
        "PIXI_ENVIRONMENT_PLATFORMS": "linux-64",
        "PIXI_EXE": "/bin/pixi",
        "PIXI_PROMPT": "(x)",
        "PIXI_IN_SHELL": "1",
        "PIXI_FROZEN": "true",
        "PIXI_LOCKED": "true",
        "CONDA_PREFIX": "/outer/.pixi/envs/tools",
        "CONDA_DEFAULT_ENV": "x",
        "CONDA_SHLVL": "1",
        "_CONDA_SET_PROJ": "1",
        "FORCE_COLOR": "1",
    }
    kept = {
        "PATH": "/bin",
        "PIXI_HOME": "/home/me/.pixi",
        "PIXI_CACHE_DIR": "/cache",
        "PIXI_CACHE_REPODATA_DIR": "/cache/r",
        "PIXI_CONFIG_FILE": "/etc/pixi.toml",
        "PIXI_NO_CONFIG": "1",
        "PIXI_OFFLINE": "1",
        "PIXI_TLS_ROOT_CERTS": "system",
        "RATTLER_AUTH_FILE": "/auth.json",
        "CONDA_OVERRIDE_CUDA": "12",
        "HTTPS_PROXY": "http://proxy:1",
    }
    ours = {"NO_COLOR": "1", "PIXI_NO_WRAP": "1"}
    assert pixi_environment(outer | kept) == kept | ours


@posix_scripts
def test_the_failure_of_pixi_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(f"line {number} https://me:pw@x.org/t/TOK/c\\n\\n" for number in range(25))
    pixi = program(tmp_path / "bin", lines, code=3)
    monkeypatch.setenv("PIXI_ENVIRONMENT_NAME", "tools")
    monkeypatch.setenv("PIXI_CACHE_DIR", "/cache")
    manifest = tmp_path / "pixi.toml"
    with pytest.raises(MirrorError) as caught:
        run_pixi(pixi, ("update", "-e", "a", "--", "b"), manifest)
    head, *rest = str(caught.value).splitlines()
    assert head == "pixi update -e a -- b: failed with exit code 3"
    assert rest == [
        f"  said  line {number} https://********@x.org/t/********/c" for number in range(5, 25)
    ]
    assert caught.value.problems[0].code is ExitCode.PROGRAM
    arguments = (tmp_path / "bin" / "arguments").read_text(encoding="utf-8")
    assert arguments == f"--quiet update --manifest-path {manifest} -e a -- b\n"
    seen = (tmp_path / "bin" / "seen").read_text(encoding="utf-8").splitlines()
    assert "PIXI_CACHE_DIR=/cache" in seen
    assert not any(line.startswith("PIXI_ENVIRONMENT_NAME") for line in seen)


@posix_scripts
def test_what_pixi_prints_is_returned(tmp_path: Path) -> None:
    pixi = program(tmp_path / "bin", "")
    assert run_pixi(pixi, ("lock",), tmp_path / "pixi.toml") == "out\n"


@pytest.mark.needs_pixi
def test_the_real_pixi_is_found_and_speaks_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("PIXI_COLOR", "always")
    pixi = need_pixi(os.environ, "lock")
    manifest = tmp_path / "pixi.toml"
    manifest.write_text('[workspace]\nname = "x"\nchannels = []\n', encoding="utf-8")
    with pytest.raises(MirrorError) as caught:
        run_pixi(pixi, ("update", "--environment", "nosuch"), manifest)
    details = [text for _, text in caught.value.problems[0].details]
    assert details[-1].endswith("could not find an environment named nosuch")
    assert "\x1b" not in str(caught.value)


def test_this_interpreter_is_no_pixi(tmp_path: Path) -> None:
    """A file that cannot be run as it is asked to be is none."""
    assert find_pixi({"PIXI_EXE": sys.executable, "PATH": str(tmp_path)}) is None
