"""Which servers nobody reaches any more, as all downloads of a run see it. Decides; does no I/O.

Without it, each of a thousand artifacts would wait through its own five tries at a server that
is not there.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scripts.access.mirrors import origin
from scripts.fetch.failure import DownloadError, Fault, Patience, UnreachedError

# Tries at least that found nobody: a single one may have met a server as it started anew.
_FEWEST: Final = 3


@dataclass(slots=True)
class _Server:
    """What is known of one server: bodies under way, and the tries since it last answered."""

    bodies: int = 0
    silent_since: float | None = None
    tries: int = 0
    lost: str | None = None


class Reach:
    """Shared by the threads of a run; servers are told apart by scheme, host and port.

    A server is lost when for `patience.silence` seconds no connection came about, in some tries,
    and no body is on its way from it. It stays lost for the run.
    """

    def __init__(self, patience: Patience) -> None:
        """Know nothing yet."""
        self._patience = patience
        self._servers: dict[str, _Server] = {}
        self._lock = threading.Lock()

    def lost(self, source: str) -> UnreachedError | None:
        """Return what the tries at a lost server ended with; None for any other."""
        with self._lock:
            text = self._server(source).lost
        return None if text is None else UnreachedError(text)

    @contextlib.contextmanager
    def body_from(self, source: str) -> Iterator[None]:
        """Count a body as under way while the block runs."""
        with self._lock:
            server = self._server(source)
            server.bodies += 1
            server.silent_since = None
        try:
            yield
        finally:
            with self._lock:
                server.bodies -= 1

    def failed(self, source: str, error: DownloadError, began: float) -> None:
        """Hear how a try ended that began at `began`, in seconds of time.monotonic."""
        with self._lock:
            server = self._server(source)
            if not isinstance(error, UnreachedError):
                if error.fault is not Fault.DISK:
                    server.silent_since = None
                return
            if server.silent_since is None:
                server.silent_since = began
                server.tries = 0
            server.tries += 1
            silence = time.monotonic() - server.silent_since
            is_long = silence >= self._patience.silence and server.tries >= _FEWEST
            if is_long and server.bodies == 0:
                server.lost = error.text

    def _server(self, source: str) -> _Server:
        return self._servers.setdefault(origin(source), _Server())
