"""Run a task in a virtual environment made from PyPI: what `./run` and `run.cmd` start.

In a builder they start `pixi-mirror.pyz`, which unpacks itself and calls `launch`.

It needs the standard library alone, and a Python as old as 3.6 can still read it: such a one
shall say a sentence, not a SyntaxError. It never calls pixi. Where the environment is ready it
has to be gone in milliseconds, so what is slow to import stays out or waits.
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

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from scripts.environment import (
    HOME,
    OLDEST,
    ROOT,
    TEST,
    TOOLS,
    VirtualEnvironment,
    make_ready,
    read_text,
)

TYPE_CHECKING = False  # as typing has it, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.core.errors import MirrorError

# The features of pixi.toml that hold tasks: on workspaces, and on this template itself.
ON_WORKSPACES = "tasks"
ON_THE_TEMPLATE = "test"
# What users start this by.
RUN = "run" if os.name == "nt" else "./run"
# A task that runs, and is not listed with those that a workspace's user wants.
DEMO = "demo"

COMMON_OPTIONS = "All take --manifest-path PATH (default: the nearest), --json, -q, -v, --help."


def described_tasks(*features: str) -> dict[str, str]:
    """Read name and description of the tasks of these features, in the order of pixi.toml.

    There is no other place where they stand. Empty where the file cannot be read: edited, or
    TOML 1.1, which tomllib does not know.
    """
    import tomllib

    try:
        tables = tomllib.loads(read_text(os.path.join(ROOT, "pixi.toml")))["feature"]
        return {
            name: task["description"]
            for feature in features
            for name, task in tables.get(feature, {}).get("tasks", {}).items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def module_of(task: str) -> str:
    """Name the module of a task: `tasks.update_mirror`."""
    return "tasks." + task.replace("-", "_")


def show_tasks(invocation: str, name: str, note: str) -> int:
    """Print the tasks for users, their descriptions one below the other.

    `name` is how the usage writes the task's name: `[NAME]` where it may be left out.
    """
    from scripts.core.console import Console
    from scripts.core.report import table

    tasks = described_tasks(ON_WORKSPACES)
    tasks.pop(DEMO, None)
    rows = [f"  {row}\n" for row in table([*tasks.items()])]
    usage = f"usage: {invocation} {name} [options]    ({invocation} NAME --help for its options)"
    for line in f"{usage}\n\n{''.join(rows)}\n{COMMON_OPTIONS}\n{note}".split("\n"):
        Console().result(line)
    return 0


def no_such_task(name: str, invocation: str, listing: str, *features: str) -> "MirrorError":
    """Say that there is no such task, and which one may have been meant.

    `listing` is the command that lists them.
    """
    from difflib import get_close_matches

    from scripts.core.errors import usage_error

    near = get_close_matches(name, described_tasks(*features), n=1)
    hint = f"`{listing}` lists the tasks"
    if near:
        hint = f"did you mean `{invocation} {near[0]}`?"
    return usage_error(name, "there is no such task", help=hint)


def run_main(run: "Callable[[list[str]], int]") -> int:
    """Run a `main` with the command line, print what is wrong, and return the exit code."""
    try:
        return run(sys.argv[1:])
    except (Exception, KeyboardInterrupt) as error:
        import traceback

        from scripts.core.console import Console
        from scripts.core.errors import ExitCode, MirrorError, usage_error
        from scripts.core.report import Report

        if isinstance(error, KeyboardInterrupt):
            Console().note("interrupted; what was half made is made anew the next time")
            return ExitCode.INTERRUPTED
        if isinstance(error, OSError):
            subject = str(error.filename or "this machine")
            error = usage_error(subject, str(error.strerror or error))
        if not isinstance(error, MirrorError):
            Console().bug(traceback.format_exc())
            return ExitCode.BUG
        report = Report(problems=error.problems)
        Console().report(report)
        return report.exit_code


def start(environment: VirtualEnvironment, task: str, options: list[str]) -> int:
    """Become the task: its exit code and the signals sent to it are its own.

    `-P`: the folder the caller is in may have a `tasks` or `scripts` of its own. Of PYTHONPATH
    and PYTHONHOME the task sees ours alone, since theirs are meant for another Python.
    """
    command = [environment.python, "-P", "-m", module_of(task), *options]
    env = {name: text for name, text in os.environ.items() if name != "PYTHONHOME"}
    env["PYTHONPATH"] = ROOT
    env["PIXI_MIRROR_RUN"] = RUN  # scripts/core/invocation.py
    if os.name != "nt":
        os.execve(environment.python, command, env)  # noqa: S606
    import signal
    import subprocess

    # Ctrl-C reaches the task as well; it decides, and we wait for its exit code.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.run(command, env=env, check=False).returncode


def main(arguments: list[str]) -> int:
    """Do what the command line says; `test --oldest` has an environment of its own."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        venv = os.path.join(HOME, ".venv")
        note = f"It makes a virtual environment from PyPI, once, in {venv}."
        if described_tasks(ON_THE_TEMPLATE):
            note = (
                f"`{RUN} demo` shows the main job; CONTRIBUTING.md has developers' tasks.\n{note}"
            )
        return show_tasks(RUN, "NAME", note)
    task, *options = arguments
    module = task.replace("-", "_")
    is_name = module.isidentifier() and not module.startswith("_")
    if not is_name or not os.path.isfile(os.path.join(ROOT, "tasks", f"{module}.py")):
        raise no_such_task(task, RUN, f"{RUN} --help", ON_WORKSPACES, ON_THE_TEMPLATE)
    environment = TEST if task in {"test", "lint", "bench"} else TOOLS
    if task == "test" and "--oldest" in options:
        environment = OLDEST
    make_ready(environment)
    return start(environment, task, options)


def launch() -> int:
    """Run as the program that was started; return the exit code."""
    import signal

    # Whoever ends us while pip works ends pip too, and gets no traceback.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run_main(main)


if __name__ == "__main__":
    sys.exit(launch())
