"""What all tasks share: the common options, and from a handler's end to an exit code."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from scripts.core.child_process import IMPORT_HELP, program_error, quoted
from scripts.core.console import Console, Verbosity
from scripts.core.errors import ExitCode, MirrorError, usage_error
from scripts.core.invocation import EXTENSION, PROGRAM, as_invoked, launcher_of
from scripts.core.redact import redact
from scripts.core.report import Report, attempt

# What the tasks import of requirements.txt in this process.
_TOOLS: Final = frozenset(
    {"jinja2", "msgpack", "packaging", "requests", "rich"}
    | {"tomlkit", "truststore", "yaml", "zstandard"}
)

# What is never a bug of ours, wherever it happens; Windows knows no EDQUOT.
_OF_THE_MACHINE: Final = frozenset(
    getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE")
)
# As Python's tempfile, and its threading, say it.
_NO_TEMPORARY_FOLDER: Final = "No usable temporary directory"
_NO_THREAD: Final = "can't start new thread"
_SEE_TO_IT: Final = "see to it, then run this again"

# They end a run like Ctrl-C: what is whole is kept, children are ended. SIGHUP is that of a closed
# terminal; Windows has none.
_ENDING: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

Handler = Callable[[argparse.Namespace, Console], Report]
_Word = TypeVar("_Word", bound=StrEnum)


class _TaskParser(argparse.ArgumentParser):
    """Says what is wrong with the options; what was typed there may be a URL with a password."""

    def error(self, message: str) -> NoReturn:
        super().error(redact(message))


def task_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Make a parser with the options that every task has."""
    parser = _TaskParser(
        prog=as_invoked(f"pixi run {name}", os.environ),
        description=description,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--manifest-path",
        type=parse_path,
        metavar="PATH",
        help="pixi.toml, pyproject.toml or their folder (default: the nearest upward)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    parser.set_defaults(verbosity=Verbosity.NORMAL)
    group = parser.add_mutually_exclusive_group()
    add = partial(group.add_argument, dest="verbosity", action="store_const")
    add("-q", "--quiet", const=Verbosity.QUIET, help="print problems only")
    add("-v", "--verbose", const=Verbosity.VERBOSE, help="print every step")
    return parser


def add_words_option(
    parser: argparse.ArgumentParser, name: str, kind: type[StrEnum], help: str
) -> None:
    """Add an option (`--level`) that takes one of these words, or several: commas, or repeated."""
    metavar = name.removeprefix("--").upper()
    parser.add_argument(name, type=_words_of(kind), action="extend", metavar=metavar, help=help)


def _words_of(kind: type[_Word]) -> Callable[[str], list[_Word]]:

    def read(text: str) -> list[_Word]:
        words = [word for each in text.split(",") if (word := each.strip())]
        unknown = [word for word in words if word not in tuple(kind)]
        if unknown or not words:
            names = ", ".join(kind)
            raise argparse.ArgumentTypeError(f"{text!r} is not of {names}")
        return [kind(word) for word in words]

    return read


def parse_path(text: str) -> Path:
    """Read an option that names a path: `--manifest-path "$UNSET"` is not the current folder."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError("a path is needed")
    return Path(text)


def run_task(
    name: str,
    parser: argparse.ArgumentParser,
    handler: Handler,
    argv: Sequence[str] | None,
    *,
    interrupted: str = "interrupted",
) -> int:
    """Parse the options, call the handler, print its report, return the exit code.

    `interrupted` is what is said of a run that Ctrl-C ended. A MirrorError is printed as sentences.
    Anything else that is raised is a bug of ours and keeps its traceback.
    """
    # A run is short and keeps most of what it makes: looking for cycles all the time costs a tenth.
    gc.set_threshold(100_000, 50, 1000)
    options = parser.parse_intermixed_args(argv)  # `new DIR -p win-64 PACKAGE` too
    console = Console(verbosity=options.verbosity, json_wanted=options.json)
    for each in _ENDING:
        # The system's own is of tasks/__init__.py, too; one that is ignored (nohup) stays so.
        if signal.getsignal(each) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(each, _interrupt)
    try:
        report = attempt(partial(_call, handler, options, console))
        try:
            console.end(name, report)
            _tell_locks(options, report, console)
        except MirrorError as error:  # the result could not be written
            report = Report(problems=error.problems)
            console.report(report)
    except KeyboardInterrupt:
        console.note(f"{name}: {interrupted}")
        return ExitCode.INTERRUPTED
    except Exception:  # printed whole; the run ends
        import traceback

        console.bug(traceback.format_exc())
        return ExitCode.BUG
    return report.exit_code


def _tell_locks(options: argparse.Namespace, report: Report, console: Console) -> None:
    """Say that the commands of our help are without the `--locks` that this run had."""
    given = " ".join(
        f"--locks {quoted(each.location)}" for each in vars(options).get("locks") or ()
    )
    if given and any("pixi run " in (each.help or "") for each in report.problems):
        console.note(f"help: each `pixi run` here takes what this run had, too: {given}")


def _interrupt(_number: int, _frame: object) -> None:
    """End the run; a second signal ends the process at once, without any cleaning up."""
    for each in _ENDING:
        signal.signal(each, signal.SIG_DFL)
    raise KeyboardInterrupt


def _call(handler: Handler, options: argparse.Namespace, console: Console) -> Report:
    """Call the handler; a fault of this machine becomes a MirrorError."""
    try:
        return handler(options, console)
    except OSError as error:
        reason = str(error.strerror)
        if error.errno not in _OF_THE_MACHINE and not reason.startswith(_NO_TEMPORARY_FOLDER):
            raise
        subject = str(error.filename or "this machine")
        raise usage_error(subject, reason, help=_SEE_TO_IT) from error
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and str(error) != _NO_THREAD:
            raise
        reason = str(error) or "out of memory"
        raise usage_error("this machine", reason, help=_SEE_TO_IT) from error
    except UnicodeEncodeError as error:
        if error.encoding == "utf-8" or error.encoding != sys.getfilesystemencoding():
            raise
        message = f"no file can be named so in the locale of this machine ({error.encoding})"
        raise usage_error(error.object, message, help="set PYTHONUTF8=1") from error
    except ImportError as error:
        path = error.path or ""  # of a library of compiled code, which the system refuses
        name = Path(path).parent.name or str(error.name)
        if name not in _TOOLS or path.endswith(".py"):
            raise
        raise _missing_module(name, str(error) if path else "") from error


def _missing_module(name: str, said: str) -> MirrorError:
    """Make the error for a Python without one of the tools: `python -m tasks.NAME` takes any."""
    if said:
        return program_error(name, "cannot be imported", said, help=IMPORT_HELP.format(name))
    run = "run" if os.name == "nt" else "./run"
    help_ = f"{run} NAME, or pixi run NAME: both make an environment that has it"
    if launcher_of(os.environ) in {EXTENSION, PROGRAM}:  # `pip install --no-deps`
        help_ = "install pixi-mirror anew, with all that it requires"
    message = "this Python lacks the module, which the tasks need"
    return program_error(name, message, b"", ("Python", sys.executable), help=help_)
