"""Read a pixi manifest: pixi.toml, pyproject.toml, old and new.

Only what a mirror must know is read, as pixi reads it (crates/pixi_manifest/src/toml); pixi
itself judges the rest.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final

from scripts.core.channel_url import channel_base_url
from scripts.core.errors import usage_error
from scripts.workspace.model import (
    DEFAULT,
    Environment,
    Feature,
    Manifest,
    ManifestChannel,
    Requirement,
    Target,
)
from scripts.workspace.parse_platforms import parse_platforms, parse_system_requirements
from scripts.workspace.parse_targets import parse_targets, pypi_name
from scripts.workspace.settings import TABLE, parse_settings
from scripts.workspace.toml_table import Table, load_toml

PYPROJECT: Final = "pyproject.toml"
_PEP508_NAME: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
# What an environment's own table may hold besides these is the content of a feature.
_NOT_CONTENT: Final = frozenset({"features", "solve-group", "no-default-feature"})


def parse_manifest(text: str, *, name: str) -> Manifest:
    """Read a manifest; `name` is its file name, which tells pyproject.toml from pixi.toml.

    Raises the error of exit code 2 for what is no TOML or no pixi workspace, and for settings of
    ours that are wrong.
    """
    top = load_toml(text, name)
    pixi = pixi_table(top)
    workspace = workspace_table(pixi)
    pool = workspace.table("dependencies").fields
    features = [_with_ways(_parse_feature(DEFAULT, pixi, pool), workspace)]
    features += [
        _parse_feature(each, table, pool) for each, table in pixi.table("feature").tables()
    ]
    project = top.table("project") if top is not pixi else Table(name, "", {})
    if top is not pixi:
        features = _with_python_project(features, project, top.table("dependency-groups"))
    environments = _parse_environments(pixi.table("environments"), pool)
    _check_features(name, features, environments)
    return Manifest(
        file_name=name,
        name=workspace.text("name") or project.text("name"),
        channels=_parse_channels(workspace) or (),
        platforms=parse_platforms(workspace),
        features=tuple(features),
        environments=environments,
        settings=parse_settings(top.table("tool").table(TABLE.removeprefix("tool.")).fields, name),
    )


def pixi_table(top: Table) -> Table:
    """Return the table that pixi reads: all of pixi.toml, `[tool.pixi]` of pyproject.toml."""
    return top.table("tool").table("pixi") if PurePath(top.subject).name == PYPROJECT else top


def workspace_table(pixi: Table) -> Table:
    """Return `[workspace]`, or `[project]`, as it was called of old."""
    for key in ("workspace", "project"):
        if key in pixi.fields:
            return pixi.table(key)
    wanted = pixi.path_of("workspace")
    raise usage_error(
        pixi.subject,
        f"not a pixi workspace: there is no table [{wanted}]",
        help="pixi init",
    )


def _parse_channels(table: Table) -> tuple[ManifestChannel, ...] | None:
    """Read `channels`: texts, or tables with a priority; None where there are none."""
    if "channels" not in table.fields:
        return None
    channels = []
    for position, each in enumerate(table.values("channels")):
        fields = each if isinstance(each, Mapping) else {"channel": each}
        row = Table(table.subject, f"{table.path_of('channels')}[{position}]", fields)
        channel = row.text("channel")
        if not channel:
            raise row.wrong("channel", "a channel's name or URL")
        priority = row.fields.get("priority", 0)
        if not isinstance(priority, int):
            raise row.wrong("priority", "a whole number")
        channels.append(ManifestChannel(url=channel_base_url(channel), priority=priority))
    return tuple(channels)


def _parse_feature(name: str, table: Table, pool: Mapping[str, object]) -> Feature:
    """Read a feature's table; the default feature's is the one around all others."""
    is_default = name == DEFAULT
    feature = Feature(
        name=name,
        platforms=None if is_default else table.texts("platforms"),
        channels=None if is_default else _parse_channels(table),
        targets=parse_targets(table, pool, beside_package="package" in table.fields),
        system_requirements=parse_system_requirements(table.table("system-requirements")),
    )
    return feature if is_default else _with_ways(feature, table)


def _with_ways(feature: Feature, table: Table) -> Feature:
    """Add how to solve, which the default feature takes from the workspace's table."""
    return dataclasses.replace(
        feature,
        channel_priority=table.text("channel-priority"),
        solve_strategy=table.text("solve-strategy"),
    )


def _parse_environments(table: Table, pool: Mapping[str, object]) -> tuple[Environment, ...]:
    """Read `[environments]`; `default` is there even where it is not written, and then first."""
    environments = []
    for name in table.fields:
        if isinstance(table.fields[name], list):
            environments.append(Environment(name=name, features=table.texts(name) or ()))
            continue
        fields = table.table(name)
        has_content = any(key not in _NOT_CONTENT for key in fields.fields)
        environments.append(
            Environment(
                name=name,
                features=fields.texts("features") or (),
                own=_parse_feature(f"environments.{name}", fields, pool) if has_content else None,
                no_default_feature=fields.flag("no-default-feature"),
                solve_group=fields.text("solve-group"),
            )
        )
    if DEFAULT not in table.fields:
        environments.insert(0, Environment(name=DEFAULT))
    return tuple(environments)


def _check_features(name: str, features: list[Feature], all_of: tuple[Environment, ...]) -> None:
    known = {feature.name for feature in features}
    for environment in all_of:
        for feature in environment.features:
            if feature not in known:
                raise usage_error(
                    name,
                    f"environment {environment.name} names the feature {feature}, "
                    "which is not defined",
                )


def _with_python_project(
    features: list[Feature], project: Table, dependency_groups: Table
) -> list[Feature]:
    """Add what pixi takes from a Python project: its dependencies, groups and requires-python.

    Each group is a feature of the same name (crates/pixi_manifest/src/pyproject.rs).
    """
    groups = {
        group: _names(table.values(group))
        for table in (project.table("optional-dependencies"), dependency_groups)
        for group in table.fields
    }
    groups[DEFAULT] = groups.get(DEFAULT, ()) + _names(project.values("dependencies"))
    by_name = {feature.name: feature for feature in features}
    for group, names in groups.items():
        feature = by_name.get(group, Feature(name=group))
        added = Target(pypi=names)
        by_name[group] = _with_target(feature, added)
    has_python = any(
        requirement.name == "python"
        for target in features[0].targets
        if target.selector is None
        for requirement in target.requirements
    )
    if not has_python:
        version = (project.text("requires-python") or "*").replace(" ", "").removeprefix("==")
        python = Requirement(name="python", spec=f"python {version}")
        by_name[DEFAULT] = _with_target(by_name[DEFAULT], Target(requirements=(python,)))
    return list(by_name.values())


def _with_target(feature: Feature, target: Target) -> Feature:
    return dataclasses.replace(feature, targets=(target, *feature.targets))


def _names(requirements: tuple[object, ...]) -> tuple[str, ...]:
    """Return the package names of PEP 508 requirements; a group may include another one."""
    found = [_PEP508_NAME.match(each) for each in requirements if isinstance(each, str)]
    return tuple(pypi_name(match[1]) for match in found if match)
