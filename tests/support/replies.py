"""How the upstream of the tests answers otherwise than it should: values, and names for them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum, auto


class Ending(Enum):
    """What happens where `Reply.stop_after` cuts the body."""

    CLOSE = auto()
    """The connection is closed in good order."""
    STALL = auto()
    """Nothing more comes, and the connection stays open."""
    RESET = auto()
    """The connection is reset (TCP RST)."""


class Ranges(Enum):
    """How a Range request is taken."""

    CORRECT = auto()
    """206 from the byte asked for, 416 behind the end, 200 where If-Range no longer fits."""
    IGNORED = auto()
    """200 with all, always."""
    SPLICED = auto()
    """206 though If-Range no longer fits: bytes of another file."""
    ELSEWHERE = auto()
    """206 from another byte than asked for, and Content-Range says so."""
    LIED = auto()
    """206 from another byte than asked for, and Content-Range says it is the right one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer; what is not given is as it should be.

    It waits until so many requests as `together` have been under way at one time, and until `after`
    is set. `wait` seconds pass before the first byte, `pause` seconds after each `piece` bytes of
    the body. `headers` replace or add; with `has_etag` False there is no ETag. With `has_length`
    False the end of the body is the end of the connection. `endless` goes on with noise behind it.
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    together: int = 0
    after: threading.Event | None = None
    wait: float = 0
    piece: int | None = None
    pause: float = 0
    stop_after: int | None = None
    ending: Ending = Ending.CLOSE
    has_length: bool = True
    has_etag: bool = True
    endless: bool = False
    gzip: bool = False
    ranges: Ranges = Ranges.CORRECT


def status(code: int, *headers: tuple[str, str]) -> Reply:
    """Answer with a status and a short body."""
    return Reply(status=code, body=f"status {code}\n".encode(), headers=headers)


def too_many(retry_after: str) -> Reply:
    """Answer 429; `retry_after` in seconds or as an HTTP date."""
    return status(429, ("Retry-After", retry_after))


def late(seconds: float) -> Reply:
    """Answer rightly, but late."""
    return Reply(wait=seconds)


def held(after: threading.Event) -> Reply:
    """Answer rightly, as soon as it is set."""
    return Reply(after=after)


def together(count: int) -> Reply:
    """Answer rightly when so many requests came at one time, and some time for one more passed."""
    return Reply(together=count, wait=0.2)


def dripping(piece: int, pause: float) -> Reply:
    """Answer rightly, `piece` bytes at a time with `pause` seconds after each."""
    return Reply(piece=piece, pause=pause)


def stalled(after: int) -> Reply:
    """Send so many bytes of the body and then nothing, the connection open."""
    return Reply(stop_after=after, ending=Ending.STALL)


def reset(after: int = 0) -> Reply:
    """Send so many bytes of the body and reset the connection."""
    return Reply(stop_after=after, ending=Ending.RESET)


def truncated(after: int, *, has_length: bool = True) -> Reply:
    """End the connection in good order before the body is whole."""
    return Reply(stop_after=after, has_length=has_length)


def endless() -> Reply:
    """Send the body and never stop sending."""
    return Reply(has_length=False, endless=True)


def wrong_bytes(size: int) -> Reply:
    """Answer 200 with other bytes of the size that is expected."""
    return Reply(body=b"\x2a" * size)


def login_page() -> Reply:
    """Answer 200 with the HTML of a portal that wants a login."""
    page = b"<!DOCTYPE html><html><body><form>please log in</form></body></html>\n"
    return Reply(body=page, headers=(("Content-Type", "text/html; charset=utf-8"),))


def gzipped() -> Reply:
    """Answer with a body that is compressed on the way."""
    return Reply(gzip=True)


def ranged(ranges: Ranges) -> Reply:
    """Take Range requests in this way."""
    return Reply(ranges=ranges)


def redirect(to: str, code: int = 302) -> Reply:
    """Send the client elsewhere: a path of this server, or any URL."""
    return status(code, ("Location", to))
