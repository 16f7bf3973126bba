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
from typing import TYPE_CHECKING, Final

from scripts.channel.digest_cache import DigestCache
from scripts.channel.part import PartFile, move
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPlace
from scripts.core.errors import MirrorError
from scripts.core.files import unlink
from scripts.core.record import Digest
from scripts.network.auth import refuse_placeholder
from scripts.network.content import (
    SUPPORTED_ENCODINGS,
    NotEncodedError,
    decode,
    local_path,
    read_chunks,
)
from scripts.network.errors import (
    LOCAL,
    WRONG,
    DownloadError,
    ErrorKind,
    mismatch,
    shortened,
    web_page_error,
)
from scripts.network.retry import HostHealth, RetryPolicy, backoff_delay
from scripts.network.router import Router

if TYPE_CHECKING:
    from scripts.network.http import HttpClient

# bytes; where the lock tells no size, a longer body is taken for an endless one
_LARGEST_UNSIZED: Final = 16 << 30
# The same wrong bytes twice are what the server has; asking on would only cost time.
_MOST_WRONG: Final = 2
# How much longer a file may be that somebody has packed, though it cannot be packed further.
_PACKED_MORE: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class StoppedError(Exception):
    """The run is ending (Ctrl-C, a full disk): the part stays as it is."""


class DownloadContext:
    """What all downloads of a run share; `durable`: on the disk before they appear."""

    def __init__(
        self,
        place: ChannelPlace,
        root: Path,
        router: Router,
        policy: RetryPolicy,
        digests: DigestCache,
    ) -> None:
        """Take where to, and the way from where."""
        self.place, self.root, self.router, self.policy = place, root, router, policy
        self.durable = digests.must_be_durable
        self.health = HostHealth(policy)
        self.stop = threading.Event()


@dataclass(slots=True)
class DownloadProgress:
    """How far one download is; written by its thread, read by whoever looks."""

    artifact: Artifact
    received: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """An artifact that is now in the channel: its digest, and its file's status."""

    artifact: Artifact
    digest: Digest
    status: os.stat_result


