"""Writes pixi.lock files, versions 1 to 7, that name artifacts of tests.support.packages.

Versions 4 to 7 also wheels and sdists: `PypiRow` of tests.support.wheels among the rows.

    rows = tuple(LockRow(written=each, channel="https://conda.example.org/one") for each in all)
    platforms = (PlatformRows(name="linux-64", rows=rows),)
    write_lock(folder / "pixi.lock", (EnvironmentRows(name="default", platforms=platforms),))

Versions 6 and 7 are what pixi would write, fields that it derives left out; the older ones are
written in their own shape.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from scripts.core.subdir import is_known_subdir
from scripts.lock.model import LockedPackage
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.wheels import PypiRow

# What may stand in YAML without quotes and stays a string, as far as these tests go.
_PLAIN: Final = re.compile(
    r"[A-Za-z0-9_./][A-Za-z0-9_./:@ =<>!,|*~+?&%();'\[\]-]*[A-Za-z0-9_./*)=\]'-]|\w"
)
_TYPED: Final = re.compile(r"(?i)~|null|true|false|yes|no|on|off|[-+.]?[0-9][0-9_.eE+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockRow:
    """One artifact as the lock names it.

    `channel` is a base URL. `url` is the location where it is not `<channel>/<subdir>/<file>`.
    `depends`, `constrains`: a hotfix, other than what the archive says. `without` are keys that
    this row lacks (`sha256`, `md5`, `size`, `timestamp`, …).
    """

    written: WrittenPackage
    channel: str
    url: str | None = None
    depends: tuple[str, ...] | None = None
    constrains: tuple[str, ...] | None = None
    without: frozenset[str] = frozenset()

    @property
    def location(self) -> str:
        """The location as it is written."""
        package = self.written.package
        return self.url or f"{self.channel}/{package.subdir}/{package.file_name}"

    @property
    def actual_depends(self) -> tuple[str, ...]:
        """The requirements that the lock gives, hotfix applied."""
        return self.written.package.depends if self.depends is None else self.depends

    @property
    def actual_constrains(self) -> tuple[str, ...]:
        """The constraints that the lock gives, hotfix applied."""
        return self.written.package.constrains if self.constrains is None else self.constrains


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """A row as given: `key` and `location` name it, `lines` follow in `packages` (v6, v7).

    For what no artifact stands for: `RawRow(key="pypi", location="https://…", lines=("name: x",))`,
    `RawRow(key="conda_source", location="x[12345678] @ ./x")`.
    """

    key: str
    location: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformRows:
    """What an environment installs on one platform.

    v7: `subdir` where the name is not one, and the virtual packages of the platform's table.
    """

    name: str
    rows: tuple[LockRow | RawRow | PypiRow, ...] = ()
    subdir: str | None = None
    virtual_packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRows:
    """One environment; `channels`, `indexes` None: those of its rows, in their order."""

    name: str = "default"
    platforms: tuple[PlatformRows, ...] = ()
    channels: tuple[str, ...] | None = None
    indexes: tuple[str, ...] | None = None

    @property
    def channel_urls(self) -> tuple[str, ...]:
        """The channels, each once."""
        if self.channels is not None:
            return self.channels
        found = (row.channel for row in _rows((self,)) if isinstance(row, LockRow))
        return tuple(dict.fromkeys(found))


def write_lock(path: Path, environments: Sequence[EnvironmentRows], version: int = 7) -> Path:
    """Write the lock with LF line ends and return its path."""
    path.write_bytes(lock_text(environments, version).encode())
    return path


def lock_text(environments: Sequence[EnvironmentRows], version: int = 7) -> str:
    """Write the text of a lock; versions 1 to 3 know one environment alone."""
    lines = [f"version: {version}"]
    if version <= 3:
        lines += _metadata(environments[0])
        lines += ["package:"]
        for platform in environments[0].platforms:
            for row in platform.rows:
                lines += _item(_flat_fields(_artifact(row), platform.name, version))
    else:
        if version == 7:
            lines += _platforms(environments)
        lines += _environments(environments, version)
        every = {row.location: row for row in _rows(environments)}
        ordered = (
            sorted(every.values(), key=lambda row: row.location) if version == 7 else every.values()
        )
        lines += ["packages:"] if every else ["packages: []"]
        for row in ordered:
            if isinstance(row, RawRow):
                lines += [f"- {row.key}: {row.location}", *(f"  {line}" for line in row.lines)]
            elif isinstance(row, PypiRow):
                lines += _item(_pypi_fields(row, version))
            else:
                lines += _item(_fields(row, version))
    return "\n".join(lines) + "\n"


def _rows(environments: Iterable[EnvironmentRows]) -> Iterable[LockRow | RawRow | PypiRow]:
    for environment in environments:
        for platform in environment.platforms:
            yield from platform.rows


def _artifact(row: LockRow | RawRow | PypiRow) -> LockRow:
    assert isinstance(row, LockRow), "versions 1 to 3 hold artifacts alone"
    return row


def _platforms(environments: Sequence[EnvironmentRows]) -> list[str]:
    """Write the table of v7; a platform has the virtual packages first given for it."""
    named: dict[str, PlatformRows] = {}
    for environment in environments:
        for platform in environment.platforms:
            if platform.name not in named or not named[platform.name].virtual_packages:
                named[platform.name] = platform
    lines = ["platforms:"] if named else []
    for name in sorted(named):
        lines.append(f"- name: {name}")
        subdir = named[name].subdir
        if subdir is not None and subdir != name:
            lines.append(f"  subdir: {subdir}")
        lines += _list("virtual-packages", named[name].virtual_packages, "  ")
    return lines


def _environments(environments: Sequence[EnvironmentRows], version: int) -> list[str]:
    lines = ["environments:"]
    for environment in sorted(environments, key=lambda each: each.name):
        lines += [f"  {environment.name}:", "    channels:"]
        lines += [f"    - url: {url.rstrip('/')}/" for url in environment.channel_urls]
        if not environment.channel_urls:
            lines[-1] += " []"
        pypi = [row for row in _rows((environment,)) if isinstance(row, PypiRow)]
        if pypi:
            of_rows = dict.fromkeys(x.index for x in pypi if x.index)
            lines += _list("indexes", list(environment.indexes or of_rows), "    ")
        lines.append("    packages:" if environment.platforms else "    packages: {}")
        for platform in sorted(environment.platforms, key=lambda each: each.name):
            lines.append(f"      {platform.name}:" + ("" if platform.rows else " []"))
            for row in sorted(platform.rows, key=lambda each: each.location):
                key = row.key if isinstance(row, RawRow) else "conda"
                key = "pypi" if isinstance(row, PypiRow) else key
                lines.append(f"      - {key}: {_location(row, version)}")
    return lines


def _metadata(environment: EnvironmentRows) -> list[str]:
    platforms = [platform.name for platform in environment.platforms]
    lines = ["metadata:", "  content_hash:"]
    lines += [f"    {name}: {'0' * 64}" for name in platforms]
    lines.append("  channels:")
    for url in environment.channel_urls:
        lines += [f"  - url: {url.rstrip('/')}/", "    used_env_vars: []"]
    return [*lines, *_list("platforms", platforms, "  "), "  sources: []"]


def _digests(row: LockRow) -> dict[str, Any]:
    return {key: getattr(row.written, key) for key in ("sha256", "md5") if key not in row.without}


def _flat_fields(row: LockRow, platform: str, version: int) -> dict[str, Any]:
    """List the fields of a row of versions 1 to 3, which repeat it for each platform."""
    package = row.written.package
    dependencies: Any = list(row.actual_depends)
    if version == 1:
        dependencies = {
            name: spec or "*" for name, _, spec in (each.partition(" ") for each in dependencies)
        }
    fields = {
        "platform": platform,
        "name": package.name,
        "version": package.version,
        "category": "main",
        "manager": "conda",
        "dependencies": dependencies,
        "url": row.location,
        "hash": _digests(row),
        "build": package.build,
        "subdir": package.subdir,
        "build_number": package.build_number,
        "license": package.license,
        "noarch": package.noarch_kind,
        "size": row.written.size,
        "timestamp": package.timestamp,
    }
    return _kept(fields, row.without - {"dependencies"})


def _fields(row: LockRow, version: int) -> dict[str, Any]:
    """List the fields of a row of versions 4 to 7, in the order in which pixi writes them."""
    package = row.written.package
    common: dict[str, Any] = {
        **_digests(row),
        "depends": list(row.actual_depends) or None,
        "constrains": list(row.actual_constrains) or None,
    }
    rest: dict[str, Any] = {
        "track_features": list(package.track_features) or None,
        "license": package.license,
        "license_family": package.license_family,
        "purls": None if package.purls is None else list(package.purls),
        "run_exports": {kind: list(specs) for kind, specs in package.run_exports} or None,
        "size": row.written.size,
        "timestamp": package.timestamp,
    }
    if version < 7:
        del rest["run_exports"]
    if version < 6:
        named = {
            "kind": "conda",
            "name": package.name,
            "version": package.version,
            "build": package.build,
            "build_number": package.build_number or None,
            "subdir": package.subdir,
            "noarch": package.noarch_kind,
            "url": row.location,
        }
        return _kept(named | common | rest, row.without)
    head, tail = _not_derived(row, package)
    return _kept({"conda": row.location, **head, **common, **tail, **rest}, row.without)


def _location(row: LockRow | RawRow | PypiRow, version: int) -> str:
    """Write a location; `direct+` came with version 7."""
    return row.location if version == 7 else row.location.removeprefix("direct+")


def _pypi_fields(row: PypiRow, version: int) -> dict[str, Any]:
    """List the fields of a wheel or sdist; its index came with version 7."""
    location = _location(row, version)
    if version < 6:
        key = "url" if "://" in location else "path"
        named = row.fields
        head = {"kind": "pypi", "name": named["name"], "version": named["version"], key: location}
        return _kept({**head, **named}, {"index"})
    return _kept({"pypi": location, **row.fields}, () if version == 7 else {"index"})


def _not_derived(row: LockRow, package: TinyPackage) -> tuple[dict[str, Any], dict[str, Any]]:
    """List what versions 6 and 7 cannot see from the location (rattler_lock, derived_fields.rs)."""
    parts = urlsplit(row.location)
    is_url = parts.scheme in {"http", "https", "file"}  # of an s3:// one nothing is derived
    *_, last_folder, last = ("", *parts.path.split("/"))
    is_plain = last == package.file_name
    digits = re.search(r"[0-9]*\Z", package.build)
    derived_number = int(digits.group() or 0) if digits else 0
    guess = "python" if "py" in package.build else "generic"
    shown = last_folder if is_url and is_known_subdir(last_folder) else package.subdir
    derived_noarch = guess if shown == "noarch" else None
    head: dict[str, Any] = {
        "name": None if is_plain else package.name,
        "version": None if is_plain else package.version,
        "build": None if is_plain else package.build,
        "build_number": (None if package.build_number == derived_number else package.build_number),
        "subdir": None if is_url and last_folder == package.subdir else package.subdir,
        "noarch": None if package.noarch_kind == derived_noarch else package.noarch_kind,
    }
    tail = {
        "channel": None if row.location == f"{row.channel}/{last_folder}/{last}" else row.channel,
        "file_name": None if is_plain else package.file_name,
    }
    return head, tail


def _kept(fields: dict[str, Any], without: Iterable[str]) -> dict[str, Any]:
    gone = set(without)
    return {key: each for key, each in fields.items() if each is not None and key not in gone}


def _item(fields: dict[str, Any]) -> list[str]:
    """Write a mapping as one item of a list."""
    lines: list[str] = []
    for key, value in fields.items():
        if isinstance(value, list):
            lines += _list(key, value, "  ")
        elif isinstance(value, dict):
            lines.append(f"  {key}:" + ("" if value else " {}"))
            for name, each in value.items():
                if isinstance(each, list):
                    lines += _list(name, each, "    ")
                else:
                    lines.append(f"    {name}: {_scalar(each)}")
        else:
            lines.append(f"  {key}: {_scalar(value)}")
    return ["- " + lines[0][2:], *lines[1:]]


def _list(key: str, values: Sequence[str], indent: str) -> list[str]:
    if not values:
        return [f"{indent}{key}: []"]
    return [f"{indent}{key}:", *(f"{indent}- {_scalar(value)}" for value in values)]


def _scalar(value: object) -> str:
    """Write one value, quoted where YAML would read something else."""
    text = str(value)
    is_plain = isinstance(value, int) or (
        _PLAIN.fullmatch(text)
        and not _TYPED.fullmatch(text)
        and ": " not in text
        and " #" not in text
    )
    return text if is_plain else "'" + text.replace("'", "''") + "'"


def with_fields(package: LockedPackage, **fields: Any) -> LockedPackage:
    """Return the package with other fields, of its own or of its record."""
    own = {key: fields.pop(key) for key in ("url", "channel", "file_name") if key in fields}
    return dataclasses.replace(package, record=package.record._replace(**fields), **own)
