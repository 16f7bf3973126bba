"""What an environment of a manifest has: channels, platforms, requirements.

As pixi resolves them (crates/pixi_manifest/src/features_ext.rs).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from scripts.core.subdir import is_known_subdir
from scripts.workspace.model import (
    DEFAULT_INDEX,
    Environment,
    Feature,
    Manifest,
    ManifestPlatform,
    PypiOptions,
    PypiRequirement,
    Requirement,
    Target,
)
from scripts.workspace.virtual_packages import compose_platform, is_unix

_Required = TypeVar("_Required", Requirement, PypiRequirement)


def environment_channels(manifest: Manifest, environment: Environment) -> tuple[str, ...]:
    """Return the channels in order of priority, as base URLs.

    They are those of its features, in order; a feature without channels has the workspace's. Higher
    `priority` goes first, and a channel counts where it is named first.
    """
    return _channels(manifest, manifest.features_of(environment))


def solve_group(manifest: Manifest, environment: Environment) -> tuple[Environment, ...]:
    """Return the environments that pixi solves as one with this one, itself included."""
    if environment.solve_group is None:
        return (environment,)
    return tuple(
        each for each in manifest.environments if each.solve_group == environment.solve_group
    )


def locked_channels(manifest: Manifest, environment: Environment) -> tuple[str, ...]:
    """Return the channels that pixi writes to the lock: those of the whole solve group.

    As pixi_core/src/workspace/solve_group.rs: of all features of all its environments, each once.
    """
    return _channels(manifest, _group_features(manifest, environment))


def locked_indexes(
    manifest: Manifest, environment: Environment
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the URLs of the PyPI indexes that pixi writes to the lock, and those of `find-links`.

    They are those of the whole solve group; the first one of `[workspace]` counts where no feature
    has one.
    """
    options = pypi_options(manifest, _group_features(manifest, environment))
    return (options.index_url or DEFAULT_INDEX, *options.extra_index_urls), options.find_links


def asks_pypi(manifest: Manifest, environment: Environment) -> bool:
    """Tell whether an environment asks for anything of PyPI on every platform."""
    targets = (x for each in manifest.features_of(environment) for x in each.targets)
    return any(each.pypi for each in targets if each.selector is None)


def pypi_options(manifest: Manifest, features: Iterable[Feature]) -> PypiOptions:
    """Merge what features say with what `[workspace]` does, as pixi's `pypi_options` does.

    Of what can be said once the first feature counts, then the workspace; lists are joined.
    """
    ranked = (*(each.pypi_options for each in features), manifest.pypi_options)
    every = (ranked[-1], *ranked[:-1])
    return PypiOptions(
        index_url=next((each.index_url for each in ranked if each.index_url), None),
        extra_index_urls=tuple(dict.fromkeys(x for each in every for x in each.extra_index_urls)),
        find_links=tuple(dict.fromkeys(x for each in every for x in each.find_links)),
        overrides=tuple({x.name: x for each in reversed(ranked) for x in each.overrides}.values()),
        no_build_isolation=tuple(x for each in every for x in each.no_build_isolation),
        no_build=tuple(x for each in every for x in each.no_build),
        no_binary=tuple(x for each in every for x in each.no_binary),
        prerelease_mode=next((x.prerelease_mode for x in ranked if x.prerelease_mode), None),
    )


def pypi_overrides(manifest: Manifest, environment: Environment) -> Mapping[str, PypiRequirement]:
    """Return, by name (PEP 503), what `dependency-overrides` has in place of what is required."""
    options = pypi_options(manifest, manifest.features_of(environment))
    return {each.name: each for each in options.overrides}


def channel_priority(manifest: Manifest, environment: Environment) -> str:
    """Return `strict`, `flexible` or `disabled`: of the first feature that has it, else strict."""
    said = (each.channel_priority for each in _group_features(manifest, environment))
    return next(filter(None, said), "strict")


def solve_strategy(manifest: Manifest, environment: Environment) -> str:
    """Return `highest`, `lowest` or `lowest-direct`, of the first feature that says it."""
    said = (each.solve_strategy for each in _group_features(manifest, environment))
    return next(filter(None, said), "highest")


