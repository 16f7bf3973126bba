"""The credential for a URL, from all places where pixi and conda users store theirs.

Files are read in the order of rattler (`AuthenticationStorage::from_env_and_defaults`), with what
pixi puts in front of it (`get_auth_store`; it means to put it second, but 0.77 does not): pixi's
`authentication-override-file`, `RATTLER_AUTH_FILE`, the system's keyring,
`~/.rattler/credentials.json`, netrc. The keyring is left to rattler itself; see
`Credentials.may_be_in_keyring`. The credential is the one that rattler would take (storage.rs): the
URL's own user and password; else that of the host itself in each store; else that of `*.host`, then
of `*.` with the host's parents, each in all stores. Ports do not count.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from scripts.core.errors import usage_error
from scripts.core.files import read_regular
from scripts.core.redact import redact
from scripts.network.configuration import PixiConfig, home_of, read_optional_text
from scripts.network.errors import DownloadError, ErrorKind

_LARGEST: Final = 4 << 20  # bytes; real files have hundreds
_HELP: Final = "mend or remove that file, then log in anew: pixi auth login HOST --token TOKEN"
# rattler's OAuth refresh begins this many seconds before the token's end (oauth_refresh.rs).
_EXPIRY_SKEW: Final = 300
# What only rattler can speak.
_RATTLER_SCHEMES: Final = frozenset({"s3", "oci", "gcs"})
DENIED: Final = frozenset({401, 403, 404})
"""What servers say to somebody who is not logged in; some hide what is private behind a 404."""
# What a header may carry (RFC 9110, 5.5), less spaces, which no token has (RFC 6750).
_TOKEN: Final = re.compile(r"[\x21-\x7e]+\Z")
_KINDS: Final = ("BearerToken", "BasicHTTP", "CondaToken", "S3Credentials", "OAuth")
# No user name, token or folder has brackets in it; neither may a URL (RFC 3986, 2).
# `****` is what pixi locks in place of the password of a direct URL (uv's DisplaySafeUrl).
_PLACEHOLDER: Final = re.compile(
    r"(?<=[/:])\*{4}(?=@)|<[A-Za-z][\w .-]*>|\$?\{[A-Za-z][\w .-]*\}"
    r"|(?<=[/:@])\$[A-Z][A-Z0-9_]+(?=[/:@]|\Z)"
    r"|(?<=[/:@])(?:YOUR|MY)[-_](?:[A-Z]+[-_])*(?:TOKEN|KEY|PASSWORD|USER|USERNAME)(?=[/:@]|\Z)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What is sent with a request; nothing of S3's keys, which rattler reads itself.

    `authorization` is the header; `conda_token` goes into the path, as anaconda.org takes it:
    `/t/TOKEN/`. `expires_at` is in seconds since 1970; after it only rattler can renew the token.
    """

    authorization: str | None = field(default=None, repr=False)
    conda_token: str | None = field(default=None, repr=False)
    expires_at: int | None = None

    @property
    def is_expired(self) -> bool:
        """Tell whether rattler must renew it before it is sent."""
        return self.expires_at is not None and self.expires_at - time.time() < _EXPIRY_SKEW


def basic(user: str, password: str) -> Credential:
    """Make a credential of HTTP Basic (RFC 7617), in UTF-8 as rattler sends it."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Credential(authorization=f"Basic {pair}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of all stores, by host, the stores in rattler's order.

    It asks the first `before_keyring` of them before the keyring. `keyring`: this machine may have
    one. `notes` say, for people, what could not be read.
    """

    stores: tuple[Mapping[str, Credential], ...] = field(default=(), repr=False)
    before_keyring: int = 0
    keyring: bool = False
    notes: tuple[str, ...] = ()

    def for_url(self, url: str) -> Credential:
        """Return the credential for a URL; an empty one where there is none, or it has expired."""
        found = self._found(url)
        return Credential() if found.is_expired else found

    def needs_rattler(self, url: str) -> bool:
        """Tell whether only rattler can download a URL: by its scheme, or an expired token."""
        return urlsplit(url).scheme in _RATTLER_SCHEMES or self._found(url).is_expired

    def may_be_in_keyring(self, url: str, status: int) -> bool:
        """Tell whether rattler should try a URL that a server denied us with this HTTP status.

        Only rattler can read the keyring. It comes before `~/.rattler` and netrc, whose credential
        may be out of date; not where a store before the keyring has one.
        """
        if not self.keyring or status not in DENIED or own_credential(url) is not None:
            return False
        return not any(_host(url) in store for store in self.stores[: self.before_keyring])

    def _found(self, url: str) -> Credential:
        stored = (store.get(key) for key in _keys(_host(url)) for store in self.stores)
        return next(filter(None, (own_credential(url), *stored)), Credential())


def _host(url: str) -> str:
    """Return the host as rattler writes it: lower case, IPv6 in brackets, no port."""
    host = urlsplit(url).hostname or ""
    return f"[{host}]" if ":" in host else host


def _keys(host: str) -> Iterator[str]:
    """Yield the keys under which a host's credential may be; an address has no parents."""
    yield host
    if not host.startswith("[") and not host.replace(".", "").isdecimal():
        labels = host.split(".")
        yield from (f"*.{'.'.join(labels[index:])}" for index in range(len(labels)))


def own_credential(url: str) -> Credential | None:
    """Return the user and password that a URL carries itself, decoded."""
    user_info, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at or urlsplit(url).scheme not in {"http", "https"}:
        return None
    user, _, password = user_info.partition(":")
    return basic(unquote(user), unquote(password))


