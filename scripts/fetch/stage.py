"""The fetch stage: what the lock names and the channel lacks is downloaded. Acts. Only adds."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass, field

from scripts.channel.digests import Digests
from scripts.channel.inventory import look
from scripts.channel.obstacles import refuse_obstacles
from scripts.channel.prepare import free_bytes, prepare
from scripts.core.console import Console
from scripts.core.errors import MirrorError
from scripts.core.report import Report
from scripts.fetch.download import Placed, Surroundings
from scripts.fetch.failure import Fault, Patience
from scripts.fetch.http import Http
from scripts.fetch.outcome import closing_line, problem_of, replaced_line
from scripts.fetch.plan import Plan, expectation, make_plan, space_problem, unhashed_problems
from scripts.fetch.pool import Failed, Pool
from scripts.fetch.progress import State, progress
from scripts.fetch.reach import Reach
from scripts.lock.left_out import left_out_json, left_out_lines
from scripts.lock.select import Selection
from scripts.manifest.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How to run: stop before the first byte (`dry_run`), how long to wait for what."""

    dry_run: bool = False
    patience: Patience = field(default_factory=Patience)


def fetch(
    workspace: Workspace, selection: Selection, options: FetchOptions, console: Console
) -> Report:
    """Download what is missing and replace what is wrong; the rest is not touched.

    Every artifact is tried, whatever happens to others; the report holds all problems. The
    caller holds the channel's lock file.
    """
    if not workspace.settings.allow_unhashed:
        problems = unhashed_problems(selection.artifacts)
        if problems:
            raise MirrorError(*problems)
    if not options.dry_run:
        prepare(workspace.place)
    digests = Digests(workspace.place.digests, writes=not options.dry_run)
    found = look(workspace.place.folder, map(expectation, selection.artifacts), digests)
    plan = make_plan(selection.artifacts, found)
    refuse_obstacles(workspace.place.folder, (each.path for each in plan.to_download))
    if plan.to_download:
        free = free_bytes(workspace.place.folder)
        console.note(f"fetch: {plan.headline(free)}")
        problem = space_problem(plan, free, workspace.settings.channel_dir)
        if problem is not None:
            raise MirrorError(problem)
    if options.dry_run:
        return _dry_report(plan, selection)
    for replaced in plan.replaced:
        console.warn(replaced_line(replaced.artifact, replaced.actual))
    results = _Results()
    if plan.to_download:
        _download(workspace, plan, options, _Run(digests, console, results))
        if not results.failed:
            shutil.rmtree(workspace.place.parts, ignore_errors=True)
    return _report(plan, selection, results)


@dataclass(slots=True)
class _Results:
    """What came and what did not."""

    placed: list[Placed] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(each.status.st_size for each in self.placed)


@dataclass(frozen=True, slots=True)
class _Run:
    """What the download loop writes to."""

    digests: Digests
    console: Console
    results: _Results


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
    with progress(run.console, len(plan.to_download), plan.size) as display:
        for result in pool.run(plan.to_download):
            if isinstance(result, Placed):
                run.digests.add(
                    result.artifact.path, result.algorithm, result.digest, result.status
                )
                results.placed.append(result)
                size += result.status.st_size
                run.console.detail(f"fetched {result.artifact.path}")
            elif isinstance(result, Failed):
                results.failed.append(result)
                run.console.detail(f"failed {result.artifact.path}: {result.error.text}")
                if result.error.fault is Fault.DISK:
                    break
            under_way = sum(flow.received for flow in pool.flows)
            display.show(
                State(
                    done=len(results.placed),
                    size=size + under_way,
                    flows=pool.flows,
                    retries=pool.retries,
                )
            )
    run.digests.compact(frozenset(str(each.path) for each in plan.artifacts))


def _dry_report(plan: Plan, selection: Selection) -> Report:
    lines = [f"would fetch {artifact.path}" for artifact in plan.to_download]
    if not lines:
        lines = [closing_line(0, 0, plan.there)]
    return Report(
        lines=(*lines, *left_out_lines(selection)),
        data={
            "to-download": [str(artifact.path) for artifact in plan.to_download],
            "size": plan.size,
            "there": plan.there,
            "left-out": left_out_json(selection),
        },
    )


def _report(plan: Plan, selection: Selection, results: _Results) -> Report:
    failed = sorted(results.failed, key=lambda each: str(each.artifact.path))
    lines = [closing_line(len(results.placed), results.size, plan.there)]
    if failed:
        lines = [f"fetch: {len(failed)} of {len(plan.to_download)} could not be fetched"]
        if results.placed:
            lines.append(closing_line(len(results.placed), results.size, plan.there))
    untried = len(plan.to_download) - len(results.placed) - len(failed)
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
