"""Run downloads side by side, as many as help, and hand on each result. Acts.

The threads are daemons: one that waits for a server must not hold up the end of the run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.fetch.adapt import Pace
from scripts.fetch.download import Download, Flow, Placed, StoppedError, Surroundings
from scripts.fetch.failure import DownloadError
from scripts.fetch.http import Http
from scripts.lock.select import Artifact

_MOST: Final = 128  # at once, whatever is asked for: each is a thread and two open files
_TICK: Final = 0.1  # seconds between two looks at the flows
_GRACE: Final = 1.0  # seconds that threads get to put down their part after a stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An artifact that did not come, and why."""

    artifact: Artifact
    error: DownloadError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What a thread hands back: a result or a bug's exception, and what the download cost."""

    flow: Flow
    result: Placed | Failed | BaseException
    seconds: float
    processor_seconds: float


class Pool:
    """Downloads under way; `flows` may be read at any time for display."""

    def __init__(
        self, shared: Surroundings, make_http: Callable[[], Http], jobs: int | None
    ) -> None:
        """`jobs`: how many at once; None to find out while running."""
        self._shared = shared
        self._make_http = make_http
        self._jobs = jobs
        self._pace = Pace()
        self._todo: queue.SimpleQueue[Flow | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Done] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.flows: list[Flow] = []
        self._retries = 0

    @property
    def retries(self) -> int:
        """How many tries failed so far, of all downloads."""
        return self._retries + sum(flow.retries for flow in self.flows)

    def run(self, artifacts: Sequence[Artifact]) -> Iterator[Placed | Failed | None]:
        """Yield each result as it comes, and None now and then so that progress can be shown."""
        waiting = iter(artifacts)
        left = len(artifacts)
        try:
            while left:
                self._start_more(waiting)
                try:
                    done = self._done.get(timeout=_TICK)
                except queue.Empty:
                    yield None
                    continue
                left -= 1
                self.flows.remove(done.flow)
                self._retries += done.flow.retries
                self._pace = self._pace.after(
                    seconds=done.seconds, processor_seconds=done.processor_seconds
                )
                if isinstance(done.result, BaseException):
                    raise done.result
                yield done.result
        finally:
            self._end()

    def _start_more(self, waiting: Iterator[Artifact]) -> None:
        """Start downloads until as many are under way as help."""
        wanted = min(self._jobs or self._pace.in_flight, _MOST)
        while len(self.flows) < wanted:
            artifact = next(waiting, None)
            if artifact is None:
                return
            flow = Flow(artifact)
            self.flows.append(flow)
            self._todo.put(flow)
            if len(self._threads) < len(self.flows):
                thread = threading.Thread(target=self._work, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _end(self) -> None:
        """Have every thread stop at its next chunk; wait for that, but not for a silent server."""
        self._shared.stop.set()
        for _ in self._threads:
            self._todo.put(None)
        deadline = time.monotonic() + _GRACE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        """Take downloads until there are none: one thread, one client."""
        client: Http | None = None

        def http() -> Http:
            nonlocal client
            client = client or self._make_http()
            return client

        while (flow := self._todo.get()) is not None:
            began, processor = time.monotonic(), time.thread_time()
            result: Placed | Failed | BaseException
            try:
                result = Download(flow, self._shared, http).run()
            except DownloadError as error:
                result = Failed(artifact=flow.artifact, error=error)
            except StoppedError:
                break
            except BaseException as error:  # raised again in the main thread
                result = error
            self._done.put(
                _Done(
                    flow=flow,
                    result=result,
                    seconds=time.monotonic() - began,
                    processor_seconds=time.thread_time() - processor,
                )
            )
        if client is not None:
            client.close()
