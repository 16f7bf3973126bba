"""Programs run to their end, or ended with all that they have started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scripts.core.child_process import describe_exit, is_crash, quoted, run_program


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


@pytest.mark.parametrize(
    ("code", "crashed", "said"),
    [
        (0xC0000005, True, "ended with exit code 0xc0000005"),  # of Windows: an access violation
        (126, True, "ended with exit code 126"),
        (-9, True, "was ended by signal 9" if os.name == "nt" else "was ended by SIGKILL"),
        (0, False, "ended with exit code 0"),
        (1, False, "ended with exit code 1"),
    ],
)
def test_how_a_program_ended(code: int, *, crashed: bool, said: str) -> None:
    assert (is_crash(code), describe_exit(code)) == (crashed, said)


@pytest.mark.parametrize("text", ["plain", "with a blank", "a&b", "a&b\\", "50%", "it's"])
def test_what_is_quoted_comes_through_the_shell(text: str) -> None:
    """`cmd` on Windows, where a name in single quotes is another name."""
    command = (
        f"{quoted(sys.executable)} -c {quoted('import sys; print(sys.argv[1])')} {quoted(text)}"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == f"{text}\n"
