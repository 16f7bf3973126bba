"""Tell whether a lock still satisfies its manifest, and what of the lock is what of the manifest.

What pixi looks at first when it asks the same (pixi_core/src/lock_file/satisfiability): for the
machine without pixi, which can only use a lock or refuse it.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Final
from urllib.parse import unquote

from scripts.core.channel_url import channel_base_url
from scripts.core.errors import ExitCode, Problem
from scripts.core.rattler_child import call_rattler
from scripts.core.redact import redact, without_secrets
from scripts.core.report import Json
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

# What rattler's MatchSpec.matches compares, and what it leaves aside, as workspace/parse.py
# writes it.
_MATCHED: Final = (
    *("name", "version", "build", "build_number", "subdir", "sha256", "md5"),
    *("license", "license_family", "track_features", "flags"),
)
_ASIDE: Final = re.compile(r'\b(fn|subdir)="([^"]*)"')

# Environment and platform by name, a requirement, and the package locked under its name.
_Question = tuple[str, str, Requirement, LockedPackage | None]


def check_satisfiability(
    workspace: Workspace, lock: LockFile
) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Return the findings (exit code 2), and sentences on what was not checked.

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
        problems += _channel_problems(manifest, environment, there, root)
        problems += _platform_problems(manifest, environment, there)
        questions += _questions(manifest, environment, there)
    problems += [
        _finding(f"has an environment {name}, and {manifest.file_name} has none") for name in locked
    ]
    failed: dict[tuple[str, str, str], list[str]] = {}
    unclear = set()
    for (environment_name, platform, requirement, package), answer in zip(
        questions, _answers(questions), strict=True
    ):
        if package is None or answer is False or differs_aside(requirement, package, root):
            actual = f"no {requirement.name}"
            if package is not None:
                record = package.record
                actual = f"{record.name} {record.version} {record.build} from {redact(package.url)}"
            key = (environment_name, wanted_text(requirement), actual)
            failed.setdefault(key, []).append(platform)
        if package is not None and answer is None:
            unclear.add(requirement)
    problems += [
        _finding(
            f"environment {name} does not meet a requirement any more",
            ("expected", expected),
            ("actual", actual),
            ("platforms", ", ".join(platforms)),
        )
        for (name, expected, actual), platforms in failed.items()
    ]
    return tuple(problems), tuple(f"not checked: {each}" for each in _unchecked(manifest, unclear))


def _finding(message: str, *details: tuple[str, str]) -> Problem:
    return Problem(
        subject="pixi.lock", message=message, code=ExitCode.USAGE, details=details, help="pixi lock"
    )


def _channel_problems(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment, root: PurePath
) -> Iterator[Problem]:
    wanted = locked_channels(manifest, environment)
    keys = ([channel_key(each, root) for each in urls] for urls in (wanted, locked.channels))
    if next(keys) != next(keys):
        yield _finding(
            f"environment {environment.name} was solved with other channels, or in another order",
            ("expected", redact(", ".join(wanted)) or "none"),
            ("actual", redact(", ".join(locked.channels)) or "none"),
        )


def _platform_problems(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment
) -> Iterator[Problem]:
    """Find platforms that one side alone has; one for which nothing is asked need not be there."""
    wanted = environment_platforms(manifest, environment)
    names = [
        each.platform.name
        if each.platform.name == each.platform.subdir
        else f"{each.platform.name} ({each.platform.subdir})"
        for each in locked.platforms
    ]
    for platform in wanted:
        needed = requirements(manifest, environment, platform)
        asks = any(not each.is_conditional for each in needed)
        if matching_platform(platform, locked) is None and (
            asks or pypi_names(manifest, environment, platform)
        ):
            name = "" if platform.name == platform.subdir else f"{platform.name}: "
            packages = ", ".join(platform.virtual_packages)
            shown = f"{name}{platform.subdir}{f' with {packages}' if packages else ''}"
            yield _finding(
                f"environment {environment.name} has no platform {shown}, "
                f"and {manifest.file_name} has",
                ("it has", ", ".join(names) or "none"),
            )
    # Where the manifest wants a subdir at all, pixi leaves a lock with more as it is.
    subdirs = {platform.subdir for platform in wanted}
    for rows, name in zip(locked.platforms, names, strict=True):
        if rows.platform.subdir not in subdirs:
            yield _finding(
                f"environment {environment.name} has a platform {name}, "
                f"and {manifest.file_name} has none"
            )


def _questions(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment
) -> Iterator[_Question]:
    for platform in environment_platforms(manifest, environment):
        rows = matching_platform(platform, locked)
        if rows is None:
            continue  # a finding already
        by_name = {package.name.lower(): package for package in rows.packages}
        built = {row.name.lower() for row in rows.unmirrorable}
        for requirement in filter(_is_checked, requirements(manifest, environment, platform)):
            package = by_name.get(requirement.name)
            if package is not None or requirement.name not in built:
                yield environment.name, platform.name, requirement, package


def _is_checked(requirement: Requirement) -> bool:
    """Tell whether a locked package must meet it.

    Not so for what pixi builds, what holds under a condition, and virtual packages.
    """
    return not (
        requirement.is_source or requirement.is_conditional or requirement.name.startswith("__")
    )


def _answers(questions: Sequence[_Question]) -> Iterator[bool | None]:
    """Ask rattler all at once, whether each package meets its requirement; None: no answer."""
    packages = [package for *_, package in questions]
    pairs: list[Json] = [
        {"spec": requirement.spec, "record": match_record(package)}
        for *_, requirement, package in questions
        if package is not None
    ]
    result = call_rattler("matches", {"pairs": pairs}) if pairs else []
    assert isinstance(result, list)
    replies = iter(result)
    return (None if package is None else next(replies) for package in packages)


def _unchecked(manifest: Manifest, unclear: Iterable[Requirement]) -> Iterator[str]:
    """Name what is left to pixi, as far as this workspace has it."""
    yield "whether the packages' own dependencies are met, and all are still needed"
    yield "channel-priority, solve-strategy, exclude-newer and constraints"
    every = [
        (environment, platform)
        for environment in manifest.environments
        for platform in environment_platforms(manifest, environment)
    ]
    needed = {one for pair in every for one in requirements(manifest, *pair)}
    if any(pypi_names(manifest, *pair) for pair in every):
        yield "requirements from PyPI"
    if any(one.is_source for one in needed):
        yield "packages built from source"
    left = {one for one in needed if not _is_checked(one) and not one.is_source}
    yield from sorted({f"the requirement {wanted_text(one)}" for one in (*unclear, *left)})


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


def match_record(package: LockedPackage) -> dict[str, Json]:
    """Make a record of the fields that rattler's MatchSpec.matches compares."""
    return {key: getattr(package.record, key) for key in _MATCHED}


