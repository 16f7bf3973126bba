"""The level `index` for PyPI packages: what both views of the pages say, beside lock and files.

Read by the standard library's parsers, not by what wrote the pages: each file of each name or
index, with its sha256; METADATA as the wheel itself has it; what conda packages are on PyPI.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote

from scripts.channel.archive import BadArchiveError
from scripts.core.channel_url import mirror_path_segments
from scripts.core.errors import Problem, finding_problem
from scripts.core.files import hash_file, holds
from scripts.core.pep508 import pypi_name
from scripts.core.record import PypiRecord, Record
from scripts.core.redact import redact, without_secrets
from scripts.core.symlinks import link_above
from scripts.index.distribution import read_distribution
from scripts.index.file_classes import IndexedArtifact
from scripts.index.pypi_pages import (
    INDEX,
    MAPPING,
    PAGE,
    PAGE_JSON,
    SIMPLE,
    metadata_path,
    public_record,
)
from scripts.index.readback import read_index_file
from scripts.index.repodata import DamagedIndexError
from scripts.lock.pypi import FILES, index_folder, is_second_place, purl_names, pypi_artifacts
from scripts.lock.select import Selection
from scripts.verify.findings import link_problem

_HELP: Final = "pixi run index"
_HASH: Final = "sha256="

# What is wrong, and the files that it concerns.
Wrong = tuple[Problem, tuple[PurePosixPath, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLink:
    """What a page of an index says of one file (PEP 503, 592, 691); None: it does not say."""

    name: str
    url: str
    """As it is written, perhaps relative to the page; without its fragment."""
    sha256: str | None
    requires_python: str | None
    metadata: str | None
    """The sha256 of the `.metadata` file."""
    yanked: str | None
    """The reason, which may be empty; None: it is not yanked."""
    version: object = None
    upstream: object = None
    """What the next `index` reads back: `_version` and `_upstream` of `index/`, as JSON has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file as the pages are to have it; `metadata` is the sha256 of a wheel's METADATA."""

    record: PypiRecord
    path: PurePosixPath
    sha256: str | None
    metadata: str | None


def check_pypi_index(
    folder: Path,
    selection: Selection,
    kept: Sequence[IndexedArtifact],
    waiting: AbstractSet[PurePosixPath],
) -> Iterator[Wrong]:
    """Compare all that describes PyPI packages, but for pages that wait for their removal.

    `kept` is what pages name and this lock does not. The pages themselves keep that, those of
    `index/`, so it is held against the files and one view against the other.
    """
    files = dict[PurePosixPath, _File]()
    for each in _files(folder, selection, kept):  # of two projects in one archive, as `distinct`
        same = (each, files.get(each.path, each))
        files[each.path] = min(same, key=lambda file: file.record.location)
    links = {root / each for each in selection.find_links for root in (SIMPLE, FILES)}
    rows = [(each, next(pypi_artifacts(each)).path) for each in selection.pypi_rows]
    rows += [(row, each.path) for each in kept if each.path in files for row in each.rows]
    wanted = _wanted(rows, files, links)
    pages = (*_pages(folder, INDEX), *_pages(folder, SIMPLE))
    there = {each.parent for each in pages if each not in waiting}
    for place in sorted(wanted.keys() | there):
        for name in (PAGE, PAGE_JSON):
            named = {} if place in links and name == PAGE_JSON else wanted.get(place, {})
            for problem, paths in _compare_page(folder, place / name, named, files):
                yield problem, tuple(files) if place in links else paths
    for path in sorted(x for x in waiting if x.parent in wanted and x.name in {PAGE, PAGE_JSON}):
        concerned = tuple(x.path for x in wanted[path.parent].values()) or tuple(files)
        yield _wrong(path, "waits for its removal, and a lock needs it"), concerned
    for each in files.values():
        yield from _compare_metadata(folder, each)
    if files:
        yield from _compare_mapping(folder, selection, kept, tuple(files))


def _wanted(
    rows: Sequence[tuple[PypiRecord, PurePosixPath]],
    files: Mapping[PurePosixPath, _File],
    links: AbstractSet[PurePosixPath],
) -> dict[PurePosixPath, dict[str, _File]]:
    """Return of each page, by its folder, what it is to name; of `find-links` those in HTML."""
    wanted: dict[PurePosixPath, dict[str, _File]] = {each: {} for each in links}
    for each in files.values():
        wanted.setdefault(INDEX / each.record.name, {})[str(each.path)] = each
    # which have their pages beside the files, too
    own = {x.index for x, _ in rows if x.index and x.location.startswith(f"{x.index}/")}
    for record, path in rows:
        place, file = index_folder(record.index or ""), files[path]
        if place is None:
            continue
        url = without_secrets(record.location, of_pypi=True)
        for root in (
            (SIMPLE, FILES) if record.index in own or SIMPLE / place in links else (SIMPLE,)
        ):
            wanted.setdefault(root / place / record.name, {})[url] = file
            if root / place in links:
                wanted[root / place][url] = file
    return wanted


