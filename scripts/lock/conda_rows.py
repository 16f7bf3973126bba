"""Rows of the lock that name a conda artifact, for each lock version."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final

from scripts.core.errors import usage_error
from scripts.core.file_name import FileName, is_archive_name, parse_file_name
from scripts.core.record import LAST_SECOND, RUN_EXPORTS, NoArch, Record, split_features
from scripts.core.redact import redact
from scripts.core.subdir import NOARCH, check_subdir, is_known_subdir
from scripts.core.typed_values import Table
from scripts.lock.location import Location, is_sound_url, parse_location
from scripts.lock.model import LockedPackage

_HEX: Final = {"sha256": re.compile(r"[0-9a-f]{64}\Z"), "md5": re.compile(r"[0-9a-f]{32}\Z")}
_STRINGS: Final = (
    *("arch", "platform", "license", "license_family"),
    *("features", "python_site_packages_path"),
)
_LISTS: Final = ("depends", "constrains", "flags")


class Row(Table):
    """A map of the lock; `where` is the package that it is of, or another thing of the lock's."""

    __slots__ = ()
    noun: ClassVar[str] = "map"

    def path_of(self, key: str) -> str:
        """Name a field: `depends of https://…`."""
        return f"{key} of {redact(self.where)}" if self.where else key

    def digest(self, key: str, algorithm: str) -> str | None:
        """Return a digest in lower case; an empty one counts as none."""
        value = (self.string(key) or "").lower()
        if value and not _HEX[algorithm].match(value):
            raise self.wrong(key, f"a {algorithm} in hex")
        return value or None


def package_v1(row: Row, platform: str) -> LockedPackage:
    """Read a row of v1 to v3: conda-lock's shape, hashes in a map of their own.

    What such a row calls its subdir is often the platform, but for `noarch`; else the URL says.
    """
    url = row.required("url")
    place = _place(url, row)
    name, version = row.required("name"), row.required("version")
    build = row.string("build") or (place.file_name.build if place.file_name else "")
    file_name = place.file_name or _checked(f"{name}-{version}-{build}.conda", row)
    given = row.string("subdir")
    subdir = place.subdir or (given if given and is_known_subdir(given) else platform)
    if given == NOARCH:  # whatever folder its channel keeps it in
        subdir = NOARCH
    # `platform` is another thing here; an empty list, of purls too, means that nothing is known.
    fields = {key: value for key, value in row.fields.items() if key != "platform" and value != []}
    hashes = row.table("hash").fields
    fields |= {key: hashes.get(key) for key in _HEX}
    fields["depends"] = list(dependencies_v1(row))
    return _package(
        Row(row.subject, row.where, fields),
        url=url,
        channel=place.channel,
        file_name=file_name,
        subdir=subdir,
        name=name,
        version=version,
        build=build,
        number=row.integer("build_number"),
        noarch=_noarch(row) or derive_noarch(subdir, file_name.build),
    )


def dependencies_v1(row: Row) -> tuple[str, ...]:
    """Read `dependencies`: a map of name to constraint in v1, a list later."""
    if not isinstance(row.fields.get("dependencies"), dict):
        return row.strings("dependencies")
    table = row.table("dependencies")
    return tuple(f"{name} {table.string(name) or ''}".strip() for name in table.fields)


def package_v4(row: Row) -> LockedPackage:
    """Read a row of v4 or v5: everything is written; absent means none."""
    url = row.string("url") or row.required("path")
    place = _place(url, row)
    name, version = row.required("name"), row.required("version")
    written = row.string("file_name")
    build = row.string("build") or ""
    file_name = _checked(written, row) if written else _archive_name(place, row)
    file_name = file_name or _checked(f"{name}-{version}-{build}.conda", row)
    given = row.string("subdir")
    known = given if given and is_known_subdir(given) else place.subdir
    return _package(
        row,
        url=url,
        channel=_channel(row) or place.channel,
        file_name=file_name,
        subdir=known or row.required("subdir"),
        name=name,
        version=version,
        build=build or file_name.build,
        number=row.integer("build_number") or None,
        noarch=_noarch(row),
    )


