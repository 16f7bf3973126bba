"""Rows of the lock that name a conda artifact, for each lock version."""

from __future__ import annotations

from scripts.core.errors import MirrorError, usage_error
from scripts.core.file_name import FileName, parse_file_name
from scripts.core.record import NoArch, Record, split_features
from scripts.core.redact import redact
from scripts.core.subdir import NOARCH, check_subdir, is_known_subdir
from scripts.lock.derive import (
    Location,
    derive_build_number,
    derive_noarch,
    is_sound_url,
    parse_location,
)
from scripts.lock.model import LockedPackage
from scripts.lock.row import Row
from scripts.lock.yaml_text import Node


def package_v1(row: Row, platform: str) -> LockedPackage:
    """Read a row of v1 to v3: conda-lock's shape, hashes in a map of their own.

    What such a row calls its subdir is often the platform, but for `noarch`; else the URL says.
    """
    url = row.needed("url")
    place = _place(url, row)
    name, version = row.needed("name"), row.needed("version")
    build = row.text("build") or (place.file_name.build if place.file_name else "")
    file_name = place.file_name or _checked(f"{name}-{version}-{build}.conda", row)
    hashes = Row(row.subject, f"hash of {url}", row.table("hash"))
    given = row.text("subdir")
    subdir = place.subdir or (given if given and is_known_subdir(given) else platform)
    if given == NOARCH:  # whatever folder its channel keeps it in
        subdir = NOARCH
    number = row.integer("build_number")
    return LockedPackage(
        url=url,
        channel=place.channel,
        file_name=file_name,
        record=Record(
            name=name,
            version=version,
            build=build,
            build_number=derive_build_number(build) if number is None else number,
            subdir=check_subdir(subdir, f"{row.subject}: {redact(url)}"),
            depends=_dependencies(row),
            constrains=row.texts("constrains"),
            sha256=hashes.hex_digest("sha256", "sha256"),
            md5=hashes.hex_digest("md5", "md5"),
            size=row.integer("size"),
            arch=row.text("arch"),
            noarch=row.noarch() or derive_noarch(subdir, file_name.build),
            license=row.text("license"),
            license_family=row.text("license_family"),
            timestamp=row.timestamp(),
            features=row.text("features"),
            track_features=split_features(row.one_or_many("track_features")),
            purls=tuple(sorted(set(row.texts("purls")))) or None,
            python_site_packages_path=row.text("python_site_packages_path"),
        ),
    )


def package_v4(row: Row) -> LockedPackage:
    """Read a row of v4 or v5: everything is written; absent means none."""
    url = row.text("url") or row.needed("path")
    place = _place(url, row)
    name, version = row.needed("name"), row.needed("version")
    written = row.text("file_name")
    build = row.text("build") or ""
    file_name = (
        _checked(written, row)
        if written
        else _archive_name(place, row) or _checked(f"{name}-{version}-{build}.conda", row)
    )
    build = build or file_name.build
    given = row.text("subdir")
    subdir = given if given and is_known_subdir(given) else place.subdir or row.needed("subdir")
    return _package(
        row,
        url=url,
        file_name=file_name,
        channel=_channel(row) or place.channel,
        subdir=check_subdir(subdir, f"{row.subject}: {redact(url)}"),
        name=name,
        version=version,
        build=build,
        build_number=row.integer("build_number") or derive_build_number(build),
        noarch=row.noarch(),
    )


def package_v6(row: Row) -> LockedPackage:
    """Read a row of v6 or v7: what the location shows is left out."""
    url = row.needed("conda")
    place = _place(url, row)
    archive = _archive_name(place, row)
    written = row.text("file_name")
    if written is not None:
        file_name = _checked(written, row)
    elif archive is not None:
        file_name = archive
    else:
        raise _unsafe(place.last, row)
    subdir = row.text("subdir") or place.subdir
    if subdir is None:
        raise usage_error(row.subject, f"{redact(url)} has no subdir")
    build = row.text("build")
    number = row.integer("build_number")
    shown = archive or file_name
    build = shown.build if build is None else build
    return _package(
        row,
        url=url,
        file_name=file_name,
        channel=_channel(row) if "channel" in row.fields else place.channel,
        subdir=check_subdir(subdir, f"{row.subject}: {redact(url)}"),
        name=row.text("name") or shown.name,
        version=row.text("version") or shown.version,
        build=build,
        build_number=derive_build_number(build) if number is None else number,
        noarch=row.noarch()
        if row.fields.get("noarch") is not None
        else derive_noarch(place.subdir or subdir, shown.build),
    )


def _package(
    row: Row,
    *,
    url: str,
    file_name: FileName,
    channel: str | None,
    subdir: str,
    name: str,
    version: str,
    build: str,
    build_number: int,
    noarch: NoArch | None,
) -> LockedPackage:
    """Read the fields that v4 to v7 write alike; the others each derives in its own way."""
    purls = row.fields.get("purls")
    record = Record(
        name=name,
        version=version,
        build=build,
        build_number=build_number,
        subdir=subdir,
        depends=row.texts("depends"),
        constrains=row.texts("constrains"),
        extra_depends=tuple(sorted(row.extra_depends())),
        sha256=row.hex_digest("sha256", "sha256"),
        md5=row.hex_digest("md5", "md5"),
        size=row.integer("size"),
        arch=row.text("arch"),
        platform=row.text("platform"),
        noarch=noarch,
        license=row.text("license"),
        license_family=row.text("license_family"),
        timestamp=row.timestamp(),
        features=row.text("features"),
        track_features=split_features(row.one_or_many("track_features")),
        flags=row.texts("flags"),
        purls=None if purls is None else tuple(sorted(set(row.texts("purls")))),
        python_site_packages_path=row.text("python_site_packages_path"),
        run_exports=row.run_exports(),
        legacy_bz2_md5=row.hex_digest("legacy_bz2_md5", "md5"),
        legacy_bz2_size=row.integer("legacy_bz2_size"),
    )
    return LockedPackage(url=url, channel=channel, file_name=file_name, record=record)


def _dependencies(row: Row) -> tuple[str, ...]:
    """Read `dependencies`: a map of name to constraint in v1, a list later."""
    value: Node = row.fields.get("dependencies")
    if not isinstance(value, dict):
        return row.texts("dependencies")
    table = Row(row.subject, f"dependencies of {row.what}", value)
    return tuple(f"{name} {table.text(name) or ''}".strip() for name in value)


def _place(url: str, row: Row) -> Location:
    """Take a location apart, or refuse a URL that nobody could ask."""
    _check_url(url, row)
    return parse_location(url)


def _channel(row: Row) -> str | None:
    channel = row.text("channel")
    if channel is not None:
        _check_url(channel, row)
    return channel


def _check_url(url: str, row: Row) -> None:
    if not is_sound_url(url):
        raise usage_error(row.subject, f"{redact(url)} is not a URL", ("in", redact(row.what)))


def _archive_name(place: Location, row: Row) -> FileName | None:
    """Return the location's archive name; refuse one that ends like an archive but is not safe."""
    if place.file_name is None and place.last.endswith((".conda", ".tar.bz2")):
        raise _unsafe(place.last, row)
    return place.file_name


def _checked(name: str, row: Row) -> FileName:
    file_name = parse_file_name(name)
    if file_name is None:
        raise _unsafe(name, row)
    return file_name


def _unsafe(name: str, row: Row) -> MirrorError:
    return usage_error(
        row.subject,
        f"{name!r} is no file name of a conda artifact (name-version-build.conda or .tar.bz2)",
        ("in", redact(row.what)),
    )
