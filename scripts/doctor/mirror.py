"""A mirror as a consumer sees it: where it is, how it is laid out, which records it has.

Only repodata and the pages of PyPI packages are read, from a folder or over HTTP, and no artifact.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os.path
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote, urlsplit

from scripts.channel.state import read_channel_state
from scripts.core.channel_paths import Layout, channel_paths, folder_of_channel
from scripts.core.errors import ExitCode, MirrorError, usage_error
from scripts.core.files import disk_errors, is_dir, not_readable, read_regular
from scripts.core.record import PypiRecord, Record
from scripts.core.redact import redact, without_secrets
from scripts.core.subdir import NOARCH
from scripts.index.pypi_pages import INDEX, PAGE_JSON, parse_page, parse_projects
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    DamagedIndexError,
    parse_repodata,
    parse_zst,
)
from scripts.lock.location import is_no_url, is_sound_url, local_path, plain_url, url_subdir
from scripts.lock.model import LockedEnvironment, LockedPackage, locked_packages, pypi_rows
from scripts.lock.pypi import pypi_artifacts
from scripts.lock.select import path_of
from scripts.network.auth import DENIED
from scripts.network.documents import ABSENT, Document, ask_in_turn, decoded, read_whole
from scripts.network.errors import DownloadError, ErrorKind
from scripts.network.retry import RetryPolicy

if TYPE_CHECKING:
    from scripts.network.http import HttpClient
    from scripts.network.router import Router

_POLICY: Final = RetryPolicy(total=3, answer=30.0)  # somebody waits for what it says
_DEEPEST: Final = 3  # folders of a channel's name: nvidia/label/cuda-11.8.0
# Over HTTP nobody lists folders: this is the channel that a mirror most likely has.
_COMMON: Final = PurePosixPath("conda-forge")
_WHAT: Final = "a folder, a file:// or an http(s):// URL; in it noarch/repodata.json, or folders"
_HELP: Final = f"name the mirror: --mirror PLACE ({_WHAT} of channels like conda-forge)"

Records = Mapping[str, Record]
ReadFile = Callable[[PurePosixPath, str], Document | None]
"""Gives a file below the mirror, None where there is none; the string names its kind in errors."""
ReadRecords = Callable[[PurePosixPath], Records | None]
"""Gives the records of a subdir by file name, None where it has no repodata."""
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorLocation:
    """A folder (absolute), or None for one over HTTP; and its URL, which may hold secrets.

    The URL has no trailing slash; that of a folder is a `file://` one.
    """

    folder: Path | None
    url: str = field(repr=False)

    @property
    def shown(self) -> str:
        """The URL for people and for configuration files, without user, password and token."""
        return without_secrets(self.url)

    def file_at(self, path: PurePosixPath) -> str:
        """Return where a person finds a file of the mirror: its path, or its URL over HTTP."""
        return f"{self.shown}/{_quoted(path)}" if self.folder is None else str(self.folder / path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """What is at a place, for a lock in the folder `root`.

    `subdirs` are the records by file name of each subdir looked for that is there. All paths are
    relative to the mirror: `linux-64`, or `conda-forge/linux-64`. `others`, where none of the
    lock's channels is there, are those that are, as far as that can be found out.
    """

    location: MirrorLocation
    root: Path
    layout: Layout
    subdirs: Mapping[PurePosixPath, Records] = field(default_factory=dict)
    others: tuple[PurePosixPath, ...] = ()
    pypi: Mapping[PurePosixPath, PypiRecord] = field(default_factory=dict)
    """What the pages say of the files of all PyPI packages looked for, by their paths."""
    has_pages: bool = False
    """Whether there are such pages, of whatever packages."""

    @property
    def is_http(self) -> bool:
        """Whether it is asked over HTTP, rather than a folder."""
        return self.location.folder is None

    @property
    def channels(self) -> frozenset[PurePosixPath]:
        """The folders of the conda channels that are there (`.` in a flat mirror)."""
        return frozenset(path.parent for path in self.subdirs)

    def path_of(self, package: LockedPackage | PypiRecord) -> PurePosixPath:
        """Return where an artifact should be; a lock made from the mirror says so itself."""
        if isinstance(package, PypiRecord):
            places = (each.path for each in pypi_artifacts(package))
            # Of its two places one that is missing, else the first.
            return self.path_inside(package.location) or min(places, key=self.pypi.__contains__)
        inner = self.path_inside(package.url)
        if inner is not None:
            return inner.parent / str(package.file_name)
        path = path_of(self.layout, package)
        own = at_url_path(package, path)
        return path if self.record_at(own) is None else own

    def record_at(self, path: PurePosixPath) -> Record | PypiRecord | None:
        """Return what the repodata or a page has of an artifact; None: nothing."""
        return self.pypi.get(path) or self.subdirs.get(path.parent, {}).get(path.name)

    def folder_of(self, channel: str) -> PurePosixPath:
        """Return the folder that stands for a channel of the lock."""
        inner = self.path_inside(f"{channel.rstrip('/')}/{NOARCH}")
        return folder_of_channel(self.layout, channel) if inner is None else inner.parent

    def path_inside(self, location: str) -> PurePosixPath | None:
        """Return a location's path relative to the mirror, None where it lies elsewhere."""
        file = local_path(location, self.root)
        if file is None:
            base, url = f"{plain_url(self.location.url)}/", plain_url(location)
            return PurePosixPath(url.removeprefix(base)) if url.startswith(base) else None
        path, folder = Path(os.path.normpath(file)), self.location.folder
        if folder is None or not path.is_relative_to(folder):
            return None
        return PurePosixPath(*path.relative_to(folder).parts)

    def url_of(self, folder: PurePosixPath) -> str:
        """Return the URL of a folder of the mirror, for people and configuration files."""
        return f"{self.location.shown}/{folder}" if folder.parts else self.location.shown

    def urls_of(self, channels: Iterable[str]) -> tuple[str, ...]:
        """Return the URLs that stand for channels of the lock, each once, in their order."""
        return tuple(dict.fromkeys(self.url_of(self.folder_of(each)) for each in channels))


