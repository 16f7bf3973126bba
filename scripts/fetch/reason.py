"""What an error of requests comes down to, for people and for retries."""

from __future__ import annotations

import base64
import contextlib
import re
import ssl
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from scripts.core.redact import redact
from scripts.fetch.failure import ErrorKind

# `<urllib3.connection.HTTPConnection object at 0x…>: ` and `HTTPConnection(host='…', port=80): `
_OBJECT: Final = re.compile(r"^<[^>]*>: |^[A-Za-z]+\(.*?\): ")

_LONGEST: Final = 200  # characters of what a server says
_FOR_PEOPLE: Final = re.compile(r"^text/(?:plain|xml)\b|^application/(?:[\w.+-]*\+)?(?:json|xml)\b")
# `"token": "…"`, `<Signature>…`, `secret=…`
_NAMED_SECRET: Final = re.compile(
    r"""(?i)((?:token|secret|passw|pwd|signature|credential|api_?key|access_?key)[\w-]*"""
    r"""["']?\s*[:=>]\s*["']?)[^\s"'<>,;&}\])]+"""
)
_LONG_SECRET: Final = 8  # characters; a shorter one may be a part of any word
_TOKEN: Final = re.compile(r"/t/([^/?#]+)")
# OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH; _CERT_NOT_YET_VALID, _HAS_EXPIRED
_OTHER_NAME: Final = frozenset({62, 64})
_OTHER_TIME: Final = frozenset({9, 10})


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


def said(body: bytes, content_type: str, *, hidden: Iterable[str], known: str) -> str | None:
    """Return the beginning of what a server says of a refusal, for people; None for nothing new.

    Only of JSON, XML and plain text. Nothing of what we sent ourselves (`hidden`) is shown, nor
    what is named like a secret; `known` has been said already.
    """
    if not _FOR_PEOPLE.search(content_type.lower()):
        return None
    text = " ".join(body.decode("utf-8", "replace").split())
    if text.lower().rstrip(".!") in known.lower():
        return None
    for secret in _secrets(hidden):
        edge = "" if len(secret) >= _LONG_SECRET else r"\b"
        text = re.sub(f"{edge}{re.escape(secret)}{edge}", "********", text)
    return shortened(_NAMED_SECRET.sub(r"\1********", redact(text)))


def _secrets(sent: Iterable[str]) -> Iterator[str]:
    """Yield what of headers and URLs nobody else may read: long first, then what is in it."""
    for text in sent:
        kind, _, value = text.partition(" ")
        if value:
            yield value
        if kind == "Basic":
            with contextlib.suppress(ValueError):
                pair = base64.b64decode(value).decode("utf-8", "replace")
                yield from (each for each in (pair, *pair.partition(":")[::2]) if each)
        if "://" in text:
            user_info = urlsplit(text).netloc.rpartition("@")[0]
            yield from (unquote(each) for each in user_info.partition(":")[::2] if each)
            yield from _TOKEN.findall(text)
            yield from (value for _, value in parse_qsl(urlsplit(text).query))


def tls_kind(error: Exception, *, by_setting: bool) -> ErrorKind:
    """Tell why TLS did not come about; `by_setting`: `tls-root-certs` says what is trusted."""
    inner = _innermost(error)
    code = getattr(inner, "verify_code", None)
    if code in _OTHER_NAME or type(inner).__name__ == "CertificateError":  # which is urllib3's own
        return ErrorKind.TLS_NAME
    if code in _OTHER_TIME:
        return ErrorKind.TLS_EXPIRED
    if isinstance(inner, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
        return ErrorKind.CUT_OFF
    if code is None:
        return ErrorKind.NO_TLS
    return ErrorKind.TLS_UNTRUSTED_SETTING if by_setting else ErrorKind.TLS_UNTRUSTED


def proxy_kind(error: Exception) -> ErrorKind:
    """Tell a proxy that wants credentials from one that is not there, or lets nobody through."""
    wants = "Tunnel connection failed: 407" in str(_innermost(error))
    return ErrorKind.PROXY_CREDENTIALS if wants else ErrorKind.PROXY


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
