"""What came of installing one environment with one program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.core.errors import ExitCode, Problem
from scripts.core.program import Done, ended, is_broken_end
from scripts.core.redact import printable, redact
from scripts.verify.findings import Client
from scripts.verify.install.plan_install import Installation

_SHOWN = 20  # last lines of a program that a finding shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One environment, one program, and how long it took, what arrived looked at too.

    `hindrance` says why it could not even be tried, or not to the end: then `of_machine` are the
    problems behind that which the channel did not cause. `warning` says what a consumer has to do
    beside the documented command.
    """

    installation: Installation
    client: Client
    problems: tuple[Problem, ...] = ()
    of_machine: tuple[Problem, ...] = ()
    hindrance: str | None = None
    warning: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """What installs here: each client and its program; py-rattler is none, but this Python.

    `broken` are the clients whose program does not start, and what is wrong with it.
    """

    paths: tuple[tuple[Client, Path], ...]
    broken: tuple[tuple[Client, Problem], ...] = ()

    def clients(self) -> Iterator[Client]:
        """Yield what installs here."""
        return (client for client, _ in self.paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallResult:
    """What came of it: for which `subdir`, how secluded, every attempt.

    `of_machine` is what this machine is to blame for, each problem once.
    """

    subdir: str
    seclusion: str
    attempts: tuple[Attempt, ...]
    of_machine: tuple[Problem, ...] = ()


def failed(installation: Installation, client: Client, done: Done) -> Problem:
    """Make the problem of a program that ended otherwise than well: refused, or of exit code 4."""
    words = said((done.stderr.strip() or done.stdout).decode("utf-8", "replace"))
    if is_broken_end(done.returncode):
        return broke(installation, client, ended(done.returncode), words)
    return refused(installation, client, words)


def refused(
    installation: Installation, client: Client, facts: Iterable[tuple[str, str]]
) -> Problem:
    """Make the problem of a program that could not install an environment."""
    return Problem(
        subject=str(installation.place),
        trouble=f"{client.program} cannot install it from the channel alone",
        code=ExitCode.NO,
        facts=tuple(facts),
        help="pixi run verify --level files,index",
    )


def broke(
    installation: Installation, client: Client, how: str, facts: Iterable[tuple[str, str]]
) -> Problem:
    """Make the problem of a program that did not get so far as to say yes or no."""
    return Problem(
        subject=client.program,
        trouble=f"{how} while it installed {installation.place}",
        code=ExitCode.PROGRAM,
        facts=tuple(facts),
        help="see to this program, then pixi run verify --level install",
    )


def said(output: str) -> tuple[tuple[str, str], ...]:
    """Make facts of a program's last lines."""
    lines = dict.fromkeys(line.rstrip() for line in output.splitlines() if line.strip())
    return tuple(("said", redact(printable(line))) for line in [*lines][-_SHOWN:])


def title(installation: Installation, client: Client) -> str:
    """Name an installed prefix for people."""
    return f"{installation.place}, installed by {client.program}"
