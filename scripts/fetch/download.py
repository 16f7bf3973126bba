"""Bring one artifact: from its sources, over tries, to its place in the channel."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.channel.digest_cache import DigestCache
from scripts.channel.part import PartFile, move, part_path
from scripts.channel.state import GOES_ON
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import ChannelPaths
from scripts.core.errors import MirrorError, usage_error
from scripts.core.files import disk_errors, hard_link, reason_of, unlink
from scripts.core.record import Digest
from scripts.fetch.plan import Downloaded
from scripts.fetch.sizes import LARGEST_UNSIZED
from scripts.lock.location import local_path
from scripts.network.auth import refuse_unusable
from scripts.network.content import (
    SUPPORTED_ENCODINGS,
    Body,
    NotEncodedError,
    decode,
    read_chunks,
)
from scripts.network.documents import ask_in_turn, ask_or_rattler
from scripts.network.errors import (
    LOCAL,
    WRONG,
    DownloadError,
    ErrorKind,
    mismatch,
    shortened,
    size_error,
    web_page_error,
)
from scripts.network.retry import HostHealth, RetryPolicy
from scripts.network.router import Router

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
        place: ChannelPaths,
        root: Path,
        router: Router,
        policy: RetryPolicy,
        digests: DigestCache,
    ) -> None:
        """Take where to, and the way from where."""
        from scripts.network.http import HttpClient  # brings all of requests along

        self.place, self.root, self.router, self.policy = place, root, router, policy
        self.durable = digests.must_be_durable
        self.client, self.health = HttpClient(router, policy), HostHealth(policy)
        self.stop = threading.Event()


@dataclass(slots=True)
class Download:
    """One artifact's way into the channel.

    How many bytes are there and how many tries have failed may be read meanwhile.
    """

    artifact: Artifact
    context: DownloadContext
    received: int = 0
    retries: int = 0

    def run(self) -> Downloaded:
        """Try every location of the lock; raises the last DownloadError, or StoppedError."""
        path = str(self.artifact.path).encode()
        key = self.artifact.digest or Digest("sha256", hashlib.sha256(path).hexdigest())
        *others, final = self.artifact.urls
        try:
            with PartFile(part_path(self.context.place.parts, key.hex), key.algorithm) as part:
                for url in others:
                    try:
                        return self._from(url, part)
                    except DownloadError as error:
                        if error.kind in LOCAL:
                            raise
                return self._from(final, part)
        except OSError as error:
            raise disk_error(error, self.context.place.folder) from None

    def _from(self, url: str, part: PartFile) -> Downloaded:
        """Ask one location's sources in turn until the right bytes are there."""
        health, router, policy = self.context.health, self.context.router, self.context.policy
        sources = sorted(router.sources(url), key=health.failures)

        def ask(source: str) -> Downloaded:
            return self._place(part, self._fill(source, part))

        if self.artifact.digest is not None and part.size == self.artifact.size:
            with contextlib.suppress(DownloadError):  # whole since an earlier run
                return self._place(part, Body())
        try:
            return ask_in_turn(sources, ask, policy, health, self._wait, is_artifact=True)
        except DownloadError as error:
            led = router.mirror_details(url, error.source or url)
            is_gone = led and error.kind is ErrorKind.GONE
            kind = ErrorKind.GONE_FROM_MIRROR if is_gone else error.kind
            raise dataclasses.replace(error, kind=kind, details=(*error.details, *led)) from None

    def _wait(self, seconds: float) -> None:
        """Wait before a further try, unless the run is ending."""
        self.retries += 1
        if self.context.stop.wait(seconds):
            raise StoppedError

    def _fill(self, source: str, part: PartFile) -> Body:
        """Write a source's bytes into the part, behind those it has where the source can."""
        size, health, router = self.artifact.size, self.context.health, self.context.router
        if self.artifact.digest is None or (size is not None and part.size > size):
            part.restart()  # without a digest nothing could tell that two halves belong together
        path = local_path(source, self.context.root)
        if path is not None:
            chunks = read_chunks(path, is_mirror=source not in self.artifact.urls)
            body = Body(chunks=chunks, is_whole=True)
        else:
            body = ask_or_rattler(
                source,
                router,
                lambda: self._open(source, part),
                lambda: self._by_rattler(source, part),
            )
        if body.start != part.size:
            part.restart()
        with contextlib.closing(body.chunks), health.body_from(source):
            self._write(body, part)
        if size is not None and part.size < size and not body.encoding:
            other = size_error(f"{size} bytes", f"{part.size} bytes")
            if body.is_whole or body.is_page:
                part.restart()
                raise web_page_error() if body.is_page else other
            raise DownloadError(ErrorKind.CUT_OFF, "ended too soon", other.details)
        return body

    def _by_rattler(self, source: str, part: PartFile) -> Body:
        """Write the part with credentials that only rattler may have, or by its transports."""
        refuse_unusable(source)
        part.restart()
        with self.context.health.body_from(source):
            self.context.router.rattler.download(source, part.path)
        part.reread()
        return Body(start=part.size, is_whole=True)

    def _open(self, source: str, part: PartFile) -> Body:
        """Open the body, from its beginning where the source cannot go on behind the part."""
        client, size = self.context.client, self.artifact.size
        try:
            body = client.get(source, start=part.size, size=size)
        except DownloadError as error:
            if error.status != 416 or part.size == 0:
                raise
        else:
            if not (body.encoding and body.start):
                return body
            body.chunks.close()  # a part of what? it is not to be put behind ours
        return client.get(source, size=size)

    def _write(self, body: Body, part: PartFile) -> None:
        """Write what comes. Once all locked bytes are there, nothing more is waited for."""
        size = self.artifact.size
        digest = None if body.encoding else self.artifact.digest
        limit = (size or LARGEST_UNSIZED) + (_PACKED_MORE if body.encoding else 0)
        for chunk in body.chunks:
            if self.context.stop.is_set():
                raise StoppedError
            wanted = chunk[: limit - part.size]
            part.write(wanted)
            self.received = part.size
            if len(wanted) < len(chunk) and (digest is None or part.hex != digest.hex):
                part.restart()
                text = "longer than pixi.lock says" if size else "far too long"
                sizes = mismatch(f"at most {limit} bytes", "more")
                wrong = DownloadError(ErrorKind.WRONG_BYTES, text, sizes)
                raise web_page_error() if body.is_page else wrong
            if digest is not None and part.size == limit:
                return  # whatever Content-Length promised; the digest judges

    def _place(self, part: PartFile, body: Body) -> Downloaded:
        """Compare the digest and rename; wrong bytes are thrown away.

        The digest judges, not what the server called the bytes.
        """
        digest, encoding = self.artifact.digest, body.encoding
        try:
            if digest is None:
                _refuse_unlike(body, is_whole=part.size == self.artifact.size)
            if digest is None or part.hex == digest.hex:
                return self._placed(part, digest or Digest("sha256", part.hex))
            if encoding is None:
                raise web_page_error() if body.is_page else self._other_bytes(digest, part.hex)
            placed = self._place_decoded(part, digest, encoding)
            part.discard()
        except DownloadError as error:
            if error.kind in WRONG:
                part.restart()
            raise
        return placed

    def _other_bytes(self, digest: Digest, actual: str) -> DownloadError:
        """Make the error of bytes that are not the lock's, or not those of the first download."""
        if not self.artifact.is_unhashed:
            return wrong_digest(digest, actual)
        text = f"{digest.algorithm} differs from the one first seen, and pixi.lock has none"
        details = (*mismatch(digest.hex, actual), ("list", str(self.context.place.first_seen)))
        return DownloadError(ErrorKind.NOT_FIRST_SEEN, text, details)

    def _place_decoded(self, part: PartFile, digest: Digest, encoding: str) -> Downloaded:
        """Undo, once, the encoding that the server said is around the bytes, and compare again."""
        details = [*mismatch(digest.hex, part.hex)]
        if encoding in SUPPORTED_ENCODINGS:
            path = self.context.place.parts / f"{digest.hex}.undone"
            with PartFile(path, digest.algorithm) as plain, part.content() as packed:
                plain.restart()
                try:
                    for chunk in decode(packed, encoding, self.artifact.size or LARGEST_UNSIZED):
                        plain.write(chunk)
                    if plain.hex == digest.hex:
                        return self._placed(plain, digest)
                    details.append(("undone", plain.hex))
                except NotEncodedError as error:
                    details.append(("undone", f"is no {encoding}: {error}"))
                plain.discard()
        text = f"{digest.algorithm} differs from pixi.lock, as sent with Content-Encoding"
        raise DownloadError(
            ErrorKind.CONTENT_ENCODING, f"{text} {shortened(encoding)}", tuple(details)
        )

    def _placed(self, part: PartFile, digest: Digest) -> Downloaded:
        target = self.context.place.folder / self.artifact.path
        with naming_who_has_it_open():
            status = part.place(target, durable=self.context.durable)
        return Downloaded(artifact=self.artifact, digest=digest, status=status)


