"""Bring one artifact: from its sources, over tries, to its place in the channel. Acts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scripts.channel.part import PartFile
from scripts.channel.state import ChannelPlace
from scripts.fetch.copy import local_path, read_chunks
from scripts.fetch.failure import DownloadError, Fault, Patience, may_pass, pause_before
from scripts.fetch.http import Http, Wish
from scripts.fetch.reach import Reach
from scripts.lock.select import Artifact

# bytes; where the lock tells no size, a longer body is taken for an endless one
_LARGEST_UNSIZED = 16 << 30
# The same wrong bytes twice are what the server has; asking on would only cost time.
_MOST_WRONG = 2


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
        self._digest = flow.artifact.package.digest
        self._size = flow.artifact.package.size
        self._etag: str | None = None
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
                        if error.fault is Fault.DISK:
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
                wrong += error.fault is Fault.CONTENT
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
        if error.fault is Fault.STATUS:
            if source not in self._for_rattler and self._shared.ways.rattler_may_know(
                source, error.status or 0
            ):
                self._for_rattler.add(source)
                return True
            return may_pass(error)
        if error.fault is Fault.DISK:
            return False
        return elsewhere or (may_pass(error) and wrong < _MOST_WRONG)

    def _fill(self, source: str, part: PartFile) -> None:
        """Write a source's bytes into the part, behind those it has where the source can."""
        if self._size is not None and part.size > self._size:
            part.restart()
        if self._size is not None and part.size == self._size:
            return  # whole since an earlier run; its digest is looked at next
        lost = self._shared.reach.lost(source)
        if lost is not None:
            raise lost
        limit = _LARGEST_UNSIZED if self._size is None else self._size
        with (
            contextlib.closing(self._chunks(source, part)) as chunks,
            self._shared.reach.body_from(source),
        ):
            for chunk in chunks:
                if self._shared.stop.is_set():
                    raise StoppedError
                if part.size + len(chunk) > limit:
                    part.restart()
                    raise DownloadError(
                        Fault.CONTENT,
                        "longer than pixi.lock says" if self._size else "far too long",
                        contrast=(f"at most {limit} bytes", "more"),
                    )
                part.write(chunk)
                self._flow.received = part.size
                self._flow.processor_seconds = time.thread_time() - self._began
        if self._size is not None and part.size < self._size:
            raise DownloadError(
                Fault.CONNECTION,
                "ended too soon",
                contrast=(f"{self._size} bytes", f"{part.size} bytes"),
            )

    def _chunks(self, source: str, part: PartFile) -> Generator[bytes]:
        path = local_path(source, self._shared.root)
        if path is not None:
            part.restart()
            return read_chunks(path)
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
        if body.start != part.size:
            part.restart()
        self._etag = body.etag
        return body.chunks

    def _chunks_by_rattler(self, source: str) -> Generator[bytes]:
        whole = self._shared.place.parts / f"{_unhashed_key(self._artifact)}.rattler"
        try:
            self._shared.ways.download_by_rattler(source, whole)
            yield from read_chunks(whole)
        finally:
            whole.unlink(missing_ok=True)

    def _place(self, part: PartFile) -> Placed:
        """Compare the digest and rename; wrong bytes are thrown away."""
        actual = part.hex
        algorithm = self._digest.algorithm if self._digest else "sha256"
        if self._digest is not None and actual != self._digest.hex:
            part.restart()
            raise DownloadError(
                Fault.CONTENT,
                f"{algorithm} differs from pixi.lock",
                contrast=(self._digest.hex, actual),
            )
        target = self._shared.place.folder / self._artifact.path
        status = part.place(target, durable=self._shared.durable)
        return Placed(artifact=self._artifact, algorithm=algorithm, digest=actual, status=status)


def disk_error(error: OSError, folder: Path) -> DownloadError:
    """Say what the disk refused; of a rename, the place that could not be got to."""
    where = error.filename2 or error.filename or folder
    return DownloadError(Fault.DISK, f"{where}: {error.strerror}")


def _unhashed_key(artifact: Artifact) -> str:
    return hashlib.sha256(str(artifact.path).encode()).hexdigest()