def find_mirror(text: str) -> MirrorLocation:
    """Read what a person calls a mirror; raises the error of exit code 2 for what is none."""
    parts = None if is_no_url(text) else urlsplit(text)
    if parts is not None and parts.scheme in {"http", "https"} and parts.hostname:
        return MirrorLocation(folder=None, url=text.rstrip("/"))
    file = local_path(text, Path()) if is_sound_url(text) else None
    if file is None:
        raise usage_error(redact(text), "a mirror cannot be at such a place", help=_HELP)
    folder = absolute(file)
    with disk_errors(folder, _HELP, "read"):
        there = is_dir(folder)
    if not there:
        raise usage_error(redact(text), "there is no such folder", help=_HELP)
    return MirrorLocation(folder=folder, url=folder.as_uri())


def absolute(path: Path) -> Path:
    """Return the absolute path, without `..` where that names the same file (links may not).

    Raises the error of exit code 2 where the current folder, which it hangs on, is gone.
    """
    try:
        whole = path.absolute()
    except FileNotFoundError:
        raise usage_error(
            str(path),
            "is relative to the current folder, which is not there any more",
            help="name it by its absolute path, or `cd` to a folder that is there",
        ) from None
    plain = Path(os.path.normpath(whole))
    with contextlib.suppress(OSError):  # neither can be read; that is told of elsewhere
        return plain if plain.samefile(whole) else whole
    return whole


def at_url_path(package: LockedPackage, path: PurePosixPath) -> PurePosixPath:
    """Return where it is if the mirror is one channel of a by-channel one, which looks flat."""
    return path.parent.parent / (url_subdir(package.url) or path.parent.name) / path.name


