"""A mirror as a consumer sees it: where it is, how it is laid out, which records it has.

Only repodata is read, from a folder or over HTTP, and no artifact.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os.path
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from scripts.core.channel_paths import Layout, folder_of_channel
from scripts.core.errors import ExitCode, MirrorError, Problem, usage_error
from scripts.core.files import not_readable
from scripts.core.record import Record
from scripts.core.redact import redact, without_secrets
from scripts.core.subdir import NOARCH
from scripts.index.repodata import (
    REPODATA,
    REPODATA_ZST,
    DamagedIndexError,
    parse_repodata,
    parse_zst,
)
from scripts.lock.location import is_path, is_sound_url, url_subdir
from scripts.lock.model import LockedEnvironment, LockedPackage
from scripts.lock.select import path_of
from scripts.network.content import SUPPORTED_ENCODINGS, NotEncodedError, decode, local_path
from scripts.network.errors import DownloadError, web_page_error
from scripts.network.mirrors import origin
from scripts.network.retry import RetryPolicy, backoff_delay
from scripts.network.router import Router

_POLICY: Final = RetryPolicy(total=3)
_LARGEST: Final = 1 << 30  # bytes; conda-forge's largest repodata is a third of that
_GONE: Final = frozenset({404, 410})
_DEEPEST: Final = 3  # folders of a channel's name: nvidia/label/cuda-11.8.0
_MOST_PAGES: Final = 50  # lists of folders that are asked for
_LINK: Final = re.compile(rb"""href=["'](?:\./)?([^"'?#/:]+)/["']""", re.IGNORECASE)
# Where a server lists no folders, this is the channel that a mirror most likely has.
_COMMON: Final = PurePosixPath("conda-forge")
_WHAT: Final = "a folder, a file:// or an http(s):// URL; in it noarch/repodata.json, or folders"
_HELP: Final = f"name the mirror: --mirror PLACE ({_WHAT} of channels like conda-forge)"

Records = Mapping[str, Record]


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
class Mirror:
    """What is at a place, for a lock in the folder `root`.

    `subdirs` are the records by file name of each subdir looked for that is there. All paths are
    relative to the mirror: `linux-64`, or `conda-forge/linux-64`. `others`, where none of the
    lock's channels is there, are those that are, as far as the place lists them.
    """

    place: MirrorPlace
    root: Path
    layout: Layout
    subdirs: Mapping[PurePosixPath, Records] = field(default_factory=dict)
    others: tuple[PurePosixPath, ...] = ()

    @property
    def channels(self) -> frozenset[PurePosixPath]:
        """The folders of the conda channels that are there (`.` in a flat mirror)."""
        return frozenset(path.parent for path in self.subdirs)

    def path_of(self, package: LockedPackage) -> PurePosixPath:
        """Return where an artifact should be; a lock made from the mirror says so itself."""
        inner = self.path_inside(package.url)
        if inner is not None:
            return inner.parent / str(package.file_name)
        return path_of(self.layout, package)

    def folder_of(self, channel: str) -> PurePosixPath:
        """Return the folder that stands for a channel of the lock."""
        inner = self.path_inside(f"{channel.rstrip('/')}/{NOARCH}")
        return folder_of_channel(self.layout, channel) if inner is None else inner.parent

    def path_inside(self, location: str) -> PurePosixPath | None:
        """Return a location's path relative to the mirror, None where it lies elsewhere."""
        file = local_path(location, self.root)
        if file is None:
            base, url = f"{plain_url(self.place.url)}/", plain_url(location)
            return PurePosixPath(url.removeprefix(base)) if url.startswith(base) else None
        path, folder = Path(os.path.normpath(file)), self.place.folder
        if folder is None or not path.is_relative_to(folder):
            return None
        return PurePosixPath(*path.relative_to(folder).parts)

    def url_of(self, folder: PurePosixPath) -> str:
        """Return the URL of a folder of the mirror, for people and configuration files."""
        return f"{self.place.shown}/{folder}" if folder.parts else self.place.shown

    def urls_of(self, channels: Iterable[str]) -> tuple[str, ...]:
        """Return the URLs that stand for channels of the lock, each once, in their order."""
        return tuple(dict.fromkeys(self.url_of(self.folder_of(each)) for each in channels))


def find_mirror(text: str) -> MirrorPlace:
    """Read what a person calls a mirror; raises the error of exit code 2 for what is none."""
    if is_path(text):
        file: Path | None = Path(text)
    elif urlsplit(text).scheme in {"http", "https"} and is_sound_url(text):
        if not urlsplit(text).hostname:
            raise usage_error(redact(text), "this URL names no host", help=_HELP)
        return MirrorPlace(folder=None, url=text.rstrip("/"))
    else:
        file = local_path(text, Path()) if is_sound_url(text) else None
    if file is None:
        raise usage_error(redact(text), "a mirror cannot be at such a place", help=_HELP)
    folder = absolute(file)
    if not folder.is_dir():
        raise usage_error(redact(text), "there is no such folder", help=_HELP)
    return MirrorPlace(folder=folder, url=folder.as_uri())


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
    try:
        return plain if plain.samefile(whole) else whole
    except OSError:  # neither can be read; that is told of elsewhere
        return whole


