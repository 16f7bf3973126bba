"""Time whole commands, start-up included, several times in turn."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Command = Sequence[str] | str


@dataclass(slots=True)
class Contender:
    """One way to do a job: a command (a text goes to the shell), and what clears up before it."""

    name: str
    command: Command
    before: Callable[[], None] = lambda: None
    seconds: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def median(self) -> float:
        """The median of all runs, in seconds."""
        return statistics.median(self.seconds)


def race(
    contenders: Sequence[Contender], rounds: int, cwd: Path, environ: Mapping[str, str]
) -> None:
    """Run all contenders in turn, round after round, so that the machine's moods hit all alike.

    The first round warms caches and does not count.
    """
    for number in range(rounds + 1):
        for contender in contenders:
            contender.before()
            seconds, peak = _run(contender, cwd, environ)
            if number:
                contender.seconds.append(seconds)
                contender.peak = max(contender.peak, peak)


def _run(contender: Contender, cwd: Path, environ: Mapping[str, str]) -> tuple[float, int]:
    """Run one command; return its seconds and its peak memory in bytes (0 where not known)."""
    shell = isinstance(contender.command, str)
    with (cwd / "output").open("w+b") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            contender.command,
            shell=shell,
            cwd=cwd,
            env=dict(environ),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        peak = 0
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            code = process.returncode = os.waitstatus_to_exitcode(status)
            peak = usage.ru_maxrss * 1024
        else:
            code = process.wait()
        seconds = time.perf_counter() - began
        if code != 0:
            output.seek(0)
            said = output.read().decode("utf-8", "replace")[-2000:]
            raise RuntimeError(f"{contender.name} ended with {code}:\n{said}")
    return seconds, peak
