"""Time whole commands, start-up included, several times in turn."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

Command = Sequence[str] | str

_PSS: Final = re.compile(rb"^Pss: +([0-9]+) kB", re.MULTILINE)
_LOOK: Final = 0.02  # seconds between two looks at the memory, at least
_REST: Final = 50  # times as long as a look took: to look into a large process slows it down


@dataclass(slots=True)
class Contender:
    """One way to do a job: a command (a text goes to the shell), and what clears up before it.

    `reads` takes the seconds from what the command prints, where they are not the whole run's.
    """

    name: str
    command: Command
    before: Callable[[], None] = lambda: None
    reads: Callable[[str], float] | None = None
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    """What it used of the cores, all its processes; other programs make that little longer."""
    peak: int = 0
    """Most memory of all its processes together, in bytes; 0 where the system does not tell."""

    @property
    def best(self) -> float:
        """The shortest of all runs, in seconds: other programs on the machine only add to it."""
        return min(self.seconds)

    @property
    def cpu(self) -> float:
        """The least that a run used of the cores, in seconds."""
        return min(self.cpu_seconds)


def race(
    contenders: Sequence[Contender],
    rounds: int,
    cwd: Path,
    environ: Mapping[str, str],
    *,
    warms: bool = True,
) -> None:
    """Run all contenders in turn, round after round, so that the machine's moods hit all alike.

    With `warms` a first round warms caches and does not count: in it the memory is looked at,
    which takes time.
    """
    for number in range(-1 if warms else 0, rounds):
        for contender in contenders:
            contender.before()
            before = os.times()
            seconds = _run(contender, cwd, environ, looks=number < 0 or not warms)
            after = os.times()
            if number >= 0:
                contender.seconds.append(seconds)
                used = after.children_user + after.children_system
                contender.cpu_seconds.append(used - before.children_user - before.children_system)


def _run(contender: Contender, cwd: Path, environ: Mapping[str, str], *, looks: bool) -> float:
    """Run one command; return its seconds."""
    with (cwd / "output").open("w+b") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            contender.command,
            shell=isinstance(contender.command, str),
            cwd=cwd,
            env=dict(environ),
            stdout=output,
            stderr=subprocess.STDOUT if contender.reads is None else subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        ended = threading.Event()
        if looks:
            threading.Thread(target=_look, args=(contender, process.pid, ended)).start()
        code = process.wait()
        seconds = time.perf_counter() - began
        ended.set()
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
        if code != 0:
            raise RuntimeError(f"{contender.name} ended with {code}:\n{said[-2000:]}")
    return seconds if contender.reads is None else contender.reads(said)


def _look(contender: Contender, pid: int, ended: threading.Event) -> None:
    took = 0.0
    while not ended.wait(max(_LOOK, _REST * took)):
        began = time.perf_counter()
        contender.peak = max(contender.peak, _memory(pid))
        took = time.perf_counter() - began


def _memory(pid: int) -> int:
    """Return the memory of a process and of all below it; what they share counts once."""
    below, own = "", b""
    with contextlib.suppress(OSError):
        own = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        below = " ".join((each / "children").read_text(encoding="ascii") for each in threads)
    found = _PSS.search(own)
    return (int(found[1]) * 1024 if found else 0) + sum(map(_memory, map(int, below.split())))
