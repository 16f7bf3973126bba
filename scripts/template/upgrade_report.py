"""Say what an upgrade did, or would do."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from scripts.core.errors import ExitCode, Problem
from scripts.core.report import Json, Report
from scripts.template.compare import Judged, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of each file and each table; `differences` are the diffs, each in lines."""

    files: tuple[Judged, ...]
    tables: tuple[Judged, ...]
    differences: tuple[tuple[str, ...], ...]
    keep: frozenset[str]
    command: str
    is_dry: bool


def upgrade_report(outcome: Outcome) -> Report:
    """Report the changes by name, then the differences; each of these is a problem."""
    judged = [*outcome.files, *outcome.tables]
    changes = [*_changes(outcome.files, ""), *_changes(outcome.tables, "pixi.toml: ")]
    unknown = sorted(outcome.keep - {each.name for each in judged})
    differing = [each.name for each in judged if each.verdict is Verdict.DIFFERS]
    lines = [*changes, *(line for each in outcome.differences for line in each)]
    lines += _yours(outcome)
    verb = "would change" if outcome.is_dry else "changed"
    lines.append(
        f"upgrade: {len(changes)} {verb}, {len(differing)} left for you to see to"
        if changes or differing
        else "upgrade: this builder is up to date with the template"
    )
    return Report(
        lines=tuple(lines),
        data={
            "dry-run": outcome.is_dry,
            "files": _rows(outcome.files),
            "tables": _rows(outcome.tables),
            "differences": ["\n".join(each) for each in outcome.differences],
        },
        problems=(
            *(_problem(name, outcome.command) for name in differing),
            *(_unknown(name) for name in unknown),
        ),
    )


def _changes(judged: Iterable[Judged], prefix: str) -> Iterator[str]:
    for each in judged:
        if each.verdict is Verdict.TAKEN:
            word = "removed" if each.is_removed else "added" if each.is_added else "renewed"
            yield f"{word.ljust(8)} {prefix}{each.name}"
    for each in judged:
        if each.verdict is Verdict.MISSING:
            yield f"left out {prefix}{each.name}: you have removed it"


def _yours(outcome: Outcome) -> Iterator[str]:
    """Name what the user alone has changed: nothing is to be done for it, and nothing was."""
    for judged, prefix in ((outcome.files, ""), (outcome.tables, "pixi.toml: ")):
        for each in judged:
            if each.verdict is Verdict.YOURS:
                yield f"yours    {prefix}{each.name}: left as it is"


def _rows(judged: Iterable[Judged]) -> list[Json]:
    return [
        {"name": each.name, "outcome": each.verdict.value}
        for each in judged
        if each.verdict is not Verdict.SAME
    ]


def _problem(name: str, command: str) -> Problem:
    return Problem(
        subject=name,
        trouble="you have changed it, and so has the template; it was left as it is",
        code=ExitCode.NO,
        help=f"take over by hand what you want of it, then: {command} --keep {shlex.quote(name)}",
    )


def _unknown(name: str) -> Problem:
    return Problem(
        subject="--keep",
        trouble=f"neither a file nor a table of the template: {name}",
        code=ExitCode.USAGE,
    )
