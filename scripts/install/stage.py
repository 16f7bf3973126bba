"""The level `install`: install what this machine can, from the channel alone. Acts.

Each environment goes into a fresh prefix outside the channel, with an empty cache: a warm one
would hide a missing artifact.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.scratch import scratch_folder
from scripts.install.arrived import Prefix, check_prefix
from scripts.install.attempt import Attempt, InstallResult, Programs, title
from scripts.install.blame import name_damage
from scripts.install.by_conda import find_conda, install_by_conda
from scripts.install.by_micromamba import find_micromamba, install_by_micromamba
from scripts.install.by_pixi import install_by_pixi
from scripts.install.by_pixi_offline import install_by_pixi_offline
from scripts.install.by_rattler import install_by_rattler, this_subdir
from scripts.install.hindrance import hindrance_of
from scripts.install.plan_install import Installation, plan_installs
from scripts.lock.select import Selection
from scripts.manifest.workspace import Workspace
from scripts.proof.alone import seclusion
from scripts.proof.findings import Client
from scripts.proof.stopwatch import Stopwatch
from scripts.renew.pixi import find_pixi


def find_programs(wanted: Sequence[Client] | None, environ: Mapping[str, str]) -> Programs:
    """Find the programs: of those wanted each, else py-rattler and what else is there.

    Raises the error of exit code 4 for one that is wanted and is not there.
    """
    paths = []
    for client in Client if wanted is None else wanted:
        path = _find(client, environ)
        if path is not None:
            paths.append((client, path))
        elif wanted is not None:
            raise _not_there(client)
    return Programs(paths=tuple(paths))


def _find(client: Client, environ: Mapping[str, str]) -> Path | None:
    match client:
        case Client.RATTLER:
            return Path(sys.executable)
        case Client.PIXI | Client.PIXI_OFFLINE:
            return find_pixi(environ)
        case Client.CONDA:
            return find_conda(environ)
        case Client.MICROMAMBA:
            return find_micromamba(environ)


def _not_there(client: Client) -> MirrorError:
    return MirrorError(
        Problem(
            subject=Client.PIXI if client is Client.PIXI_OFFLINE else client.value,
            trouble=f"this program is not on PATH, and --client {client} asks for it",
            code=ExitCode.PROGRAM,
            help="pixi run verify --client rattler",
        )
    )


def check_install(
    workspace: Workspace, selection: Selection, programs: Programs, console: Console
) -> InstallResult:
    """Install every environment of this machine's platform with every program."""
    subdir = this_subdir()
    attempts = []
    for installation in plan_installs(selection, workspace.manifest, subdir):
        for client, program in programs.paths:
            console.note(f"verify: installing {installation.place} with {client.program}")
            watch = Stopwatch()
            attempt = _try(workspace, installation, client, program)
            attempts.append(dataclasses.replace(attempt, seconds=watch.lap()))
    return InstallResult(subdir=subdir, seclusion=seclusion().sentence, attempts=tuple(attempts))


def _try(
    workspace: Workspace, installation: Installation, client: Client, program: Path
) -> Attempt:
    """Install one environment with one program, and look at what arrived."""
    hindrance = hindrance_of(installation, client, workspace.place.folder)
    if hindrance is not None:
        return Attempt(installation=installation, client=client, hindrance=hindrance)
    folder, artifacts = workspace.place.folder, installation.artifacts
    with scratch_folder() as scratch:
        match client:
            case Client.RATTLER:
                done = install_by_rattler(installation, folder, scratch)
            case Client.PIXI:
                done = install_by_pixi(program, workspace, installation, scratch)
            case Client.PIXI_OFFLINE:
                done = install_by_pixi_offline(program, installation, folder, scratch)
            case Client.CONDA:
                done = install_by_conda(program, installation, folder, scratch)
            case Client.MICROMAMBA:
                done = install_by_micromamba(program, installation, folder, scratch)
        prefix, problems = done
        if problems:
            problems = tuple(name_damage(each, folder, artifacts) for each in problems)
        else:
            named = title(installation, client)
            installed = Prefix(folder=prefix, subdir=installation.subdir, title=named)
            problems = check_prefix(installed, folder, artifacts)
    return Attempt(installation=installation, client=client, problems=problems)
