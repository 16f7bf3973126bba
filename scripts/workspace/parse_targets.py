"""The dependencies that a manifest writes, by target.

Read as pixi does (crates/pixi_spec/src/toml.rs, crates/pixi_manifest/src/target.rs).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from scripts.core.channel_url import channel_base_url
from scripts.workspace.model import Requirement, Target
from scripts.workspace.toml_table import Table

# Later ones win where they name the same package.
_KINDS: Final = ("dependencies", "host-dependencies", "build-dependencies")
# Beside a `[package]` the others are its own (old pixi-build; pixi refuses them by now).
_BESIDE_PACKAGE: Final = _KINDS[:1]
# Keys of a dependency that a MatchSpec writes in brackets (rattler: match_spec/parse.rs).
_BRACKETS: Final = {
    "build-number": "build_number",
    "file-name": "fn",
    "subdir": "subdir",
    "license": "license",
    "license-family": "license_family",
    "md5": "md5",
    "sha256": "sha256",
}
_ARCHIVE: Final = re.compile(r"\.(conda|tar\.bz2)\Z")
_BLANKS: Final = re.compile(r"\s*([,|])\s*|([<>=!~]=?)\s+")


def parse_targets(
    table: Table, pool: Mapping[str, object], *, beside_package: bool = False
) -> tuple[Target, ...]:
    """Read the dependencies of a feature: those of all platforms, then those of `target`.

    `pool` is `[workspace.dependencies]`, from which `{ workspace = true }` takes.
    """
    kinds = _BESIDE_PACKAGE if beside_package else _KINDS
    targets = [_parse_target(None, table, pool, kinds)]
    targets += [
        _parse_target(selector, each, pool, kinds)
        for selector, each in table.table("target").tables()
    ]
    return tuple(targets)


def pypi_name(text: str) -> str:
    """Write a PyPI name as its index does (PEP 503)."""
    return re.sub(r"[-_.]+", "-", text).lower()


def _parse_target(
    selector: str | None, table: Table, pool: Mapping[str, object], kinds: tuple[str, ...]
) -> Target:
    requirements: dict[str, Requirement] = {}
    for kind in kinds:
        for each in _parse_requirements(table.table(kind), pool):
            requirements[each.name] = each
    return Target(
        selector=selector,
        requirements=tuple(requirements.values()),
        constraints=_parse_requirements(table.table("constraints"), pool),
        pypi=tuple(pypi_name(name) for name in table.table("pypi-dependencies").fields),
        dev=tuple(table.table("dev").fields),
    )


def _parse_requirements(table: Table, pool: Mapping[str, object]) -> tuple[Requirement, ...]:
    return tuple(_parse_requirement(name, table, pool) for name in table.fields)


def _parse_requirement(key: str, table: Table, pool: Mapping[str, object]) -> Requirement:
    """Read one dependency: a version, or a table with `version`, `build`, `channel` and so on."""
    name = key.lower()  # package names are compared in lower case
    value = table.fields[key]
    if isinstance(value, str):
        return Requirement(name=name, spec=f"{name} {_version(value)}")
    fields = table.table(key)
    if fields.flag("workspace"):
        fields = _inherited(key, fields, pool)
    condition = _condition(fields, "when") if "when" in fields.fields else None
    if _is_source(fields):
        return Requirement(name=name, spec=name, is_source=True, condition=condition)
    channel = fields.text("channel")
    return Requirement(
        name=name,
        spec=_spec(name, fields),
        channel=None if channel is None else channel_base_url(channel),
        location=fields.text("path") or fields.text("url"),
        condition=condition,
    )


def _spec(name: str, fields: Table) -> str:
    """Write a MatchSpec."""
    version, build = fields.text("version"), fields.text("build")
    words = [name]
    if version is not None or build is not None:
        words.append(_version(version or "*"))
    if build is not None:
        words.append(build)
    return " ".join(words) + _brackets(fields)


def _condition(table: Table, key: str) -> str:
    """Write `when`: a MatchSpec, or a table with one of `all`, `any` and `package`."""
    value = table.fields[key]
    if isinstance(value, str):
        return value
    fields = table.table(key)
    for word, between in (("all", " and "), ("any", " or ")):
        if word in fields.fields:
            values = {str(number): each for number, each in enumerate(fields.values(word))}
            parts = Table(fields.subject, fields.path_of(word), values)
            return f"({between.join(_condition(parts, number) for number in values)})"
    package = fields.text("package")
    if package is None:
        raise table.wrong(key, "a MatchSpec, or a table with all, any or package")
    return _spec(package.lower(), fields)


def _version(text: str) -> str:
    """Take out the blanks that would begin a build string; an empty version is any."""
    return _BLANKS.sub(lambda found: found[1] or found[2], text.strip()) or "*"


def _brackets(fields: Table) -> str:
    items = []
    for key, name in _BRACKETS.items():
        value = fields.fields.get(key)
        if isinstance(value, int):  # `build-number = 3` is taken as text is
            value = str(value)
        if isinstance(value, str):
            items.append(f'{name}="{value}"')
        elif value is not None:
            raise fields.wrong(key, "a text")
    for key in ("extras", "flags"):
        values = fields.texts(key)
        if values:
            items.append(f"{key}=[{','.join(values)}]")
    features = fields.texts("track-features")
    if features:
        items.append(f'track_features="{" ".join(features)}"')
    return f"[{', '.join(items)}]" if items else ""


def _is_source(fields: Table) -> bool:
    """Tell whether pixi would build it: a location that is no conda archive."""
    if fields.text("git") is not None:
        return True
    path = fields.text("path")
    if path is not None:
        return not _ARCHIVE.search(path)
    url = fields.text("url")
    return url is not None and not _ARCHIVE.search(re.split(r"[?#]", url)[0])


def _inherited(key: str, fields: Table, pool: Mapping[str, object]) -> Table:
    """Lay the entry over the one of the same name in `[workspace.dependencies]`."""
    found = next((value for name, value in pool.items() if name.lower() == key.lower()), None)
    if isinstance(found, str):
        found = {"version": found}
    if not isinstance(found, Mapping):
        raise fields.wrong("workspace", "possible: workspace.dependencies has no such package")
    return Table(fields.subject, fields.where, {**found, **fields.fields})
