"""Choose what of the lock is mirrored, where each artifact goes, and what is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from scripts.core.artifact import Artifact, conda_artifact
from scripts.core.channel_url import names_folder
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.layout import FLAT_CHANNEL, Layout, folder_of_channel
from scripts.core.record import Record
from scripts.core.redact import redact, without_secrets
from scripts.core.report import Json, listed
from scripts.lock.location import url_subdir
from scripts.lock.model import (
    LockedEnvironment,
    LockedPackage,
    LockFile,
    PlatformPackages,
    Unmirrorable,
)
from scripts.workspace.settings import TABLE, Settings

_MOVED_SHOWN: Final = 5  # artifacts that the line about moved ones names
_UNDECLARED_SHOWN: Final = 3  # packages of one channel that a line names


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is mirrored: environments (with only the platforms chosen), artifacts, channels.

    `channels` are the folders that must be conda channels even when no artifact is in them.
    `excluded` are the environments of the lock that are left out, by name. `lock_version` tells
    how much the rows can say: those before v6 leave things open.
    """

    layout: Layout
    environments: tuple[LockedEnvironment, ...]
    artifacts: tuple[Artifact, ...]
    channels: tuple[PurePosixPath, ...]
    excluded: tuple[str, ...]
    lock_version: int = 7


def path_of(layout: Layout, package: LockedPackage) -> PurePosixPath:
    """Return an artifact's path, relative to the channel folder.

    By channel it is the URL's own path below its channel, since that is what a client with an
    unchanged lock asks for: a channel may keep a noarch package in `linux-64/`. A flat mirror
    holds what several channels have under one name in one place, and goes by the record.
    """
    file_name = str(package.file_name)
    return _path(layout, package.channel, package.url, package.record.subdir, file_name)


def path_in(layout: Layout, artifact: Artifact) -> PurePosixPath:
    """Return the path that an artifact has in this layout, relative to the channel folder."""
    subdir = artifact.conda_record.subdir
    return _path(layout, artifact.upstream, artifact.urls[0], subdir, artifact.path.name)


def _path(
    layout: Layout, channel: str | None, url: str, subdir: str, file_name: str
) -> PurePosixPath:
    if layout is Layout.BY_CHANNEL:
        subdir = url_subdir(url) or subdir
    return folder_of_channel(layout, channel) / subdir / file_name


def select(lock: LockFile, settings: Settings) -> Selection:
    """Apply the settings to a lock.

    Raises an error of exit code 2 for an environment or platform that the lock does not have,
    for one place wanted by two artifacts, and, in a flat mirror, for one package name from two
    channels.
    """
    environments = choose_environments(lock, settings)
    chosen = {environment.name for environment in environments}
    artifacts = _artifacts(environments, settings.layout)
    channels = {artifact.channel for artifact in artifacts}
    if settings.layout is Layout.FLAT:
        _refuse_shared_names(artifacts)
        channels = {FLAT_CHANNEL}
    for environment in environments:
        channels |= {folder_of_channel(settings.layout, each) for each in environment.channels}
    return Selection(
        layout=settings.layout,
        environments=environments,
        artifacts=artifacts,
        channels=tuple(sorted(channels)),
        excluded=tuple(each.name for each in lock.environments if each.name not in chosen),
        lock_version=lock.version,
    )


def choose_environments(lock: LockFile, settings: Settings) -> tuple[LockedEnvironment, ...]:
    """Return the environments that are mirrored, each with the platforms that are.

    Raises the error of exit code 2 for one that the lock does not have.
    """
    mirrored = [each for each in lock.environments if settings.is_mirrored(each.name)]
    platforms = [rows.platform for each in mirrored for rows in each.platforms]
    _check_names("environment", settings.environments, {each.name for each in lock.environments})
    names = {name for each in platforms for name in (each.name, each.subdir)}
    _check_names("platform", settings.platforms, names)
    return tuple(
        dataclasses.replace(
            environment,
            platforms=tuple(
                rows
                for rows in environment.platforms
                if settings.is_for(rows.platform.name, rows.platform.subdir)
            ),
        )
        for environment in mirrored
    )


