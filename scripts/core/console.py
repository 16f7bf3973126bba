"""The only place that prints. Results on stdout, everything else on stderr."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, TextIO

from scripts.core.errors import Problem, usage_error
from scripts.core.group_problems import gathered
from scripts.core.invocation import as_called
from scripts.core.redact import printable, redact
from scripts.core.report import Json, Report

SCHEMA: Final = 1
"""The version of what `--json` prints; docs/json.schema.json describes it."""


class Verbosity(IntEnum):
    """How much a person wants to read: `-q`, nothing, `-v`."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class Console:
    """Prints results, notes and problems; hides secrets in all of them."""

    def __init__(
        self, *, verbosity: Verbosity = Verbosity.NORMAL, json_wanted: bool = False
    ) -> None:
        """Decide once what goes where."""
        self.verbosity = verbosity
        self.json_wanted = json_wanted

    @property
    def is_terminal(self) -> bool:
        """Tell whether somebody watches stderr, so that a bar may be drawn there."""
        return self.verbosity > Verbosity.QUIET and sys.stderr.isatty()

    def result(self, line: str) -> None:
        """Print one line of the result: stdout, or nothing where `--json` prints it instead."""
        if not self.json_wanted and self.verbosity > Verbosity.QUIET:
            _print(_shown(line), sys.stdout)

    def note(self, line: str) -> None:
        """Print what is under way, on stderr; `-q` hides it."""
        if self.verbosity > Verbosity.QUIET:
            _print(_shown(line), sys.stderr)

    def detail(self, line: str) -> None:
        """Print what only `-v` shows, on stderr."""
        if self.verbosity >= Verbosity.VERBOSE:
            _print(_shown(line), sys.stderr)

    def warn(self, line: str) -> None:
        """Print what a person should know although it is no error, on stderr; `-q` hides it."""
        if self.verbosity > Verbosity.QUIET:
            _print(f"{_paint('warning:', '33')} {_shown(line)}", sys.stderr)

    def problem(self, problem: Problem) -> None:
        """Print one problem, on stderr; never hidden."""
        head, *rest = _shown(str(problem)).splitlines()
        lines = [f"{_paint('error:', '31')} {head}"]
        lines += [
            line.replace("help:", _paint("help:", "36"), 1) if line.startswith("help:") else line
            for line in rest
        ]
        _print("\n".join(lines), sys.stderr)

    def bug(self, trace: str) -> None:
        """Print the traceback of a bug of ours and what to do with it, on stderr; never hidden."""
        plea = "this is a bug of pixi-mirror; please report it with the lines above"
        _print(f"{_shown(trace.rstrip())}\n{_paint('warning:', '33')} {plea}", sys.stderr)

    def report(self, report: Report) -> None:
        """Print a whole report for people: its lines, then its problems, equal ones as one.

        With `-v` each problem is told by itself.
        """
        for line in report.lines:
            self.result(line)
        problems = report.problems
        if self.verbosity < Verbosity.VERBOSE:
            problems = gathered(problems, report.max_shown)
        for problem in problems:
            self.problem(problem)

    def json(self, task: str, report: Report, exit_code: int) -> None:
        """Print the report for programs: one JSON object on stdout, in ASCII for any pipe."""
        document = render_document(task, report, exit_code)
        _print(json.dumps(document, indent=2), sys.stdout)


def render_document(task: str, report: Report, exit_code: int) -> dict[str, Json]:
    """Make what `--json` prints: the task's data and its problems, without secrets."""
    return {
        "schema": SCHEMA,
        "task": task,
        "exit-code": int(exit_code),
        **{key: _without_secrets(each) for key, each in report.data.items()},
        "problems": [
            {
                "subject": redact(problem.subject),
                "message": redact(problem.message),
                "details": _details(problem),
                "help": None if problem.help is None else redact(problem.help),
                "code": int(problem.code),
            }
            for problem in report.problems
        ],
    }


def _shown(text: str) -> str:
    """Write what steers a terminal as escapes, hide secrets, name commands as the user gives them.

    In this order: a line separator must not end the URL that a secret is in.
    """
    return as_called(redact(printable(text, kept="\t\n")), os.environ)


def _without_secrets(value: Json) -> Json:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(key): _without_secrets(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(each) for each in value]
    return value


def _details(problem: Problem) -> dict[str, str]:
    """Give the facts by label; texts under one label become the lines of one text."""
    details: dict[str, list[str]] = {}
    for label, text in problem.details:
        details.setdefault(label, []).append(redact(text))
    return {label: "\n".join(texts) for label, texts in details.items()}


def _print(text: str, stream: TextIO) -> None:
    """Print and flush; the work goes on though nobody reads on.

    A result that cannot be written (`> file` on a full disk) is an error of exit code 2.
    """
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        _discard(stream)
        # `pixi run … | head`; EINVAL is how Windows says it
        is_unread = error.errno in {errno.EPIPE, errno.EINVAL}
        if not is_unread and stream is sys.stdout:
            raise usage_error("stdout", f"cannot be written: {error.strerror}") from None


def _discard(stream: TextIO) -> None:
    """Let what is printed from now on vanish; Python itself flushes the stream at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _paint(text: str, colour: str) -> str:
    """Colour a word on a terminal, unless NO_COLOR asks for none (no-color.org)."""
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return f"\033[{colour}m{text}\033[0m"
