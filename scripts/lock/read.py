"""Read a pixi.lock, versions 1 to 7, as a LockFile.

Follows rattler_lock (src/parse/): a version above 7 is refused, unknown keys are ignored.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scripts.core.channel_url import channel_base_url
from scripts.core.errors import usage_error
from scripts.core.file_name import is_archive_name
from scripts.core.files import read_text
from scripts.core.redact import redact
from scripts.core.subdir import check_subdir
from scripts.core.typed_values import parse_int
from scripts.lock.conda_rows import Row, dependencies_v1, package_v1, package_v4, package_v6
from scripts.lock.location import is_sound_url, parse_location
from scripts.lock.model import (
    BuildSet,
    LockedEnvironment,
    LockedPackage,
    LockFile,
    LockPlatform,
    PlatformPackages,
    Unmirrorable,
)
from scripts.lock.safe_yaml import load_lock_text
from scripts.workspace.settings import Kind

NEWEST: Final = 7
# bytes; the largest real lock seen has 5 MB, and 20 MB cost nine seconds to parse
_LARGEST: Final = 48 << 20
_KINDS: Final = ("conda", "pypi", "conda_source")
# Merged from a second row of the same artifact where the first lacks them
# (rattler_lock/src/parse/models/legacy.rs, merge_package_record).
_MERGED: Final = ("md5", "sha256", "purls", "run_exports")

Found = LockedPackage | Unmirrorable


def read_lock(path: Path) -> LockFile:
    """Read and parse a lock file; every fault of it is an error of exit code 2."""
    text = read_lock_text(path)
    return dataclasses.replace(parse_lock(text, path.name), data=text.encode())


def read_lock_text(path: Path) -> str:
    """Read the text of a lock file."""
    if not path.exists():
        message = "cannot read this lock file: there is no such file"
        raise usage_error(str(path), message, help="pixi lock")
    return read_text(path, limit=_LARGEST, what="lock file")


def parse_lock(text: str, subject: str) -> LockFile:
    """Parse a whole lock file; `subject` names it in errors (all of exit code 2)."""
    document = load_lock_text(text, subject)
    written = document.get("version")
    version = parse_int(written) if isinstance(written, str) else None
    if version is None:
        message = "not a pixi lock file: it has no version number"
        raise usage_error(subject, message, help="pixi lock")
    if version > NEWEST:
        raise usage_error(
            subject,
            f"lock file version {version} is newer than this pixi-mirror knows",
            ("known", f"1 to {NEWEST}"),
            help="update pixi-mirror, or write the lock with an older pixi",
        )
    if version < 1:
        raise usage_error(subject, f"there is no lock file version {version}", help="pixi lock")
    top = Row(subject, "the lock file", document)
    environments = (_parse_v1(top),) if version <= 3 else _parse_v4(top, version)
    return LockFile(version=version, environments=environments)


def _parse_v1(top: Row) -> LockedEnvironment:
    """Parse conda-lock's shape: packages in one flat list, one environment, `default`."""
    packages: dict[str, dict[LockedPackage, None]] = {}  # sets that keep their order
    others: dict[str, dict[Unmirrorable, None]] = {}
    for fields in top.rows("package"):
        row = Row(top.subject, str(fields.get("url") or fields.get("name") or "a package"), fields)
        platform = check_subdir(row.required("platform"), f"{row.subject}: {redact(row.where)}")
        manager = row.required("manager")
        mine = packages.setdefault(platform, {})
        if manager == "conda":
            mine[package_v1(row, platform)] = None
        elif manager in {"pip", "pypi"}:
            row.required("name")
            other = dataclasses.replace(
                _pypi(row, row.string("url") or ""),
                sha256=row.table("hash").string("sha256"),
                depends=row.strings("requires_dist") or dependencies_v1(row),
            )
            others.setdefault(platform, {})[other] = None
        else:
            raise row.wrong("manager", "conda, pip or pypi")
    return LockedEnvironment(
        name="default",
        channels=_channels(Row(top.subject, "metadata", top.table("metadata").fields)),
        platforms=tuple(
            PlatformPackages(
                platform=LockPlatform(name=platform, subdir=platform),
                packages=tuple(packages[platform]),
                unmirrorable=tuple(others.get(platform, ())),
            )
            for platform in sorted(packages)
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


def _parse_v4(top: Row, version: int) -> tuple[LockedEnvironment, ...]:
    """Parse versions 4 to 7: environments that refer to one list of packages."""
    if not isinstance(top.fields.get("environments"), dict):
        raise top.wrong("environments", "a map of environments")
    if not isinstance(top.fields.get("packages"), list):
        raise top.wrong("packages", "a list of packages")
    packages = _PackageList(top, version)
    platforms = _platforms(top) if version >= 7 else None
    read = []
    for name, fields in top.fields["environments"].items():
        if not isinstance(fields, dict):
            raise usage_error(top.subject, f"environment {name} is not a map")
        row = Row(top.subject, f"environment {name}", fields)
        of_platforms = []
        table = row.table("packages")
        for key in table.fields:
            if platforms is None:
                subdir = check_subdir(key, f"{row.subject}: {name}")
                platform = LockPlatform(name=key, subdir=subdir)
            elif key in platforms:
                platform = platforms[key]
            else:
                message = f"environment {name} is for {key}, which `platforms` does not name"
                raise usage_error(row.subject, message)
            of_platforms.append(_platform_packages(platform, table.rows(key), packages, name))
        read.append(
            LockedEnvironment(name=name, channels=_channels(row), platforms=tuple(of_platforms))
        )
    return tuple(read)


def _platforms(top: Row) -> dict[str, LockPlatform]:
    """Read v7's table of platforms, by name; two of one name are refused, as rattler does."""
    platforms: dict[str, LockPlatform] = {}
    for fields in top.rows("platforms"):
        row = Row(top.subject, "a platform", fields)
        name = row.required("name")
        if name in platforms:
            raise usage_error(top.subject, f"the platform {name} is there twice")
        subdir = check_subdir(row.string("subdir") or name, f"{top.subject}: platform {name}")
        # None recorded says nothing: pixi assumes the usual ones then (satisfiability/platform.rs).
        packages = row.strings("virtual-packages") or None
        platforms[name] = LockPlatform(name=name, subdir=subdir, virtual_packages=packages)
    return platforms


class _PackageList:
    """The list of packages with an index by what environments write to refer to them."""

    def __init__(self, top: Row, version: int) -> None:
        """Read every row, also those that no environment refers to: they must be valid too."""
        self._version = version
        self._subject = top.subject
        self._by_reference: dict[tuple[str, str], list[tuple[Found, Row]]] = {}
        read = _read_v4 if version < 6 else _read_v6
        for fields in top.rows("packages"):
            reference, found, row = read(fields, top.subject)
            self._by_reference.setdefault(reference, []).append((found, row))

    def find(self, selector: Mapping[str, Any], subdir: str, where: str) -> tuple[Found, Row]:
        """Return what a reference means; `where` names the environment that makes it."""
        kind = next((each for each in _KINDS if isinstance(selector.get(each), str)), None)
        if kind is None:
            raise usage_error(self._subject, f"{where} refers to something of no known kind")
        location = selector[kind]
        candidates = self._by_reference.get((kind, location), [])
        if candidates and self._version < 6:
            return _merged(candidates, subdir)
        for found, row in candidates:
            if kind != "conda" or _fits(found, row, selector):
                return found, row
        what = "a variant of a package" if candidates else "a package"
        message = f"{where} refers to {what} that is not listed"
        raise usage_error(self._subject, message, ("package", redact(location)), help="pixi lock")


def _read_v4(fields: dict[str, Any], subject: str) -> tuple[tuple[str, str], Found, Row]:
    """Read a row of v4 or v5: how environments refer to it, and what it is."""
    row = Row(subject, str(fields.get("url") or fields.get("path") or "a package"), fields)
    kind = row.required("kind")
    location = row.string("url") or row.required("path")
    if kind == "conda":
        return (kind, location), package_v4(row), row
    if kind == "pypi":
        return (kind, location), _pypi(row, location), row
    raise row.wrong("kind", "conda or pypi")


def _read_v6(fields: dict[str, Any], subject: str) -> tuple[tuple[str, str], Found, Row]:
    """Read a row of v6 or v7."""
    kind = next((each for each in _KINDS if isinstance(fields.get(each), str)), None)
    if kind is None:
        keys = ", ".join(sorted(fields)[:8])
        raise usage_error(subject, "a package of no known kind", ("keys", keys))
    location = fields[kind]
    row = Row(subject, location, fields)
    if kind == "pypi":
        return (kind, location), _pypi(row, location), row
    if kind == "conda" and is_archive_name(parse_location(location).last):
        return (kind, location), package_v6(row), row
    return (kind, location), _source(row, location), row


def _source(row: Row, location: str) -> Unmirrorable:
    """Read a package that is built on the spot; v7 writes `name[hash] @ location`."""
    name, at, place = location.partition(" @ ")
    shown = (name.partition("[")[0] if at else row.string("name")) or location
    return Unmirrorable(
        kind=Kind.SOURCE,
        name=f"{shown} {row.string('version') or ''}".strip(),
        location=place if at else location,
        depends=row.strings("depends"),
        constrains=row.strings("constrains"),
    )


def _pypi(row: Row, location: str) -> Unmirrorable:
    return Unmirrorable(
        kind=Kind.PYPI,
        name=f"{row.string('name') or location} {row.string('version') or ''}".strip(),
        location=location,
        sha256=row.string("sha256"),
        depends=row.strings("requires_dist"),
        requires_python=row.string("requires_python"),
    )


def _fits(found: Found, row: Row, selector: Mapping[str, Any]) -> bool:
    """Tell whether v6's extra words of a reference (name, version, build, subdir) fit."""
    for key in ("name", "version", "build", "subdir"):
        has = row.string(key)
        if isinstance(found, LockedPackage):
            has = getattr(found.record, key)
        if isinstance(selector.get(key), str) and selector[key] != has:
            return False
    return True


def _merged(candidates: list[tuple[Found, Row]], subdir: str) -> tuple[Found, Row]:
    """Make one of all rows of an artifact (v4, v5): those written for this subdir, else all."""
    fitting = [each for each in candidates if each[1].string("subdir") == subdir]
    (first, row), *others = fitting or candidates
    for other, _ in others:
        if isinstance(first, LockedPackage) and isinstance(other, LockedPackage):
            known = first.record
            missing = {k: getattr(other.record, k) for k in _MERGED if getattr(known, k) is None}
            first = dataclasses.replace(first, record=dataclasses.replace(known, **missing))
    return first, row


def _platform_packages(
    platform: LockPlatform,
    selectors: tuple[dict[str, Any], ...],
    packages: _PackageList,
    environment: str,
) -> PlatformPackages:
    """Look up what an environment refers to; source rows bring their build packages along."""
    where = f"environment {environment} on {platform.name}"
    installed: dict[LockedPackage, None] = {}  # sets that keep their order
    build: dict[LockedPackage, None] = {}
    others: dict[Unmirrorable, bool] = {}  # and whether they are installed
    sets: dict[BuildSet, None] = {}
    seen: set[int] = set()
    wanted = deque((selector, installed, where) for selector in selectors)
    while wanted:
        selector, into, by = wanted.popleft()
        found, row = packages.find(selector, platform.subdir, by)
        if isinstance(found, LockedPackage):
            into[found] = None
        elif id(row) not in seen:
            seen.add(id(row))
            others.setdefault(found, into is installed)
            source = f"{found.name} ({where})"
            for needs in (row.rows("build_packages"), row.rows("host_packages")):
                rows = [packages.find(each, platform.subdir, source)[0] for each in needs]
                mine = tuple(each for each in rows if isinstance(each, LockedPackage))
                if mine:
                    sets[BuildSet(source=found.name.partition(" ")[0], packages=mine)] = None
                wanted.extend((each, build, source) for each in needs)
    return PlatformPackages(
        platform=platform,
        packages=tuple(installed),
        build_packages=tuple(package for package in build if package not in installed),
        build_sets=tuple(sets),
        unmirrorable=tuple(others),
        sources=tuple(each for each in others if others[each] and each.kind is Kind.SOURCE),
    )
