"""Heads of responses that come to an end, in bytes and in time.

http.client reads on for as long as a server says `100 Continue`, and a time limit on the socket
starts anew with each byte. A server could so keep a download waiting forever.
"""

from __future__ import annotations

import functools
import http.client
import time
from collections.abc import Mapping
from typing import Any, Final

_LONGEST: Final = 1 << 20  # bytes; real heads have one or two thousand
_PATIENCE: Final = 60.0  # seconds from the request to the end of the head


class BoundedResponse(http.client.HTTPResponse):
    """A response that gives up on a head without end."""

    def begin(self) -> None:
        """Read the head: status and headers; raises HTTPException for one without end."""
        stream: Any = self.fp
        self.fp = _Head(stream)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if self.fp is not None:  # http.client has given up what is no HTTP, and closed it
                self.fp = stream


class _Head:
    """The lines of a head, counted and timed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._left = _LONGEST
        self._until = time.monotonic() + _PATIENCE

    def close(self) -> None:
        """Close the stream: http.client does so for what is no HTTP."""
        self._stream.close()

    def readline(self, limit: int) -> bytes:
        """Read a line of at most `limit` bytes; by itself the stream would wait for its end."""
        line = b""
        while len(line) < limit and not line.endswith(b"\n"):
            piece = self._stream.peek(1)[: limit - len(line)]  # at most one look at the socket
            if not piece:
                break
            end = piece.find(b"\n") + 1
            line += self._stream.read(end or len(piece))
            if time.monotonic() > self._until:
                raise http.client.HTTPException("the head of the response took too long")
        self._left -= len(line)
        if self._left < 0:
            raise http.client.HTTPException("the head of the response has no end")
        return line


def bounded(pools: Mapping[str, Any]) -> dict[str, Any]:
    """Give urllib3's connection pools, by scheme, connections that read bounded heads."""
    return {scheme: _bounded(pool) for scheme, pool in pools.items()}


@functools.cache
def _bounded(pool: Any) -> Any:
    connection = pool.ConnectionCls
    if connection.response_class is BoundedResponse:
        return pool
    patient = type(connection.__name__, (connection,), {"response_class": BoundedResponse})
    return type(pool.__name__, (pool,), {"ConnectionCls": patient})