def _refuse_unlike(body: Body, *, is_whole: bool) -> None:
    """Refuse what no digest can tell from the artifact."""
    if body.is_page:
        raise web_page_error()
    if body.encoding and not is_whole:
        text = f"sent with Content-Encoding {shortened(body.encoding)}, and the lock has no"
        raise DownloadError(ErrorKind.CONTENT_ENCODING, f"{text} digest to judge it by")


def link_or_copy_artifact(
    place: ChannelPaths, source: Path, path: PurePosixPath, digest: Digest, *, durable: bool
) -> os.stat_result:
    """Give `path` of a channel the bytes of the artifact at `source` as well, whole or not at all.

    A hard link; where links are impossible a copy, which is hashed as it is written. Returns the
    status of the new file.
    """
    target, part = place.folder / path, place.parts / f"{digest.hex}.again"
    part.parent.mkdir(parents=True, exist_ok=True)
    unlink(part, missing_ok=True)
    with naming_who_has_it_open():
        try:
            hard_link(source, part)
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


def place_again(
    place: ChannelPaths, source: Path, path: PurePosixPath, digest: Digest, digests: DigestCache
) -> None:
    """Do `link_or_copy_artifact` for one that moves within the mirror, and remember its digest.

    Raises the error of exit code 2 where that cannot be.
    """
    durable, target = digests.must_be_durable, place.folder / path
    try:
        with disk_errors(target, GOES_ON, "written"):
            status = link_or_copy_artifact(place, source, path, digest, durable=durable)
    except DownloadError as error:
        raise usage_error(str(path), error.text, help=GOES_ON) from None
    digests.add(path, digest.algorithm, digest.hex, status)


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
    return DownloadError(ErrorKind.WRONG_BYTES, text, mismatch(digest.hex, actual))


def disk_error(error: OSError, folder: Path) -> DownloadError:
    """Say what the disk refused; of a rename, the place that could not be got to."""
    where = str(error.filename2 or error.filename or folder)
    kind = ErrorKind.BUSY if error.errno == errno.EBUSY else ErrorKind.DISK
    if error.errno in _FULL:
        kind = ErrorKind.DISK_FULL
    elif error.errno in _FORBIDDEN:
        kind = ErrorKind.NOT_WRITABLE
    return DownloadError(kind, f"{where}: {reason_of(error, where)}")
