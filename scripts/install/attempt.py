"""What came of installing one environment with one program. Decides; does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.core.errors import ExitCode, Problem
from scripts.core.redact import printable, redact
from scripts.install.plan_install import Installation
from scripts.proof.findings import Client

_SHOWN = 20  # last lines of a program that a finding shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One environment, one program, and how long it took, what arrived looked at too.

    `hindrance` says why it could not even be tried.
    """

    installation: Installation
    client: Client
    problems: tuple[Problem, ...] = ()
    hindrance: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """What installs here: each client and its program; py-rattler is none, but this Python."""

    paths: tuple[tuple[Client, Path], ...]

    def clients(self) -> Iterator[Client]:
        """Yield what installs here."""
        return (client for client, _ in self.paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallResult:
    """What came of it: for which `subdir`, how secluded, every attempt."""

    subdir: str
    seclusion: str
    attempts: tuple[Attempt, ...]


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


def last_words(output: bytes, errors: bytes) -> tuple[tuple[str, str], ...]:
    """Make facts of what a program said of its failure: on stderr, if anything there."""
    return said((errors.strip() or output).decode("utf-8", "replace"))


def said(output: str) -> tuple[tuple[str, str], ...]:
    """Make facts of a program's last lines."""
    lines = dict.fromkeys(line.rstrip() for line in output.splitlines() if line.strip())
    return tuple(("said", redact(printable(line))) for line in [*lines][-_SHOWN:])


def title(installation: Installation, client: Client) -> str:
    """Name an installed prefix for people."""
    return f"{installation.place}, installed by {client.program}"
