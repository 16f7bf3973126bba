"""The level `install`: install what this machine can, from the channel alone.

Each environment goes into a fresh prefix outside the channel, with an empty cache: a warm one
would hide a missing artifact.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import itertools
import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Final

from scripts.channel.folders import free_bytes
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import Layout
from scripts.core.child_process import ask_version, program_error
from scripts.core.console import Console
from scripts.core.errors import ExitCode, MirrorError, Problem, first_details, usage_problem
from scripts.core.rattler_child import this_subdir
from scripts.core.redact import printable
from scripts.core.report import Line, human_size
from scripts.core.scratch import scratch_folder
from scripts.index.file_classes import ChannelFiles
from scripts.index.pypi_pages import INDEX, PAGE
from scripts.lock.mirrored import workspace_of
from scripts.lock.select import Selection
from scripts.verify.files import check_files
from scripts.verify.findings import (
    FOR_PYPI,
    Client,
    EnvironmentPlatform,
    Level,
    LevelResult,
    UsageIndex,
    level_result,
    places_of,
    said_of,
)
from scripts.verify.install.clients import (
    find_program,
    install_with,
    skip_reason,
)
from scripts.verify.install.plan import InstallJob, not_built, plan_installs
from scripts.verify.install.prefix import check_prefix, folders_of
from scripts.verify.install.sandbox import (
    DISK_FULL,
    MACHINE_TROUBLE,
    is_noexec,
    sandbox,
    sandbox_environment,
)
from scripts.verify.proofs import Proofs
from scripts.verify.pypi_builds import find_unbuildable
from scripts.verify.python_platform import UV_TOO_OLD
from scripts.workspace.workspace import Workspace

_ALONE: Final = "pixi run verify --client rattler"
_LEAVE_OUT: Final = f"install it anew, or leave it out: {_ALONE}"
_SHOWN: Final = 5  # damaged artifacts that one problem names
_ANY: Final = EnvironmentPlatform("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What installs; py-rattler is none, but this Python."""

    path: Path
    version_output: str
    """What it printed when it was asked for its version."""

    @property
    def version(self) -> str | None:
        """Its version; None: it tells none."""
        found = re.search(r"[0-9]+(?:\.\w+)+", self.version_output)
        return found and found[0]


Programs = Mapping[Client, Program | Problem | str]
"""What installs here: each client and its program, what is wrong with it, or why it is not used."""

