"""Choose what of the lock is mirrored, and where each artifact goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from scripts.core.artifact import Artifact, conda_artifact
from scripts.core.channel_url import names_folder
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.layout import FLAT_CHANNEL, Layout, folder_of_channel
from scripts.core.record import Record
from scripts.core.redact import redact
from scripts.lock.location import url_subdir
from scripts.lock.model import LockedEnvironment, LockedPackage, LockFile
from scripts.workspace.settings import TABLE, Settings


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
    if settings.layout is Layout.FLAT:
        _refuse_shared_names(artifacts)
        channels: Iterable[PurePosixPath] = (FLAT_CHANNEL,)
    else:
        channels = {
            folder_of_channel(settings.layout, channel)
            for environment in environments
            for channel in environment.channels
        } | {artifact.channel for artifact in artifacts}
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
    by_name = {environment.name: environment for environment in lock.environments}
    for name in settings.environments or ():
        if name not in by_name:
            raise _unknown("environment", name, by_name)
    wanted = [
        environment
        for environment in lock.environments
        if (settings.environments is None or environment.name in settings.environments)
        and environment.name not in settings.exclude_environments
    ]
    if settings.platforms is None:
        return tuple(wanted)
    known = {
        name
        for environment in lock.environments
        for rows in environment.platforms
        for name in (rows.platform.name, rows.platform.subdir)
    }
    for name in settings.platforms:
        if name not in known:
            raise _unknown("platform", name, known)
    platforms = set(settings.platforms)
    return tuple(
        dataclasses.replace(
            environment,
            platforms=tuple(
                rows
                for rows in environment.platforms
                if platforms & {rows.platform.name, rows.platform.subdir}
            ),
        )
        for environment in wanted
    )


def _artifacts(environments: tuple[LockedEnvironment, ...], layout: Layout) -> tuple[Artifact, ...]:
    """Gather each artifact once, sorted by path; refuse one path for two different ones."""
    found: dict[PurePosixPath, Artifact] = {}
    seen: set[int] = set()
    problems: dict[PurePosixPath, Problem] = {}
    for package in _packages(environments):
        if id(package) in seen:  # the reader shares rows between environments
            continue
        seen.add(id(package))
        path = path_of(layout, package)
        if layout is Layout.BY_CHANNEL and package.channel and not names_folder(package.channel):
            problems[path] = _no_folder(package)
        there = found.get(path)
        if there is None:
            found[path] = conda_artifact(path, package.record, package.channel, (package.url,))
        elif _differ(there.conda_record, package.record):
            problems[path] = _two_artifacts(there, package)
        else:
            found[path] = _joined(there, package)
    if problems:
        raise MirrorError(*problems.values())
    return tuple(found[path] for path in sorted(found, key=str))


def _packages(environments: tuple[LockedEnvironment, ...]) -> Iterator[LockedPackage]:
    for environment in environments:
        for rows in environment.platforms:
            yield from rows.packages
            yield from rows.build_packages


def _differ(one: Record, other: Record) -> bool:
    """Tell whether two rows of one place cannot be the same bytes."""
    pairs = ((one.sha256, other.sha256), (one.md5, other.md5), (one.size, other.size))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _joined(there: Artifact, package: LockedPackage) -> Artifact:
    """Take what another row of the same artifact knows besides: digests, size, a location."""
    known = there.conda_record
    missing = {
        key: getattr(package.record, key)
        for key in ("sha256", "md5", "size")
        if getattr(known, key) is None
    }
    urls = there.urls if package.url in there.urls else (*there.urls, package.url)
    return conda_artifact(there.path, dataclasses.replace(known, **missing), there.upstream, urls)


def _two_artifacts(there: Artifact, package: LockedPackage) -> Problem:
    rows = (("one", there.conda_record, there.urls[0]), ("other", package.record, package.url))
    return Problem(
        subject=str(there.path),
        trouble="the lock names two different artifacts for this place",
        code=ExitCode.USAGE,
        facts=tuple(
            (label, f"{each.sha256 or each.md5 or each.size} from {redact(url)}")
            for label, each, url in rows
        ),
        help=f'set layout = "by-channel" under [{TABLE}], or mirror them in two workspaces',
    )


def _no_folder(package: LockedPackage) -> Problem:
    return Problem(
        subject=redact(package.url),
        trouble="no folder can be named for the channel that this is from",
        code=ExitCode.USAGE,
        facts=(("channel", redact(package.channel or "")),),
        help=f'set layout = "flat" under [{TABLE}], or another channel',
    )


def _refuse_shared_names(artifacts: tuple[Artifact, ...]) -> None:
    """Refuse one package name from two channels: a solver could then take the wrong one."""
    channels: dict[str, dict[PurePosixPath, Artifact]] = {}
    for artifact in artifacts:
        channel = folder_of_channel(Layout.BY_CHANNEL, artifact.upstream)
        channels.setdefault(artifact.name, {}).setdefault(channel, artifact)
    problems = [
        Problem(
            subject=name,
            trouble="comes from two channels, which a flat mirror cannot keep apart",
            code=ExitCode.USAGE,
            facts=tuple(
                (str(channel), redact(artifact.urls[0])) for channel, artifact in by.items()
            ),
            help=f'set layout = "by-channel" under [{TABLE}]',
        )
        for name, by in sorted(channels.items())
        if len(by) > 1
    ]
    if problems:
        raise MirrorError(*problems)


def _unknown(kind: str, name: str, known: Iterable[str]) -> MirrorError:
    from difflib import get_close_matches  # only on the way to an error

    names = sorted(known)
    return usage_error(
        "pixi.lock",
        f"has no {kind} {name!r}",
        *(("nearest", near) for near in get_close_matches(name, names, n=1)),
        ("it has", ", ".join(names) or "none"),
        help=f"correct `{kind}s` under [{TABLE}] or the option --{kind}s, or run `pixi lock`",
    )
