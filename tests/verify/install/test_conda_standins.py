"""What conda and micromamba are told, by programs that stand in for them, and odd ways to end.

The stand-ins are here because micromamba is on few machines, and nobody can tell the real conda
when to crash.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from scripts.verify.findings import Client
from scripts.verify.install.clients import find_program
from scripts.verify.install.sandbox import sandbox
from tests.support.conda_standin import standin
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows
from tests.support.mirrors import CHANNEL
from tests.support.packages import TinyPackage
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
    scratch = Path(call.arguments[10]).parent
    assert call.arguments == [
        *("create", "-n", "test-offline", "-c", world.folder.as_uri(), "lib"),
        *("--offline", "--override-channels", "--yes"),
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
        "MAMBA_ROOT_PREFIX": str(scratch),
        "MAMBA_SHORTCUTS": "false",
    }
    assert not scratch.exists()
    assert call.is_alone or not sandbox().command


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
    assert find_program(Client.MICROMAMBA, nothing | {"MAMBA_EXE": str(mine)}) == mine
    assert (
        find_program(Client.MICROMAMBA, nothing | {"MAMBA_EXE": str(tmp_path / f"mamba{suffix}")})
        is None
    )
    assert find_program(Client.MICROMAMBA, nothing) is None


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
        monkeypatch.setattr("scripts.verify.install.clients._is_whole", lambda *_: False)
    assert world.verify(*INSTALL, "conda") == int(work == "not done")
    assert capsys.readouterr().err == (
        f"error: small/{here()}: conda cannot install it from the channel alone\n"
        "help: pixi run verify --level files,index\n"
        if work == "not done"
        else ""
    )


def _with_python(world: World) -> None:
    """Lock a python that is asked for, and no pip."""
    (world.mirror.root / "pixi.toml").write_text(
        f'[workspace]\nname = "w"\nchannels = ["conda-forge"]\nplatforms = ["{here()}"]\n\n'
        '[dependencies]\npython = "*"\n\n[environments]\nsmall = []\n',
        encoding="utf-8",
    )
    python = TinyPackage(name="python", version="3.13.0", subdir=here())
    row = LockRow(written=python.write(world.folder), channel=CHANNEL)
    world.lock(EnvironmentRows(name="small", platforms=(PlatformRows(name=here(), rows=(row,)),)))
    world.mirror.index()


@pytest.mark.parametrize("name", ["conda", "micromamba"])
def test_it_wants_pip_beside_python(
    name: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The documented command is run as it stands; what it takes to install is said everywhere."""
    _with_python(world)
    capsys.readouterr()
    program = standin(tmp_path / "bin", name, monkeypatch, "wanting pip")
    report = tmp_path / "report.md"
    assert world.loud(*INSTALL, name, "--report", str(report)) == 0
    unnamed = ", and where nobody asks for python by its name" if name == "micromamba" else ""
    warning = (
        f"{name} wants pip beside every python, and small/{here()} has none: it installs only with"
        f" add_pip_as_python_dependency: false{unnamed} (`pixi add pip`, then `pixi run mirror`)"
    )
    assert f"\nwarning: {warning}\n" in capsys.readouterr().out
    told = "\n".join(report.read_text(encoding="utf-8").splitlines()).replace("\\", "")
    assert f"- install by {name} as documented: {warning}" in told
    assert f"| small/{here()} | {name} | ✓ with a warning |" in told
    assert world.verify(*INSTALL, name, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["environments"]
    assert (row["install"][0]["installed"], row["install"][0]["warning"]) == (True, warning)
    prefix = "CONDA" if name == "conda" else "MAMBA"
    variable = f"{prefix}_ADD_PIP_AS_PYTHON_DEPENDENCY"
    assert program.call.variables[variable] == "false"
    # micromamba would add pip to a python that is named, whatever the setting says
    assert ("python" in program.call.arguments) == (name == "conda")


@pytest.mark.parametrize("ending", ["well", "refusing"])
def test_the_setting_is_tried_for_pip_alone(
    ending: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where it works without, and where it fails for something else."""
    _with_python(world)
    capsys.readouterr()
    program = standin(tmp_path / "bin", "conda", monkeypatch, ending)
    assert world.loud(*INSTALL, "conda") == int(ending == "refusing")
    assert "pip" not in "".join(capsys.readouterr())
    assert "CONDA_ADD_PIP_AS_PYTHON_DEPENDENCY" not in program.call.variables
    assert "--override-channels" in program.call.arguments


def test_it_wants_pip_and_fails_for_something_else_too(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Then what counts is the second failure."""
    _with_python(world)
    (artifact,) = (world.folder / here()).glob("python-*")
    artifact.unlink()
    capsys.readouterr()
    standin(tmp_path / "bin", "conda", monkeypatch, "wanting pip")
    assert world.loud(*INSTALL, "conda") == 1
    out, err = capsys.readouterr()
    assert "warning" not in out
    assert f"error: small/{here()}: conda cannot install it from the channel alone\n" in err
    assert "python-3.13.0-0" in err
    assert "nothing provides pip" not in err