class Download:
    """One artifact's way into the channel."""

    def __init__(
        self, progress: DownloadProgress, context: DownloadContext, client: Callable[[], HttpClient]
    ) -> None:
        """Take what is to be brought; `client` gives the calling thread's."""
        self._progress, self._context, self._client = progress, context, client
        self._artifact = progress.artifact
        self._digest = progress.artifact.digest
        self._algorithm = self._digest.algorithm if self._digest else "sha256"
        self._size = progress.artifact.size
        # What a server said of the bytes in the part.
        self._encoding: str | None = None
        self._is_page = False
        self._for_rattler: set[str] = set()

    def run(self) -> Downloaded:
        """Try every location of the lock; raises the last DownloadError, or StoppedError."""
        # Named after what it must hash to, so that a later run can go on with it.
        path = str(self._artifact.path).encode()
        key = self._digest.hex if self._digest else hashlib.sha256(path).hexdigest()
        *others, final = self._artifact.urls
        try:
            with PartFile(self._context.place.parts / f"{key}.part", self._algorithm) as part:
                if self._digest is None:
                    part.restart()  # nothing could tell that two halves belong together
                for url in others:
                    try:
                        return self._from(url, part)
                    except DownloadError as error:
                        if error.kind in LOCAL:
                            raise
                return self._from(final, part)
        except OSError as error:
            raise disk_error(error, self._context.place.folder) from None

    def _from(self, url: str, part: PartFile) -> Downloaded:
        """Ask one location's sources in turn until the right bytes are there."""
        context = self._context
        sources = sorted(context.router.sources(url), key=context.health.failures)
        tries = max(context.policy.total, len(sources))
        wrong = 0
        for attempt in range(1, tries + 1):
            source = sources[(attempt - 1) % len(sources)]
            began = time.monotonic()
            try:
                self._fill(source, part)
                return self._place(part)
            except DownloadError as error:
                error.source = source
                context.health.failed(source, error, began)
                wrong += error.kind in WRONG
                elsewhere = attempt < len(sources)
                if attempt == tries or all(map(context.health.is_down, sources)):
                    raise
                if not self._is_worth_another(error, source, wrong, elsewhere=elsewhere):
                    raise
                self._progress.retries += 1
                at_once = elsewhere or source in self._for_rattler
                pause = 0.0 if at_once else backoff_delay(attempt + 1, error, context.policy)
                if context.stop.wait(pause):
                    raise StoppedError from None
        raise AssertionError("the last try returns or raises")

    def _is_worth_another(
        self, error: DownloadError, source: str, wrong: int, *, elsewhere: bool
    ) -> bool:
        """Tell whether one more try may help; `elsewhere`: it would be the next mirror's."""
        if error.status is None:
            may_pass = error.is_retryable and wrong < _MOST_WRONG
            return error.kind not in LOCAL and (elsewhere or may_pass)
        if source not in self._for_rattler and self._context.router.needs_rattler(
            source, error.status
        ):
            self._for_rattler.add(source)
            return True
        return error.is_retryable

    def _fill(self, source: str, part: PartFile) -> None:
        """Write a source's bytes into the part, behind those it has where the source can."""
        if self._size is not None and part.size > self._size:
            part.restart()
        self._encoding, self._is_page = None, False
        if self._size is not None and part.size == self._size:
            return  # whole since an earlier run; its digest is looked at next
        down = self._context.health.is_down(source)
        if down is not None:
            raise down
        if source in self._for_rattler or self._context.router.needs_rattler(source):
            part.restart()
            refuse_placeholder(source)
            with self._context.health.body_from(source):
                self._context.router.rattler.download(source, part.path)
            part.reread()
        else:
            chunks = self._chunks(source, part)
            with contextlib.closing(chunks), self._context.health.body_from(source):
                self._write(chunks, part)
        if self._size is not None and part.size < self._size and not self._encoding:
            sizes = mismatch(f"{self._size} bytes", f"{part.size} bytes")
            cut = DownloadError(ErrorKind.CUT_OFF, "ended too soon", *sizes)
            raise web_page_error() if self._is_page else cut

    def _write(self, chunks: Generator[bytes], part: PartFile) -> None:
        """Write what comes. Once all locked bytes are there, nothing more is waited for."""
        whole = None if self._encoding or self._digest is None else self._size
        limit = self._size or _LARGEST_UNSIZED
        limit += _PACKED_MORE if self._encoding else 0
        for chunk in chunks:
            if self._context.stop.is_set():
                raise StoppedError
            if whole is not None:
                chunk = chunk[: whole - part.size]  # noqa: PLW2901
            if part.size + len(chunk) > limit:
                part.restart()
                text = "longer than pixi.lock says" if self._size else "far too long"
                sizes = mismatch(f"at most {limit} bytes", "more")
                wrong = DownloadError(ErrorKind.WRONG_BYTES, text, *sizes)
                raise web_page_error() if self._is_page else wrong
            part.write(chunk)
            self._progress.received = part.size
            if part.size == whole:
                return  # whatever Content-Length promised; the digest judges

    def _chunks(self, source: str, part: PartFile) -> Generator[bytes]:
        """Open the body; start anew where the source cannot go on behind the part."""
        path = local_path(source, self._context.root)
        if path is not None:
            part.restart()
            return read_chunks(path, is_mirror=source not in self._artifact.urls)
        client = self._client()
        try:
            body = client.get(source, start=part.size, size=self._size)
        except DownloadError as error:
            if error.status != 416 or part.size == 0:
                raise
            body = client.get(source, size=self._size)
        if body.encoding and body.start:  # a part of what? it is not to be put behind ours
            body.chunks.close()
            body = client.get(source, size=self._size)
        if body.start != part.size:
            part.restart()
        self._encoding, self._is_page = body.encoding, body.is_page
        return body.chunks

    def _place(self, part: PartFile) -> Downloaded:
        """Compare the digest and rename; wrong bytes are thrown away.

        The digest judges, not what the server called the bytes.
        """
        actual, digest = part.hex, self._digest
        if digest is not None and actual != digest.hex:
            try:
                placed = self._place_decoded(part, digest)
            except DownloadError:
                part.restart()
                raise
            part.discard()
            return placed
        if digest is None and self._is_page:
            raise web_page_error()
        if digest is None and self._encoding is not None and part.size != self._size:
            part.restart()
            text = f"sent with Content-Encoding {shortened(self._encoding)}, and the lock has no"
            raise DownloadError(ErrorKind.CONTENT_ENCODING, f"{text} digest to judge it by")
        return self._placed(part)

    def _place_decoded(self, part: PartFile, digest: Digest) -> Downloaded:
        """Undo, once, the encoding that the server said is around the bytes, and compare again."""
        encoding = self._encoding
        if encoding is None:
            raise web_page_error() if self._is_page else wrong_digest(digest, part.hex)
        details = [*mismatch(digest.hex, part.hex)]
        if encoding in SUPPORTED_ENCODINGS:
            path = self._context.place.parts / f"{digest.hex}.undone"
            with PartFile(path, digest.algorithm) as plain, part.content() as packed:
                plain.restart()
                try:
                    for chunk in decode(packed, encoding, self._size or _LARGEST_UNSIZED):
                        plain.write(chunk)
                    if plain.hex == digest.hex:
                        return self._placed(plain)
                    details.append(("undone", plain.hex))
                except NotEncodedError as error:
                    details.append(("undone", f"is no {encoding}: {error}"))
                plain.discard()
        text = f"{digest.algorithm} differs from pixi.lock, as sent with Content-Encoding"
        text = f"{text} {shortened(encoding)}"
        raise DownloadError(ErrorKind.CONTENT_ENCODING, text, *details)

    def _placed(self, part: PartFile) -> Downloaded:
        digest = Digest(self._algorithm, part.hex)
        target = self._context.place.folder / self._artifact.path
        with naming_who_has_it_open():
            status = part.place(target, durable=self._context.durable)
        return Downloaded(artifact=self._artifact, digest=digest, status=status)


