"""Install an environment with the conda program, offline, from the channel alone.

conda takes its records from `repodata.json.zst` where a channel has one, from `file://` as well;
the other clients take them from `repodata.json`. That both say the same is the level `index`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scripts.core.errors import Problem
from scripts.verify.findings import Client
from scripts.verify.install.attempt import failed
from scripts.verify.install.conda_command import NAME, create_command, wanted_text
from scripts.verify.install.plan_install import Installation
from scripts.verify.install.sandbox import alone_environment, run_alone

# Those of conda's settings that would ask for more than the lock names, or for somebody else.
_SETTINGS: Final = {
    "CONDA_CHANNEL_PRIORITY": "flexible",
    "CONDA_NOTIFY_OUTDATED_CONDA": "false",
    "CONDA_NUMBER_CHANNEL_NOTICES": "0",
    "CONDA_REGISTER_ENVS": "false",
    "CONDA_REPORT_ERRORS": "false",
    "CONDA_SHORTCUTS": "false",
}
# What Python says when a library crashes while the interpreter ends.
_CRASHED: Final = b"Fatal Python error:"


def find_conda(environ: Mapping[str, str]) -> Path | None:
    """Return the conda program, else None; in a shell of its own it is a function, and here not."""
    named = environ.get("CONDA_EXE")
    if named and Path(named).is_file():
        return Path(named)
    found = shutil.which("conda", path=environ.get("PATH", os.defpath))
    return None if found is None else Path(found)


def install_by_conda(
    conda: Path, installation: Installation, folder: Path, scratch: Path, *, without_pip: bool
) -> tuple[Path, tuple[Problem, ...]]:
    """Create an environment below the new folder `scratch`; return it and what went wrong.

    conda solves for exactly the locked packages, from the channel's own repodata. `without_pip`:
    it is told not to add pip to every python.
    """
    home, wanted = scratch / "home", scratch / "wanted.txt"
    home.mkdir(parents=True)
    wanted.write_text(wanted_text(installation, folder), encoding="utf-8")
    prefix = scratch / "envs" / NAME
    command = [*create_command(conda, installation, folder, wanted), "--no-default-packages"]
    variables = conda_variables(installation, scratch)
    if without_pip:
        variables["CONDA_ADD_PIP_AS_PYTHON_DEPENDENCY"] = "false"
    done = run_alone(command, alone_environment(home, variables))
    if done.returncode == 0 or (_CRASHED in done.stderr and _is_whole(prefix, installation)):
        return prefix, ()
    done.stderr = done.stderr.partition(_CRASHED)[0]
    return prefix, (failed(installation, Client.CONDA, done),)


def conda_variables(installation: Installation, scratch: Path) -> dict[str, str]:
    """Return the variables that make the environment's machine, and fresh folders for all."""
    return {
        **_SETTINGS,
        **dict(installation.overrides),
        "CONDA_PKGS_DIRS": str(scratch / "cache"),
        "CONDA_ENVS_DIRS": str(scratch / "envs"),
        "CONDARC": str(scratch / "home" / ".condarc"),
    }


def _is_whole(prefix: Path, installation: Installation) -> bool:
    """Tell whether everything was linked: its rattler may crash when the work is done."""
    records = prefix / "conda-meta"
    return all(
        (records / f"{artifact.distribution}.json").is_file() for artifact in installation.artifacts
    )
