"""Renew the copies of remote locks: asked for as artifacts are, by what pixi users have set."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from scripts.channel.folders import write_gitignore
from scripts.channel.locks import KEPT_LOCKS
from scripts.channel.removals import now
from scripts.channel.state import GOES_ON, KeptLock, read_kept_lock, write_kept_lock
from scripts.core.console import Console
from scripts.core.errors import Problem, raise_problems
from scripts.core.files import disk_errors
from scripts.core.redact import redact, without_secrets
from scripts.lock.read import LARGEST
from scripts.network.documents import (
    Document,
    ask_sources,
    decoded,
    read_document,
    wrong_document,
)
from scripts.network.errors import IF_PRIVATE, DownloadError, ErrorKind
from scripts.network.http import HttpClient
from scripts.network.retry import RetryPolicy
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
) -> Mapping[str, KeptLock]:
    """Ask for every remote lock, and return what there is, by URL; `again` runs this again.

    Raises the errors of all that could not be had.
    """
    router = Router(workspace.manifest_path, os.environ, console)
    policy = RetryPolicy(answer=30.0)  # nobody looks into a lock for minutes
    renewed, problems = dict[str, KeptLock](), list[Problem]()
    with contextlib.closing(HttpClient(router, policy)) as client:
        for url in dict.fromkeys(each.location for each in entries):
            console.note(f"locks: asking for {without_secrets(url)}")
            last = read_kept_lock(workspace.place, url)
            try:
                renewed[url] = _fetch(url, last, client, router, policy)
            except DownloadError as error:
                problems.append(_problem(url, error, again, has_copy=last is not None))
    raise_problems(problems)
    return renewed


def keep_locks(workspace: Workspace, renewed: Mapping[str, KeptLock]) -> None:
    """Replace the copies of remote locks, by URL, once nothing refuses them."""
    with disk_errors(workspace.place.root, GOES_ON, "written"):
        write_gitignore(workspace.place)
    for url, lock in renewed.items():
        write_kept_lock(workspace.place, url, lock)


def _fetch(
    url: str, last: KeptLock | None, client: HttpClient, router: Router, policy: RetryPolicy
) -> KeptLock:
    """Return what there is now, or the copy where that is still the same."""
    before = None if last is None else Document(data=b"", etag=last.etag)

    def ask(source: str) -> KeptLock:
        found = read_document(source, before, client, router, largest=LARGEST, what="lock file")
        if found is None:
            assert last is not None
            return replace(last, checked=now())
        return KeptLock(text=_text(decoded(found, LARGEST)), etag=found.etag, checked=now())

    return ask_sources(url, ask, router, policy)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise wrong_document(
            f"not UTF-8 text (byte {error.start}); a lock file always is"
        ) from None


def _problem(url: str, error: DownloadError, again: str, *, has_copy: bool) -> Problem:
    """Say why a remote lock could not be had; and that a copy would do, where there is one."""
    source, lead = ("from", redact(error.source or url)), "this remote lock could not be had: "
    problem = error.problem(without_secrets(url), url, again, source, lead=lead)
    help_line = problem.help
    if error.kind in _OF_THE_URL:
        help_line = "correct the URL in `locks`, or take the entry out"
        if "mirrors" in dict(error.details):
            help_line = "correct that line of `[mirrors]`, or the URL in `locks`"
        if error.status == HTTPStatus.NOT_FOUND:  # what GitHub says to who is not logged in
            help_line += IF_PRIVATE
    if has_copy:
        help_line = f"{again} {KEPT_LOCKS}, with the copy that is kept; or {help_line}"
    return replace(problem, help=help_line)
