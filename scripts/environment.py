"""The virtual environments of `./run`, made from PyPI once and renewed when they must be.

For the launcher alone, and so in a hurry: what is slow to import (pathlib, dataclasses,
subprocess, all of core/) waits until an environment is made.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as typing has it, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
# Where the environments are: beside the file, where this was unpacked from one.
_PROGRAM_FILE = os.path.realpath(sys.argv[0])
HOME = os.path.dirname(_PROGRAM_FILE) if _PROGRAM_FILE.endswith(".pyz") else ROOT

# What pip prints where the network, not the request, is at fault (pip/_internal/network).
_NETWORK_TROUBLE = (
    *("Could not fetch URL", "Connection broken", "ConnectTimeoutError", "HTTP error 5"),
    *("NewConnectionError", "NameResolutionError", "ProxyError"),
    *("Read timed out", "ReadTimeoutError", "RemoteDisconnected"),
)
_PYTHON = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
_VERSION = ".".join(map(str, sys.version_info[:3]))
UNTRIED = (3, 15)  # the first Python that `pixi.toml` does not take
_POLL = 0.1  # seconds until it is asked again whether another run has ended


class VirtualEnvironment:
    """A virtual environment, and the requirement and constraint files that it is made from."""

    def __init__(self, name: str, *requirements: str, constraints: str | None = None) -> None:
        """Say where it is; nothing is made."""
        self.name = name
        self.files = [*requirements, *([constraints] if constraints else [])]
        self.folder = os.path.join(HOME, ".venv", name)
        self.python = os.path.join(self.folder, *_PYTHON)
        self.options = [f"--requirement={os.path.join(ROOT, each)}" for each in requirements]
        if constraints:
            self.options.append(f"--constraint={os.path.join(ROOT, constraints)}")
        # Written last: what the environment was made from.
        self.stamp = os.path.join(self.folder, "made-from.txt")

    def made_from(self) -> str:
        """What the environment is made from: this Python's version, and the requirement files."""
        texts = [read_text(os.path.join(ROOT, name)) for name in self.files]
        return "".join([f"# python {_VERSION}\n", *texts])

    def is_ready(self) -> bool:
        """Tell whether it is complete, and made from the present Python and requirements."""
        try:
            made_from = read_text(self.stamp)
        except OSError:
            return False
        return made_from == self.made_from() and os.path.exists(self.python)


TOOLS = VirtualEnvironment("tools", "requirements.txt")
TEST = VirtualEnvironment("test", "requirements.txt", "requirements-test.txt")
OLDEST = VirtualEnvironment("oldest", *TEST.files, constraints="requirements-oldest.txt")


def make_ready(environment: VirtualEnvironment) -> None:
    """Make the environment unless it is ready; another run that wants it waits meanwhile."""
    if environment.is_ready():
        return
    import time

    from scripts.core.console import Console
    from scripts.core.file_lock import try_lock

    note = Console().note
    os.makedirs(os.path.dirname(environment.folder), exist_ok=True)
    # The system lets go of the lock when the process ends, however it ends.
    lock = os.open(f"{environment.folder}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(lock):
            note(f"waiting for another run that is making .venv/{environment.name}")
            while not try_lock(lock):
                time.sleep(_POLL)
        if not environment.is_ready():
            _make(environment, lock, note)
    finally:
        os.close(lock)


def _make(environment: VirtualEnvironment, lock: int, note: Callable[[str], None]) -> None:
    import shutil

    made_from = environment.made_from()
    files = ", ".join(environment.files)
    note(f"making .venv/{environment.name} with Python {_VERSION} from {files} (once)")
    if os.path.exists(environment.stamp):
        os.unlink(environment.stamp)  # first: what is half removed must not look whole
    if os.path.exists(environment.folder):
        shutil.rmtree(environment.folder)
    # The Python below a virtual environment: ours may be the one that is made anew.
    base = getattr(sys, "_base_executable", None) or sys.executable
    python = base if os.path.isfile(base) else os.path.realpath(sys.executable)
    _call("python -m venv", [python, "-I", "-m", "venv", environment.folder], lock)
    command = [environment.python, "-I", "-m", "pip", "install", "--no-input", "--no-user"]
    command += ["--disable-pip-version-check", "--prefer-binary", *environment.options]
    _call("pip", command, lock)
    with open(environment.stamp, "w", encoding="utf-8", newline="\n") as file:
        file.write(made_from)


def _call(what: str, command: list[str], lock: int) -> None:
    """Run a program in silence; where it fails, show its last lines.

    On POSIX it inherits our lock: where we are killed, no other run begins while it still works.
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
    from scripts.core.child_process import describe_exit, stderr_tail
    from scripts.core.errors import ExitCode, MirrorError, Problem

    code, message, help_ = ExitCode.PROGRAM, describe_exit(done.returncode), None
    if any(sign.encode() in done.stdout for sign in _NETWORK_TROUBLE):
        code, message = ExitCode.NETWORK, "the package index could not be reached"
        help_ = "a proxy is set by HTTPS_PROXY, another index by PIP_INDEX_URL; then try again"
    elif sys.version_info >= UNTRIED:
        help_ = f"Python {_VERSION} may be too new for a library: install an older one beside it"
    details = stderr_tail(done.stdout)
    raise MirrorError(
        Problem(subject=what, message=message, code=code, details=details, help=help_)
    )


def read_text(path: str) -> str:
    """Read a text file whole."""
    with open(path, encoding="utf-8") as file:
        return file.read()
