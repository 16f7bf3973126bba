"""Sizes that the lock does not have, those of PyPI packages, asked of servers (HEAD) up front.

They only tell how much will come, and whether it fits; a download does not rely on them. Local
files are looked at, and what a server has told is kept, by the file's sha256.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, TypeGuard

from scripts.core.artifact import Artifact
from scripts.core.channel_url import origin
from scripts.core.files import keep_json, read_json
from scripts.fetch.plan import Plan
from scripts.lock.location import local_path
from scripts.network.errors import DownloadError
from scripts.network.retry import RetryPolicy

if TYPE_CHECKING:
    from scripts.network.http import HttpClient
    from scripts.network.router import Router

LARGEST_UNSIZED: Final = 16 << 30
"""Bytes; where the lock tells no size, a longer body is taken for an endless one."""
_CONNECT: Final = 5.0  # seconds; nobody waits long for what is good to know
_ANSWER: Final = 10.0


def read_sizes(path: Path) -> dict[str, int]:
    """Read the sizes in bytes, by sha256, that were kept; empty where the file is damaged."""
    document = read_json(path)
    rows = document.items() if isinstance(document, dict) else ()
    return {key: value for key, value in rows if _is_credible(value)}


def _is_credible(size: object) -> TypeGuard[int]:
    """Tell whether a file may have this size: a server's mistake must not end the run."""
    return isinstance(size, int) and 0 <= size <= LARGEST_UNSIZED


def write_sizes(path: Path, plan: Plan) -> None:
    """Keep what servers said of downloads to come; without it, they are asked again."""
    told = ((each.digest, plan.sizes.get(each.path)) for each in plan.to_download)
    sizes = {digest.hex: size for digest, size in told if digest and size is not None}
    if sizes:
        keep_json(path, sizes)


def local_sizes(artifacts: Sequence[Artifact], root: Path) -> dict[PurePosixPath, int]:
    """Return the sizes of local files; relative paths are relative to `root`."""
    sizes = dict[PurePosixPath, int]()
    for each in artifacts:
        file = local_path(each.urls[0], root)
        if file is not None:
            with contextlib.suppress(OSError):  # the download tells of it
                sizes[each.path] = file.stat().st_size
    return sizes


def ask_sizes(
    artifacts: Sequence[Artifact], root: Path, router: Router, policy: RetryPolicy | None
) -> dict[PurePosixPath, int]:
    """Ask for the sizes of artifacts in several threads, each source in turn until one tells.

    A server that does not answer is not asked again; that is no error here, but of the download.
    """
    from scripts.network.http import HttpClient, ask_all

    policy = policy or RetryPolicy()
    policy = replace(
        policy, connect=min(policy.connect, _CONNECT), answer=min(policy.answer, _ANSWER)
    )
    by_path, silent = {each.path: each for each in artifacts}, set[str]()
    with contextlib.closing(HttpClient(router, policy)) as client:
        told = ask_all(lambda path: _size(by_path[path], client, router, root, silent), by_path)
    return {path: size for path, size in told.items() if isinstance(size, int)}


def _size(
    artifact: Artifact, client: HttpClient, router: Router, root: Path, silent: set[str]
) -> int | None:
    for source in router.sources(artifact.urls[0]):
        file = local_path(source, root)
        if file is not None:
            with contextlib.suppress(OSError):
                return file.stat().st_size
        elif origin(source) not in silent and not router.credentials.needs_rattler(source):
            try:
                size = client.size_of(source)
            except DownloadError as error:
                if error.status is None:
                    silent.add(origin(source))
                continue
            if _is_credible(size):
                return size
    return None
