"""The fetch stage: what the lock names and the channel lacks is downloaded. Only adds."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from scripts.channel.digest_cache import DigestCache
from scripts.channel.folders import check_case, free_bytes, prepare
from scripts.channel.inventory import ArtifactStatus, check_artifacts
from scripts.channel.locks import read_locks
from scripts.channel.part import part_sizes
from scripts.channel.selection import read_selection, read_whole_selection
from scripts.channel.state import MirrorState, read_state, write_first_seen
from scripts.channel.users import note_layout, read_users
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import folders_of
from scripts.core.child_process import quoted
from scripts.core.console import Console
from scripts.core.errors import (
    MirrorError,
    Problem,
    finding_problem,
    raise_problems,
    usage_error,
)
from scripts.core.files import exists
from scripts.core.invocation import launcher_of
from scripts.core.redact import redact
from scripts.core.report import Json, Line, Report, counted, human_size
from scripts.core.symlinks import check_output_paths
from scripts.fetch.archives import check_new_archives
from scripts.fetch.plan import (
    Downloaded,
    FailedDownload,
    Plan,
    make_plan,
    space_problem,
    unhashed_problems,
)
from scripts.lock.location import local_path
from scripts.lock.mirrored import MirroredLock, of_locks
from scripts.lock.pypi import is_named_by_manifest
from scripts.lock.select import (
    Selection,
    left_out_json,
    left_out_lines,
    locks_by_path,
    undeclared_lines,
)
from scripts.workspace.workspace import Workspace

if TYPE_CHECKING:  # a run with nothing to do does without the network
    from scripts.network.retry import RetryPolicy
    from scripts.network.router import Router

INTERRUPTED: Final = "interrupted; artifacts already placed are kept"
"""What a task that fetches says when Ctrl-C has ended it."""


def read_renewed_locks(
    workspace: Workspace,
    console: Console,
    *,
    kept: bool,
    relayout: bool = False,
    again: str = "pixi run fetch",
) -> tuple[MirroredLock, ...]:
    """Read every lock of the mirror, as `read_locks` does; `kept`: remote ones as they were last.

    Else their copies are renewed. Raises the errors of those that cannot be downloaded, or not be
    mirrored, and what else `read_users` refuses: then no copy is changed.
    """
    read = functools.partial(read_locks, workspace, console, believes_cache=True)
    remote = [each for each in workspace.settings.locks if each.is_remote]
    if kept or not remote:
        return read()
    from scripts.fetch.remote_locks import ask_for_locks, keep_locks

    renewed = ask_for_locks(workspace, remote, console, again=again)
    locks = read(renewed=renewed)
    read_users(workspace, locks, relayout=relayout)  # refuses what no later run could use
    copies = [each for each in locks if each.kept is not None]
    refuse_unhashed(workspace, read_whole_selection(workspace, copies))
    keep_locks(workspace, renewed)
    return locks


def fetch(
    workspace: Workspace,
    selection: Selection,
    console: Console,
    *,
    state: MirrorState | None = None,
    dry_run: bool = False,
    is_announced: bool = False,
    policy: RetryPolicy | None = None,
    again: str = "pixi run fetch",
) -> Report:
    """Download what is missing and replace what is wrong; the rest is not touched.

    Every artifact is tried, whatever happens to others; the report has all problems. One that
    cannot be opened stays, since its bytes are the lock's; `index` refuses it. The caller holds the
    channel's lock file. `state` None: it is read here. `dry_run`: stop before the first byte.
    `again` is the command to run this again; `is_announced`: `announce` was called already.
    """
    place = workspace.place
    refuse_unhashed(workspace, selection)
    state = read_state(place) if state is None else state
    if not dry_run:
        prepare(place)
        note_layout(workspace, state, selection.layout)
    digests = DigestCache(place.digests, writes=not dry_run)
    router = router_of(workspace, selection, console)
    plan = plan_downloads(workspace, selection, console, digests, router=router, policy=policy)
    if not is_announced:
        announce(workspace, selection, plan, console)
    wanted = (*plan.to_download, *(each for _, each in plan.copies))
    if problem := space_problem(plan, free_bytes(place.folder), workspace.settings.channel_dir):
        raise MirrorError(problem)
    if dry_run:
        return _dry_report(workspace, plan, selection, again)
    console.warn(tuple(_replaced_line(artifact, actual) for artifact, actual in plan.replaced))
    results: list[Downloaded | FailedDownload] = []
    if wanted:
        from scripts.fetch.pool import download_all

        results = download_all(workspace, plan, console, digests, policy=policy, router=router())
        shared = [each for one in state.workspaces for each in one.artifacts]
        known = {path for each in shared for path in (each.path, each.path_in_other_layout)}
        known.update(each.path for each in plan.artifacts)
        digests.compact(frozenset(map(str, known)))
    came = [each for each in results if isinstance(each, Downloaded)]
    failed = [each for each in results if isinstance(each, FailedDownload)]
    if wanted and not failed:
        shutil.rmtree(place.parts, ignore_errors=True)
    new = (x for x in came if x.artifact.digest is None or x.artifact.path in state.first_seen)
    if seen := {each.artifact.path: each.digest for each in new}:
        write_first_seen(place, {**state.first_seen, **seen})
    absent = {each.path for each in wanted} - {each.artifact.path for each in came}
    there = [each for each in selection.conda_artifacts if each.path not in absent]
    damaged, opened = check_new_archives(
        place.folder, there, digests, lambda text: console.note(f"fetch: {text}")
    )
    report = _report(plan, selection, came, failed, again)
    return dataclasses.replace(
        report, data={**report.data, "opened": opened}, problems=(*report.problems, *damaged)
    )


def router_of(workspace: Workspace, selection: Selection, console: Console) -> Callable[[], Router]:
    """Return a function that makes the router when it is first called."""

    def read() -> Router:
        from scripts.network.router import Router

        indexes = [each.upstream for each in selection.pypi_artifacts if each.upstream]
        indexes += (url for each in selection.environments for url in each.indexes)
        return Router(workspace.manifest_path, os.environ, console, indexes)

    return functools.cache(read)


def refuse_unhashed(workspace: Workspace, selection: Selection) -> None:
    """Raise the errors of exit code 2 for artifacts without a digest, unless they are allowed."""
    if not workspace.settings.allow_unhashed:
        raise_problems(unhashed_problems(selection))


def plan_downloads(
    workspace: Workspace,
    selection: Selection,
    console: Console,
    digests: DigestCache,
    *,
    router: Callable[[], Router],
    policy: RetryPolicy | None = None,
    asks: bool = True,
) -> Plan:
    """Compare what is there with what the lock names; `asks`: ask servers for missing sizes.

    Raises the errors of exit code 2 for what cannot be placed.
    """
    place, artifacts = workspace.place, selection.artifacts
    may_write = digests.may_write
    check_case(place.folder, (each.path for each in artifacts), console, may_write=may_write)
    found = check_artifacts(place.folder, artifacts, digests)
    plan = make_plan(artifacts, found)
    to_write = (each.path for each in found if each.status is not ArtifactStatus.RIGHT)
    check_output_paths(place.folder, to_write, folders_of(each.path for each in artifacts))
    unsized = [each for each in plan.unsized if not each.is_conda]
    if unsized:
        from scripts.fetch.sizes import ask_sizes, local_sizes, read_sizes

        known = read_sizes(place.sizes)
        sizes = {x.path: known[x.digest.hex] for x in unsized if x.digest and x.digest.hex in known}
        sizes |= local_sizes(unsized, workspace.root)
        unknown = [each for each in unsized if each.path not in sizes]
        if unknown and asks:
            console.note(f"asking for the sizes of {counted(len(unknown), 'PyPI package')}")
            sizes |= ask_sizes(unknown, workspace.root, router(), policy)
        plan = plan.with_sizes(sizes)
    return dataclasses.replace(plan, resumed=_resumed(workspace, plan, router))


def announce(workspace: Workspace, selection: Selection, plan: Plan, console: Console) -> None:
    """Print what will be downloaded, and what is left out."""
    lines: list[Line] = [*left_out_lines(selection)]
    if plan.to_download or plan.copies:
        free = free_bytes(workspace.place.folder)
        lines += undeclared_lines(selection.environments)
        lines.append(plan.headline(workspace.settings.channel_dir, free))
    for line in lines:
        rows = (line,) if isinstance(line, str) else line
        console.note(tuple(each if each.startswith(" ") else f"fetch: {each}" for each in rows))


def confirm_first_mirror(
    workspace: Workspace, locks: Sequence[MirroredLock], words: Sequence[str], console: Console
) -> bool:
    """Print what a first mirror would download, and ask whether to make it; change nothing.

    `words` are those behind the program, to be repeated.
    Returns whether that was done: not where settings or a channel folder show that a mirror is
    wanted. Raises the error of exit code 1 where the answer is no, and of exit code 2 where there
    is no terminal to ask on.
    """
    folder = workspace.settings.channel_dir
    if workspace.manifest.has_settings or exists(workspace.place.folder):
        return False
    fetch(workspace, read_selection(workspace, locks), console, dry_run=True)
    answer = console.ask(f"make a mirror of {workspace.root} in {folder}? [y/N]")
    if answer is None:
        raise usage_error(
            folder,
            "there is no mirror yet, and no terminal to ask whether to make one",
            ("workspace", str(workspace.root)),
            help=" ".join(
                (launcher_of(os.environ) or "pixi run mirror", "--yes", *map(quoted, words))
            ),
        )
    if not answer:
        raise MirrorError(finding_problem(folder, "was not made: the answer was no"))
    return True


def _resumed(workspace: Workspace, plan: Plan, router: Callable[[], Router]) -> int:
    """Return the bytes in parts that downloads will resume, as `Download` does."""
    parts = part_sizes(workspace.place.parts)
    return sum(
        part
        for each in plan.to_download
        if each.digest and (part := parts.get(each.digest.hex, 0))
        if part <= (size := plan.size_of(each) or 0)
        if part == size or router().can_resume(each.urls[0])
    )


def unreadable_problems(
    workspace: Workspace, plan: Plan, selection: Selection, again: str
) -> Iterator[Problem]:
    """Yield the problem of each file of this machine that is to be placed and cannot be read."""
    from scripts.network.content import read_chunks
    from scripts.network.errors import DownloadError

    failed = list[FailedDownload]()
    for each in plan.to_download:
        file = local_path(each.urls[-1], workspace.root)
        if file is not None and not os.access(file, os.R_OK):
            try:
                with contextlib.closing(read_chunks(file)) as chunks:
                    next(chunks, None)
            except DownloadError as error:
                failed.append(FailedDownload(artifact=each, error=error))
    yield from _problems(failed, selection, again)


def _dry_report(workspace: Workspace, plan: Plan, selection: Selection, again: str) -> Report:
    lines = (
        *(f"would fetch {artifact.path}" for artifact in plan.to_download),
        *(f"would place {each.path}, the same bytes as {source}" for source, each in plan.copies),
    )
    return Report(
        lines=(lines or _closing_line(0, 0, plan.there),),
        data=plan_json(plan, selection),
        problems=tuple(unreadable_problems(workspace, plan, selection, again)),
    )


def plan_json(plan: Plan, selection: Selection) -> dict[str, Json]:
    """Return what would be done, for `--json`."""
    return {
        "to-download": [str(artifact.path) for artifact in plan.to_download],
        "same-bytes": [str(each.path) for _, each in plan.copies],
        "size": plan.left,
        "resumed-size": plan.resumed,
        "unknown-sizes": len(plan.unsized),
        "there": plan.there,
        "left-out": left_out_json(selection),
    }


def _report(
    plan: Plan,
    selection: Selection,
    placed: Sequence[Downloaded],
    failed: Sequence[FailedDownload],
    again: str,
) -> Report:
    came = {each.path for each in plan.to_download}  # the others are placed by them
    size = sum(each.status.st_size for each in placed if each.artifact.path in came)
    wanted = len(plan.to_download) + len(plan.copies)
    untried = wanted - len(placed) - len(failed)
    lines = [f"fetch: {len(failed)} of {wanted} could not be fetched"] if failed else []
    if placed or not failed:
        lines.append(_closing_line(len(placed), size, plan.there))
    if untried:
        lines.append(f"fetch: {untried} not tried, for the same reason")
    return Report(
        lines=tuple(lines),
        data={
            "fetched": sorted(str(each.artifact.path) for each in placed),
            "fetched-size": size,
            "not-tried": untried,
            "replaced": [str(artifact.path) for artifact, _ in plan.replaced],
            "there": plan.there,
            "left-out": left_out_json(selection),
        },
        problems=tuple(_problems(failed, selection, again)),
    )


def _problems(
    failed: Sequence[FailedDownload], selection: Selection, again: str
) -> Iterator[Problem]:
    """Yield the problem of each failed download, by path."""
    locks = locks_by_path(selection) if failed else {}
    for each in sorted(failed, key=lambda each: str(each.artifact.path)):
        error, artifact = each.error, each.artifact
        source, is_named = error.source or artifact.urls[0], is_named_by_manifest(artifact)
        where = ("from", redact(source))
        problem = error.problem(
            artifact.path, source, again, where, resumes=True, is_named=is_named
        )
        yield of_locks(problem, locks[artifact.path])


def _replaced_line(artifact: Artifact, actual: str) -> str:
    """Say that a file in the channel was not the artifact, and is replaced."""
    digest, source = artifact.digest, artifact.digest_source
    expected = digest.hex if digest and len(actual) == len(digest.hex) else artifact.size
    return f"{artifact.path}: differs from {source}, replaced ({actual}, not {expected})"


def _closing_line(fetched: int, size: int, there: int) -> str:
    """Sum a run up in one line."""
    if fetched == 0:
        are = "is" if there == 1 else "are"
        return f"fetch: nothing to do, {counted(there, 'artifact')} {are} there"
    were = "was" if there == 1 else "were"
    fetched_ = f"{counted(fetched, 'artifact')} fetched, {human_size(size)}"
    return f"fetch: {fetched_}; {there} {were} there already"
