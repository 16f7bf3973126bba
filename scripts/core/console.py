"""The only place that prints. Results on stdout, everything else on stderr."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final, TextIO

from scripts.core.errors import ExitCode, Problem, usage_error
from scripts.core.file_name import is_archive_name
from scripts.core.invocation import as_invoked
from scripts.core.redact import printable, redact
from scripts.core.report import Json, Line, Report, counted, flattened, listed

SCHEMA: Final = 1
"""The version of what `--json` prints; docs/json.schema.json describes it."""

# Up to so many problems of one kind are printed one by one.
_FEW: Final = 3
_NAMES: Final = 5  # subjects of many problems that are named
_ROWS: Final = 20  # lines of a list that are shown: they fit on a terminal
_LINES: Final = "\t\n"  # kept in a text of several lines; those of others end no line
_MARKS: Final = {"✓": "32", "✗": "31"}
# Verbs that a message may begin with, and their plural; words that only fit a single subject.
_PLURAL: Final = {
    "is": "are",
    "has": "have",
    "was": "were",
    "comes": "come",
    "holds": "hold",
    "leads": "lead",
    "says": "say",
    "requires": "require",
    "constrains": "constrain",
    "cannot be": "cannot be",
}
_VERB: Final = re.compile(rf"^(?:{'|'.join(_PLURAL)})\b")
_SINGULAR: Final = re.compile(r"^is no |\b(?:a|an|another|it|its|itself)\b")
_FILES: Final = (".json", ".msgpack.zst", ".json.zst")
_ESCAPE_SEQUENCES: Final = 4  # ENABLE_VIRTUAL_TERMINAL_PROCESSING of SetConsoleMode
_WARNING: Final = "warning: "
_OF_PLACES: Final = frozenset({"used by", "needed by"})


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
        """Take what `-q`, `-v` and `--json` say."""
        self.verbosity = verbosity
        self.json_wanted = json_wanted
        self.warnings: list[str] = []

    @property
    def is_terminal(self) -> bool:
        """Tell whether a progress bar may be drawn: stderr is a terminal, and `-q` is not given."""
        return self.verbosity > Verbosity.QUIET and sys.stderr.isatty()

    def result(self, line: Line) -> None:
        """Print a part of the result on stdout; nothing with `-q` or `--json`."""
        if not self.json_wanted and self.verbosity > Verbosity.QUIET:
            for each in self._cut(line):
                text = _shown(each)
                marked = re.sub("[✓✗]", lambda m: _paint(m[0], _MARKS[m[0]], sys.stdout), text)
                _print(marked, sys.stdout)

    def note(self, line: Line, prefix: str = "") -> None:
        """Print what is under way, on stderr, each line behind `prefix`; `-q` hides it."""
        if self.verbosity > Verbosity.QUIET:
            for each in self._cut(line):
                _print(f"{prefix}{_shown(each)}", sys.stderr)

    def detail(self, line: str) -> None:
        """Print what only `-v` shows, on stderr."""
        if self.verbosity >= Verbosity.VERBOSE:
            _print(_shown(line), sys.stderr)

    def warn(self, line: Line) -> None:
        """Tell what a person should know although it is no error: in the JSON, and on stderr.

        There `-q` hides it.
        """
        self.warnings += [line] if isinstance(line, str) else line
        self.note(line, f"{_paint('warning:', '33')} ")

    def _cut(self, line: Line) -> tuple[str, ...]:
        """Return the lines to print: without `-v`, only the first ones of a long list."""
        if isinstance(line, str):
            return (line,)
        if self.verbosity is Verbosity.VERBOSE or len(line) <= _ROWS + 1:
            return line
        indent = " " * (len(line[-1]) - len(line[-1].lstrip()))
        return (*line[:_ROWS], f"{indent}and {len(line) - _ROWS} more, which -v shows")

    def ask(self, question: str) -> bool | None:
        """Ask on the terminal; only `y` and `yes` are yes. None: there is no terminal.

        The question is on stderr, and never hidden: the run waits for its answer.
        """
        if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stderr)):
            return None
        _print(_shown(question), sys.stderr, end=" ")
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):  # Ctrl-D
            _print("", sys.stderr)
        return answer.strip().lower() in {"y", "yes"}

    def bug(self, trace: str) -> None:
        """Print the traceback of a bug of ours and what to do with it, on stderr; never hidden."""
        plea = "this is a bug of pixi-mirror; please report it with the lines above"
        told = _shown(trace.rstrip(), _LINES)
        _print(f"{told}\n{_paint('warning:', '33')} {plea}", sys.stderr)

    def report(self, report: Report) -> None:
        """Print a whole report for people: its lines, then its problems, equal ones as one.

        With `-v` each problem is told by itself. They are on stderr, and never hidden.
        """
        for line in report.lines:
            self.result(line)
        if self.verbosity is Verbosity.QUIET:
            for line in report.referred_to:
                _print(_shown(line), sys.stderr)
        is_brief = self.verbosity < Verbosity.VERBOSE
        for text in group_problems(report.problems) if is_brief else map(str, report.problems):
            head, *rest = _shown(text, _LINES).splitlines()
            rest = [re.sub("^help:", _paint("help:", "36"), line) for line in rest]
            _print("\n".join((f"{_paint('error:', '31')} {head}", *rest)), sys.stderr)

    def end(self, task: str, report: Report) -> None:
        """Print the report: for people, or as one JSON object on stdout, in ASCII for any pipe."""
        if self.json_wanted:
            document = render_json(task, report, self.warnings)
            _print(json.dumps(document, indent=2), sys.stdout)
        else:
            self.report(report)


def render_json(task: str, report: Report, warnings: Sequence[str] = ()) -> dict[str, Json]:
    """Make what `--json` prints: the task's data, warnings and problems, without secrets.

    Of the report's lines those that warn are told as those that were printed at once.
    """
    lines = flattened(report.lines)
    told = (x.removeprefix(_WARNING) for x in lines if x.startswith(_WARNING))
    document = {
        "schema": SCHEMA,
        "task": task,
        "exit-code": int(report.exit_code),
        **report.data,
        "warnings": [*dict.fromkeys([*warnings, *told])],
        "problems": [
            {
                "subject": each.subject,
                "message": each.message,
                "details": _details(each),
                "help": each.help,
                "code": int(each.code),
            }
            for each in report.problems
        ],
    }
    return {key: _as_shown(value) for key, value in document.items()}


def group_problems(problems: Sequence[Problem]) -> tuple[str, ...]:
    """Write out problems, those with the same message, code and help as one where they are many.

    It stands where the first of them stood, with that one's details, and names a few subjects.
    """
    kinds: dict[tuple[str, ExitCode, str | None], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((problem.message, problem.code, problem.help), []).append(problem)
    told: list[str] = []
    for same in kinds.values():
        told += [_as_one(same)] if len(same) > _FEW else [_brief(each).text() for each in same]
    return tuple(told)


def _as_one(problems: Sequence[Problem]) -> str:
    first, *others = map(_brief, problems)
    subjects = list(dict.fromkeys(each.subject for each in problems))
    if len(subjects) == 1:  # several problems of one subject
        more = ("and", f"{len(others)} more like this, which -v shows")
        return dataclasses.replace(first, details=(*first.details, more)).text()
    rows = [other.subject for other in others[: _NAMES - 1]]
    unnamed = len(others) - len(rows)
    if unnamed:
        rows.append(f"and {unnamed} more, which -v shows")
    details = (
        ("first", first.subject),
        *first.details,
        *zip(("then", *[""] * len(rows)), rows, strict=False),
    )
    sentence = _sentence([each.subject for each in problems], first.message)
    return dataclasses.replace(first, details=details).text(sentence)


def _sentence(subjects: Sequence[str], message: str) -> str:
    """Write a message for many subjects: `4 artifacts are missing`."""
    verb, those = _VERB.match(message), f"these {len(subjects)}"
    if all(map(is_archive_name, subjects)):
        those = counted(len(subjects), "artifact")
    elif all(each.endswith(_FILES) for each in subjects):
        those = counted(len(subjects), "file")
    if verb is None:
        return f"{those} have the same problem: {message}"
    if _SINGULAR.search(message):
        return f"each of {those} {message}"
    return f"{those} {_PLURAL[verb[0]]}{message[verb.end() :]}"


def _brief(problem: Problem) -> Problem:
    """Cut long lists of places in a problem's details."""
    details = tuple(
        (label, listed(text.split(", "), where=", which -v shows"))
        if label in _OF_PLACES
        else (label, text)
        for label, text in problem.details
    )
    return dataclasses.replace(problem, details=details)


