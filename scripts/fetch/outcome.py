"""How downloads ended, as problems and lines for people. Decides; does no I/O."""

from __future__ import annotations

from scripts.core.errors import ExitCode, Problem
from scripts.core.redact import redact
from scripts.core.report import human_size
from scripts.fetch.failure import DownloadError, Fault, UnreachedError, may_pass
from scripts.fetch.pool import Failed
from scripts.fetch.reason import plain
from scripts.lock.select import Artifact

_AGAIN = "pixi run fetch"
_UPDATE = "pixi run update-mirror"


def problem_of(failed: Failed) -> Problem:
    """Turn a failed download into what a person should read and do."""
    error, package = failed.error, failed.artifact.package
    facts: list[tuple[str, str]] = []
    if error.contrast is not None:
        facts += zip(("expected", "actual"), error.contrast, strict=True)
    facts.append(("from", redact(error.source or package.url)))
    code, help_line = _advice(error)
    return Problem(
        subject=str(failed.artifact.path),
        trouble=redact(plain(error.text)),
        code=code,
        facts=tuple(facts),
        help=help_line,
    )


# What the user can do about a fault decides the exit code.
_BY_FAULT = {
    Fault.CONTENT: (
        ExitCode.NO,
        f"nothing was kept; run `{_AGAIN}` again, or `{_UPDATE}` if the channel replaced the file",
    ),
    Fault.CONNECTION: (ExitCode.NETWORK, f"run `{_AGAIN}` again; it goes on where it stopped"),
    Fault.DISK: (ExitCode.USAGE, f"see to the disk, then run `{_AGAIN}` again"),
    Fault.REFUSED: (
        ExitCode.USAGE,
        "look at `[mirrors]`, `tls-root-certs` and the proxies: `pixi config list`",
    ),
}


def _advice(error: DownloadError) -> tuple[ExitCode, str]:
    """Choose exit code and help for a failed download."""
    status = error.status
    if isinstance(error, UnreachedError):
        return ExitCode.NETWORK, f"is there a network, or a proxy to set? then `{_AGAIN}` again"
    if error.fault is not Fault.STATUS or status is None:
        return _BY_FAULT[error.fault]
    if may_pass(error):
        return ExitCode.NETWORK, f"run `{_AGAIN}` again later; it goes on where it stopped"
    if status in {401, 403, 407}:
        return ExitCode.USAGE, "give credentials: `pixi auth login HOST --token TOKEN`, or netrc"
    if status in {404, 410}:
        return ExitCode.NO, f"the channel no longer has it; `{_UPDATE}` moves on"
    return ExitCode.USAGE, "look at the URL: is it the channel you meant?"


def replaced_line(artifact: Artifact, actual: str) -> str:
    """Say that a file in the channel was not the artifact, and is replaced."""
    digest = artifact.package.digest
    expected = digest.hex if digest and len(actual) == len(digest.hex) else artifact.package.size
    return f"{artifact.path}: is not what pixi.lock names, replaced ({actual}, not {expected})"


def closing_line(fetched: int, size: int, there: int) -> str:
    """Sum a run up in one line."""
    if fetched == 0:
        are = "artifact is" if there == 1 else "artifacts are"
        return f"fetch: nothing to do, {there} {are} there"
    noun = "artifact" if fetched == 1 else "artifacts"
    were = "was" if there == 1 else "were"
    return f"fetch: {fetched} {noun} fetched, {human_size(size)}; {there} {were} there already"
