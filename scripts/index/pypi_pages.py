"""The pages of PyPI packages as values: what they say of each file, and how they are written.

There are two views of the same files. Below `simple/` is each index under its own host and path,
as pixi asks a mirror of it: links are the files' own URLs, so that a new lock is as the old one.
Below `index/` are all of them by name with relative links, for pip and uv. A page is HTML (PEP
503, 658, 714) with the same as JSON beside it (PEP 691, 700); that of `index/` is read back by the
next run, for what the lock no longer names. Keys with an underscore are private to it (PEP 691).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote, unquote

from scripts.core.artifact import Artifact
from scripts.core.channel_url import PYPI_FOLDER, is_conda_forge, mirror_path_segments
from scripts.core.errors import MirrorError
from scripts.core.pep508 import pypi_name
from scripts.core.record import PypiRecord
from scripts.core.redact import is_utf8, without_secrets
from scripts.core.report import Json
from scripts.core.scratch import is_scratch
from scripts.core.typed_values import typed
from scripts.index.repodata import damaged_index
from scripts.lock.pypi import (
    ARCHIVES,
    FILES,
    first_place,
    index_folder,
    is_project_name,
    public_fragment,
    pypi_artifacts,
)

INDEX: Final = PurePosixPath(PYPI_FOLDER, "index")
"""Folder of the files of all indexes, by name."""
SIMPLE: Final = PurePosixPath(PYPI_FOLDER, "simple")
"""Folder of each index, by host and path."""
MAPPING: Final = PurePosixPath(PYPI_FOLDER, "mapping/compressed-v0/compressed_mapping.json")
"""What conda packages are called on PyPI, where pixi asks conda-mapping.prefix.dev for it."""
PAGE: Final = "index.html"
PAGE_JSON: Final = "index.v1_json"
METADATA: Final = ".metadata"
"""Behind the name of a wheel: its METADATA (PEP 658)."""

_PLAIN: Final = "/+!=@(),"
_PAGE: Final = """\
<!DOCTYPE html>
<html>
<head>
<meta name="pypi:repository-version" content="1.1">
<title>{{ title }}</title>
</head>
<body>
{% for file in files %}
<a href="{{ file['url'] }}#sha256={{ file['hashes']['sha256'] }}"
{%- if file['requires-python'] %} data-requires-python="{{ file['requires-python'] }}"{% endif %}
{%- if file['core-metadata'] %}
 data-core-metadata="sha256={{ file['core-metadata']['sha256'] }}"
{%- endif -%}
>{{ file['filename'] }}</a><br>
{% endfor %}
{% for project in projects %}
<a href="{{ project['name'] }}/">{{ project['name'] }}</a><br>
{% endfor %}
</body>
</html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PypiFile:
    """A wheel or sdist as the pages have it.

    `records` are the rows that it is from, no secrets in them, each with the sha256: one for each
    index that has it. `metadata` is the sha256 of the `.metadata` file; None: there is none.
    """

    path: PurePosixPath
    size: int
    records: tuple[PypiRecord, ...]
    metadata: str | None = None

    @property
    def record(self) -> PypiRecord:
        """The first of them; in name, version and bytes all are the same."""
        return self.records[0]


# Its folder, its JSON, and the files that the HTML of a list of projects names in their place.
_Page = tuple[PurePosixPath, dict[str, Any], Sequence[Json]]


def public_record(record: PypiRecord, sha256: str) -> PypiRecord:
    """Return what of a row may stand in a page; a fragment stays, for the second place it means."""
    plain, fragment = record.location.partition("#")[0], public_fragment(record.location)
    return PypiRecord(
        name=record.name,
        version=record.version,
        location=f"{without_secrets(plain, of_pypi=True)}{fragment and '#'}{fragment}",
        index=None if record.index is None else without_secrets(record.index),
        sha256=sha256,
        requires_python=record.requires_python,
    )


def is_pypi_artifact_path(path: PurePosixPath) -> bool:
    """Tell whether a wheel or sdist could be here, by its name alone."""
    return _is_below(path, FILES) and ARCHIVES.search(first_place(path).name) is not None


def is_pypi_index_path(path: PurePosixPath) -> bool:
    """Tell whether a file is one of those that describe wheels and sdists, by its name alone.

    Or what a kill left of one.
    """
    name = path.name
    if is_scratch(name):
        name = name.rsplit(".", 3)[0]
        path = path.with_name(name)
    if name in {PAGE, PAGE_JSON}:
        return any(_is_below(path, each) for each in (FILES, INDEX, SIMPLE))
    return path == MAPPING or (name.endswith(f".whl{METADATA}") and _is_below(path, FILES))


def _is_below(path: PurePosixPath, folder: PurePosixPath) -> bool:
    return path.parts[: len(folder.parts)] == folder.parts and is_utf8(str(path))


