"""Show how far the downloads are. A bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from scripts.core.console import Console
from scripts.core.redact import printable
from scripts.core.report import human_size

_BETWEEN_LINES: Final = 10.0  # seconds
_NAMES_SHOWN: Final = 3

Show = Callable[[int, int, Sequence[str], int], None]
"""Show how far it is: artifacts done, bytes so far, names under way, tries that failed."""


@contextlib.contextmanager
def progress(
    console: Console, count: int, total: int, *, task: str = "fetch", there: int = 0
) -> Iterator[Show]:
    """Show progress of `count` artifacts, `total` bytes, while the block of this task runs.

    `there` are bytes that an earlier run has left; of unknown sizes more may come than `total`.
    """
    if not console.is_terminal:
        yield _lines(console, count, total, task, there)
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
        row = bar.add_task("", total=total or None, counted=f"0/{count}")

        def show(done: int, size: int, names: Sequence[str], retries: int) -> None:
            more = f" +{len(names) - _NAMES_SHOWN}" if len(names) > _NAMES_SHOWN else ""
            shown = ", ".join(map(printable, names[:_NAMES_SHOWN]))
            bar.update(
                row,
                completed=size,
                counted=f"{done}/{count}",
                description=f"{shown}{more}{_failed(retries)}",
            )

        yield show


def _lines(console: Console, count: int, total: int, task: str, there: int) -> Show:
    """Print a line if the last one is long enough ago: for logs, where a bar would be noise."""
    began = last = time.monotonic()

    def show(done: int, size: int, _names: Sequence[str], retries: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _BETWEEN_LINES:
            return
        last = now
        speed = max(size - there, 0) / (now - began)
        left = f", {(total - size) / speed:.0f} s left" if speed and size < total else ""
        whole = f" of {human_size(total)}" if 0 < total >= size else ""
        console.note(
            f"{task}: {done} of {count}, {human_size(size)}{whole}, "
            f"{human_size(round(speed))}/s{left}{_failed(retries)}"
        )

    return show


def _failed(retries: int) -> str:
    return f", {retries} tries failed" if retries else ""
