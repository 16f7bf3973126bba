"""The level `install`: install what this machine can, from the channel alone.

Each environment goes into a fresh prefix outside the channel, with an empty cache: a warm one
would hide a missing artifact.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from scripts.channel.archive import read_info_files
from scripts.channel.prepare import free_bytes
from scripts.core.artifact import Artifact
from scripts.core.channel_url import CUT_BY_CONDA, is_cut_by_conda
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.program import ask_version
from scripts.core.report import human_size
from scripts.core.scratch import scratch_folder
from scripts.lock.select import Selection
from scripts.verify.files import check_files
from scripts.verify.findings import Client, UsageIndex
from scripts.verify.install.attempt import InstallAttempt, InstallResult
from scripts.verify.install.conda import find_conda, find_micromamba, install_as_documented
from scripts.verify.install.pixi import (
    NoMirrorError,
    install_by_pixi,
    install_by_pixi_offline,
    mirrors_for,
)
from scripts.verify.install.plan import InstallJob, plan_installs
from scripts.verify.install.prefix import PATHS, check_prefix, files_size
from scripts.verify.install.rattler import install_by_rattler, this_subdir
from scripts.verify.install.sandbox import sandbox, sandbox_environment
from scripts.workspace.pixi import find_pixi
from scripts.workspace.workspace import Workspace

# As the systems' C libraries say ENOSPC and EDQUOT, Windows says it, and conda does.
_DISK_FULL: Final = re.compile(
    r"No space left on device|Disk quota exceeded|not enough space on the disk|NoSpaceLeft"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """What installs here: each client and its program; py-rattler is none, but this Python.

    `broken` are the clients whose program does not start, and what is wrong with it.
    """

    paths: tuple[tuple[Client, Path], ...]
    broken: tuple[tuple[Client, Problem], ...] = ()


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
    """Return the program; raises the error of exit code 4 where it does not start."""
    if client is Client.RATTLER:
        return Path(sys.executable)
    if client in {Client.PIXI, Client.PIXI_OFFLINE}:
        return find_pixi(environ)
    program = find_conda(environ) if client is Client.CONDA else find_micromamba(environ)
    if program is not None:
        with scratch_folder() as home:
            ask_version(program, sandbox_environment(home, {}), sandbox().command)
    return program


def _not_there(client: Client) -> MirrorError:
    return MirrorError(
        Problem(
            subject=Client.PIXI if client is Client.PIXI_OFFLINE else client.value,
            message=f"this program is not on PATH, and --client {client} asks for it",
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
    for job in plan_installs(selection, workspace.manifest, subdir):
        for client, program in programs.paths:
            console.note(f"verify: installing {job.place} with {client.program}")
            start = perf_counter()
            attempt = _try(workspace, job, client, program)
            attempts.append(dataclasses.replace(attempt, seconds=perf_counter() - start))
        attempts += [_stopped(job, client, each) for client, each in programs.broken]
    problems = [problem for _, problem in programs.broken]
    problems += [problem for each in attempts for problem in each.environment_problems]
    return InstallResult(
        subdir=subdir,
        sandbox=sandbox().sentence,
        attempts=tuple(attempts),
        environment_problems=tuple(dict.fromkeys(problems)),
    )


def _stopped(job: InstallJob, client: Client, problem: Problem) -> InstallAttempt:
    """Say that the machine, not the channel, is to blame."""
    return InstallAttempt(
        job=job,
        client=client,
        environment_problems=(problem,),
        skip_reason=f"{problem.subject}: {problem.message}",
    )


def _try(workspace: Workspace, job: InstallJob, client: Client, program: Path) -> InstallAttempt:
    """Install one environment with one program; see to whom a failure is due."""
    reason = skip_reason(job, client, workspace.place.folder)
    if reason is not None:
        return InstallAttempt(job=job, client=client, skip_reason=reason)
    temporary = Path(tempfile.gettempdir())
    free = free_bytes(temporary)
    attempt = InstallAttempt(job=job, client=client)
    try:
        attempt = _install(workspace, job, client, program)
        problems = attempt.problems
    except MirrorError as error:
        problems = error.problems
        if not _is_disk_full(problems):
            raise
    except OSError as error:
        problems = usage_error(str(temporary), str(error)).problems
        if not _is_disk_full(problems):
            raise
    if _is_disk_full(problems):
        return _stopped(job, client, _no_room(job, workspace.place.folder, temporary, free))
    crashed = next((each for each in problems if each.code is ExitCode.PROGRAM), None)
    return attempt if crashed is None else _stopped(job, client, crashed)


def skip_reason(job: InstallJob, client: Client, folder: Path) -> str | None:
    """Say why an environment cannot even be tried, as a sentence's end; None: it can.

    py-rattler takes the mirror's records as they are. pixi asks for all that the lock names; the
    others solve, so all that the artifacts depend on must be there. `folder` is the channel folder.
    """
    if client is Client.PIXI:
        try:
            mirrors_for(job)
        except NoMirrorError as error:
            return str(error)
    elif client is not Client.RATTLER and job.missing_source_packages:
        names = ", ".join(job.missing_source_packages)
        return f"its packages depend on what is built from source: {names}"
    elif client is Client.CONDA:
        urls = [(folder / channel).as_uri() for channel in job.channels]
        if any(map(is_cut_by_conda, urls)):
            return f"the channel {CUT_BY_CONDA}"
    return None


def _install(
    workspace: Workspace, job: InstallJob, client: Client, program: Path
) -> InstallAttempt:
    """Install one environment with one program, and look at what arrived."""
    folder, warning = workspace.place.folder, None
    with scratch_folder() as scratch:
        match client:
            case Client.RATTLER:
                prefix, problems = install_by_rattler(job, folder, scratch)
            case Client.PIXI:
                prefix, problems = install_by_pixi(program, workspace, job, scratch)
            case Client.PIXI_OFFLINE:
                prefix, problems = install_by_pixi_offline(program, job, folder, scratch)
            case Client.CONDA | Client.MICROMAMBA:
                prefix, problems, warning = install_as_documented(
                    client, program, job, folder, scratch
                )
        if not problems:
            title = f"{job.place}, installed by {client.program}"
            problems = check_prefix(prefix, job.subdir, title, folder, job.artifacts)
        elif problems[0].code is ExitCode.FINDINGS and not _is_disk_full(problems):
            problems = tuple(_name_damage(each, folder, job.artifacts) for each in problems)
    return InstallAttempt(job=job, client=client, problems=problems, warning=warning)


def _name_damage(problem: Problem, folder: Path, artifacts: Sequence[Artifact]) -> Problem:
    """Add the damaged artifacts that are not named yet: conda says `EOF` and no more of one."""
    said = "\n".join(text for _, text in problem.details)
    files = check_files(folder, artifacts, UsageIndex(None), allow_unhashed=True)
    damaged = [finding.problem for finding in files.findings]
    details = tuple(
        ("damaged", f"{each.subject}: {each.message}")
        for each in damaged
        if each.subject.rpartition("/")[2] not in said
    )
    return dataclasses.replace(problem, details=(*problem.details, *details))


def _is_disk_full(problems: Iterable[Problem]) -> bool:
    """Tell whether a program, or Python, says that the disk is full."""
    return any(_DISK_FULL.search(str(problem)) for problem in problems)


def _no_room(job: InstallJob, folder: Path, temporary: Path, free: int) -> Problem:
    """Say how much room an environment takes; `free` bytes were there before it was tried."""
    needed = 0
    for artifact in job.artifacts:
        path = folder / artifact.path
        try:
            needed += path.stat().st_size
            needed += files_size(read_info_files(path, str(artifact.path), frozenset({PATHS})))
        except (OSError, MirrorError):
            continue  # a damaged one: what it would need nobody can say
    return Problem(
        subject=str(temporary),
        message=f"this disk has no room to install {job.place}",
        code=ExitCode.USAGE,
        details=(("needed", f"at least {human_size(needed)}"), ("free", human_size(free))),
        help="TMPDIR=/a/folder/with/room pixi run verify",
    )
