"""What came of installing one environment with one program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scripts.core.errors import ExitCode, Problem
from scripts.core.program import Done, describe_exit, is_crash, stderr_tail
from scripts.verify.findings import Client
from scripts.verify.install.plan import InstallJob


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallAttempt:
    """One environment, one program; what arrived is looked at too."""

    job: InstallJob
    client: Client
    problems: tuple[Problem, ...] = ()
    environment_problems: tuple[Problem, ...] = ()
    """What the channel did not cause: then `skip_reason` says so in short."""
    skip_reason: str | None = None
    """Why it could not even be tried, or not to the end."""
    warning: str | None = None
    """What a consumer has to do beside the documented command."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallResult:
    """What came of all attempts on this machine's `subdir`; `sandbox` says how they were kept in.

    `environment_problems` is what this machine is to blame for, each problem once.
    """

    subdir: str
    sandbox: str
    attempts: tuple[InstallAttempt, ...]
    environment_problems: tuple[Problem, ...] = ()


def failed(job: InstallJob, client: Client, done: Done) -> Problem:
    """Make the problem of a program that ended otherwise than well: refused, or of exit code 4."""
    details = stderr_tail(done.stderr.strip() or done.stdout)
    if is_crash(done.returncode):
        return client_crashed(job, client, describe_exit(done.returncode), details)
    return refused(job, client, details)


def refused(job: InstallJob, client: Client, details: Iterable[tuple[str, str]]) -> Problem:
    """Make the problem of a program that could not install an environment."""
    return Problem(
        subject=str(job.place),
        message=f"{client.program} cannot install it from the channel alone",
        code=ExitCode.FINDINGS,
        details=tuple(details),
        help="pixi run verify --level files,index",
    )


def client_crashed(
    job: InstallJob, client: Client, how: str, details: Iterable[tuple[str, str]]
) -> Problem:
    """Make the problem of a program that did not get so far as to say yes or no."""
    return Problem(
        subject=client.program,
        message=f"{how} while it installed {job.place}",
        code=ExitCode.PROGRAM,
        details=tuple(details),
        help="see to this program, then pixi run verify --level install",
    )
