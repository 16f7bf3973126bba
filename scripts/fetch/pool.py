"""Run downloads side by side, as many as help, and hand on each result.

The threads are daemons: one that waits for a server must not hold up the end of the run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.core.artifact import Artifact
from scripts.fetch.adapt import LARGE, Pace
from scripts.fetch.download import Download, Flow, Placed, StoppedError, Surroundings
from scripts.fetch.failure import DownloadError
from scripts.fetch.http import Http

_MOST: Final = 128  # at once, whatever is asked for: each is a thread and two open files
_TICK: Final = 0.1  # seconds between two looks at the flows
_SPAN: Final = 0.1  # seconds of small downloads, summed up, that are learned from at once
_GRACE: Final = 1.0  # seconds that threads get to put down their part after a stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An artifact that did not come, and why."""

    artifact: Artifact
    error: DownloadError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What a thread hands back: a result or a bug's exception."""

    flow: Flow
    result: Placed | Failed | BaseException


class _Meter:
    """Looks now and then at what the small downloads cost, and sets the pace."""

    def __init__(self) -> None:
        self.pace = Pace()
        self._looked = time.monotonic()
        self._seconds = 0.0  # of all together, not yet learned from
        self._ended = 0.0  # processor seconds of those that have ended
        self._learned = 0.0  # processor seconds learned from

    def look(self, flows: Sequence[Flow]) -> None:
        """Count the time since the last look, in which these were under way."""
        small = [flow for flow in flows if not flow.is_large]
        now = time.monotonic()
        self._seconds += len(small) * (now - self._looked)
        self._looked = now
        if self._seconds < _SPAN:
            return
        cost = self._ended + sum(flow.processor_seconds for flow in small)
        self.pace = self.pace.after(seconds=self._seconds, processor_seconds=cost - self._learned)
        self._seconds, self._learned = 0.0, cost

    def ended(self, flow: Flow) -> None:
        """Count a download that is no more under way."""
        if not flow.is_large:
            self._ended += flow.processor_seconds


class Pool:
    """Downloads under way; `flows` may be read at any time for display."""

    def __init__(
        self, shared: Surroundings, make_http: Callable[[], Http], jobs: int | None
    ) -> None:
        """`jobs`: how many at once; None to find out while running."""
        self._shared = shared
        self._make_http = make_http
        self._jobs = jobs
        self._meter = _Meter()
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
        """Yield each result as it comes, and None now and then so that progress can be shown.

        The artifacts come with the large ones first. A few of these are always under way, so
        that none is left for the end; beside them go the small ones, which mostly wait.
        """
        waiting = deque(artifacts)
        left = len(artifacts)
        try:
            while left:
                self._start_more(waiting)
                try:
                    done = self._done.get(timeout=_TICK)
                except queue.Empty:
                    self._meter.look(self.flows)
                    yield None
                    continue
                left -= 1
                self._meter.look(self.flows)
                self._meter.ended(done.flow)
                self.flows.remove(done.flow)
                self._retries += done.flow.retries
                if isinstance(done.result, BaseException):
                    raise done.result
                yield done.result
        finally:
            self._end()

    def _start_more(self, waiting: deque[Artifact]) -> None:
        """Start downloads until as many are under way as help."""
        wanted = min(self._jobs or self._meter.pace.in_flight, _MOST)
        while waiting and len(self.flows) < wanted:
            from_front = sum(flow.is_large for flow in self.flows) < LARGE
            artifact = waiting.popleft() if from_front else waiting.pop()
            flow = Flow(artifact, is_large=from_front)
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
            result: Placed | Failed | BaseException
            try:
                result = Download(flow, self._shared, http).run()
            except DownloadError as error:
                result = Failed(artifact=flow.artifact, error=error)
            except StoppedError:
                break
            except BaseException as error:  # raised again in the main thread
                result = error
            self._done.put(_Done(flow=flow, result=result))
        if client is not None:
            client.close()
