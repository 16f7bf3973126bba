"""Install an environment with the conda program, offline, from the channel alone. Acts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.core.errors import Problem
from scripts.verify.alone import alone_environment, run_alone
from scripts.verify.attempt import last_words, refused
from scripts.verify.findings import Client
from scripts.verify.plan_install import Installation

# Those of conda's settings that would ask for more than the lock names, or for somebody else.
_SETTINGS = {
    "CONDA_ADD_PIP_AS_PYTHON_DEPENDENCY": "false",
    "CONDA_CHANNEL_PRIORITY": "flexible",
    "CONDA_NOTIFY_OUTDATED_CONDA": "false",
    "CONDA_NUMBER_CHANNEL_NOTICES": "0",
    "CONDA_REGISTER_ENVS": "false",
    "CONDA_REPORT_ERRORS": "false",
}


def find_conda(environ: Mapping[str, str]) -> Path | None:
    """Return the conda program, else None; in a shell of its own it is a function, and here not."""
    named = environ.get("CONDA_EXE")
    if named and Path(named).is_file():
        return Path(named)
    found = shutil.which("conda", path=environ.get("PATH", os.defpath))
    return None if found is None else Path(found)


def install_by_conda(
    conda: Path, installation: Installation, folder: Path, scratch: Path
) -> tuple[Path, tuple[Problem, ...]]:
    """Create a prefix below the empty folder `scratch`; return it and what went wrong.

    conda solves for exactly the locked packages, from the channel's own repodata.
    """
    prefix, home, wanted = scratch / "prefix", scratch / "home", scratch / "wanted.txt"
    home.mkdir()
    wanted.write_text("\n".join(_specs(installation, folder)) + "\n", encoding="utf-8")
    variables = {
        **_SETTINGS,
        **dict(installation.overrides),
        "CONDA_PKGS_DIRS": str(scratch / "cache"),
        "CONDA_ENVS_DIRS": str(scratch / "envs"),
        "CONDARC": str(home / ".condarc"),
    }
    channels = [(folder / channel).as_uri() for channel in installation.channels]
    command = [
        *(str(conda), "create", "--yes", "--quiet", "--offline"),
        *("--override-channels", "--no-default-packages"),
        *("--prefix", str(prefix), "--file", str(wanted)),
        *(option for url in channels for option in ("--channel", url)),
    ]
    done = run_alone(command, alone_environment(home, variables))
    if done.returncode == 0:
        return prefix, ()
    return prefix, (refused(installation, Client.CONDA, last_words(done.stdout, done.stderr)),)


def _specs(installation: Installation, folder: Path) -> Iterator[str]:
    """Yield a MatchSpec for each locked package: no other build, of no other channel."""
    several = len(installation.channels) > 1
    for artifact in installation.artifacts:
        package = artifact.package
        channel = f"{(folder / artifact.channel).as_uri()}::" if several else ""
        yield f"{channel}{package.name}={package.version}={package.build}"
