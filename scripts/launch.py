"""Run a task in a virtual environment made from PyPI: what `./run` and `run.cmd` start.

In a builder they start `pixi-mirror.pyz`, which unpacks itself and calls `launch`.

It needs the standard library alone, and a Python as old as 3.6 can still read it: such a one
shall say a sentence, not a SyntaxError. It never calls pixi. Where the environment is ready it
has to be gone in milliseconds, so what is slow to import stays out or waits.
"""

import errno
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

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from scripts.environment import (
    HOME,
    OLDEST,
    ROOT,
    TEST,
    TOOLS,
    Environment,
    LaunchError,
    make_ready,
    put,
    say,
)

# As scripts/core/errors.py.
_USAGE, _INTERRUPTED = 2, 130

# The features of pixi.toml that hold tasks: on workspaces, and on this template itself.
ON_WORKSPACES = "tasks"
ON_THE_TEMPLATE = "test"


def described_tasks(*features: str) -> dict[str, str]:
    """Read name and description of the tasks of these features, in the order of pixi.toml.

    There is no other place where they stand. Empty where the file cannot be read: edited, or
    TOML 1.1, which tomllib does not know.
    """
    import tomllib

    try:
        with open(os.path.join(ROOT, "pixi.toml"), encoding="utf-8") as file:
            manifest = tomllib.loads(file.read())
        return {
            name: task["description"]
            for feature in features
            for name, task in manifest["feature"][feature]["tasks"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def task_rows(tasks: dict[str, str]) -> list[str]:
    """Write a line for each task, the descriptions one below the other."""
    width = max(map(len, tasks), default=0)
    return [f"  {name.ljust(width)}  {description}".rstrip() for name, description in tasks.items()]


def nearest_task(name: str, names: list[str]) -> str | None:
    """Find the task that may have been meant; None where none is near."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, names, n=1)), None)


def module_of(task: str) -> str:
    """Name the module of a task: `tasks.update_mirror`."""
    return f"tasks.{task.replace('-', '_')}"


def environment_for(task: str, options: list[str]) -> Environment:
    """Choose the environment as pixi.toml does; `test --oldest` has one of its own."""
    if task == "test" and "--oldest" in options:
        return OLDEST
    return TEST if task in {"test", "lint", "bench"} else TOOLS


def named_tasks() -> dict[str, str]:
    """Name the tasks, described where pixi.toml describes them, and in its order."""
    files = os.listdir(os.path.join(ROOT, "tasks"))
    names = {name[:-3].replace("_", "-") for name in files if name.endswith(".py")} - {"--init--"}
    described = described_tasks(ON_WORKSPACES, ON_THE_TEMPLATE)
    found = {name: text for name, text in described.items() if name in names}
    return found | dict.fromkeys(sorted(names.difference(found)), "")


def overview() -> str:
    """Write what `./run` alone prints."""
    lines = "".join(f"{row}\n" for row in task_rows(named_tasks()))
    folder = os.path.join(HOME, ".venv")
    return (
        "usage: ./run NAME [options]    (./run NAME --help for its options)\n\n"
        f"{lines}\nIt makes a virtual environment from PyPI, once, in {folder}.\n"
    )


def show(text: str) -> int:
    """Print a result; one that cannot be written is an error, one that nobody reads is none."""
    error = put(text, sys.stdout)
    if error is None or error.errno in {errno.EPIPE, errno.EINVAL}:  # as Windows says it
        return 0
    say(f"error: stdout: cannot be written: {error.strerror}")
    return _USAGE


def check_task(name: str) -> None:
    """Refuse a task that is not there, with the nearest one that is."""
    module = name.replace("-", "_")
    is_name = module.isidentifier() and not name.startswith(("-", "_"))
    if is_name and os.path.isfile(os.path.join(ROOT, "tasks", f"{module}.py")):
        return
    near = nearest_task(name, list(named_tasks()))
    hint = f"did you mean `./run {near}`?" if near else "`./run` alone lists the tasks"
    raise LaunchError(f"{name}: there is no such task\nhelp: {hint}", _USAGE)


def start(environment: Environment, task: str, options: list[str]) -> int:
    """Become the task: its exit code and the signals sent to it are its own.

    `-P`: the folder the caller is in may have a `tasks` or `scripts` of its own. Of PYTHONPATH
    and PYTHONHOME the task sees ours alone, since theirs are meant for another Python.
    """
    command = [environment.python, "-P", "-m", module_of(task), *options]
    env = {name: text for name, text in os.environ.items() if name != "PYTHONHOME"}
    env["PYTHONPATH"] = ROOT
    env["PIXI_MIRROR_RUN"] = "run" if os.name == "nt" else "./run"  # scripts/core/invocation.py
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execve(environment.python, command, env)  # noqa: S606
    import signal
    import subprocess

    # Ctrl-C reaches the task as well; it decides, and we wait for its exit code.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.run(command, env=env, check=False).returncode


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        return show(overview())
    task, options = arguments[0], arguments[1:]
    try:
        check_task(task)
        environment = environment_for(task, options)
        make_ready(environment)
        return start(environment, task, options)
    except LaunchError as error:
        say(f"error: {error}")
        return error.code
    except OSError as error:
        say(f"error: {error.filename or task}: {error.strerror}")
        return _USAGE


def launch() -> int:
    """Do it as the program that was started; return the exit code."""
    import signal

    # Whoever ends us while pip works ends pip too, and gets no traceback.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main(sys.argv[1:])
    except KeyboardInterrupt:
        say("interrupted; what was half made is made anew the next time")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(launch())
