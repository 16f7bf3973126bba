"""The level `install`: install what this machine can, from the channel alone. Acts.

Each environment goes into a fresh prefix outside the channel, with an empty cache: a warm one
would hide a missing artifact.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.lock.select import Selection
from scripts.manifest.workspace import Workspace
from scripts.renew.pixi import find_pixi
from scripts.verify.alone import seclusion
from scripts.verify.arrived import Prefix, check_prefix
from scripts.verify.attempt import Attempt, InstallResult, Programs, title
from scripts.verify.by_conda import find_conda, install_by_conda
from scripts.verify.by_pixi import install_by_pixi
from scripts.verify.by_rattler import install_by_rattler, this_subdir
from scripts.verify.findings import Client
from scripts.verify.pixi_mirrors import NoMirrorError, mirrors_for
from scripts.verify.plan_install import Installation, plan_installs
from scripts.verify.stopwatch import Stopwatch


def find_programs(wanted: Sequence[Client] | None, environ: Mapping[str, str]) -> Programs:
    """Find the programs: of those wanted each, else py-rattler and what else is there.

    Raises the error of exit code 4 for one that is wanted and is not there.
    """
    asked = tuple(Client) if wanted is None else tuple(wanted)
    pixi = find_pixi(environ) if Client.PIXI in asked else None
    conda = find_conda(environ) if Client.CONDA in asked else None
    if wanted is not None:
        for client, found in ((Client.PIXI, pixi), (Client.CONDA, conda)):
            if client in asked and found is None:
                raise _not_there(client)
    return Programs(rattler=Client.RATTLER in asked, pixi=pixi, conda=conda)


def _not_there(client: Client) -> MirrorError:
    return MirrorError(
        Problem(
            subject=client.value,
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
        for client in programs.clients():
            console.note(f"verify: installing {installation.place} with {client.program}")
            attempts.append(_try(workspace, installation, client, programs))
    return InstallResult(subdir=subdir, seclusion=seclusion().sentence, attempts=tuple(attempts))


def _try(
    workspace: Workspace, installation: Installation, client: Client, programs: Programs
) -> Attempt:
    """Install one environment with one program, and look at what arrived."""
    watch = Stopwatch()
    if client is Client.PIXI:
        try:
            mirrors_for(installation)
        except NoMirrorError as error:
            return Attempt(installation=installation, client=client, hindrance=str(error))
    with tempfile.TemporaryDirectory(prefix="pixi-mirror-", ignore_cleanup_errors=True) as name:
        scratch = Path(name).resolve()
        folder = workspace.place.folder
        if client is Client.PIXI and programs.pixi is not None:
            prefix, problems = install_by_pixi(programs.pixi, workspace, installation, scratch)
        elif client is Client.CONDA and programs.conda is not None:
            prefix, problems = install_by_conda(programs.conda, installation, folder, scratch)
        else:
            prefix, problems = install_by_rattler(installation, folder, scratch)
        if not problems:
            installed = Prefix(
                folder=prefix,
                subdir=installation.subdir,
                title=title(installation, client),
            )
            problems = check_prefix(installed, folder, installation.artifacts)
    return Attempt(
        installation=installation, client=client, problems=problems, seconds=watch.lap()
    )
