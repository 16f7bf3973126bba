"""Tell whether a lock still satisfies its manifest, and what of the lock is what of the manifest.

What pixi looks at first when it asks the same (pixi_core/src/lock_file/satisfiability): for the
machine without pixi, which can only use a lock or refuse it.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import unquote

from scripts.core.channel_url import channel_base_url
from scripts.core.console import Console
from scripts.core.errors import MirrorError, Problem, usage_problem
from scripts.core.rattler_child import call_rattler
from scripts.core.redact import redact, without_secrets
from scripts.core.report import Json, listed
from scripts.lock.location import is_path
from scripts.lock.model import (
    LockedEnvironment,
    LockedPackage,
    LockFile,
    LockPlatform,
    PlatformPackages,
)
from scripts.workspace.model import Environment, Manifest, ManifestPlatform, Requirement
from scripts.workspace.resolve import (
    environment_platforms,
    locked_channels,
    pypi_names,
    requirements,
)
from scripts.workspace.virtual_packages import is_default, version_key
from scripts.workspace.workspace import Workspace

# What is left to pixi.
_NOT_CHECKED: Final = (
    "whether the packages' own dependencies are met, and all are still needed",
    "channel-priority, solve-strategy, exclude-newer and constraints",
    "requirements from PyPI, from source, under a condition, with flags, or on virtual packages",
)
# What rattler's MatchSpec.matches compares, and what it leaves aside, as workspace/parse.py
# writes it.
_MATCHED: Final = (
    *("name", "version", "build", "build_number", "subdir", "sha256", "md5"),
    *("license", "license_family", "track_features", "flags"),
)
_ASIDE: Final = re.compile(r'\b(fn|subdir)="([^"]*)"')

# Environment and platform by name, a requirement, and the package locked under its name.
_Question = tuple[str, str, Requirement, LockedPackage | None]


def accept_committed_lock(workspace: Workspace, lock: LockFile, console: Console) -> Sequence[str]:
    """Say that the lock is used as it is, and refuse one that no longer fits the manifest.

    Returns what was not checked of that.
    """
    if problems := check_satisfiability(workspace, lock):
        raise MirrorError(*problems)
    console.note("mirror: using pixi.lock as it is; it fits the manifest")
    for each in _NOT_CHECKED:
        console.detail(f"mirror: not checked: {each}")
    return _NOT_CHECKED


def check_satisfiability(workspace: Workspace, lock: LockFile) -> tuple[Problem, ...]:
    """Return the findings (exit code 2).

    One finding for a requirement that fails alike on several platforms.
    """
    manifest, root = workspace.manifest, workspace.root
    problems: list[Problem] = []
    questions: list[_Question] = []
    locked = {each.name: each for each in lock.environments}
    for environment in manifest.environments:
        there = locked.pop(environment.name, None)
        if there is None:
            message = f"has no environment {environment.name}, and {manifest.file_name} has"
            problems.append(_finding(message))
            continue
        wanted = locked_channels(manifest, environment)
        keys = [[channel_key(each, root) for each in of] for of in (wanted, there.channels)]
        if keys[0] != keys[1]:
            message = "was solved with other channels, or in another order"
            expected, actual = (redact(", ".join(of)) or "none" for of in (wanted, there.channels))
            details = ("expected", expected), ("actual", actual)
            problems.append(_finding(f"environment {environment.name} {message}", *details))
        problems += _platform_problems(manifest, environment, there)
        questions += _questions(manifest, environment, there)
    problems += [
        _finding(f"has an environment {name}, and {manifest.file_name} has none") for name in locked
    ]
    return (*problems, *_unmet(questions, root))


def _finding(message: str, *details: tuple[str, str]) -> Problem:
    return usage_problem("pixi.lock", message, *details, help="pixi lock")


def _platform_problems(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment
) -> Iterator[Problem]:
    """Find platforms that one side alone has; one for which nothing is asked need not be there."""
    wanted = environment_platforms(manifest, environment)
    for platform in wanted:
        needed = requirements(manifest, environment, platform)
        asks = any(not each.is_conditional for each in needed)
        if matching_platform(platform, locked) is None and (
            asks or pypi_names(manifest, environment, platform)
        ):
            there = [each.platform.label for each in locked.platforms]
            yield _finding(
                f"environment {environment.name} has no platform {platform.label}, "
                f"and {manifest.file_name} has",
                ("it has", listed(there, where="") or "none"),
            )
    # Where the manifest wants a subdir at all, pixi leaves a lock with more as it is.
    subdirs = {platform.subdir for platform in wanted}
    for rows in locked.platforms:
        if rows.platform.subdir not in subdirs:
            yield _finding(
                f"environment {environment.name} has a platform {rows.platform.label}, "
                f"and {manifest.file_name} has none"
            )


def _questions(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment
) -> Iterator[_Question]:
    """Pair what is required with what is locked; of what pixi builds, there need be nothing."""
    for platform in environment_platforms(manifest, environment):
        rows = matching_platform(platform, locked)
        if rows is None:
            continue  # a finding already
        by_name = {package.name.lower(): package for package in rows.packages}
        built = {row.name.lower() for row in rows.unmirrorable}
        for each in requirements(manifest, environment, platform):
            package = by_name.get(each.name)
            is_open = each.is_source or each.is_conditional or each.name.startswith("__")
            if not is_open and (package is not None or each.name not in built):
                yield environment.name, platform.name, each, package


def _unmet(questions: Sequence[_Question], root: PurePath) -> Iterator[Problem]:
    """Ask rattler all at once, whether each package meets its requirement."""
    pairs: list[Json] = [
        {"spec": each.spec, "record": {key: getattr(package.record, key) for key in _MATCHED}}
        for *_, each, package in questions
        if package is not None
    ]
    reply: Any = call_rattler("matches", {"pairs": pairs}) if pairs else ()
    answers = iter(reply)
    failed: dict[tuple[str, str, str], list[str]] = {}
    for environment, platform, requirement, package in questions:
        actual = f"no {requirement.name}"
        if package is not None:
            # None: this rattler cannot tell.
            if next(answers) is not False and not differs_aside(requirement, package, root):
                continue
            record = package.record
            actual = f"{record.name} {record.version} {record.build} from {redact(package.url)}"
        key = (environment, wanted_text(requirement), actual)
        failed.setdefault(key, []).append(platform)
    for (environment, expected, actual), platforms in failed.items():
        yield _finding(
            f"environment {environment} does not meet a requirement any more",
            ("expected", expected),
            ("actual", actual),
            ("platforms", ", ".join(platforms)),
        )


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
    """Tell whether channel, location, file name or subdir is another than is asked for.

    pixi locks a path as an absolute one, and the workspace may be reached by more than one: what
    counts of a location is how it ends.
    """
    if requirement.channel is not None and (
        package.channel is None
        or channel_key(requirement.channel, root) != channel_key(package.channel, root)
    ):
        return True
    if requirement.location is not None:
        wanted, actual = _segments(requirement.location), _segments(package.url)
        if actual[-len(wanted) :] != wanted:
            return True
    aside = {"fn": str(package.file_name), "subdir": package.record.subdir}
    return any(aside[key] != value for key, value in _ASIDE.findall(requirement.spec))


def _segments(location: str) -> list[str]:
    path = os.path.normpath(unquote(without_secrets(location)).removeprefix("file://"))
    return [each for each in re.split(r"[/\\]", path) if each not in {"", "..", "~"}]


def channel_key(channel: str, root: PurePath) -> str:
    """Reduce a channel to what tells it from others: no secrets, a path as file URL."""
    url = channel_base_url(channel)
    if is_path(url):
        url = PurePath(os.path.normpath(root / url)).as_uri()
    return unquote(without_secrets(url)).rstrip("/")
