"""The fetch stage: what the lock names and the channel lacks is downloaded. Only adds."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from scripts.channel.digest_cache import DigestCache
from scripts.channel.inventory import check_artifacts
from scripts.channel.prepare import check_case, free_bytes, prepare
from scripts.channel.state import read_state
from scripts.channel.users import note_layout
from scripts.core.artifact import Artifact
from scripts.core.console import Console
from scripts.core.errors import MirrorError
from scripts.core.report import Report
from scripts.core.symlinks import refuse_obstacles
from scripts.fetch.archives import check_archives
from scripts.fetch.copy import place_again
from scripts.fetch.download import Placed, Surroundings, disk_error
from scripts.fetch.failure import OF_THE_DISK, DownloadError, ErrorKind, Patience, mismatch
from scripts.fetch.http import Http
from scripts.fetch.outcome import closing_line, problem_of, replaced_line
from scripts.fetch.plan import Plan, make_plan, space_problem, unhashed_problems
from scripts.fetch.pool import Failed, Pool
from scripts.fetch.progress import State, progress
from scripts.fetch.reach import Reach
from scripts.lock.select import Selection, left_out_json, left_out_lines, undeclared_lines
from scripts.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How to run: stop before the first byte (`dry_run`), how long to wait for what."""

    dry_run: bool = False
    patience: Patience = field(default_factory=Patience)


def fetch(
    workspace: Workspace, selection: Selection, options: FetchOptions, console: Console
) -> Report:
    """Download what is missing and replace what is wrong; the rest is not touched.

    Every artifact is tried, whatever happens to others; the report holds all problems. What
    nobody can open stays, since its bytes are the lock's; `index` refuses it. The caller holds the
    channel's lock file.
    """
    if not workspace.settings.allow_unhashed:
        problems = unhashed_problems(selection.artifacts, workspace.manifest)
        if problems:
            raise MirrorError(*problems)
    state = read_state(workspace.place)
    if not options.dry_run:
        prepare(workspace.place)
        note_layout(workspace, state, selection.layout)
    paths = (each.path for each in selection.artifacts)
    check_case(workspace.place.folder, paths, console, may_write=not options.dry_run)
    digests = DigestCache(workspace.place.digests, writes=not options.dry_run)
    found = check_artifacts(workspace.place.folder, selection.artifacts, digests)
    plan = make_plan(selection.artifacts, found)
    places = (*plan.to_download, *(each.artifact for each in plan.same_bytes))
    refuse_obstacles(workspace.place.folder, (each.path for each in places))
    if places:
        free = free_bytes(workspace.place.folder)
        _announce(plan, selection, free, console)
        problem = space_problem(plan, free, workspace.settings.channel_dir)
        if problem is not None:
            raise MirrorError(problem)
    if options.dry_run:
        return _dry_report(plan, selection)
    for replaced in plan.replaced:
        console.warn(replaced_line(replaced.artifact, replaced.actual))
    results = _Results()
    if places:
        _download(workspace, plan, options, _Run(digests, console, results))
        # What other workspaces name is known, too.
        known = {
            path
            for one in state.workspaces
            for each in one.artifacts
            for path in (each.path, each.path_in_other_layout)
        }
        digests.compact(frozenset(str(path) for path in known | {a.path for a in plan.artifacts}))
        if not results.failed:
            shutil.rmtree(workspace.place.parts, ignore_errors=True)
    absent = {each.path for each in places} - {each.artifact.path for each in results.placed}
    there = [each for each in plan.artifacts if each.path not in absent]
    damaged, opened = check_archives(
        workspace.place.folder, there, digests, lambda text: console.note(f"fetch: {text}")
    )
    report = _report(plan, selection, results)
    return dataclasses.replace(
        report, data={**report.data, "opened": opened}, problems=(*report.problems, *damaged)
    )


def _announce(plan: Plan, selection: Selection, free: int, console: Console) -> None:
    """Say before the first byte what will come, and what of it is from no declared channel."""
    for line in (*undeclared_lines(selection.environments), plan.headline(free)):
        console.note(f"fetch: {line}")