def workspace_platforms(manifest: Manifest) -> tuple[ManifestPlatform, ...]:
    """Return the platforms of a feature without `platforms`, as pixi 0.71 and newer has them.

    They are those of the workspace and, where it names only bare subdirs, every subdir that any
    feature names.
    """
    platforms = {platform.name: platform for platform in manifest.platforms}
    if not manifest.is_rich:
        for feature in manifest.all_features():
            for name in feature.platforms or ():
                if is_known_subdir(name):
                    platforms.setdefault(name, ManifestPlatform(name=name, subdir=name))
    return tuple(platforms.values())


def environment_platforms(
    manifest: Manifest, environment: Environment
) -> tuple[ManifestPlatform, ...]:
    """Return the platforms that every feature of the environment has, in the workspace's order.

    Old `[system-requirements]` turn a subdir into a platform with virtual packages of its own,
    named like `linux-64-cuda-12-0`.
    """
    features = manifest.features_of(environment)
    lists = [each.platforms for each in features if each.platforms is not None]
    platforms = [
        each
        for each in workspace_platforms(manifest)
        if all({each.name, each.subdir} & set(names) for names in lists)
    ]
    if not manifest.is_rich:
        needs = [package for feature in features for package in feature.system_requirements]
        return tuple(compose_platform(platform.subdir, needs) for platform in platforms)
    # Naming a platform exactly takes the others of its subdir away (prefix-dev/pixi#6493).
    exact = {name for feature in features for name in feature.platforms or ()}
    pinned = {each.subdir for each in manifest.platforms if each.name in exact}
    return tuple(
        platform
        for platform in platforms
        if platform.name in exact or platform.subdir not in pinned
    )


def asked_for(manifest: Manifest, environment: Environment, platform: ManifestPlatform) -> Target:
    """Return all that an environment asks for on a platform, of every feature and target.

    Of one feature the later target wins, of several features all hold: a name may be there several
    times, of PyPI for other markers, too. Constraints hold for what something else requires.
    """
    of_features = [
        [target for target in feature.targets if matches(target.selector, platform)]
        for feature in manifest.features_of(environment)
    ]
    return Target(
        requirements=_merged([[x.requirements for x in targets] for targets in of_features]),
        constraints=_merged([[x.constraints for x in targets] for targets in of_features]),
        pypi=_merged([[x.pypi for x in targets] for targets in of_features]),
        dev=tuple(name for targets in of_features for x in targets for name in x.dev),
    )


def is_built_in_place(manifest: Manifest, environment: Environment, name: str) -> bool:
    """Tell whether a PyPI package (PEP 503) is built with what is in the environment."""
    options = pypi_options(manifest, manifest.features_of(environment))
    return not {name, "*"}.isdisjoint(options.no_build_isolation)


def matches(selector: str | None, platform: ManifestPlatform) -> bool:
    """Tell whether a target's selector matches the platform; None matches every one."""
    family = platform.subdir.partition("-")[0]
    words = {platform.name, platform.subdir, family, "macos" if family == "osx" else family}
    if is_unix(platform.subdir):
        words.add("unix")
    if selector is None or selector in words:
        return True
    return "*" in selector and fnmatchcase(platform.name, selector)


def _group_features(manifest: Manifest, environment: Environment) -> tuple[Feature, ...]:
    """Return the features of all environments of the solve group, each once."""
    members = solve_group(manifest, environment)
    every = (feature for member in members for feature in manifest.features_of(member))
    return tuple({feature.name: feature for feature in every}.values())


def _channels(manifest: Manifest, features: Iterable[Feature]) -> tuple[str, ...]:
    of_each = (manifest.channels if each.channels is None else each.channels for each in features)
    channels = sorted(itertools.chain(*of_each), key=lambda channel: -channel.priority)
    return tuple(dict.fromkeys(channel.url for channel in channels))


def _merged(of_features: Iterable[Iterable[Sequence[_Required]]]) -> tuple[_Required, ...]:
    merged: list[_Required] = []
    for of_targets in of_features:
        by_name: dict[str, list[_Required]] = {}
        for of_target in of_targets:
            by_name |= {each.name: [] for each in of_target}
            for each in of_target:
                by_name[each.name].append(each)
        merged += itertools.chain(*by_name.values())
    return tuple(dict.fromkeys(merged))
