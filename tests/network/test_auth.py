"""Which credential is chosen, how it is sent, and that it is never shown."""

from __future__ import annotations

import base64
import dataclasses
import string
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.network.auth import Credential, Credentials, basic, own_credential, url_for

NOW = 1_000_000.0


def _bearer(token: str, expires_at: int | None = None) -> Credential:
    return Credential(authorization=f"Bearer {token}", expires_at=expires_at)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.network.auth.time.time", lambda: NOW)


def _credentials(*stores: Mapping[str, Credential], keyring: bool = False) -> Credentials:
    """Make stores of which the first one comes before the keyring."""
    return Credentials(stores=stores, before_keyring=1, keyring=keyring)


def test_nothing_stored_nothing_sent() -> None:
    assert Credentials().for_url("https://a.example/x") == Credential()


def test_the_urls_own_come_first() -> None:
    credentials = _credentials({"a.example": _bearer("stored")})
    own = credentials.for_url("https://me%40home:p%3Aw@a.example/x")
    assert own == basic("me@home", "p:w")
    assert credentials.for_url("https://token@a.example/x") == basic("token", "")
    assert credentials.for_url("https://a.example/x") == _bearer("stored")


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://a.b.example/x", "host, second store"),  # before any `*.` of the first
        ("https://A.B.example:8443/x", "host, second store"),  # the port does not count
        ("https://c.b.example/x", "*.b, first store"),
        ("https://b.example/x", "*.b, first store"),  # `*.` holds for the name itself too
        ("https://c.c.b.example/x", "*.b, first store"),
        ("https://d.example/x", "*.example, second store"),
        ("http://127.0.0.1:8000/x", "address"),
        ("http://[::1]:8000/x", "address 6"),
    ],
)
def test_rattlers_order(url: str, token: str) -> None:
    credentials = _credentials(
        {"*.b.example": _bearer("*.b, first store"), "*.0.1": _bearer("no parent of an address")},
        {
            "a.b.example": _bearer("host, second store"),
            "*.b.example": _bearer("shadowed"),
            "*.example": _bearer("*.example, second store"),
            "127.0.0.1": _bearer("address"),
            "[::1]": _bearer("address 6"),
        },
    )
    assert credentials.for_url(url) == _bearer(token)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/x",
        "https://badb.example.org/x",
        "https://192.168.0.1/x",
        "file:///a.b.example/x",
        "/a.b.example/x",
    ],
)
def test_other_hosts_get_nothing(url: str) -> None:
    credentials = _credentials({"*.b.example": _bearer("t"), "*.0.1": _bearer("t")})
    assert credentials.for_url(url) == Credential()
    assert not credentials.needs_rattler(url)


@pytest.mark.parametrize("url", ["s3://bucket/x", "oci://ghcr.example/x", "gcs://bucket/x"])
def test_what_only_rattler_speaks(url: str) -> None:
    assert Credentials().needs_rattler(url)


@pytest.mark.parametrize("expires_at", [None, int(NOW) + 300, int(NOW) + 9000])
def test_a_token_that_still_holds_is_sent(expires_at: int | None) -> None:
    credentials = _credentials({"a.example": _bearer("t", expires_at)})
    assert credentials.for_url("https://a.example/x") == _bearer("t", expires_at)
    assert not credentials.needs_rattler("https://a.example/x")


@pytest.mark.parametrize("expires_at", [0, int(NOW), int(NOW) + 299])
def test_a_token_that_ends_is_renewed_by_rattler(expires_at: int) -> None:
    credentials = _credentials({"a.example": _bearer("t", expires_at)})
    assert credentials.for_url("https://a.example/x") == Credential()
    assert credentials.needs_rattler("https://a.example/x")
    assert not credentials.needs_rattler("https://u:p@a.example/x")


def test_keys_for_s3_are_not_for_http() -> None:
    credentials = _credentials({"a.example": Credential()})
    assert credentials.for_url("https://a.example/x") == Credential()  # which sends nothing
    assert not credentials.needs_rattler("https://a.example/x")


def test_when_the_keyring_is_asked() -> None:
    first, second = {"first.example": _bearer("t")}, {"second.example": _bearer("t")}
    credentials = _credentials(first, second, keyring=True)
    for status in (401, 403, 404):
        assert credentials.may_be_in_keyring("https://other.example/x", status)
        assert credentials.may_be_in_keyring("https://second.example/x", status)
        assert not credentials.may_be_in_keyring("https://first.example/x", status)
        assert not credentials.may_be_in_keyring("https://u:p@other.example/x", status)
    for status in (200, 416, 429, 500):
        assert not credentials.may_be_in_keyring("https://other.example/x", status)
    without = _credentials(first, second)
    assert not without.may_be_in_keyring("https://other.example/x", 401)


def test_the_header() -> None:
    """RFC 7617, 2."""
    assert basic("Aladdin", "open sesame").authorization == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert basic("ü", "p").authorization == "Basic w7w6cA=="  # UTF-8, as rattler has it


@pytest.mark.parametrize(
    ("credential", "url", "expected"),
    [
        (Credential(), "https://u:p@A.example:8/x?q=1", "https://A.example:8/x?q=1"),
        (_bearer("t"), "https://u:p@a.example/x", "https://a.example/x"),
        (Credential(conda_token="t"), "https://a.example/chan/x", "https://a.example/t/t/chan/x"),
        (Credential(conda_token="t"), "https://a.example", "https://a.example/t/t/"),
        (Credential(conda_token="a/b?c"), "https://a.example/x", "https://a.example/t/a%2Fb%3Fc/x"),
        (Credential(conda_token="t"), "https://a.example/t/own/x", "https://a.example/t/own/x"),
        (Credential(conda_token="t"), "https://a.example/tt/x", "https://a.example/t/t/tt/x"),
        (Credential(), "https://a.example/a%2Bb%21c", "https://a.example/a%2Bb%21c"),
    ],
)
def test_urls(credential: Credential, url: str, expected: str) -> None:
    assert url_for(credential, url) == expected


_TEXT = st.text(alphabet=string.ascii_letters + string.digits, min_size=6, max_size=12)


@given(_TEXT, _TEXT)
def test_a_user_and_password_come_back(user: str, password: str) -> None:
    own = own_credential(f"https://{user}:{password}@a.example/x")
    assert own is not None
    sent = (own.authorization or "").removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == f"{user}:{password}"


@pytest.mark.parametrize(
    "stored", [basic("hidden-user", "hidden"), _bearer("hidden"), Credential(conda_token="hidden")]
)
def test_no_secret_is_shown(stored: Credential) -> None:
    credentials = dataclasses.replace(_credentials({"a.example": stored}), notes=("a note",))
    assert "hidden" not in f"{stored!r} {stored} {credentials!r} {credentials}"
    assert "a note" in repr(credentials)