@dataclass(slots=True)
class _Results:
    """What came and what did not."""

    placed: list[Placed] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes that came, what went to several places counted once."""
        return sum({each.digest: each.status.st_size for each in self.placed}.values())


@dataclass(frozen=True, slots=True)
class _Run:
    """What the download loop writes to."""

    digests: DigestCache
    console: Console
    results: _Results

    def take(self, result: Placed | Failed) -> None:
        """Note how it ended, and remember the digest of what was placed."""
        path = result.artifact.path
        if isinstance(result, Placed):
            self.digests.add(path, result.algorithm, result.digest, result.status)
            self.results.placed.append(result)
            self.console.detail(f"fetched {path}")
        else:
            self.results.failed.append(result)
            self.console.detail(f"failed {path}: {result.error.text}")


def _download(workspace: Workspace, plan: Plan, options: FetchOptions, run: _Run) -> None:
    """Run the downloads; a full disk ends them all, anything else only its own artifact."""
    from scripts.fetch.router import Router

    router = Router(workspace.manifest_path, os.environ, run.console)
    shared = Surroundings(
        place=workspace.place,
        root=workspace.root,
        patience=options.patience,
        ways=router,
        durable=run.digests.must_be_durable,
        stop=threading.Event(),
        reach=Reach(options.patience),
    )
    jobs = workspace.settings.jobs or router.downloads
    pool = Pool(shared, lambda: Http(router, options.patience), jobs)
    results = run.results
    size = 0
    same_bytes: dict[PurePosixPath, list[Artifact]] = {}
    for each in plan.same_bytes:
        same_bytes.setdefault(each.source, []).append(each.artifact)
    downloads = {each.path for each in plan.to_download}
    for source in same_bytes.keys() - downloads:
        for again in same_bytes[source]:
            run.take(_place_again(source, again, shared))
    with progress(run.console, len(plan.to_download), plan.size) as display:
        for result in pool.run(plan.to_download):
            if result is not None:
                run.take(result)
                others = same_bytes.get(result.artifact.path, ())
                if isinstance(result, Placed):
                    size += result.status.st_size
                    for again in others:
                        run.take(_place_again(result.artifact.path, again, shared))
                else:
                    for again in others:
                        run.take(Failed(artifact=again, error=result.error))
                    if result.error.kind in OF_THE_DISK:
                        break
            under_way = sum(flow.received for flow in pool.flows)
            display.show(
                State(
                    done=sum(each.artifact.path in downloads for each in results.placed),
                    size=size + under_way,
                    flows=pool.flows,
                    retries=pool.retries,
                )
            )


def _place_again(source: PurePosixPath, again: Artifact, shared: Surroundings) -> Placed | Failed:
    """Give an artifact the bytes of another one with its digest, which are there."""
    digest, size = again.digest, again.size
    assert digest is not None  # by which they are the same
    folder = shared.place.folder
    try:
        actual = (folder / source).stat().st_size
        if size not in {None, actual}:
            other = mismatch(f"{size} bytes", f"{actual} bytes")
            wrong = DownloadError(ErrorKind.WRONG_BYTES, "size differs from pixi.lock", *other)
            return Failed(artifact=again, error=wrong)
        part = shared.place.parts / f"{digest.hex}.again"
        status = place_again(
            folder / source, folder / again.path, part, digest, durable=shared.durable
        )
    except OSError as error:
        return Failed(artifact=again, error=disk_error(error, folder))
    except DownloadError as error:
        return Failed(artifact=again, error=error)
    return Placed(artifact=again, algorithm=digest.algorithm, digest=digest.hex, status=status)


def _dry_report(plan: Plan, selection: Selection) -> Report:
    lines = [f"would fetch {artifact.path}" for artifact in plan.to_download]
    lines += [
        f"would place {each.artifact.path}, the same bytes as {each.source}"
        for each in plan.same_bytes
    ]
    if not lines:
        lines = [closing_line(0, 0, plan.there)]
    return Report(
        lines=(*lines, *left_out_lines(selection)),
        data={
            "to-download": [str(artifact.path) for artifact in plan.to_download],
            "same-bytes": [str(each.artifact.path) for each in plan.same_bytes],
            "size": plan.size,
            "there": plan.there,
            "left-out": left_out_json(selection),
        },
    )


def _report(plan: Plan, selection: Selection, results: _Results) -> Report:
    failed = sorted(results.failed, key=lambda each: str(each.artifact.path))
    wanted = len(plan.to_download) + len(plan.same_bytes)
    lines = [closing_line(len(results.placed), results.size, plan.there)]
    if failed:
        lines = [f"fetch: {len(failed)} of {wanted} could not be fetched"]
        if results.placed:
            lines.append(closing_line(len(results.placed), results.size, plan.there))
    untried = wanted - len(results.placed) - len(failed)
    if untried:
        lines.append(f"fetch: {untried} not tried, for the same reason")
    return Report(
        lines=(*lines, *left_out_lines(selection)),
        data={
            "fetched": sorted(str(each.artifact.path) for each in results.placed),
            "fetched-size": results.size,
            "not-tried": untried,
            "replaced": [str(each.artifact.path) for each in plan.replaced],
            "there": plan.there,
            "left-out": left_out_json(selection),
        },
        problems=tuple(problem_of(each) for each in failed),
    )
