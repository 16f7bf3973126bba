"""No secret of a URL survives, wherever in a text it stands; other texts stay as they are."""

from __future__ import annotations

import string
import time
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from scripts.core.redact import redact, without_secrets

# A secret is told from the rest of a text by its first and last letters, which stand nowhere
# else; between them is all that RFC 3986 lets stand there, apostrophes too.
_UNRESERVED = string.ascii_letters + string.digits + "-._~"
_SUB_DELIMITERS = "!$&'()*+,;="


def secrets(alphabet: str) -> st.SearchStrategy[str]:
    middle = st.text(alphabet, max_size=20)
    encoded = st.text(max_size=6).map(lambda text: quote(text, safe=""))
    return st.tuples(middle, encoded, middle).map(lambda parts: f"QXQ{''.join(parts)}ZJZ")


USER_INFO = secrets(_UNRESERVED + _SUB_DELIMITERS + ":@")
TOKENS = secrets(_UNRESERVED + _SUB_DELIMITERS + ":@")
QUERIES = secrets(_UNRESERVED + _SUB_DELIMITERS + ":@/?")
SCHEMES = st.sampled_from(["https", "http", "s3", "oci", "git+https", "HTTPS", "file"])
HOSTS = st.sampled_from(
    ["conda.anaconda.org", "host", "127.0.0.1:8080", "[::1]", "[2001:db8::1]:443", "a-b.example:1"]
)
PATHS = st.sampled_from(["", "/", "/conda-forge", "/a/b%20c/d-1-0.conda", "/it's", "/@scope/x"])


@st.composite
def urls(draw: st.DrawFn) -> tuple[str, tuple[str, ...]]:
    """Draw a URL with at least one secret, and the secrets."""
    found: list[str] = []

    def secret(strategy: st.SearchStrategy[str]) -> str:
        found.append(draw(strategy))
        return found[-1]

    user = draw(st.sampled_from(["", "user", "password", "both"]))
    info = secret(USER_INFO) if user in {"user", "both"} else "name" if user else ""
    info += f":{secret(USER_INFO)}" if user in {"password", "both"} else ""
    info += "@" if user else ""
    token = f"/t/{secret(TOKENS)}" if draw(st.booleans()) else ""
    query = f"?{draw(st.sampled_from(['', 'sig=', 'a=b&sig=']))}" if draw(st.booleans()) else ""
    if query:
        query += secret(QUERIES)
    fragment = draw(st.sampled_from(["", "#sha256=00ff", "#token=", "#egg=x&a="]))
    if fragment.endswith(("token=", "a=")):
        fragment += secret(QUERIES)
    assume(found)
    url = f"{draw(SCHEMES)}://{info}{draw(HOSTS)}{token}{draw(PATHS)}{query}{fragment}"
    return url, tuple(found)


# Around URLs in messages: nothing, blanks, quotes, brackets, the end of a sentence.
AROUND = st.sampled_from(
    [
        ("", ""),
        (" ", " "),
        ("'", "'"),
        ('"', '"'),
        ("<", ">"),
        ("(", ")."),
        ("url=", ","),
        ("[", "]"),
    ]
)


def leaks(text: str, found: tuple[str, ...]) -> list[str]:
    """List what of the secrets is in the text; both ends of each are looked for apart."""
    ends = ("QXQ", "ZJZ") if found else ()
    return [each for each in (*found, *ends) if each in text]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(urls(), AROUND), min_size=1, max_size=3), st.sampled_from([" ", ", ", "\n"])
)
def test_no_secret_survives(
    drawn: list[tuple[tuple[str, tuple[str, ...]], tuple[str, str]]], between: str
) -> None:
    found = tuple(secret for (_, secrets), _ in drawn for secret in secrets)
    text = between.join(f"{before}{url}{after}" for (url, _), (before, after) in drawn)
    assert leaks(text, found)  # control
    hidden = redact(f"asked for {text} in vain")
    assert leaks(hidden, found) == []
    assert hidden.startswith("asked for ")
    assert hidden.endswith(" in vain")
    assert redact(hidden) == hidden


@settings(deadline=None)
@given(urls(), urls())
def test_urls_with_but_a_comma_between_them(
    one: tuple[str, tuple[str, ...]], other: tuple[str, tuple[str, ...]]
) -> None:
    assert leaks(redact(f"['{one[0]}','{other[0]}']"), one[1] + other[1]) == []


