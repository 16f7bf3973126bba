"""Refuses every connection of this process that is not loopback, and remembers it."""

from __future__ import annotations

import sys
from typing import Any, Final

_AUDITED: Final = frozenset(
    {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"}
    | {"socket.gethostbyname", "socket.gethostbyaddr"}
)

refused: Final[list[str]] = []
"""What was refused since this list was last cleared, as `event: host`."""


class NotLoopbackError(AssertionError):
    """A test tried to leave this machine; no OSError, lest it pass for a bad network."""


def install() -> None:
    """Guard this process from now on: audit hooks are for good (PEP 578)."""
    sys.addaudithook(_audit)


def is_loopback(host: object) -> bool:
    """Tell whether a host stays on this machine; None and the empty text are local."""
    if isinstance(host, bytes | bytearray):
        host = bytes(host).decode("ascii", "replace")
    if not isinstance(host, str):
        return host is None
    return host in {"", "localhost", "::1", "0.0.0.0", "::"} or host.startswith(
        ("127.", "::ffff:127.")
    )


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _AUDITED:
        return
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = arguments[1]
        # A Unix socket's address is a path; a connected socket sends to no address.
        host = address[0] if isinstance(address, tuple) and address else None
    else:
        host = arguments[0]
    if not is_loopback(host):
        refused.append(f"{event}: {host!r}")
        raise NotLoopbackError(f"{event}: {host!r} is not loopback")
