"""Run downloads side by side, a fixed number at once, and hand on each result.

The threads are daemons: one that waits for a server must not hold up the end of the run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scripts.core.artifact import Artifact
from scripts.fetch.download import (
    Download,
    DownloadContext,
    Downloaded,
    DownloadProgress,
    StoppedError,
)
from scripts.network.errors import DownloadError

if TYPE_CHECKING:
    from scripts.network.http import HttpClient

JOBS: Final = 16  # at once, where nothing is set; measured on loopback and 30 ms away
_MOST: Final = 128  # at once, whatever is asked for: each is a thread and two open files
_TICK: Final = 0.1  # seconds between two looks at how far the downloads are
_GRACE: Final = 1.0  # seconds that threads get to put down their part after a stop


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedDownload:
    """An artifact that did not come, and why."""

    artifact: Artifact
    error: DownloadError


_Ended = Downloaded | FailedDownload | BaseException


class Pool:
    """Downloads of `artifacts`, in their order; `state` may be read at any time."""

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        context: DownloadContext,
        make_client: Callable[[], HttpClient],
        jobs: int | None,
    ) -> None:
        """`jobs`: how many at once; None for the default."""
        self._context, self._make_client = context, make_client
        self._left = len(artifacts)
        self._todo: queue.SimpleQueue[DownloadProgress | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[DownloadProgress, _Ended]] = queue.SimpleQueue()
        self._under_way: dict[int, DownloadProgress] = {}
        self._came = self._size = self._retries = 0
        for artifact in artifacts:
            self._todo.put(DownloadProgress(artifact))
        count = min(jobs or JOBS, _MOST, len(artifacts))
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]

    @property
    def state(self) -> tuple[int, int, list[str], int]:
        """How many came so far, bytes, names under way, and tries that failed; for display."""
        under_way = list(self._under_way.values())
        size = self._size + sum(each.received for each in under_way)
        retries = self._retries + sum(each.retries for each in under_way)
        return self._came, size, [each.artifact.name for each in under_way], retries

    def run(self) -> Iterator[Downloaded | FailedDownload | None]:
        """Yield each result as it comes, and None now and then so that progress can be shown."""
        for thread in self._threads:
            thread.start()
        try:
            while self._left:
                try:
                    progress, result = self._done.get(timeout=_TICK)
                except queue.Empty:
                    yield None
                    continue
                self._left -= 1
                self._retries += progress.retries
                del self._under_way[id(progress)]
                if isinstance(result, BaseException):
                    raise result
                if isinstance(result, Downloaded):
                    self._came, self._size = self._came + 1, self._size + result.status.st_size
                yield result
        finally:
            self._end()

    def _end(self) -> None:
        """Have every thread stop at its next chunk; wait for that, but not for a silent server."""
        self._context.stop.set()
        for _ in self._threads:
            self._todo.put(None)
        self._context.router.rattler.close()
        deadline = time.monotonic() + _GRACE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        """Take downloads until there are none: one thread, one client."""
        client: HttpClient | None = None

        def own_client() -> HttpClient:
            nonlocal client
            client = client or self._make_client()
            return client

        while (progress := self._todo.get()) is not None and not self._context.stop.is_set():
            self._under_way[id(progress)] = progress
            result: _Ended
            try:
                result = Download(progress, self._context, own_client).run()
            except DownloadError as error:
                result = FailedDownload(artifact=progress.artifact, error=error)
            except StoppedError:
                break
            except BaseException as error:  # raised again in the main thread
                result = error
            self._done.put((progress, result))
        if client is not None:
            client.close()
