"""What the doctor says: a line for each environment and platform, then what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scripts.core.redact import redact
from scripts.core.report import Json, Report
from scripts.doctor.conda_configuration import CondaConfiguration
from scripts.doctor.configuration import Configuration
from scripts.doctor.diagnose import PlaceDiagnosis, Standing, Verdict
from scripts.doctor.mirror_place import (
    Asking,
    Consumer,
    MirrorContents,
    MirrorPlace,
    wanted_channel,
)
from scripts.doctor.problems import conda_problems, configuration_problem, content_problems
from scripts.lock.read import NEWEST
from scripts.lock.select import undeclared_lines
from scripts.verify.findings import Place

_RIGHT, _WRONG = "✓", "✗"
_WORDS: Final = {
    Standing.MISSING: "missing",
    Standing.OTHER: "another",
    Standing.NO_SUBDIR: "of a platform that is not mirrored",
    Standing.NO_CHANNEL: "of a channel that is not mirrored",
    Standing.OUT_OF_REACH: "out of reach",
}
# The first version whose rows tell all that a record does.
_FIRST_WHOLE: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that was found out."""

    consumer: Consumer
    place: MirrorPlace
    contents: MirrorContents
    diagnoses: tuple[PlaceDiagnosis, ...]
    configuration: Configuration
    conda: CondaConfiguration

    def is_led(self, place: Place) -> bool:
        """Tell whether the clients that count would ask this mirror for a place."""
        clients = self.consumer.clients
        return not (
            (Asking.PIXI in clients and place in self.configuration.unled)
            or (
                Asking.CONDA in clients
                and place.environment in self.conda.unled | self.conda.pipless
            )
        )


def make_report(results: Results) -> Report:
    """Put it all together."""
    problems = (
        *content_problems(results.consumer, results.place, results.diagnoses),
        *configuration_problem(results.consumer, results.place, results.configuration),
        *conda_problems(results.consumer, results.conda),
    )
    return Report(
        lines=(*_place_lines(results), *_lines(results), *_configuration_lines(results)),
        data=_data(results),
        problems=problems,
        names=len(problems),  # it is the list to take to the mirror's keeper
    )


def _place_lines(results: Results) -> Iterator[str]:
    """Yield `default  linux-64  artifacts ✓ (12)  configuration ✗`, in columns."""
    rows = [(str(each.place.environment), each.place.platform) for each in results.diagnoses]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for each, row in zip(results.diagnoses, rows, strict=True):
        is_led = results.is_led(each.place)
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells += [_artifacts(each), f"configuration {_RIGHT if is_led else _WRONG}"]
        kinds = [row.kind for row in each.rows.unmirrorable]
        refused = sum(kind not in results.consumer.allowed for kind in kinds)
        if refused:
            cells.append(f"incomplete {_WRONG} ({refused} of no conda channel)")
        elif kinds:
            cells.append(f"incomplete, as allowed ({len(kinds)} of no conda channel)")
        yield "  ".join(cells)


def _artifacts(diagnosis: PlaceDiagnosis) -> str:
    total = len(diagnosis.verdicts)
    counts = Counter(verdict.standing for verdict in diagnosis.verdicts)
    wrong = [f"{counts[each]} {words}" for each, words in _WORDS.items() if counts[each]]
    if wrong:
        return f"artifacts {_WRONG} ({', '.join(wrong)}; {counts[Standing.RIGHT]} of {total} right)"
    return f"artifacts {_RIGHT} ({total})"


def _lines(results: Results) -> Iterator[str]:
    """Say what was looked at, and what was not or could not be."""
    yield (
        f"looked at: {results.place.shown} ({results.contents.layout}); its repodata alone,"
        " no artifact was read"
    )
    if results.contents.others:
        names = ", ".join(map(str, results.contents.others))
        yield f"none of the lock's channels is there, only: {names}"
    version = results.consumer.lock_version
    if version < _FIRST_WHOLE:
        yield (
            f"the lock is of version {version}, an old one ({NEWEST} is today's):"
            " what its rows leave out was not compared"
        )
    compared = Counter(
        {(each.path, each.package.url): each.compared for each in _right(results)}.values()
    )
    for key, words in (("md5", "by md5 alone"), ("size", "by size alone"), (None, "not at all")):
        if compared[key]:
            yield f"compared {words}, since the lock or the mirror says no more: {compared[key]}"
    files = {
        verdict.package.url: None
        for each in results.diagnoses
        for verdict in each.verdicts
        if verdict.standing is Standing.ELSEWHERE
    }
    yield from (f"not of the mirror, but a file that is there: {redact(each)}" for each in files)
    yield from undeclared_lines(results.consumer.environments)
    yield from _unused_channels(results)
    for each in results.diagnoses:
        for row in each.rows.unmirrorable:
            if row.kind in results.consumer.allowed:
                name = f"{row.name} ({redact(row.location)})"
                yield f"allowed: {name}: {row.reason}; in {each.place}"


