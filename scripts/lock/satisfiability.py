"""Tell whether a lock still satisfies its manifest, and match the platforms of both.

For machines without pixi, which can only use a lock or refuse it. Checked is what pixi checks first
(pixi_core/src/lock_file/satisfiability).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import unquote

from scripts.core.channel_url import channel_base_url
from scripts.core.console import Console
from scripts.core.errors import MirrorError, Problem, usage_problem
from scripts.core.rattler_child import call_rattler
from scripts.core.record import Record
from scripts.core.redact import redact, without_secrets
from scripts.core.report import Json, listed
from scripts.lock.location import is_path, plain_url
from scripts.lock.mirrored import MirroredLock
from scripts.lock.model import (
    LockedEnvironment,
    LockedPackage,
    LockPlatform,
    PlatformPackages,
)
from scripts.lock.pypi_requirements import unmet_requirements
from scripts.workspace.model import Environment, Manifest, ManifestPlatform, Requirement
from scripts.workspace.pixi import is_run_by_pixi
from scripts.workspace.resolve import (
    asked_for,
    asks_pypi,
    environment_platforms,
    locked_channels,
    locked_indexes,
    pypi_overrides,
)
from scripts.workspace.virtual_packages import is_default, version_key
from scripts.workspace.workspace import Workspace

# What only pixi checks.
_NOT_CHECKED: Final = (
    "whether the packages' dependencies are met, all are needed, and alike in a solve-group",
    "channel-priority, solve-strategy, exclude-newer, constraints; pypi-options but URLs",
    "requirements from source, under a condition, with flags, or on virtual packages",
    "what requirements from PyPI say but name and version, and what cannot be decided of them",
)
# What rattler's MatchSpec.matches compares.
_MATCHED: Final = (
    *("name", "version", "build", "build_number", "subdir", "sha256", "md5"),
    *("license", "license_family", "track_features", "flags"),
)
_RENEWS: Final = "pixi lock"

# Lock, environment and platform by name, a requirement, the package locked under its name.
_Question = tuple[MirroredLock, str, str, Requirement, LockedPackage | None]
# Lock, environment and platform by name, what is required, what is there, what renews it.
_Unmet = tuple[MirroredLock, str, str, str, str, str]


def refuse_outdated_locks(
    workspace: Workspace, locks: Sequence[MirroredLock], console: Console, task: str
) -> Sequence[str]:
    """Raise the error of exit code 2 where this workspace's own lock no longer fits its manifest.

    Where pixi runs the task it has looked at that itself; else say which locks are used as they
    are. Nobody here can renew another workspace's: of that it is a warning. Returns what was not
    checked.
    """
    if is_run_by_pixi(os.environ, workspace.manifest_path):
        locks = [each for each in locks if each.entry is not None]
    problems = check_satisfiability(locks)
    others = {each.location for each in locks if each.entry is not None}
    if own := [each for each in problems if each.subject not in others]:
        raise MirrorError(*own)
    for problem in problems:
        said = ", ".join(f"{key} {value}" for key, value in problem.details)
        told = f"{problem.subject}: {problem.message}{said and f' ({said})'}"
        console.warn(
            f"{told}; mirrored as it is, for `pixi install --frozen`, until `{problem.help}`"
        )
    outdated = {each.subject for each in problems}
    used = (each for each in locks if each.location not in outdated)
    fits = "; it fits the manifest"
    console.note(
        tuple(f"{task}: using {x.location} as it is{fits if x.manifest else ''}" for x in used)
    )
    not_checked = _NOT_CHECKED if any(each.manifest is not None for each in locks) else ()
    for each in not_checked:
        console.detail(f"{task}: not checked: {each}")
    return not_checked


def without_outdated_manifests(locks: Sequence[MirroredLock]) -> tuple[MirroredLock, ...]:
    """Let another workspace's lock stand alone where it no longer fits its manifest."""
    others = {each.location: each for each in locks if each.entry is not None}
    outdated = {each.subject for each in check_satisfiability([*others.values()])}
    alone = {x: replace(others[x], manifest=None, is_outdated=True) for x in outdated}
    return tuple(each if each.entry is None else alone.get(each.location, each) for each in locks)


def check_satisfiability(locks: Sequence[MirroredLock]) -> tuple[Problem, ...]:
    """Compare locks with the manifests beside them; return the findings (exit code 2).

    One finding for a requirement that fails alike on several platforms.
    """
    problems: list[Problem] = []
    questions: list[_Question] = []
    unmet: list[_Unmet] = []
    for lock in locks:
        if lock.manifest is not None:
            problems += _compare(lock, lock.manifest, questions, unmet)
    return (*problems, *_unmet_problems((*_unmet(questions), *unmet)))


