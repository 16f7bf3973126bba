"""Make texts safe to show: hide secrets, escape control characters and Markdown."""

from __future__ import annotations

import re
from typing import Final

# A URL within a text ends at a blank of ASCII: an apostrophe, or a separator of lines that Unicode
# has, may be part of a password. `url: ` is how urllib3 names what it asked a host for.
_URL: Final = re.compile(r"(?:://|\burl: /)\S+", re.ASCII)
_USER_INFO: Final = re.compile(r"://[^/?#]*@")
# A password as it was typed, with `/` in it: behind the colon is more than a port. An `@` follows.
_RAW_PASSWORD: Final = re.compile(r"://[^/?#@\[:]*:(?![0-9]*[/?#])[^/?#@]*[/?#].*\Z", re.DOTALL)
# Punctuation and quotes behind a URL are kept. Behind `[mirrors]`, pixi asks for `%3F`.
_QUERY: Final = re.compile(r"(?:\?|%3[Ff])[^#]*[^#'\"<>(),.;:\[\]{}]")
# From the first part of a fragment that may be a secret (`#access_token=…`) to its end.
_FRAGMENT: Final = re.compile(
    r"(#(?:[^#]*?&)??(?!(?:sha[0-9]+|md5|egg|subdirectory)=)[^#&=/]*=)[^#]*[^#'\"<>(),.;:\[\]{}]"
)
# anaconda.org's tokens (conda/core/url.py); `/t/` stays, as rattler's redaction keeps it.
_TOKEN: Final = re.compile(r"/(?:t|%74)/[^/?#]*[^/?#'\"<>(),.;:\[\]{}]")
_BARE_TOKEN: Final = re.compile(r"(?<![^\s'\"(=])/t/[^/\s?#'\"<>]+")
_TOKEN_SEGMENTS: Final = re.compile(r"/(?:t|%74)/[^/]+")

_FIRST_TOKEN: Final = re.compile(r"\A/(?:t|%74)/[^/]+(?=/)")

HIDDEN: Final = "********"

# Special characters of CommonMark, with GitHub's tables. An underscore within a word is none, and
# names of packages are full of them.
_MARKDOWN: Final = re.compile(r"[\\`*\[\]<>|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


# Invisible: controls, formats (bidirectional marks, zero widths), halves of surrogate pairs,
# separators of lines and paragraphs.
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def is_utf8(path: str) -> bool:
    """Tell whether a path is UTF-8, as `os.fsdecode` has it; another one no document can hold."""
    return path.isascii() or re.search("[\udc80-\udcff]", path) is None


def printable(text: str, kept: str = "") -> str:
    """Escape control and other invisible characters, but those in `kept`.

    Texts of locks, artifacts and servers must not start a new line, reverse one, or hide in one.
    """
    if text.isprintable():
        return text
    from unicodedata import category  # few texts need it

    return "".join(
        repr(each)[1:-1] if category(each) in _INVISIBLE and each not in kept else each
        for each in text
    )


def redact(text: str) -> str:
    """Hide user names, passwords, tokens, query strings and fragments of every URL within a text.

    A query string may be a signature (`?sig=…`), so it is hidden whole.
    """
    if "://" not in text and "/t/" not in text and "url: " not in text:
        return text
    return _BARE_TOKEN.sub(f"/t/{HIDDEN}", _URL.sub(_redacted, text))


def _redacted(match: re.Match[str]) -> str:
    before, at, after = match[0].rpartition("@")
    url = _RAW_PASSWORD.sub(f"://{HIDDEN}", before) + at + after if at else after
    url = _USER_INFO.sub(f"://{HIDDEN}@", url)
    url = _FRAGMENT.sub(rf"\1{HIDDEN}", _QUERY.sub(f"?{HIDDEN}", url))
    return _TOKEN.sub(f"/t/{HIDDEN}", url)


def without_secrets(url: str, *, of_pypi: bool = False) -> str:
    """Return the URL with user, password, token segment, query and fragment removed.

    A path, which has none of them, is returned as it is. Takes any text: the standard library's
    parser raises on some. `of_pypi`: of a PyPI file, whose path may have the package's initial as
    a folder (`/packages/source/t/toml/…`): there a token is only what the path begins with.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    plain = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = plain.partition("/")
    path = slash + path
    if scheme.lower() != "file":
        tokens = _FIRST_TOKEN if of_pypi else _TOKEN_SEGMENTS
        path = tokens.sub("", path)
    return f"{scheme.lower()}://{authority.rpartition('@')[2]}{path}"


def escape_markdown(text: str) -> str:
    """Write a text so that Markdown shows it as it is."""
    return _MARKDOWN.sub(r"\\\g<0>", text)


def code_fence(text: str, least: int = 1) -> str:
    """Return the backticks that fence a text in Markdown: more than any run in it has."""
    return "`" * max(least, *(len(run) + 1 for run in re.findall("`+", text)), 1)
