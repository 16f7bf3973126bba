"""Tell whether a lock still fits its manifest.

What pixi looks at first when it asks the same (pixi_core/src/lock_file/satisfiability): for the
machine without pixi, which can only use a lock or refuse it. `examine` compares environments,
platforms and channels, and prepares what rattler must answer; `conclude` takes the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from scripts.core.errors import ExitCode, Problem
from scripts.core.redact import redact
from scripts.lock.model import LockedEnvironment, LockedPackage, LockFile, PlatformPackages
from scripts.lock.satisfiability_platforms import is_covered, matching_platform
from scripts.lock.satisfiability_requirement import (
    channel_key,
    differs_aside,
    is_checked,
    wanted_text,
)
from scripts.workspace.model import Environment, Manifest, ManifestPlatform, Requirement
from scripts.workspace.resolve import (
    environment_platforms,
    locked_channels,
    pypi_names,
    requirements,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Does `package` meet `requirement`? None for `package`: nothing of that name is locked."""

    environment: str
    platform: str
    requirement: Requirement
    package: LockedPackage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What is known before rattler is asked."""

    problems: tuple[Problem, ...]
    questions: tuple[Question, ...]


def examine(manifest: Manifest, lock: LockFile, root: PurePath) -> Examination:
    """Compare all but the requirements; `root` is the workspace's folder (for channels in it)."""
    problems: list[Problem] = []
    questions: list[Question] = []
    locked = {each.name: each for each in lock.environments}
    known = {each.name for each in manifest.environments}
    for environment in manifest.environments:
        there = locked.get(environment.name)
        if there is None:
            problems.append(
                _misfit(f"has no environment {environment.name}, and {manifest.file_name} has")
            )
            continue
        problems += _channel_problems(manifest, environment, there, root)
        problems += _platform_problems(manifest, environment, there)
        questions += _questions(manifest, environment, there)
    problems += [
        _misfit(f"has an environment {name}, and {manifest.file_name} has none")
        for name in locked
        if name not in known
    ]
    return Examination(problems=tuple(problems), questions=tuple(questions))


def conclude(
    examination: Examination, answers: Sequence[bool | None], root: PurePath
) -> tuple[Problem, ...]:
    """Return all findings; `answers` stand for the questions in order, None for no answer.

    One finding for a requirement that fails alike on several platforms.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for question, answer in zip(examination.questions, answers, strict=True):
        package = question.package
        if package is None or answer is False or differs_aside(question.requirement, package, root):
            key = (question.environment, wanted_text(question.requirement), _actual(question))
            found.setdefault(key, []).append(question.platform)
    return examination.problems + tuple(
        _misfit(
            f"environment {environment} does not meet a requirement any more",
            ("expected", expected),
            ("actual", actual),
            ("platforms", ", ".join(platforms)),
        )
        for (environment, expected, actual), platforms in found.items()
    )


def not_checked(
    manifest: Manifest, examination: Examination, answers: Sequence[bool | None]
) -> tuple[str, ...]:
    """Name what `examine` and `conclude` leave to pixi, as far as this workspace has it."""
    sentences = [
        "whether the packages' own dependencies are met, and all are still needed",
        "channel-priority, solve-strategy, exclude-newer and constraints",
    ]
    every = [
        (environment, platform)
        for environment in manifest.environments
        for platform in environment_platforms(manifest, environment)
    ]
    needed = {one for pair in every for one in requirements(manifest, *pair)}
    if any(pypi_names(manifest, *pair) for pair in every):
        sentences.append("requirements from PyPI")
    if any(one.is_source for one in needed):
        sentences.append("packages built from source")
    unclear = {
        wanted_text(question.requirement)
        for question, answer in zip(examination.questions, answers, strict=True)
        if answer is None and question.package is not None
    }
    unclear |= {wanted_text(one) for one in needed if not is_checked(one) and not one.is_source}
    sentences += [f"the requirement {each}" for each in sorted(unclear)]
    return tuple(f"not checked: {each}" for each in sentences)


def _channel_problems(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment, root: PurePath
) -> list[Problem]:
    wanted = locked_channels(manifest, environment)
    if [channel_key(each, root) for each in wanted] == [
        channel_key(each, root) for each in locked.channels
    ]:
        return []
    return [
        _misfit(
            f"environment {environment.name} was solved with other channels, or in another order",
            ("expected", redact(", ".join(wanted)) or "none"),
            ("actual", redact(", ".join(locked.channels)) or "none"),
        )
    ]


def _platform_problems(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment
) -> list[Problem]:
    """Find platforms that one side alone has; one for which nothing is asked need not be there."""
    wanted = environment_platforms(manifest, environment)
    problems = [
        _misfit(
            f"environment {environment.name} has no platform {_described(platform)}, "
            f"and {manifest.file_name} has",
            ("it has", ", ".join(_locked_name(rows) for rows in locked.platforms) or "none"),
        )
        for platform in wanted
        if matching_platform(platform, locked) is None and _asks(manifest, environment, platform)
    ]
    return problems + [
        _misfit(
            f"environment {environment.name} has a platform {_locked_name(rows)}, "
            f"and {manifest.file_name} has none"
        )
        for rows in locked.platforms
        if not is_covered(rows, wanted)
    ]


def _questions(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment
) -> list[Question]:
    questions = []
    for platform in environment_platforms(manifest, environment):
        rows = matching_platform(platform, locked)
        if rows is None:
            continue  # a finding already
        by_name = {package.name.lower(): package for package in rows.packages}
        built = {row.name.lower() for row in rows.unmirrorable}
        for requirement in requirements(manifest, environment, platform):
            package = by_name.get(requirement.name)
            if not is_checked(requirement) or (package is None and requirement.name in built):
                continue
            questions.append(
                Question(
                    environment=environment.name,
                    platform=platform.name,
                    requirement=requirement,
                    package=package,
                )
            )
    return questions


def _asks(manifest: Manifest, environment: Environment, platform: ManifestPlatform) -> bool:
    needed = requirements(manifest, environment, platform)
    return any(not one.is_conditional for one in needed) or bool(
        pypi_names(manifest, environment, platform)
    )


def _described(platform: ManifestPlatform) -> str:
    packages = f" with {', '.join(platform.virtual_packages)}" if platform.virtual_packages else ""
    name = "" if platform.name == platform.subdir else f"{platform.name}: "
    return f"{name}{platform.subdir}{packages}"


def _locked_name(rows: PlatformPackages) -> str:
    platform = rows.platform
    if platform.name == platform.subdir:
        return platform.name
    return f"{platform.name} ({platform.subdir})"


def _actual(question: Question) -> str:
    package = question.package
    if package is None:
        return f"no {question.requirement.name}"
    return (
        f"{package.name} {package.record.version} {package.record.build} from {redact(package.url)}"
    )


def _misfit(trouble: str, *facts: tuple[str, str]) -> Problem:
    return Problem(
        subject="pixi.lock", trouble=trouble, code=ExitCode.USAGE, facts=facts, help="pixi lock"
    )