def metadata_path(wheel: PurePosixPath) -> PurePosixPath:
    """Return the place of a wheel's METADATA (PEP 658)."""
    return wheel.with_name(f"{wheel.name}{METADATA}")


def render_pages(
    files: Iterable[PypiFile], find_links: Collection[PurePosixPath]
) -> dict[PurePosixPath, bytes]:
    """Write all pages of both views; in each folder the JSON before the HTML.

    `find_links` are the folders of such pages, of which there may be no file.
    """
    ordered = sorted(files, key=lambda each: (each.path.name, each.path))
    template, pages = _template(), dict[PurePosixPath, bytes]()
    for folder, page, flat in (*_simple_pages(ordered, find_links), *_index_pages(ordered)):
        text = json.dumps(page, separators=(",", ":"), ensure_ascii=False)
        pages[folder / PAGE_JSON] = text.encode()
        title = f"Links for {page['name']}" if "name" in page else "Simple index"
        shown = {"files": flat} if flat else page
        pages[folder / PAGE] = template.render({"title": title, **shown}).encode()
    return pages


def _index_pages(files: Iterable[PypiFile]) -> Iterator[_Page]:
    """Yield the pages of all files by name."""
    by_name: dict[str, list[PypiFile]] = {}
    for file in files:
        by_name.setdefault(file.record.name, []).append(file)
    for name, some in sorted(by_name.items()):
        paths = (str(each.path.relative_to(PYPI_FOLDER)) for each in some)
        # As plain as can be: of a file:// index pixi 0.77 takes `%2B` for a part of the name.
        urls = [f"../../{quote(each, safe=_PLAIN)}" for each in paths]
        rows = [_private_row(*each) for each in zip(some, urls, strict=True)]
        yield INDEX / name, _project_page(name, some, rows), ()
    if by_name:
        yield INDEX, _list(by_name), ()


def _simple_pages(
    files: Iterable[PypiFile], find_links: Collection[PurePosixPath]
) -> Iterator[_Page]:
    """Yield the pages of each index.

    One that has files below its own URL has its pages beside them, too: to pixi, one key of
    `[mirrors]` is for all that is below a URL. So has a page of `find-links`, whose URL itself no
    key of its own is for; it names its files, and nobody asks it for the projects. One that no
    lock names any more is told by files that are directly below it.
    """
    projects: dict[PurePosixPath, dict[str, dict[str, PypiFile]]] = {x: {} for x in find_links}
    flat: dict[PurePosixPath, dict[str, PypiFile]] = {}
    has_files = set(find_links)
    for file in files:
        for record in file.records:
            folder = None if record.index is None else index_folder(record.index)
            if folder is None:  # of a direct URL, or of a file beside the lock
                continue
            url = record.location.partition("#")[0]
            by_name = projects.setdefault(folder, {})
            by_name.setdefault(record.name, {})[url] = file
            if url.startswith(f"{record.index}/"):
                has_files.add(folder)
            if url.rpartition("/")[0] == record.index or folder in find_links:
                flat.setdefault(folder, {})[url] = file
    for folder, by_name in sorted(projects.items()):
        pages = list[_Page]()
        for name, by_url in sorted(by_name.items()):
            rows = [_row(each, url) for url, each in by_url.items()]
            pages.append((folder / name, _project_page(name, by_url.values(), rows), ()))
        beside = [_row(each, url) for url, each in flat.get(folder, {}).items()]
        pages.append((folder, _list(by_name), beside))
        for root in (SIMPLE, FILES) if folder in has_files else (SIMPLE,):
            yield from ((root / place, page, files) for place, page, files in pages)


def _template() -> Any:
    from jinja2 import Environment

    environment = Environment(
        autoescape=True, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_PAGE)


def _list(names: Iterable[str]) -> dict[str, Any]:
    """Write the list of all projects (PEP 691)."""
    return {
        "meta": {"api-version": "1.1"},
        "projects": [{"name": each} for each in sorted(names)],
    }


def _project_page(name: str, files: Iterable[PypiFile], rows: Sequence[Json]) -> dict[str, Any]:
    versions = dict.fromkeys(each.record.version or "" for each in files)
    return {
        "meta": {"api-version": "1.1"},
        "name": name,
        "versions": list(versions),
        "files": rows,
    }


def _row(file: PypiFile, url: str) -> dict[str, Json]:
    record = file.record
    row: dict[str, Json] = {
        "filename": file.path.name,
        "url": url,
        "hashes": {"sha256": record.sha256},
        "size": file.size,
    }
    if record.requires_python is not None:
        row["requires-python"] = record.requires_python
    if file.metadata is not None:
        row["core-metadata"] = {"sha256": file.metadata}
    return row


def _private_row(file: PypiFile, url: str) -> dict[str, Json]:
    """Add what `parse_page` reads back."""
    upstream = [{"index": each.index, "url": each.location} for each in file.records]
    return {**_row(file, url), "_version": file.record.version, "_upstream": upstream}


