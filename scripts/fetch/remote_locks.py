"""Renew the copies of remote locks: asked for as artifacts are, by what pixi users have set."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from scripts.channel.grace import now
from scripts.channel.locks import KEPT_LOCKS, remote_lock
from scripts.channel.state import KeptLock, read_kept_lock, write_kept_lock
from scripts.core.console import Console
from scripts.core.errors import MirrorError, Problem
from scripts.core.redact import redact, without_secrets
from scripts.core.scratch import scratch_folder
from scripts.lock.read import LARGEST
from scripts.network.content import SUPPORTED_ENCODINGS, Body, NotEncodedError, decode
from scripts.network.errors import DownloadError, ErrorKind, lower_first, web_page_error
from scripts.network.http import HttpClient
from scripts.network.retry import RetryPolicy, backoff_delay
from scripts.network.router import Router
from scripts.workspace.settings import LockEntry
from scripts.workspace.workspace import Workspace

# What mends these for an artifact is said of channels.
_OF_THE_URL: Final = frozenset(
    {
        *(ErrorKind.BAD_URL, ErrorKind.PLACEHOLDER, ErrorKind.NO_TLS, ErrorKind.TLS_NAME),
        *(ErrorKind.GONE, ErrorKind.REFUSED, ErrorKind.WRONG_BYTES),
    }
)


def ask_for_locks(
    workspace: Workspace,
    entries: Iterable[LockEntry],
    console: Console,
    *,
    again: str,
    policy: RetryPolicy | None = None,
) -> None:
    """Ask for every remote lock, and keep what came; `again` is what runs this again.

    Raises the errors of all that could not be had, or not be used: then every copy stays as it was.
    """
    router, policy = Router(workspace.manifest_path, os.environ, console), policy or RetryPolicy()
    renewed, problems = dict[str, KeptLock](), list[Problem]()
    with contextlib.closing(HttpClient(router, policy)) as client:
        for url, entry in {each.location: each for each in entries}.items():
            console.note(f"locks: asking for {without_secrets(url)}")
            last = read_kept_lock(workspace.place, url)
            try:
                found = _fetch(url, last, client, router, policy)
                if found is None and last is not None:
                    renewed[url] = replace(last, checked=now())
                elif found is not None:
                    text, etag = found
                    kept_lock = KeptLock(text=text, etag=etag, checked=now())
                    remote_lock(kept_lock, url, workspace, entry)  # refuses
                    renewed[url] = kept_lock
            except DownloadError as error:
                problems.append(_problem(url, error, again, has_copy=last is not None))
            except MirrorError as error:
                problems += error.problems
    if problems:
        raise MirrorError(*problems)
    for url, lock in renewed.items():
        write_kept_lock(workspace.place, url, lock)


def _fetch(
    url: str, last: KeptLock | None, client: HttpClient, router: Router, policy: RetryPolicy
) -> tuple[str, str | None] | None:
    """Return text and ETag; None: it is as it was. The sources are asked in turn."""
    sources = router.sources(url)
    tries = max(policy.total, len(sources))
    for attempt in range(1, tries + 1):
        source = sources[(attempt - 1) % len(sources)]
        try:
            return _ask(source, None if last is None else last.etag, client, router)
        except DownloadError as error:
            error.source = source
            if attempt == tries or not (error.is_retryable or attempt < len(sources)):
                raise
            if attempt >= len(sources):
                time.sleep(backoff_delay(attempt + 1, error, policy))
    raise AssertionError


def _ask(
    source: str, etag: str | None, client: HttpClient, router: Router
) -> tuple[str, str | None] | None:
    if router.credentials.needs_rattler(source):
        return _by_rattler(source, router), None
    try:
        answer = client.get_unless(source, etag)
    except DownloadError as error:
        if error.status and router.credentials.may_be_in_keyring(source, error.status):
            return _by_rattler(source, router), None
        raise
    if answer is None:
        return None
    body, tag = answer
    return _text(_read(body)), tag


def _by_rattler(source: str, router: Router) -> str:
    """Download with credentials that only rattler can have."""
    with scratch_folder() as folder:
        router.rattler.download(source, folder / "pixi.lock")
        return _text((folder / "pixi.lock").read_bytes())


def _read(body: Body) -> bytes:
    data = bytearray()
    with contextlib.closing(body.chunks):
        for chunk in body.chunks:
            data += chunk
            if len(data) > LARGEST:
                raise _wrong(f"larger than any lock file should be ({LARGEST >> 20} MiB)")
    if body.is_page:
        raise web_page_error("lock file")
    if body.encoding not in SUPPORTED_ENCODINGS:
        return bytes(data)
    try:
        return b"".join(decode(io.BytesIO(data), body.encoding, LARGEST))
    except NotEncodedError as error:
        raise _wrong(f"sent as {body.encoding}, and is none: {error}") from None


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(f"not UTF-8 text (byte {error.start}); a lock file always is") from None


def _wrong(text: str) -> DownloadError:
    return DownloadError(ErrorKind.WRONG_BYTES, text)


def _problem(url: str, error: DownloadError, again: str, *, has_copy: bool) -> Problem:
    """Say why a remote lock could not be had; and that a copy would do, where there is one."""
    if error.kind in _OF_THE_URL:
        help_line = "correct the URL in `locks`, or take the entry out"
    else:
        help_line = error.kind.help_at(error.source or url, again, resumes=False)
    if has_copy:
        help_line = f"{again} {KEPT_LOCKS}, with the copy that is kept; or {help_line}"
    return Problem(
        subject=without_secrets(url),
        message=f"this remote lock could not be had: {redact(lower_first(error.text))}",
        code=error.kind.code,
        details=(*error.details, ("from", redact(error.source or url))),
        help=help_line,
    )
