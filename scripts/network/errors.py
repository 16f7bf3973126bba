"""Why a download failed, what a person can do about it, and how it is said."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from scripts.core.errors import ExitCode, Problem
from scripts.core.redact import redact, without_secrets

_GIVE_CREDENTIALS: Final = "give credentials: `pixi auth login HOST --token TOKEN`, or netrc"
IF_PRIVATE: Final = f"; or, if it is private, {_GIVE_CREDENTIALS}"
"""What a help says beside all else, where 404 may hide what is there."""
ANOTHER_FILE: Final = "`pixi lock` (with another URL, path or digest in the manifest)"
"""What helps in place of an update with a file that a manifest names."""


@unique
class ErrorKind(Enum):
    """Why a download failed, and what mends it.

    The one place where help is chosen: what mends one kind stands in its row, and two share words
    only where the same command mends both. `{rerun}` stands for how to run the command again,
    `{resumed}` and `{fewer}` for what holds of downloads alone, `{bucket}` for a bucket of S3,
    `{proxy}` for the variable that names the proxy.
    """

    # Nobody answered: no such host, nobody there; the connection broke, stalled or only dripped.
    UNREACHED = "is there a network, or a proxy to set ({proxy}, `[proxy-config]`)? then {rerun}"
    PROXY = "correct {proxy} or `[proxy-config]`, or name the host in NO_PROXY; then {rerun}"
    PROXY_CREDENTIALS = (
        "write `USER:PASSWORD@` in front of the proxy's host, in {proxy} or `[proxy-config]`"
    )
    # Whoever was connected to, and sent no first byte.
    UNANSWERED = "{rerun} later, or name another server in `[mirrors]`: `pixi config edit`"
    CUT_OFF = "{rerun}{resumed}"
    TLS_UNTRUSTED = (
        "name a file with the certificate of the server's authority: SSL_CERT_FILE=FILE.pem"
    )
    # Untrusted, and which certificates count was written in `tls-root-certs`.
    TLS_UNTRUSTED_SETTING = (
        "take the other store, `pixi config set tls-root-certs system` or webpki; or name a file"
        " with the certificate of the server's authority: SSL_CERT_FILE=FILE.pem"
    )
    TLS_NAME = (
        "call the server by the name in its certificate, in `channels` or `[mirrors]`; or is"
        " it another server, behind a portal or proxy?"
    )
    TLS_EXPIRED = (
        "is this machine's clock right (`date`)? if so, the server's keeper has to renew its"
        " certificate"
    )
    # What answers on that port speaks no TLS, or none that both can.
    NO_TLS = (
        "write http:// for https://, or another port, in `channels`, `[mirrors]` or HTTPS_PROXY"
    )
    # Nothing was asked.
    BAD_URL = (
        "correct the URL where it is written: `channels` (then `pixi lock`), `[mirrors]`, --mirror"
    )
    PLACEHOLDER = (
        "take it out of the URL in the manifest, then `pixi lock`; what it stands for is given"
        " apart: `pixi auth login HOST --username USER --password PASSWORD`, a token"
        " by `--conda-token TOKEN`, or netrc"
    )
    TLS_NOT_TURNED_OFF = "take py-rattler 0.28 or newer, or `pixi config unset tls-no-verify`"
    S3_OPTIONS = (
        "set endpoint-url, region and force-path-style in `[workspace.s3-options.{bucket}]`, and"
        " give keys: `pixi auth login s3://{bucket} --s3-access-key-id ID --s3-secret-access-key"
        " KEY`; for AWS, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY do"
    )
    S3_KEYS = (
        "give keys that may read it: `pixi auth login s3://{bucket} --s3-access-key-id ID"
        " --s3-secret-access-key KEY`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )
    GCS_KEYS = (
        "log in to Google: `gcloud auth application-default login`, or name a file with a key:"
        " GOOGLE_APPLICATION_CREDENTIALS=FILE.json"
    )
    # The server said no.
    UNAUTHORIZED = _GIVE_CREDENTIALS
    FORBIDDEN = (
        "if it wants credentials: `pixi auth login HOST --token TOKEN`, or netrc; else only its"
        " keeper can let you have it"
    )
    # Each of the two, where the URL brings a login of its own.
    OWN_LOGIN = (
        "if the user or token in its URL is wrong, correct it there (no other counts): in the"
        " manifest, then `pixi lock`; in `[mirrors]`, `locks` or --mirror; else only its keeper can"
        " let you have it"
    )
    GONE = "{update} moves on from what is no longer there{private}"
    GONE_FROM_MIRROR = (
        "has that mirror this channel, at this URL? `pixi config edit`; what the channel itself no"
        " longer has, {update} moves on from"
    )
    TOO_MANY_REQUESTS = "{rerun} later{fewer}"
    SERVER_ERROR = "{rerun} later{resumed}"
    # Any other status, or a part of the file that nobody asked for.
    REFUSED = (
        "is it the channel you meant? correct it in `channels`, then `pixi lock`, or `[mirrors]`"
    )
    REDIRECT = "name in `[mirrors]` a server that has the files themselves: `pixi config edit`"
    # Something else came.
    WEB_PAGE = (
        "is it the URL you meant? if so, log in: `pixi auth login HOST --token TOKEN`, or as the"
        " page says; then {rerun}"
    )
    WRONG_BYTES = "nothing was kept; {rerun}, or {update} if the channel replaced the file"
    NOT_FIRST_SEEN = (
        "nothing was kept; if upstream may replace the file, take its row out of that list and"
        " {rerun}; what pins it in the manifest is a `#sha256=…` behind its URL, or, of a conda"
        ' package, `sha256 = "…"` beside it'
    )
    CONTENT_ENCODING = (
        "nothing was kept; the server's keeper has to send archives without Content-Encoding, or"
        " name another server in `[mirrors]`"
    )
    # Files of this machine.
    NO_CHANNEL_FOLDER = (
        "mount it there, or name in `channels` one that this machine reaches and lock anew:"
        " `pixi lock`"
    )
    NO_MIRROR_FOLDER = "mount it there, or take it out of `[mirrors]`: `pixi config edit`"
    NO_FILE = "put it back there, or lock what is there now: {update}"
    NOT_A_FILE = "put the artifact in its place, or `pixi lock` without it"
    UNREADABLE = "make it readable (`chmod a+r FILE`), or see to its disk, then {rerun}"
    DISK_FULL = "free some room, or set channel-dir to a folder on a larger disk; then {rerun}"
    NOT_WRITABLE = "make the folder writable, or set channel-dir to one that is; then {rerun}"
    IN_USE = "close the program that has it open, then {rerun}"
    # Another run is writing the same artifact.
    BUSY = "wait until the other run is over, then {rerun}"
    DISK = "see to the disk, then {rerun}"

    @property
    def code(self) -> ExitCode:
        """The exit code that it asks for."""
        if self in OF_THE_NETWORK:
            return ExitCode.NETWORK
        return ExitCode.FINDINGS if self in _ANSWERED_NO else ExitCode.USAGE

    def help_at(self, url: str, again: str, *, resumes: bool, is_named: bool = False) -> str:
        """Write the help of an error at a URL; `again` is the command that met it.

        `resumes`: it goes on behind what it has already, where rattler's client is not needed.
        `is_named`: a manifest names this very file, so no update moves on from it.
        """
        if self in {ErrorKind.UNAUTHORIZED, ErrorKind.FORBIDDEN}:
            plain = re.split("[?#]", url, maxsplit=1)[0]
            if without_secrets(plain, of_pypi=True) != plain:
                return ErrorKind.OWN_LOGIN.value
        scheme, bucket, *_ = urlsplit(url)
        return self.value.format(
            rerun=f"run `{again}` again",
            resumed="; it goes on where it stopped" if resumes and url.startswith("http") else "",
            fewer=", or with fewer downloads at once: --jobs 2" if resumes else "",
            bucket=bucket,
            proxy="http_proxy" if scheme == "http" else "HTTPS_PROXY",
            update=ANOTHER_FILE if is_named else "`pixi run update-mirror`",
            private="" if scheme == "s3" else IF_PRIVATE,  # a bucket tells who may not look 403
        )


# What came is not what the lock names.
WRONG: Final = frozenset(
    {
        *(ErrorKind.WEB_PAGE, ErrorKind.WRONG_BYTES),
        *(ErrorKind.NOT_FIRST_SEEN, ErrorKind.CONTENT_ENCODING),
    }
)
# Nothing can be placed, whatever the artifact and the server.
OF_THE_DISK: Final = frozenset({ErrorKind.DISK_FULL, ErrorKind.NOT_WRITABLE, ErrorKind.DISK})
# No fault of the server's: the next mirror would not help.
LOCAL: Final = OF_THE_DISK | {ErrorKind.IN_USE, ErrorKind.BUSY}
# No answer began, which says nothing of what the server would answer.
UNREACHABLE: Final = frozenset({ErrorKind.UNREACHED, ErrorKind.UNANSWERED, ErrorKind.PROXY})
# Of the server, or of the way to it.
OF_THE_SERVER: Final = UNREACHABLE | {ErrorKind.CUT_OFF, ErrorKind.SERVER_ERROR}
OF_THE_NETWORK: Final = OF_THE_SERVER | {ErrorKind.TOO_MANY_REQUESTS}
_ANSWERED_NO: Final = WRONG | {ErrorKind.GONE, ErrorKind.GONE_FROM_MIRROR}


@dataclass(eq=False)
class DownloadError(Exception):
    """One try failed. `text` is for people and may hold URLs: redact it.

    `status` is the HTTP status; `retry_after` in seconds, as the server asked for; `details` are
    (label, text) pairs for people; `source` the URL that was asked.
    """

    kind: ErrorKind
    text: str
    details: tuple[tuple[str, str], ...] = ()
    status: int | None = None
    retry_after: float | None = None
    source: str | None = None

    def __str__(self) -> str:
        """Say what failed."""
        return self.text

    @property
    def is_retryable(self) -> bool:
        """Tell whether the same request may succeed later: not after 404, 403 or a full disk.

        Wrong bytes are worth another try: a proxy's page for now, a torn transfer.
        """
        return self.kind in OF_THE_NETWORK | WRONG

    def problem(
        self,
        subject: object,
        url: str,
        again: str,
        *details: tuple[str, str],
        lead: str = "",
        resumes: bool = False,
        is_named: bool = False,
    ) -> Problem:
        """Make the problem of it, secrets hidden; `details` follow its own, `lead` the subject.

        `url` is what was asked for, where `source` does not know better; `again`, `resumes`
        and `is_named` are those of `ErrorKind.help_at`.
        """
        where = self.source or url
        return Problem(
            subject=str(subject),
            message=f"{lead}{redact(lower_first(self.text))}",
            code=self.kind.code,
            details=(*self.details, *details),
            help=self.kind.help_at(where, again, resumes=resumes, is_named=is_named),
        )


def mismatch(expected: str, actual: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the details of something that differs from the lock."""
    return ("expected", expected), ("actual", actual)


