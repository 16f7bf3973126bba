"""The `packages` of lock versions 4 to 7, and what a reference to them means."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from scripts.core.errors import usage_error
from scripts.core.file_name import is_archive_name
from scripts.core.redact import redact
from scripts.lock.conda_rows import package_v4, package_v6
from scripts.lock.derive import parse_location
from scripts.lock.model import LockedPackage, SourcePackage, Unmirrorable
from scripts.lock.row import Row
from scripts.lock.yaml_text import Node
from scripts.workspace.settings import Kind

# Merged from a second row of the same artifact where the first lacks them
# (rattler_lock/src/parse/models/legacy.rs, merge_package_record).
_MERGED = ("md5", "sha256", "purls", "run_exports")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A row that no artifact stands for; `needs` refers to its build and its host packages.

    `built` is what comes of a source package, None for a row of PyPI.
    """

    row: Unmirrorable
    needs: tuple[tuple[dict[str, Node], ...], ...] = ()
    built: SourcePackage | None = None


Found = LockedPackage | SourceRow


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What a row means, beside the row as written."""

    found: Found
    written: Row


class PackageList:
    """The list of packages with an index by what environments write to refer to them."""

    def __init__(self, rows: tuple[dict[str, Node], ...], version: int, subject: str) -> None:
        """Read every row, also those that no environment refers to: they must be valid too."""
        self._version = version
        self._subject = subject
        self._by_reference: dict[tuple[str, str], list[_Candidate]] = {}
        for fields in rows:
            reference, candidate = _read(fields, version, subject)
            self._by_reference.setdefault(reference, []).append(candidate)

    def find(self, selector: dict[str, Node], subdir: str, where: str) -> Found:
        """Return what a reference means; `where` names the environment that makes it."""
        for kind in ("conda", "pypi", "conda_source"):
            location = selector.get(kind)
            if isinstance(location, str):
                break
        else:
            raise usage_error(self._subject, f"{where} refers to something of no known kind")
        candidates = self._by_reference.get((kind, location), [])
        if not candidates:
            raise usage_error(
                self._subject,
                f"{where} refers to a package that is not listed",
                ("package", redact(location)),
                help="pixi lock",
            )
        if self._version < 6:
            return _merged(candidates, subdir)
        for candidate in candidates:
            if kind != "conda" or _fits(candidate, selector):
                return candidate.found
        raise usage_error(
            self._subject,
            f"{where} refers to a variant of a package that is not listed",
            ("package", redact(location)),
            help="pixi lock",
        )


def _read(
    fields: dict[str, Node], version: int, subject: str
) -> tuple[tuple[str, str], _Candidate]:
    """Read one row: how environments refer to it, and what it is."""
    if version < 6:
        row = Row(subject, str(fields.get("url") or fields.get("path") or "a package"), fields)
        kind = row.needed("kind")
        location = row.text("url") or row.needed("path")
        if kind == "conda":
            return ("conda", location), _Candidate(package_v4(row), row)
        if kind == "pypi":
            return ("pypi", location), _Candidate(_pypi(row, location), row)
        raise row.wrong("kind", "conda or pypi")
    for kind in ("conda", "conda_source", "pypi"):
        location_node = fields.get(kind)
        if isinstance(location_node, str):
            row = Row(subject, location_node, fields)
            break
    else:
        raise usage_error(
            subject, "a package of no known kind", ("keys", ", ".join(sorted(fields)[:8]))
        )
    location = location_node
    found: Found
    if kind == "pypi":
        found = _pypi(row, location)
    elif kind == "conda" and is_archive_name(parse_location(location).last):
        found = package_v6(row)
    else:
        found = _source(row, location)
    return (kind, location), _Candidate(found, row)


def _source(row: Row, location: str) -> SourceRow:
    """Read a package that is built on the spot; v7 writes `name[hash] @ location`."""
    name, at, place = location.partition(" @ ")
    shown = (name.partition("[")[0] if at else row.text("name")) or location
    version = row.text("version")
    built = SourcePackage(
        name=f"{shown} {version}" if version else shown,
        location=place if at else location,
        depends=row.texts("depends"),
        constrains=row.texts("constrains"),
    )
    return SourceRow(
        row=Unmirrorable(
            kind=Kind.SOURCE,
            name=built.name,
            location=built.location,
            reason="a source package, built where it is installed",
        ),
        needs=(row.rows("build_packages"), row.rows("host_packages")),
        built=built,
    )


def _pypi(row: Row, location: str) -> SourceRow:
    version = row.text("version")
    name = row.text("name") or location
    return SourceRow(
        row=Unmirrorable(
            kind=Kind.PYPI,
            name=f"{name} {version}" if version else name,
            location=location,
            reason="a PyPI package",
        ),
        needs=(row.rows("build_packages"), row.rows("host_packages")),
    )


def _fits(candidate: _Candidate, selector: dict[str, Node]) -> bool:
    """Tell whether v6's extra words of a reference (name, version, build, subdir) fit."""
    found = candidate.found
    for key in ("name", "version", "build", "subdir"):
        wanted = selector.get(key)
        if isinstance(wanted, str):
            has = candidate.written.text(key)
            if isinstance(found, LockedPackage):
                has = getattr(found.record, key)
            if wanted != has:
                return False
    return True


def _merged(candidates: list[_Candidate], subdir: str) -> Found:
    """Make one of all rows of an artifact (v4, v5): those written for this subdir, else all."""
    fitting = [each for each in candidates if each.written.text("subdir") == subdir]
    first, *others = (each.found for each in fitting or candidates)
    if not isinstance(first, LockedPackage):
        return first
    for other in others:
        if isinstance(other, LockedPackage):
            known = first.record
            missing = {k: getattr(other.record, k) for k in _MERGED if getattr(known, k) is None}
            first = dataclasses.replace(first, record=dataclasses.replace(known, **missing))
    return first