def _files(folder: Path, selection: Selection, kept: Sequence[IndexedArtifact]) -> Iterator[_File]:
    """Yield each file once; that of a direct URL has a second place, which no page names."""
    locked = {each.path: each for each in selection.pypi_artifacts}
    for record in selection.pypi_rows:
        path = next(pypi_artifacts(record)).path
        digest = locked[path].digest
        yield _file(folder, path, record, None if digest is None else digest.hex)
    for each in kept:
        is_first = not is_second_place(each.path) and each.path not in locked
        if is_first and isinstance(each.record, PypiRecord):
            yield _file(folder, each.path, each.record, each.record.sha256)


def _file(folder: Path, path: PurePosixPath, record: PypiRecord, sha256: str | None) -> _File:
    metadata, file = None, folder / path
    with contextlib.suppress(OSError, BadArchiveError):  # the levels `files` and `archives` tell
        if path.suffix == ".whl" and file.is_file():  # a pipe would be waited for
            data = read_distribution(file).metadata
            # The pages are not to blame for what is another wheel by now.
            if (
                sha256 is None
                or holds(folder / metadata_path(path), data)
                or hash_file(file, "sha256") == sha256
            ):
                metadata = hashlib.sha256(data).hexdigest()
    return _File(record=record, path=path, sha256=sha256, metadata=metadata)


