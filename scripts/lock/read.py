"""Read a pixi.lock, versions 1 to 7, as a LockFile.

Follows rattler_lock (src/parse/): a version above 7 is refused, unknown keys are ignored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from scripts.core.channel_url import channel_base_url
from scripts.core.child_process import quoted
from scripts.core.errors import usage_error
from scripts.core.file_name import is_archive_name
from scripts.core.files import exists, read_text
from scripts.core.record import PypiRecord
from scripts.core.redact import redact
from scripts.core.subdir import check_subdir
from scripts.core.typed_values import parse_int
from scripts.lock.conda_rows import Row, parse_package
from scripts.lock.location import is_sound_url, parse_location
from scripts.lock.model import (
    NEWEST,
    BuildSet,
    LockedEnvironment,
    LockedPackage,
    LockFile,
    LockPlatform,
    LockRow,
    PlatformPackages,
    Unmirrorable,
    fill,
)
from scripts.lock.parse_cache import load_parse
from scripts.lock.pypi import parse_pypi, with_index
from scripts.lock.safe_yaml import load_lock_text
from scripts.workspace.model import DEFAULT_INDEX
from scripts.workspace.settings import IncompleteKind
from scripts.workspace.workspace import LOCK_NAME

# bytes; the largest real lock seen has 5 MB, and 20 MB cost nine seconds to parse
LARGEST: Final = 48 << 20
# pixi refuses such a lock, too.
_MAKE_ANEW: Final = "restore it (git checkout), or remove it and run `pixi lock`"
_KINDS: Final = ("conda", "pypi", "conda_source")
# Merged from a second row of the same artifact where the first lacks them
# (rattler_lock/src/parse/models/legacy.rs, merge_package_record).
_MERGED: Final = ("md5", "sha256", "purls", "run_exports")

# The rows of the list of packages, by what environments write to refer to them.
_References = dict[tuple[str, str], list[tuple[LockRow, Row]]]


def read_lock(path: Path, subject: str | None = None, *, cache: Path | None = None) -> LockFile:
    """Read and parse a lock file; every fault of it is an error of exit code 2.

    `subject` names it in errors, by default its file name. `cache` is a folder, which need not
    exist: what `keep_parse` has kept there is not parsed again.
    """
    text = read_lock_text(path)
    data = text.encode()
    if cache is not None and (kept := load_parse(cache, path, data)) is not None:
        return kept
    return dataclasses.replace(parse_lock(text, subject or path.name), data=data)


def read_lock_text(path: Path) -> str:
    """Read the text of a lock file."""
    with contextlib.suppress(OSError):  # reading it says why
        if not exists(path):
            message = "cannot read this lock file: there is no such file"
            raise usage_error(str(path), message, help=_lock_command(path))
    return read_text(path, limit=LARGEST, what="lock file")


def _lock_command(path: Path) -> str | None:
    """Return the command that writes this lock; None where none does: there is a mistake in it."""
    folder = path.parent
    if path.name != LOCK_NAME or not folder.is_dir():
        return None
    with contextlib.suppress(OSError):  # the folder that this was started in may be gone
        if folder.samefile(os.curdir):
            return "pixi lock"
    return f"pixi lock --manifest-path {quoted(str(folder))}"


def parse_lock(text: str, subject: str) -> LockFile:
    """Parse a whole lock file; `subject` names it in errors (all of exit code 2)."""
    document = load_lock_text(text, subject)
    written = document.get("version")
    version = parse_int(written) if isinstance(written, str) else None
    if version is None:
        message = "not a pixi lock file: it has no version number"
        raise usage_error(subject, message, help=_MAKE_ANEW)
    if version > NEWEST:
        raise usage_error(
            subject,
            f"lock file version {version} is newer than this pixi-mirror knows",
            ("known", f"1 to {NEWEST}"),
            help="update pixi-mirror, or write the lock with an older pixi",
        )
    if version < 1:
        raise usage_error(subject, f"there is no lock file version {version}", help=_MAKE_ANEW)
    top = Row(subject, "the lock file", document)
    environments = (_parse_v1(top),) if version <= 3 else _parse_v4(top, version)
    return LockFile(version=version, environments=environments)


def _parse_v1(top: Row) -> LockedEnvironment:
    """Parse conda-lock's shape: packages in one flat list, one environment, `default`."""
    rows: dict[str, dict[LockRow, None]] = {}  # sets that keep their order
    for fields in top.rows("package"):
        row = Row(top.subject, str(fields.get("url") or fields.get("name") or "a package"), fields)
        platform = check_subdir(row.required("platform"), f"{row.subject}: {redact(row.where)}")
        manager, found = row.required("manager"), rows.setdefault(platform, {})
        if manager == "conda":
            found[parse_package(row, row.required("url"), 1, platform)] = None
        elif manager in {"pip", "pypi"}:
            found[parse_pypi(row, row.required("url"))] = None
        else:
            raise row.wrong("manager", "conda, pip or pypi")
    return LockedEnvironment(
        name="default",
        channels=_channels(Row(top.subject, "metadata", top.table("metadata").fields)),
        platforms=tuple(
            PlatformPackages(
                platform=LockPlatform(name=platform, subdir=platform),
                packages=tuple(each for each in found if isinstance(each, LockedPackage)),
                pypi=with_index(
                    tuple(x for x in found if isinstance(x, PypiRecord)), (DEFAULT_INDEX,)
                ),
            )
            for platform, found in sorted(rows.items())
        ),
    )


