"""Why a download failed, and whether trying again may help."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ErrorKind(StrEnum):
    """Why a download failed; `scripts/fetch/outcome.py` has for each what a person can do."""

    # Nobody answered.
    UNREACHED = "unreached"
    """No connection came about: no such host, nobody there."""
    PROXY = "proxy"
    """No connection to the proxy, or none through it."""
    PROXY_CREDENTIALS = "proxy-credentials"
    CUT_OFF = "cut-off"
    """The connection broke, stalled or only dripped."""
    TLS_UNTRUSTED = "tls-untrusted"
    TLS_UNTRUSTED_SETTING = "tls-untrusted-setting"
    """Untrusted, and which certificates count was written in `tls-root-certs`."""
    TLS_NAME = "tls-name"
    TLS_EXPIRED = "tls-expired"
    """The certificate does not hold today, by this machine's clock."""
    NO_TLS = "no-tls"
    """What answers on that port speaks no TLS, or none that both can."""
    # Nothing was asked.
    BAD_URL = "bad-url"
    PLACEHOLDER = "placeholder"
    """The URL has a word in it for which a token or a name should stand."""
    TLS_NOT_TURNED_OFF = "tls-not-turned-off"
    """py-rattler below 0.28 knows no `tls-no-verify`."""
    S3_OPTIONS = "s3-options"
    """Nothing is set for the bucket, or what is set does not fit it."""
    S3_KEYS = "s3-keys"
    # The server said no.
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    GONE = "gone"
    TOO_MANY_REQUESTS = "too-many-requests"
    SERVER_ERROR = "server-error"
    REFUSED = "refused"
    """Any other status, or a part of the file that nobody asked for."""
    REDIRECT = "redirect"
    """It leads in a circle, to no URL, or away from http."""
    # Something else came.
    WEB_PAGE = "web-page"
    WRONG_BYTES = "wrong-bytes"
    CONTENT_ENCODING = "content-encoding"
    """Wrong bytes, and a Content-Encoding that says they are something else's."""
    # Files of this machine.
    NO_CHANNEL_FOLDER = "no-channel-folder"
    NO_MIRROR_FOLDER = "no-mirror-folder"
    """A `file://` replacement in `[mirrors]` is not there."""
    NO_FILE = "no-file"
    NOT_A_FILE = "not-a-file"
    UNREADABLE = "unreadable"
    DISK_FULL = "disk-full"
    NOT_WRITABLE = "not-writable"
    BUSY = "busy"
    """Another run is writing the same artifact."""
    DISK = "disk"


# Not what the lock names came.
WRONG: Final = frozenset({ErrorKind.WEB_PAGE, ErrorKind.WRONG_BYTES, ErrorKind.CONTENT_ENCODING})
# Nothing can be placed, whatever the artifact and the server.
OF_THE_DISK: Final = frozenset(
    {ErrorKind.DISK_FULL, ErrorKind.NOT_WRITABLE, ErrorKind.BUSY, ErrorKind.DISK}
)
# No connection came about, which says nothing of what the server would answer.
NOBODY_THERE: Final = frozenset({ErrorKind.UNREACHED, ErrorKind.PROXY})
# Wrong bytes are worth another try, too: a proxy's page for now, a torn transfer.
_PASSING: Final = (
    NOBODY_THERE | WRONG | {ErrorKind.CUT_OFF, ErrorKind.TOO_MANY_REQUESTS, ErrorKind.SERVER_ERROR}
)


class DownloadError(Exception):
    """One try failed. `text` is for people and may hold URLs: redact it.

    `status` is the HTTP status; `retry_after` in seconds, as the server asked for; `details` are
    (label, text) pairs for people; `source` the URL that was asked.
    """

    def __init__(
        self,
        kind: ErrorKind,
        text: str,
        *details: tuple[str, str],
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.details = details
        self.status = status
        self.retry_after = retry_after
        self.source: str | None = None

    @property
    def is_retryable(self) -> bool:
        """Tell whether the same request may succeed later: not after 404, 403 or a full disk."""
        return self.kind in _PASSING

    def again(self) -> DownloadError:
        """Return the same error for another artifact: `source` is each one's own."""
        return DownloadError(
            self.kind,
            self.text,
            *self.details,
            status=self.status,
            retry_after=self.retry_after,
        )


_BY_STATUS: Final = {
    401: ErrorKind.UNAUTHORIZED,
    403: ErrorKind.FORBIDDEN,
    404: ErrorKind.GONE,
    407: ErrorKind.PROXY_CREDENTIALS,
    408: ErrorKind.SERVER_ERROR,
    410: ErrorKind.GONE,
    425: ErrorKind.SERVER_ERROR,
    429: ErrorKind.TOO_MANY_REQUESTS,
}


def kind_of_status(status: int) -> ErrorKind:
    """Tell what an HTTP status that is no success means for a download."""
    other = ErrorKind.SERVER_ERROR if status >= 500 else ErrorKind.REFUSED
    return _BY_STATUS.get(status, other)


def mismatch(expected: str, actual: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the details of what is not as the lock has it."""
    return ("expected", expected), ("actual", actual)


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


def pause_before(attempt: int, error: DownloadError, patience: Patience) -> float:
    """Return the seconds to wait before try number `attempt` (the second try is 2)."""
    backoff = min(patience.first_pause * 2.0 ** (attempt - 2), patience.longest_pause)
    backoff *= random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, no secret
    if error.retry_after is None:
        return backoff
    return max(backoff, min(error.retry_after, patience.longest_wish))
