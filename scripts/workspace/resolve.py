"""What an environment of a manifest has: channels, platforms, requirements.

As pixi resolves them (crates/pixi_manifest/src/features_ext.rs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from scripts.core.subdir import is_known_subdir
from scripts.workspace.model import (
    Environment,
    Feature,
    Manifest,
    ManifestPlatform,
    Requirement,
    Target,
)
from scripts.workspace.parse_platforms import composed, is_unix


def environment_channels(manifest: Manifest, environment: Environment) -> tuple[str, ...]:
    """Return the channels in order of priority, as base URLs.

    Those of the features in their order, the workspace's where a feature names none; the higher
    priority first; of one channel the first.
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

    (pixi_core/src/workspace/solve_group.rs: all features of all its environments, each once.)
    """
    return _channels(manifest, _group_features(manifest, environment))


def channel_priority(manifest: Manifest, environment: Environment) -> str:
    """Return `strict`, `flexible` or `disabled`: what a feature says of it, else `strict`."""
    features = _group_features(manifest, environment)
    said = (feature.channel_priority for feature in features)
    return next((each for each in said if each is not None), "strict")


def solve_strategy(manifest: Manifest, environment: Environment) -> str:
    """Return `highest`, `lowest` or `lowest-direct`: of the first feature that says it."""
    features = _group_features(manifest, environment)
    said = (feature.solve_strategy for feature in features)
    return next((each for each in said if each is not None), "highest")


def workspace_platforms(manifest: Manifest) -> tuple[ManifestPlatform, ...]:
    """Return the platforms that a feature without `platforms` has.

    Since pixi 0.71 that is what the workspace names and, where it names bare subdirs alone, also
    every subdir that any feature names.
    """
    platforms = {platform.name: platform for platform in manifest.platforms}
    if not _is_rich(manifest):
        for feature in _all_features(manifest):
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
    platforms = [
        platform
        for platform in workspace_platforms(manifest)
        if all(_supports(feature, platform) for feature in features)
    ]
    if not _is_rich(manifest):
        needs = [package for feature in features for package in feature.system_requirements]
        return tuple(composed(platform.subdir, needs) for platform in platforms)
    # Naming a platform exactly takes the others of its subdir away (prefix-dev/pixi#6493).
    exact = {name for feature in features for name in feature.platforms or ()}
    pinned = {each.subdir for each in manifest.platforms if each.name in exact}
    return tuple(
        platform
        for platform in platforms
        if platform.name in exact or platform.subdir not in pinned
    )


def requirements(
    manifest: Manifest, environment: Environment, platform: ManifestPlatform
) -> tuple[Requirement, ...]:
    """Return the conda requirements; of one name several may stand, one for each feature."""
    return _merged(manifest, environment, platform, lambda target: target.requirements)


def constraints(
    manifest: Manifest, environment: Environment, platform: ManifestPlatform
) -> tuple[Requirement, ...]:
    """Return what holds for packages only where something else brings them in."""
    return _merged(manifest, environment, platform, lambda target: target.constraints)


def pypi_names(
    manifest: Manifest, environment: Environment, platform: ManifestPlatform
) -> tuple[str, ...]:
    """Return the names of the PyPI requirements, each once."""
    return tuple(
        dict.fromkeys(
            name
            for feature in manifest.features_of(environment)
            for target in _targets(feature, platform)
            for name in target.pypi
        )
    )


def matches(selector: str | None, platform: ManifestPlatform) -> bool:
    """Tell whether a target's selector takes in the platform (None takes in every one)."""
    family = platform.subdir.partition("-")[0]
    if selector is None:
        return True
    if selector == "unix":
        return is_unix(platform.subdir)
    if selector in {"linux", "win", "osx", "macos"}:
        return family == ("osx" if selector == "macos" else selector)
    if is_known_subdir(selector):
        return selector == platform.subdir
    if "*" in selector:
        return fnmatchcase(platform.name, selector)
    return selector == platform.name


def _group_features(manifest: Manifest, environment: Environment) -> tuple[Feature, ...]:
    """Return the features of all that is solved as one, each once."""
    features: dict[str, Feature] = {}
    for each in solve_group(manifest, environment):
        for feature in manifest.features_of(each):
            features.setdefault(feature.name, feature)
    return tuple(features.values())


def _channels(manifest: Manifest, features: Iterable[Feature]) -> tuple[str, ...]:
    channels = [
        channel
        for feature in features
        for channel in (manifest.channels if feature.channels is None else feature.channels)
    ]
    ordered = sorted(channels, key=lambda channel: -channel.priority)
    return tuple(dict.fromkeys(channel.url for channel in ordered))


def _merged(
    manifest: Manifest,
    environment: Environment,
    platform: ManifestPlatform,
    of_target: Callable[[Target], tuple[Requirement, ...]],
) -> tuple[Requirement, ...]:
    """Within one feature the later target wins; over features all requirements hold."""
    merged: list[Requirement] = []
    for feature in manifest.features_of(environment):
        of_feature: dict[str, Requirement] = {}
        for target in _targets(feature, platform):
            for each in of_target(target):
                of_feature[each.name] = each
        merged += of_feature.values()
    return tuple(dict.fromkeys(merged))


def _targets(feature: Feature, platform: ManifestPlatform) -> Iterable[Target]:
    return (target for target in feature.targets if matches(target.selector, platform))


def _supports(feature: Feature, platform: ManifestPlatform) -> bool:
    return feature.platforms is None or any(
        name in {platform.name, platform.subdir} for name in feature.platforms
    )


def _is_rich(manifest: Manifest) -> bool:
    """Tell whether the workspace names more than bare subdirs."""
    return any(platform.name != platform.subdir for platform in manifest.platforms)


def _all_features(manifest: Manifest) -> Iterable[Feature]:
    yield from manifest.features
    yield from (each.own for each in manifest.environments if each.own is not None)
