"""Which credential goes with a URL, and how it is sent.

Found as rattler finds them (rattler_networking/src/authentication_storage/storage.rs): the URL's
own user and password; else the host itself in each store, in their order; else `*.host`, then
`*.` with the host's parents, each in all stores. Hosts are compared without their port.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urlsplit

# rattler's OAuth refresh begins this many seconds before the token's end (oauth_refresh.rs).
_EXPIRY_SKEW: Final = 300
# What only rattler can speak.
_RATTLER_SCHEMES: Final = frozenset({"s3", "oci", "gcs"})
# No user name, token or folder has brackets in it; neither may a URL (RFC 3986, 2).
_PLACEHOLDER: Final = re.compile(
    r"<[A-Za-z][\w .-]*>|\$?\{[A-Za-z][\w .-]*\}|(?<=[/:@])\$[A-Z][A-Z0-9_]+(?=[/:@]|\Z)"
    r"|(?<=[/:@])(?:YOUR|MY)[-_](?:[A-Z]+[-_])*(?:TOKEN|KEY|PASSWORD|USER|USERNAME)(?=[/:@]|\Z)"
)
# What servers say to somebody who is not logged in; some hide what is private behind a 404.
_DENIED: Final = frozenset({401, 403, 404})


@dataclass(frozen=True, slots=True, kw_only=True)
class Basic:
    """User and password of HTTP Basic."""

    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """A token for the Authorization header."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaToken:
    """A token for the path, as anaconda.org takes it: `/t/TOKEN/`."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """A token with an end (seconds since 1970, None: no end) which rattler can renew."""

    access_token: str = field(repr=False)
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Keys:
    """Keys for s3, which rattler reads itself."""


Credential = Basic | Bearer | CondaToken
Stored = Credential | OAuth | S3Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One file's credentials by host; `before_keyring`: rattler asks it before the keyring."""

    name: str
    entries: tuple[tuple[str, Stored], ...]
    before_keyring: bool = False

    def get(self, host: str) -> Stored | None:
        """Return what is stored under exactly this key."""
        return next((stored for key, stored in self.entries if key == host), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """All stores in rattler's order.

    `keyring`: this machine may have one. `notes` say, for a person, what could not be read.
    """

    stores: tuple[Store, ...] = ()
    keyring: bool = False
    notes: tuple[str, ...] = ()
    clock: Callable[[], float] = time.time

    def for_url(self, url: str) -> Credential | None:
        """Return what to send with a request, None for nothing."""
        own = own_credential(url)
        if own is not None:
            return own
        stored = self._stored(url)
        if isinstance(stored, OAuth):
            return Bearer(token=stored.access_token) if self._is_fresh(stored) else None
        return None if isinstance(stored, S3Keys) else stored

    def needs_rattler(self, url: str) -> bool:
        """Tell what only rattler can download: other schemes, and tokens that it must renew."""
        if urlsplit(url).scheme in _RATTLER_SCHEMES:
            return True
        if urlsplit(url).scheme not in {"http", "https"} or own_credential(url) is not None:
            return False
        stored = self._stored(url)
        return isinstance(stored, OAuth) and not self._is_fresh(stored)

    def may_be_in_keyring(self, url: str, status: int) -> bool:
        """Tell whether rattler is to be asked because a server denied us with this HTTP status.

        The keyring can be read by rattler alone. It asks it before `~/.rattler` and netrc, so
        what they have may be out of date; what the stores before the keyring have counts.
        """
        if not self.keyring or status not in _DENIED or own_credential(url) is not None:
            return False
        host = _host(url)
        before = (store for store in self.stores if store.before_keyring)
        return host is not None and all(store.get(host) is None for store in before)

    def _stored(self, url: str) -> Stored | None:
        host = _host(url)
        if host is None:
            return None
        found = (store.get(key) for key in _keys(host) for store in self.stores)
        return next((stored for stored in found if stored is not None), None)

    def _is_fresh(self, stored: OAuth) -> bool:
        return stored.expires_at is None or stored.expires_at - self.clock() >= _EXPIRY_SKEW


def _keys(host: str) -> Iterator[str]:
    """Yield the keys under which a host's credential may be; an address has no parents."""
    yield host
    if host.startswith("[") or host.replace(".", "").isdecimal():
        return
    labels = host.split(".")
    for index in range(len(labels)):
        yield f"*.{'.'.join(labels[index:])}"


def _host(url: str) -> str | None:
    """Return the host as rattler writes it: lower case, IPv6 in brackets, no port."""
    host = urlsplit(url).hostname
    return f"[{host}]" if host and ":" in host else host or None


def own_credential(url: str) -> Basic | None:
    """Return the user and password that a URL carries itself, decoded."""
    user_info, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at or urlsplit(url).scheme not in {"http", "https"}:
        return None
    user, _, password = user_info.partition(":")
    return Basic(user=unquote(user), password=unquote(password))


def headers_for(credential: Credential | None) -> dict[str, str]:
    """Return the headers that carry a credential."""
    if isinstance(credential, Basic):
        pair = f"{credential.user}:{credential.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    if isinstance(credential, Bearer):
        return {"Authorization": f"Bearer {credential.token}"}
    return {}


def url_for(credential: Credential | None, url: str) -> str:
    """Return the URL to request: without user and password, with a conda token in the path.

    A URL that has a `/t/TOKEN/` already keeps its own.
    """
    parts = urlsplit(url)
    if parts.scheme in {"http", "https"}:
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    if isinstance(credential, CondaToken) and not parts.path.startswith("/t/"):
        token = quote(credential.token, safe="")
        parts = parts._replace(path=f"/t/{token}{parts.path or '/'}")
    return parts.geturl()


def placeholder_in(url: str) -> str | None:
    """Return what was to be replaced before the URL is used: `<TOKEN>`, `${TOKEN}`; None for none.

    Documentation writes channels so; pixi replaces nothing in them, and writes them to the lock as
    they are, perhaps encoded.
    """
    found = _PLACEHOLDER.search(unquote(urlsplit(url)._replace(query="", fragment="").geturl()))
    return found[0] if found else None
