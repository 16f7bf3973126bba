"""Run other programs to their end, ask for their version, and report how they failed."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.invocation import TEMPLATE
from scripts.core.redact import printable, redact

Done = subprocess.CompletedProcess[bytes]

IMPORT_HELP: Final = (
    "install {} into the environment of the tasks anew, on no disk that is mounted with noexec"
)
CANNOT_START: Final = 126  # as a shell ends, and `unshare`
# Windows has no signals: exit codes from here up are the system's (NTSTATUS), 0xC0000005 a crash.
_OF_THE_SYSTEM: Final = 0xC0000000
_VERSION: Final = "--version"
_VERSION_TIMEOUT: Final = 30  # seconds for its version; a cold start takes a few at most
_SHOWN: Final = 20  # last lines of a program that failed
_PLAIN: Final = re.compile(r"[\w.:/\\+-]+")  # nothing of which cmd and PowerShell take otherwise


def run_program(
    command: Sequence[str],
    environment: Mapping[str, str],
    input: bytes = b"",
    timeout: float | None = None,
) -> Done:
    """Run a program to its end; `input` is its stdin. Exit code 126: it could not be started.

    Raises subprocess.TimeoutExpired after `timeout` seconds. Then, and where this task is
    interrupted, the program is ended, and on POSIX all that it has started.
    """
    is_posix = os.name == "posix"
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=existing_folder(),
            process_group=0 if is_posix else None,
        )
    except OSError as error:
        message = f"{error.filename or command[0]}: cannot be started: {error.strerror}"
        return subprocess.CompletedProcess(list(command), CANNOT_START, b"", message.encode())
    with process:
        try:
            output, errors = process.communicate(input, timeout)
        except BaseException:
            _kill(process)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program, and on POSIX all that it has started."""
    if os.name != "posix":
        process.kill()
        return
    # An interrupt from a terminal reaches it, too: all of the group may be over by now.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def existing_folder() -> Path | None:
    """Return the folder to start a program in: None, the current one, or ours where that is gone.

    Programs fail in many ways in a current folder that somebody has removed.
    """
    try:
        Path.cwd()
    except OSError:
        return TEMPLATE
    return None


def timed_out(timeout: float) -> str:
    """Write that a program was ended after `timeout` seconds."""
    return f"was ended, since it had not finished after {timeout / 60:.0f} minutes"


def ask_version(
    program: Path,
    environment: Mapping[str, str],
    wrapper: Sequence[str] = (),
    help: str | None = None,
) -> str:
    """Return what it prints when asked for its version; `wrapper` goes before its name.

    Raises the error of exit code 4 where it does not start, and gives that `help`.
    """
    said = b""
    try:
        done = run_program(
            [*wrapper, str(program), _VERSION], environment, timeout=_VERSION_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        how = f"did not end within {_VERSION_TIMEOUT} s"
    else:
        if done.returncode == 0:
            return done.stdout.decode("utf-8", "replace")
        how, said = describe_exit(done.returncode), done.stderr or done.stdout
    message = f"this program does not start: `{program.stem} {_VERSION}` {how}"
    raise program_error(program.stem, message, said, ("program", str(program)), help=help)


def describe_exit(code: int) -> str:
    """Say how a program ended: its exit code, or the signal that ended it."""
    if code >= 0:
        return f"ended with exit code {code if code < _OF_THE_SYSTEM else hex(code)}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def is_crash(code: int) -> bool:
    """Tell whether the program itself failed: it could not be started, or the system ended it."""
    return not 0 <= code < _OF_THE_SYSTEM or code in {CANNOT_START, CANNOT_START + 1}


def stderr_tail(output: bytes | str) -> tuple[tuple[str, str], ...]:
    """Return the last lines of a program's output as details; repeated lines once."""
    text = output if isinstance(output, str) else output.decode("utf-8", "replace")
    lines = [line for line, _ in groupby(map(str.rstrip, text.splitlines())) if line]
    return tuple(("said", redact(printable(line))) for line in lines[-_SHOWN:])


def program_error(
    subject: str,
    message: str,
    output: bytes | str = b"",
    *details: tuple[str, str],
    help: str | None = None,
) -> MirrorError:
    """Make the error of exit code 4: another program is missing or failed, with its last lines."""
    return MirrorError(
        Problem(
            subject=subject,
            message=message,
            code=ExitCode.PROGRAM,
            details=(*details, *stderr_tail(output)),
            help=help,
        )
    )


def quoted(text: str) -> str:
    """Write an argument as this system's shell reads it, on Windows cmd as well as PowerShell."""
    if os.name != "nt":
        return shlex.quote(text)
    written = subprocess.list2cmdline([text])
    if written != text or _PLAIN.fullmatch(text):
        return written
    ends = "\\" * (len(text) - len(text.rstrip("\\")))  # one before a quote would escape that
    return f'"{text}{ends}"'  # what means something to the shell alone, as in `a&b`
