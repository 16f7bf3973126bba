"""The stage `doctor`: would a lock install from a mirror? Only looks, at repodata alone.

It says a line for each environment and platform, then what is missing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from scripts.core.console import Console
from scripts.core.errors import Problem, finding_problem
from scripts.core.redact import redact
from scripts.core.report import Json, Report
from scripts.doctor.conda_configuration import compare_conda_configuration
from scripts.doctor.diagnose import (
    Availability,
    Diagnosis,
    content_findings,
    diagnose,
    gap,
)
from scripts.doctor.mirror import Mirror, MirrorLocation, absolute, read_mirror, repodata_reader
from scripts.doctor.pixi_configuration import Redirection, compare_pixi_configuration
from scripts.lock.model import OLDEST_COMPLETE, LockedEnvironment, Unmirrorable
from scripts.lock.read import NEWEST, read_lock
from scripts.lock.select import choose_environments, undeclared_lines, unmirrorable
from scripts.network.configuration import read_pixi_config
from scripts.network.router import Router
from scripts.verify.findings import EnvironmentPlatform
from scripts.workspace.settings import Settings

_MARKS: Final = {True: "✓", False: "✗", None: "–"}  # noqa: RUF001
_WORDS: Final = {
    Availability.MISSING: "missing",
    Availability.OTHER: "another",
    Availability.NO_SUBDIR: "of a platform that is not mirrored",
    Availability.NO_CHANNEL: "of a channel that is not mirrored",
    Availability.NOT_MIRRORABLE: "not mirrorable",
}
_LESS: Final = {"md5": "by md5 alone", "size": "by size alone", None: "not at all"}


class ConfiguredClient(StrEnum):
    """Whose configuration is to lead to the mirror; the words are those of `--client`."""

    PIXI = "pixi"
    CONDA = "conda"


def doctor(
    lock_path: Path,
    location: MirrorLocation,
    settings: Settings,
    clients: frozenset[ConfiguredClient],
    console: Console,
) -> Report:
    """Answer for the consumer whose lock it is; nothing is written anywhere.

    `settings` say of what in the lock, `clients` for whom. Raises the errors of exit code 2 for a
    lock or a configuration that cannot be read and for a place that is no mirror, and of exit code
    3 where the mirror does not answer.
    """
    path = absolute(lock_path / "pixi.lock" if lock_path.is_dir() else lock_path)
    lock, root = read_lock(path), path.parent  # absolute, as pixi writes file locations
    environments = choose_environments(lock, settings)
    config = read_pixi_config(root, os.environ)
    console.note(f"doctor: reading the repodata of {location.shown}")
    with repodata_reader(location, lambda: Router(root / "pixi.toml", os.environ, console)) as read:
        mirror = read_mirror(location, root, environments, read)
    diagnoses = diagnose(environments, mirror)
    pixi = compare_pixi_configuration(config, path, environments, mirror, diagnoses)
    conda = compare_conda_configuration(environments, mirror)
    redirections = {ConfiguredClient.PIXI: pixi, ConfiguredClient.CONDA: conda}
    asked = [each for client, each in redirections.items() if client in clients]
    configured = {each.place: _is_configured(each.place, asked) for each in diagnoses}
    problems = [*content_findings(diagnoses, mirror)]
    if not any(each.verdicts or each.rows.unmirrorable for each in diagnoses):
        problems.append(_nothing_to_compare(path, environments))
    allowed = []
    for row, where in unmirrorable(environments).items():
        places = ", ".join(dict.fromkeys(where))
        if row.kind in settings.allow_incomplete:
            name = f"{row.name} ({redact(row.location)})"
            allowed.append(f"allowed: {name}: {row.reason}; in {places}")
        else:
            problems.append(_incomplete(row, places))
    problems += [problem for each in asked for problem in each.problems]
    return Report(
        lines=(
            *_table(diagnoses, configured, settings),
            *_notes(environments, mirror, diagnoses, lock.version),
            *allowed,
            *pixi.lines,
            *conda.lines,
        ),
        data={
            "lock": path.as_posix(),
            "lock-version": lock.version,
            "mirror": location.shown,
            "layout": mirror.layout.value,
            "environments": [_row(each, configured[each.place]) for each in diagnoses],
            "configuration": {**pixi.data, **conda.data},
        },
        problems=tuple(problems),
        max_shown=len(problems),  # it is the list to take to the mirror's keeper
    )


def _is_configured(place: EnvironmentPlatform, asked: Sequence[Redirection]) -> bool | None:
    """Tell whether the clients that count would ask this mirror; None: nobody can tell."""
    if any(place in (each.not_redirected or ()) for each in asked):
        return False
    return None if any(each.not_redirected is None for each in asked) else True


def _nothing_to_compare(lock_path: Path, environments: Sequence[LockedEnvironment]) -> Problem:
    return finding_problem(
        lock_path,
        "the lock names nothing to compare",
        ("environments", ", ".join(each.name for each in environments) or "none"),
        help="name the lock that is to be installed: --lock PATH; or fill this one: `pixi add`",
    )


def _incomplete(row: Unmirrorable, places: str) -> Problem:
    """Say what comes from no channel, and may not come from elsewhere."""
    return finding_problem(
        row.name,
        f"comes from no conda channel: {row.reason}",
        ("from", redact(row.location)),
        ("needed by", places),
        help=f"--allow-incomplete {row.kind}, if the consumer has it from elsewhere",
    )


def _table(
    diagnoses: Sequence[Diagnosis],
    configured: Mapping[EnvironmentPlatform, bool | None],
    settings: Settings,
) -> Iterator[str]:
    """Yield `default  linux-64  artifacts ✓ (12)  configuration ✗`, in columns."""
    names = max((len(each.place.environment) for each in diagnoses), default=0)
    platforms = max((len(each.place.platform) for each in diagnoses), default=0)
    for each in diagnoses:
        place, total = each.place, len(each.verdicts)
        counts = Counter(verdict.availability for verdict in each.verdicts)
        wrong = [f"{counts[key]} {words}" for key, words in _WORDS.items() if counts[key]]
        right = counts[Availability.RIGHT]
        said = f"{', '.join(wrong)}; {right} of {total} right" if wrong else str(total)
        line = f"{place.environment.ljust(names)}  {place.platform.ljust(platforms)}"
        line += f"  artifacts {_MARKS[not wrong]} ({said})"
        line += f"  configuration {_MARKS[configured[place]]}"
        kinds = [row.kind for row in each.rows.unmirrorable]
        refused = sum(kind not in settings.allow_incomplete for kind in kinds)
        if refused:
            line += f"  incomplete {_MARKS[False]} ({refused} of no conda channel)"
        elif kinds:
            line += f"  incomplete, as allowed ({len(kinds)} of no conda channel)"
        yield line


def _notes(
    environments: Sequence[LockedEnvironment],
    mirror: Mirror,
    diagnoses: Sequence[Diagnosis],
    lock_version: int,
) -> Iterator[str]:
    """Say what was looked at, and what was not or could not be."""
    yield (
        f"looked at: {mirror.location.shown} ({mirror.layout}); its repodata alone,"
        " no artifact was read"
    )
    if mirror.others:
        names = ", ".join(map(str, mirror.others))
        yield f"none of the lock's channels is there, only: {names}"
    if lock_version < OLDEST_COMPLETE:
        yield (
            f"the lock is of version {lock_version}, an old one ({NEWEST} is today's):"
            " what its rows leave out was not compared"
        )
    every = (verdict for each in diagnoses for verdict in each.verdicts)
    verdicts = {(each.path, each.package.url): each for each in every}.values()
    compared = Counter(
        each.compared and each.compared[0]
        for each in verdicts
        if each.availability is Availability.RIGHT
    )
    for key, words in _LESS.items():
        if compared[key]:
            yield f"compared {words}, since the lock or the mirror says no more: {compared[key]}"
    for each in verdicts:
        if each.availability is Availability.ELSEWHERE:
            yield f"not of the mirror, but a file that is there: {redact(each.package.url)}"
    yield from undeclared_lines(environments)
    # An install from the lock does not ask channels that serve nothing; locking anew does.
    missed = {gap(each) for each in verdicts if each.availability is Availability.NO_CHANNEL}
    listed = {mirror.folder_of(url): url for each in environments for url in each.channels}
    for folder, url in listed.items():
        if folder not in mirror.channels | missed:
            yield (
                f"not mirrored: {redact(url)}; nothing is locked from it, but `pixi lock` will"
                " ask for it"
            )


def _row(diagnosis: Diagnosis, is_configured: bool | None) -> Json:  # noqa: FBT001
    verdicts = diagnosis.verdicts
    return {
        "environment": diagnosis.place.environment,
        "platform": diagnosis.place.platform,
        "artifacts": len(verdicts),
        **{
            key.value: [str(each.path) for each in verdicts if each.availability is key]
            for key in _WORDS
        },
        "configured": is_configured,
        "left-out": [
            {"name": row.name, "kind": row.kind.value, "location": redact(row.location)}
            for row in diagnosis.rows.unmirrorable
        ],
    }
