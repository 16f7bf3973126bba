"""What the doctor says: a line for each environment and platform, then what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from scripts.core.errors import ExitCode, Problem
from scripts.core.redact import redact
from scripts.core.report import Json, Report, counted
from scripts.core.subdir import NOARCH
from scripts.doctor.conda_configuration import (
    ADD_PIP,
    CondaConfiguration,
    CondaSettings,
    asked_hosts,
)
from scripts.doctor.diagnose import Availability, ConfiguredClient, Consumer, Diagnosis, Verdict
from scripts.doctor.mirror import Mirror
from scripts.doctor.pixi_configuration import PixiConfiguration
from scripts.lock.location import url_subdir
from scripts.lock.model import Unmirrorable
from scripts.lock.read import NEWEST
from scripts.lock.select import undeclared_lines
from scripts.verify.findings import EnvironmentPlatform
from scripts.workspace.settings import TABLE

_MARKS: Final = {True: "✓", False: "✗", None: "–"}  # noqa: RUF001
_WORDS: Final = {
    Availability.MISSING: "missing",
    Availability.OTHER: "another",
    Availability.NO_SUBDIR: "of a platform that is not mirrored",
    Availability.NO_CHANNEL: "of a channel that is not mirrored",
    Availability.NOT_MIRRORABLE: "not mirrorable",
}
_GAPS: Final = (Availability.NO_SUBDIR, Availability.NO_CHANNEL)
_FIRST_WHOLE: Final = 6  # the first version of locks whose rows tell all that a record does
_SHOWN: Final = 3  # near misses that a finding names


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that was found out. `settings` is None where conda could not be asked.

    `conda_error` says why, where there is a conda.
    """

    consumer: Consumer
    mirror: Mirror
    diagnoses: tuple[Diagnosis, ...]
    pixi: PixiConfiguration
    conda: CondaConfiguration
    settings: CondaSettings | None
    conda_error: Problem | None

    def is_configured(self, place: EnvironmentPlatform) -> bool | None:
        """Tell whether the clients that count would ask this mirror; None: nobody can tell."""
        clients, conda = self.consumer.clients, self.conda
        if ConfiguredClient.PIXI in clients and place in self.pixi.not_redirected:
            return False
        if ConfiguredClient.CONDA not in clients:
            return True
        if self.settings is None:
            return None
        return place.environment not in conda.not_redirected | conda.missing_pip


def make_report(results: Results) -> Report:
    """Put it all together."""
    parts = (_content_problems, _left_out_problems, _pixi_problems, _conda_problems)
    problems = tuple(problem for part in parts for problem in part(results))
    return Report(
        lines=(
            *_place_lines(results),
            *_lines(results),
            *_pixi_lines(results.consumer, results.pixi),
            *_conda_lines(results),
        ),
        data=_data(results),
        problems=problems,
        max_shown=len(problems),  # it is the list to take to the mirror's keeper
    )