def _compare(
    lock: MirroredLock, manifest: Manifest, questions: list[_Question], unmet: list[_Unmet]
) -> Iterator[Problem]:
    """Yield the findings of one lock; add to `questions` what needs rattler.

    To `unmet` come the requirements from PyPI that are not met, to be told with rattler's answers.
    """
    root = lock.root
    locked = {each.name: each for each in lock.file.environments}
    for environment in manifest.environments:
        there = locked.pop(environment.name, None)
        if there is None:
            message = f"has no environment {environment.name}, and {manifest.file_name} has"
            yield _finding(lock, message)
            continue
        wanted = locked_channels(manifest, environment)
        if not are_same_channels(wanted, there.channels, partial(channel_key, root=root)):
            message = "was solved with other channels, or in another order"
            expected, actual = (redact(", ".join(of)) or "none" for of in (wanted, there.channels))
            details = ("expected", expected), ("actual", actual)
            yield _finding(lock, f"environment {environment.name} {message}", *details)
        yield from _index_problems(lock, manifest, environment, there)
        yield from _platform_problems(lock, manifest, environment, there)
        names = pypi_overrides(manifest, environment).keys()
        for platform in environment_platforms(manifest, environment):
            rows = matching_platform(platform, there)
            if rows is None:
                continue  # a finding already
            asked = asked_for(manifest, environment, platform)
            where = lock, environment.name, platform.name
            questions += ((*where, *each) for each in _pairs(asked.requirements, rows))
            of_pypi = unmet_requirements(asked.pypi, rows, names)
            unmet += ((*where, *each, _RENEWS) for each in of_pypi)
    for name in locked:
        yield _finding(lock, f"has an environment {name}, and {manifest.file_name} has none")


def _finding(
    lock: MirroredLock, message: str, *details: tuple[str, str], renews: str = _RENEWS
) -> Problem:
    return usage_problem(lock.location, message, *details, help=lock.renewing(renews))


def _index_problems(
    lock: MirroredLock, manifest: Manifest, environment: Environment, locked: LockedEnvironment
) -> Iterator[Problem]:
    """Find other indexes or `find-links`, where the lock has any, and pixi compares them."""
    sides = locked_indexes(manifest, environment), (locked.indexes, locked.find_links)
    wanted, there = ([[*map(plain_url, each)] for each in of] for of in sides)
    if locked.indexes and asks_pypi(manifest, environment) and wanted != there:
        message = "was locked with other PyPI indexes or find-links, or in another order"
        expected, actual = (redact(", ".join(chain(*of))) for of in sides)
        details = ("expected", expected), ("actual", actual)
        yield _finding(lock, f"environment {environment.name} {message}", *details)


def _platform_problems(
    lock: MirroredLock, manifest: Manifest, environment: Environment, locked: LockedEnvironment
) -> Iterator[Problem]:
    """Find platforms of one side only; the lock may lack one for which nothing is required."""
    wanted = environment_platforms(manifest, environment)
    for platform in wanted:
        asked = asked_for(manifest, environment, platform)
        needs_some = asked.pypi or any(each.condition is None for each in asked.requirements)
        if needs_some and matching_platform(platform, locked) is None:
            there = [each.platform.label for each in locked.platforms]
            yield _finding(
                lock,
                f"environment {environment.name} has no platform {platform.label}, "
                f"and {manifest.file_name} has",
                ("it has", listed(there, where="") or "none"),
            )
    # Where the manifest wants a subdir at all, pixi leaves a lock with more as it is.
    subdirs = {platform.subdir for platform in wanted}
    for rows in locked.platforms:
        if rows.platform.subdir not in subdirs:
            yield _finding(
                lock,
                f"environment {environment.name} has a platform {rows.platform.label}, "
                f"and {manifest.file_name} has none",
            )


def _pairs(
    requirements: Iterable[Requirement], rows: PlatformPackages
) -> Iterator[tuple[Requirement, LockedPackage | None]]:
    """Pair each requirement with the locked package; what pixi builds needs none."""
    by_name = {package.name.lower(): package for package in rows.packages}
    for each in requirements:
        package = by_name.get(each.name)
        is_open = each.is_source or each.condition is not None or each.name.startswith("__")
        if not is_open and (package is not None or each.name not in rows.source_names):
            yield each, package


def _unmet(questions: Sequence[_Question]) -> Iterator[_Unmet]:
    """Ask rattler all at once, whether each package meets its requirement."""
    pairs = ((x.spec, package.record) for *_, x, package in questions if package is not None)
    answers = iter(match_records(pairs))
    for lock, environment, platform, requirement, package in questions:
        actual, renews = f"no {requirement.name}", _RENEWS
        if package is not None:
            differs = differs_aside(requirement, package, lock.root)
            if next(answers) is not False and not differs:  # None: this rattler cannot tell
                continue
            record = package.record
            actual = f"{record.name} {record.version} {record.build} from {redact(package.url)}"
            renews = renewing_command(requirement) if differs else renews
        yield lock, environment, platform, wanted_text(requirement), actual, renews