def size_error(expected: str, actual: str) -> DownloadError:
    """Make the error of a size that differs from the lock."""
    sizes = mismatch(expected, actual)
    return DownloadError(ErrorKind.WRONG_BYTES, "size differs from pixi.lock", sizes)


def web_page_error(what: str = "artifact") -> DownloadError:
    """Make the error of a page that came instead of a file."""
    text = f"a web page came instead of the {what} (a login page?)"
    return DownloadError(ErrorKind.WEB_PAGE, text)


_BY_STATUS: Final = {
    401: ErrorKind.UNAUTHORIZED,
    403: ErrorKind.FORBIDDEN,
    404: ErrorKind.GONE,
    407: ErrorKind.PROXY_CREDENTIALS,
    408: ErrorKind.SERVER_ERROR,
    410: ErrorKind.GONE,
    425: ErrorKind.SERVER_ERROR,
    429: ErrorKind.TOO_MANY_REQUESTS,
}


def kind_of_status(status: int) -> ErrorKind:
    """Return what an HTTP status other than success means for a download."""
    other = ErrorKind.SERVER_ERROR if status >= 500 else ErrorKind.REFUSED
    return _BY_STATUS.get(status, other)


# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED; _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH.
# And what truststore passes on: CERT_E_EXPIRED, CERT_E_CN_NO_MATCH of Windows;
# errSecCertificateExpired, errSecHostNameMismatch of macOS.
_BY_VERIFY_CODE: Final[dict[int | None, ErrorKind]] = {
    **dict.fromkeys((9, 10, 0x800B0101, -67818), ErrorKind.TLS_EXPIRED),
    **dict.fromkeys((62, 64, 0x800B010F, -67602), ErrorKind.TLS_NAME),
    None: ErrorKind.NO_TLS,
}


