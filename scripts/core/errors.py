"""Errors as values a person can act on, and the exit codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import PurePath

from scripts.core.redact import is_utf8, printable


class ExitCode(IntEnum):
    """What a task's exit code tells its caller."""

    OK = 0
    """Done, or nothing to do."""
    FINDINGS = 1
    """It ran and the answer is no: findings, a failed proof, a sha256 that differs."""
    USAGE = 2
    """The user must change something: options, manifest, lock, settings, disk."""
    NETWORK = 3
    """The network failed; trying again may help."""
    PROGRAM = 4
    """Another program is missing or failed."""
    BUG = 70
    """A bug of ours, shown with its traceback."""
    INTERRUPTED = 130
    """Ctrl-C, SIGTERM or SIGHUP."""


# The first of these found among several problems is the exit code: what cannot be mended
# by trying again outweighs what can.
_GRAVEST_FIRST = (ExitCode.PROGRAM, ExitCode.USAGE, ExitCode.FINDINGS, ExitCode.NETWORK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: the thing first, then what, where, expected, actual, what to do.

    `details` are (label, text) pairs shown in two columns; `help` is one line, with a command to
    paste where there is one.
    """

    subject: str
    message: str
    code: ExitCode
    details: tuple[tuple[str, str], ...] = ()
    help: str | None = None

    def __str__(self) -> str:
        """Render it as the console prints it after `error: `."""
        return self.text()

    def text(self, sentence: str | None = None) -> str:
        """Render it, no text of it in two lines; `sentence` stands for its subject and message."""
        lines = [sentence or f"{self.subject}: {self.message}"]
        width = max((len(label) for label, _ in self.details), default=0)
        lines += [f"  {label.ljust(width)}  {text}" for label, text in self.details]
        if self.help is not None:
            lines.append(f"help: {self.help}")
        return "\n".join(printable(each, kept="\t") for each in lines)


class MirrorError(Exception):
    """One or more problems that end a stage; never raised for a bug of ours."""

    def __init__(self, problem: Problem, *others: Problem) -> None:
        """Take one problem or several, which are shown together, in this order."""
        super().__init__(problem, *others)
        self.problems = (problem, *others)

    def __str__(self) -> str:
        """Render all problems, one after the other."""
        return "\n".join(str(problem) for problem in self.problems)


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise one MirrorError of all these problems; do nothing where there are none."""
    found = tuple(problems)
    if found:
        raise MirrorError(*found)


def usage_error(
    subject: str, message: str, *details: tuple[str, str], help: str | None = None
) -> MirrorError:
    """Make the error of exit code 2: the user must change something."""
    return MirrorError(usage_problem(subject, message, *details, help=help))


def usage_problem(
    subject: object, message: str, *details: tuple[str, str], help: str | None
) -> Problem:
    """Make one of several problems of exit code 2."""
    code = ExitCode.USAGE
    return Problem(subject=str(subject), message=message, code=code, details=details, help=help)


def finding_problem(
    subject: object, message: str, *details: tuple[str, str], help: str | None = None
) -> Problem:
    """Make the problem of an answer that is no: exit code 1."""
    code = ExitCode.FINDINGS
    return Problem(subject=str(subject), message=message, code=code, details=details, help=help)


def first_details(details: Sequence[tuple[str, str]], shown: int) -> tuple[tuple[str, str], ...]:
    """Take so many details, and say how many more there are."""
    more = len(details) - shown
    return (*details[:shown], *((("and", f"{more} more"),) if more > 0 else ()))


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Write the help for an unknown name: the most similar known one; None where none is.

    `cutoff` is the least similarity, 0 to 1: of thousands of names one is always somewhat similar.
    """
    from difflib import get_close_matches  # only on the way to an error

    near = get_close_matches(name, tuple(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]}?" if near else None


def refuse_non_utf8(path: PurePath, help: str) -> None:
    """Refuse a folder whose name is not UTF-8: rattler and pixi would create another one."""
    if not is_utf8(str(path)):
        message = "this folder's name is not UTF-8, and not all programs can be told it"
        raise usage_error(str(path), message, help=help)


def exit_code_of(problems: tuple[Problem, ...]) -> ExitCode:
    """Choose the one exit code for all problems gathered in a run."""
    codes = {problem.code for problem in problems}
    return next((code for code in _GRAVEST_FIRST if code in codes), ExitCode.OK)