def read_mirror(
    location: MirrorLocation,
    root: Path,
    environments: tuple[LockedEnvironment, ...],
    make_router: Callable[[], Router],
) -> Mirror:
    """Find out the layout, and read the records and pages of all that a lock names.

    `root` is the lock's folder; `make_router` is for a mirror over HTTP. Raises the error of exit
    code 2 where there is nothing of a conda channel.
    """
    with _reader(location, make_router) as (read, denied):
        read_records = functools.cache(functools.partial(_read_records, read, location))
        mirror = _read_channels(location, root, environments, read_records, denied)
        return _with_pypi(mirror, environments, read)


def _read_channels(
    location: MirrorLocation,
    root: Path,
    environments: tuple[LockedEnvironment, ...],
    read: ReadRecords,
    denied: Sequence[MirrorError],
) -> Mirror:
    flat, by_channel = (Mirror(location=location, root=root, layout=each) for each in Layout)
    # A lock made from the mirror says where its channels are: no sign of a flat one.
    signs = [each for each in _subdirs(flat, environments) if len(each.parts) == 1]
    is_flat = bool([each for each in signs if read(each) is not None])
    if is_flat and _has_all_channels(by_channel, environments, read):
        # After a relayout the old files are there until `prune`: the state alone knows which.
        is_flat = _known_layout(location) is Layout.FLAT
    mirror = flat if is_flat else by_channel
    subdirs = _subdirs(mirror, environments)
    found = {each: records for each in subdirs if (records := read(each)) is not None}
    if found:
        return dataclasses.replace(mirror, subdirs=found)
    others = _other_channels(location, read)
    if others:
        return dataclasses.replace(mirror, others=others)
    if denied:
        raise denied[0]
    looked_for = (each for each in dict.fromkeys([*signs, *subdirs]) if each.name == NOARCH)
    raise usage_error(
        location.shown,
        "there is no mirror here, or none of any channel that this lock names",
        ("looked for", ", ".join(f"{each}/{REPODATA}" for each in looked_for)),
        help=_HELP,
    )


def _known_layout(location: MirrorLocation) -> Layout | None:
    """Return the layout that the state beside a folder tells, where there is one to read."""
    if location.folder is not None:
        with contextlib.suppress(MirrorError):
            return read_channel_state(channel_paths(location.folder.resolve())).layout
    return None


def _with_pypi(mirror: Mirror, environments: Iterable[LockedEnvironment], read: ReadFile) -> Mirror:
    """Add what the pages say of the PyPI packages of a lock."""
    rows = pypi_rows(environments)
    listed = read(INDEX / PAGE_JSON, "page") if rows else None
    if listed is None:
        return mirror
    found: dict[PurePosixPath, PypiRecord] = {}
    for name in sorted(_parsed(listed, parse_projects).intersection(x.name for x in rows)):
        page = read(INDEX / name / PAGE_JSON, "page")
        if page is not None:
            files = _parsed(page, functools.partial(parse_page, folder=INDEX / name))
            records = (record for each in files for record in each.records)
            found |= {x.path: record for record in records for x in pypi_artifacts(record)}
    return dataclasses.replace(mirror, pypi=found, has_pages=True)


def _subdirs(mirror: Mirror, environments: Iterable[LockedEnvironment]) -> list[PurePosixPath]:
    """Return every subdir to look for in this layout; `noarch` is what makes a channel (CEP 26)."""
    found = {PurePosixPath(NOARCH)} if mirror.layout is Layout.FLAT else set()
    for environment in environments:
        found |= {mirror.folder_of(channel) / NOARCH for channel in environment.channels}
    for package in locked_packages(environments):
        path = mirror.path_of(package)
        found |= {path.parent, at_url_path(package, path).parent, path.parent.parent / NOARCH}
    return sorted(found)


def _has_all_channels(
    mirror: Mirror, environments: Iterable[LockedEnvironment], read: ReadRecords
) -> bool:
    """Tell whether every channel that something is locked from has a folder of its own."""
    channels = {
        mirror.path_of(each).parent.parent
        for each in locked_packages(environments)
        if not is_own_file(each.url, mirror.root)
    }
    return bool(channels) and all(
        each.parts and read(each / NOARCH) is not None for each in sorted(channels)
    )