def kind_of_error(error: Exception) -> ErrorKind:
    """Tell by what requests or urllib3 raises, and by its innermost reason, why no answer came."""
    from requests import exceptions as of_requests
    from urllib3 import exceptions as of_urllib3

    inner, kind = _innermost(error), ErrorKind.CUT_OFF
    of_tls = _BY_VERIFY_CODE.get(getattr(inner, "verify_code", None), ErrorKind.TLS_UNTRUSTED)
    hung_up = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    bad_url = (of_requests.InvalidURL, of_requests.InvalidSchema)
    if isinstance(error, of_requests.SSLError):
        if type(inner).__name__ == "CertificateError":  # which is urllib3's own
            kind = ErrorKind.TLS_NAME
        elif not isinstance(inner, hung_up):
            kind = of_tls
    elif isinstance(error, of_requests.ProxyError):
        wants = "Tunnel connection failed: 407" in str(inner)
        kind = ErrorKind.PROXY_CREDENTIALS if wants else ErrorKind.PROXY
        if of_tls in {ErrorKind.TLS_UNTRUSTED, ErrorKind.TLS_EXPIRED}:  # of an https proxy's own
            kind = of_tls
    elif isinstance(error, bad_url) or not isinstance(error, of_requests.RequestException):
        kind = ErrorKind.BAD_URL  # or a host that is no name
    elif isinstance(inner, (of_urllib3.NewConnectionError, of_urllib3.ConnectTimeoutError)):
        kind = ErrorKind.UNREACHED
    elif isinstance(inner, of_urllib3.ReadTimeoutError):
        kind = ErrorKind.UNANSWERED
    return kind


