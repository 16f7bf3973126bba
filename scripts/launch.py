"""Run a task in a virtual environment made from PyPI: what `./run` and `run.cmd` start. Acts.

It needs the standard library alone, and a Python as old as 3.6 can still read it: such a one
shall say a sentence, not a SyntaxError. It never calls pixi.
"""

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036  # whatever Python is there may be given this file
    sys.stderr.write(
        "error: pixi-mirror needs Python 3.11 or newer; this is {} ({})\n"
        "help: install a newer Python beside it, or use pixi: pixi run mirror\n".format(
            ".".join(map(str, sys.version_info[:3])), sys.executable
        )
    )
    sys.exit(4)

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What pip prints where the network, not the request, is at fault (pip/_internal/network).
_NETWORK_TROUBLE = (
    "Connection broken",
    "ConnectTimeoutError",
    "Could not fetch URL",
    "Failed to establish a new connection",
    "HTTP error 5",
    "NameResolutionError",
    "NewConnectionError",
    "ProxyError",
    "Read timed out",
    "ReadTimeoutError",
    "RemoteDisconnected",
    "Temporary failure in name resolution",
)
_SHOWN = 12  # last lines of a program that failed
# As scripts/core/errors.py; this file imports nothing of ours, for a start in milliseconds.
_USAGE, _NETWORK, _PROGRAM, _INTERRUPTED = 2, 3, 4, 130


class LaunchError(Exception):
    """Sentences for the user, and the exit code."""

    def __init__(self, text: str, code: int) -> None:
        """Take what is to be shown behind `error: `."""
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One virtual environment, and the requirement and constraint files it is made from."""

    name: str
    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it is."""
        return ROOT / ".venv" / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def stamp(self) -> Path:
        """The file, written last, that says what the environment was made from."""
        return self.folder / "made-from.txt"

    def made_from(self) -> str:
        """All that asks for a new environment when it changes: the Python and the requirements."""
        texts = [(ROOT / name).read_text("utf-8") for name in self.requirements + self.constraints]
        return "".join([f"# python {_version()}\n", *texts])

    def is_ready(self) -> bool:
        """Tell whether it was made to the end, and from what would make it today."""
        try:
            made_from = self.stamp.read_text("utf-8")
        except OSError:
            return False
        return made_from == self.made_from() and self.python.exists()


TOOLS = Environment(name="tools", requirements=("requirements.txt",))
TEST = Environment(name="test", requirements=("requirements.txt", "requirements-test.txt"))
OLDEST = Environment(
    name="oldest", requirements=TEST.requirements, constraints=("requirements-oldest.txt",)
)


def environment_for(task: str, options: list[str]) -> Environment:
    """Choose the environment as pixi.toml does; `test --oldest` has one of its own."""
    if task == "test" and "--oldest" in options:
        return OLDEST
    return TEST if task in {"test", "lint", "bench"} else TOOLS


def task_names() -> list[str]:
    """Name the tasks, in the order of pixi.toml where that can be read."""
    folder = ROOT / "tasks"
    names = {file.stem.replace("_", "-") for file in folder.glob("*.py") if file.stem != "__init__"}
    order = [name for name in _descriptions() if name in names]
    return order + sorted(names.difference(order))


def overview() -> str:
    """Write what `./run` alone prints."""
    descriptions = _descriptions()
    names = task_names()
    width = max(map(len, names), default=0)
    lines = [f"  {name.ljust(width)}  {descriptions.get(name, '')}".rstrip() for name in names]
    return "\n".join(
        [
            "usage: ./run NAME [options]    (./run NAME --help for its options)",
            "",
            *lines,
            "",
            f"It makes a virtual environment from PyPI, once, in {ROOT / '.venv'}.",
            "",
        ]
    )


