"""What leads pixi to the mirror: `[mirrors]`, a key for each beginning of the lock's URLs.

pixi lets the longest key that a URL begins with decide alone, and changes nothing behind it. It
compares without user and password, and sends them along (tried with pixi 0.77).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from scripts.core.artifact import Artifact
from scripts.core.typed_values import toml_string
from scripts.index.pypi_pages import MAPPING, SIMPLE
from scripts.lock.location import is_remote, keeps_path, local_path
from scripts.lock.pypi import FILES, index_folder, keeps_name
from scripts.verify.install.plan import InstallJob
from scripts.workspace.settings import IncompleteKind

MAPPING_SERVICE: Final = "https://conda-mapping.prefix.dev"
"""Whom pixi asks what conda packages are called on PyPI; the mirror has it, too."""
_OUTSIDE: Final = "its lock names files outside of the workspace, which `[mirrors]` cannot replace"


class NoMirrorError(ValueError):
    """Why pixi cannot install this environment from the mirror, as a sentence's end."""


def mirrors_for(job: InstallJob) -> Mapping[str, PurePosixPath]:
    """Map each upstream URL that an environment's locations begin with to a folder of the mirror.

    Raises NoMirrorError where pixi would have to build, or to ask somebody else.
    """
    if IncompleteKind.SOURCE in job.left_out:
        raise NoMirrorError("it has source packages, which pixi would have to build")
    if IncompleteKind.PYPI in job.left_out:
        raise NoMirrorError("it has PyPI packages that are not in the mirror")
    mirrors: dict[str, PurePosixPath] = {}
    for artifact in job.artifacts:
        for url in artifact.urls:
            if not is_remote(url):
                raise NoMirrorError("its lock names files, which `[mirrors]` cannot replace")
            if not keeps_path(url, artifact.path):
                message = f"{artifact.path} is not at the path that the lock's URL ends in"
                raise NoMirrorError(message)
            _add(mirrors, channel_prefix(url), artifact.channel)
    for each in job.pypi:
        if is_remote(each.urls[0]) and not keeps_name(each.urls[0]):
            raise NoMirrorError(f"pixi asks for {each.name} by more than its URL's path")
    pypi = (*job.pypi, *job.builders)
    for base, folder in pypi_prefixes(pypi, job.indexes, job.find_links).items():
        _add(mirrors, base, folder)
    return mirrors


def _add(mirrors: dict[str, PurePosixPath], base: str, folder: PurePosixPath) -> None:
    if mirrors.setdefault(base, folder) != folder:
        raise NoMirrorError(f"{base} would have to lead to two folders")


def channel_prefix(url: str) -> str:
    """Return the channel's part of a URL as pixi compares it: no user, but a token in the path."""
    return without_user(url).rsplit("/", 2)[0]


def without_user(url: str) -> str:
    """Return a URL as pixi compares it: without user, slash at its end, and what is no path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def pypi_prefixes(
    artifacts: Iterable[Artifact], indexes: Iterable[str] = (), find_links: Collection[str] = ()
) -> dict[str, PurePosixPath]:
    """Map the beginnings of the URLs of wheels and sdists, of their indexes, and the mapping.

    `indexes` are those of the environments, which pixi asks for what sdists are built with. An
    index below which files lie, beside its pages, has none of its own: one key leads to both.
    Nor has a page of `find_links`: to pixi, a key is for what is below it.
    """
    every, remote = list(artifacts), dict[str, PurePosixPath]()
    for each in every:
        if is_remote(each.urls[0]):  # the second place of a direct URL is beside the first
            remote.setdefault(without_user(each.urls[0]), each.path)
    pages = {without_user(x): FILES / y for x in find_links if every and (y := index_folder(x))}
    found = dict(file_prefix(url, path) for url, path in (remote | pages).items())
    asked = {*(each.upstream for each in every), *(indexes if every else ())}
    for index in filter(None, asked.difference(find_links)):
        base, folder = without_user(index), index_folder(index)
        if folder is not None and not any(url.startswith(f"{base}/") for url in remote):
            found[base] = SIMPLE / folder
    return found | ({MAPPING_SERVICE: MAPPING.parents[1]} if every else {})


def file_prefix(url: str, path: PurePosixPath) -> tuple[str, PurePosixPath]:
    """Take off a URL and a place in the mirror what both end in: mostly all but the host."""
    base, folder = url, path
    while base.count("/") > len("//") and unquote(base.rpartition("/")[2]) == folder.name:
        base, folder = base.rpartition("/")[0], folder.parent
    return base, folder


def local_files(job: InstallJob, root: Path) -> Mapping[PurePosixPath, PurePosixPath]:
    """Map the places of wheels and sdists below the lock's folder, `root`, to those in the mirror.

    Raises NoMirrorError for one that is elsewhere.
    """
    found: dict[PurePosixPath, PurePosixPath] = {}
    for artifact in job.pypi:
        file = local_path(artifact.urls[0], root)
        if file is None:
            continue
        place = file.resolve()
        if not place.is_relative_to(root.resolve()):
            raise NoMirrorError(_OUTSIDE)
        found[PurePosixPath(*place.relative_to(root.resolve()).parts)] = artifact.path
    return found


def render_config(mirrors: Mapping[str, PurePosixPath], server: str) -> str:
    """Write pixi's configuration; `server` is the URL at which the channel folder is served."""
    lines = ["[mirrors]"]
    for base, folder in sorted(mirrors.items()):
        target = f"{server}/{quote(str(folder), safe='/~=@+')}" if folder.parts else server
        lines.append(f"{toml_string(base)} = [{toml_string(target)}]")
    return "\n".join(lines) + "\n"