def _shown(text: str, kept: str = "\t") -> str:
    """Escape control characters but those `kept`, hide secrets, name commands as we were started.

    In this order: a line separator must not end the URL that a secret is in.
    """
    return as_invoked(redact(printable(text, kept)), os.environ)


def _as_shown(value: Json) -> Json:
    """Hide secrets and name commands, as on the screen; JSON escapes for itself."""
    if isinstance(value, str):
        return as_invoked(redact(value), os.environ)
    if isinstance(value, Mapping):
        return {redact(key): _as_shown(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_shown(each) for each in value]
    return value


def _details(problem: Problem) -> dict[str, str]:
    """Return the details by label; several under one label become lines of one string."""
    details: dict[str, str] = {}
    for label, text in problem.details:
        details[label] = f"{details[label]}\n{text}" if label in details else text
    return details


def _print(text: str, stream: TextIO, end: str = "\n") -> None:
    """Print and flush; the work goes on where nobody reads the output any more.

    A result that cannot be written (`> file` on a full disk) is an error of exit code 2.
    """
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as error:
        # What is printed from now on vanishes; Python itself flushes the stream at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        # `pixi run … | head`; EINVAL is how Windows says it
        is_unread = error.errno in {errno.EPIPE, errno.EINVAL}
        if not is_unread and stream is sys.stdout:
            raise usage_error("stdout", f"cannot be written: {error.strerror}") from None


def _paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """Colour a word on a terminal, unless NO_COLOR asks for none (no-color.org)."""
    stream = stream or sys.stderr
    if os.environ.get("NO_COLOR") or not stream.isatty() or not _knows_colours(stream):
        return text
    return f"\033[{colour}m{text}\033[0m"


def _knows_colours(stream: TextIO) -> bool:
    """Tell whether a terminal takes escape sequences; a console of Windows must be told to."""
    if sys.platform == "win32":
        import ctypes
        import msvcrt

        kernel32, mode = ctypes.WinDLL("kernel32"), ctypes.c_ulong()
        handle = ctypes.c_void_p(msvcrt.get_osfhandle(stream.fileno()))
        if kernel32.GetConsoleMode(handle, ctypes.byref(mode)):
            return bool(kernel32.SetConsoleMode(handle, mode.value | _ESCAPE_SEQUENCES))
    return os.environ.get("TERM") != "dumb"