def _right(results: Results) -> Iterator[Verdict]:
    for each in results.diagnoses:
        yield from (verdict for verdict in each.verdicts if verdict.standing is Standing.RIGHT)


def _unused_channels(results: Results) -> Iterator[str]:
    """Name the channels that an environment lists and the mirror lacks, though nothing is missed.

    An install from the lock does not ask them; locking anew does.
    """
    consumer, contents = results.consumer, results.contents
    missed = {
        verdict.path.parent.parent
        for each in results.diagnoses
        for verdict in each.verdicts
        if verdict.standing is Standing.NO_CHANNEL
    }
    listed = {
        wanted_channel(url, results.place, consumer.root, contents.layout): redact(url)
        for environment in consumer.environments
        for url in environment.channels
    }
    for folder, url in listed.items():
        if folder not in contents.channels and folder not in missed:
            yield f"not mirrored: {url}; nothing is locked from it, but `pixi lock` will ask for it"


def _configuration_lines(results: Results) -> Iterator[str]:
    """Print the lines to paste, between blank lines, or say that nothing is missing."""
    configuration, consumer = results.configuration, results.consumer
    mirrors, channels = configuration.mirrors_text, configuration.channels_text
    if mirrors is not None:
        file = consumer.root / ".pixi" / "config.toml"
        yield f"for pixi, into {file} (in its [mirrors], where it has them already):"
        yield from ("", *mirrors.splitlines(), "")
        if redact(mirrors) != mirrors:
            yield "(in place of ******** write the token that the lock has there)"
        yield "then `pixi install --frozen`, without --offline: that forbids HTTP, loopback too"
    elif channels is not None:
        yield "for pixi, in the manifest instead of the channels that are there:"
        yield from ("", *channels.splitlines(), "")
        yield "then `pixi lock` and `pixi install --frozen --offline`"
    elif configuration.by_lock and not configuration.unled:
        yield "pixi: the lock names this mirror itself, and nothing leads away from it"
    elif configuration.by_mirrors and not configuration.unled:
        yield f"pixi: led to this mirror by {', '.join(consumer.config.files)}"
    yield from _conda_lines(consumer, results.conda)


def _conda_lines(consumer: Consumer, conda: CondaConfiguration) -> Iterator[str]:
    for file, reason in consumer.condarc.ignored:
        yield f"not read: {file}: {reason}"
    yield from (f"for conda, in .condarc: {each}" for each in conda.lines)
    several = len(conda.options) > 1
    options = [
        text + (f"  # {', '.join(environments)}" if several else "")
        for text, environments in conda.options
    ]
    if conda.unled:
        yield from (f"for conda, as options: {each}" for each in options)
    elif consumer.condarc.files:
        led = f"conda: led to this mirror by {', '.join(consumer.condarc.files)}"
        yield from [f"{led}, if asked with {each}" for each in options] or [led]


def _data(results: Results) -> dict[str, Json]:
    configuration = results.configuration
    return {
        "lock": results.consumer.lock_path.as_posix(),
        "lock-version": results.consumer.lock_version,
        "mirror": results.place.shown,
        "layout": results.contents.layout.value,
        "environments": [_place_json(results, each) for each in results.diagnoses],
        "configuration": {
            "read": list(results.consumer.config.files),
            "pixi-config": configuration.mirrors_text,
            "in-the-way": list(configuration.in_the_way),
            "manifest": configuration.channels_text,
            "condarc": list(results.consumer.condarc.files),
            "condarc-in-the-way": list(results.conda.in_the_way),
            "conda": [
                *results.conda.lines,
                *(text for text, _ in results.conda.options),
            ],
        },
    }


def _place_json(results: Results, each: PlaceDiagnosis) -> dict[str, Json]:
    found: dict[str, list[Json]] = {standing.value: [] for standing in _WORDS}
    for verdict in each.verdicts:
        if verdict.standing in _WORDS:
            found[verdict.standing.value].append(str(verdict.path))
    return {
        "environment": each.place.environment,
        "platform": each.place.platform,
        "artifacts": len(each.verdicts),
        **found,
        "configured": results.is_led(each.place),
        "left-out": [
            {"name": row.name, "kind": row.kind.value, "location": redact(row.location)}
            for row in each.rows.unmirrorable
        ],
    }