def url_for(credential: Credential, url: str) -> str:
    """Return the URL to request: without user and password, with a conda token in the path.

    A URL that has a `/t/TOKEN/` already keeps its own.
    """
    parts = urlsplit(url)
    if parts.scheme in {"http", "https"}:
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    if credential.conda_token and not parts.path.startswith("/t/"):
        token = quote(credential.conda_token, safe="")
        parts = parts._replace(path=f"/t/{token}{parts.path or '/'}")
    return parts.geturl()


def refuse_unusable(url: str) -> None:
    """Raise DownloadError for a URL that asks another host, or has a placeholder like `<TOKEN>`.

    pixi writes what documentation has to the lock as it is, perhaps encoded, and no server could
    answer it.
    """
    if "\\" in urlsplit(url).netloc:  # Python would ask another host than pixi: `http://it\@host`
        raise DownloadError(ErrorKind.BAD_URL, "its URL has a backslash in its host")
    found = _PLACEHOLDER.search(unquote(urlsplit(url)._replace(query="", fragment="").geturl()))
    if found:
        text = f"its URL has {found[0]} in it, where a token or a name should stand"
        raise DownloadError(ErrorKind.PLACEHOLDER, text)


def read_credentials(config: PixiConfig, environ: Mapping[str, str]) -> Credentials:
    """Read all files with credentials.

    A rattler file that is broken is the error of exit code 2, as it ends pixi. A file that is
    named but missing, and a netrc that cannot be read, are notes, as they are warnings in pixi.
    """
    home, netrc, notes = home_of(environ), environ.get("NETRC"), list[str]()
    files = [config.authentication_override_file, environ.get("RATTLER_AUTH_FILE")]
    named = [Path(each) for each in files if each]
    default = home and home / ".rattler" / "credentials.json"
    stores = []
    for path in (*named, *([default] if default else ())):
        text = read_optional_text(path, limit=_LARGEST, what="credentials file")
        stores.append({} if text is None else parse_credentials(text, str(path)))
        if text is None and path != default:
            notes.append(f"{path}: there is no such credentials file")
    if netrc or home is not None:
        usual = (home or Path()) / ("_netrc" if sys.platform == "win32" else ".netrc")
        stores.append(_read_netrc(Path(netrc or usual), notes, must_exist=bool(netrc)))
    return Credentials(tuple(stores), len(named), _has_keyring(environ), tuple(notes))


def _has_keyring(environ: Mapping[str, str]) -> bool:
    """Tell whether there may be a keyring: on Linux only with a session bus, elsewhere always."""
    if sys.platform in {"darwin", "win32"} or environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return True
    runtime = environ.get("XDG_RUNTIME_DIR")  # perhaps of who was here before `su`
    return runtime is not None and os.path.exists(f"{runtime}/bus")  # noqa: PTH110 -- Path raises


def _read_netrc(path: Path, notes: list[str], *, must_exist: bool) -> dict[str, Credential]:
    """Read a netrc; one that cannot be read is empty, and noted.

    Its `default` is not used, as in rattler; requests would send it to every host.
    """
    import netrc

    try:
        read_regular(path, _LARGEST)  # no pipe and no device
        hosts = netrc.netrc(str(path)).hosts
    except FileNotFoundError:
        notes += [f"{path}: there is no such netrc"] if must_exist else []
        return {}
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
        # Not its own text, which may quote a password.
        reason = getattr(error, "strerror", None) or f"line {getattr(error, 'lineno', None) or '?'}"
        notes.append(f"{path}: cannot be read as a netrc ({reason}), so not used")
        return {}
    hosts.pop("default", None)
    return {host.lower(): basic(user or "", word or "") for host, (user, _, word) in hosts.items()}


def parse_credentials(text: str, subject: str) -> dict[str, Credential]:
    """Parse rattler's credentials file: all credentials by their host.

    Raises the error of exit code 2 that names the file, and the host where there is one; no
    error shows any of the content.
    """
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()  # fails for half a surrogate pair
    except (ValueError, RecursionError):
        raise usage_error(subject, "this credentials file is not JSON", help=_HELP) from None
    if not isinstance(document, dict):
        raise usage_error(subject, "this credentials file is not a JSON object", help=_HELP)
    return {host.lower(): _parse_entry(host, entry, subject) for host, entry in document.items()}


def _parse_entry(host: str, entry: object, subject: str) -> Credential:
    match [*entry.items()] if isinstance(entry, dict) else None:
        case [("BasicHTTP", {"username": str(user), "password": str(password)})]:
            return basic(user, password)
        case [("CondaToken", str(token))] if token:
            return Credential(conda_token=token)
        case [("S3Credentials", {"access_key_id": str(), "secret_access_key": str(), **more})]:
            if isinstance(more.get("session_token"), str | None):
                return Credential()
        case [("BearerToken", str(token))] if _TOKEN.match(token):
            return Credential(authorization=f"Bearer {token}")
        case [
            (
                "OAuth",
                {"access_token": str(token), "token_endpoint": str(), "client_id": str(), **more},
            )
        ] if _TOKEN.match(token):
            # rattler reads them too, and its error would quote one of another type
            texts = (more.get(key) for key in ("refresh_token", "revocation_endpoint", "audience"))
            expires_at = more.get("expires_at")
            if isinstance(expires_at, int | None) and all(isinstance(x, str | None) for x in texts):
                return Credential(authorization=f"Bearer {token}", expires_at=expires_at)
    message = f"the credential of {redact(host)} is not one, whole, of {', '.join(_KINDS)}"
    raise usage_error(subject, message, help=_HELP)
