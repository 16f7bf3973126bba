"""Read the repodata of a mirror, from a folder or over HTTP. No artifact is read."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.files import not_readable
from scripts.core.record import Record
from scripts.core.redact import redact
from scripts.doctor.mirror_place import MirrorPlace
from scripts.index.repodata import (
    REPODATA,
    REPODATA_ZST,
    DamagedIndexError,
    parse_repodata,
    parse_zst,
)
from scripts.lock.derive import is_path, is_sound_url
from scripts.network.encoding import SUPPORTED_ENCODINGS, NotEncodedError, decode
from scripts.network.errors import DownloadError, web_page_error
from scripts.network.local_file import local_path
from scripts.network.retry import RetryPolicy, backoff_delay
from scripts.network.router import Router

_POLICY: Final = RetryPolicy(total=3)
_LARGEST: Final = 1 << 30  # bytes; conda-forge's largest repodata is a third of that
_GONE: Final = frozenset({404, 410})
_WHAT: Final = "a folder, a file:// or an http(s):// URL; in it noarch/repodata.json, or folders"
HELP: Final = f"name the mirror: --mirror PLACE ({_WHAT} of channels like conda-forge)"


class Source(Protocol):
    """Gives the records of a subdir."""

    def records(self, subdir: PurePosixPath) -> Mapping[str, Record] | None:
        """Return the records of a subdir by file name, None where it has no repodata."""


def find_mirror(text: str) -> MirrorPlace:
    """Read what a person calls a mirror; raises the error of exit code 2 for what is none."""
    if is_path(text):
        file: Path | None = Path(text)
    elif urlsplit(text).scheme in {"http", "https"} and is_sound_url(text):
        if not urlsplit(text).hostname:
            raise usage_error(redact(text), "this URL names no host", help=HELP)
        return MirrorPlace(folder=None, url=text.rstrip("/"))
    else:
        file = local_path(text, Path()) if is_sound_url(text) else None
    if file is None:
        raise usage_error(redact(text), "a mirror cannot be at such a place", help=HELP)
    folder = absolute(file)
    if not folder.is_dir():
        raise usage_error(redact(text), "there is no such folder", help=HELP)
    return MirrorPlace(folder=folder, url=folder.as_uri())


def absolute(path: Path) -> Path:
    """Return the absolute path, without `..` where that names the same file (links may not).

    Raises the error of exit code 2 where the current folder, which it hangs on, is gone.
    """
    try:
        whole = path.absolute()
    except FileNotFoundError:
        raise usage_error(
            str(path),
            "is relative to the current folder, which is not there any more",
            help="name it by its absolute path, or `cd` to a folder that is there",
        ) from None
    plain = Path(os.path.normpath(whole))
    try:
        return plain if plain.samefile(whole) else whole
    except OSError:  # neither can be read; that is told of elsewhere
        return whole


class FolderSource:
    """A mirror in a folder; as file:// clients do, it reads only the plain JSON."""

    def __init__(self, folder: Path) -> None:
        """Take the mirror's folder."""
        self._folder = folder

    def records(self, subdir: PurePosixPath) -> Mapping[str, Record] | None:
        """Read the repodata.json of a subdir."""
        path = self._folder / subdir / REPODATA
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise not_readable(path, "repodata", error) from None
        return _parsed(data, str(path))


class HttpSource:
    """A mirror over HTTP."""

    def __init__(self, place: MirrorPlace, router: Router) -> None:
        """Take the mirror and the ways to it; use `closing` around it."""
        from scripts.network.http import HttpClient  # brings all of requests along

        self._place = place
        self._client = HttpClient(router, _POLICY)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def records(self, subdir: PurePosixPath) -> Mapping[str, Record] | None:
        """Ask for the repodata.json.zst of a subdir, else for its repodata.json."""
        for name in (REPODATA_ZST, REPODATA):
            path = f"{quote(str(subdir), safe='/~=@+')}/{name}"
            subject = f"{self._place.shown}/{path}"
            found = self._get(f"{self._place.url}/{path}", subject)
            if found is not None:
                return _parsed(found[0], subject, found[1])
        return None

    def _get(self, url: str, subject: str) -> tuple[bytes, str | None] | None:
        """Return a file's bytes and encoding, None where the server has no such file."""
        for attempt in range(1, _POLICY.total + 1):
            try:
                return self._body(url, subject)
            except DownloadError as error:
                if error.status in _GONE:
                    return None
                if attempt == _POLICY.total or not error.is_retryable:
                    raise MirrorError(_unread(subject, url, error)) from None
                time.sleep(backoff_delay(attempt + 1, error, _POLICY))
        raise AssertionError("the last try returns or raises")

    def _body(self, url: str, subject: str) -> tuple[bytes, str | None]:
        """Return a file's bytes and the encoding that the server says is around them."""
        parts, size = [], 0
        body = self._client.get(url)
        with contextlib.closing(body.chunks) as chunks:
            if body.is_page:
                raise web_page_error()
            for chunk in chunks:
                parts.append(chunk)
                size += len(chunk)
                if size > _LARGEST:
                    trouble = "cannot be read: larger than any repodata should be"
                    raise usage_error(subject, trouble, help=HELP)
        return b"".join(parts), body.encoding


def _parsed(data: bytes, subject: str, encoding: str | None = None) -> Mapping[str, Record]:
    """Parse repodata; `encoding` is undone where the bytes as they came are none."""
    try:
        plain = parse_zst(data, subject) if subject.endswith(REPODATA_ZST) else data
        return parse_repodata(plain, subject).records
    except DamagedIndexError as error:
        if encoding in SUPPORTED_ENCODINGS:
            with contextlib.suppress(NotEncodedError):
                plain = b"".join(decode(io.BytesIO(data), encoding, _LARGEST))
                return _parsed(plain, subject)
        ask = "its keeper runs `pixi run index`, then `pixi run verify`"
        raise MirrorError(
            *(dataclasses.replace(each, help=ask) for each in error.problems)
        ) from None


def _unread(subject: str, url: str, error: DownloadError) -> Problem:
    """Say why a mirror could not be read, and what to do."""
    code = error.kind.code
    if code is ExitCode.NO:  # nothing was answered
        code = ExitCode.USAGE
    return Problem(
        subject=subject,
        trouble=f"cannot be read: {redact(error.text)}",
        code=code,
        facts=error.details,
        help=error.kind.help_at(url, "pixi run doctor"),
    )