@settings(deadline=None)
@given(st.text())
@example("a@b.example, C:\\t\\x, what? x#y, /srv/t/files/x, ./t/x, url: x?y")
@example("channel-dir = '/mnt/t/disk/channel'")
def test_a_text_without_urls_is_unchanged(text: str) -> None:
    assume("://" not in text)
    assume(not any(odd in text for odd in ("/t/", "url: /")) or "srv" in text or "mnt" in text)
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("https://conda.anaconda.org/conda-forge/", "https://conda.anaconda.org/conda-forge/"),
        ("https://user:pa'ss@host/x", "https://********@host/x"),
        ("'https://token@host/x', 'b@c'", "'https://********@host/x', 'b@c'"),
        ("https://u:a@b@host:8080/x", "https://********@host:8080/x"),
        ("https://u:p@[::1]:8080/x@y", "https://********@[::1]:8080/x@y"),
        ("https://u:p/q@host/x", "https://********@host/x"),
        ("https://u:p?q#r@s@host:80/x", "https://********@host:80/x"),
        ("https://host:8080/x@y", "https://host:8080/x@y"),
        ("https://host:/x@y", "https://host:/x@y"),
        ("https://[::1]/x@y", "https://[::1]/x@y"),
        ("https://u:p@host/@scope/x", "https://********@host/@scope/x"),
        ("https://cache/https://u:p/q@host/x", "https://cache/https://********@host/x"),
        ("ssh://git@host:a/b@1.0", "ssh://********@host:a/b@1.0"),
        ("file:///C:/x@y", "file:///C:/x@y"),
        ("https://host/a&b=c/x#egg=y&b=z", "https://host/a&b=c/x#egg=y&b=********"),
        ("git+https://github.com/a/b@1.0", "git+https://github.com/a/b@1.0"),
        ("https://host/t/tk-1/main/x", "https://host/t/********/main/x"),
        ("https://host/%74/tk-1/main/x", "https://host/t/********/main/x"),
        ("see <https://host/t/tk-1>.", "see <https://host/t/********>."),
        ("GET /t/tk-1/main/x", "GET /t/********/main/x"),
        (
            "Max retries exceeded with url: /t/tk-1/x?sig=1 (Caused by x)",
            "Max retries exceeded with url: /t/********/x?******** (Caused by x)",
        ),
        (
            "Max retries exceeded with url: /conda/t/tk-1/x (Caused by x)",
            "Max retries exceeded with url: /conda/t/********/x (Caused by x)",
        ),
        ("https://host/x?sig=1&b=2#sha256=ff", "https://host/x?********#sha256=ff"),
        ("(https://host/x?sig=1).", "(https://host/x?********)."),
        ("(http://h/x.whl%3Fsig=1%23a)", "(http://h/x.whl?********)"),  # as pixi asks a mirror
        ("https://host/a%20b%3E", "https://host/a%20b%3E"),  # the control
        ("is it https://host/x?", "is it https://host/x?"),
        ("https://proxy/?to=https://u:p@host/", "https://proxy/?********"),
        ("https://cache/https://u:p@host/x", "https://cache/https://********@host/x"),
    ],
)
def test_examples(text: str, hidden: str) -> None:
    assert redact(text) == hidden


LONG = (
    "a" * 10**6 + "://",
    "://" * 10**5,
    "://?" * 10**5,
    "?://" * 10**5,
    "://" + "/t/'" * 10**5,
    "://?" + "'" * 10**6,
    "://" + "@" * 10**5,
    "://" + "?#" * 10**5,
    "://:" * 10**5 + "@",
    "://" + "a:" * 10**5 + "@",
    "://1:1/" * 10**5 + "@",
    "url: /" * 10**5,
)


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_a_hostile_text_takes_linear_time(text: str) -> None:
    """A quadratic one would take minutes."""
    begun = time.monotonic()
    redact(text)
    assert time.monotonic() - begun < 5


@settings(deadline=None, max_examples=300)
@given(urls())
def test_without_secrets_nothing_of_them_is_left(drawn: tuple[str, tuple[str, ...]]) -> None:
    url, found = drawn
    assume(not url.startswith("file") or "/t/" not in url)
    plain = without_secrets(url)
    assert leaks(unquote(plain), found) == []
    assert not set("?#") & set(plain)
    assert without_secrets(plain) == plain
    assert redact(plain) == plain


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://u:p@Host:80/t/tk/main/x?a#b", "https://Host:80/main/x"),
        ("HTTPS://host/a/t/tk", "https://host/a"),
        ("https://u:p@[::1]/x", "https://[::1]/x"),
        ("https://host/x#u@y", "https://host/x"),
        ("file:///srv/t/one/channel", "file:///srv/t/one/channel"),
        ("C:\\channels\\t\\one", "C:\\channels\\t\\one"),
        ("./t/one/two?#", "./t/one/two?#"),
        ("https://[bad/x", "https://[bad/x"),
        ("https://\u2100/x", "https://\u2100/x"),
    ],
)
def test_without_secrets_examples(url: str, plain: str) -> None:
    assert without_secrets(url) == plain


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://u:p@h/packages/source/t/toml/x?a#b", "https://h/packages/source/t/toml/x"),
        ("https://h/t/tk-s3cret/p/x", "https://h/p/x"),
        ("https://h/t/x", "https://h/t/x"),
    ],
)
def test_of_a_pypi_file_a_token_is_what_its_path_begins_with(url: str, plain: str) -> None:
    assert without_secrets(url, of_pypi=True) == plain


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_rid_of_secrets(text: str) -> None:
    """The standard library's parser raises on some hosts."""
    without_secrets(f"https://{text}")
    without_secrets(text)