def link_or_copy_artifact(
    source: Path, target: Path, part: Path, digest: Digest, *, durable: bool
) -> os.stat_result:
    """Give the place `target` the bytes of the artifact at `source` as well, whole or not at all.

    A hard link; where links are impossible a copy, which is hashed as it is written. `part` is
    the name that it has on its way. Returns the status of the new file.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    unlink(part, missing_ok=True)
    with naming_who_has_it_open():
        try:
            os.link(source, part)
        except OSError:
            with PartFile(part, digest.algorithm) as copy:
                for chunk in read_chunks(source):
                    copy.write(chunk)
                if copy.hex != digest.hex:
                    raise wrong_digest(digest, copy.hex) from None
                return copy.place(target, durable=durable)
        move(part, target)
    unlink(part, missing_ok=True)  # POSIX: to rename one link of a file to another does nothing
    return target.stat()


@contextlib.contextmanager
def naming_who_has_it_open() -> Generator[None]:
    """Turn what Windows refuses since a program has the file open into one artifact's error."""
    try:
        yield
    except MirrorError as error:
        [problem] = error.problems
        text = f"{problem.subject}: {problem.message}"
        raise DownloadError(ErrorKind.IN_USE, text) from None


def wrong_digest(digest: Digest, actual: str) -> DownloadError:
    """Make the error of bytes that are not those of the lock."""
    text = f"{digest.algorithm} differs from pixi.lock"
    return DownloadError(ErrorKind.WRONG_BYTES, text, *mismatch(digest.hex, actual))


def disk_error(error: OSError, folder: Path) -> DownloadError:
    """Say what the disk refused; of a rename, the place that could not be got to."""
    where = error.filename2 or error.filename or folder
    kind = ErrorKind.BUSY if error.errno == errno.EBUSY else ErrorKind.DISK
    if error.errno in _FULL:
        kind = ErrorKind.DISK_FULL
    elif error.errno in _FORBIDDEN:
        kind = ErrorKind.NOT_WRITABLE
    return DownloadError(kind, f"{where}: {error.strerror}")
