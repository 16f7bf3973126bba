"""Read the locks that a mirror is made of: the workspace's own, and those that `locks` names.

A remote one is read from the copy that the last `fetch`, `plan` or `mirror` has kept.
"""

from __future__ import annotations

import argparse
import errno
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path, PurePath
from stat import S_ISREG
from typing import Final, TypeVar

from scripts.channel.state import KeptLock, read_kept_lock
from scripts.core.channel_paths import Layout
from scripts.core.console import Console
from scripts.core.errors import MirrorError, Problem, first_details, raise_problems, usage_error
from scripts.core.redact import redact, without_secrets
from scripts.lock.location import local_path
from scripts.lock.mirrored import MirroredLock, with_labels
from scripts.lock.model import LockFile
from scripts.lock.parse_cache import keep_parse
from scripts.lock.read import parse_lock, read_lock
from scripts.lock.select import select
from scripts.workspace.model import Manifest
from scripts.workspace.settings import TABLE, LockEntry, Settings
from scripts.workspace.workspace import LOCK_NAME, Workspace, read_manifest_beside

KEPT_LOCKS: Final = "--kept-locks"
_WITH_COPY: Final = f"{KEPT_LOCKS} takes the copy that is kept"
_SHOWN: Final = 5  # local files that one error names
_INVALID_NAME: Final = 123  # as Windows calls one with `*` in it
_NOTHING_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

_Found = TypeVar("_Found")


def add_kept_locks_option(parser: argparse.ArgumentParser) -> None:
    """Add `--kept-locks`."""
    parser.add_argument(
        KEPT_LOCKS, action="store_true", help="take remote locks as they were last, and ask nobody"
    )


def read_locks(
    workspace: Workspace,
    console: Console,
    *,
    believes_cache: bool = False,
    renewed: Mapping[str, KeptLock] | None = None,
) -> tuple[MirroredLock, ...]:
    """Read every lock of the mirror, the workspace's own first; labels tell them apart.

    It is noted how old the copies of remote locks are. A workspace needs no lock of its own where
    `locks` names others. `believes_cache`: what `keep_parses` has kept is not parsed again; a task
    that proves something parses. `renewed`: what counts for the copies of remote locks, by URL.
    Raises the errors of exit code 2 of all that cannot be read.
    """
    cache = workspace.place.cache if believes_cache else None
    entries, locks, problems = workspace.settings.locks, list[MirroredLock](), list[Problem]()
    own, name = workspace.manifest, workspace.lock_path.name
    if not entries or _look(os.stat, workspace.lock_path) is not None:
        file = read_lock(workspace.lock_path, cache=cache)
        locks.append(mirrored_lock(name, workspace.root, own, file))
    elif any(x.requirements or x.pypi for each in own.features for x in each.targets):
        asked = f"there is none, so nothing that {own.file_name} asks for is mirrored"
        console.warn(f"{name}: {asked}; `pixi lock` makes one")
    found: dict[Path | str, tuple[str, LockEntry]] = {}  # the last entry of a lock holds
    for entry in entries:
        try:
            found |= {key: (location, entry) for key, location in _find(workspace, entry)}
        except MirrorError as error:
            problems += error.problems
    for key, (location, entry) in found.items():
        try:
            if isinstance(key, str):
                locks.append(_read_remote(workspace, key, location, entry, renewed or {}))
            else:
                locks += _read(workspace, key, location, entry, cache)
        except MirrorError as error:
            problems += error.problems
    raise_problems(problems)
    for each in locks:
        if each.kept is not None:
            console.note(f"locks: {each.location} as it was on {each.kept:%Y-%m-%d %H:%M} UTC")
    return with_labels(locks)


def _read_remote(
    workspace: Workspace,
    url: str,
    location: str,
    entry: LockEntry,
    renewed: Mapping[str, KeptLock],
) -> MirroredLock:
    """Read what came of a remote lock, else its copy; where it is refused, the copy would do."""
    kept = read_kept_lock(workspace.place, url)
    new = renewed.get(url, kept)
    try:
        return _remote_lock(new, location, workspace, entry)
    except MirrorError as error:
        has_copy = kept is not None and new is not None and new.text != kept.text
        raise MirrorError(*(_of_remote(x, has_copy=has_copy) for x in error.problems)) from None


def _of_remote(problem: Problem, *, has_copy: bool) -> Problem:
    """Say what helps: no command here mends a lock that is kept elsewhere."""
    helps = [problem.help, _WITH_COPY if has_copy else None]
    if any(each in (problem.help or "") for each in ("git ", "pixi lock")):
        helps[0] = "correct the URL in `locks`, or have it mended where it is kept"
    return replace(problem, help=", or ".join(filter(None, helps)) or None)


def _read(
    workspace: Workspace, path: Path, location: str, entry: LockEntry, cache: Path | None
) -> Iterator[MirroredLock]:
    """Yield the lock that an entry names, unless it is the workspace's own, read already."""
    if path != workspace.lock_path:
        file = read_lock(path, location, cache=cache)
        manifest = read_manifest_beside(path, location)
        yield replace(mirrored_lock(location, path.parent, manifest, file), entry=entry)
    elif entry != LockEntry(location=entry.location):
        message = "is this workspace's own lock, of which its settings say what is mirrored"
        help_line = f"environments, exclude-environments, platforms under [{TABLE}]"
        raise usage_error(location, message, help=help_line)


