"""Install an environment by the command that the README documents, with conda or micromamba.

It names what the manifest asks for; beside that stand all locked packages, each with its version,
build and channel, since the channel may hold other answers, too.

conda takes its records from `repodata.json.zst` where a channel has one, from `file://` as well;
the other clients take them from `repodata.json`. That both say the same is the level `index`.
Offline, micromamba reads the index of a `file://` channel all the same (libmamba,
subdir_index.cpp: what is local is never taken from a cache).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from scripts.core.errors import Problem
from scripts.verify.findings import Client
from scripts.verify.install.attempt import failed
from scripts.verify.install.plan import InstallJob
from scripts.verify.install.sandbox import run_sandboxed, sandbox_environment

NAME: Final = "test-offline"

_PIP: Final = re.compile(r"\bpip\b")
# Those of conda's settings that would ask for more than the lock names, or for somebody else.
_CONDA_SETTINGS: Final = {
    "CONDA_CHANNEL_PRIORITY": "flexible",
    "CONDA_NOTIFY_OUTDATED_CONDA": "false",
    "CONDA_NUMBER_CHANNEL_NOTICES": "0",
    "CONDA_REGISTER_ENVS": "false",
    "CONDA_REPORT_ERRORS": "false",
    "CONDA_SHORTCUTS": "false",
}
_MAMBA_SETTINGS: Final = {"MAMBA_CHANNEL_PRIORITY": "flexible", "MAMBA_SHORTCUTS": "false"}
# What Python says when a library crashes while the interpreter ends.
_CRASHED: Final = b"Fatal Python error:"


def find_conda(environ: Mapping[str, str]) -> Path | None:
    """Return the conda program, else None; in a shell of its own it is a function, and here not."""
    return _find("conda", environ.get("CONDA_EXE"), environ)


def find_micromamba(environ: Mapping[str, str]) -> Path | None:
    """Return the program that its shell functions call, else the one on PATH, else None."""
    named = environ.get("MAMBA_EXE")  # mamba, the larger program, sets it too
    return _find(
        "micromamba", named if named and Path(named).stem == "micromamba" else None, environ
    )


def _find(name: str, named: str | None, environ: Mapping[str, str]) -> Path | None:
    if named and Path(named).is_file():
        return Path(named)
    found = shutil.which(name, path=environ.get("PATH", os.defpath))
    return None if found is None else Path(found)


def install_as_documented(
    client: Client, program: Path, job: InstallJob, folder: Path, scratch: Path
) -> tuple[Path, tuple[Problem, ...], str | None]:
    """Run the documented command; only where it fails for pip alone, run it with the setting.

    Returns the prefix, what went wrong, and the warning that consumers need the setting, too.
    """
    prefix, problems = _create(
        client, program, job, folder=folder, scratch=scratch / "documented", more={}
    )
    if not fails_for_pip(job, problems):
        return prefix, problems, None
    prefix_of = "CONDA" if client is Client.CONDA else "MAMBA"
    without_pip = {f"{prefix_of}_ADD_PIP_AS_PYTHON_DEPENDENCY": "false"}
    prefix, problems = _create(
        client, program, job, folder=folder, scratch=scratch / "without-pip", more=without_pip
    )
    return prefix, problems, None if problems else pip_warning(job, client)


def _create(
    client: Client,
    program: Path,
    job: InstallJob,
    *,
    folder: Path,
    scratch: Path,
    more: Mapping[str, str],
) -> tuple[Path, tuple[Problem, ...]]:
    """Create an environment below the new folder `scratch`; return it and what went wrong."""
    home, specs = scratch / "home", scratch / "wanted.txt"
    home.mkdir(parents=True)
    specs.write_text(render_specs(job, folder), encoding="utf-8")
    last = "--no-default-packages" if client is Client.CONDA else "--no-rc"
    command = [*create_command(program, job, folder, specs), last]
    variables = {**client_variables(client, job, scratch), **more}
    done = run_sandboxed(command, sandbox_environment(home, variables))
    prefix = scratch / "envs" / NAME
    if done.returncode == 0 or (_CRASHED in done.stderr and _is_whole(prefix, job)):
        return prefix, ()
    done.stderr = done.stderr.partition(_CRASHED)[0]
    return prefix, (failed(job, client, done),)


def client_variables(client: Client, job: InstallJob, scratch: Path) -> dict[str, str]:
    """Return the variables that make the environment's machine, and fresh folders for all."""
    fresh = {"CONDA_PKGS_DIRS": str(scratch / "cache")}
    if client is Client.CONDA:
        settings = _CONDA_SETTINGS
        fresh["CONDA_ENVS_DIRS"] = str(scratch / "envs")
        fresh["CONDARC"] = str(scratch / "home" / ".condarc")
    else:
        settings = _MAMBA_SETTINGS
        fresh["MAMBA_ROOT_PREFIX"] = str(scratch)
    return {**settings, **dict(job.overrides), **fresh}


def create_command(program: Path, job: InstallJob, folder: Path, specs: Path) -> Sequence[str]:
    """Return the command; `folder` is the channel folder, `specs` the file with the specs."""
    channels = [(folder / channel).as_uri() for channel in job.channels]
    return [
        *(str(program), "create", "-n", NAME),
        *(option for url in channels for option in ("-c", url)),
        *job.asked,
        *("--offline", "--override-channels"),
        *("--yes", "--quiet", "--file", str(specs)),
    ]


def render_specs(job: InstallJob, folder: Path) -> str:
    """Write the file of specs, one a line: no other build, of no other channel."""
    return "".join(f"{spec}\n" for spec in _specs(job, folder))


def _specs(job: InstallJob, folder: Path) -> Iterator[str]:
    several = len(job.channels) > 1
    for artifact in job.artifacts:
        record = artifact.conda_record
        channel = f"{(folder / artifact.channel).as_uri()}::" if several else ""
        yield f"{channel}{record.name}[version='=={record.version}',build='{record.build}']"


def _is_whole(prefix: Path, job: InstallJob) -> bool:
    """Tell whether everything was linked: conda's rattler may crash when the work is done."""
    records = prefix / "conda-meta"
    return all((records / f"{each.distribution}.json").is_file() for each in job.artifacts)


def fails_for_pip(job: InstallJob, problems: Iterable[Problem]) -> bool:
    """Tell whether there is a python and no pip, which is what the program complains of.

    conda and mamba require pip of every python: they add it to its record as they read it
    (conda/core/subdir_data.py), unless their setting `add_pip_as_python_dependency` says false.
    """
    names = {artifact.name for artifact in job.artifacts}
    lacks_pip = "python" in names and "pip" not in names
    return lacks_pip and any(_PIP.search(text) for each in problems for _, text in each.details)


def pip_warning(job: InstallJob, client: Client) -> str:
    """Say what a consumer has to do who has no such setting, and what spares him that."""
    return (
        f"{client} wants pip beside every python, and {job.place} has none: it installs"
        " only with add_pip_as_python_dependency: false (`pixi add pip`, then `pixi run mirror`)"
    )