def differs_aside(requirement: Requirement, package: LockedPackage, root: PurePath) -> bool:
    """Tell whether channel, location, file name or subdir is another than is asked for."""
    if requirement.channel is not None and (
        package.channel is None
        or channel_key(requirement.channel, root) != channel_key(package.channel, root)
    ):
        return True
    if requirement.location is not None and not _is_there(requirement.location, package.url):
        return True
    actual = {"fn": str(package.file_name), "subdir": package.record.subdir}
    return any(actual[key] != value for key, value in _ASIDE.findall(requirement.spec))


def _is_there(wanted: str, actual: str) -> bool:
    """Tell whether the lock's location is that of a manifest.

    pixi locks a path as an absolute one, and the workspace may be reached by more than one: what
    counts is how it ends.
    """
    one, other = _local(wanted), _local(actual)
    if one is None or other is None:
        return without_secrets(unquote(wanted)) == without_secrets(unquote(actual))
    parts = [each for each in _parts(one) if each not in {"..", "~"}]
    return _parts(other)[-len(parts) :] == parts


def _local(location: str) -> str | None:
    """Return the path that a location is, or that a `file://` URL holds; else None."""
    if is_path(location):
        return location
    scheme, _, rest = location.partition("://")
    return unquote(rest) if scheme.lower() == "file" else None


def _parts(path: str) -> list[str]:
    return [each for each in re.split(r"[/\\]", os.path.normpath(path)) if each]


def channel_key(channel: str, root: PurePath) -> str:
    """Reduce a channel to what tells it from others: no secrets, a path as file URL."""
    url = channel_base_url(channel)
    if is_path(url):
        url = PurePath(os.path.normpath(root / url)).as_uri()
    return unquote(without_secrets(url)).rstrip("/")
