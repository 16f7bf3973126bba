"""Programs run to their end, or ended with all that they have started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scripts.core.child_process import run_program


@pytest.mark.skipif(os.name != "posix", reason="process groups are of POSIX")
@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_a_group_that_cannot_be_killed_hides_nothing(
    error: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends the program, Ctrl-C or too long a wait, is what is raised."""

    def fails(*_: int) -> None:
        raise error

    monkeypatch.setattr(os, "killpg", fails)
    command = [sys.executable, "-c", "import time; time.sleep(1)"]
    with pytest.raises(subprocess.TimeoutExpired):
        run_program(command, os.environ, timeout=0.1)
