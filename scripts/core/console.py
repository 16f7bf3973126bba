"""The only place that prints. Acts: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from enum import IntEnum

from scripts.core.errors import Problem
from scripts.core.redact import redact
from scripts.core.report import Report


class Loudness(IntEnum):
    """How much a person wants to read: `-q`, nothing, `-v`."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class Console:
    """Prints results, notes and problems; hides secrets in all of them."""

    def __init__(self, *, loudness: Loudness = Loudness.NORMAL, json_wanted: bool = False) -> None:
        """Decide once what goes where."""
        self.loudness = loudness
        self.json_wanted = json_wanted

    @property
    def is_terminal(self) -> bool:
        """Tell whether somebody watches stderr, so that a bar may be drawn there."""
        return self.loudness > Loudness.QUIET and sys.stderr.isatty()

    def result(self, line: str) -> None:
        """Print one line of the result: stdout, or nothing where `--json` prints it instead."""
        if not self.json_wanted and self.loudness > Loudness.QUIET:
            print(redact(line), flush=True)

    def note(self, line: str) -> None:
        """Print what is under way, on stderr; `-q` hides it."""
        if self.loudness > Loudness.QUIET:
            print(redact(line), file=sys.stderr, flush=True)

    def detail(self, line: str) -> None:
        """Print what only `-v` shows, on stderr."""
        if self.loudness >= Loudness.VERBOSE:
            print(redact(line), file=sys.stderr, flush=True)

    def warn(self, line: str) -> None:
        """Print what a person should know although it is no error, on stderr; `-q` hides it."""
        self.note(f"{_paint('warning:', '33')} {line}")

    def problem(self, problem: Problem) -> None:
        """Print one problem, on stderr; never hidden."""
        head, *rest = redact(str(problem)).splitlines()
        lines = [f"{_paint('error:', '31')} {head}"]
        lines += [
            line.replace("help:", _paint("help:", "36"), 1) if line.startswith("help:") else line
            for line in rest
        ]
        print("\n".join(lines), file=sys.stderr, flush=True)

    def report(self, report: Report) -> None:
        """Print a whole report for people: its lines, then its problems."""
        for line in report.lines:
            self.result(line)
        for problem in report.problems:
            self.problem(problem)

    def json(self, task: str, report: Report, exit_code: int) -> None:
        """Print the report for programs: one JSON object on stdout."""
        document = {
            "task": task,
            "exit-code": int(exit_code),
            **report.data,
            "problems": [
                {
                    "subject": redact(problem.subject),
                    "trouble": redact(problem.trouble),
                    "facts": {label: redact(text) for label, text in problem.facts},
                    "help": None if problem.help is None else redact(problem.help),
                    "exit-code": int(problem.code),
                }
                for problem in report.problems
            ],
        }
        print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)


def _paint(text: str, colour: str) -> str:
    """Colour a word on a terminal, unless NO_COLOR asks for none (no-color.org)."""
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return f"\033[{colour}m{text}\033[0m"
