"""Where a mirror is, and where in it an artifact should be."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from scripts.core.layout import Layout, folder_of_channel
from scripts.core.record import Record
from scripts.core.redact import without_secrets
from scripts.core.subdir import NOARCH
from scripts.doctor.condarc import Condarc
from scripts.lock.derive import url_subdir
from scripts.lock.model import LockedEnvironment, LockedPackage
from scripts.lock.select import path_of
from scripts.network.configuration import PixiConfig
from scripts.network.local_file import local_path
from scripts.network.mirrors import origin
from scripts.workspace.settings import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorPlace:
    """A folder (absolute), or None for one over HTTP; and its URL, which may hold secrets.

    The URL has no trailing slash; that of a folder is a `file://` one.
    """

    folder: Path | None
    url: str = field(repr=False)

    @property
    def shown(self) -> str:
        """The URL for people and for configuration files, without user, password and token."""
        return without_secrets(self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorContents:
    """The records of a mirror: of each subdir looked for that is there, by file name.

    Paths are relative to the mirror: `linux-64`, or `conda-forge/linux-64`. `channels` are the
    folders of the conda channels that are there (`.` in a flat mirror); `others`, where none of
    the lock's is, those of other channels, as far as a folder shows them.
    """

    layout: Layout
    channels: frozenset[PurePosixPath]
    subdirs: Mapping[PurePosixPath, Mapping[str, Record]]
    others: tuple[PurePosixPath, ...] = ()


class Asking(StrEnum):
    """Whose configuration is to lead to the mirror; the words are those of `--client`."""

    PIXI = "pixi"
    CONDA = "conda"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """Who wants to install: a lock, and what pixi's configuration says beside it.

    `condarc` is what conda is told, `clients` are those whose configuration counts.
    `files` are those locations of the lock that name a file which is there. `allowed` are the
    kinds of packages that may come from elsewhere.
    """

    lock_path: Path
    lock_version: int
    environments: tuple[LockedEnvironment, ...]
    config: PixiConfig
    condarc: Condarc
    clients: frozenset[Asking]
    files: frozenset[str]
    allowed: frozenset[Kind]

    @property
    def root(self) -> Path:
        """The folder of the consumer's workspace."""
        return self.lock_path.parent


def wanted_path(
    package: LockedPackage, place: MirrorPlace, root: Path, layout: Layout
) -> PurePosixPath:
    """Return where the mirror should have an artifact, relative to it.

    A lock that was made from the mirror says so itself; `root` is the lock's folder.
    """
    inner = path_inside(package.url, place, root)
    if inner is not None:
        return inner.parent / str(package.file_name)
    return path_of(layout, package)


def at_url_path(package: LockedPackage, path: PurePosixPath) -> PurePosixPath:
    """Return where it is if the mirror is one channel of a by-channel one, which looks flat."""
    return path.parent.parent / (url_subdir(package.url) or path.parent.name) / path.name


def wanted_channel(channel: str, place: MirrorPlace, root: Path, layout: Layout) -> PurePosixPath:
    """Return the folder of the mirror that stands for a channel of the lock."""
    inner = path_inside(f"{channel.rstrip('/')}/{NOARCH}", place, root)
    return folder_of_channel(layout, channel) if inner is None else inner.parent


def path_inside(location: str, place: MirrorPlace, root: Path) -> PurePosixPath | None:
    """Return a location's path relative to the mirror, None where it lies elsewhere."""
    file = local_path(location, root)
    if file is None:
        base, url = f"{plain_url(place.url)}/", plain_url(location)
        return PurePosixPath(url.removeprefix(base)) if url.startswith(base) else None
    path = Path(os.path.normpath(file))
    if place.folder is None or not path.is_relative_to(place.folder):
        return None
    return PurePosixPath(*path.relative_to(place.folder).parts)


def plain_url(url: str) -> str:
    """Write a URL so that two of them that lead to one file are equal texts, secrets left out."""
    plain = without_secrets(url)
    return f"{origin(plain)}{unquote(urlsplit(plain).path).rstrip('/')}"