def _place_lines(results: Results) -> Iterator[str]:
    """Yield `default  linux-64  artifacts ✓ (12)  configuration ✗`, in columns."""
    rows = [(each.place.environment, each.place.platform) for each in results.diagnoses]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for each, row in zip(results.diagnoses, rows, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        counts = Counter(verdict.availability for verdict in each.verdicts)
        wrong = [f"{counts[key]} {words}" for key, words in _WORDS.items() if counts[key]]
        right, total = counts[Availability.RIGHT], len(each.verdicts)
        said = f"{', '.join(wrong)}; {right} of {total} right" if wrong else str(total)
        cells.append(f"artifacts {_MARKS[not wrong]} ({said})")
        cells.append(f"configuration {_MARKS[results.is_configured(each.place)]}")
        kinds = [left_out.kind for left_out in each.rows.unmirrorable]
        refused = sum(kind not in results.consumer.allowed for kind in kinds)
        if refused:
            cells.append(f"incomplete {_MARKS[False]} ({refused} of no conda channel)")
        elif kinds:
            cells.append(f"incomplete, as allowed ({len(kinds)} of no conda channel)")
        yield "  ".join(cells)


def _lines(results: Results) -> Iterator[str]:
    """Say what was looked at, and what was not or could not be."""
    consumer, mirror = results.consumer, results.mirror
    yield (
        f"looked at: {mirror.place.shown} ({mirror.layout}); its repodata alone,"
        " no artifact was read"
    )
    if mirror.others:
        names = ", ".join(map(str, mirror.others))
        yield f"none of the lock's channels is there, only: {names}"
    if consumer.lock_version < _FIRST_WHOLE:
        yield (
            f"the lock is of version {consumer.lock_version}, an old one ({NEWEST} is today's):"
            " what its rows leave out was not compared"
        )
    verdicts = {
        (each.path, each.package.url): each
        for diagnosis in results.diagnoses
        for each in diagnosis.verdicts
    }
    compared = Counter(
        each.compared for each in verdicts.values() if each.availability is Availability.RIGHT
    )
    for key, words in (("md5", "by md5 alone"), ("size", "by size alone"), (None, "not at all")):
        if compared[key]:
            yield f"compared {words}, since the lock or the mirror says no more: {compared[key]}"
    elsewhere = (
        each.package.url
        for each in verdicts.values()
        if each.availability is Availability.ELSEWHERE
    )
    yield from (
        f"not of the mirror, but a file that is there: {redact(each)}"
        for each in dict.fromkeys(elsewhere)
    )
    yield from undeclared_lines(consumer.environments)
    yield from _unused_channels(consumer, mirror, verdicts.values())
    for diagnosis in results.diagnoses:
        for row in diagnosis.rows.unmirrorable:
            if row.kind in consumer.allowed:
                name = f"{row.name} ({redact(row.location)})"
                yield f"allowed: {name}: {row.reason}; in {diagnosis.place}"


def _unused_channels(
    consumer: Consumer, mirror: Mirror, verdicts: Iterable[Verdict]
) -> Iterator[str]:
    """Name the channels that an environment lists and the mirror lacks, though nothing is missed.

    An install from the lock does not ask them; locking anew does.
    """
    missed = {_gap(each) for each in verdicts if each.availability is Availability.NO_CHANNEL}
    listed = {
        mirror.folder_of(url): redact(url)
        for environment in consumer.environments
        for url in environment.channels
    }
    for folder, url in listed.items():
        if folder not in mirror.channels | missed:
            yield f"not mirrored: {url}; nothing is locked from it, but `pixi lock` will ask for it"


def _pixi_lines(consumer: Consumer, pixi: PixiConfiguration) -> Iterator[str]:
    """Print the lines to paste, between blank lines, or say that nothing is missing."""
    if pixi.config is not None:
        file = _config_file(consumer)
        yield f"for pixi, into {file} (in its [mirrors], where it has them already):"
        yield from ("", *pixi.config.splitlines(), "")
        if redact(pixi.config) != pixi.config:
            yield "(in place of ******** write the token that the lock has there)"
        yield "then `pixi install --frozen`, without --offline: that forbids HTTP, loopback too"
    elif pixi.manifest is not None:
        yield "for pixi, in the manifest instead of the channels that are there:"
        yield from ("", *pixi.manifest.splitlines(), "")
        yield "then `pixi lock` and `pixi install --frozen --offline`"
    elif pixi.by_lock and not pixi.not_redirected:
        yield "pixi: the lock names this mirror itself, and nothing leads away from it"
    elif pixi.by_mirrors and not pixi.not_redirected:
        yield f"pixi: led to this mirror by {', '.join(consumer.config.files)}"


def _conda_lines(results: Results) -> Iterator[str]:
    conda, settings = results.conda, results.settings
    yield from (f"for conda, in .condarc: {each}" for each in conda.lines)
    if conda.not_redirected:
        yield from (f"for conda, as options: {each}" for each in conda.options)
    elif settings is not None and settings.sources:
        led = f"conda: led to this mirror by {', '.join(settings.sources)}"
        yield from [f"{led}, if asked with {each}" for each in conda.options] or [led]
    if settings is None:
        error = results.conda_error
        reason = "there is no conda on PATH" if error is None else error.message
        yield f"conda: its configuration was not checked: {reason}"


def _finding(subject: str, message: str, *details: tuple[str, str], help: str) -> Problem:
    return Problem(
        subject=subject, message=message, code=ExitCode.FINDINGS, details=details, help=help
    )


def _content_problems(results: Results) -> Iterator[Problem]:
    """Yield what is missing or another, each once with all who need it; whole gaps first."""
    consumer, diagnoses = results.consumer, results.diagnoses
    if not any(each.verdicts or each.rows.unmirrorable for each in diagnoses):
        yield _finding(
            str(consumer.lock_path),
            "the lock names nothing to compare",
            ("environments", ", ".join(each.name for each in consumer.environments) or "none"),
            help="name the lock that is to be installed: --lock PATH; or fill this one: `pixi add`",
        )
    found: dict[tuple[bool, PurePosixPath, str], dict[str, Verdict]] = {}
    needed: dict[tuple[bool, PurePosixPath, str], dict[str, None]] = {}
    for diagnosis in diagnoses:
        for each in diagnosis.verdicts:
            if each.availability in _WORDS:
                is_gap = each.availability in _GAPS
                key = (False, _gap(each), "") if is_gap else (True, each.path, each.package.url)
                found.setdefault(key, {})[each.package.url] = each
                needed.setdefault(key, {})[str(diagnosis.place)] = None
    for key in sorted(found, key=lambda key: key[0]):
        first, count = next(iter(found[key].values())), len(found[key])
        needed_by = ("needed by", ", ".join(needed[key]))
        if first.availability in _GAPS:
            yield _gap_problem(results.mirror, first, count, needed_by)
        else:
            yield _artifact_problem(first, needed_by)


def _left_out_problems(results: Results) -> Iterator[Problem]:
    """Yield what comes from no channel, and may not come from elsewhere."""
    needed: dict[Unmirrorable, dict[str, None]] = {}
    for diagnosis in results.diagnoses:
        for row in diagnosis.rows.unmirrorable:
            if row.kind not in results.consumer.allowed:
                needed.setdefault(row, {})[str(diagnosis.place)] = None
    for row, places in needed.items():
        yield _finding(
            row.name,
            f"comes from no conda channel: {row.reason}",
            ("from", redact(row.location)),
            ("needed by", ", ".join(places)),
            help=f"--allow-incomplete {row.kind}, if the consumer has it from elsewhere",
        )


def _gap(verdict: Verdict) -> PurePosixPath:
    """Name the folder that is not there: the channel's, or the subdir's."""
    subdir = verdict.path.parent
    return subdir.parent if verdict.availability is Availability.NO_CHANNEL else subdir


def _gap_problem(mirror: Mirror, first: Verdict, count: int, needed: tuple[str, str]) -> Problem:
    folder = looked_for = _gap(first)
    subject, help_line = str(folder), "its keeper mirrors this lock: `pixi run mirror`"
    if first.availability is Availability.NO_CHANNEL:
        subject, looked_for = redact(first.package.channel or subject), folder / NOARCH
        message = "this channel is not mirrored"
    elif folder.name == NOARCH:
        message = "there is no repodata"
    else:
        message = "this platform is not mirrored"
        add = f"`pixi run platforms --add {folder.name}`"
        help_line = f"its keeper mirrors it: {add}, `pixi run mirror`"
    return _finding(
        subject,
        message,
        ("looked for", f"{mirror.url_of(looked_for)}/repodata.json"),
        ("missing", counted(count, "artifact")),
        needed,
        help=help_line,
    )


def _artifact_problem(verdict: Verdict, needed: tuple[str, str]) -> Problem:
    package, subject = verdict.package, str(verdict.path)
    details: list[tuple[str, str]] = []
    if verdict.availability is Availability.OTHER:
        message = f"the mirror has another {verdict.compared}"
        details = [("expected", verdict.expected), ("actual", verdict.actual)]
        help_line = f"one of both is of a later upload: `pixi update {package.name}`,"
        help_line += " or its keeper runs `pixi run mirror`"
    elif verdict.availability is Availability.NOT_MIRRORABLE:
        subject = redact(package.url)
        if url_subdir(package.url) in {None, verdict.path.parent.name}:
            message = "nothing can lead pixi from this location to the mirror"
            help_line = "name a channel with a URL in `channels`, then `pixi lock`; `[mirrors]`"
            help_line += " replaces the beginning of URLs, and nothing else"
        else:
            message = "a flat mirror has it in the record's subdir, not in that of this URL,"
            message += " and `[mirrors]` replaces but the beginning of a URL"
            details = [("mirror", str(verdict.path))]
            help_line = f'its keeper sets layout = "by-channel" under [{TABLE}],'
            help_line += " then `pixi run mirror`"
    else:
        message = "is not in the mirror"
        help_line = "its keeper adds it: `pixi add`, then `pixi run mirror`"
        if verdict.near:
            rest = len(verdict.near) - _SHOWN
            near = [*map(str, verdict.near[:_SHOWN]), *([f"and {rest} more"] if rest > 0 else [])]
            details = [("it has", ", ".join(near))]
            help_line = f"`pixi update {package.name}` takes what the mirror has,"
            help_line += " once pixi is led to it"
    return _finding(subject, message, *details, needed, help=help_line)


def _pixi_problems(results: Results) -> Iterator[Problem]:
    """Say that pixi would not ask this mirror, if it would not."""
    consumer, pixi = results.consumer, results.pixi
    if not pixi.not_redirected or ConfiguredClient.PIXI not in consumer.clients:
        return
    details = [("asked now", each) for each in pixi.asked]
    details += [("read", each) for each in consumer.config.files]
    details += [("overridden by", redact(each)) for each in pixi.overridden_by]
    details.append(("needed by", ", ".join(map(str, pixi.not_redirected))))
    if results.mirror.place.folder is not None:
        yield _finding(
            str(consumer.lock_path),
            "names upstream's URLs, for which no folder can stand in",
            *details,
            help="lock it anew from the folder, with the line above; or serve the folder over HTTP"
            " and ask again with --mirror http://HOST:PORT",
        )
        return
    message = "nothing in pixi's configuration leads to this mirror"
    if consumer.config.mirrors:
        message = "pixi's configuration leads elsewhere, or not everywhere it should"
    help_line = f"the lines above, in {_config_file(consumer)}"
    if pixi.overridden_by:
        help_line += "; and take away what overrides them"
    yield _finding("[mirrors]", message, *details, help=help_line)


def _config_file(consumer: Consumer) -> str:
    return str(consumer.lock_path.parent / ".pixi" / "config.toml")


def _conda_problems(results: Results) -> Iterator[Problem]:
    """Say that conda would not ask this mirror, or not find its pip there, if that counts."""
    conda, settings = results.conda, results.settings
    if ConfiguredClient.CONDA not in results.consumer.clients:
        return
    if results.conda_error is not None:
        yield results.conda_error
    if settings is None:
        return
    if conda.not_redirected:
        message = "nothing in conda's configuration leads to this mirror"
        if settings.sources:
            message = "conda's configuration leads elsewhere, or not everywhere it should"
        details = [("asked now", redact(each)) for each in asked_hosts(settings)]
        details += [("read", each) for each in settings.sources]
        details += [("overridden by", each) for each in conda.overridden_by]
        details.append(("needed by", ", ".join(sorted(conda.not_redirected))))
        help_line = "the options above with every command, or their channels in ~/.condarc"
        if not conda.options:
            help_line = "the line above, in ~/.condarc"
        if conda.overridden_by:
            help_line += "; and take away what overrides it"
        yield _finding(".condarc", message, *details, help=help_line)
    if conda.missing_pip:
        yield _finding(
            ".condarc",
            "conda adds pip to what every python needs, and the mirror has none",
            ("needed by", ", ".join(sorted(conda.missing_pip))),
            help=f"the line {ADD_PIP}: false, in ~/.condarc; or its keeper mirrors it:"
            " `pixi add pip`, then `pixi run mirror`",
        )


def _data(results: Results) -> dict[str, Json]:
    consumer, conda, settings = results.consumer, results.conda, results.settings
    return {
        "lock": consumer.lock_path.as_posix(),
        "lock-version": consumer.lock_version,
        "mirror": results.mirror.place.shown,
        "layout": results.mirror.layout.value,
        "environments": [_diagnosis_json(results, each) for each in results.diagnoses],
        "configuration": {
            "read": list(consumer.config.files),
            "pixi-config": results.pixi.config,
            "overridden-by": list(results.pixi.overridden_by),
            "manifest": results.pixi.manifest,
            "condarc-checked": settings is not None,
            "condarc": [] if settings is None else list(settings.sources),
            "condarc-overridden-by": list(conda.overridden_by),
            "conda": [*conda.lines, *(each.partition("  # ")[0] for each in conda.options)],
        },
    }


def _diagnosis_json(results: Results, diagnosis: Diagnosis) -> dict[str, Json]:
    verdicts = diagnosis.verdicts
    return {
        "environment": diagnosis.place.environment,
        "platform": diagnosis.place.platform,
        "artifacts": len(verdicts),
        **{
            key.value: [str(each.path) for each in verdicts if each.availability is key]
            for key in _WORDS
        },
        "configured": results.is_configured(diagnosis.place),
        "left-out": [
            {"name": row.name, "kind": row.kind.value, "location": redact(row.location)}
            for row in diagnosis.rows.unmirrorable
        ],
    }
