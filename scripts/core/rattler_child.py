"""Call py-rattler in a child process, since it may crash at interpreter exit. Acts.

The child is `scripts/core/rattler_worker.py`, the one module that imports rattler; what goes in
and comes out is JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.redact import redact
from scripts.core.report import Json

_ROOT = Path(__file__).resolve().parents[2]
_SHOWN = 20  # last lines of the child's stderr that an error shows


class RattlerRefusedError(Exception):
    """py-rattler ran and said no; the text is its own message."""


def call_rattler(
    function: str, arguments: Mapping[str, Json], env: Mapping[str, str] | None = None
) -> Json:
    """Run one function of the worker and return its result.

    `env` replaces the child's environment variables. Raises RattlerRefusedError with rattler's
    message where it raised one, and a MirrorError of exit code 4 where the child died without a
    result.
    """
    environment = dict(os.environ if env is None else env)
    environment["PYTHONPATH"] = str(_ROOT)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "scripts.core.rattler_worker", function],
        input=json.dumps(dict(arguments)).encode(),
        capture_output=True,
        env=environment,
        check=False,
    )
    # Judged by the result, not by the exit code: the work may be done though the exit crashed.
    for line in reversed(done.stdout.decode("utf-8", "replace").splitlines()):
        if line.startswith('{"rattler": '):
            answer = json.loads(line)["rattler"]
            if "error" in answer:
                raise RattlerRefusedError(answer["error"])
            result: Json = answer["result"]
            return result
    last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-_SHOWN:]
    raise MirrorError(
        Problem(
            subject=f"py-rattler ({function})",
            trouble=f"ended with status {done.returncode} and no result",
            code=ExitCode.PROGRAM,
            facts=tuple(("said", redact(line)) for line in last),
        )
    )