def _channels(row: Row) -> tuple[str, ...]:
    """Read `channels` in order of priority: bare names, URLs, paths, strings or `{url: …}`."""
    channels = []
    for each in row.values("channels"):
        text = each.get("url") if isinstance(each, dict) else each
        if not isinstance(text, str) or not text.strip():
            raise usage_error(row.subject, f"a channel of {row.where} has no url")
        if not is_sound_url(text.strip()):
            raise usage_error(row.subject, f"a channel of {row.where} is not a URL: {redact(text)}")
        channels.append(channel_base_url(text))
    return tuple(channels)


def _indexes(row: Row, indexes: tuple[str, ...]) -> tuple[str, ...]:
    for each in indexes:
        if not is_sound_url(each):
            raise usage_error(row.subject, f"an index of {row.where} is not a URL: {redact(each)}")
    return tuple(each.rstrip("/") for each in indexes)


def _parse_v4(top: Row, version: int) -> tuple[LockedEnvironment, ...]:
    """Parse versions 4 to 7: environments that refer to one list of packages."""
    if not isinstance(top.fields.get("environments"), dict):
        raise top.wrong("environments", "a map of environments")
    if not isinstance(top.fields.get("packages"), list):
        raise top.wrong("packages", "a list of packages")
    references = _read_packages(top, version)
    platforms = _platforms(top) if version >= 7 else None
    environments = []
    for name, row in top.table("environments").tables():
        own = Row(top.subject, f"environment {name}", row.fields)
        indexes, of_platforms = _indexes(own, own.strings("indexes")), []
        pages = tuple(x["url"] for x in own.rows("find-links") if isinstance(x.get("url"), str))
        find_links = _indexes(own, pages)
        for key in (table := row.table("packages")).fields:
            if platforms is None:
                subdir = check_subdir(key, f"{top.subject}: {name}")
                platform = LockPlatform(name=key, subdir=subdir)
            elif key in platforms:
                platform = platforms[key]
            else:
                message = f"environment {name} is for {key}, which `platforms` does not name"
                raise usage_error(top.subject, message)
            named = Row(top.subject, f"environment {name} on {platform.name}", {})
            packages = _platform_packages(platform, table.rows(key), references, named)
            # Where none is named, as before version 5, pixi asks PyPI's own (pixi_install_pypi).
            every = (*indexes, *find_links) or (DEFAULT_INDEX,)
            if version >= 7:  # which leaves out PyPI's own alone (v7/pypi_package_data.rs)
                every = tuple({DEFAULT_INDEX}.intersection(indexes))
            pypi = with_index(packages.pypi, every)
            of_platforms.append(dataclasses.replace(packages, pypi=pypi))
        environments.append(
            LockedEnvironment(
                name=name,
                channels=_channels(own),
                platforms=tuple(of_platforms),
                indexes=indexes,
                find_links=find_links,
            )
        )
    return tuple(environments)


def _platforms(top: Row) -> dict[str, LockPlatform]:
    """Read v7's table of platforms, by name; two of one name are refused, as rattler does."""
    platforms: dict[str, LockPlatform] = {}
    for fields in top.rows("platforms"):
        row = Row(top.subject, "a platform", fields)
        name = row.required("name")
        if name in platforms:
            raise usage_error(top.subject, f"the platform {name} is there twice")
        platforms[name] = LockPlatform(
            name=name,
            subdir=check_subdir(row.string("subdir") or name, f"{top.subject}: platform {name}"),
            # None recorded says nothing: pixi assumes the usual ones (satisfiability/platform.rs).
            virtual_packages=row.strings("virtual-packages") or None,
        )
    return platforms


