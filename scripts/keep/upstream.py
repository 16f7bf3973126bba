"""The stage `upstream`: what has become, where it came from, of everything that the locks name.

Only looks. What could not be asked is named, and never a finding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from scripts.channel.digest_cache import DigestCache
from scripts.channel.inventory import ArtifactStatus, check_artifacts
from scripts.core.artifact import Artifact
from scripts.core.channel_url import channel_base_url
from scripts.core.child_process import quoted
from scripts.core.console import Console
from scripts.core.errors import ExitCode, Problem, finding_problem
from scripts.core.record import Record
from scripts.core.redact import printable, redact, without_secrets
from scripts.core.report import Line, Report, counted, to_json
from scripts.core.subdir import NOARCH
from scripts.fetch.stage import router_of
from scripts.index.compare import differences, normalise_specs
from scripts.keep.retention import statuses
from scripts.keep.upstream_client import (
    Page,
    UpstreamClient,
    answered,
    read_page,
    read_records,
)
from scripts.keep.upstream_newer import (
    NewerVersion,
    RequestedPackage,
    find_newer,
    requested_packages,
)
from scripts.lock.location import local_path, parse_location, url_subdir
from scripts.lock.mirrored import MirroredLock
from scripts.lock.model import OLDEST_COMPLETE, pypi_rows
from scripts.lock.pypi import is_named_by_manifest, pypi_artifacts
from scripts.lock.select import (
    REQUIREMENTS,
    Selection,
    are_other_bytes,
    left_out_json,
    left_out_lines,
    locks_by_path,
)
from scripts.network.documents import ABSENT
from scripts.network.errors import ANOTHER_FILE, IF_PRIVATE, DownloadError
from scripts.network.http import ask_all
from scripts.network.retry import RetryPolicy
from scripts.verify.plan import plan_sets
from scripts.workspace.workspace import Workspace

_POLICY: Final = RetryPolicy(total=3, max_retry_after=20.0)
_OF_THE_BYTES: Final = ("sha256", "md5", "size")
# Locks derive the first ones from the location, and pixi itself maps names; the rest is how the
# channel publishes, and means nothing to a solver.
_NOT_HOTFIXES: Final = (
    *("subdir", "noarch", "arch", "platform", "purls", "run_exports"),
    *("indexed_timestamp", "attestations_sha256"),
)


class Drift(StrEnum):
    """What has become of an artifact since it was locked."""

    WITHDRAWN = "withdrawn"
    REUPLOADED = "re-uploaded"
    """The same file name, and other bytes."""
    HOTFIXED = "hotfixed"
    """The same bytes, and another record."""
    YANKED = "yanked"
    """Left there for locks alone (PEP 592)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """A field of a record, for people: as the lock has it, and as upstream has it now."""

    field: str
    locked: str
    upstream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFinding:
    """An artifact that upstream no longer has as it was locked; `source` has no secrets.

    `reason` is that of a yanked file, None where there is none.
    """

    kind: Drift
    path: PurePosixPath
    name: str
    version: str
    source: str
    changes: tuple[FieldChange, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAsked:
    """What could not be asked, and the artifacts of which nobody knows for that."""

    url: str
    error: DownloadError
    paths: tuple[PurePosixPath, ...]


Outcome = DriftFinding | NotAsked
_Place = tuple[str, str]  # a channel's or an index's URL, secrets included; a subdir, or a project
_Records = Mapping[_Place, Mapping[str, Record] | DownloadError]
_Pages = Mapping[_Place, Page | DownloadError]


def upstream(
    workspace: Workspace, selection: Selection, console: Console, *, is_whole: bool
) -> Report:
    """Ask upstream for all that is selected; `is_whole`: that is of all locks, not of one alone."""
    sets = tuple(plan_sets(selection))
    requested = tuple(requested_packages(sets))
    here = [each for each in selection.artifacts if _is_here(each, workspace)]
    paths = {each.path for each in here}
    asked = [each for each in selection.artifacts if each.path not in paths]
    conda = [each for each in asked if each.is_conda and each.upstream]
    pypi = [*_of_indexes(asked, selection)]
    of_any = {each.path for each in (*conda, *pypi)}
    direct = [each for each in asked if each.path not in of_any]
    console.note(f"upstream: asking for {counted(len(asked), 'artifact')}")
    router = router_of(workspace, selection, console)()
    with contextlib.closing(UpstreamClient(workspace, router, _POLICY)) as client:
        records = _ask_channels(client, conda, requested)
        flat = {url for each in selection.environments for url in each.find_links}
        pages = ask_all(
            lambda place: read_page(client, *place, is_flat=place[0] in flat), _by_place(pypi)
        )
        outcomes = (
            *_channel_outcomes(conda, records, selection.lock_version),
            *_page_outcomes(client, pypi, pages),
            *_file_outcomes(client, direct, _mirrored_sizes(workspace, direct)),
        )
        if is_whole and not any(isinstance(each, NotAsked) for each in outcomes):
            client.forget_unused()
    newer = find_newer(sets, requested, answered(records), answered(pages))
    return _report(selection, outcomes, newer, asked=len(asked), here=here)


def _of_indexes(artifacts: Iterable[Artifact], selection: Selection) -> Iterator[Artifact]:
    """Yield each wheel and sdist once for each index that a lock has it from."""
    by_path = {each.path: each for each in artifacts}
    rows = (each for each in pypi_rows(selection.environments) if each.index)
    of_indexes = ((x.path, each.index) for each in rows for x in pypi_artifacts(each))
    for path, index in dict.fromkeys(of_indexes):
        if path in by_path:
            yield replace(by_path[path], upstream=index)


def _is_here(artifact: Artifact, workspace: Workspace) -> bool:
    """Tell whether its file, or its index, is of this machine; a conda channel here is asked."""
    source = artifact.upstream or artifact.urls[0]
    is_channel = artifact.is_conda and artifact.upstream is not None
    return not is_channel and local_path(source, workspace.root) is not None


def _place_of(artifact: Artifact) -> _Place:
    if not artifact.is_conda:
        return artifact.upstream or "", artifact.name
    subdir = url_subdir(artifact.urls[0]) or artifact.conda_record.subdir
    return channel_base_url(artifact.upstream or ""), subdir


def _by_place(artifacts: Iterable[Artifact]) -> Mapping[_Place, Sequence[Artifact]]:
    found: dict[_Place, list[Artifact]] = {}
    for each in artifacts:
        found.setdefault(_place_of(each), []).append(each)
    return found


def _ask_channels(
    client: UpstreamClient, artifacts: Sequence[Artifact], requested: Iterable[RequestedPackage]
) -> _Records:
    """Ask for the records of the locked names, in every subdir where a newer one could be."""
    names: dict[str, set[str]] = {}
    for each in artifacts:
        names.setdefault(_place_of(each)[0], set()).add(each.name)
    wanted = {_place_of(each) for each in artifacts}
    wanted |= {(each.channel, x) for each in requested for x in (each.subdir, NOARCH)}
    places = sorted(place for place in wanted if place[0] in names)
    return ask_all(
        lambda place: read_records(client, *place, frozenset(names[place[0]])), places, at_once=1
    )


def _channel_outcomes(
    artifacts: Sequence[Artifact], records: _Records, lock_version: int
) -> Iterator[Outcome]:
    now: dict[PurePosixPath, Record] = {}
    for each in artifacts:
        answer = records[_place_of(each)]
        record = None if isinstance(answer, DownloadError) else answer.get(each.path.name)
        if record is not None:
            now[each.path] = record
        elif not isinstance(answer, DownloadError):
            yield _finding(Drift.WITHDRAWN, each)
    locked = {each.path: each.conda_record for each in artifacts if each.path in now}
    normal = normalise_specs(locked, now)
    for each in artifacts:
        if each.path not in now:
            continue
        kind, before, after = Drift.HOTFIXED, locked[each.path], now[each.path]
        fields = {key for key in Record._fields if getattr(before, key) not in (None, ())}
        if are_other_bytes(before, after):
            kind, fields = Drift.REUPLOADED, fields.intersection(_OF_THE_BYTES)
        else:
            fields |= set(REQUIREMENTS if lock_version >= OLDEST_COMPLETE else ())
            fields -= {*_OF_THE_BYTES, *_NOT_HOTFIXES}
        changes = [
            FieldChange(field=field, locked=printable(ours), upstream=printable(theirs))
            for field, ours, theirs in differences(before, after, normal)
            if field in fields
        ]
        if changes:
            yield _finding(kind, each, *changes)
    by_place = _by_place(artifacts)
    for place, answer in records.items():
        paths = tuple(each.path for each in by_place.get(place, ()))
        # A channel need not have a subdir in which nothing is locked.
        if isinstance(answer, DownloadError) and (paths or answer.kind not in ABSENT):
            yield NotAsked(url="/".join(place), error=answer, paths=paths)


def _page_outcomes(
    client: UpstreamClient, artifacts: Sequence[Artifact], pages: _Pages
) -> Iterator[Outcome]:
    answering = {index for index, _ in answered(pages)}
    silent = dict.fromkeys(f"{index}/" for index, _ in pages if index not in answering)
    heads = ask_all(client.size_of, silent)
    answering |= {x[:-1] for x, size in heads.items() if not isinstance(size, DownloadError)}
    by_place = _by_place(artifacts)
    for place, page in pages.items():
        some = by_place[place]
        if isinstance(page, DownloadError):
            if page.kind in ABSENT and place[0] in answering:
                yield from (_finding(Drift.WITHDRAWN, each) for each in some)
            else:
                paths = tuple(each.path for each in some)
                yield NotAsked(url=f"{'/'.join(place)}/", error=page, paths=paths)
            continue
        for each in some:
            name, sha256 = parse_location(each.urls[0]).last, each.pypi_record.sha256
            files = {(x.sha256 or "").lower(): x for x in page if x.name == name}
            if not files:
                yield _finding(Drift.WITHDRAWN, each)
                continue
            # A page may list a name twice: the locked bytes count, else the last.
            now = sha256 if sha256 in files else next(reversed(files))
            if sha256 and now and sha256 != now:
                sides = {"locked": sha256, "upstream": printable(now)}
                yield _finding(Drift.REUPLOADED, each, FieldChange(field="sha256", **sides))
            if (yanked := files[now].yanked) is not None:
                yield _finding(Drift.YANKED, each, reason=printable(yanked) or None)


def _mirrored_sizes(
    workspace: Workspace, artifacts: Sequence[Artifact]
) -> Mapping[PurePosixPath, int]:
    """Return the sizes in bytes that no lock has, where the mirror has it as locked, or first seen.

    A run beside this one may remove it at any time.
    """
    place, unsized = workspace.place, [each for each in artifacts if each.size is None]
    found = check_artifacts(place.folder, unsized, DigestCache(place.digests, writes=False))
    right = (each.path for each in found if each.status is ArtifactStatus.RIGHT)
    return {path: x.st_size for path in right for x in statuses([place.folder / path])}


def _file_outcomes(
    client: UpstreamClient, artifacts: Sequence[Artifact], sizes: Mapping[PurePosixPath, int]
) -> Iterator[Outcome]:
    """Ask for the files that are of no channel and no index (HEAD).

    A size tells other bytes, where the lock has one or, in `sizes`, the mirror.
    """
    places: dict[str, list[Artifact]] = {}  # a URL may have two, and is asked for once
    for each in artifacts:
        places.setdefault(each.urls[0], []).append(each)
    for url, size in ask_all(client.size_of, places).items():
        first = places[url][0]
        before = first.size or sizes.get(first.path)
        if not isinstance(size, DownloadError):
            if None not in (before, size) and before != size:
                change = FieldChange(field="size", locked=str(before), upstream=str(size))
                yield _finding(Drift.REUPLOADED, first, change)
        elif size.kind in ABSENT:
            yield _finding(Drift.WITHDRAWN, first)
        else:
            yield NotAsked(url=url, error=size, paths=tuple(each.path for each in places[url]))


def _finding(
    kind: Drift, artifact: Artifact, *changes: FieldChange, reason: str | None = None
) -> DriftFinding:
    source = artifact.upstream or artifact.urls[0]
    return DriftFinding(
        kind=kind,
        path=artifact.path,
        name=artifact.name,
        version=artifact.version,
        source=without_secrets(source, of_pypi=not artifact.is_conda),
        changes=changes,
        reason=reason,
    )


def _report(
    selection: Selection,
    outcomes: Iterable[Outcome],
    newer: Sequence[NewerVersion],
    *,
    asked: int,
    here: Sequence[Artifact],
) -> Report:
    not_asked = [each for each in outcomes if isinstance(each, NotAsked)]
    not_asked.sort(key=lambda each: each.url)
    findings = [each for each in outcomes if isinstance(each, DriftFinding)]
    findings.sort(key=lambda each: (list(Drift).index(each.kind), str(each.path)))
    of_kind = {kind: [each for each in findings if each.kind is kind] for kind in Drift}
    counts = {kind.value: len({x.path for x in some}) for kind, some in of_kind.items()}
    counts["newer within the manifest"] = len(newer)
    counts["not known"] = len({path for each in not_asked for path in each.paths})
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    told = told or "all as locked, nothing newer within the manifest"
    lines: list[Line] = [f"upstream: {counted(asked, 'artifact')} asked for: {told}"]
    for each in of_kind[Drift.HOTFIXED]:
        changes = (f"  {x.field}: {x.locked} -> {x.upstream}" for x in each.changes)
        lines.append((f"hotfixed since the lock: {each.path}", *changes))
    for each in of_kind[Drift.YANKED]:
        lines += [f"yanked: {each.path}: {each.reason or 'no reason is given'}"]
    own = sorted(str(each.path) for each in here)
    told = f"of this machine, so nobody is asked: {counted(len(own), 'artifact')}"
    for head, rows in (("newer within the manifest:", map(str, newer)), (told, own)):
        shown = tuple(f"  {row}" for row in rows)
        lines += [(head, *shown)] if shown else []
    return Report(
        lines=(*lines, *left_out_lines(selection)),
        data={
            "asked": asked,
            "findings": to_json(findings),
            "newer": to_json(newer),
            "not-asked": [
                {
                    "url": without_secrets(each.url, of_pypi=True),
                    "reason": redact(each.error.text),
                    "paths": [str(path) for path in each.paths],
                }
                for each in not_asked
            ],
            "of-this-machine": own,
            "left-out": left_out_json(selection),
        },
        problems=(*_problems(selection, of_kind), *map(_not_asked_problem, not_asked)),
    )


def _update_of(locks: Iterable[MirroredLock]) -> str:
    """Write what locks anew what these name: `update-mirror` moves this workspace's own alone."""
    is_own, steps = False, list[str]()
    for each in locks:
        if each.entry is None:
            is_own = True
        elif each.manifest is None:  # that of a remote lock is not here
            steps.append(f"have {each.location} updated where it is kept")
        else:
            steps.append(f"pixi update --manifest-path {quoted(str(each.root))}")
    return ", then ".join((*steps, f"pixi run {'update-mirror' if is_own else 'mirror'}"))


def _problems(
    selection: Selection, findings: Mapping[Drift, Iterable[DriftFinding]]
) -> Iterator[Problem]:
    by_path = locks_by_path(selection)
    named = {each.path for each in selection.artifacts if is_named_by_manifest(each)}
    for each in (*findings[Drift.WITHDRAWN], *findings[Drift.REUPLOADED]):
        locks = by_path[each.path]
        update = ANOTHER_FILE if each.path in named else _update_of(locks)
        details = [("from", each.source)]
        if len(selection.locks) > 1:
            details.append(("locked in", ", ".join(lock.label for lock in locks)))
        message = "is withdrawn: upstream no longer has it"
        help_line = f"{update} moves on; what is in the mirror stays as it is"
        if each.kind is Drift.REUPLOADED:
            message = "is re-uploaded: upstream has other bytes under its name"
            sides = [("locked", f"{x.field} {x.locked}") for x in each.changes]
            sides += [("upstream", f"{x.field} {x.upstream}") for x in each.changes]
            details, help_line = (
                sides + details,
                f"ask its keeper why; {update} locks what is there now",
            )
        yield finding_problem(each.path, message, *details, help=help_line)


def _not_asked_problem(each: NotAsked) -> Problem:
    """Say what could not be asked: trouble of the network, or what the user can mend."""
    subject, lead = without_secrets(each.url, of_pypi=True), "could not be asked: "
    unknown = ("not known of", counted(len(each.paths), "artifact"))
    problem = each.error.problem(subject, each.url, "pixi run upstream", unknown, lead=lead)
    if each.error.kind in ABSENT:
        message = f"{lead}there is nothing of a channel or an index there"
        help_line = "is that still its URL? correct it in the manifest or in `[mirrors]`"
        if IF_PRIVATE in (problem.help or ""):
            help_line += IF_PRIVATE
        return replace(problem, message=message, code=ExitCode.USAGE, help=help_line)
    if problem.code is ExitCode.FINDINGS:  # what came is a portal's page, or cut off
        help_line = "see who answers there, then pixi run upstream"
        return replace(problem, code=ExitCode.NETWORK, help=help_line)
    return problem
