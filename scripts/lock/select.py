"""Choose what of the lock is mirrored, where each artifact goes, and what is left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, Final

from scripts.core.artifact import Artifact, artifact_of
from scripts.core.channel_paths import FLAT_CHANNEL, Layout, channel_path, folder_of_channel
from scripts.core.channel_url import names_folder
from scripts.core.errors import MirrorError, Problem, raise_problems, usage_error, usage_problem
from scripts.core.file_name import FileName
from scripts.core.record import PypiRecord, Record
from scripts.core.redact import redact, without_secrets
from scripts.core.report import Line, listed, named
from scripts.lock.location import url_subdir
from scripts.lock.mirrored import MirroredLock
from scripts.lock.model import (
    NEWEST,
    OLDEST_COMPLETE,
    LockedEnvironment,
    LockedPackage,
    LockFile,
    PlatformPackages,
    Unmirrorable,
    fill,
    locked_packages,
    pypi_rows,
)
from scripts.lock.pypi import (
    index_folder,
    leave_out_pypi,
    of_every_index,
    pypi_artifacts,
    refuse_nested_places,
    refuse_shared_folders,
)
from scripts.workspace.settings import TABLE, Settings

# What a channel corrects of a published artifact, and a solver sees.
REQUIREMENTS: Final = ("depends", "constrains", "extra_depends", "track_features", "flags")
_BY_CHANNEL: Final = f'set layout = "by-channel" under [{TABLE}]'
_TWO_WORKSPACES: Final = "or mirror them in two workspaces"
_TELL_APART: Final = {True: _BY_CHANNEL, False: "pixi lock"}  # conda artifacts, and those of PyPI
_OF_ENTRY: Final = f"in its entry of `locks` under [{TABLE}]"
_ONE_FILE: Final = (
    f"put the same file beside both, or leave one of them out of `locks` under [{TABLE}]"
)
_TWO_MIRRORS: Final = f"have one of them locked anew, or leave it out of `locks` under [{TABLE}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is mirrored: of each lock its environments; artifacts and channels of all together.

    `channels` are the folders that must be conda channels even when no artifact is in them.
    """

    layout: Layout
    locks: tuple[MirroredLock, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    channels: tuple[PurePosixPath, ...] = ()

    @property
    def labelled(self) -> Iterator[tuple[str, MirroredLock]]:
        """Yield each lock with its label, which is empty where there is but one."""
        for each in self.locks:
            yield each.label if len(self.locks) > 1 else "", each

    @property
    def environments(self) -> tuple[LockedEnvironment, ...]:
        """The environments of all locks."""
        return tuple(one for each in self.locks for one in each.environments)

    @property
    def lock_version(self) -> int:
        """The oldest version of all locks: before 6, rows leave things open."""
        return min((each.file.version for each in self.locks), default=NEWEST)

    @property
    def conda_artifacts(self) -> tuple[Artifact, ...]:
        """The artifacts of conda channels."""
        return tuple(each for each in self.artifacts if each.is_conda)

    @property
    def pypi_artifacts(self) -> tuple[Artifact, ...]:
        """The wheels and sdists."""
        return tuple(each for each in self.artifacts if not each.is_conda)

    @property
    def find_links(self) -> frozenset[PurePosixPath]:
        """The folders of the pages of `find-links`, which pixi reads whatever is from there.

        Only where PyPI packages are mirrored at all.
        """
        environments = (each for each in self.environments if pypi_rows((each,)))
        urls = (url for each in environments for url in each.find_links)
        return frozenset(filter(None, map(index_folder, urls)))

    @property
    def pypi_rows(self) -> tuple[PypiRecord, ...]:
        """The PyPI rows, each once; several may be of one file.

        Where an old lock does not tell from which index a row is, it is on the pages of each.
        """
        every = (
            one
            for each in self.environments
            for row in pypi_rows((each,))
            for one in of_every_index(row, (*each.indexes, *each.find_links))
        )
        return tuple(dict.fromkeys(every))


def path_of(layout: Layout, package: LockedPackage | Artifact) -> PurePosixPath:
    """Return an artifact's path in this layout, relative to the channel folder.

    By channel it is the URL's own path below its channel, which a client with an unchanged lock
    asks for: a channel may keep a noarch package in `linux-64/`. A flat mirror takes the record's
    subdir.
    """
    if isinstance(package, Artifact):
        if not package.is_conda:
            return package.path
        subdir, file_name = package.conda_record.subdir, package.path.name
        return _path(layout, package.upstream, package.urls[0], subdir, file_name)
    return _path(layout, package.channel, package.url, package.record.subdir, package.file_name)


def _path(
    layout: Layout, channel: str | None, url: str, subdir: str, file_name: FileName | str
) -> PurePosixPath:
    shown = url_subdir(url) if layout is Layout.BY_CHANNEL else None
    folder = folder_of_channel(layout, channel)
    above = "" if folder == FLAT_CHANNEL else f"{folder}/"
    return channel_path(f"{above}{shown or subdir}/{file_name}")


def paths_of(layout: Layout, environments: Sequence[LockedEnvironment]) -> frozenset[PurePosixPath]:
    """Return the paths of all mirrored artifacts of these environments."""
    conda = (path_of(layout, package) for package in locked_packages(environments))
    pypi = (each.path for record in pypi_rows(environments) for each in pypi_artifacts(record))
    return frozenset((*conda, *pypi))


def locks_by_path(selection: Selection) -> Mapping[PurePosixPath, Sequence[MirroredLock]]:
    """Return of each mirrored artifact the locks that name it."""
    found: dict[PurePosixPath, list[MirroredLock]] = {}
    for lock in selection.locks:
        for path in paths_of(selection.layout, lock.environments):
            found.setdefault(path, []).append(lock)
    return found


def select(lock: MirroredLock, settings: Settings) -> Selection:
    """Apply the settings to one lock.

    Raises an error of exit code 2 for an environment or platform that the lock does not have,
    for one place wanted by two artifacts, and, in a flat mirror, for one package name from two
    channels.
    """
    is_own = lock.entry is None
    environments = choose_environments(lock.file, settings, lock.location, is_own=is_own)
    layout, packages = settings.layout, tuple(locked_packages(environments))
    if layout is Layout.BY_CHANNEL:
        _check_channels(packages)
    conda = [artifact_of(x.record, path_of(layout, x), (x.url,), x.channel) for x in packages]
    pypi = (each for record in pypi_rows(environments) for each in pypi_artifacts(record))
    used = {x.channel for x in packages}.union(*(each.channels for each in environments))
    channels = {folder_of_channel(layout, url) for url in used}
    if layout is Layout.FLAT:
        channels = {FLAT_CHANNEL}
    locks = (replace(lock, environments=environments),)
    return _selection(layout, locks, ((each, "") for each in (*conda, *pypi)), channels)


def unite(selections: Sequence[Selection]) -> Selection:
    """Join the selections of several locks into one mirror, each artifact once.

    The newest lock, whose rows say most, comes first. Raises the error of exit code 2 where two
    locks want different bytes at one place, and, in a flat mirror, one package name from two
    channels.
    """
    if len(selections) == 1:
        return selections[0]
    newest_first = sorted(selections, key=lambda each: -each.lock_version)
    artifacts = ((x, lock.label) for y in newest_first for lock in y.locks for x in y.artifacts)
    locks = tuple(lock for each in selections for lock in each.locks)
    channels = {path for each in selections for path in each.channels}
    return _selection(selections[0].layout, locks, artifacts, channels)


def _selection(
    layout: Layout,
    locks: tuple[MirroredLock, ...],
    found: Iterable[tuple[Artifact, str]],
    channels: Iterable[PurePosixPath],
) -> Selection:
    """Make one mirror of artifacts, each with its lock's label, or refuse them (exit code 2)."""
    artifacts = _gather(found)
    refuse_shared_folders(pypi_rows(one for each in locks for one in each.environments))
    refuse_nested_places(each for each in artifacts if not each.is_conda)
    if layout is Layout.FLAT:
        _refuse_shared_names(artifacts)
    return Selection(
        layout=layout, locks=locks, artifacts=artifacts, channels=tuple(sorted(channels))
    )


def choose_environments(
    lock: LockFile, settings: Settings, where: str = "pixi.lock", *, is_own: bool = True
) -> tuple[LockedEnvironment, ...]:
    """Return the environments that are mirrored, each with the platforms that are.

    Raises the error of exit code 2 for one that the lock does not have; `where` names it there,
    `is_own` False: an entry of `locks` has asked for it.
    """
    mirrored = [each for each in lock.environments if settings.is_mirrored(each.name)]
    platforms = [rows.platform for each in mirrored for rows in each.platforms]
    every = {each.name for each in lock.environments}
    _check_names(where, "environment", settings.environments, every, is_own=is_own)
    names = {name for each in platforms for name in (each.name, each.subdir)}
    _check_names(where, "platform", settings.platforms, names, is_own=is_own)
    return tuple(
        replace(
            environment,
            platforms=tuple(
                leave_out_pypi(rows, settings)
                for rows in environment.platforms
                if settings.is_for(rows.platform.name, rows.platform.subdir)
            ),
        )
        for environment in mirrored
    )


def _check_names(
    where: str, kind: str, wanted: Iterable[str] | None, known: Collection[str], *, is_own: bool
) -> None:
    said = f"under [{TABLE}] or the option --{kind}s, or run `pixi lock`"
    advice = f"correct `{kind}s` {said if is_own else _OF_ENTRY}"
    for name in wanted or ():
        if name not in known:
            raise unknown_name(where, kind, name, known, advice)


def unknown_name(
    where: str, kind: str, name: str, known: Iterable[str], help: str | None = None
) -> MirrorError:
    """Make the error for an environment or a platform that is not there."""
    near = get_close_matches(name, names := sorted(known), n=1)
    details = [*(("nearest", each) for each in near), ("it has", listed(names, where="") or "none")]
    return usage_error(where, f"has no {kind} {name!r}", *details, help=help)


def _gather(artifacts: Iterable[tuple[Artifact, str]]) -> tuple[Artifact, ...]:
    """Return each artifact once, sorted, those of PyPI first; refuse two of them at one path.

    With each goes the label of its lock, empty where all are of one lock.
    """
    found: dict[PurePosixPath, tuple[Artifact, str]] = {}
    problems: dict[PurePosixPath, Problem] = {}
    for artifact, label in artifacts:
        path = artifact.path
        there, other = found.setdefault(path, (artifact, label))
        if there is artifact:
            continue
        if not _are_other_artifacts(there, artifact):
            found[path] = _merged(there, artifact), other
            continue
        sides = ("one", _bytes_text(there, other)), ("other", _bytes_text(artifact, label))
        who = "two locks name" if label else "the lock names"
        message = f"{who} two different artifacts for this place"
        advice = _TWO_MIRRORS if label else f"{_TELL_APART[artifact.is_conda]}, {_TWO_WORKSPACES}"
        if label and there.is_own_file and artifact.is_own_file:
            advice = _ONE_FILE
            # The files beside several locks are hashed by now, those that are there.
            if there.digest is None and artifact.digest is None:
                message = "is missing beside both locks that name it, so that nobody can compare it"
        problems[path] = usage_problem(path, message, *sides, help=advice)
    raise_problems(problems.values())
    return tuple(sorted((x for x, _ in found.values()), key=lambda x: (x.is_conda, str(x.path))))


def _bytes_text(artifact: Artifact, label: str) -> str:
    said = artifact.digest.hex if artifact.digest else artifact.size or "no sha256"
    if label and artifact.is_own_file and not artifact.digest:
        said = "no file"
    return f"{said} from {redact(artifact.urls[0])}" + (f", of {label}" if label else "")


def _merged(one: Artifact, other: Artifact) -> Artifact:
    """Merge two rows of the same artifact."""
    urls = tuple(dict.fromkeys((*one.urls, *other.urls)))
    if isinstance(one.record, Record) and isinstance(other.record, Record):
        record = fill(one.record, other.record, ("sha256", "md5", "size", "run_exports"))
        if not record.purls and other.record.purls is not None:  # a name that any lock knows counts
            record = record._replace(purls=other.record.purls)
        if record is one.record and urls == one.urls:
            return one
        return artifact_of(record, one.path, urls, one.upstream)
    whole = other if one.digest is None else one
    return whole if urls == whole.urls else replace(whole, urls=urls)


def differing_rows(selection: Selection) -> Iterator[tuple[PurePosixPath, str, Record, Record]]:
    """Yield path and label of a lock's row that is not, as a text, the one taken, and both."""
    taken = {each.path: each.conda_record for each in selection.conda_artifacts}
    for label, lock in selection.labelled if len(selection.locks) > 1 else ():
        rows = {path_of(selection.layout, x): x.record for x in locked_packages(lock.environments)}
        for path, record in rows.items():
            other, is_whole = taken[path], lock.file.version >= OLDEST_COMPLETE
            said = {x: y for x in REQUIREMENTS if (y := getattr(record, x)) or is_whole}
            if any(y != getattr(other, x) for x, y in said.items()):
                yield path, label, other._replace(**said), other


def _are_other_artifacts(one: Artifact, other: Artifact) -> bool:
    """Tell whether two rows for one path cannot mean the same bytes."""
    if isinstance(one.record, Record) and isinstance(other.record, Record):
        return are_other_bytes(one.record, other.record)
    if one.digest is None and other.digest is None:
        return set(one.urls).isdisjoint(other.urls)
    return None not in (one.digest, other.digest) and one.digest != other.digest


def _check_channels(packages: Iterable[LockedPackage]) -> None:
    """Refuse channels that no folder can be named after."""
    raise_problems(
        usage_problem(
            redact(package.url),
            "no folder can be named for the channel that this is from",
            ("channel", redact(package.channel)),
            help=f'set layout = "flat" under [{TABLE}], or another channel',
        )
        for package in packages
        if package.channel and not names_folder(package.channel)
    )


def are_other_bytes(one: Record, other: Record) -> bool:
    """Tell whether two records cannot be of the same bytes: by digests and size that both have."""
    pairs = ((one.sha256, other.sha256), (one.md5, other.md5), (one.size, other.size))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _refuse_shared_names(artifacts: Iterable[Artifact]) -> None:
    """Refuse one package name from two channels: a solver could then take the wrong one."""
    channels: dict[str, dict[PurePosixPath, str]] = {}
    for artifact in (each for each in artifacts if each.is_conda):
        channel = folder_of_channel(Layout.BY_CHANNEL, artifact.upstream)
        channels.setdefault(artifact.name, {}).setdefault(channel, artifact.urls[0])
    message = "comes from two channels, which a flat mirror cannot keep apart"
    raise_problems(
        usage_problem(
            name, message, *((str(x), redact(url)) for x, url in urls.items()), help=_BY_CHANNEL
        )
        for name, urls in sorted(channels.items())
        if len(urls) > 1
    )


def undeclared_packages(
    environment: LockedEnvironment, rows: PlatformPackages
) -> tuple[LockedPackage, ...]:
    """Return the packages whose location is under none of the environment's channels.

    An older pixi wrote such a lock behind a mirror of another path; and a package that the manifest
    asks for by its location has no channel at all.
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
    """List excluded environments and platforms, what is empty, and rows without an artifact."""
    return {
        "environments": [
            named_of(label, name) for label, lock in selection.labelled for name in lock.excluded
        ],
        "platforms": [
            named_of(label, place)
            for label, lock in selection.labelled
            for place in lock.excluded_platforms
        ],
        "empty-environments": [
            named_of(label, each.name)
            for label, lock in selection.labelled
            for each in lock.file.environments
            if each.name not in lock.excluded
            and not any(x.packages or x.pypi or x.unmirrorable for x in each.platforms)
        ],
        "packages": [
            {
                "name": row.name,
                "kind": None if row.kind is None else row.kind.value,
                "location": redact(row.location),
                "reason": row.reason,
                "in": where,
            }
            for row, where in all_unmirrorable(selection).items()
        ],
    }


def named_of(label: str, name: str) -> str:
    """Write what belongs to a lock with its label, where it has one."""
    return f"{label}:{name}" if label else name


def left_out_lines(selection: Selection) -> tuple[Line, ...]:
    """Write the same as lines, and which URLs of the lock a `[mirrors]` rule cannot lead here."""
    left = left_out_json(selection)
    lines: list[Line] = []
    if names := left["environments"]:
        lines.append(named("left out:", "environment", names, " (environments not mirrored)"))
    if places := left["platforms"]:
        lines.append(named("left out:", "platform", places, " (platforms not mirrored)"))
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
        for artifact in selection.conda_artifacts
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


def all_unmirrorable(selection: Selection) -> dict[Unmirrorable, list[str]]:
    """Return each row that is left out of any lock, with the places that want it."""
    rows: dict[Unmirrorable, list[str]] = {}
    for label, lock in selection.labelled:
        for row, where in unmirrorable(lock.environments).items():
            rows.setdefault(row, []).extend(named_of(label, place) for place in where)
    return rows


def unmirrorable(environments: Iterable[LockedEnvironment]) -> dict[Unmirrorable, list[str]]:
    """Return each row that is left out, with the `environment/platform`s that want it."""
    rows: dict[Unmirrorable, list[str]] = {}
    for environment in environments:
        for platform in environment.platforms:
            for row in platform.unmirrorable:
                rows.setdefault(row, []).append(f"{environment.name}/{platform.platform.name}")
    return rows
