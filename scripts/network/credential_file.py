"""Read the text of rattler's credentials file.

The shapes are those of rattler_networking/src/authentication_storage/authentication.rs: for each
host `{"BearerToken": "…"}`, `{"CondaToken": "…"}`, `{"BasicHTTP": {…}}`, `{"S3Credentials": {…}}`
or `{"OAuth": {…}}`. No error shows any of the content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from scripts.core.errors import MirrorError, usage_error
from scripts.core.redact import redact
from scripts.network.credential_choice import Basic, Bearer, CondaToken, OAuth, S3Keys, Stored

_KINDS: Final = ("BearerToken", "BasicHTTP", "CondaToken", "S3Credentials", "OAuth")
_HELP: Final = "log in anew: pixi auth login HOST"
_S3_FIELDS: Final = ("access_key_id", "secret_access_key")
_OAUTH_FIELDS: Final = ("token_endpoint", "client_id")
_OAUTH_OPTIONAL: Final = ("audience", "refresh_token", "revocation_endpoint")
# What a header may carry (RFC 9110, 5.5), less spaces, which no token has (RFC 6750).
_TOKEN: Final = re.compile(r"[\x21-\x7e]+\Z")


def parse_credentials(text: str, subject: str) -> tuple[tuple[str, Stored], ...]:
    """Read all credentials by their host.

    Raises the error of exit code 2 that names the file, and the host where there is one.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise usage_error(subject, "this credentials file is not JSON", help=_HELP) from None
    if not isinstance(document, dict):
        raise usage_error(subject, "this credentials file is not a JSON object", help=_HELP)
    return tuple((host.lower(), _parse(host, entry, subject)) for host, entry in document.items())


def _wrong(subject: str, host: str, trouble: str) -> MirrorError:
    return usage_error(subject, f"the credential of {redact(host)} {trouble}", help=_HELP)


def _parse(host: str, entry: object, subject: str) -> Stored:
    if not isinstance(entry, dict) or len(entry) != 1:
        raise _wrong(subject, host, "has not exactly one kind")
    kind, value = next(iter(entry.items()))
    if kind not in _KINDS:
        raise _wrong(subject, host, f"is of no known kind ({', '.join(_KINDS)})")
    try:
        json.dumps([host, entry], ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a half of a surrogate pair, which JSON can write
        raise _wrong(subject, host, "has characters that are no text") from None
    stored = _stored(kind, value)
    if stored is None:
        raise _wrong(subject, host, f"is no complete {kind}")
    token = _header_token(stored)
    if token is not None and not _TOKEN.match(token):
        raise _wrong(subject, host, "has characters that no token has")
    return stored


def _header_token(stored: Stored) -> str | None:
    """Return what is sent in a header as it is; a user and password are encoded first."""
    if isinstance(stored, Bearer):
        return stored.token
    return stored.access_token if isinstance(stored, OAuth) else None


def _stored(kind: str, value: object) -> Stored | None:
    """Make the credential of a known kind; None where something is missing in it."""
    if isinstance(value, str):
        tokens: dict[str, Stored] = {
            "BearerToken": Bearer(token=value),
            "CondaToken": CondaToken(token=value),
        }
        return tokens.get(kind) if value else None
    if not isinstance(value, Mapping):
        return None
    makers = {"BasicHTTP": _basic, "S3Credentials": _s3_keys, "OAuth": _oauth}
    return makers[kind](value) if kind in makers else None


def _basic(fields: Mapping[str, object]) -> Stored | None:
    user, password = fields.get("username"), fields.get("password")
    if not isinstance(user, str) or not isinstance(password, str):
        return None
    return Basic(user=user, password=password)


def _s3_keys(fields: Mapping[str, object]) -> Stored | None:
    """Only look whether rattler will understand them: its own error would quote them."""
    complete = all(isinstance(fields.get(key), str) for key in _S3_FIELDS)
    return S3Keys() if complete and _is_optional(fields, "session_token") else None


def _oauth(fields: Mapping[str, object]) -> Stored | None:
    token, expires_at = fields.get("access_token"), fields.get("expires_at")
    complete = all(isinstance(fields.get(key), str) for key in _OAUTH_FIELDS)
    optional = all(_is_optional(fields, key) for key in _OAUTH_OPTIONAL)
    if not isinstance(token, str) or not isinstance(expires_at, int | None):
        return None
    return OAuth(access_token=token, expires_at=expires_at) if complete and optional else None


def _is_optional(fields: Mapping[str, object], key: str) -> bool:
    return isinstance(fields.get(key), str | None)
