"""Choose what of the lock is mirrored, where each artifact goes, and what is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, Final

from scripts.core.artifact import Artifact, conda_artifact
from scripts.core.channel_paths import FLAT_CHANNEL, Layout, folder_of_channel
from scripts.core.channel_url import names_folder
from scripts.core.errors import MirrorError, Problem, usage_error, usage_problem
from scripts.core.record import Record
from scripts.core.redact import redact, without_secrets
from scripts.core.report import Line, listed, named
from scripts.lock.location import url_subdir
from scripts.lock.model import (
    LockedEnvironment,
    LockedPackage,
    LockFile,
    PlatformPackages,
    Unmirrorable,
    fill,
)
from scripts.workspace.settings import TABLE, Settings

_BY_CHANNEL: Final = f'set layout = "by-channel" under [{TABLE}]'


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


def path_of(layout: Layout, package: LockedPackage | Artifact) -> PurePosixPath:
    """Return an artifact's path in this layout, relative to the channel folder.

    By channel it is the URL's own path below its channel, since that is what a client with an
    unchanged lock asks for: a channel may keep a noarch package in `linux-64/`. A flat mirror
    holds what several channels have under one name in one place, and goes by the record.
    """
    if isinstance(package, Artifact):
        channel, url, record = package.upstream, package.urls[0], package.conda_record
        file_name = package.path.name
    else:
        channel, url, record = package.channel, package.url, package.record
        file_name = str(package.file_name)
    shown = url_subdir(url) if layout is Layout.BY_CHANNEL else None
    return folder_of_channel(layout, channel) / (shown or record.subdir) / file_name


def select(lock: LockFile, settings: Settings) -> Selection:
    """Apply the settings to a lock.

    Raises an error of exit code 2 for an environment or platform that the lock does not have,
    for one place wanted by two artifacts, and, in a flat mirror, for one package name from two
    channels.
    """
    environments = choose_environments(lock, settings)
    chosen = {environment.name for environment in environments}
    artifacts = _artifacts(environments, settings.layout)
    channels = {folder.parent for folder in {artifact.path.parent for artifact in artifacts}}
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


def _check_names(kind: str, wanted: Iterable[str] | None, known: Collection[str]) -> None:
    for name in wanted or ():
        if name not in known:
            advice = (
                f"correct `{kind}s` under [{TABLE}] or the option --{kind}s, or run `pixi lock`"
            )
            raise unknown_name("pixi.lock", kind, name, known, advice)


def unknown_name(
    where: str, kind: str, name: str, known: Iterable[str], help: str | None = None
) -> MirrorError:
    """Make the error for an environment or a platform that is not there."""
    near = get_close_matches(name, names := sorted(known), n=1)
    details = [*(("nearest", each) for each in near), ("it has", listed(names, where="") or "none")]
    return usage_error(where, f"has no {kind} {name!r}", *details, help=help)


def _artifacts(environments: tuple[LockedEnvironment, ...], layout: Layout) -> tuple[Artifact, ...]:
    """Gather each artifact once, sorted by path; refuse one path for two different ones."""
    found: dict[PurePosixPath, Artifact] = {}
    problems: dict[PurePosixPath, Problem] = {}
    every = (
        package
        for environment in environments
        for rows in environment.platforms
        for package in rows.all_packages
    )
    # The reader shares rows between environments.
    for package in {id(package): package for package in every}.values():
        path, record = path_of(layout, package), package.record
        if layout is Layout.BY_CHANNEL and package.channel and not names_folder(package.channel):
            problems[path] = usage_problem(
                redact(package.url),
                "no folder can be named for the channel that this is from",
                ("channel", redact(package.channel)),
                help=f'set layout = "flat" under [{TABLE}], or another channel',
            )
        there = found.get(path)
        if there is None:
            found[path] = conda_artifact(path, record, package.channel, (package.url,))
        elif are_other_bytes(there.conda_record, record):
            rows = (("one", there.conda_record, there.urls[0]), ("other", record, package.url))
            problems[path] = usage_problem(
                str(path),
                "the lock names two different artifacts for this place",
                *(
                    (label, f"{each.sha256 or each.md5 or each.size} from {redact(url)}")
                    for label, each, url in rows
                ),
                help=f"{_BY_CHANNEL}, or mirror them in two workspaces",
            )
        else:
            record = fill(there.conda_record, record, ("sha256", "md5", "size"))
            urls = tuple(dict.fromkeys((*there.urls, package.url)))
            found[path] = conda_artifact(path, record, there.upstream, urls)
    if problems:
        raise MirrorError(*problems.values())
    return tuple(found[path] for path in sorted(found, key=str))


def are_other_bytes(one: Record, other: Record) -> bool:
    """Tell whether two rows cannot be of the same bytes: by digests and size, where both know."""
    pairs = ((one.sha256, other.sha256), (one.md5, other.md5), (one.size, other.size))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _refuse_shared_names(artifacts: tuple[Artifact, ...]) -> None:
    """Refuse one package name from two channels: a solver could then take the wrong one."""
    channels: dict[str, dict[str, str]] = {}
    for artifact in artifacts:
        channel = str(folder_of_channel(Layout.BY_CHANNEL, artifact.upstream))
        channels.setdefault(artifact.name, {}).setdefault(channel, artifact.urls[0])
    message = "comes from two channels, which a flat mirror cannot keep apart"
    problems = [
        usage_problem(
            name, message, *((x, redact(url)) for x, url in urls.items()), help=_BY_CHANNEL
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


def undeclared_lines(environments: Iterable[LockedEnvironment]) -> Iterator[Line]:
    """Name what is from a channel that no environment with it declares, channel by channel."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    for environment in environments:
        for rows in environment.platforms:
            for each in undeclared_packages(environment, rows):
                if each.channel is not None:
                    key = (without_secrets(each.channel), environment.channels)
                    found.setdefault(key, {})[each.url] = f"{each.name} ({redact(each.url)})"
    for (channel, declared), packages in found.items():
        yield named(
            f"from {channel}, which is no declared channel:",
            "artifact",
            tuple(packages.values()),
            f"; declared: {redact(', '.join(declared)) or 'none'}",
        )


