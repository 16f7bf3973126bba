"""A row of the lock that names a conda artifact, for each lock version."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final

from scripts.core.errors import usage_error
from scripts.core.file_name import FileName, is_archive_name, parse_file_name
from scripts.core.record import LAST_SECOND, RUN_EXPORTS, NoArch, Record, split_features
from scripts.core.redact import HIDDEN, redact
from scripts.core.subdir import NOARCH, check_subdir, is_known_subdir
from scripts.core.typed_values import Table, parse_int
from scripts.lock.location import is_sound_url, parse_location
from scripts.lock.model import LockedPackage

_HEX: Final = {"sha256": re.compile(r"[0-9a-f]{64}\Z"), "md5": re.compile(r"[0-9a-f]{32}\Z")}
_STRINGS: Final = (
    *("arch", "platform", "license", "license_family"),
    *("features", "python_site_packages_path"),
)
_LISTS: Final = ("depends", "constrains", "flags")


class Row(Table):
    """A map of the lock; `where` names the package that it is of, or the part of the lock."""

    __slots__ = ()
    noun: ClassVar[str] = "map"

    def path_of(self, key: str) -> str:
        """Name a field: `depends of https://…`."""
        return f"{key} of {redact(self.where)}" if self.where else key

    def digest(self, key: str, algorithm: str) -> str | None:
        """Return a digest in lower-case hex; None where it is missing or empty."""
        value = (self.string(key) or "").lower()
        if value and not _HEX[algorithm].match(value):
            raise self.wrong(key, f"a {algorithm} in hex")
        return value or None


def parse_package(row: Row, url: str, version: int, platform: str = "") -> LockedPackage:
    """Read a row of this lock version; `url` is its location, `platform` that of a v1 row.

    v6 and later leave out what the location shows. v1 to v3 have conda-lock's shape: what they
    call the subdir is often the platform, but for `noarch`.
    """
    if version < 4:
        row = _flattened(row)
    place = parse_location(url)
    channel = written_channel = row.string("channel")
    is_left_out = channel is None and (version < 6 or "channel" not in row.fields)
    if is_left_out or HIDDEN in (channel or ""):  # pixi hides secrets that the URL has
        channel = place.channel or channel
    refuse_unsound_urls(row, url, written_channel)
    written = row.string("file_name")
    if is_archive_name(place.last):
        shown = _file_name(place.last, row)
    else:
        identity = row.required("name"), row.required("version"), row.string("build") or ""
        shown = _file_name(written or f"{'-'.join(identity)}.conda", row)
    build = row.string("build") or shown.build
    number = row.integer("build_number")
    if number is None or (number == 0 and version in {4, 5}):  # which write 0 for unknown
        number = derive_build_number(build)
    subdir = _subdir(row, place.subdir, version, platform, url)
    noarch = _noarch(row)
    if row.fields.get("noarch") is None and version not in {4, 5}:
        noarch = derive_noarch(subdir if version < 4 else place.subdir or subdir, shown.build)
    timestamp, purls = row.integer("timestamp"), row.fields.get("purls")
    features = row.fields.get("track_features")
    plain: dict[str, Any] = {key: row.string(key) for key in _STRINGS if key in row.fields}
    plain |= {key: row.strings(key) for key in _LISTS if key in row.fields}
    record = Record(
        **plain,
        name=row.string("name") or shown.name,
        version=row.string("version") or shown.version,
        build=build,
        build_number=number,
        subdir=subdir,
        extra_depends=_extra_depends(row),
        md5=row.digest("md5", "md5"),
        sha256=row.digest("sha256", "sha256"),
        size=row.integer("size"),
        noarch=noarch,
        timestamp=timestamp and timestamp * (1000 if timestamp <= LAST_SECOND else 1),
        track_features=split_features(
            (features,) if isinstance(features, str) else row.strings("track_features")
        ),
        purls=None if purls is None else tuple(sorted(set(row.strings("purls")))),
        run_exports=_run_exports(row),
        legacy_bz2_md5=row.digest("legacy_bz2_md5", "md5"),
        legacy_bz2_size=row.integer("legacy_bz2_size"),
    )
    file_name = _file_name(written, row) if written else shown
    return LockedPackage(url=url, channel=channel, file_name=file_name, record=record)


def refuse_unsound_urls(row: Row, *urls: str | None) -> None:
    """Raise the error of exit code 2 for a URL of this row that is none."""
    for each in filter(None, urls):
        if not is_sound_url(each):
            message = f"{redact(each)} is not a URL"
            raise usage_error(row.subject, message, ("in", redact(row.where)))


def _subdir(row: Row, shown: str | None, version: int, platform: str, location: str) -> str:
    """Return the subdir that a row writes, else the one that its location shows.

    Before v6 the written one may be unknown; before v4 it is often the platform.
    """
    written = row.string("subdir")
    if version < 6 and written is not None and not is_known_subdir(written):
        written = None
    subdir = written or shown
    if version < 4 and written != NOARCH:
        subdir = shown or written or platform
    if not subdir:
        raise usage_error(row.subject, f"{redact(location)} has no subdir")
    if not is_known_subdir(subdir):
        check_subdir(subdir, f"{row.subject}: {redact(location)}")
    return subdir


def _flattened(row: Row) -> Row:
    """Turn a row in conda-lock's form into that of later versions.

    Its `platform` means something else there, and an empty list means that nothing is known.
    """
    fields = {key: value for key, value in row.fields.items() if key != "platform" and value != []}
    hashes = row.table("hash").fields
    fields |= {"depends": list(dependencies_v1(row))} | {key: hashes.get(key) for key in _HEX}
    return Row(row.subject, row.where, fields)


def dependencies_v1(row: Row) -> tuple[str, ...]:
    """Read `dependencies`: a map of name to constraint in v1, a list later."""
    if not isinstance(row.fields.get("dependencies"), dict):
        return row.strings("dependencies")
    table = row.table("dependencies")
    return tuple(f"{name} {table.string(name) or ''}".strip() for name in table.fields)


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


def _extra_depends(row: Row) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if row.fields.get("extra_depends") is None:  # as in nearly every row
        return ()
    extras = row.table("extra_depends")
    return tuple((name, extras.strings(name)) for name in sorted(extras.fields))


def _run_exports(row: Row) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    """Return the run exports; None: unknown, empty: there are none."""
    if row.fields.get("run_exports") is None:
        return None
    table = row.table("run_exports")
    return tuple((kind, specs) for kind in RUN_EXPORTS if (specs := table.strings(kind)))


def derive_build_number(build: str) -> int:
    """Read the build number from the digits at the build's end; 0 where there are none."""
    return parse_int(build[len(build.rstrip("0123456789")) :]) or 0


def derive_noarch(subdir: str, build: str) -> NoArch | None:
    """Guess the kind of noarch from subdir and build, as lock v6 and v7 count on."""
    if subdir != NOARCH:
        return None
    return "python" if "py" in build else "generic"


def _file_name(name: str, row: Row) -> FileName:
    """Parse an artifact's file name; raise the error of exit code 2 where it is not a safe one."""
    file_name = parse_file_name(name)
    if file_name is None:
        expected = "name-version-build.conda or .tar.bz2"
        message = f"{name!r} is no file name of a conda artifact ({expected})"
        raise usage_error(row.subject, message, ("in", redact(row.where)))
    return file_name