def _unmet_problems(unmet: Iterable[_Unmet]) -> Iterator[Problem]:
    """Make one finding of what fails alike on several platforms."""
    failed: dict[tuple[str, ...], tuple[MirroredLock, list[str]]] = {}
    for lock, environment, platform, *said in unmet:
        key = (lock.label, environment, *said)
        failed.setdefault(key, (lock, []))[1].append(platform)
    for (_, environment, expected, actual, renews), (lock, platforms) in failed.items():
        yield _finding(
            lock,
            f"environment {environment} does not meet a requirement any more",
            ("expected", expected),
            ("actual", actual),
            ("platforms", ", ".join(platforms)),
            renews=renews,
        )


def match_records(pairs: Iterable[tuple[str, Record]]) -> Sequence[bool | None]:
    """Ask rattler all at once whether each record meets its MatchSpec; None: it cannot tell."""
    rows: list[Json] = [
        {"spec": spec, "record": {key: getattr(record, key) for key in _MATCHED}}
        for spec, record in pairs
    ]
    answers: Any = call_rattler("matches", {"pairs": rows}) if rows else ()
    return tuple(answers)


def matching_platform(
    platform: ManifestPlatform, locked: LockedEnvironment
) -> PlatformPackages | None:
    """Return the packages locked for a platform of the manifest; None where there are none.

    A lock may call a platform `p1` that the manifest calls `linux-cuda`: what counts is its subdir
    and the virtual packages beyond pixi's defaults (pixi_core/src/lock_file/platform_rename.rs).
    Locks before v7 know subdirs alone, and so may later ones; what they know counts for more.
    """
    same = [rows for rows in locked.platforms if _is_same(rows.platform, platform)]
    named = [rows for rows in same if rows.platform.name == platform.name]
    known = [rows for rows in same if rows.platform.virtual_packages is not None]
    return next(iter((*named, *known, *same)), None)


def _is_same(locked: LockPlatform, platform: ManifestPlatform) -> bool:
    if locked.subdir != platform.subdir or locked.virtual_packages is None:
        return locked.subdir == platform.subdir
    special = [each for each in locked.virtual_packages if not is_default(each, locked.subdir)]
    one, other = (
        # `__cuda=12` is `__cuda=12.0=0`.
        {(each.partition("=")[0], *version_key(each + "=0" * (each.count("=") < 2))) for each in of}
        for of in (special, platform.virtual_packages)
    )
    return one == other


def wanted_text(requirement: Requirement) -> str:
    """Write a requirement for people."""
    origin = requirement.location or requirement.channel
    return redact(f"{requirement.spec} from {origin}" if origin else requirement.spec)


def differs_aside(requirement: Requirement, package: LockedPackage, root: PurePath) -> bool:
    """Tell whether channel or location is another than is asked for.

    `subdir` and `file-name` count for nothing, as for pixi (tried with 0.77). It locks a path as
    an absolute one, and the workspace may be reached by more than one: what counts of a location
    is how it ends.
    """
    asked = channel_key(requirement.channel, root)
    if asked and asked != channel_key(package.channel, root):
        return True
    if requirement.location is None:
        return False
    wanted, actual = _segments(requirement.location), _segments(package.url)
    return actual[-len(wanted) :] != wanted


def renewing_command(requirement: Requirement) -> str:
    """Return what locks a package from where it is asked for.

    That one is locked from another channel is nothing to `pixi lock` (tried with 0.77).
    """
    return _RENEWS if requirement.channel is None else f"pixi update {requirement.name}"


def _segments(location: str) -> list[str]:
    path = os.path.normpath(unquote(without_secrets(location)).removeprefix("file://"))
    return [each for each in re.split(r"[/\\]", path) if each not in {"", "..", "~"}]


def are_same_channels(one: Iterable[str], other: Iterable[str], key: Callable[[str], str]) -> bool:
    """Tell whether these are the same channels in the same order; `key` is `channel_key`.

    One that is named in two ways, `conda-forge` and its URL, pixi locks twice.
    """
    first, second = (list(dict.fromkeys(map(key, of))) for of in (one, other))
    return first == second


def channel_key(channel: str | None, root: PurePath) -> str:
    """Reduce a channel to what tells it from others: no secrets, a path as file URL; or empty."""
    if not channel:
        return ""
    url = channel_base_url(channel)
    if is_path(url):
        url = Path(os.path.normpath(root / url)).as_uri()
    return plain_url(url)