def plain_url(url: str) -> str:
    """Write a URL so that two of them that lead to one file are equal strings, secrets left out."""
    plain = without_secrets(url)
    return f"{origin(plain)}{unquote(urlsplit(plain).path).rstrip('/')}"


def at_url_path(package: LockedPackage, path: PurePosixPath) -> PurePosixPath:
    """Return where it is if the mirror is one channel of a by-channel one, which looks flat."""
    return path.parent.parent / (url_subdir(package.url) or path.parent.name) / path.name


def read_mirror(
    place: MirrorPlace,
    root: Path,
    environments: tuple[LockedEnvironment, ...],
    files: frozenset[str],
    router: Router | None,
) -> Mirror:
    """Find out the layout, and read the records of all subdirs that artifacts of a lock lie in.

    `root` is the lock's folder; `files` are the locations of the lock that are files of one's own;
    `router` is the way to a mirror over HTTP.
    Raises the error of exit code 2 where there is nothing of a conda channel.
    """
    with contextlib.closing(_Repodata(place, router)) as repodata:
        looked_for: list[PurePosixPath] = []
        views = {each: Mirror(place=place, root=root, layout=each) for each in Layout}
        wanted = {each: sorted(set(_subdirs(views[each], environments))) for each in Layout}
        for layout, subdirs in wanted.items():
            is_flat = layout is Layout.FLAT
            # A lock made from the mirror says where its channels are: no sign of a flat one.
            signs = [each for each in subdirs if not is_flat or len(each.parts) == 1]
            there = [repodata.records(each) is not None for each in signs]  # asks for all of them
            if any(there):
                # What was flat before it was by-channel keeps the old files until `prune`.
                by_channel = views[Layout.BY_CHANNEL]
                if is_flat and _has_all_channels(by_channel, environments, files, repodata):
                    layout = Layout.BY_CHANNEL  # noqa: PLW2901
                found = ((each, repodata.records(each)) for each in wanted[layout])
                subdirs_there = {each: records for each, records in found if records is not None}
                return dataclasses.replace(views[layout], subdirs=subdirs_there)
            looked_for += (each for each in signs if each.name == NOARCH)
        others = repodata.channels()
    if others:
        return dataclasses.replace(views[Layout.BY_CHANNEL], others=others)
    raise usage_error(
        place.shown,
        "there is no mirror here, or none of any channel that this lock names",
        ("looked for", ", ".join(f"{each}/{REPODATA}" for each in dict.fromkeys(looked_for))),
        help=_HELP,
    )


def _packages(environments: Iterable[LockedEnvironment]) -> Iterator[LockedPackage]:
    for environment in environments:
        for rows in environment.platforms:
            yield from rows.packages
            yield from rows.build_packages


def _subdirs(mirror: Mirror, environments: Iterable[LockedEnvironment]) -> Iterator[PurePosixPath]:
    """Yield every subdir to look for in this layout; `noarch` is what makes a channel (CEP 26)."""
    if mirror.layout is Layout.FLAT:
        yield PurePosixPath(NOARCH)
    for environment in environments:
        for channel in environment.channels:
            yield mirror.folder_of(channel) / NOARCH
    for package in _packages(environments):
        path = mirror.path_of(package)
        yield path.parent
        yield at_url_path(package, path).parent
        yield path.parent.parent / NOARCH


def _has_all_channels(
    mirror: Mirror,
    environments: Iterable[LockedEnvironment],
    files: frozenset[str],
    repodata: _Repodata,
) -> bool:
    """Tell whether every channel that something is locked from has a folder of its own."""
    packages = (each for each in _packages(environments) if each.url not in files)
    channels = {mirror.path_of(each).parent.parent for each in packages}
    try:
        return bool(channels) and all(
            each.parts and repodata.records(each / NOARCH) is not None for each in sorted(channels)
        )
    except MirrorError as error:
        # A server may forbid what is not there (S3 does): the flat mirror has just answered.
        is_over_http = mirror.place.folder is None
        if is_over_http and {each.code for each in error.problems} == {ExitCode.USAGE}:
            return False
        raise


