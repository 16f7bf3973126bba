"""What a pixi manifest says, the same for all its forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scripts.workspace.settings import Settings

# The feature that all tables outside `[feature]` make up; also the environment always there.
DEFAULT: Final = "default"
# pixi's own index, which no manifest has to name.
DEFAULT_INDEX: Final = "https://pypi.org/simple"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestChannel:
    """A channel: its base URL without trailing slash, secrets included; higher `priority` first."""

    url: str
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestPlatform:
    """A platform of the workspace: its name, its subdir, and what it declares beyond the defaults.

    `virtual_packages` are written as in a lock file (`__cuda=12`, `__archspec=0=m1`), without
    those that pixi assumes of the bare subdir.
    """

    name: str
    subdir: str
    virtual_packages: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its name for people, with its subdir and virtual packages where the name hides them."""
        more = [self.subdir] if self.name != self.subdir else []
        more += self.virtual_packages
        return f"{self.name} ({', '.join(more)})" if more else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A conda requirement: `spec` is a MatchSpec without channel, `channel` a base URL.

    `location` is the `url` or `path` of the one conda archive that meets it, as written.
    A source requirement (`path`, `git`, or a `url` that is no conda archive) is built by pixi;
    its `spec` is the name alone. A conditional one (`when`) may be absent from a lock;
    `condition` is what must hold, as in a MatchSpec's `[when="…"]`.
    """

    name: str
    spec: str
    channel: str | None = None
    location: str | None = None
    is_source: bool = False
    condition: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PypiRequirement:
    """A PyPI requirement: its name as PEP 503 writes it, and the whole of it as PEP 508 does.

    Of one that is a location (`path`, `git`, `url`) the text has its name and extras alone.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PypiOptions:
    """What `[pypi-options]` says.

    URLs are as written, secrets included, paths of `find-links` left out; `index_url` None: it is
    not said. `overrides` are what `dependency-overrides` has in place of every requirement of these
    names. `no_build_isolation` are the names (PEP 503) of the packages that are built with what is
    in the environment, `no_build` of those of which no sdist is taken, `no_binary` no wheel; `*` is
    every one.
    """

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    overrides: tuple[PypiRequirement, ...] = ()
    no_build_isolation: tuple[str, ...] = ()
    no_build: tuple[str, ...] = ()
    no_binary: tuple[str, ...] = ()
    prerelease_mode: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a feature asks for on the platforms that `selector` matches; None matches all.

    `requirements` are run, host and build dependencies combined as pixi does (of one name the
    build one wins, then the host one). `dev` are names alone.
    """

    selector: str | None = None
    requirements: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    pypi: tuple[PypiRequirement, ...] = ()
    dev: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature. None for `platforms`, `channels`: those of the workspace.

    `system_requirements` are virtual packages written as in a lock file. `channel_priority` and
    `solve_strategy` are pixi's words; the workspace's are those of the default feature.
    """

    name: str
    platforms: tuple[str, ...] | None = None
    channels: tuple[ManifestChannel, ...] | None = None
    targets: tuple[Target, ...] = ()
    system_requirements: tuple[str, ...] = ()
    channel_priority: str | None = None
    solve_strategy: str | None = None
    pypi_options: PypiOptions = PypiOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment. `features` are those written, in order; see `Manifest.features_of`.

    `own` is what the environment's table itself holds, None where it holds nothing.
    """

    name: str
    features: tuple[str, ...] = ()
    own: Feature | None = None
    no_default_feature: bool = False
    solve_group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A whole manifest. `file_name` names it in errors, `name` is the workspace's.

    `platforms` are those of the workspace as written; `features` hold the default one first;
    `environments` hold `default` always. `pypi_options` are those of `[workspace]`, which hold for
    all of them. `excludes_newer`: it has `exclude-newer`, so pixi takes no PyPI file of unknown
    age. `settings` is the table `[tool.pixi-mirror]`, and `has_settings` tells whether it is there.
    """

    file_name: str
    name: str | None
    channels: tuple[ManifestChannel, ...]
    platforms: tuple[ManifestPlatform, ...]
    features: tuple[Feature, ...]
    environments: tuple[Environment, ...]
    pypi_options: PypiOptions = PypiOptions()
    excludes_newer: bool = False
    settings: Settings
    has_settings: bool

    def feature(self, name: str) -> Feature | None:
        """Return the feature of this name; None: there is none."""
        return next((each for each in self.features if each.name == name), None)

    def environment(self, name: str) -> Environment | None:
        """Return the environment of this name; None: there is none."""
        return next((each for each in self.environments if each.name == name), None)

    def all_features(self) -> Iterator[Feature]:
        """Yield every feature, and what the tables of environments hold themselves."""
        yield from self.features
        yield from (each.own for each in self.environments if each.own is not None)

    @property
    def is_rich(self) -> bool:
        """Tell whether the workspace names more than bare subdirs."""
        return any(platform.name != platform.subdir for platform in self.platforms)

    def features_of(self, environment: Environment) -> tuple[Feature, ...]:
        """Return the features of an environment in pixi's order: its own, the named, default."""
        named = [self.feature(name) for name in environment.features]
        if not environment.no_default_feature:
            named.append(self.feature(DEFAULT))
        return tuple(each for each in (environment.own, *named) if each is not None)