def _pages(folder: Path, below: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield every page below a folder of the channel folder; one's own folder may be named so."""
    for name in (PAGE, PAGE_JSON):
        for each in (folder / below).rglob(name):
            if not each.is_dir():
                yield PurePosixPath(each.relative_to(folder))


def _compare_page(
    folder: Path,
    path: PurePosixPath,
    wanted: Mapping[str, _File],
    files: Mapping[PurePosixPath, _File],
) -> Iterator[Wrong]:
    """Compare one page with the files that it is to name; what else it names must be there."""
    concerned, wrong = tuple(each.path for each in wanted.values()), list[Wrong]()
    data = _read(folder, path)
    if isinstance(data, Problem):
        yield data, concerned
        return
    try:
        if path.name == PAGE_JSON:  # a list of projects has no files
            document = json.loads(data.decode())
            links = json_links(document.get("files", ()))
            wrong += _compare_list(path, document, files)
        else:
            links = html_links(data.decode())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        yield _wrong(path, f"is no page of an index ({type(error).__name__})"), concerned
        return
    yield from wrong
    found = {_target(each.url, path): each for each in links}
    if len(found) < len(links):
        yield _wrong(path, "names a file twice"), concerned
    for target, file in wanted.items():
        if target not in found:
            missing = _wrong(path, f"does not name {file.path.name}", ("file", str(file.path)))
            yield missing, (file.path,)
    for target, link in found.items():
        named = wanted.get(target) or files.get(_path_of(target))
        if named is None:
            there = "no lock names" if (folder / _path_of(target)).is_file() else "is not there"
            yield _wrong(path, f"names a file that {there}", ("file", redact(target))), concerned
            continue
        for what, *sides in _differences(link, named, path):
            details = zip(("expected", "actual"), map(str, sides), strict=True)
            message = f"has another {what} of {named.path.name}"
            yield _wrong(path, message, *details), (named.path,)


def _compare_list(
    path: PurePosixPath, document: Mapping[str, Any], files: Mapping[PurePosixPath, _File]
) -> Iterator[Wrong]:
    """Compare a page with the projects that it is to name: a list, by which `doctor` goes."""
    if path.parent == INDEX:
        names = {each.record.name for each in files.values()}
        for name in sorted(names - {each["name"] for each in document["projects"]}):
            paths = (each.path for each in files.values() if each.record.name == name)
            yield _wrong(path, f"does not name {name}"), tuple(paths)


def _read(folder: Path, path: PurePosixPath) -> bytes | Problem:
    """Return the bytes of an index file, or why it has none."""
    if (link := link_above(folder, path)) is not None:
        return link_problem(link)
    try:
        return read_index_file(folder / path.parent, path.parent, path.name)
    except DamagedIndexError as error:
        return error.problems[0]


def _wrong(path: PurePosixPath, message: str, *details: tuple[str, str]) -> Problem:
    return finding_problem(path, message, *details, help=_HELP)


def _path_of(target: str) -> PurePosixPath:
    """Return where the mirror has what a page names, by path or URL."""
    segments = mirror_path_segments(target) if "://" in target else None
    return FILES.joinpath(*segments) if segments else PurePosixPath(target)


def _differences(
    link: PageLink, file: _File, path: PurePosixPath
) -> Iterator[tuple[str, str | None, str | None]]:
    if link.name != file.path.name:
        yield "filename", file.path.name, link.name
    if file.sha256 is not None and link.sha256 != file.sha256:
        yield "sha256", file.sha256, link.sha256
    if link.yanked is not None:  # pixi and uv would lock no such file
        yield "'yanked'", None, link.yanked
    if link.requires_python != file.record.requires_python:
        yield "Requires-Python", file.record.requires_python, link.requires_python
    is_said = INDEX in path.parents or link.metadata is not None
    if is_said and file.metadata is not None and link.metadata != file.metadata:
        yield "sha256 of the METADATA", file.metadata, link.metadata
    if INDEX in path.parents and path.name == PAGE_JSON:
        public = public_record(file.record, "")
        source = {"index": public.index, "url": public.location}
        if link.version != public.version:
            yield "'_version'", public.version, str(link.version)
        if not isinstance(link.upstream, list) or source not in link.upstream:
            yield "'_upstream'", str(source), str(link.upstream)


class _Links(HTMLParser):
    """Gathers the attributes of all links.

    What follows a title without an end is text, as it is to uv; to Python from 3.13.6 on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self.set_cdata_mode(tag)
        if tag == "a":
            self.found.append(dict(attrs))


def html_links(text: str) -> list[PageLink]:
    """Return what a page says of its files (PEP 503); links to folders are none."""
    parser = _Links()
    parser.feed(text)
    parser.close()
    links = []
    for each in parser.found:
        url, _, fragment = (each.get("href") or "").partition("#")
        if not url.endswith("/"):
            links.append(
                PageLink(
                    name=unquote(url.partition("?")[0].rpartition("/")[2]),
                    url=url,
                    sha256=_hex(fragment),
                    requires_python=each.get("data-requires-python"),
                    metadata=_hex(each.get("data-core-metadata") or ""),
                    yanked=each["data-yanked"] or "" if "data-yanked" in each else None,
                )
            )
    return links


def json_links(files: Iterable[Any]) -> list[PageLink]:
    """Return what the rows of a page say (PEP 691); raises KeyError and such for what is none."""
    links = []
    for each in files:
        sha256, metadata = each["hashes"].get("sha256"), each.get("core-metadata")
        yanked = each.get("yanked")  # the reason, or true
        requires_python = each.get("requires-python")
        if not isinstance(requires_python, str | None):
            raise TypeError(requires_python)
        links.append(
            PageLink(
                name=str(each["filename"]),
                url=each["url"].partition("#")[0],
                sha256=sha256 if isinstance(sha256, str) else None,
                requires_python=requires_python,
                metadata=metadata.get("sha256") if isinstance(metadata, dict) else None,
                yanked=(yanked if isinstance(yanked, str) else "") if yanked else None,
                version=each.get("_version"),
                upstream=each.get("_upstream"),
            )
        )
    return links


def _target(url: str, path: PurePosixPath) -> str:
    if "://" in url:
        return url
    return posixpath.normpath(posixpath.join(str(path.parent), unquote(url)))


def _hex(text: str) -> str | None:
    return text.removeprefix(_HASH) if text.startswith(_HASH) else None


def _compare_metadata(folder: Path, file: _File) -> Iterator[Wrong]:
    """Compare what is beside a wheel with its METADATA (PEP 658)."""
    if file.metadata is None:
        return
    path = metadata_path(file.path)
    data = _read(folder, path)
    if isinstance(data, Problem):
        yield data, (file.path,)
    elif (actual := hashlib.sha256(data).hexdigest()) != file.metadata:
        sides = ("expected", file.metadata), ("actual", actual)
        yield _wrong(path, "is not the METADATA of its wheel", *sides), (file.path,)


def _compare_mapping(
    folder: Path,
    selection: Selection,
    kept: Sequence[IndexedArtifact],
    files: tuple[PurePosixPath, ...],
) -> Iterator[Wrong]:
    """Compare what conda packages are called on PyPI with their `purls`.

    What is not in it, pixi takes to have the same name there. What locks do not say alike, it has
    as that of the workspace which was mirrored last.
    """
    data = _read(folder, MAPPING)
    if isinstance(data, Problem):
        yield data, files
        return
    try:
        names = dict[str, Any](json.loads(data.decode()).items())
    except (ValueError, AttributeError, RecursionError):
        yield _wrong(MAPPING, "is no mapping of conda packages to names on PyPI"), files
        return
    own = _said_names(each.conda_record for each in selection.conda_artifacts)
    others = _said_names(each.record for each in kept if isinstance(each.record, Record))
    for name, said in sorted(own.items()):
        some = said | others.get(name, set())
        actual = names.get(name, name)
        if (actual and pypi_name(str(actual))) not in some:
            sides = ("expected", ", ".join(map(str, some))), ("actual", str(actual))
            yield _wrong(MAPPING, f"has another name on PyPI of {name}", *sides), files


def _said_names(records: Iterable[Record]) -> dict[str, set[str | None]]:
    """Return by name what the `purls` of conda packages say; None: that PyPI has them not."""
    names: dict[str, set[str | None]] = {}
    for record in records:
        found = purl_names(record.purls or ())
        if record.purls is not None and (found or not record.purls):
            names.setdefault(record.name, set()).update(found or (None,))
    return names