def _innermost(error: BaseException) -> BaseException:
    while True:
        nested = (getattr(error, "reason", None), getattr(error, "original_error", None))
        inner = [each for each in (*nested, *error.args) if isinstance(each, BaseException)]
        if not inner:
            return error
        error = inner[0]


# `<urllib3.connection.HTTPConnection object at 0x…>: ` and `HTTPConnection(host='…', port=80): `
_OBJECT: Final = re.compile(r"^<[^>]*>: |^[A-Za-z]+\(.*?\): ")
_LONGEST: Final = 200  # characters of what a server says


def error_message(error: Exception) -> str:
    """Shorten the nested texts of urllib3 to the innermost reason, secrets hidden."""
    inner = _innermost(error)
    # truststore's have a text alone, of which `str` makes a tuple
    is_bare = isinstance(inner, ssl.SSLError) and len(inner.args) == 1
    text = " ".join(str(inner.args[0] if is_bare else inner).split())  # a server's may end a line
    return lower_first(shortened(_OBJECT.sub("", redact(text)))) or type(inner).__name__


def shortened(text: str) -> str:
    """Cut a text of a server to a length that people read."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def lower_first(text: str) -> str:
    """Begin in lower case, as all our sentences do; HTTP, Content-Length and the like stay."""
    word = text.split(" ", 1)[0]
    return text[:1].lower() + text[1:] if word[1:].islower() else text


_FOR_PEOPLE: Final = re.compile(r"^text/(?:plain|xml)\b|^application/(?:[\w.+-]*\+)?(?:json|xml)\b")
# `"token": "…"`, `<Signature>…`, `secret=…`
_NAMED_SECRET: Final = re.compile(
    r"""(?i)((?:token|secret|passw|pwd|signature|credential|api_?key|access_?key)[\w-]*"""
    r"""["']?\s*[:=>]\s*["']?)[^\s"'<>,;&}\])]+"""
)
_LONG_SECRET: Final = 8  # characters; a shorter one may be a part of any word
_TOKEN: Final = re.compile(r"/t/([^/?#]+)")


def refusal_text(body: bytes, content_type: str, *, sent: Iterable[str], known: str) -> str | None:
    """Return the beginning of what a server says of a refusal, for people; None: nothing new.

    Only JSON, XML and plain text are shown, without secrets: those that we `sent`, and values that
    are named like one. `known` is the text that is shown anyway.
    """
    if not _FOR_PEOPLE.search(content_type.lower()):
        return None
    text = " ".join(body.decode("utf-8", "replace").split())
    if text.lower().rstrip(".!") in known.lower():
        return None
    for secret in filter(None, (each for one in sent for each in _secrets(one))):
        edge = "" if len(secret) >= _LONG_SECRET else r"\b"
        text = re.sub(f"{edge}{re.escape(secret)}{edge}", "********", text)
    return shortened(_NAMED_SECRET.sub(r"\1********", redact(text)))


def _secrets(sent: str) -> Iterator[str]:
    """Yield the secrets of a header or URL that we sent: the whole first, then its parts."""
    kind, _, value = sent.partition(" ")
    yield value
    if kind == "Basic":
        pair = base64.b64decode(value).decode("utf-8", "replace")
        yield from (pair, *pair.partition(":")[::2])
    elif not value:
        parts = urlsplit(sent)
        yield from map(unquote, parts.netloc.rpartition("@")[0].partition(":")[::2])
        yield from _TOKEN.findall(sent)
        yield from (each for _, each in parse_qsl(parts.query))
