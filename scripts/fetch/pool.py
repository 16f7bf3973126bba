"""Run downloads in a fixed number of threads, and yield each result as it comes.

The threads are daemons: one that waits for a server must not delay the end of the run.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import PurePosixPath
from typing import Final

from scripts.channel.digest_cache import DigestCache
from scripts.core.artifact import Artifact
from scripts.core.console import Console
from scripts.core.record import Digest
from scripts.fetch.download import (
    Download,
    DownloadContext,
    StoppedError,
    disk_error,
    link_or_copy_artifact,
)
from scripts.fetch.plan import Downloaded, FailedDownload, Plan
from scripts.fetch.progress import Show, progress
from scripts.fetch.sizes import write_sizes
from scripts.network.errors import OF_THE_DISK, DownloadError, size_error
from scripts.network.retry import RetryPolicy
from scripts.network.router import Router
from scripts.workspace.workspace import Workspace

# At once, where nothing is set: as quick as 16 on loopback, a quarter quicker 30 ms away.
_JOBS: Final = 32
_MOST: Final = 128  # at once, whatever is asked for: each is a thread and two open files
_TICK: Final = 0.1  # seconds between two looks at how far the downloads are
_GRACE: Final = 1.0  # seconds that threads get to put down their part after a stop


_Ended = tuple[Download, Downloaded | FailedDownload | BaseException]


def download_all(
    workspace: Workspace,
    plan: Plan,
    console: Console,
    digests: DigestCache,
    *,
    policy: RetryPolicy | None,
    router: Router,
) -> list[Downloaded | FailedDownload]:
    """Download what a plan says, and place its copies.

    A fault of the disk ends all downloads, any other fault only its own.
    """
    write_sizes(workspace.place.sizes, plan)
    policy = policy or RetryPolicy()
    context = DownloadContext(workspace.place, workspace.root, router, policy, digests)
    jobs = workspace.settings.jobs or router.downloads
    results: list[Downloaded | FailedDownload] = []

    def take(result: Downloaded | FailedDownload) -> None:
        results.append(result)
        path = result.artifact.path
        if isinstance(result, Downloaded):
            digests.add(path, result.digest.algorithm, result.digest.hex, result.status)
            console.detail(f"fetched {path}")
        else:
            console.detail(f"failed {path}: {result.error.text}")

    with progress(console, len(plan.to_download), plan.size, there=plan.resumed) as show:
        downloads = run_downloads(plan.to_download, context, jobs, show)
        with contextlib.closing(context.client), contextlib.closing(downloads):
            for result in downloads:
                take(result)
                if isinstance(result, FailedDownload) and result.error.kind in OF_THE_DISK:
                    break
    tried = {each.artifact.path: each for each in results}
    untried = {each.path for each in plan.to_download} - tried.keys()
    for source, again in plan.copies:
        there = tried.get(source)
        if isinstance(there, FailedDownload):
            take(FailedDownload(artifact=again, error=there.error))
        elif source not in untried:
            digest = again.digest or (there.digest if there else None)
            assert digest is not None  # what has none is the same only as what has just come
            take(_place_copy(source, again, digest, context))
    return results


def _place_copy(
    source: PurePosixPath, again: Artifact, digest: Digest, context: DownloadContext
) -> Downloaded | FailedDownload:
    """Place an artifact by the file of another one, which has the same bytes."""
    size, folder = again.size, context.place.folder
    try:
        actual = (folder / source).stat().st_size
        if size not in {None, actual}:
            raise size_error(f"{size} bytes", f"{actual} bytes")
        status = link_or_copy_artifact(
            context.place, folder / source, again.path, digest, durable=context.durable
        )
    except OSError as failure:
        return FailedDownload(artifact=again, error=disk_error(failure, folder))
    except DownloadError as failure:
        return FailedDownload(artifact=again, error=failure)
    return Downloaded(artifact=again, digest=digest, status=status)


def run_downloads(
    artifacts: Sequence[Artifact],
    context: DownloadContext,
    jobs: int | None,
    show: Show,
) -> Generator[Downloaded | FailedDownload]:
    """Download `artifacts`, in their order, `jobs` at once; yield each result as it comes.

    Closing this ends all: every thread stops at its next chunk, and a silent server is not waited
    for.
    """
    todo, done = queue.SimpleQueue[Download | None](), queue.SimpleQueue[_Ended]()
    for artifact in artifacts:
        todo.put(Download(artifact, context))
    under_way: dict[PurePosixPath, Download] = {}
    threads = [
        threading.Thread(target=_work, args=(todo, done, under_way), name="download", daemon=True)
        for _ in range(min(jobs or _JOBS, _MOST, len(artifacts)))
    ]
    left, came, size, retries = len(artifacts), 0, 0, 0
    try:
        for thread in threads:
            thread.start()
        while left:
            active = list(under_way.values())
            received = size + sum(each.received for each in active)
            failed = retries + sum(each.retries for each in active)
            show(came, received, [each.artifact.name for each in active], failed)
            try:
                download, result = done.get(timeout=_TICK)
            except queue.Empty:
                continue
            left, retries = left - 1, retries + download.retries
            del under_way[download.artifact.path]
            if isinstance(result, BaseException):
                raise result
            if isinstance(result, Downloaded):
                came, size = came + 1, size + result.status.st_size
            yield result
    finally:
        context.stop.set()
        for _ in threads:
            todo.put(None)
        context.router.rattler.close()
        deadline = time.monotonic() + _GRACE
        for thread in filter(threading.Thread.is_alive, threads):
            thread.join(max(0.0, deadline - time.monotonic()))


def _work(
    todo: queue.SimpleQueue[Download | None],
    done: queue.SimpleQueue[_Ended],
    under_way: dict[PurePosixPath, Download],
) -> None:
    """Take downloads until there are none."""
    while (download := todo.get()) is not None and not download.context.stop.is_set():
        artifact = download.artifact
        under_way[artifact.path] = download
        try:
            done.put((download, download.run()))
        except DownloadError as error:
            if error.kind in OF_THE_DISK:  # at once: whoever takes the result may be busy
                download.context.stop.set()
            done.put((download, FailedDownload(artifact=artifact, error=error)))
        except StoppedError:
            break
        except BaseException as error:  # raised again in the main thread
            done.put((download, error))