def _read_packages(top: Row, version: int) -> _References:
    """Read every row, even where no environment refers to it: it must be valid, too."""
    references: _References = {}
    for fields in top.rows("packages"):
        if version < 6:
            kind, location = fields.get("kind"), fields.get("url") or fields.get("path")
        else:
            kind = next((each for each in _KINDS if isinstance(fields.get(each), str)), None)
            location = fields.get(kind or "")
        if kind not in _KINDS or not isinstance(location, str):
            shown = ", ".join(sorted(fields)[:8])
            raise usage_error(top.subject, "a package of no known kind", ("keys", shown))
        row = Row(top.subject, location, fields)
        found: LockRow
        if kind == "pypi":
            found = parse_pypi(row, location)
        elif kind == "conda" and (version < 6 or is_archive_name(parse_location(location).last)):
            found = parse_package(row, location, version)
        else:
            found = _source(row, location)
        references.setdefault((kind, location), []).append((found, row))
    return references


def _find(
    references: _References, selector: Mapping[str, Any], subdir: str, row: Row
) -> tuple[LockRow, Row]:
    """Return the row that a reference is to; `row` names in errors what refers to it.

    Several rows of one artifact (v4, v5) are merged: those of this subdir, else all of them.
    """
    kind = next((each for each in _KINDS if isinstance(selector.get(each), str)), None)
    if kind is None:
        raise usage_error(row.subject, f"{row.where} refers to something of no known kind")
    candidates = references.get((kind, selector[kind]), [])
    fitting = [each for each in candidates if _fits(*each, selector)]
    if not fitting:
        what = "a variant of a package" if candidates else "a package"
        message = f"{row.where} refers to {what} that is not listed"
        package = ("package", redact(selector[kind]))
        raise usage_error(row.subject, message, package, help=_MAKE_ANEW)
    fitting = [each for each in fitting if each[1].string("subdir") == subdir] or fitting
    (first, row), *others = fitting
    for other, _ in others:
        if isinstance(first, LockedPackage) and isinstance(other, LockedPackage):
            record = fill(first.record, other.record, _MERGED)
            first = dataclasses.replace(first, record=record)
        if isinstance(first, PypiRecord) and isinstance(other, PypiRecord):
            if first.sha256 == other.sha256:
                continue
            raise usage_error(
                row.subject,
                "lists a package twice, with other digests",
                ("package", redact(selector[kind])),
                ("one", first.sha256 or "no sha256"),
                ("other", other.sha256 or "no sha256"),
                help="pixi lock",
            )
    return first, row


def _source(row: Row, location: str) -> Unmirrorable:
    """Read a source package; v7 writes its location as `name[hash] @ location`."""
    name, at, place = location.partition(" @ ")
    shown = (name.partition("[")[0] if at else row.string("name")) or location
    return Unmirrorable(
        kind=IncompleteKind.SOURCE,
        name=f"{shown} {row.string('version') or ''}".strip(),
        location=place if at else location,
        depends=row.strings("depends"),
        constrains=row.strings("constrains"),
    )


def _fits(found: LockRow, row: Row, selector: Mapping[str, Any]) -> bool:
    """Tell whether a row has the name, version, build and subdir that a reference (v6) names."""
    of = found.record if isinstance(found, LockedPackage) else None
    return all(
        selector[key] == (row.string(key) if of is None else getattr(of, key))
        for key in ("name", "version", "build", "subdir")
        if isinstance(selector.get(key), str)
    )


def _platform_packages(
    platform: LockPlatform,
    selectors: tuple[dict[str, Any], ...],
    references: _References,
    environment: Row,
) -> PlatformPackages:
    """Look up what an environment refers to; source rows bring their build packages along."""
    installed: dict[LockedPackage, None] = {}  # sets that keep their order
    build: dict[LockedPackage, None] = {}
    pypi: dict[PypiRecord, None] = {}
    others: dict[Unmirrorable, bool] = {}  # and whether they are installed
    sets: dict[BuildSet, None] = {}
    seen: set[int] = set()

    def find(selectors: Iterable[dict[str, Any]], where: str) -> list[tuple[LockRow, Row]]:
        row = Row(environment.subject, where, {})
        return [_find(references, each, platform.subdir, row) for each in selectors]

    queue = deque((*each, installed) for each in find(selectors, environment.where))
    while queue:
        found, row, into = queue.popleft()
        if isinstance(found, LockedPackage):
            into[found] = None
        elif isinstance(found, PypiRecord):
            pypi[found] = None
        elif id(row) not in seen:
            seen.add(id(row))
            others.setdefault(found, into is installed)
            for key in ("build_packages", "host_packages"):
                needs = find(row.rows(key), f"{found.name} ({environment.where})")
                mine = tuple(each for each, _ in needs if isinstance(each, LockedPackage))
                if mine:
                    sets[BuildSet(source=found.name.partition(" ")[0], packages=mine)] = None
                queue.extend((*each, build) for each in needs)
    return PlatformPackages(
        platform=platform,
        packages=tuple(installed),
        build_packages=tuple(package for package in build if package not in installed),
        build_sets=tuple(sets),
        unmirrorable=tuple(others),
        sources=tuple(each for each in others if others[each]),
        pypi=tuple(pypi),
    )