class _Repodata:
    """Reads the repodata of each subdir once; close it at the end."""

    def __init__(self, place: MirrorPlace, router: Router | None) -> None:
        self._place = place
        self._client = None
        if router is not None:
            from scripts.network.http import HttpClient  # brings all of requests along

            self._client = HttpClient(router, _POLICY)
        self._known: dict[PurePosixPath, Records | None] = {}
        self._pages = 0

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def records(self, subdir: PurePosixPath) -> Records | None:
        """Return the records of a subdir by file name, None where it has no repodata."""
        if subdir not in self._known:
            folder = self._place.folder
            found = self._download(subdir) if folder is None else _read(folder / subdir / REPODATA)
            self._known[subdir] = found
        return self._known[subdir]

    def channels(self) -> tuple[PurePosixPath, ...]:
        """Look for channels that no lock names, as far as the place lists its folders."""
        folder = self._place.folder
        if folder is None:
            found = self._listed(PurePosixPath()) or (
                [_COMMON] if self._is_channel(_COMMON) else []
            )
            return tuple(sorted(found))
        patterns = [f"{'*/' * depth}{NOARCH}/{REPODATA}" for depth in range(1, _DEEPEST + 1)]
        files = [file for pattern in patterns for file in folder.glob(pattern)]
        return tuple(sorted(PurePosixPath(*each.relative_to(folder).parts[:-2]) for each in files))

    def _listed(self, folder: PurePosixPath) -> list[PurePosixPath]:
        """Read the page on which a server lists a folder, and those of the folders in it."""
        self._pages += 1
        url = f"{self._place.url}/{_quoted(folder)}/" if folder.parts else f"{self._place.url}/"
        page = None
        with contextlib.suppress(MirrorError):  # there is none, or nobody may read it
            page = self._get(url, self._place.shown, is_page=True)
        found = []
        for name in dict.fromkeys(_LINK.findall(page[0] if page else b"")):
            inner = folder / unquote(name.decode("utf-8", "replace"))
            if ".." in inner.parts or self._pages >= _MOST_PAGES:
                continue
            if self._is_channel(inner):
                found.append(inner)
            elif len(inner.parts) < _DEEPEST:
                found += self._listed(inner)
        return found

    def _is_channel(self, folder: PurePosixPath) -> bool:
        with contextlib.suppress(MirrorError):
            return self.records(folder / NOARCH) is not None
        return False

    def _download(self, subdir: PurePosixPath) -> Records | None:
        """Ask for the repodata.json.zst of a subdir, else for its repodata.json."""
        for name in (REPODATA_ZST, REPODATA):
            path = f"{_quoted(subdir)}/{name}"
            subject = f"{self._place.shown}/{path}"
            found = self._get(f"{self._place.url}/{path}", subject)
            if found is not None:
                return _parsed(found[0], subject, found[1])
        return None

    def _get(
        self, url: str, subject: str, *, is_page: bool = False
    ) -> tuple[bytes, str | None] | None:
        """Return a file's bytes and encoding, None where the server has no such file."""
        for attempt in range(1, _POLICY.total + 1):
            try:
                return self._body(url, subject, is_page=is_page)
            except DownloadError as error:
                if error.status in _GONE:
                    return None
                if attempt == _POLICY.total or not error.is_retryable:
                    raise MirrorError(_unread(subject, url, error)) from None
                time.sleep(backoff_delay(attempt + 1, error, _POLICY))
        raise AssertionError("the last try returns or raises")

    def _body(self, url: str, subject: str, *, is_page: bool) -> tuple[bytes, str | None]:
        """Return a file's bytes and the encoding that the server says is around them."""
        parts, size = [], 0
        if self._client is None:
            raise AssertionError("a folder is not asked over HTTP")
        body = self._client.get(url)
        with contextlib.closing(body.chunks) as chunks:
            if body.is_page and not is_page:
                raise web_page_error()
            for chunk in chunks:
                parts.append(chunk)
                size += len(chunk)
                if size > _LARGEST:
                    message = "cannot be read: larger than any repodata should be"
                    raise usage_error(subject, message, help=_HELP)
        return b"".join(parts), body.encoding


def _quoted(path: PurePosixPath) -> str:
    return quote(str(path), safe="/~=@+")


def _read(path: Path) -> Records | None:
    """Read the plain JSON, as clients of file:// do; None where there is none."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise not_readable(path, "repodata", error) from None
    return _parsed(data, str(path))


def _parsed(data: bytes, subject: str, encoding: str | None = None) -> Records:
    """Parse repodata; `encoding` is undone where the bytes as they came are none."""
    try:
        plain = parse_zst(data, subject) if subject.endswith(REPODATA_ZST) else data
        return parse_repodata(plain, subject).records
    except DamagedIndexError as error:
        if encoding in SUPPORTED_ENCODINGS:
            with contextlib.suppress(NotEncodedError):
                plain = b"".join(decode(io.BytesIO(data), encoding, _LARGEST))
                return _parsed(plain, subject)
        ask = "its keeper runs `pixi run index`, then `pixi run verify`"
        raise MirrorError(
            *(dataclasses.replace(each, help=ask) for each in error.problems)
        ) from None


def _unread(subject: str, url: str, error: DownloadError) -> Problem:
    """Say why a mirror could not be read, and what to do."""
    code = error.kind.code
    return Problem(
        subject=subject,
        message=f"cannot be read: {redact(error.text)}",
        code=ExitCode.USAGE if code is ExitCode.FINDINGS else code,  # nothing was answered
        details=error.details,
        help=error.kind.help_at(url, "pixi run doctor"),
    )