def _check_names(kind: str, wanted: Iterable[str] | None, known: Iterable[str]) -> None:
    from difflib import get_close_matches

    names = sorted(known)
    for name in wanted or ():
        if name not in names:
            raise usage_error(
                "pixi.lock",
                f"has no {kind} {name!r}",
                *(("nearest", near) for near in get_close_matches(name, names, n=1)),
                ("it has", ", ".join(names) or "none"),
                help=f"correct `{kind}s` under [{TABLE}] or the option --{kind}s, "
                "or run `pixi lock`",
            )


def _artifacts(environments: tuple[LockedEnvironment, ...], layout: Layout) -> tuple[Artifact, ...]:
    """Gather each artifact once, sorted by path; refuse one path for two different ones."""
    found: dict[PurePosixPath, Artifact] = {}
    problems: dict[PurePosixPath, Problem] = {}
    every = (
        package
        for environment in environments
        for rows in environment.platforms
        for package in (*rows.packages, *rows.build_packages)
    )
    # The reader shares rows between environments.
    for package in {id(package): package for package in every}.values():
        path = path_of(layout, package)
        if layout is Layout.BY_CHANNEL and package.channel and not names_folder(package.channel):
            problems[path] = Problem(
                subject=redact(package.url),
                message="no folder can be named for the channel that this is from",
                code=ExitCode.USAGE,
                details=(("channel", redact(package.channel)),),
                help=f'set layout = "flat" under [{TABLE}], or another channel',
            )
        there = found.get(path)
        if there is None:
            found[path] = conda_artifact(path, package.record, package.channel, (package.url,))
        elif are_other_bytes(there.conda_record, package.record):
            problems[path] = _two_artifacts(there, package)
        else:  # what another row of the same artifact knows besides
            known = there.conda_record
            missing = {
                key: getattr(package.record, key)
                for key in ("sha256", "md5", "size")
                if getattr(known, key) is None
            }
            record = dataclasses.replace(known, **missing)
            urls = tuple(dict.fromkeys((*there.urls, package.url)))
            found[path] = conda_artifact(path, record, there.upstream, urls)
    if problems:
        raise MirrorError(*problems.values())
    return tuple(found[path] for path in sorted(found, key=str))


def are_other_bytes(one: Record, other: Record) -> bool:
    """Tell whether two rows cannot be of the same bytes: by digests and size, where both know."""
    pairs = ((one.sha256, other.sha256), (one.md5, other.md5), (one.size, other.size))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _two_artifacts(there: Artifact, package: LockedPackage) -> Problem:
    rows = (("one", there.conda_record, there.urls[0]), ("other", package.record, package.url))
    return Problem(
        subject=str(there.path),
        message="the lock names two different artifacts for this place",
        code=ExitCode.USAGE,
        details=tuple(
            (label, f"{each.sha256 or each.md5 or each.size} from {redact(url)}")
            for label, each, url in rows
        ),
        help=f'set layout = "by-channel" under [{TABLE}], or mirror them in two workspaces',
    )


def _refuse_shared_names(artifacts: tuple[Artifact, ...]) -> None:
    """Refuse one package name from two channels: a solver could then take the wrong one."""
    channels: dict[str, dict[PurePosixPath, str]] = {}
    for artifact in artifacts:
        channel = folder_of_channel(Layout.BY_CHANNEL, artifact.upstream)
        channels.setdefault(artifact.name, {}).setdefault(channel, redact(artifact.urls[0]))
    problems = [
        Problem(
            subject=name,
            message="comes from two channels, which a flat mirror cannot keep apart",
            code=ExitCode.USAGE,
            details=tuple((str(channel), url) for channel, url in urls.items()),
            help=f'set layout = "by-channel" under [{TABLE}]',
        )
        for name, urls in sorted(channels.items())
        if len(urls) > 1
    ]
    if problems:
        raise MirrorError(*problems)