def is_own_file(location: str, root: Path) -> bool:
    """Tell whether a location of the lock in `root` names a file that is there."""
    file = local_path(location, root)
    return file is not None and file.is_file()


def _other_channels(location: MirrorLocation, read: ReadRecords) -> tuple[PurePosixPath, ...]:
    """Look for channels that the lock does not name."""
    folder = location.folder
    if folder is None:
        return () if read(_COMMON / NOARCH) is None else (_COMMON,)
    patterns = [f"{'*/' * depth}{NOARCH}/{REPODATA}" for depth in range(1, _DEEPEST + 1)]
    files = [file for pattern in patterns for file in folder.glob(pattern)]
    return tuple(sorted(PurePosixPath(*each.relative_to(folder).parts[:-2]) for each in files))


@contextlib.contextmanager
def _reader(
    location: MirrorLocation, make_router: Callable[[], Router]
) -> Iterator[tuple[ReadFile, Sequence[MirrorError]]]:
    # What a server may say of all that is not there (S3 does), and of all that is.
    folder, denied = location.folder, list[MirrorError]()
    if folder is not None:
        yield lambda path, what: _read_file(folder / path, what), denied
        return
    from scripts.network.http import HttpClient  # brings all of requests along

    with contextlib.closing(HttpClient(make_router(), _POLICY)) as client:
        yield lambda path, what: _fetch(client, location, path, what, denied), denied


def _read_records(
    read: ReadFile, location: MirrorLocation, subdir: PurePosixPath
) -> Records | None:
    """Read the plain JSON, as clients of file:// do; over HTTP the packed one, where it is there.

    None where there is neither.
    """
    for name in (REPODATA,) if location.folder else (REPODATA_ZST, REPODATA):
        found, subject = read(subdir / name, "repodata"), location.file_at(subdir / name)
        if found is not None:
            return _parsed(found, functools.partial(_parse_records, subject=subject))
    return None


def _parse_records(data: bytes, subject: str) -> Records:
    plain = parse_zst(data, subject) if subject.endswith(REPODATA_ZST) else data
    return parse_repodata(plain, subject).records


def _read_file(path: Path, what: str) -> Document | None:
    try:
        return Document(data=read_regular(path, LARGEST))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise not_readable(path, what, error) from None


def _fetch(
    client: HttpClient,
    location: MirrorLocation,
    path: PurePosixPath,
    what: str,
    denied: list[MirrorError],
) -> Document | None:
    url = f"{location.url}/{_quoted(path)}"
    try:
        return ask_in_turn((url,), lambda x: read_whole(client.get(x), LARGEST, what), _POLICY)
    except DownloadError as error:
        if error.kind in ABSENT:
            return None
        problem = error.problem(
            location.file_at(path), url, "pixi run doctor", lead="cannot be read: "
        )
        if problem.code is ExitCode.FINDINGS:  # nothing was answered
            problem = dataclasses.replace(problem, code=ExitCode.USAGE)
        if error.kind is ErrorKind.WRONG_BYTES:  # too many for a mirror, of which nothing is kept
            problem = dataclasses.replace(problem, help=_HELP)
        if error.status in DENIED:
            denied.append(MirrorError(problem))
            return None
        raise MirrorError(problem) from None


def _parsed(found: Document, parse: Callable[[bytes], _Parsed]) -> _Parsed:
    """Parse it as it came, else without the Content-Encoding that it is said to have."""
    try:
        return parse(found.data)
    except DamagedIndexError as error:
        with contextlib.suppress(DownloadError):
            if found.encoding is not None:
                return _parsed(Document(data=decoded(found, LARGEST)), parse)
        ask = "its keeper runs `pixi run index`, then `pixi run verify`"
        problems = (dataclasses.replace(each, help=ask) for each in error.problems)
        raise MirrorError(*problems) from None


def _quoted(path: PurePosixPath) -> str:
    return quote(str(path), safe="/~=@+")