def parse_page(
    data: bytes, folder: PurePosixPath, but: Collection[PurePosixPath] = ()
) -> list[PypiFile]:
    """Read the JSON of a project's page below `index/`, as this module writes it.

    What is at the places `but` is left out. Raises DamagedIndexError where it is no such page.
    """
    subject = str(folder / PAGE_JSON)
    try:
        rows = [(_path_of(typed(row["url"], str)), row) for row in json.loads(data)["files"]]
        return [_parse_row(path, row, folder.name) for path, row in rows if path not in but]
    except (ValueError, TypeError, KeyError, RecursionError, MirrorError) as error:
        raise damaged_index(
            subject, f"not a page of pixi-mirror ({type(error).__name__})"
        ) from None


def parse_projects(data: bytes) -> frozenset[str]:
    """Read the list of `index/`: no project that waits for its removal is in it."""
    try:
        return frozenset(each["name"] for each in json.loads(data)["projects"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise damaged_index(str(INDEX / PAGE_JSON), "not a list of pixi-mirror") from None


def _path_of(url: str) -> PurePosixPath:
    return PurePosixPath(PYPI_FOLDER, unquote(url.removeprefix("../../")))


def _parse_row(path: PurePosixPath, row: Mapping[str, Any], name: str) -> PypiFile:
    """Raise what `parse_page` catches where a field is not as it is written here."""
    version, python = row["_version"], row.get("requires-python")
    metadata = row["core-metadata"]["sha256"] if "core-metadata" in row else None
    if not is_pypi_artifact_path(path) or not is_project_name(name) or type(row["size"]) is not int:
        raise ValueError(path)
    records = [
        PypiRecord(
            name=name,
            version=None if version is None else typed(version, str),
            location=typed(each["url"], str),
            index=None if each["index"] is None else typed(each["index"], str),
            sha256=typed(row["hashes"]["sha256"], str),
            requires_python=None if python is None else typed(python, str),
        )
        for each in row["_upstream"]
    ]
    segments = [mirror_path_segments(each.location.partition("#")[0]) for each in records]
    if not segments or any(each != list(path.relative_to(FILES).parts) for each in segments):
        raise ValueError(path)
    for each in records:
        _ = each.index and index_folder(each.index)
    return PypiFile(
        path=path,
        size=row["size"],
        records=tuple(records),
        metadata=None if metadata is None else typed(metadata, str),
    )


def distinct(records: Iterable[PypiRecord]) -> tuple[PypiRecord, ...]:
    """Return the rows of one file, one for each index and URL, in an order of their own."""
    found = {(each.index or "", each.location): each for each in records}
    return tuple(found[key] for key in sorted(found))


def other_bytes(records: Iterable[PypiRecord]) -> Iterator[str]:
    """Say of which file names `index/` has files with different bytes, and where each is from.

    Below `simple/` each is alone. Rows without a sha256 say nothing.
    """
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for each in records:
        if each.sha256 is not None:
            name = next(pypi_artifacts(each)).path.name
            by_sha256 = found.setdefault((each.name, name), {})
            source = without_secrets(each.index or each.location)
            by_sha256.setdefault(each.sha256, set()).add(source)
    for (project, name), some in sorted(found.items()):
        if len(some) > 1:
            sources = ", ".join(sorted(set().union(*some.values())))
            yield (
                f"{INDEX / project} has {name} with different bytes, from {sources}: without a"
                " hash, pip and uv may take either there, and so may pixi where it locks from it"
            )


def render_mapping(artifacts: Iterable[Artifact], before: Mapping[str, str | None]) -> bytes:
    """Write what conda packages are called on PyPI: as their `purls` say, else as `before` said.

    None: what is on PyPI under no name; a name that any artifact of the package has counts for
    more. What pixi works out for itself, for packages of conda-forge that nobody maps, is left to
    it (crates/pypi_mapping/src/lib.rs).
    """
    names = dict(before)
    for artifact in sorted(artifacts, key=lambda each: bool(each.conda_record.purls)):
        purls = artifact.conda_record.purls
        found = [each.removeprefix("pkg:pypi/") for each in purls or () if "pkg:pypi/" in each]
        if purls is None or (purls and not found):
            continue
        name = unquote(found[0].partition("?")[0].partition("@")[0]) if found else None
        is_guess = bool(found) and "?" not in found[0] and is_conda_forge(artifact.upstream)
        if is_guess and name == pypi_name(artifact.name):
            names.pop(artifact.name, None)
        else:
            names[artifact.name] = name
    return json.dumps(names, sort_keys=True, indent=1).encode() + b"\n"


def parse_mapping(data: bytes) -> dict[str, str | None]:
    """Read it; one that is damaged says nothing."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    rows = document.items() if isinstance(document, dict) else ()
    return {key: value for key, value in rows if isinstance(value, str | None)}