def undeclared_packages(
    environment: LockedEnvironment, rows: PlatformPackages
) -> tuple[LockedPackage, ...]:
    """Return the packages whose location is under none of the environment's channels.

    So wrote an older pixi behind a mirror of another path; and one that the manifest asks for by
    its location has no channel at all.
    """
    declared = {folder_of_channel(Layout.BY_CHANNEL, url) for url in environment.channels}
    return tuple(
        each
        for each in rows.packages
        if folder_of_channel(Layout.BY_CHANNEL, each.channel) not in declared
    )


def every_channel(environment: LockedEnvironment) -> tuple[str, ...]:
    """Return its channels, then those of packages that are from none of them."""
    undeclared = (
        each.channel
        for rows in environment.platforms
        for each in undeclared_packages(environment, rows)
        if each.channel is not None
    )
    return tuple(dict.fromkeys((*environment.channels, *undeclared)))


def undeclared_lines(environments: Iterable[LockedEnvironment]) -> Iterator[str]:
    """Name what is from a channel that no environment with it declares, a line for each channel."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    for environment in environments:
        for rows in environment.platforms:
            for each in undeclared_packages(environment, rows):
                if each.channel is not None:
                    key = (without_secrets(each.channel), environment.channels)
                    found.setdefault(key, {})[each.url] = f"{each.name} ({redact(each.url)})"
    for (channel, declared), packages in found.items():
        yield (
            f"from {channel}, which is no declared channel: "
            f"{listed(tuple(packages.values()), _UNDECLARED_SHOWN)}; "
            f"declared: {redact(', '.join(declared)) or 'none'}"
        )


def left_out_lines(selection: Selection) -> tuple[str, ...]:
    """List excluded environments, empty ones, and rows that no artifact can stand for."""
    lines = []
    if selection.excluded:
        lines.append(f"left out: {', '.join(selection.excluded)} (environments not mirrored)")
    lines += [f"left out: {name}: it has no packages to mirror" for name in _empty(selection)]
    lines += [
        f"left out: {row.name} ({redact(row.location)}): {row.reason}; in {', '.join(where)}"
        for row, where in unmirrorable(selection).items()
    ]
    # Once, which URLs of the lock a `[mirrors]` rule cannot lead here, and why; locations that no
    # such rule is for are left to the levels and `doctor`.
    moved = tuple(
        f"{artifact.path} (the lock: {subdir})"
        for artifact in selection.artifacts
        for subdir in [url_subdir(artifact.urls[0])]
        if subdir not in {None, artifact.path.parent.name}
    )
    if moved:
        lines.append(
            f"an unchanged pixi.lock will not find here {listed(moved, _MOVED_SHOWN)}: a flat"
            f" mirror goes by the record's subdir, and `[mirrors]` replaces but the beginning of"
            f' a URL; layout = "by-channel" keeps the URL\'s own path'
        )
    return tuple(lines)


def left_out_json(selection: Selection) -> Json:
    """Give the same as data."""
    return {
        "environments": list(selection.excluded),
        "empty-environments": list(_empty(selection)),
        "packages": [
            {
                "name": row.name,
                "kind": row.kind.value,
                "location": redact(row.location),
                "reason": row.reason,
                "in": where,
            }
            for row, where in unmirrorable(selection).items()
        ],
    }


def unmirrorable(selection: Selection) -> dict[Unmirrorable, list[str]]:
    """Return each row that is left out, with the `environment/platform`s that want it."""
    rows: dict[Unmirrorable, list[str]] = {}
    for environment in selection.environments:
        for platform in environment.platforms:
            for row in platform.unmirrorable:
                rows.setdefault(row, []).append(f"{environment.name}/{platform.platform.name}")
    return rows


def _empty(selection: Selection) -> Iterator[str]:
    for environment in selection.environments:
        if not any(rows.packages or rows.unmirrorable for rows in environment.platforms):
            yield environment.name
