"""The stage `upstream`: what has become, where it came from, of everything that the locks name.

Only looks. What could not be asked is named and never a finding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from scripts.core.artifact import Artifact
from scripts.core.channel_url import channel_base_url
from scripts.core.console import Console
from scripts.core.errors import ExitCode, Problem, finding_problem
from scripts.core.record import Record
from scripts.core.redact import printable, redact, without_secrets
from scripts.core.report import Json, Line, Report, counted, to_json
from scripts.core.subdir import NOARCH
from scripts.fetch.sizes import read_sizes
from scripts.fetch.stage import router_of
from scripts.index.compare import differences, normalise_specs
from scripts.keep.upstream_answers import Page, PageFile, UpstreamAnswers, read_page, read_records
from scripts.keep.upstream_newer import Newer, Requested, find_newer, requested_packages
from scripts.lock.location import local_path, parse_location, url_subdir
from scripts.lock.model import OLDEST_COMPLETE
from scripts.lock.select import (
    Selection,
    are_other_bytes,
    left_out_json,
    left_out_lines,
)
from scripts.network.documents import ABSENT
from scripts.network.errors import DownloadError, lower_first
from scripts.network.retry import RetryPolicy
from scripts.verify.plan import plan_sets
from scripts.workspace.workspace import Workspace

_POLICY: Final = RetryPolicy(total=3, max_retry_after=20.0)
_AGAIN: Final = "pixi run upstream"
# What a solver sees, so that it counts too where only the other side says it.
_REQUIREMENTS: Final = frozenset(
    {"depends", "constrains", "extra_depends", "track_features", "flags"}
)
# Of the bytes; of pixi, which maps names; of the channel's publishing, which a lock never says.
_NOT_HOTFIXES: Final = frozenset(
    {"sha256", "md5", "size", "purls", "run_exports", "indexed_timestamp", "attestations_sha256"}
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
class Finding:
    """One artifact that upstream no longer has as it was locked; `source` has no secrets.

    `reason` is that of a yanked file, None where there is none.
    """

    path: PurePosixPath
    name: str
    version: str
    source: str
    changes: tuple[FieldChange, ...] = ()
    reason: str | None = None


Findings = dict[Drift, list[Finding]]
_Subdir = tuple[str, str]  # a channel's base URL, secrets included, and the subdir


@dataclass(frozen=True, slots=True, kw_only=True)
class _NotAsked:
    """What could not be asked, and the artifacts of which so nobody knows."""

    url: str
    error: DownloadError
    paths: tuple[PurePosixPath, ...]


def upstream(
    workspace: Workspace,
    selection: Selection,
    console: Console,
    *,
    is_whole: bool,
    policy: RetryPolicy | None = None,
) -> Report:
    """Ask upstream for all that is mirrored; `is_whole`: of all locks, not of one alone."""
    sets = tuple(plan_sets(selection))
    requested = tuple(requested_packages(sets))
    mine = tuple(each for each in _distinct(selection.artifacts) if _is_here(each, workspace))
    others = [each for each in _distinct(selection.artifacts) if each not in mine]
    findings: Findings = {each: [] for each in Drift}
    not_asked = list[_NotAsked]()
    router = router_of(workspace, selection, console)()
    answers = UpstreamAnswers(workspace, router, policy or _POLICY)
    with contextlib.closing(answers):
        console.note(f"upstream: asking for {counted(len(others), 'artifact')}")
        conda = [each for each in others if each.is_conda and each.upstream]
        records = _ask_channels(answers, conda, requested, not_asked)
        _compare_records(conda, records, findings, selection.lock_version)
        paged = [each for each in others if not each.is_conda and each.upstream]
        pages = _ask_pages(answers, paged, findings, not_asked)
        _compare_pages(paged, pages, findings)
        lone = [each for each in others if not each.upstream]
        _ask_files(answers, lone, workspace, findings, not_asked)
        if is_whole and not not_asked:
            answers.forget_unused()
    newer = find_newer(sets, requested, records, pages)
    return _report(selection, findings, newer, not_asked, mine)


def _distinct(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """Take one place of each file: a direct URL may have two."""
    return tuple({(each.urls[0], each.path.parent): each for each in artifacts}.values())


def _is_here(artifact: Artifact, workspace: Workspace) -> bool:
    """Tell whether its file, or its index, is of this machine; a conda channel here is asked."""
    root, source = workspace.root, artifact.upstream or artifact.urls[0]
    is_channel = artifact.is_conda and artifact.upstream is not None
    return not is_channel and local_path(source, root) is not None


def _subdir_of(artifact: Artifact) -> _Subdir:
    channel = channel_base_url(artifact.upstream or "")
    return channel, url_subdir(artifact.urls[0]) or artifact.conda_record.subdir


def _ask_channels(
    answers: UpstreamAnswers,
    artifacts: Sequence[Artifact],
    requested: Sequence[Requested],
    not_asked: list[_NotAsked],
) -> dict[_Subdir, Mapping[str, Record]]:
    """Ask for the records of the locked names, in every subdir where a newer one could be."""
    names: dict[str, set[str]] = {}
    wanted: dict[_Subdir, list[PurePosixPath]] = {}
    for each in artifacts:
        place = _subdir_of(each)
        names.setdefault(place[0], set()).add(each.name)
        wanted.setdefault(place, []).append(each.path)
    for one in requested:
        for name in (one.subdir, NOARCH) if one.channel in names else ():
            wanted.setdefault((one.channel, name), [])
    found: dict[_Subdir, Mapping[str, Record]] = {}
    for (channel, subdir), paths in sorted(wanted.items()):
        try:
            found[channel, subdir] = read_records(
                answers, channel, subdir, frozenset(names[channel])
            )
        except DownloadError as error:
            if paths or error.kind not in ABSENT:
                url = f"{channel}/{subdir}"
                not_asked.append(_NotAsked(url=url, error=error, paths=tuple(paths)))
    return found


def _compare_records(
    artifacts: Iterable[Artifact],
    records: Mapping[_Subdir, Mapping[str, Record]],
    findings: Findings,
    lock_version: int,
) -> None:
    asked = [each for each in artifacts if _subdir_of(each) in records]
    now: dict[PurePosixPath, Record] = {}
    for each in asked:
        record = records[_subdir_of(each)].get(each.path.name)
        if record is None:
            findings[Drift.WITHDRAWN].append(_finding(each))
        elif are_other_bytes(each.conda_record, record):
            changes = _changes(each.conda_record, record, {}, {"sha256", "md5", "size"})
            findings[Drift.REUPLOADED].append(_finding(each, changes=changes))
        else:
            now[each.path] = record
    locked = {each.path: each.conda_record for each in asked if each.path in now}
    normal = normalise_specs(locked, now)
    said = _REQUIREMENTS if lock_version >= OLDEST_COMPLETE else frozenset[str]()
    for each in asked:
        if each.path in now:
            fields = {
                name
                for name in Record.__dataclass_fields__
                if name in said or getattr(each.conda_record, name) not in (None, ())
            }
            before, after = each.conda_record, now[each.path]
            if changes := _changes(before, after, normal, fields - _NOT_HOTFIXES):
                findings[Drift.HOTFIXED].append(_finding(each, changes=changes))


def _changes(
    locked: Record, now: Record, normal: Mapping[str, str], fields: set[str]
) -> tuple[FieldChange, ...]:
    return tuple(
        FieldChange(field=field, locked=printable(ours), upstream=printable(theirs))
        for field, ours, theirs in differences(locked, now, normal)
        if field in fields and getattr(locked, field) is not None
    )


def _finding(
    artifact: Artifact, *, changes: tuple[FieldChange, ...] = (), reason: str | None = None
) -> Finding:
    source = artifact.upstream or artifact.urls[0]
    return Finding(
        path=artifact.path,
        name=artifact.name,
        version=artifact.version,
        source=without_secrets(source, of_pypi=not artifact.is_conda),
        changes=changes,
        reason=reason,
    )


def _ask_pages(
    answers: UpstreamAnswers,
    artifacts: Sequence[Artifact],
    findings: Findings,
    not_asked: list[_NotAsked],
) -> dict[tuple[str, str], Page]:
    """Ask for the page of each project, by index and name; one that is gone is withdrawn."""
    by_page: dict[tuple[str, str], list[Artifact]] = {}
    for each in artifacts:
        by_page.setdefault((each.upstream or "", each.name), []).append(each)

    def ask(page: tuple[str, str]) -> Page | DownloadError:
        index, name = page
        files = (each.urls[0] for each in by_page[page])
        is_flat = all(each.rpartition("/")[0] == index for each in files)
        try:
            return read_page(answers, f"{index}/{name}/")
        except DownloadError as error:
            if not is_flat or error.kind not in ABSENT:
                return error
        try:
            return read_page(answers, f"{index}/")  # of `find-links`
        except DownloadError as error:
            return error

    asked = dict(zip(by_page, answers.side_by_side(ask, by_page), strict=True))
    pages = {key: page for key, page in asked.items() if not isinstance(page, DownloadError)}
    alive = {index for index, _ in pages}
    for (index, name), error in asked.items():
        if not isinstance(error, DownloadError):
            continue
        if error.kind in ABSENT and index not in alive:
            with contextlib.suppress(DownloadError):  # else it is the index that is gone
                answers.size_of(f"{index}/")
                alive.add(index)
        some = by_page[index, name]
        if error.kind in ABSENT and index in alive:
            findings[Drift.WITHDRAWN] += map(_finding, some)
        else:
            paths = tuple(each.path for each in some)
            not_asked.append(_NotAsked(url=f"{index}/{name}/", error=error, paths=paths))
    return pages


def _compare_pages(
    artifacts: Iterable[Artifact], pages: Mapping[tuple[str, str], Page], findings: Findings
) -> None:
    for each in artifacts:
        page = pages.get((each.upstream or "", each.name))
        if page is None:
            continue
        file = page.get(parse_location(each.urls[0]).last)
        if file is None:
            findings[Drift.WITHDRAWN].append(_finding(each))
            continue
        if (changes := _other_sha256(each, file)) is not None:
            findings[Drift.REUPLOADED].append(_finding(each, changes=(changes,)))
        if file.yanked is not None:
            reason = printable(file.yanked) or None
            findings[Drift.YANKED].append(_finding(each, reason=reason))


def _other_sha256(artifact: Artifact, file: PageFile) -> FieldChange | None:
    digest = artifact.digest
    if digest is None or file.sha256 in {None, digest.hex} or digest.algorithm != "sha256":
        return None
    return FieldChange(field="sha256", locked=digest.hex, upstream=printable(file.sha256 or ""))


def _ask_files(
    answers: UpstreamAnswers,
    artifacts: Sequence[Artifact],
    workspace: Workspace,
    findings: Findings,
    not_asked: list[_NotAsked],
) -> None:
    """Ask whether a file that is of no channel and no index is there (HEAD).

    Its size tells other bytes, where the lock has one, or the server had told another one.
    """
    told = read_sizes(workspace.place.sizes)

    def ask(artifact: Artifact) -> int | DownloadError | None:
        try:
            return answers.size_of(artifact.urls[0])
        except DownloadError as error:
            return error

    for each, size in zip(artifacts, answers.side_by_side(ask, artifacts), strict=True):
        if isinstance(size, DownloadError):
            if size.kind in ABSENT:
                findings[Drift.WITHDRAWN].append(_finding(each))
            else:
                not_asked.append(_NotAsked(url=each.urls[0], error=size, paths=(each.path,)))
            continue
        before = each.size or (told.get(each.digest.hex) if each.digest else None)
        if None not in (before, size) and before != size:
            change = FieldChange(field="size", locked=str(before), upstream=str(size))
            findings[Drift.REUPLOADED].append(_finding(each, changes=(change,)))


def _report(
    selection: Selection,
    findings: Findings,
    newer: Sequence[Newer],
    not_asked: Sequence[_NotAsked],
    mine: Sequence[Artifact],
) -> Report:
    for found in findings.values():
        found.sort(key=lambda each: str(each.path))
    unknown = {path for each in not_asked for path in each.paths}
    counts = [f"{len(found)} {kind}" for kind, found in findings.items() if found]
    counts += [f"{len(newer)} newer within the manifest"] if newer else []
    counts += [f"{len(unknown)} not known"] if unknown else []
    told = ", ".join(counts) or "all as locked, nothing newer within the manifest"
    own = tuple(str(each.path) for each in mine)
    count = len(_distinct(selection.artifacts)) - len(own)
    here = f"of this machine, so nobody is asked: {counted(len(own), 'artifact')}"
    data: dict[str, Json] = {
        "asked": count,
        **{kind.value: to_json(found) for kind, found in findings.items()},
        "newer": to_json(newer),
        "not-asked": [
            {
                "url": without_secrets(each.url),
                "reason": redact(lower_first(each.error.text)),
                "paths": [str(path) for path in each.paths],
            }
            for each in not_asked
        ],
        "of-this-machine": list(own),
        "left-out": left_out_json(selection),
    }
    lines: list[Line] = [f"upstream: {counted(count, 'artifact')} asked for: {told}"]
    lines += _finding_lines(findings)
    if newer:
        lines.append(("newer within the manifest:", *(f"  {each}" for each in newer)))
    if own:
        lines.append((here, *(f"  {each}" for each in own)))
    problems = (*_finding_problems(findings), *map(_not_asked_problem, not_asked))
    return Report(lines=(*lines, *left_out_lines(selection)), data=data, problems=tuple(problems))


def _finding_lines(findings: Findings) -> Iterator[Line]:
    """Say what is no problem: the same bytes are still there."""
    for each in findings[Drift.HOTFIXED]:
        changes = (f"  {x.field}: {x.locked} -> {x.upstream}" for x in each.changes)
        yield (f"hotfixed since the lock: {each.path}", *changes)
    for each in findings[Drift.YANKED]:
        yield f"yanked: {each.path}: {each.reason or 'no reason is given'}"


def _finding_problems(findings: Findings) -> Iterator[Problem]:
    help_line = "pixi run update-mirror moves on; what is in the mirror stays as it is"
    for each in findings[Drift.WITHDRAWN]:
        message = "is withdrawn: upstream no longer has it"
        yield finding_problem(each.path, message, ("from", each.source), help=help_line)
    help_line = "ask its keeper why; pixi run update-mirror locks what is there now"
    for each in findings[Drift.REUPLOADED]:
        sides = [("locked", f"{x.field} {x.locked}") for x in each.changes]
        sides += [("upstream", f"{x.field} {x.upstream}") for x in each.changes]
        message = "is re-uploaded: upstream has other bytes under its name"
        yield finding_problem(each.path, message, *sides, ("from", each.source), help=help_line)


def _not_asked_problem(each: _NotAsked) -> Problem:
    """Say what could not be asked; that is trouble of the network, or what the user can mend."""
    error, url = each.error, without_secrets(each.url)
    is_usage = error.kind.code is ExitCode.USAGE or error.kind in ABSENT
    help_line = error.kind.help_at(error.source or each.url, _AGAIN, resumes=False)
    text = redact(lower_first(error.text))
    if error.kind in ABSENT:
        text, help_line = (
            "there is nothing of a channel or an index there",
            "is the URL still right? correct it in the manifest, then `pixi lock`; or in `[mirrors]`",
        )
    elif error.kind.code is ExitCode.FINDINGS:
        help_line = f"is it the URL you meant, and not a portal's answer? run `{_AGAIN}` again"
    return Problem(
        subject=url,
        message=f"could not be asked: {text}",
        code=ExitCode.USAGE if is_usage else ExitCode.NETWORK,
        details=(*error.details, ("not known of", counted(len(each.paths), "artifact"))),
        help=help_line,
    )