_Alike = tuple[Client, str, InstallJob]
# What sdists are built with and the mirror lacks, of builds in isolation and of pixi's.
_Lacking = defaultdict[tuple[bool | None, EnvironmentPlatform], set[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallAttempt:
    """One environment, one program; what arrived is looked at too."""

    job: InstallJob
    client: Client
    problems: tuple[Problem, ...] = ()
    """What went wrong; of what the channel did not cause, `skip_reason` tells in short."""
    skip_reason: str | None = None
    """Why it could not even be tried, or not to the end."""
    warning: str | None = None
    """What a consumer has to do beside the documented command."""
    proven: datetime | None = None
    """When an earlier run installed it; None: it was this one."""
    seconds: float = 0.0
    version: str | None = None
    """The program's; None: it tells none, or is not there."""

    @property
    def is_conda_only(self) -> bool:
        """Tell whether there are mirrored PyPI packages, which this client does not install."""
        return bool(self.job.pypi) and self.client not in {Client.PIXI, *FOR_PYPI}


def find_programs(
    wanted: Sequence[Client] | None, environ: Mapping[str, str], *, with_pypi: bool = False
) -> Programs:
    """Find the programs: of those wanted each, else py-rattler and what else is there.

    Each is asked for its version; uv and pip, where nobody wants them by name, only with PyPI
    packages: it is said if they are not there, or do not start. Raises the error of exit code 4
    for one that is wanted and is not there.
    """
    found: dict[Client, Program | Problem | str] = {}
    clients = [each for each in Client if with_pypi or each not in FOR_PYPI]
    for client in clients if wanted is None else wanted:
        is_extra = wanted is None and client in FOR_PYPI
        try:
            program = _find(client, environ)
        except MirrorError as error:
            problem = dataclasses.replace(error.problems[0], help=_LEAVE_OUT)
            found[client] = problem.message if is_extra else problem
            continue
        if program is not None:
            found[client] = program
        elif is_extra:
            found[client] = "this program is not on PATH"
        elif wanted is not None:
            subject = Client.PIXI if client is Client.PIXI_OFFLINE else client.value
            message = f"this program is not on PATH, and --client {client} asks for it"
            raise program_error(subject, message, help=_ALONE)
    return found


def _find(client: Client, environ: Mapping[str, str]) -> Program | None:
    """Return the program; raises the error of exit code 4 where it does not start."""
    path = find_program(client, environ)
    if path is None:
        return None
    if path == Path(sys.executable):
        module = "py-rattler" if client is Client.RATTLER else client.value
        return Program(path=path, version_output=importlib.metadata.version(module))
    with scratch_folder() as home:
        output = ask_version(path, sandbox_environment(home, {}), sandbox().command)
    return Program(path=path, version_output=output)


def check_install(
    workspace: Workspace,
    selection: Selection,
    programs: Programs,
    console: Console,
    account: ChannelFiles,
    *,
    proofs: Proofs,
) -> LevelResult:
    """Install every environment of this machine's platform with every program.

    What differs in nothing that a program is told of is installed once for all. `account` is what
    there is to build sdists with.
    """
    workspaces = {label: workspace_of(lock, workspace) for label, lock in selection.labelled}
    lacking = _find_lacking(workspace, selection, account)
    planned = list(_plan(workspace, selection, programs, workspaces, lacking, proofs=proofs))
    total = len({alike for _, program, _, alike in planned if program is not None})
    attempts: list[InstallAttempt] = []
    done: dict[_Alike, InstallAttempt] = {}
    with _counting(console, total) as installing:
        for attempt, program, key, alike in planned:
            if program is None:
                attempts.append(attempt)
                continue
            place, client = attempt.job.place, attempt.client
            if known := done.get(alike):
                attempts.append(dataclasses.replace(known, job=attempt.job, seconds=0.0))
            else:
                installing(f"{place} with {client.program}")
                start = perf_counter()
                tried = _try(workspaces[place.lock], attempt, program.path)
                done[alike] = dataclasses.replace(tried, seconds=perf_counter() - start)
                attempts.append(done[alike])
            if not attempts[-1].problems and attempts[-1].skip_reason is None:
                proofs.add(key, attempts[-1].warning)
    found: list[tuple[Problem, tuple[EnvironmentPlatform, ...]]] = []
    found += ((each, ()) for each in programs.values() if isinstance(each, Problem))
    found += ((problem, (each.job.place,)) for each in attempts for problem in each.problems)
    left_out = tuple(_not_installed(selection, attempts))
    return dataclasses.replace(
        level_result(Level.INSTALL, found),
        attempts=tuple(attempts),
        lines=tuple(_lines(attempts, left_out)),
        caveats=tuple(f"install: was not done for {place}; {reason}" for place, reason in left_out),
        data={"installed-for": this_subdir(), "sandbox": sandbox().description},
    )


def _lines(
    attempts: Sequence[InstallAttempt], left_out: Sequence[tuple[EnvironmentPlatform, str]]
) -> Iterator[Line]:
    """Say how it was installed, and what was `left_out`, and why."""
    tried = [each for each in attempts if each.skip_reason is None]
    if tried:
        yield f"installed {sandbox().description}, from file:// or loopback, into an empty cache"
    # an empty override hides what this machine has
    machines = (
        (each.job.place, " ".join(f"{name}={value}" for name, value in each.job.overrides if value))
        for each in tried
    )
    yield tuple(said_of("installed", ((place, said) for place, said in machines if said), " with "))
    wheels = (
        (x.job.place, f"its wheels alone{not_built(x.job)}") for x in tried if x.job.wheels_only
    )
    yield tuple(said_of("installed of", wheels, ": "))
    yield tuple(f"warning: {each.warning}" for each in attempts if each.warning)
    for program in dict.fromkeys(each.client.program for each in attempts):
        skipped = (
            (each.job.place, each.skip_reason)
            for each in attempts
            if each.client.program == program and each.skip_reason is not None
        )
        yield tuple(said_of(f"not installed by {program}:", skipped, "; "))
    yield tuple(said_of("not installed:", left_out, "; "))


def _not_installed(
    selection: Selection, attempts: Sequence[InstallAttempt]
) -> Iterator[tuple[EnvironmentPlatform, str]]:
    """Yield what nothing was installed for, and why, unless a program of its own says that."""
    here, tried = this_subdir(), {each.job.place for each in attempts}
    done = {each.job.place for each in attempts if each.skip_reason is None}
    for lock, place, _, rows in places_of(selection):
        is_for_here = rows.platform.subdir == here
        if not is_for_here and place not in done:
            yield place, f"this machine is {here}"
        elif is_for_here and (reason := lock.why_alone):  # nobody says what of it is wanted
            yield place, reason
        elif place not in tried:
            yield place, "nothing in it is for the clients of this run"


def _find_lacking(workspace: Workspace, selection: Selection, account: ChannelFiles) -> _Lacking:
    lacking: _Lacking = defaultdict(set)
    for is_isolated, name, _, place in find_unbuildable(workspace, selection, account):
        lacking[is_isolated, place].add(name)
    return lacking


@contextlib.contextmanager
def _counting(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Say what is being installed: on a terminal also which of how many, and for how long."""
    if not console.is_terminal or not total:
        yield lambda what: console.note(f"verify: installing {what}")
        return
    import rich.console
    import rich.progress

    columns = (
        rich.progress.TextColumn("verify: installing {task.description}", markup=False),
        rich.progress.TimeElapsedColumn(),
    )
    terminal, numbers = rich.console.Console(stderr=True), itertools.count(1)
    with rich.progress.Progress(*columns, console=terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what: bar.update(
            task, description=f"{next(numbers)} of {total}: {printable(what)}"
        )


def _plan(
    workspace: Workspace,
    selection: Selection,
    programs: Programs,
    workspaces: Mapping[str, Workspace],
    lacking: _Lacking,
    *,
    proofs: Proofs,
) -> Iterator[tuple[InstallAttempt, Program | None, str | None, _Alike]]:
    """Yield each attempt with the program that is still to make it, or how it stands without one.

    Beside it the key of its proof, and what is alike where nothing else differs.
    """
    for job in plan_installs(selection, this_subdir()):
        alike = dataclasses.replace(job, place=_ANY, asked=(), requirements=())
        of_job = proofs.key(Level.INSTALL, _dependencies(workspace, job, proofs))
        for client, program in programs.items():
            if not _is_for(job, client):
                continue
            version = program.version if isinstance(program, Program) else None
            attempt, to_do = InstallAttempt(job=job, client=client, version=version), None
            key = proofs.key(Level.INSTALL, (of_job, client, program, sandbox().description))
            if isinstance(program, Problem):
                attempt = _stopped(attempt, program)
            elif isinstance(program, str):
                attempt = dataclasses.replace(attempt, skip_reason=program)
            elif proof := proofs.get(key):
                attempt = dataclasses.replace(attempt, proven=proof.when, warning=proof.warning)
            else:
                own, lacks = workspaces[job.place.lock], lacking[client in FOR_PYPI, job.place]
                reason = skip_reason(job, client, own.place.folder, own.root)
                builds = client in {Client.PIXI, *FOR_PYPI} and not job.wheels_only
                if reason is None and lacks and builds:
                    names = ", ".join(sorted(lacks))
                    reason = f"its sdists are built with what {client} does not find: {names}"
                attempt = dataclasses.replace(attempt, skip_reason=reason)
                to_do = program if reason is None else None
            yield attempt, to_do, key, (client, job.place.lock, alike)


def _is_for(job: InstallJob, client: Client) -> bool:
    """Tell whether a client has to do with such a job."""
    if job.wheels_only:
        return client is Client.UV
    return bool(job.pypi) or client not in FOR_PYPI


def _dependencies(workspace: Workspace, job: InstallJob, proofs: Proofs) -> Iterator[object]:
    """Yield what the proof of a job depends on, whoever installs it."""
    folder, pypi = workspace.place.folder, job.builders or job.pypi
    yield dataclasses.replace(job, place=_ANY)
    yield folder
    yield proofs.artifact_keys(Level.INSTALL, folder, (*job.artifacts, *pypi))
    yield [proofs.row(folder, each.path) for each in job.artifacts]
    yield proofs.digests(folder, {INDEX / each.name / PAGE for each in pypi})


def _stopped(attempt: InstallAttempt, problem: Problem) -> InstallAttempt:
    """Say that the machine, not the channel, is to blame."""
    reason = f"{problem.subject}: {problem.message}"
    return dataclasses.replace(attempt, problems=(problem,), skip_reason=reason)


def _try(workspace: Workspace, attempt: InstallAttempt, program: Path) -> InstallAttempt:
    """Install one environment with one program; see to whom a failure is due."""
    job, client = attempt.job, attempt.client
    folder, temporary = workspace.place.folder, Path(tempfile.gettempdir())
    free, packed = free_bytes(temporary), sum(x.size or 0 for x in (*job.artifacts, *job.pypi))
    no_room = _no_room(job, temporary, free, packed)
    if free < packed:
        return _stopped(attempt, no_room)
    try:
        with scratch_folder() as scratch:
            prefix, problems, warning = install_with(client, program, workspace, job, scratch)
            if any(DISK_FULL.search(str(each)) for each in problems):
                return _stopped(attempt, no_room)
            if client is Client.UV and any(UV_TOO_OLD.search(str(each)) for each in problems):
                return dataclasses.replace(attempt, skip_reason="this uv is too old for it")
            if not problems:
                title, brought = f"{job.place}, installed by {client.program}", _brought(attempt)
                problems = check_prefix(prefix, folders_of(job), title, folder, brought)
            elif problems[0].code is ExitCode.FINDINGS:
                problems = _find_cause(problems[0], client, folder, job)
    except (MirrorError, OSError) as error:
        if not DISK_FULL.search(str(error)):
            raise
        return _stopped(attempt, no_room)
    blameless = next((each for each in problems if each.code is not ExitCode.FINDINGS), None)
    if blameless is not None:
        return _stopped(attempt, blameless)
    return dataclasses.replace(attempt, problems=problems, warning=warning)


def _brought(attempt: InstallAttempt) -> tuple[Artifact, ...]:
    """Return what a client was to install."""
    conda = () if attempt.client in FOR_PYPI else attempt.job.artifacts
    return conda if attempt.is_conda_only else (*conda, *attempt.job.pypi_files)


def _find_cause(
    problem: Problem, client: Client, folder: Path, job: InstallJob
) -> tuple[Problem, ...]:
    """Tell this machine's trouble from a refusal, and name the damaged artifacts in that.

    conda says `EOF` of a damaged one, and no more.
    """
    artifacts = (*job.artifacts, *job.pypi)
    nobody = UsageIndex(Selection(layout=Layout.FLAT))
    files = check_files(folder, artifacts, nobody, allow_unhashed=True)
    if files.environment_problems:
        return files.environment_problems
    is_denied = "Permission denied" in str(problem) and is_noexec()
    if is_denied or MACHINE_TROUBLE.search(str(problem)):
        message = f"trouble of this machine kept {client.program} from installing it"
        help_ = "see to it, then pixi run verify --level install"
        if is_denied:  # pip and uv, and so pixi, run the Python that they install for
            help_ = "TMPDIR=/a/folder/without/noexec pixi run verify --level install"
        return (dataclasses.replace(problem, message=message, code=ExitCode.USAGE, help=help_),)
    # The level `files` names those that are not there, once for all clients.
    missing = {str(each.path) for each in artifacts if not os.path.lexists(folder / each.path)}
    damaged = [
        ("damaged", f"{each.subject}: {each.message}")
        for each in (finding.problem for finding in files.findings)
        if each.subject not in missing and each.subject.rpartition("/")[2] not in str(problem)
    ]
    details = (*problem.details, *first_details(damaged, _SHOWN))
    if not missing:
        return (dataclasses.replace(problem, details=details),)
    count = f"{len(missing)} of its {len(artifacts)} artifacts"
    details = (*details, ("missing", count))
    return (dataclasses.replace(problem, details=details, help="pixi run mirror"),)


def _no_room(job: InstallJob, temporary: Path, free: int, packed: int) -> Problem:
    """Say how many bytes were free, and how many the artifacts have before they are unpacked."""
    return usage_problem(
        temporary,
        f"this disk has no room to install {job.place}",
        ("needed", f"more than the {human_size(packed)} of its artifacts"),
        ("free", human_size(free)),
        help="TMPDIR=/a/folder/with/room pixi run verify",
    )