def left_out_json(selection: Selection) -> dict[str, Any]:
    """List excluded environments, empty ones, and rows that no artifact can stand for."""
    return {
        "environments": list(selection.excluded),
        "empty-environments": [
            each.name
            for each in selection.environments
            if not any(rows.packages or rows.unmirrorable for rows in each.platforms)
        ],
        "packages": [
            {
                "name": row.name,
                "kind": row.kind.value,
                "location": redact(row.location),
                "reason": row.reason,
                "in": where,
            }
            for row, where in unmirrorable(selection.environments).items()
        ],
    }


def left_out_lines(selection: Selection) -> tuple[Line, ...]:
    """Say the same to people; and which URLs of the lock a `[mirrors]` rule cannot lead here."""
    left = left_out_json(selection)
    lines: list[Line] = []
    if names := left["environments"]:
        lines.append(named("left out:", "environment", names, " (environments not mirrored)"))
    lines.append(
        tuple(f"left out: {x}: it has no packages to mirror" for x in left["empty-environments"])
    )
    lines.append(
        tuple(
            f"left out: {row['name']} ({row['location']}): {row['reason']}; in {listed(row['in'])}"
            for row in left["packages"]
        )
    )
    # Locations that no such rule is for are left to the levels and `doctor`.
    moved = tuple(
        f"{artifact.path} (the lock: {subdir})"
        for artifact in selection.artifacts
        for subdir in [url_subdir(artifact.urls[0])]
        if subdir not in {None, artifact.path.parent.name}
    )
    if moved:
        why = (
            ": a flat mirror goes by the record's subdir, and `[mirrors]` replaces but the"
            ' beginning of a URL; layout = "by-channel" keeps the URL\'s own path'
        )
        found_not = "an unchanged pixi.lock will not find here"
        lines.append(named(found_not, "artifact", moved, why))
    return tuple(line for line in lines if line)


def unmirrorable(environments: Iterable[LockedEnvironment]) -> dict[Unmirrorable, list[str]]:
    """Return each row that is left out, with the `environment/platform`s that want it."""
    rows: dict[Unmirrorable, list[str]] = {}
    for environment in environments:
        for platform in environment.platforms:
            for row in platform.unmirrorable:
                rows.setdefault(row, []).append(f"{environment.name}/{platform.platform.name}")
    return rows
