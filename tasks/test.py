"""`pixi run test`, `./run test`: run the tests with the packages of this environment."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from scripts.core.command import run_task, task_parser
from scripts.core.console import Console, Verbosity
from scripts.core.errors import ExitCode, Problem, usage_error
from scripts.core.report import Report

_ROOT = Path(__file__).resolve().parents[1]
_OLDEST = "requirements-oldest.txt"

_OURS = frozenset(
    ["-h", "--help", "-q", "--quiet", "-v", "--verbose", "--json", "--oldest", "--deep"]
)

# pytest.ExitCode, by its documentation; whatever else it may return is a failure of the program.
_MEANING = {
    1: ("some tests failed", ExitCode.FINDINGS),
    4: ("did not understand its options", ExitCode.USAGE),
    5: ("found no test to run", ExitCode.USAGE),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the task; what is not an option of ours goes to pytest, as it stands."""
    parser = task_parser("test", "Run the tests; all other arguments are pytest's.")
    parser.add_argument(
        "--oldest",
        action="store_true",
        help=f"insist on the old releases of {_OLDEST}; `./run` installs them",
    )
    parser.add_argument(
        "--deep", action="store_true", help="sweep over every case, where a sample is the rule"
    )
    arguments = sys.argv[1:] if argv is None else argv
    theirs = [each for each in arguments if each not in _OURS]

    def handler(options: argparse.Namespace, console: Console) -> Report:
        verbosity = {Verbosity.QUIET: ["-q"], Verbosity.VERBOSE: ["-v"]}.get(console.verbosity, [])
        deep = ["--deep"] if options.deep else []
        return _test([*verbosity, *deep, *theirs], oldest=options.oldest, console=console)

    return run_task("test", parser, handler, [each for each in arguments if each in _OURS])


def _test(pytest_options: Sequence[str], *, oldest: bool, console: Console) -> Report:
    rattler = version("py-rattler")
    if oldest:
        _check_oldest(rattler)
    tested = {"py-rattler": rattler, "python": platform.python_version()}
    console.note("testing with " + ", ".join(f"{name} {each}" for name, each in tested.items()))
    command = [sys.executable, "-m", "pytest", "--rootdir", str(_ROOT), *pytest_options]
    done = subprocess.run(
        command, cwd=_ROOT, stdout=sys.stderr if console.json_wanted else None, check=False
    )
    if done.returncode == 2:  # pytest was interrupted, and has said so
        raise KeyboardInterrupt
    return Report(data=tested, problems=_problems(done.returncode))


def _problems(code: int) -> tuple[Problem, ...]:
    if code == 0:
        return ()
    message, ours = _MEANING.get(code, (f"ended with exit code {code}", ExitCode.PROGRAM))
    return (Problem(subject="pytest", message=message, code=ours),)


def _check_oldest(rattler: str) -> None:
    """Refuse to call a newer py-rattler the oldest."""
    lines = (_ROOT / _OLDEST).read_text(encoding="utf-8").splitlines()
    wanted = next(line.partition("==")[2] for line in lines if line.startswith("py-rattler=="))
    if rattler != wanted:
        raise usage_error(
            "py-rattler",
            "not the oldest that is allowed",
            ("oldest", wanted),
            ("here", rattler),
            help="./run test --oldest",
        )


if __name__ == "__main__":
    sys.exit(main())
