"""Bring one artifact: from its sources, over tries, to its place in the channel."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from scripts.channel.part import PartFile
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPlace
from scripts.core.record import Digest
from scripts.fetch.copy import local_path, read_chunks, wrong_digest
from scripts.fetch.encoding import UNDOABLE, NotEncodedError, undone
from scripts.fetch.failure import (
    OF_THE_DISK,
    WRONG,
    DownloadError,
    ErrorKind,
    Patience,
    mismatch,
    pause_before,
)
from scripts.fetch.http import Body, Http, Wish, web_page_error
from scripts.fetch.reach import Reach
from scripts.fetch.reason import shortened

# bytes; where the lock tells no size, a longer body is taken for an endless one
_LARGEST_UNSIZED = 16 << 30
# The same wrong bytes twice are what the server has; asking on would only cost time.
_MOST_WRONG = 2
# How much longer a file may be that somebody has packed, though it cannot be packed further.
_PACKED_MORE = 1 << 20


class StoppedError(Exception):
    """The run is ending (Ctrl-C, a full disk): the part stays as it is."""


class Ways(Protocol):
    """The ways to a URL: see `scripts.fetch.router.Router`, which has them from pixi's settings."""

    def sources(self, url: str) -> tuple[str, ...]:
        """Return the URLs to ask for a location of the lock, in order (mirrors)."""

    def failed(self, url: str, error: DownloadError) -> None:
        """Hear that a source failed."""

    def needs_rattler(self, url: str) -> bool:
        """Tell whether requests cannot ask for this URL."""

    def rattler_may_know(self, url: str, status: int) -> bool:
        """Tell whether rattler may be let in where we were refused (keyring)."""

    def download_by_rattler(self, url: str, target: Path) -> None:
        """Download to a file by rattler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all downloads of a run share; `durable`: on the disk before they appear."""

    place: ChannelPlace
    root: Path
    patience: Patience
    ways: Ways
    durable: bool
    stop: threading.Event
    reach: Reach


@dataclass(slots=True)
class Flow:
    """How far one download is; written by its thread, read by whoever looks.

    `processor_seconds` is what it has cost so far; `is_large`: begun as one of the largest left.
    """

    artifact: Artifact
    is_large: bool = False
    received: int = 0
    retries: int = 0
    processor_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An artifact that is now in the channel: its digest, and its file's status."""

    artifact: Artifact
    algorithm: str
    digest: str
    status: os.stat_result


