"""The stage `doctor`: would a lock install from a mirror? Only looks, at repodata alone.

It says a line for each environment and platform, then what is missing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from scripts.channel.locks import mirrored_lock
from scripts.core.artifact import ArtifactKind
from scripts.core.console import Console
from scripts.core.errors import Problem, finding_problem
from scripts.core.record import PypiRecord
from scripts.core.redact import redact
from scripts.core.report import Json, Line, Report, counted, named, table
from scripts.doctor.conda_configuration import compare_conda_configuration
from scripts.doctor.diagnose import (
    Availability,
    Diagnosis,
    all_verdicts,
    content_findings,
    diagnose,
)
from scripts.doctor.mirror import (
    Mirror,
    MirrorLocation,
    absolute,
    read_mirror,
)
from scripts.doctor.pixi_configuration import Redirection, compare_pixi_configuration
from scripts.lock.mirrored import MirroredLock
from scripts.lock.model import NEWEST, OLDEST_COMPLETE, LockedEnvironment
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.read import read_lock
from scripts.lock.select import choose_environments, undeclared_lines, unmirrorable
from scripts.network.configuration import read_pixi_config
from scripts.network.router import Router
from scripts.verify.findings import MARKS, EnvironmentPlatform, incomplete_cell
from scripts.workspace.settings import SettingOverrides, Settings, override
from scripts.workspace.workspace import settings_beside

_WORDS: Final = {
    Availability.MISSING: "missing",
    Availability.OTHER: "different",
    Availability.NO_SUBDIR: "of a platform that is not mirrored",
    Availability.NO_CHANNEL: "of a channel that is not mirrored",
    Availability.NOT_MIRRORABLE: "not mirrorable",
    Availability.NOT_BESIDE: "not beside the lock",
}
_SHORT: Final = dict.fromkeys(_WORDS, "missing") | {
    key: _WORDS[key]
    for key in (Availability.OTHER, Availability.NOT_MIRRORABLE, Availability.NOT_BESIDE)
}
_NOT_LOOKED_AT: Final = "not looked at: what sdists and folders of the project are built with:"
_LESS: Final = {"md5": "by md5 alone", "size": "by size alone", None: "by name alone"}


class ConfiguredClient(StrEnum):
    """Whose configuration is to lead to the mirror; the words are those of `--client`."""

    PIXI = "pixi"
    CONDA = "conda"


def doctor(
    lock_path: Path,
    location: MirrorLocation,
    overrides: SettingOverrides,
    clients: frozenset[ConfiguredClient],
    console: Console,
) -> Report:
    """Answer for the consumer whose lock it is; nothing is written anywhere.

    Of what in the lock say the settings of the manifest beside it, where there are some, and
    `overrides`; for whom, `clients`. What has no digest is compared by name. Raises the errors of
    exit code 2 for a lock or a configuration that cannot be read and for a place that is no mirror,
    and of exit code 3 where the mirror does not answer.
    """
    path = absolute(lock_path / "pixi.lock" if os.path.isdir(lock_path) else lock_path)  # noqa: PTH112
    lock, root = read_lock(path), path.parent  # absolute, as pixi writes file locations
    settings = replace(override(settings_beside(path), overrides), allow_unhashed=True)
    environments = choose_environments(lock, settings)
    left_out = _left_out(mirrored_lock(path.name, root, None, lock), environments)
    config = read_pixi_config(root, os.environ)
    console.note(f"doctor: reading the repodata of {location.shown}")
    make_router = partial(Router, root / "pixi.toml", os.environ, console)
    mirror = read_mirror(location, root, environments, make_router)
    diagnoses = diagnose(environments, mirror)
    asked = list[Redirection]()
    if ConfiguredClient.PIXI in clients:
        asked.append(compare_pixi_configuration(config, path, environments, mirror, diagnoses))
    if ConfiguredClient.CONDA in clients:
        asked.append(compare_conda_configuration(environments, mirror, diagnoses, lock.version))
    configured = {each.place: _is_configured(each.place, asked) for each in diagnoses}
    problems, more = [*content_findings(diagnoses, mirror)], list[str]()
    if not any(each.verdicts or each.rows.unmirrorable for each in diagnoses):
        problems.append(_nothing_to_compare(path, environments))
        more.append("nothing to compare")
    allowed, incomplete = _incomplete(environments, settings)
    if incomplete:
        more.append(f"{counted(len(incomplete), 'package')} not in the mirror")
    verdict = _verdict(diagnoses, more, asked)
    problems += [*incomplete, *(problem for each in asked for problem in each.problems)]
    return Report(
        lines=(
            verdict,
            *table([*_cells(diagnoses, configured, settings)]),
            *_notes(environments, left_out, mirror, diagnoses, lock.version),
            tuple(allowed),
            *(line for each in asked for line in each.lines),
        ),
        data={
            "verdict": verdict,
            "lock": path.as_posix(),
            "lock-version": lock.version,
            "mirror": location.shown,
            "layout": mirror.layout.value,
            **{f"left-out-{noun}s": names for noun, names in left_out.items()},
            "environments": [_row(each, configured[each.place]) for each in diagnoses],
            "configuration": {key: said for each in asked for key, said in each.data.items()},
        },
        problems=tuple(problems),
        referred_to=tuple(line for each in asked if each.problems for line in each.lines),
    )


def _left_out(
    lock: MirroredLock, environments: tuple[LockedEnvironment, ...]
) -> Mapping[str, Sequence[str]]:
    """Name the environments that nobody asks about, and the platforms of the others."""
    chosen = replace(lock, environments=environments)
    return {"environment": chosen.excluded, "platform": chosen.excluded_platforms}


def _is_configured(place: EnvironmentPlatform, asked: Sequence[Redirection]) -> bool | None:
    """Tell whether the clients that count would ask this mirror; None: nobody can tell."""
    if any(place in (each.not_redirected or ()) for each in asked):
        return False
    return None if any(each.not_redirected is None for each in asked) else True


def _verdict(
    diagnoses: Sequence[Diagnosis], more: Sequence[str], asked: Sequence[Redirection]
) -> str:
    """Answer in one line: yes; no, with what is wrong; or not known, with what was not checked.

    `more` is what else is wrong, besides artifacts and configuration.
    """
    every = all_verdicts(diagnoses)
    counts = Counter(_SHORT.get(each.availability) for each in every)
    wrong = [f"{counts[word]} {word}" for word in dict.fromkeys(_SHORT.values()) if counts[word]]
    if wrong:
        number, _, words = wrong[0].partition(" ")
        wrong[0] = f"{number} of {counted(len(every), 'artifact')} {words}"
    wrong += [*more, *(each.reason for each in asked if each.not_redirected)]
    if wrong:
        return f"no: {'; '.join(wrong)}"
    unknown = [each.reason for each in asked if each.not_redirected is None]
    return f"not known: {'; '.join(unknown)}" if unknown else "yes"


def _nothing_to_compare(lock_path: Path, environments: Sequence[LockedEnvironment]) -> Problem:
    return finding_problem(
        lock_path,
        "the lock names nothing to compare",
        ("environments", ", ".join(each.name for each in environments) or "none"),
        help="name the lock that is to be installed: --lock PATH; or fill this one: `pixi add`",
    )


def _incomplete(
    environments: Sequence[LockedEnvironment], settings: Settings
) -> tuple[list[str], list[Problem]]:
    """Say what no mirror has: what may come from elsewhere, and what may not."""
    allowed, incomplete = list[str](), list[Problem]()
    for row, where in unmirrorable(environments).items():
        places, location = ", ".join(dict.fromkeys(where)), redact(row.location)
        if row.kind is None:
            continue
        if row.kind in settings.allow_incomplete:
            allowed.append(f"allowed: {row.name} ({location}): {row.reason}; in {places}")
            continue
        problem = finding_problem(
            row.name,
            f"is not in the mirror: {row.reason}",
            ("from", location),
            ("needed by", places),
            help=f"--allow-incomplete {row.kind}, if the consumer has it from elsewhere",
        )
        incomplete.append(problem)
    return allowed, incomplete


def _cells(
    diagnoses: Sequence[Diagnosis],
    configured: Mapping[EnvironmentPlatform, bool | None],
    settings: Settings,
) -> Iterator[tuple[str, str, str]]:
    """Yield `default`, `linux-64`, `artifacts ✓ (12)  configuration ✗`."""
    for each in diagnoses:
        place, total = each.place, len(each.verdicts)
        counts = Counter(verdict.availability for verdict in each.verdicts)
        wrong = [f"{counts[key]} {words}" for key, words in _WORDS.items() if counts[key]]
        right = counts[Availability.RIGHT]
        said = f"{', '.join(wrong)}; {right} of {total} right" if wrong else str(total)
        line = f"artifacts {MARKS[not wrong]} ({said})  configuration {MARKS[configured[place]]}"
        incomplete = incomplete_cell(each.rows, settings.allow_incomplete)
        yield place.environment, place.platform, f"{line}  {incomplete}"


def _notes(
    environments: Sequence[LockedEnvironment],
    left_out: Mapping[str, Sequence[str]],
    mirror: Mirror,
    diagnoses: Sequence[Diagnosis],
    lock_version: int,
) -> Iterator[Line]:
    """Say what was looked at, and what was not or could not be."""
    pages = " and its pages of PyPI packages" if mirror.has_pages else ""
    yield (
        f"looked at: {mirror.location.shown} ({mirror.layout}); its repodata{pages} alone,"
        " no artifact was read"
    )
    for noun, names in left_out.items():
        if names:
            yield named("left out:", noun, names, " (by settings or options)")
    if mirror.others:
        names = [*map(str, mirror.others)]
        yield named("none of the lock's channels is there, only:", "channel", names)
    if lock_version < OLDEST_COMPLETE:
        yield (
            f"the lock is of version {lock_version}, an old one ({NEWEST} is today's):"
            " what its rows leave out was not compared"
        )
    verdicts = all_verdicts(diagnoses)
    compared = Counter(
        each.compared and each.compared[0]
        for each in verdicts
        if each.availability is Availability.RIGHT
    )
    for key, words in _LESS.items():
        if compared[key]:
            yield f"compared {words}, since the lock or the mirror says no more: {compared[key]}"
    yield tuple(
        f"not of the mirror, but a file that is there: {redact(each.url)}"
        for each in verdicts
        if each.availability is Availability.ELSEWHERE
    )
    packages = [each.package for each in verdicts]
    records = [each for each in packages if isinstance(each, PypiRecord)]
    artifacts = [artifact for each in records for artifact in pypi_artifacts(each)]
    built = {each.name for each in artifacts if each.kind is ArtifactKind.SDIST}
    built |= {x.name.split()[0] for y in diagnoses for x in y.rows.unmirrorable if x.kind is None}
    if built:
        yield named(_NOT_LOOKED_AT, "package", sorted(built))
    yield from undeclared_lines(environments)
    # An install from the lock does not ask channels that serve nothing; locking anew does.
    locked_from = {each.path.parent.parent for each in verdicts}
    listed = {mirror.folder_of(url): url for each in environments for url in each.channels}
    for folder, url in listed.items():
        if folder not in mirror.channels | locked_from:
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
            {"name": row.name, "kind": row.kind, "location": redact(row.location)}
            for row in diagnosis.rows.unmirrorable
        ],
    }
