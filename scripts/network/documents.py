"""Documents that are small enough to be read whole: locks, repodata, pages of an index.

The sources of a URL, in the order of `[mirrors]`, are asked in turn, by what pixi users have set. A
document that has not changed is not sent again.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from scripts.core.scratch import scratch_folder
from scripts.lock.location import local_path
from scripts.network.content import SUPPORTED_ENCODINGS, Body, NotEncodedError, decode, read_chunks
from scripts.network.errors import LOCAL, WRONG, DownloadError, ErrorKind, web_page_error
from scripts.network.retry import MOST_WRONG, HostHealth, RetryPolicy, backoff_delay

if TYPE_CHECKING:
    from scripts.network.http import HttpClient
    from scripts.network.router import Router

ABSENT: Final = frozenset({ErrorKind.GONE, ErrorKind.NO_FILE})
"""The source has answered, and has no such document."""
_Answer = TypeVar("_Answer")
_TAG: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document as it came, with its ETag, Last-Modified and Content-Encoding (None: not sent)."""

    data: bytes
    etag: str | None = None
    modified: str | None = None
    encoding: str | None = None


def ask_sources(
    url: str,
    ask: Callable[[str], _Answer],
    router: Router,
    policy: RetryPolicy,
    health: HostHealth | None = None,
) -> _Answer:
    """Ask the sources of a URL as `ask_in_turn` does.

    The details of its error name the line of `[mirrors]` that led to the source.
    """
    try:
        return ask_in_turn(router.sources(url), ask, policy, health)
    except DownloadError as error:
        more = router.mirror_details(url, error.source or url)
        raise replace(error, details=(*error.details, *more)) from None


def ask_in_turn(
    sources: Sequence[str],
    ask: Callable[[str], _Answer],
    policy: RetryPolicy,
    health: HostHealth | None = None,
    wait: Callable[[float], object] = time.sleep,
    *,
    is_artifact: bool = False,
) -> _Answer:
    """Ask one source after the other, and again where that may help; return the first answer.

    Raises the last DownloadError, of a kind in ABSENT only where no source failed otherwise; one of
    this machine at once. `health` is of the servers asked so far: one that is down is not asked
    again. `wait` is called before each further try, with the seconds until then. `is_artifact`: as
    in pixi, what a server denies or lacks is the answer, whatever the next one has.
    """
    health, errors, left = health or HostHealth(policy), dict[str, DownloadError](), list(sources)
    tries, wrong = max(policy.total, len(sources)), Counter[str]()
    for attempt in range(1, tries + 1):
        source = left.pop(0)
        down = health.is_down(source)
        try:
            if down:
                raise down
            answer = ask(source)
            with health.body_from(source):  # it came, whole
                return answer
        except DownloadError as error:
            error.source, errors[source] = source, error
            wrong[source] += error.kind in WRONG
            is_answer = is_artifact and error.status is not None and not error.is_retryable
            if error.kind in LOCAL or is_answer:
                raise
            if not down:
                health.failed(source, error)
                left += [source] if error.is_retryable and wrong[source] < MOST_WRONG else []
            if not left:
                break
            if attempt < tries:
                is_new = attempt < len(sources)
                wait(0.0 if is_new else backoff_delay(attempt + 1, error, policy))
    raise min(reversed(errors.values()), key=lambda each: each.kind in ABSENT)


def read_document(
    source: str,
    last: Document | None,
    client: HttpClient,
    router: Router,
    *,
    largest: int,
    what: str,
    accept: str | None = None,
) -> Document | None:
    """Ask one source, a URL; None: it is as it was when it sent `last`.

    `largest` is in bytes, `what` names it in errors. A web page is none unless `accept` takes it:
    what is called one, and begins with a tag (a server may call every file so) or is packed.
    """
    file = local_path(source, Path())
    if file is not None:
        return read_whole(Body(chunks=read_chunks(file)), largest, what)
    etag, modified = (None, None) if last is None else (last.etag, last.modified)

    def ask() -> Document | None:
        answer = client.get_unless(source, etag=etag, modified=modified, accept=accept)
        if answer is None:
            return None
        body, headers = answer
        found = read_whole(body, largest, what, accept)
        return replace(found, etag=headers.get("ETag"), modified=headers.get("Last-Modified"))

    def read(downloaded: Path) -> Document:
        return Document(data=downloaded.read_bytes())

    return ask_or_rattler(source, router, ask, lambda: _by_rattler(source, router, read))


def ask_or_rattler(
    source: str,
    router: Router,
    ask: Callable[[], _Answer],
    by_rattler: Callable[[], _Answer],
) -> _Answer:
    """Ask a source; have rattler ask where only it can, or where what the keyring has may help."""
    if router.credentials.needs_rattler(source):
        return by_rattler()
    try:
        return ask()
    except DownloadError as error:
        if not error.status or not router.credentials.may_be_in_keyring(source, error.status):
            raise
        try:
            return by_rattler()
        except DownloadError as denied:
            if denied.status == error.status:  # it tells less of the same
                raise error from None
            raise


def read_whole(body: Body, largest: int, what: str, accept: str | None = None) -> Document:
    """Read a body to its end; see `read_document`."""
    data = bytearray()
    with contextlib.closing(body.chunks):
        for chunk in body.chunks:
            data += chunk
            if len(data) > largest:
                raise wrong_document(f"larger than any {what} should be ({largest >> 20} MiB)")
    is_page = body.is_page and (body.encoding is not None or _TAG.match(data) is not None)
    if is_page and "html" not in (accept or ""):
        raise web_page_error(what)
    encoding = body.encoding if body.encoding in SUPPORTED_ENCODINGS else None
    return Document(data=bytes(data), encoding=encoding)


def decoded(document: Document, largest: int) -> bytes:
    """Undo the Content-Encoding; raises DownloadError where the bytes are not encoded so."""
    if document.encoding is None:
        return document.data
    try:
        return b"".join(decode(io.BytesIO(document.data), document.encoding, largest))
    except NotEncodedError as error:
        raise wrong_document(
            f"sent as {document.encoding}, and cannot be unpacked: {error}"
        ) from None


def wrong_document(text: str) -> DownloadError:
    """Make the error of a document that is not what it should be."""
    return DownloadError(ErrorKind.WRONG_BYTES, text)


def read_size(source: str, client: HttpClient, router: Router) -> int | None:
    """Ask one source, a URL, for a file's size in bytes; None where the server does not tell.

    What only rattler can ask for is downloaded. Raises DownloadError.
    """
    return ask_or_rattler(
        source,
        router,
        lambda: client.size_of(source),
        lambda: _by_rattler(source, router, lambda file: file.stat().st_size),
    )


def _by_rattler(source: str, router: Router, read: Callable[[Path], _Answer]) -> _Answer:
    """Download with credentials that only rattler can have, and return what `read` does."""
    with scratch_folder() as folder:
        router.rattler.download(source, folder / "document")
        return read(folder / "document")