class Download:
    """One artifact's way into the channel."""

    def __init__(self, flow: Flow, shared: Surroundings, http: Callable[[], Http]) -> None:
        """Take what is to be brought; `http` gives the calling thread's client."""
        self._flow = flow
        self._artifact = flow.artifact
        self._shared = shared
        self._http = http
        self._digest = flow.artifact.digest
        self._size = flow.artifact.size
        self._etag: str | None = None
        self._body: Body | None = None  # what a server said of the bytes in the part
        self._began = time.thread_time()
        self._for_rattler: set[str] = set()

    def run(self) -> Placed:
        """Try every location of the lock; raises the last DownloadError, or StoppedError."""
        # Named after what it must hash to, so that a later run can go on with it.
        key = self._digest.hex if self._digest else _unhashed_key(self._artifact)
        algorithm = self._digest.algorithm if self._digest else "sha256"
        *others, final = self._artifact.urls
        try:
            with PartFile(self._shared.place.parts / f"{key}.part", algorithm) as part:
                if self._digest is None:
                    part.restart()  # nothing could tell that two halves belong together
                for url in others:
                    try:
                        return self._from(url, part)
                    except DownloadError as error:
                        if error.kind in OF_THE_DISK:
                            raise
                return self._from(final, part)
        except OSError as error:
            raise disk_error(error, self._shared.place.folder) from None

    def _from(self, url: str, part: PartFile) -> Placed:
        """Ask one location's sources in turn until the right bytes are there."""
        sources = self._shared.ways.sources(url)
        tries = max(self._shared.patience.tries, len(sources))
        wrong = 0
        for attempt in range(1, tries + 1):
            source = sources[(attempt - 1) % len(sources)]
            began = time.monotonic()
            try:
                self._fill(source, part)
                return self._place(part)
            except DownloadError as error:
                error.source = source
                self._shared.reach.failed(source, error, began)
                self._shared.ways.failed(source, error)
                wrong += error.kind in WRONG
                elsewhere = attempt < len(sources)
                if attempt == tries or all(map(self._shared.reach.lost, sources)):
                    raise
                if not self._goes_on(error, wrong, elsewhere=elsewhere):
                    raise
                self._flow.retries += 1
                at_once = elsewhere or source in self._for_rattler
                pause = 0.0 if at_once else pause_before(attempt + 1, error, self._shared.patience)
                if self._shared.stop.wait(pause):
                    raise StoppedError from None
        raise AssertionError("the last try returns or raises")

    def _goes_on(self, error: DownloadError, wrong: int, *, elsewhere: bool) -> bool:
        """Tell whether one more try may help; `elsewhere`: it would be the next mirror's."""
        source = error.source or ""
        if error.status is not None:
            if source not in self._for_rattler and self._shared.ways.rattler_may_know(
                source, error.status
            ):
                self._for_rattler.add(source)
                return True
            return error.is_retryable
        if error.kind in OF_THE_DISK:
            return False
        return elsewhere or (error.is_retryable and wrong < _MOST_WRONG)

    def _fill(self, source: str, part: PartFile) -> None:
        """Write a source's bytes into the part, behind those it has where the source can."""
        if self._size is not None and part.size > self._size:
            part.restart()
        self._body = None
        if self._size is not None and part.size == self._size:
            return  # whole since an earlier run; its digest is looked at next
        lost = self._shared.reach.lost(source)
        if lost is not None:
            raise lost
        with (
            contextlib.closing(self._chunks(source, part)) as chunks,
            self._shared.reach.body_from(source),
        ):
            limit = self._limit()
            for chunk in chunks:
                if self._shared.stop.is_set():
                    raise StoppedError
                if part.size + len(chunk) > limit:
                    part.restart()
                    text = "longer than pixi.lock says" if self._size else "far too long"
                    raise self._wrong(text, *mismatch(f"at most {limit} bytes", "more"))
                part.write(chunk)
                self._flow.received = part.size
                self._flow.processor_seconds = time.thread_time() - self._began
        if self._size is not None and part.size < self._size and not self._encoding:
            sizes = mismatch(f"{self._size} bytes", f"{part.size} bytes")
            if self._is_page:
                raise web_page_error()
            raise DownloadError(ErrorKind.CUT_OFF, "ended too soon", *sizes)

    @property
    def _encoding(self) -> str | None:
        return None if self._body is None else self._body.encoding

    @property
    def _is_page(self) -> bool:
        return self._body is not None and self._body.is_page

    def _limit(self) -> int:
        """Return how long the body may be."""
        if self._size is None:
            return _LARGEST_UNSIZED
        return self._size + (_PACKED_MORE if self._encoding else 0)

    def _wrong(self, text: str, *details: tuple[str, str]) -> DownloadError:
        """Make the error of bytes that are not the lock's, by what the server called them."""
        if self._is_page:
            return web_page_error()
        return DownloadError(ErrorKind.WRONG_BYTES, text, *details)

    def _chunks(self, source: str, part: PartFile) -> Generator[bytes]:
        path = local_path(source, self._shared.root)
        if path is not None:
            part.restart()
            return read_chunks(path, is_mirror=source not in self._artifact.urls)
        if source in self._for_rattler or self._shared.ways.needs_rattler(source):
            part.restart()
            return self._chunks_by_rattler(source)
        return self._chunks_by_http(source, part)

    def _chunks_by_http(self, source: str, part: PartFile) -> Generator[bytes]:
        """Open the body; start anew where the server cannot go on behind the part."""
        wish = Wish(start=part.size, etag=self._etag, size=self._size)
        try:
            body = self._http().get(source, wish)
        except DownloadError as error:
            if error.status != 416 or part.size == 0:
                raise
            part.restart()
            body = self._http().get(source, Wish(size=self._size))
        if body.encoding and body.start:  # a part of what? it is not to be put behind ours
            body.chunks.close()
            part.restart()
            body = self._http().get(source, Wish(size=self._size))
        if body.start != part.size:
            part.restart()
        self._etag, self._body = body.etag, body
        return body.chunks

    def _chunks_by_rattler(self, source: str) -> Generator[bytes]:
        whole = self._shared.place.parts / f"{_unhashed_key(self._artifact)}.rattler"
        try:
            self._shared.ways.download_by_rattler(source, whole)
            yield from read_chunks(whole)
        finally:
            whole.unlink(missing_ok=True)

    def _place(self, part: PartFile) -> Placed:
        """Compare the digest and rename; wrong bytes are thrown away.

        The digest judges, not what the server called the bytes.
        """
        actual, digest = part.hex, self._digest
        if digest is None:
            self._judge_by_label(part)
        elif actual != digest.hex:
            try:
                placed = self._place_undone(part, digest)
            except DownloadError:
                part.restart()
                raise
            part.discard()
            return placed
        algorithm = digest.algorithm if digest else "sha256"
        return self._placed(part, algorithm, actual)

    def _judge_by_label(self, part: PartFile) -> None:
        """Refuse what the server itself says is something else, where the lock has no digest."""
        if self._is_page:
            raise web_page_error()
        if self._encoding is not None and part.size != self._size:
            part.restart()
            text = f"sent with Content-Encoding {shortened(self._encoding)}, and the lock has no"
            raise DownloadError(ErrorKind.CONTENT_ENCODING, f"{text} digest to judge it by")

    def _place_undone(self, part: PartFile, digest: Digest) -> Placed:
        """Undo, once, the encoding that the server said is around the bytes, and compare again."""
        encoding = self._encoding
        if encoding is None:
            wrong = wrong_digest(digest, part.hex)
            raise self._wrong(wrong.text, *wrong.details)
        details = [*mismatch(digest.hex, part.hex)]
        if encoding in UNDOABLE:
            path = self._shared.place.parts / f"{digest.hex}.undone"
            with PartFile(path, digest.algorithm) as plain, part.content() as packed:
                plain.restart()
                try:
                    for chunk in undone(packed, encoding, self._size or _LARGEST_UNSIZED):
                        plain.write(chunk)
                    if plain.hex == digest.hex:
                        return self._placed(plain, digest.algorithm, plain.hex)
                    details.append(("undone", plain.hex))
                except NotEncodedError as error:
                    details.append(("undone", f"is no {encoding}: {error}"))
                plain.discard()
        text = f"{digest.algorithm} differs from pixi.lock, as sent with Content-Encoding"
        kind = ErrorKind.CONTENT_ENCODING
        raise DownloadError(kind, f"{text} {shortened(encoding)}", *details)

    def _placed(self, part: PartFile, algorithm: str, digest: str) -> Placed:
        target = self._shared.place.folder / self._artifact.path
        status = part.place(target, durable=self._shared.durable)
        return Placed(artifact=self._artifact, algorithm=algorithm, digest=digest, status=status)


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def disk_error(error: OSError, folder: Path) -> DownloadError:
    """Say what the disk refused; of a rename, the place that could not be got to."""
    where = error.filename2 or error.filename or folder
    kind = ErrorKind.BUSY if error.errno == errno.EBUSY else ErrorKind.DISK
    if error.errno in _FULL:
        kind = ErrorKind.DISK_FULL
    elif error.errno in _FORBIDDEN:
        kind = ErrorKind.NOT_WRITABLE
    return DownloadError(kind, f"{where}: {error.strerror}")


def _unhashed_key(artifact: Artifact) -> str:
    return hashlib.sha256(str(artifact.path).encode()).hexdigest()
