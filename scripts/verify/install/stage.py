"""The level `install`: install what this machine can, from the channel alone.

Each environment goes into a fresh prefix outside the channel, with an empty cache: a warm one
would hide a missing artifact.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.program import ask_version
from scripts.core.scratch import scratch_folder
from scripts.lock.select import Selection
from scripts.verify.findings import Client
from scripts.verify.install.arrived import Prefix, check_prefix
from scripts.verify.install.attempt import Attempt, InstallResult, Programs, title
from scripts.verify.install.blame import name_damage
from scripts.verify.install.by_conda import find_conda, install_by_conda
from scripts.verify.install.by_micromamba import find_micromamba, install_by_micromamba
from scripts.verify.install.by_pixi import install_by_pixi
from scripts.verify.install.by_pixi_offline import install_by_pixi_offline
from scripts.verify.install.by_rattler import install_by_rattler, this_subdir
from scripts.verify.install.conda_command import fails_for_pip, pip_warning
from scripts.verify.install.hindrance import hindrance_of
from scripts.verify.install.plan_install import Installation, plan_installs
from scripts.verify.install.room import free_room, is_for_want_of_room, no_room
from scripts.verify.install.sandbox import alone_environment, seclusion
from scripts.verify.stopwatch import Stopwatch
from scripts.workspace.pixi import find_pixi
from scripts.workspace.workspace import Workspace


def find_programs(wanted: Sequence[Client] | None, environ: Mapping[str, str]) -> Programs:
    """Find the programs: of those wanted each, else py-rattler and what else is there.

    Each is asked for its version. Raises the error of exit code 4 for one that is wanted and is
    not there.
    """
    paths: list[tuple[Client, Path]] = []
    broken: list[tuple[Client, Problem]] = []
    for client in Client if wanted is None else wanted:
        try:
            path = _find(client, environ)
        except MirrorError as error:
            broken.append((client, error.problems[0]))
            continue
        if path is not None:
            paths.append((client, path))
        elif wanted is not None:
            raise _not_there(client)
    others = ",".join(client for client, _ in paths) or Client.RATTLER
    help_ = f"install it anew, or leave it out: pixi run verify --client {others}"
    return Programs(
        paths=tuple(paths),
        broken=tuple((client, dataclasses.replace(each, help=help_)) for client, each in broken),
    )


def _find(client: Client, environ: Mapping[str, str]) -> Path | None:
    match client:
        case Client.RATTLER:
            return Path(sys.executable)
        case Client.PIXI | Client.PIXI_OFFLINE:
            return find_pixi(environ)
        case Client.CONDA:
            return _started(find_conda(environ))
        case Client.MICROMAMBA:
            return _started(find_micromamba(environ))


def _started(program: Path | None) -> Path | None:
    """Ask for its version in nobody's home; raises the error of exit code 4 if there is none."""
    if program is not None:
        home = Path(tempfile.gettempdir(), "pixi-mirror-nobody")
        ask_version(program, alone_environment(home, {}), seclusion().command)
    return program


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
        attempts += [_stopped(installation, client, each) for client, each in programs.broken]
    of_machine = [problem for _, problem in programs.broken]
    of_machine += [problem for each in attempts for problem in each.of_machine]
    return InstallResult(
        subdir=subdir,
        seclusion=seclusion().sentence,
        attempts=tuple(attempts),
        of_machine=tuple(dict.fromkeys(of_machine)),
    )


def _stopped(installation: Installation, client: Client, problem: Problem) -> Attempt:
    """Say that the machine, not the channel, is to blame."""
    return Attempt(
        installation=installation,
        client=client,
        of_machine=(problem,),
        hindrance=f"{problem.subject}: {problem.trouble}",
    )


def _try(
    workspace: Workspace, installation: Installation, client: Client, program: Path
) -> Attempt:
    """Install one environment with one program; see to whom a failure is due."""
    hindrance = hindrance_of(installation, client, workspace.place.folder)
    if hindrance is not None:
        return Attempt(installation=installation, client=client, hindrance=hindrance)
    temporary = Path(tempfile.gettempdir())
    free = free_room(temporary)
    attempt = Attempt(installation=installation, client=client)
    try:
        attempt = _install(workspace, installation, client, program)
        problems = attempt.problems
    except MirrorError as error:
        problems = error.problems
        if not is_for_want_of_room(problems):
            raise
    except OSError as error:
        problems = usage_error(str(temporary), str(error)).problems
        if not is_for_want_of_room(problems):
            raise
    if is_for_want_of_room(problems):
        full = no_room(installation, workspace.place.folder, temporary, free)
        return _stopped(installation, client, full)
    broken = next((each for each in problems if each.code is ExitCode.PROGRAM), None)
    return attempt if broken is None else _stopped(installation, client, broken)


def _install(
    workspace: Workspace, installation: Installation, client: Client, program: Path
) -> Attempt:
    """Install one environment with one program, and look at what arrived."""
    folder, artifacts = workspace.place.folder, installation.artifacts
    warning = None
    with scratch_folder() as scratch:
        match client:
            case Client.RATTLER:
                done = install_by_rattler(installation, folder, scratch)
            case Client.PIXI:
                done = install_by_pixi(program, workspace, installation, scratch)
            case Client.PIXI_OFFLINE:
                done = install_by_pixi_offline(program, installation, folder, scratch)
            case Client.CONDA | Client.MICROMAMBA:
                done, warning = _as_documented(client, program, installation, folder, scratch)
        prefix, problems = done
        if not problems:
            named = title(installation, client)
            installed = Prefix(folder=prefix, subdir=installation.subdir, title=named)
            problems = check_prefix(installed, folder, artifacts)
        elif problems[0].code is ExitCode.NO and not is_for_want_of_room(problems):
            problems = tuple(name_damage(each, folder, artifacts) for each in problems)
    return Attempt(installation=installation, client=client, problems=problems, warning=warning)


def _as_documented(
    client: Client, program: Path, installation: Installation, folder: Path, scratch: Path
) -> tuple[tuple[Path, tuple[Problem, ...]], str | None]:
    """Run the documented command; only where it fails for pip alone, run it with the setting.

    Returns what came of it, and the warning that consumers need the setting, too.
    """
    install = install_by_conda if client is Client.CONDA else install_by_micromamba
    done = install(program, installation, folder, scratch / "documented", without_pip=False)
    if not fails_for_pip(installation, done[1]):
        return done, None
    again = install(program, installation, folder, scratch / "without-pip", without_pip=True)
    return again, None if again[1] else pip_warning(installation, client)
