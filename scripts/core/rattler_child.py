"""Call py-rattler in a child process, since it may crash at interpreter exit.

The child is `scripts/core/rattler_worker.py`, which alone imports rattler (and `rattler_solver.py`
with it); what goes in and comes out is JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from scripts.core.child_process import IMPORT_HELP, program_error, run_program, timed_out
from scripts.core.invocation import TEMPLATE
from scripts.core.report import Json

_LONGEST: Final = 2 * 3600.0  # seconds; a download ends by itself after an hour
# The subdir that py-rattler was compiled for, by system and machine.
_SUBDIRS: Final[dict[tuple[str, str] | None, str]] = {
    ("linux", "x86_64"): "linux-64",
    ("linux", "aarch64"): "linux-aarch64",
    ("darwin", "x86_64"): "osx-64",
    ("darwin", "arm64"): "osx-arm64",
    ("win32", "AMD64"): "win-64",
}
_LARGEST_OF_32_BITS: Final = 2**32


class RattlerRefusedError(Exception):
    """py-rattler ran and said no; the text is its own message."""


def call_rattler(
    function: str,
    arguments: Mapping[str, Json],
    env: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
    timeout: float = _LONGEST,
) -> Json:
    """Run one function of the worker and return its result.

    `env` replaces the child's environment variables, `wrapper` is a program, with its options,
    that starts the child. Raises RattlerRefusedError with rattler's message where it raised one,
    and a MirrorError of exit code 4 where the child died without a result, or has none after
    `timeout` seconds.
    """
    subject = f"py-rattler ({function})"
    environment = worker_environment(os.environ if env is None else env)
    command = [*wrapper, *worker_command(function)]
    try:
        done = run_program(
            command, environment, input=json.dumps(dict(arguments)).encode(), timeout=timeout
        )
    except subprocess.TimeoutExpired:
        help_ = "see whether this machine, or a disk of it, hangs; then run this again"
        raise program_error(subject, timed_out(timeout), help=help_) from None
    # Judged by the result, not by the exit code: the work may be done though the exit crashed.
    answer = parse_answer(done.stdout.decode("utf-8", "replace"))
    if "error" in answer:
        raise RattlerRefusedError(answer["error"])
    if "broken" in answer:
        message = f"cannot be imported: {answer['broken']}"
        raise program_error(subject, message, help=IMPORT_HELP.format("py-rattler"))
    if "result" in answer:
        result: Json = answer["result"]
        return result
    raise program_error(subject, f"ended with status {done.returncode} and no result", done.stderr)


def this_subdir() -> str:
    """Return the subdir of this machine, as py-rattler sees it; of the usual ones at once."""
    machine = (sys.platform, platform.machine()) if sys.maxsize > _LARGEST_OF_32_BITS else None
    return _SUBDIRS.get(machine) or str(call_rattler("current_platform", {}))


def rank_versions(versions: Iterable[str]) -> Mapping[str, int]:
    """Rank versions in conda's order, the lowest first; without any, no child is started."""
    wanted = sorted(set(versions))
    if not wanted:
        return {}
    ranks = call_rattler("rank_versions", {"versions": list(wanted)})
    assert isinstance(ranks, dict)
    return {text: rank for text, rank in ranks.items() if isinstance(rank, int)}


def worker_command(function: str) -> list[str]:
    """Return the command that runs a function of the worker."""
    return [sys.executable, "-P", "-m", "scripts.core.rattler_worker", function]


def worker_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return a child's environment variables with those that the worker needs."""
    return {**env, "PYTHONPATH": str(TEMPLATE), "PYTHONIOENCODING": "utf-8"}


def parse_answer(output: str) -> dict[str, Any]:
    """Find the line with the answer; empty where there is none, or only its beginning."""
    for line in reversed(output.splitlines()):
        if line.startswith('{"rattler": '):
            with contextlib.suppress(ValueError):  # it died while writing
                answer: dict[str, Any] = json.loads(line)["rattler"]
                return answer
    return {}
