"""Run downloads side by side, a fixed number at once, and hand on each result.

The threads are daemons: one that waits for a server must not hold up the end of the run.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from scripts.core.artifact import Artifact
from scripts.fetch.download import Download, DownloadContext, StoppedError
from scripts.fetch.plan import Downloaded, FailedDownload
from scripts.fetch.progress import Show
from scripts.network.errors import DownloadError

if TYPE_CHECKING:
    from scripts.network.http import HttpClient

JOBS: Final = 16  # at once, where nothing is set; measured on loopback and 30 ms away
_MOST: Final = 128  # at once, whatever is asked for: each is a thread and two open files
_TICK: Final = 0.1  # seconds between two looks at how far the downloads are
_GRACE: Final = 1.0  # seconds that threads get to put down their part after a stop


_Ended = tuple[Download, Downloaded | FailedDownload | BaseException]


def run_downloads(
    artifacts: Sequence[Artifact],
    context: DownloadContext,
    make_client: Callable[[], HttpClient],
    jobs: int | None,
    show: Show,
) -> Generator[Downloaded | FailedDownload]:
    """Download `artifacts`, in their order, `jobs` at once; yield each result as it comes.

    Closing this ends all: every thread stops at its next chunk, and a silent server is not waited
    for.
    """
    todo, done = queue.SimpleQueue[Download | None](), queue.SimpleQueue[_Ended]()
    for artifact in artifacts:
        todo.put(Download(artifact, context))
    under_way: dict[PurePosixPath, Download] = {}
    threads = [
        threading.Thread(
            target=_work, args=(todo, done, under_way, make_client), name="download", daemon=True
        )
        for _ in range(min(jobs or JOBS, _MOST, len(artifacts)))
    ]
    left, came, size, retries = len(artifacts), 0, 0, 0
    try:
        for thread in threads:
            thread.start()
        while left:
            active = list(under_way.values())
            received = size + sum(each.received for each in active)
            failed = retries + sum(each.retries for each in active)
            show(came, received, [each.artifact.name for each in active], failed)
            try:
                download, result = done.get(timeout=_TICK)
            except queue.Empty:
                continue
            left, retries = left - 1, retries + download.retries
            del under_way[download.artifact.path]
            if isinstance(result, BaseException):
                raise result
            if isinstance(result, Downloaded):
                came, size = came + 1, size + result.status.st_size
            yield result
    finally:
        context.stop.set()
        for _ in threads:
            todo.put(None)
        context.router.rattler.close()
        deadline = time.monotonic() + _GRACE
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _work(
    todo: queue.SimpleQueue[Download | None],
    done: queue.SimpleQueue[_Ended],
    under_way: dict[PurePosixPath, Download],
    make_client: Callable[[], HttpClient],
) -> None:
    """Take downloads until there are none: one thread, one client."""
    with contextlib.ExitStack() as stack:
        client = functools.cache(lambda: stack.enter_context(contextlib.closing(make_client())))
        while (download := todo.get()) is not None and not download.context.stop.is_set():
            artifact = download.artifact
            under_way[artifact.path] = download
            try:
                done.put((download, download.run(client)))
            except DownloadError as error:
                done.put((download, FailedDownload(artifact=artifact, error=error)))
            except StoppedError:
                break
            except BaseException as error:  # raised again in the main thread
                done.put((download, error))
