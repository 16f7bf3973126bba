"""Why a download failed, and whether trying again may help. Decides; does no I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

# Worth another try: too many requests, timeouts and whatever a server calls its own fault.
_PASSING = frozenset({408, 425, 429})


class Fault(StrEnum):
    """What kind of thing went wrong."""

    CONNECTION = "connection"
    STATUS = "status"
    CONTENT = "content"
    """The bytes are not those of the lock."""
    REFUSED = "refused"
    """Something we do not follow: a redirect away from http, an encoding, a loop."""
    DISK = "disk"


class DownloadError(Exception):
    """One try failed. `text` is for people and may hold URLs: redact it.

    `status` is the HTTP status; `retry_after` in seconds, as the server asked for; `contrast` what
    was expected and what came instead; `source` the URL that was asked.
    """

    def __init__(
        self,
        fault: Fault,
        text: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        contrast: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.fault = fault
        self.text = text
        self.status = status
        self.retry_after = retry_after
        self.contrast = contrast
        self.source: str | None = None


class UnreachedError(DownloadError):
    """One try failed since no connection came about: no such host, nobody there, no proxy."""

    def __init__(self, text: str) -> None:
        super().__init__(Fault.CONNECTION, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what; seconds, and bytes per second.

    `tries` counts all tries at one URL. Between them: `first_pause`, doubled each time up to
    `longest_pause`, each shortened at random by up to a half so that many clients do not come
    back at once. A server's Retry-After is honoured up to `longest_wish`. A server that for
    `silence` could not be connected to, or for `misery` gave no good answer, is not asked again.
    """

    tries: int = 5
    first_pause: float = 0.5
    longest_pause: float = 20.0
    longest_wish: float = 120.0
    silence: float = 8.0
    misery: float = 30.0
    connect: float = 15.0
    read: float = 30.0
    slow_span: float = 30.0
    least_speed: float = 512.0


def may_pass(error: DownloadError) -> bool:
    """Tell whether the same request may succeed later: not after 404, 403 or a full disk.

    Wrong bytes are worth another try as well: a proxy's page for now, a torn transfer.
    """
    if error.fault is Fault.STATUS:
        return error.status is not None and (error.status in _PASSING or error.status >= 500)
    return error.fault in {Fault.CONNECTION, Fault.CONTENT}


def pause_before(attempt: int, error: DownloadError, patience: Patience) -> float:
    """Return the seconds to wait before try number `attempt` (the second try is 2)."""
    backoff = min(patience.first_pause * 2.0 ** (attempt - 2), patience.longest_pause)
    backoff *= random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, no secret
    if error.retry_after is None:
        return backoff
    return max(backoff, min(error.retry_after, patience.longest_wish))
