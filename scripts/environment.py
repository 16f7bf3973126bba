"""The virtual environments of `./run`, made from PyPI once and renewed when they must be.

For the launcher alone, and so in a hurry: what is slow to import (pathlib, dataclasses,
subprocess) stays out or waits until an environment is made. It imports nothing else of ours.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as typing has it, which takes long to import
if TYPE_CHECKING:
    from typing import TextIO

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
# Where the environments are: beside the file, where this was unpacked from one.
_PROGRAM_FILE = os.path.realpath(sys.argv[0])
HOME = os.path.dirname(_PROGRAM_FILE) if _PROGRAM_FILE.endswith(".pyz") else ROOT

# What pip prints where the network, not the request, is at fault (pip/_internal/network).
_NETWORK_TROUBLE = (
    *("Could not fetch URL", "Connection broken", "ConnectTimeoutError", "HTTP error 5"),
    *("NewConnectionError", "NameResolutionError", "Temporary failure in name resolution"),
    *("ProxyError", "Read timed out", "ReadTimeoutError", "RemoteDisconnected"),
)
_PYTHON = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
_SHOWN = 12  # last lines of a program that failed
# As scripts/core/errors.py.
_NETWORK, _PROGRAM = 3, 4


class LaunchError(Exception):
    """Sentences for the user, and the exit code."""

    def __init__(self, text: str, code: int) -> None:
        """Take what is to be shown behind `error: `."""
        super().__init__(text)
        self.code = code


class Environment:
    """One virtual environment, and the requirement and constraint files it is made from."""

    def __init__(
        self, name: str, requirements: list[str], constraints: tuple[str, ...] = ()
    ) -> None:
        """Say where it is; nothing is made."""
        self.name = name
        self.files = [*requirements, *constraints]
        self.folder = os.path.join(HOME, ".venv", name)
        self.python = os.path.join(self.folder, *_PYTHON)
        self.options = []
        for option, names in (("--requirement", requirements), ("--constraint", constraints)):
            self.options += [f"{option}={os.path.join(ROOT, each)}" for each in names]
        # Written last: what the environment was made from.
        self.stamp = os.path.join(self.folder, "made-from.txt")

    def made_from(self) -> str:
        """All that asks for a new environment when it changes: the Python and the requirements."""
        texts = [read_text(os.path.join(ROOT, name)) for name in self.files]
        return "".join([f"# python {_version()}\n", *texts])

    def is_ready(self) -> bool:
        """Tell whether it was made to the end, and from what would make it today."""
        try:
            made_from = read_text(self.stamp)
        except OSError:
            return False
        return made_from == self.made_from() and os.path.exists(self.python)


TOOLS = Environment("tools", ["requirements.txt"])
TEST = Environment("test", ["requirements.txt", "requirements-test.txt"])
OLDEST = Environment("oldest", TEST.files, ("requirements-oldest.txt",))


def _lock(fileno: int, *, wait: bool) -> None:
    """Lock the open file; the system lets go of it when the process ends, however it ends."""
    if os.name == "nt":
        import msvcrt

        os.lseek(fileno, 0, os.SEEK_SET)
        msvcrt.locking(fileno, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(fileno, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _open_locked(environment: Environment) -> int:
    """Open the environment's lock file and lock it, waiting for whoever has it."""
    os.makedirs(os.path.dirname(environment.folder), exist_ok=True)
    fileno = os.open(f"{environment.folder}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(fileno, wait=False)
    except OSError:
        say(f"waiting for another run that is making .venv/{environment.name}")
        while True:
            try:
                _lock(fileno, wait=True)
                break
            except OSError:
                if os.name != "nt":  # which gives up after ten seconds
                    raise
    return fileno


def make_ready(environment: Environment) -> None:
    """Make the environment unless it is there, whole and as asked for."""
    if environment.is_ready():
        return
    lock = _open_locked(environment)
    try:
        if not environment.is_ready():
            _make(environment, lock)
    finally:
        os.close(lock)


def _make(environment: Environment, lock: int) -> None:
    import shutil
    from importlib.util import find_spec

    if find_spec("ensurepip") is None or find_spec("venv") is None:
        raise LaunchError(
            f"this Python cannot make virtual environments ({sys.executable}): its modules venv"
            " and ensurepip are missing\n"
            "help: on Debian and Ubuntu they are in the package python3-venv:"
            " sudo apt install python3-venv",
            _PROGRAM,
        )
    made_from = environment.made_from()
    files = ", ".join(environment.files)
    say(f"making .venv/{environment.name} with Python {_version()} from {files} (once)")
    if os.path.exists(environment.stamp):
        os.unlink(environment.stamp)  # first: what is half removed must not look whole
    if os.path.exists(environment.folder):
        shutil.rmtree(environment.folder)
    _call("python -m venv", [_base_python(), "-I", "-m", "venv", environment.folder], lock)
    command = [environment.python, "-I", "-m", "pip", "install", "--no-input", "--no-user"]
    command += ["--disable-pip-version-check", "--prefer-binary", *environment.options]
    _call("pip", command, lock)
    with open(environment.stamp, "w", encoding="utf-8", newline="\n") as file:
        file.write(made_from)


def _base_python() -> str:
    """Return the Python below a virtual environment: ours may be the one that is made anew."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return base if os.path.isfile(base) else os.path.realpath(sys.executable)


def _call(what: str, command: list[str], lock: int) -> None:
    """Run a program in silence; where it fails, show its last lines.

    Where the system can, it holds our lock too: killed, we leave nobody room beside it.
    """
    import subprocess

    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=HOME,  # pip cannot start in a folder that is gone, as the current one may be
        pass_fds=() if os.name == "nt" else (lock,),
        check=False,
    )
    if done.returncode == 0:
        return
    text = done.stdout.decode("utf-8", "replace")
    last = "".join(f"\n  {line}" for line in text.strip().splitlines()[-_SHOWN:])
    if any(sign in text for sign in _NETWORK_TROUBLE):
        raise LaunchError(
            f"{what}: the package index could not be reached{last}\n"
            "help: a proxy is set by HTTPS_PROXY, another index by PIP_INDEX_URL; then try again",
            _NETWORK,
        )
    raise LaunchError(f"{what}: ended with exit code {done.returncode}{last}", _PROGRAM)


def read_text(path: str) -> str:
    """Read a text file whole."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def _version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def say(line: str) -> None:
    """Tell the user, on stderr; the work goes on though nobody reads it."""
    put(line + "\n", sys.stderr)


def put(text: str, stream: TextIO | None) -> OSError | None:
    """Print; where that fails, what comes after it vanishes, and the exit code stays ours.

    A stream that is closed is None.
    """
    if stream is None:
        return None
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # Python flushes it once more
        return error
    return None
