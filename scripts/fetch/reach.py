"""Which servers are of no use any more, as all downloads of a run see it.

Without it, each of a thousand artifacts would wait through its own five tries at a server that
is not there, or that only fails.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from scripts.fetch.failure import NOBODY_THERE, OF_THE_DISK, WRONG, DownloadError, Patience
from scripts.network.mirrors import origin

# Tries at least that found nobody: a single one may have met a server as it started anew.
_FEWEST_UNREACHED: Final = 3
# Failed tries at least where somebody answers: more than one artifact makes alone.
_FEWEST_BAD: Final = 20


@dataclass(slots=True)
class _Row:
    """Tries that failed in a row, and when the first of them began; None: the row is broken."""

    since: float | None = None
    tries: int = 0

    def add(self, began: float) -> None:
        if self.since is None:
            self.since, self.tries = began, 0
        self.tries += 1

    def is_over(self, fewest: int, seconds: float) -> bool:
        if self.since is None or self.tries < fewest:
            return False
        return time.monotonic() - self.since >= seconds


@dataclass(slots=True)
class _Server:
    """What is known of one server: bodies under way, and the failures since it did better."""

    bodies: int = 0
    unreached: _Row = field(default_factory=_Row)
    bad: _Row = field(default_factory=_Row)
    lost: DownloadError | None = None


class Reach:
    """Shared by the threads of a run; servers are told apart by scheme, host and port.

    A server is lost when no connection came about for `patience.silence` seconds, or no answer
    but bad ones for `patience.misery`: in some tries, and with no body on its way from it. It
    stays lost for the run.
    """

    def __init__(self, patience: Patience) -> None:
        """Know nothing yet."""
        self._patience = patience
        self._servers: dict[str, _Server] = {}
        self._lock = threading.Lock()

    def lost(self, source: str) -> DownloadError | None:
        """Return what the tries at a lost server ended with; None for any other."""
        with self._lock:
            error = self._server(source).lost
        return None if error is None else error.again()

    @contextlib.contextmanager
    def body_from(self, source: str) -> Iterator[None]:
        """Count a body as under way while the block runs; one that ends as it should is good."""
        with self._lock:
            server = self._server(source)
            server.bodies += 1
            server.unreached.since = None
        try:
            yield
            with self._lock:
                server.bad.since = None
        finally:
            with self._lock:
                server.bodies -= 1

    def failed(self, source: str, error: DownloadError, began: float) -> None:
        """Hear how a try ended that began at `began`, in seconds of time.monotonic."""
        if error.kind in OF_THE_DISK:
            return
        with self._lock:
            server = self._server(source)
            if error.kind in NOBODY_THERE:
                row, fewest, most = server.unreached, _FEWEST_UNREACHED, self._patience.silence
            else:
                row, fewest, most = server.bad, _FEWEST_BAD, self._patience.misery
                server.unreached.since = None
                if not _is_bad(error):
                    row.since = None
                    return
            row.add(began)
            if server.bodies == 0 and row.is_over(fewest, most):
                server.lost = error

    def _server(self, source: str) -> _Server:
        return self._servers.setdefault(origin(source), _Server())


def _is_bad(error: DownloadError) -> bool:
    """Tell whether it says something of the server: not what it lacks, nor when to come back."""
    return error.is_retryable and error.kind not in WRONG and error.retry_after is None
