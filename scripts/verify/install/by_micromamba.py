"""Install an environment with the micromamba program, offline, from the channel alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from scripts.core.errors import Problem
from scripts.verify.findings import Client
from scripts.verify.install.attempt import failed
from scripts.verify.install.conda_command import NAME, create_command, wanted_text
from scripts.verify.install.plan_install import Installation
from scripts.verify.install.sandbox import alone_environment, run_alone


def find_micromamba(environ: Mapping[str, str]) -> Path | None:
    """Return the program that its shell functions call, else the one on PATH, else None."""
    named = environ.get("MAMBA_EXE")  # mamba, the larger program, sets it too
    if named and Path(named).stem == "micromamba" and Path(named).is_file():
        return Path(named)
    found = shutil.which("micromamba", path=environ.get("PATH", os.defpath))
    return None if found is None else Path(found)


def install_by_micromamba(
    micromamba: Path, installation: Installation, folder: Path, scratch: Path, *, without_pip: bool
) -> tuple[Path, tuple[Problem, ...]]:
    """Create an environment below the new folder `scratch`; return it and what went wrong.

    Offline, micromamba reads the index of a `file://` channel all the same (libmamba,
    subdir_index.cpp: what is local is never taken from a cache). `without_pip`: it is told not to
    add pip to every python.
    """
    home, wanted = scratch / "home", scratch / "wanted.txt"
    home.mkdir(parents=True)
    wanted.write_text(wanted_text(installation, folder), encoding="utf-8")
    command = create_command(micromamba, installation, folder, wanted)
    variables = micromamba_variables(installation, scratch)
    if without_pip:
        variables["MAMBA_ADD_PIP_AS_PYTHON_DEPENDENCY"] = "false"
    done = run_alone([*command, "--no-rc"], alone_environment(home, variables))
    prefix = scratch / "root" / "envs" / NAME
    if done.returncode == 0:
        return prefix, ()
    return prefix, (failed(installation, Client.MICROMAMBA, done),)


def micromamba_variables(installation: Installation, scratch: Path) -> dict[str, str]:
    """Return the variables that make the environment's machine, and fresh folders for all."""
    return {
        **dict(installation.overrides),
        "CONDA_PKGS_DIRS": str(scratch / "cache"),
        "MAMBA_ROOT_PREFIX": str(scratch / "root"),
        "MAMBA_CHANNEL_PRIORITY": "flexible",
        "MAMBA_SHORTCUTS": "false",
    }
