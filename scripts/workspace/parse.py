"""Read a pixi manifest: pixi.toml, pyproject.toml, old and new.

Only what a mirror must know is read, as pixi reads it (crates/pixi_manifest/src/toml, target.rs;
crates/pixi_spec/src/toml.rs); pixi itself judges the rest.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Final

from scripts.core.channel_url import channel_base_url
from scripts.core.errors import usage_error
from scripts.core.pep508 import parse_requirement, pypi_name
from scripts.core.typed_values import Table, load_toml
from scripts.workspace.model import (
    DEFAULT,
    Environment,
    Feature,
    Manifest,
    ManifestChannel,
    PypiOptions,
    PypiRequirement,
    Requirement,
    Target,
)
from scripts.workspace.settings import TABLE, Settings, parse_settings
from scripts.workspace.virtual_packages import parse_platforms, parse_system_requirements

PYPROJECT: Final = "pyproject.toml"
_PEP508_NAME: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
# What an environment's own table may hold besides these is the content of a feature.
_NOT_CONTENT: Final = frozenset({"features", "solve-group", "no-default-feature"})
# Later ones win where they name the same package.
_KINDS: Final = ("dependencies", "host-dependencies", "build-dependencies")
# Keys of a dependency that a MatchSpec writes in brackets (rattler: match_spec/parse.rs).
_BRACKETS: Final = (
    *("build-number", "file-name", "subdir", "license", "license-family"),
    *("md5", "sha256"),
)
_ARCHIVE: Final = re.compile(r"\.(conda|tar\.bz2)\Z")
_BLANKS: Final = re.compile(r"\s*([,|])\s*|([<>=!~]=?)\s+")


def parse_manifest(text: str, *, name: str, is_own: bool = True) -> Manifest:
    """Read a manifest; `name` is its file name, which tells pyproject.toml from pixi.toml.

    `is_own` False: it is another workspace's, whose `[tool.pixi-mirror]` is not read.

    Raises the error of exit code 2 where it is no TOML or no pixi workspace, and for wrong settings
    in `[tool.pixi-mirror]`.
    """
    top = load_toml(text, name)
    pixi = pixi_table(top)
    workspace = workspace_table(pixi)
    pool = workspace.table("dependencies").fields
    default = _parse_feature(DEFAULT, pixi, pool, options=workspace)
    features = [dataclasses.replace(default, platforms=None, channels=None)]
    features += [
        _parse_feature(each, table, pool) for each, table in pixi.table("feature").tables()
    ]
    project = Table(name, "", {}) if top is pixi else top.table("project")
    if top is not pixi:
        features = _with_python_project(features, project, top.table("dependency-groups"))
    environments = _parse_environments(pixi.table("environments"), pool)
    known = {feature.name for feature in features}
    for environment in environments:
        for feature in environment.features:
            if feature not in known:
                message = f"names the feature {feature}, which is not defined"
                raise usage_error(name, f"environment {environment.name} {message}")
    return Manifest(
        file_name=name,
        name=workspace.string("name") or project.string("name"),
        channels=_parse_channels(workspace),
        platforms=parse_platforms(workspace),
        features=tuple(features),
        environments=environments,
        pypi_options=_pypi_options(workspace.table("pypi-options")),
        excludes_newer="exclude-newer" in workspace.fields,
        settings=settings_of(top) if is_own else Settings(),
        has_settings=TABLE.removeprefix("tool.") in top.table("tool").fields,
    )


def settings_of(top: Table) -> Settings:
    """Read `[tool.pixi-mirror]` of a manifest."""
    return parse_settings(top.table("tool").table(TABLE.removeprefix("tool.")).fields, top.subject)


def pixi_table(top: Table) -> Table:
    """Return the table that pixi reads: all of pixi.toml, `[tool.pixi]` of pyproject.toml."""
    return top.table("tool").table("pixi") if PurePath(top.subject).name == PYPROJECT else top


def workspace_table(pixi: Table) -> Table:
    """Return `[workspace]`, or `[project]`, as it was called of old."""
    for key in ("workspace", "project"):
        if key in pixi.fields:
            return pixi.table(key)
    message = f"not a pixi workspace: there is no table [{pixi.path_of('workspace')}]"
    raise usage_error(pixi.subject, message, help="pixi init")


def _parse_channels(table: Table) -> tuple[ManifestChannel, ...]:
    """Read `channels`: strings, or tables with a priority."""
    channels = []
    for position, each in enumerate(table.values("channels")):
        fields = each if isinstance(each, Mapping) else {"channel": each}
        row = Table(table.subject, f"{table.path_of('channels')}[{position}]", fields)
        channel = row.string("channel")
        if not channel:
            raise row.wrong("channel", "a channel's name or URL")
        priority = row.integer("priority") or 0
        channels.append(ManifestChannel(url=channel_base_url(channel), priority=priority))
    return tuple(channels)


def _parse_feature(
    name: str, table: Table, pool: Mapping[str, object], options: Table | None = None
) -> Feature:
    """Read a feature's table; `options` has `channel-priority` and the like, if not `table` itself.

    `pool` is `[workspace.dependencies]`, from which `{ workspace = true }` takes. Beside a
    `[package]`, host and build dependencies are its own (old pixi-build; pixi refuses them now).
    """
    options = options or table
    kinds = _KINDS[:1] if "package" in table.fields else _KINDS
    targets = [(None, table), *table.table("target").tables()]
    return Feature(
        name=name,
        platforms=table.strings("platforms") if "platforms" in table.fields else None,
        channels=_parse_channels(table) if "channels" in table.fields else None,
        targets=tuple(_parse_target(selector, each, pool, kinds) for selector, each in targets),
        system_requirements=parse_system_requirements(table.table("system-requirements")),
        channel_priority=options.string("channel-priority"),
        solve_strategy=options.string("solve-strategy"),
        pypi_options=_pypi_options(table.table("pypi-options")),
    )


def _pypi_options(options: Table) -> PypiOptions:
    return PypiOptions(
        index_url=options.string("index-url"),
        extra_index_urls=options.strings("extra-index-urls"),
        find_links=tuple(
            x["url"] for x in options.rows("find-links") if isinstance(x.get("url"), str)
        ),
        overrides=tuple(_parse_pypi(options.table("dependency-overrides"))),
        no_build_isolation=_names_or_all(options, "no-build-isolation"),
        no_build=_names_or_all(options, "no-build"),
        no_binary=_names_or_all(options, "no-binary"),
        prerelease_mode=options.string("prerelease-mode"),
    )


def _names_or_all(options: Table, key: str) -> tuple[str, ...]:
    """Read names of PyPI packages, or true for all of them."""
    if isinstance(options.fields.get(key), list):
        return tuple(map(pypi_name, options.strings(key)))
    return ("*",) if options.boolean(key) else ()


def _parse_environments(table: Table, pool: Mapping[str, object]) -> tuple[Environment, ...]:
    """Read `[environments]`; `default` is added in front where it is not written."""
    environments = [] if DEFAULT in table.fields else [Environment(name=DEFAULT)]
    for name, value in table.fields.items():
        fields = Table(table.subject, table.path_of(name), {"features": value})
        if not isinstance(value, list):
            fields = table.table(name)
        has_content = bool(fields.fields.keys() - _NOT_CONTENT)
        environments.append(
            Environment(
                name=name,
                features=fields.strings("features"),
                own=_parse_feature(f"environments.{name}", fields, pool) if has_content else None,
                no_default_feature=fields.boolean("no-default-feature"),
                solve_group=fields.string("solve-group"),
            )
        )
    return tuple(environments)


def _with_python_project(
    features: list[Feature], project: Table, dependency_groups: Table
) -> list[Feature]:
    """Add what pixi takes from a Python project: its dependencies, groups and requires-python.

    Each group is a feature of the same name, and what it asks for holds beside what that asks for
    (crates/pixi_manifest/src/pyproject.rs).
    """
    groups = {
        group: _of_group(table.values(group), project, dependency_groups)
        for table in (project.table("optional-dependencies"), dependency_groups)
        for group in table.fields
    }
    groups[DEFAULT] = groups.get(DEFAULT, ()) + _of_project(project.values("dependencies"))
    by_name = {feature.name: feature for feature in features}
    more = [(group, Target(pypi=asked)) for group, asked in groups.items()]
    every = (target for target in features[0].targets if target.selector is None)
    if not any(each.name == "python" for target in every for each in target.requirements):
        version = (project.string("requires-python") or "*").replace(" ", "").removeprefix("==")
        python = Requirement(name="python", spec=f"python {version}")
        more.append((DEFAULT, Target(requirements=(python,))))
    for name, target in more:
        feature = by_name.get(name, Feature(name=name, targets=(Target(),)))
        own, *others = feature.targets
        both = dataclasses.replace(
            own,
            requirements=(*target.requirements, *own.requirements),
            pypi=(*own.pypi, *target.pypi),
        )
        by_name[name] = dataclasses.replace(feature, targets=(both, *others))
    return list(by_name.values())


def _of_group(
    entries: Iterable[object], project: Table, groups: Table, above: tuple[object, ...] = ()
) -> tuple[PypiRequirement, ...]:
    """Return what a group asks for, with the groups it includes and the project's own extras.

    What is included twice on the way down is left out: pixi refuses such a manifest.
    """
    extras = project.table("optional-dependencies")
    found: list[PypiRequirement] = []
    for entry in entries:
        included: list[tuple[object, ...]] = []
        if isinstance(entry, Mapping):
            included = [groups.values(str(entry.get("include-group")))]
        requirement = parse_requirement(entry) if isinstance(entry, str) else None
        if requirement and pypi_name(requirement.name) == project.string("name"):
            wanted = {pypi_name(each) for each in requirement.extras}
            included = [extras.values(each) for each in extras.fields if pypi_name(each) in wanted]
        elif isinstance(entry, str):
            found += _of_project([entry])
        for each in () if entry in above else included:
            found += _of_group(each, project, groups, (*above, entry))
    return tuple(found)


def _of_project(requirements: Iterable[object]) -> tuple[PypiRequirement, ...]:
    """Return the PEP 508 requirements of a list."""
    texts = [each for each in requirements if isinstance(each, str)]
    found = [(_PEP508_NAME.match(each), each) for each in texts]
    return tuple(PypiRequirement(name=pypi_name(x[1]), text=text) for x, text in found if x)


def _parse_pypi(table: Table) -> Iterator[PypiRequirement]:
    """Read `[pypi-dependencies]`, as PEP 508 has them (pixi: crates/pixi_pypi_spec)."""
    for name, value in table.fields.items():
        fields = table.table(name) if isinstance(value, dict) else None
        version = table.string(name) if fields is None else fields.string("version")
        extras = () if fields is None else fields.strings("extras")
        marker = None if fields is None else fields.string("env-markers")
        version = "" if version in {None, "*"} else version
        if version and version[0].isdigit():  # which an old pixi took for `==`
            version = f"=={version}"
        text = f"{name}[{','.join(extras)}]{version}" if extras else f"{name}{version}"
        text += f" ; {marker}" if marker else ""
        yield PypiRequirement(name=pypi_name(name), text=text)


def _parse_target(
    selector: str | None, table: Table, pool: Mapping[str, object], kinds: tuple[str, ...]
) -> Target:
    requirements = {
        each.name: each for kind in kinds for each in _parse_requirements(table.table(kind), pool)
    }
    return Target(
        selector=selector,
        requirements=tuple(requirements.values()),
        constraints=_parse_requirements(table.table("constraints"), pool),
        pypi=tuple(_parse_pypi(table.table("pypi-dependencies"))),
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
    if fields.boolean("workspace"):
        fields = _inherited(name, fields, pool)
    condition = _condition(fields, "when") if "when" in fields.fields else None
    path, url = fields.string("path"), fields.string("url")
    archive = path or re.split(r"[?#]", url or "", maxsplit=1)[0]
    if fields.string("git") or ((path or url) and not _ARCHIVE.search(archive)):
        return Requirement(name=name, spec=name, is_source=True, condition=condition)
    channel = fields.string("channel")
    return Requirement(
        name=name,
        spec=_spec(name, fields),
        channel=None if channel is None else channel_base_url(channel),
        location=path or url,
        condition=condition,
    )


def _inherited(name: str, fields: Table, pool: Mapping[str, object]) -> Table:
    """Lay the entry over the one of the same name in `[workspace.dependencies]`."""
    found = next((value for key, value in pool.items() if key.lower() == name), None)
    found = {"version": found} if isinstance(found, str) else found
    if not isinstance(found, Mapping):
        raise fields.wrong("workspace", "possible: workspace.dependencies has no such package")
    return dataclasses.replace(fields, fields={**found, **fields.fields})


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
    package = fields.string("package")
    if package is None:
        raise table.wrong(key, "a MatchSpec, or a table with all, any or package")
    return _spec(package.lower(), fields)


def _spec(name: str, fields: Table) -> str:
    """Write a MatchSpec."""
    version, build = fields.string("version"), fields.string("build")
    words = [name]
    if version is not None or build is not None:
        words.append(_version(version or "*"))
    if build is not None:
        words.append(build)
    items = []
    for key in _BRACKETS:
        value = fields.fields.get(key)
        if value is not None:  # `build-number = 3` is taken as a string is
            written = "fn" if key == "file-name" else key.replace("-", "_")
            items.append(f'{written}="{value if isinstance(value, int) else fields.string(key)}"')
    lists = {key: fields.strings(key) for key in ("extras", "flags")}
    items += [f"{key}=[{','.join(value)}]" for key, value in lists.items() if value]
    if fields.strings("track-features"):
        items.append(f'track_features="{" ".join(fields.strings("track-features"))}"')
    return " ".join(words) + (f"[{', '.join(items)}]" if items else "")


def _version(text: str) -> str:
    """Remove blanks, which would begin a build string; an empty version is `*`."""
    return _BLANKS.sub(lambda found: found[1] or found[2], text.strip()) or "*"
