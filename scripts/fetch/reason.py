"""What an error of requests comes down to, for people and for retries. Decides; does no I/O."""

from __future__ import annotations

import re
from typing import Final

from scripts.core.redact import redact

# `<urllib3.connection.HTTPConnection object at 0x…>: ` and `HTTPConnection(host='…', port=80): `
_OBJECT: Final = re.compile(r"^<[^>]*>: |^[A-Za-z]+\(.*?\): ")

_LONGEST: Final = 200  # characters of what a server says


def sentence(error: Exception) -> str:
    """Shorten the nested texts of urllib3 to the innermost reason, secrets hidden."""
    inner = _innermost(error)
    return plain(shortened(_OBJECT.sub("", redact(str(inner))))) or type(inner).__name__


def shortened(text: str) -> str:
    """Cut a text that a server made as long as it liked."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def plain(text: str) -> str:
    """Begin in lower case, as all our sentences do; HTTP, TLS and the like stay."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def is_reached(error: Exception) -> bool:
    """Tell whether a connection came about: the host has an address, and something is there."""
    import urllib3.exceptions

    nowhere = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return not isinstance(_innermost(error), nowhere)


def _innermost(error: BaseException) -> BaseException:
    while True:
        inner = (getattr(error, name, None) for name in ("reason", "original_error"))
        under = next((each for each in (*inner, *error.args) if _is_error(each)), None)
        if under is None:
            return error
        error = under


def _is_error(value: object) -> bool:
    return isinstance(value, BaseException)
