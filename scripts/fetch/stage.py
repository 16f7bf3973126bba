"""The fetch stage: what the lock names and the channel lacks is downloaded. Only adds."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from scripts.channel.digest_cache import DigestCache
from scripts.channel.folders import check_case, free_bytes, prepare
from scripts.channel.inventory import check_artifacts
from scripts.channel.part import part_sizes
from scripts.channel.state import read_state
from scripts.channel.users import note_layout
from scripts.core.artifact import Artifact
from scripts.core.console import Console, Verbosity
from scripts.core.errors import MirrorError, Problem, finding_problem, usage_error
from scripts.core.invocation import launcher_of
from scripts.core.redact import redact
from scripts.core.report import Report, counted, human_size
from scripts.core.symlinks import refuse_obstacles
from scripts.fetch.archives import check_new_archives
from scripts.fetch.plan import (
    Downloaded,
    FailedDownload,
    Plan,
    make_plan,
    space_problem,
    unhashed_problems,
)
from scripts.lock.select import Selection, left_out_json, left_out_lines, undeclared_lines
from scripts.workspace.workspace import Workspace

if TYPE_CHECKING:  # a run with nothing to do does without the network
    from scripts.fetch.download import DownloadContext
    from scripts.network.retry import RetryPolicy


def fetch(
    workspace: Workspace,
    selection: Selection,
    console: Console,
    *,
    dry_run: bool = False,
    is_announced: bool = False,
    policy: RetryPolicy | None = None,
    again: str = "pixi run fetch",
) -> Report:
    """Download what is missing and replace what is wrong; the rest is not touched.

    Every artifact is tried, whatever happens to others; the report holds all problems. What
    nobody can open stays, since its bytes are the lock's; `index` refuses it. The caller holds the
    channel's lock file. `dry_run`: stop before the first byte; `again`: what runs this again.
    `is_announced`: what will come has been said already.
    """
    place = workspace.place
    problems = unhashed_problems(selection.artifacts, workspace.manifest)
    if problems and not workspace.settings.allow_unhashed:
        raise MirrorError(*problems)
    state = read_state(place)
    if not dry_run:
        prepare(place)
        note_layout(workspace, state, selection.layout)
    paths = (each.path for each in selection.artifacts)
    check_case(place.folder, paths, console, may_write=not dry_run)
    digests = DigestCache(place.digests, writes=not dry_run)
    found = check_artifacts(place.folder, selection.artifacts, digests)
    plan = make_plan(selection.artifacts, found)
    wanted = (*plan.to_download, *(each for _, each in plan.copies))
    folders = {each.path.parent for each in plan.artifacts}
    refuse_obstacles(place.folder, (each.path for each in wanted), folders)
    if wanted:
        plan = dataclasses.replace(plan, resumed=_resumed(workspace, plan))
        _announce(workspace, selection, plan, None if is_announced else console)
    if dry_run:
        return _dry_report(plan, selection)
    console.warn(tuple(_replaced_line(artifact, actual) for artifact, actual in plan.replaced))
    results: list[Downloaded | FailedDownload] = []
    if wanted:
        results = _download(workspace, plan, console, digests, policy)
        shared = [each for one in state.workspaces for each in one.artifacts]
        known = {path for each in shared for path in (each.path, each.path_in_other_layout)}
        known.update(each.path for each in plan.artifacts)
        digests.compact(frozenset(map(str, known)))
        if all(isinstance(each, Downloaded) for each in results):
            shutil.rmtree(place.parts, ignore_errors=True)
    placed = {each.artifact.path for each in results if isinstance(each, Downloaded)}
    absent = {each.path for each in wanted} - placed
    there = [each for each in plan.artifacts if each.path not in absent]
    damaged, opened = check_new_archives(
        place.folder, there, digests, lambda text: console.note(f"fetch: {text}")
    )
    report = _report(plan, selection, results, again)
    return dataclasses.replace(
        report, data={**report.data, "opened": opened}, problems=(*report.problems, *damaged)
    )


def _announce(
    workspace: Workspace, selection: Selection, plan: Plan, console: Console | None
) -> None:
    """Say what will come, where there is a console to say it on; refuse what will not fit."""
    free, folder = free_bytes(workspace.place.folder), workspace.settings.channel_dir
    if console is not None:
        for line in (*undeclared_lines(selection.environments), plan.headline(folder, free)):
            head, *rows = (line,) if isinstance(line, str) else line
            console.note((f"fetch: {head}", *rows))
    problem = space_problem(plan, free, folder)
    if problem is not None:
        raise MirrorError(problem)


def ask_before_first(workspace: Workspace, selection: Selection, console: Console) -> bool:
    """Say what a first mirror would download, and ask whether to make it; change nothing.

    Returns whether it was said; it is not where the settings or a channel folder tell that a
    mirror is wanted. Raises the error of exit code 1 where the answer is no, and of exit code 2
    where there is no terminal to ask on.
    """
    folder = workspace.settings.channel_dir
    if workspace.manifest.has_settings or workspace.place.folder.exists():
        return False
    fetch(workspace, selection, console, dry_run=True)
    answer = console.ask(f"make a mirror of {workspace.root} in {folder}? [y/N]")
    if answer is None:
        raise usage_error(
            folder,
            "there is no mirror yet, and no terminal to ask whether to make one",
            ("workspace", str(workspace.root)),
            help=f"{launcher_of(os.environ) or 'pixi run mirror'} --yes",
        )
    if not answer:
        raise MirrorError(finding_problem(folder, "was not made: the answer was no"))
    return True


def _resumed(workspace: Workspace, plan: Plan) -> int:
    """Count the bytes of parts that downloads go on behind, as `Download` does."""
    parts = part_sizes(workspace.place.parts)
    sizes = [
        (each, parts[each.digest.hex])
        for each in plan.to_download
        if each.digest and each.size and 0 < parts.get(each.digest.hex, 0) <= each.size
    ]
    if not sizes:
        return 0
    from scripts.network.router import Router

    router = Router(workspace.manifest_path, os.environ, Console(verbosity=Verbosity.QUIET))
    return sum(size for each, size in sizes if size == each.size or router.can_resume(each.urls[0]))


def _download(
    workspace: Workspace,
    plan: Plan,
    console: Console,
    digests: DigestCache,
    policy: RetryPolicy | None,
) -> list[Downloaded | FailedDownload]:
    """Run the downloads; a full disk ends them all, anything else only its own artifact."""
    from scripts.fetch.download import DownloadContext
    from scripts.fetch.pool import run_downloads
    from scripts.fetch.progress import progress
    from scripts.network.errors import OF_THE_DISK
    from scripts.network.http import HttpClient
    from scripts.network.retry import RetryPolicy
    from scripts.network.router import Router

    policy = policy or RetryPolicy()
    router = Router(workspace.manifest_path, os.environ, console)
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

    with progress(console, len(plan.to_download), plan.size) as show:
        downloads = run_downloads(
            plan.to_download, context, lambda: HttpClient(router, policy), jobs, show
        )
        with contextlib.closing(downloads):
            for result in downloads:
                take(result)
                if isinstance(result, FailedDownload) and result.error.kind in OF_THE_DISK:
                    break
    tried = {each.artifact.path: each for each in results}
    untried = {each.path for each in plan.to_download} - tried.keys()
    for source, again in plan.copies:
        failed = tried.get(source)
        if isinstance(failed, FailedDownload):
            take(FailedDownload(artifact=again, error=failed.error))
        elif source not in untried:
            take(_place_again(source, again, context))
    return results


def _place_again(
    source: PurePosixPath, again: Artifact, context: DownloadContext
) -> Downloaded | FailedDownload:
    """Give an artifact the bytes of another one with its digest."""
    from scripts.fetch.download import disk_error, link_or_copy_artifact
    from scripts.network.errors import DownloadError, size_error

    digest, size, folder = again.digest, again.size, context.place.folder
    assert digest is not None  # by which they are the same
    try:
        actual = (folder / source).stat().st_size
        if size not in {None, actual}:
            raise size_error(f"{size} bytes", f"{actual} bytes")
        part = context.place.parts / f"{digest.hex}.again"
        status = link_or_copy_artifact(
            folder / source, folder / again.path, part, digest, durable=context.durable
        )
    except OSError as failure:
        return FailedDownload(artifact=again, error=disk_error(failure, folder))
    except DownloadError as failure:
        return FailedDownload(artifact=again, error=failure)
    return Downloaded(artifact=again, digest=digest, status=status)


def _dry_report(plan: Plan, selection: Selection) -> Report:
    lines = (
        *(f"would fetch {artifact.path}" for artifact in plan.to_download),
        *(f"would place {each.path}, the same bytes as {source}" for source, each in plan.copies),
    )
    return Report(
        lines=(lines or _closing_line(0, 0, plan.there), *left_out_lines(selection)),
        data={
            "to-download": [str(artifact.path) for artifact in plan.to_download],
            "same-bytes": [str(each.path) for _, each in plan.copies],
            "size": plan.left,
            "resumed-size": plan.resumed,
            "there": plan.there,
            "left-out": left_out_json(selection),
        },
    )


def _report(
    plan: Plan, selection: Selection, results: Sequence[Downloaded | FailedDownload], again: str
) -> Report:
    placed = [each for each in results if isinstance(each, Downloaded)]
    failed = [each for each in results if isinstance(each, FailedDownload)]
    failed.sort(key=lambda each: str(each.artifact.path))
    size = sum({each.digest: each.status.st_size for each in placed}.values())
    wanted = len(plan.to_download) + len(plan.copies)
    untried = wanted - len(results)
    lines = [f"fetch: {len(failed)} of {wanted} could not be fetched"] if failed else []
    if placed or not failed:
        lines.append(_closing_line(len(placed), size, plan.there))
    if untried:
        lines.append(f"fetch: {untried} not tried, for the same reason")
    return Report(
        lines=(*lines, *left_out_lines(selection)),
        data={
            "fetched": sorted(str(each.artifact.path) for each in placed),
            "fetched-size": size,
            "not-tried": untried,
            "replaced": [str(artifact.path) for artifact, _ in plan.replaced],
            "there": plan.there,
            "left-out": left_out_json(selection),
        },
        problems=tuple(_problem(each, again) for each in failed),
    )


def _problem(failed: FailedDownload, again: str) -> Problem:
    """Turn a failed download into what a person should read and do."""
    from scripts.network.errors import lower_first

    error = failed.error
    source = error.source or failed.artifact.urls[0]
    return Problem(
        subject=str(failed.artifact.path),
        message=redact(lower_first(error.text)),
        code=error.kind.code,
        details=(*error.details, ("from", redact(source))),
        help=error.kind.help_at(source, again, resumes=True),
    )


def _replaced_line(artifact: Artifact, actual: str) -> str:
    """Say that a file in the channel was not the artifact, and is replaced."""
    digest = artifact.digest
    expected = digest.hex if digest and len(actual) == len(digest.hex) else artifact.size
    return f"{artifact.path}: is not what pixi.lock names, replaced ({actual}, not {expected})"


def _closing_line(fetched: int, size: int, there: int) -> str:
    """Sum a run up in one line."""
    if fetched == 0:
        are = "is" if there == 1 else "are"
        return f"fetch: nothing to do, {counted(there, 'artifact')} {are} there"
    were = "was" if there == 1 else "were"
    fetched_ = f"{counted(fetched, 'artifact')} fetched, {human_size(size)}"
    return f"fetch: {fetched_}; {there} {were} there already"