def keep_parses(workspace: Workspace, locks: Iterable[MirroredLock]) -> None:
    """Keep the parses of local locks for the next run."""
    for each in locks:
        if each.kept is None:  # a file
            path = each.root / PurePath(each.location).name
            keep_parse(workspace.place.cache, path, each.file)


def _find(workspace: Workspace, entry: LockEntry) -> Iterator[tuple[Path | str, str]]:
    """Yield what an entry names: the file, or the URL, and how it is shown."""
    if entry.is_remote:
        yield entry.location, without_secrets(entry.location)
        return
    root, names = workspace.root, [entry.location]
    if os.path.isdir(root / entry.location):  # noqa: PTH112 -- a Path's raises if it is forbidden
        names = [f"{entry.location}/{LOCK_NAME}"]
    elif glob.has_magic(entry.location) and _look(os.stat, root / entry.location) is None:
        # Of folders whose name begins with a dot it finds nothing: environments, our own state.
        found = map(str, _search(workspace, PurePath(), PurePath(entry.location).parts))
        channel = workspace.place.folder
        names = [x for x in sorted(set(found)) if not (root / x).resolve().is_relative_to(channel)]
        if not names:
            message = f"no file is named so, and {TABLE}.locks asks for it"
            raise usage_error(entry.location, message, ("looked in", str(root)))
    for path in map(PurePath, names):
        # A link's manifest and relative paths are where the link is, as for pixi.
        yield (root / path).parent.resolve() / path.name, path.as_posix()


def _search(workspace: Workspace, path: PurePath, parts: tuple[str, ...]) -> Iterator[PurePath]:
    """Yield the files below `path` that the remaining `parts` of a pattern match, as `glob` does.

    But a folder that cannot be read is an error of exit code 2: the locks in it would be missing
    from the mirror, and `prune` would remove what only they name.
    """
    if not parts:
        status = _look(os.stat, workspace.root / path)
        if status is not None and S_ISREG(status.st_mode):
            yield path
        return
    part, *rest = parts
    if part == "**":
        for each in _folders(workspace, path):
            yield from _search(workspace, each, tuple(rest) or ("*",))
    elif glob.has_magic(part):
        for name, _ in _look(_listing, workspace.root / path) or ():
            if fnmatch(name, part) and (name[0] != "." or part[0] == "."):
                yield from _search(workspace, path / name, tuple(rest))
    else:
        yield from _search(workspace, path / part, tuple(rest))


def _folders(workspace: Workspace, path: PurePath) -> Iterator[PurePath]:
    """Yield a folder and all below it, each once, also through links; not the channel folder."""
    seen = {os.path.realpath(workspace.place.folder)}
    paths = [path]
    for each in paths:  # which grows
        real = os.path.realpath(workspace.root / each)
        if real not in seen:
            seen.add(real)
            yield each
            listing = _look(_listing, workspace.root / each) or ()
            paths += [each / name for name, is_one in listing if is_one and name[0] != "."]


def _listing(folder: Path) -> list[tuple[str, bool]]:
    """Return the names in a folder, and of each whether it may be a folder."""
    with os.scandir(folder) as entries:
        return [(x.name, x.is_symlink() or x.is_dir(follow_symlinks=False)) for x in entries]


def _look(ask: Callable[[Path], _Found], path: Path) -> _Found | None:
    """Return what `ask` does for a path; None: nothing is there."""
    try:
        return ask(path)
    except OSError as error:
        if error.errno in _NOTHING_THERE or getattr(error, "winerror", None) == _INVALID_NAME:
            return None
        folder = path.parent if ask is os.stat else path
        message = f"cannot look into this folder: {error.strerror}"
        help_line = "make it readable (`chmod a+rx FOLDER`), or write `locks` so that it is not in"
        raise usage_error(str(folder), message, help=help_line) from None


def mirrored_lock(
    location: str, root: Path, manifest: Manifest | None, file: LockFile
) -> MirroredLock:
    """Describe a lock of which all is mirrored; it has no label yet."""
    return MirroredLock(
        label="",
        location=location,
        root=root,
        manifest=manifest,
        file=file,
        environments=file.environments,
    )


def _remote_lock(
    kept: KeptLock | None, location: str, workspace: Workspace, entry: LockEntry
) -> MirroredLock:
    """Parse the copy of a remote lock; refuse (exit code 2) one that names a file of this machine.

    Whoever writes that lock could otherwise put any file of this machine into the mirror.
    """
    if kept is None:
        message = "this remote lock has not been fetched yet"
        of = ("channel folder", workspace.settings.channel_dir)  # an option may have named another
        raise usage_error(location, message, of, help="pixi run fetch")
    file = replace(parse_lock(kept.text, location), data=kept.text.encode())
    lock = replace(
        mirrored_lock(location, workspace.root, None, file), entry=entry, kept=kept.checked
    )
    everything = select(lock, Settings(layout=Layout.BY_CHANNEL, allow_unhashed=True))
    urls = (url for each in everything.artifacts for url in each.urls)
    channels = (url for each in file.environments for url in each.channels)
    local = [url for url in (*channels, *urls) if local_path(url, workspace.root) is not None]
    if local:
        message = "a remote lock may name no file of this machine"
        details = [("names", redact(each)) for each in dict.fromkeys(local)]
        raise usage_error(location, message, *first_details(details, _SHOWN))
    return lock
