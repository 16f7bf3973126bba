"""Show how far the downloads are. A bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from scripts.core.console import Console
from scripts.core.redact import printable
from scripts.core.report import human_size
from scripts.fetch.download import Flow

if TYPE_CHECKING:
    import rich.progress

_BETWEEN_LINES: Final = 10.0  # seconds
_NAMES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far it is: artifacts done, bytes so far in all, what is under way, tries that failed."""

    done: int
    size: int
    flows: Sequence[Flow]
    retries: int

    @property
    def trouble(self) -> str:
        """Say how many tries failed, where any did."""
        return f", {self.retries} tries failed" if self.retries else ""


class Progress(Protocol):
    """Something that shows progress."""

    def show(self, state: State) -> None:
        """Show how far it is."""


@contextlib.contextmanager
def progress(console: Console, count: int, total: int) -> Iterator[Progress]:
    """Show progress of `count` artifacts, `total` bytes, while the block runs."""
    if not console.is_terminal:
        yield Lines(console, count, total)
        return
    import rich.console
    import rich.progress

    columns = (
        rich.progress.TextColumn("{task.fields[counted]}"),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(compact=True),
        rich.progress.TextColumn("{task.description}", markup=False),
    )
    terminal = rich.console.Console(stderr=True)
    with rich.progress.Progress(*columns, console=terminal, transient=True) as bar:
        yield _Bar(bar, count, total)


class _Bar:
    """A bar with bytes, speed, time left and the files under way."""

    def __init__(self, bar: rich.progress.Progress, count: int, total: int) -> None:
        self._bar = bar
        self._count = count
        self._task = bar.add_task("", total=total or None, counted=f"0/{count}")

    def show(self, state: State) -> None:
        """Draw it."""
        names = [printable(flow.artifact.name) for flow in state.flows]
        more = f" +{len(names) - _NAMES_SHOWN}" if len(names) > _NAMES_SHOWN else ""
        self._bar.update(
            self._task,
            completed=state.size,
            counted=f"{state.done}/{self._count}",
            description=", ".join(names[:_NAMES_SHOWN]) + more + state.trouble,
        )


class Lines:
    """A line now and then: for logs, where a bar would be noise."""

    def __init__(self, console: Console, count: int, total: int) -> None:
        """Start the clock; the first line comes after the first ten seconds."""
        self._console = console
        self._count = count
        self._total = total
        self._began = self._last = time.monotonic()

    def show(self, state: State) -> None:
        """Print a line if the last one is long enough ago."""
        now = time.monotonic()
        if now - self._last < _BETWEEN_LINES:
            return
        self._last = now
        size, total = state.size, self._total
        speed = size / (now - self._began)
        left = f", {(total - size) / speed:.0f} s left" if 0 < size < total else ""
        self._console.note(
            f"fetch: {state.done} of {self._count}, {human_size(size)} of {human_size(total)}, "
            f"{human_size(round(speed))}/s{left}{state.trouble}"
        )