def package_v6(row: Row) -> LockedPackage:
    """Read a row of v6 or v7: what the location shows is left out."""
    url = row.required("conda")
    place = _place(url, row)
    archive, written = _archive_name(place, row), row.string("file_name")
    shown = archive or _checked(place.last if written is None else written, row)
    subdir = row.string("subdir") or place.subdir
    if subdir is None:
        raise usage_error(row.subject, f"{redact(url)} has no subdir")
    build = row.string("build")
    has_noarch = row.fields.get("noarch") is not None
    return _package(
        row,
        url=url,
        channel=_channel(row) if "channel" in row.fields else place.channel,
        file_name=shown if written is None else _checked(written, row),
        subdir=subdir,
        name=row.string("name") or shown.name,
        version=row.string("version") or shown.version,
        build=shown.build if build is None else build,
        number=row.integer("build_number"),
        noarch=_noarch(row) if has_noarch else derive_noarch(place.subdir or subdir, shown.build),
    )


def _package(
    row: Row,
    *,
    url: str,
    channel: str | None,
    file_name: FileName,
    subdir: str,
    build: str,
    number: int | None,
    **identity: Any,
) -> LockedPackage:
    """Read the fields that all versions write alike; the others each derives in its own way."""
    timestamp, purls = row.integer("timestamp"), row.fields.get("purls")
    features = row.fields.get("track_features")
    extras = row.table("extra_depends")
    identity |= {key: row.string(key) for key in _STRINGS}
    identity |= {key: row.strings(key) for key in _LISTS}
    record = Record(
        **identity,
        build=build,
        build_number=derive_build_number(build) if number is None else number,
        subdir=check_subdir(subdir, f"{row.subject}: {redact(url)}"),
        extra_depends=tuple((name, extras.strings(name)) for name in sorted(extras.fields)),
        sha256=row.digest("sha256", "sha256"),
        md5=row.digest("md5", "md5"),
        size=row.integer("size"),
        timestamp=timestamp and timestamp * (1000 if timestamp <= LAST_SECOND else 1),
        track_features=split_features(
            (features,) if isinstance(features, str) else row.strings("track_features")
        ),
        purls=None if purls is None else tuple(sorted(set(row.strings("purls")))),
        run_exports=_run_exports(row),
        legacy_bz2_md5=row.digest("legacy_bz2_md5", "md5"),
        legacy_bz2_size=row.integer("legacy_bz2_size"),
    )
    return LockedPackage(url=url, channel=channel, file_name=file_name, record=record)


def _noarch(row: Row) -> NoArch | None:
    """Return the kind of noarch; `true` means generic, as rattler reads it."""
    match row.string("noarch"):
        case "python":
            return "python"
        case "generic" | "true":
            return "generic"
        case None | "false":
            return None
    raise row.wrong("noarch", "python or generic")


def _run_exports(row: Row) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    """Return the run exports; None where they are unknown, empty where known to be none."""
    if row.fields.get("run_exports") is None:
        return None
    table = row.table("run_exports")
    return tuple((kind, specs) for kind in RUN_EXPORTS if (specs := table.strings(kind)))


def derive_build_number(build: str) -> int:
    """Read the build number from the digits at the build's end; 0 where there are none."""
    text = build[len(build.rstrip("0123456789")) :]
    return int(text) if text and len(text) <= 19 else 0


def derive_noarch(subdir: str, build: str) -> NoArch | None:
    """Guess the kind of noarch from subdir and build, as lock v6 and v7 count on."""
    if subdir != NOARCH:
        return None
    return "python" if "py" in build else "generic"


def _place(url: str, row: Row) -> Location:
    """Take a location apart, or refuse a URL that nobody could ask."""
    return parse_location(_checked_url(url, row))


def _channel(row: Row) -> str | None:
    channel = row.string("channel")
    return None if channel is None else _checked_url(channel, row)


def _checked_url(url: str, row: Row) -> str:
    if not is_sound_url(url):
        raise usage_error(row.subject, f"{redact(url)} is not a URL", ("in", redact(row.where)))
    return url


def _archive_name(place: Location, row: Row) -> FileName | None:
    """Return the location's archive name; refuse one that ends like an archive but is not safe."""
    return _checked(place.last, row) if is_archive_name(place.last) else None


def _checked(name: str, row: Row) -> FileName:
    file_name = parse_file_name(name)
    if file_name is None:
        expected = "name-version-build.conda or .tar.bz2"
        message = f"{name!r} is no file name of a conda artifact ({expected})"
        raise usage_error(row.subject, message, ("in", redact(row.where)))
    return file_name