def _descriptions() -> dict[str, str]:
    """Read the descriptions of the tasks from pixi.toml, the one place where they stand."""
    import tomllib

    try:
        manifest = tomllib.loads((ROOT / "pixi.toml").read_text("utf-8"))
        return {
            name: task["description"]
            for feature in ("tasks", "test")
            for name, task in manifest["feature"][feature]["tasks"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # edited, or TOML 1.1, which tomllib cannot read: the names are enough


def _version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def check_task(name: str) -> None:
    """Refuse a task that is not there, with the nearest one that is."""
    module = name.replace("-", "_")
    is_name = module.isidentifier() and not name.startswith(("-", "_"))
    if is_name and (ROOT / "tasks" / f"{module}.py").is_file():
        return
    from difflib import get_close_matches

    near = get_close_matches(name, task_names(), n=1)
    hint = f"did you mean `./run {near[0]}`?" if near else "`./run` alone lists the tasks"
    raise LaunchError(f"{name}: there is no such task\nhelp: {hint}", _USAGE)


@contextlib.contextmanager
def _alone(environment: Environment) -> Iterator[int]:
    """Hold the environment's lock file, waiting for whoever has it; yields the open file."""
    path = environment.folder.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if not _lock(file.fileno(), wait=False):
            _say(f"waiting for another run that is making {_shown(environment)}")
            while not _lock(file.fileno(), wait=True):
                pass
        yield file.fileno()


def _lock(fileno: int, *, wait: bool) -> bool:
    """Lock the open file; the system lets go of it when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        mode = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK  # type: ignore[attr-defined,unused-ignore]
        os.lseek(fileno, 0, os.SEEK_SET)
        try:
            msvcrt.locking(fileno, mode, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False  # also after ten seconds of waiting
        return True
    try:
        fcntl.flock(fileno, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _shown(environment: Environment) -> str:
    return f".venv/{environment.name}"


def make_ready(environment: Environment) -> None:
    """Make the environment unless it is there, whole and as asked for."""
    if environment.is_ready():
        return
    with _alone(environment) as lock:
        if not environment.is_ready():
            _make(environment, lock)


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
    files = ", ".join(environment.requirements + environment.constraints)
    _say(f"making {_shown(environment)} with Python {_version()} from {files} (once)")
    if environment.folder.exists():
        # The stamp first: what is half removed must not look whole.
        environment.stamp.unlink(missing_ok=True)
        shutil.rmtree(environment.folder)
    _call("python -m venv", [_base_python(), "-I", "-m", "venv", str(environment.folder)], lock)
    command = [str(environment.python), "-I", "-m", "pip", "install", "--no-input", "--no-user"]
    command += ["--disable-pip-version-check", "--prefer-binary"]
    for name in environment.requirements:
        command += ["--requirement", str(ROOT / name)]
    for name in environment.constraints:
        command += ["--constraint", str(ROOT / name)]
    _call("pip", command, lock)
    environment.stamp.write_text(made_from, "utf-8")


def _base_python() -> str:
    """Return the Python below a virtual environment: ours may be the one that is made anew."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return base if os.path.isfile(base) else os.path.realpath(sys.executable)  # noqa: PTH113


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


def start(environment: Environment, task: str, options: list[str]) -> int:
    """Become the task: its exit code and the signals sent to it are its own.

    `-P`: the folder the caller is in may have a `tasks` or `scripts` of its own. Of PYTHONPATH
    and PYTHONHOME the task sees ours alone, since theirs are meant for another Python.
    """
    python = str(environment.python)
    command = [python, "-P", "-m", f"tasks.{task.replace('-', '_')}", *options]
    env = {name: text for name, text in os.environ.items() if name != "PYTHONHOME"}
    env["PYTHONPATH"] = str(ROOT)
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execve(python, command, env)  # noqa: S606
    import signal
    import subprocess

    # Ctrl-C reaches the task as well; it decides, and we wait for its exit code.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.run(command, env=env, check=False).returncode


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        sys.stdout.write(overview())
        return 0
    task, options = arguments[0], arguments[1:]
    try:
        check_task(task)
        environment = environment_for(task, options)
        make_ready(environment)
        return start(environment, task, options)
    except LaunchError as error:
        _say(f"error: {error}")
        return error.code
    except OSError as error:
        _say(f"error: {error.filename or task}: {error.strerror}")
        return _USAGE


if __name__ == "__main__":
    import signal

    # Whoever ends us while pip works ends pip too, and gets no traceback.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        _say("interrupted; what was half made is made anew the next time")
        sys.exit(_INTERRUPTED)
