"""What conda and micromamba are told, by programs that stand in for them, and odd ways to end.

The stand-ins are here because micromamba is on no registry of programs that a test may use, and
since nobody can tell the real conda when to crash.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.install.by_micromamba import find_micromamba
from scripts.proof.alone import seclusion
from tests.support.conda_standin import standin
from tests.support.verified import World, here, overrides

INSTALL = ("--level", "install", "-e", "small", "--client")


def test_micromamba_gets_the_documented_command(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = standin(tmp_path / "bin", "micromamba", monkeypatch)
    monkeypatch.setenv("MAMBA_ROOT_PREFIX", "the user's")
    monkeypatch.setenv("CONDA_OVERRIDE_GLIBC", "9")
    before = world.mirror.states()
    assert world.loud(*INSTALL, "micromamba") == 0
    marks = capsys.readouterr().out.splitlines()[0].split()
    assert marks == ["small", here(), "install", "✓", "(micromamba)"]
    assert world.mirror.states() == before
    call = program.call
    scratch = Path(call.arguments[11]).parent
    assert call.arguments == [
        *("create", "-n", "test-offline", "-c", world.folder.as_uri(), "lib"),
        *("--offline", "--override-channels", "--yes", "--quiet"),
        *("--file", str(scratch / "wanted.txt"), "--no-rc"),
    ]
    assert call.wanted == "lib[version='==1.0',build='0']\n"
    told = {
        name: text
        for name, text in call.variables.items()
        if name.startswith(("CONDA_", "MAMBA_")) or name in {"HOME", "XDG_CACHE_HOME"}
    }
    assert told == {
        **overrides(),
        "CONDA_PKGS_DIRS": str(scratch / "cache"),
        "HOME": str(scratch / "home"),
        "MAMBA_CHANNEL_PRIORITY": "flexible",
        "MAMBA_ROOT_PREFIX": str(scratch / "root"),
        "MAMBA_SHORTCUTS": "false",
    }
    assert not scratch.exists()
    assert call.is_alone or not seclusion().command


def test_micromamba_refuses(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    standin(tmp_path / "bin", "micromamba", monkeypatch, "refusing")
    assert world.verify(*INSTALL, "micromamba") == 1
    assert capsys.readouterr().err == (
        f"error: small/{here()}: micromamba cannot install it from the channel alone\n"
        "  said  error    libmamba Could not solve for environment specs\n"
        "help: pixi run verify --level files,index\n"
    )


def test_what_a_program_does_not_name_is_named(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    standin(tmp_path / "bin", "micromamba", monkeypatch, "refusing")
    (world.folder / "noarch" / "lib-1.0-0.tar.bz2").write_bytes(b"")
    assert world.verify(*INSTALL, "micromamba") == 1
    assert capsys.readouterr().err.splitlines()[2] == (
        "  damaged  noarch/lib-1.0-0.tar.bz2: size differs from pixi.lock"
    )


def test_micromamba_s_own_name_for_itself(tmp_path: Path) -> None:
    suffix = ".exe" if os.name == "nt" else ""
    for name in ("mamba", "micromamba"):
        (tmp_path / f"{name}{suffix}").write_bytes(b"")
    nothing = {"PATH": str(tmp_path / "none")}
    mine = tmp_path / f"micromamba{suffix}"
    assert find_micromamba(nothing | {"MAMBA_EXE": str(mine)}) == mine
    assert find_micromamba(nothing | {"MAMBA_EXE": str(tmp_path / f"mamba{suffix}")}) is None
    assert find_micromamba(nothing) is None


@pytest.mark.parametrize("work", ["done", "not done"])
def test_conda_crashes_when_its_work_is_done(
    work: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its solver's library may crash as the interpreter ends: what was installed is judged."""
    standin(tmp_path / "bin", "conda", monkeypatch, "crashing")
    if work == "not done":
        monkeypatch.setattr("scripts.install.by_conda._is_whole", lambda *_: False)
    assert world.verify(*INSTALL, "conda") == int(work == "not done")
    assert capsys.readouterr().err == (
        f"error: small/{here()}: conda cannot install it from the channel alone\n"
        "help: pixi run verify --level files,index\n"
        if work == "not done"
        else ""
    )
