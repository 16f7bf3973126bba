"""How often and how long a server is asked again, and which one is down for the whole run."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scripts.core.channel_url import origin
from scripts.network.errors import LOCAL, OF_THE_NETWORK, OF_THE_SERVER, UNREACHABLE, DownloadError

MOST_WRONG: Final = 2
"""Wrong bytes that come twice are what the server has; asking on would only cost time."""
# A server is down after so many failed tries at least: a single one may meet it as it restarts.
_FEWEST_UNREACHED: Final = 3
# Where somebody answers, more than the tries of one artifact.
_FEWEST_FAILED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long to wait for what; seconds, and bytes per second.

    `total` counts all tries at one URL. Between them: `backoff_factor`, doubled each time up to
    `max_backoff`, each shortened at random by up to a half so that many clients do not come back
    at once. A server's Retry-After, up to `max_retry_after`, comes before that. A server that for
    `unreachable_after` gave no answer at all, or for `failing_after` no good one, is down. A body
    of less than `min_speed` over `min_speed_window` is given up.

    An answer is waited for as long as by pixi (pixi_utils/src/reqwest.rs): a proxy may first get
    the file itself, and look into it, or let a byte by now and then meanwhile. Once it has begun,
    `read` counts from one byte to the next.
    """

    total: int = 5
    backoff_factor: float = 0.5
    max_backoff: float = 20.0
    max_retry_after: float = 120.0
    unreachable_after: float = 8.0
    failing_after: float = 30.0
    connect: float = 15.0
    answer: float = 300.0
    read: float = 30.0
    min_speed: float = 512.0
    min_speed_window: float = 300.0


def backoff_delay(attempt: int, error: DownloadError, policy: RetryPolicy) -> float:
    """Return the seconds to wait before try number `attempt` (the second try is 2)."""
    backoff = min(policy.backoff_factor * 2.0 ** (attempt - 2), policy.max_backoff)
    backoff *= random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, no secret
    return backoff + min(error.retry_after or 0.0, policy.max_retry_after)


@dataclass(slots=True)
class _Host:
    """One server: failures in all and, in a row, tries, their kind and since when (None: none)."""

    failures: int = 0
    bodies: int = 0
    since: float | None = None
    tries: int = 0
    was_reached: bool = False
    down: DownloadError | None = None


class HostHealth:
    """Which servers fail, told apart by scheme, host and port; shared by a run's threads.

    Without it, each of a thousand artifacts would wait through its own tries at a server that is
    not there, or that only fails. None is down while a body is on its way from it.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        """Begin with no failures known."""
        self._policy = policy
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    def is_down(self, url: str) -> DownloadError | None:
        """Return the error that a server is down with; None: it is not down."""
        error = self._host(url).down
        return None if error is None else dataclasses.replace(error, source=None)

    def failures(self, url: str) -> int:
        """Return how many tries failed by the fault of the server or the way to it.

        As in rattler, which asks the mirror with the fewest first; a missing file does not count.
        """
        return self._host(url).failures

    @contextlib.contextmanager
    def body_from(self, url: str) -> Iterator[None]:
        """Count a body as on its way while the block runs; its good end makes the server good."""
        host = self._host(url)
        with self._lock:
            host.bodies += 1
            host.since = host.since if host.was_reached else None
        try:
            yield
            with self._lock:
                host.since = None
        finally:
            with self._lock:
                host.bodies -= 1

    def failed(self, url: str, error: DownloadError) -> None:
        """Count a try that has just failed."""
        if error.kind in LOCAL:
            return
        host, now = self._host(url), time.monotonic()
        with self._lock:
            host.failures += error.kind in OF_THE_SERVER
            # A missing file, or a Retry-After, is a good answer.
            if error.kind not in OF_THE_NETWORK or error.retry_after is not None:
                host.since = None
                return
            if host.since is None:
                host.since, host.tries, host.was_reached = now, 0, False
            host.tries += 1
            host.was_reached |= error.kind not in UNREACHABLE
            fewest, limit = _FEWEST_UNREACHED, self._policy.unreachable_after
            if host.was_reached:
                fewest, limit = _FEWEST_FAILED, self._policy.failing_after
            if host.bodies == 0 and host.tries >= fewest and now - host.since >= limit:
                host.down = error

    def _host(self, url: str) -> _Host:
        with self._lock:
            return self._hosts.setdefault(origin(url), _Host())
