"""rattler's credentials file: every kind, and every way to break it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.core.errors import ExitCode, MirrorError
from scripts.network.auth import Credential, basic, parse_credentials

FILE = "/home/me/.rattler/credentials.json"
KINDS = ("BearerToken", "BasicHTTP", "CondaToken", "S3Credentials", "OAuth")
S3 = {"access_key_id": "hidden", "secret_access_key": "hidden"}
OAUTH = {
    "access_token": "hidden",
    "refresh_token": None,
    "expires_at": 5,
    "token_endpoint": "https://issuer.example/token",
    "revocation_endpoint": None,
    "client_id": "rattler",
}


def test_every_kind_is_read() -> None:
    text = json.dumps(
        {
            "*.Prefix.dev": {"BearerToken": "hidden"},
            "a.example": {"BasicHTTP": {"username": "ü", "password": "hidden"}},
            "conda.anaconda.org": {"CondaToken": "hidden"},
            "s3://bucket": {"S3Credentials": {**S3, "session_token": None}},
            "b.example": {"OAuth": OAUTH},
            "c.example": {"OAuth": {**OAUTH, "expires_at": None, "audience": "x"}},
        }
    )
    bearer = Credential(authorization="Bearer hidden")
    assert parse_credentials(text, FILE) == {
        "*.prefix.dev": bearer,
        "a.example": basic("ü", "hidden"),
        "conda.anaconda.org": Credential(conda_token="hidden"),
        "s3://bucket": Credential(),
        "b.example": Credential(authorization="Bearer hidden", expires_at=5),
        "c.example": bearer,
    }
    assert parse_credentials("{}", FILE) == {}


WHOLE = f"is not one, whole, of {', '.join(KINDS)}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "this credentials file is not JSON"),
        ('{"a": {"BearerToken": "hidden"}', "this credentials file is not JSON"),
        ("[" * 100_000, "this credentials file is not JSON"),
        ('["hidden"]', "this credentials file is not a JSON object"),
        ('{"a": "hidden"}', f"the credential of a {WHOLE}"),
        ('{"a": {}}', f"the credential of a {WHOLE}"),
        (
            '{"https://u:hidden@a": {}}',
            f"the credential of https://********@a {WHOLE}",
        ),
        (
            '{"a": {"hidden": "x"}}',
            f"the credential of a {WHOLE}",
        ),
        (
            '{"a": {"BasicHTTP": {"username": "b", "password": "hidden\\ud800"}}}',
            "this credentials file is not JSON",
        ),
        ('{"a": {"BearerToken": ""}}', f"the credential of a {WHOLE}"),
        ('{"a": {"BearerToken": {"hidden": 1}}}', f"the credential of a {WHOLE}"),
        ('{"a": {"CondaToken": 1}}', f"the credential of a {WHOLE}"),
        ('{"a": {"BasicHTTP": "hidden"}}', f"the credential of a {WHOLE}"),
        (
            '{"a": {"BasicHTTP": {"username": "hidden"}}}',
            f"the credential of a {WHOLE}",
        ),
        (
            '{"a": {"S3Credentials": {"access_key_id": "hidden"}}}',
            f"the credential of a {WHOLE}",
        ),
        ('{"a": {"OAuth": {"token_endpoint": "hidden"}}}', f"the credential of a {WHOLE}"),
        (
            '{"a": {"OAuth": {"access_token": "hidden", "expires_at": "x"}}}',
            f"the credential of a {WHOLE}",
        ),
        *(
            (json.dumps({"a": {"OAuth": {**OAUTH, key: value}}}), f"the credential of a {WHOLE}")
            for key, value in (("client_id", None), ("token_endpoint", 1), ("audience", ["hidden"]))
        ),
        (
            json.dumps({"a": {"S3Credentials": {**S3, "session_token": 5}}}),
            f"the credential of a {WHOLE}",
        ),
        (
            '{"a": {"BearerToken": "hid\\nden"}}',
            f"the credential of a {WHOLE}",
        ),
        (
            '{"a": {"BearerToken": "hid\\u20acden"}}',
            f"the credential of a {WHOLE}",
        ),
    ],
)
def test_a_broken_file_is_named_without_its_content(text: str, message: str) -> None:
    with pytest.raises(MirrorError) as caught:
        parse_credentials(text, FILE)
    assert str(caught.value) == (
        f"{FILE}: {message}\nhelp: mend or remove that file, then log in anew:"
        " pixi auth login HOST --token TOKEN"
    )
    assert caught.value.problems[0].code is ExitCode.USAGE
    assert "hidden" not in str(caught.value)
    # Nor in what a traceback of ours would show.
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_ENTRY = st.dictionaries(
    st.sampled_from([*KINDS, "x"]),
    _JSON | st.just(OAUTH) | st.just(S3),
    max_size=2,
)


@given(_JSON | st.dictionaries(st.text(max_size=5), _ENTRY | _JSON, max_size=3))
def test_any_json_is_read_or_refused(document: Any) -> None:
    try:
        entries = parse_credentials(json.dumps(document), FILE)
    except MirrorError:
        return
    assert set(entries) == {host.lower() for host in document}
