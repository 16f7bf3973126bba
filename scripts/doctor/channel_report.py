"""What `channels` says: each environment's channels in order, and what each serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from scripts.core.channel_url import ANACONDA, channel_base_url
from scripts.core.redact import redact
from scripts.core.report import Json, Report
from scripts.core.subdir import NOARCH
from scripts.lock.model import LockedEnvironment
from scripts.lock.satisfiability import channel_key
from scripts.lock.select import Selection
from scripts.workspace.model import Environment, Manifest
from scripts.workspace.resolve import environment_channels, locked_channels
from scripts.workspace.settings import TABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A name that one channel serves to an environment, and others of it could.

    `lower` and `higher` are in the order of priority. A higher one is passed over where the
    manifest says `channel =`.
    """

    name: str
    served_by: str
    lower: tuple[str, ...]
    higher: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelUse:
    """One environment. `channels` are names or URLs in order of priority, without secrets.

    `served` counts its artifacts by channel, on all mirrored platforms together; None where it
    is not mirrored. `solved_with` are the channels of pixi.lock where those are others.
    """

    environment: str
    channels: tuple[str, ...]
    served: tuple[tuple[str, int], ...] | None = None
    shared: tuple[Shared, ...] = ()
    solved_with: tuple[str, ...] | None = None


class _Mirror:
    """What is mirrored, however it is laid out; `root` is the workspace's folder."""

    def __init__(self, selection: Selection, root: PurePath) -> None:
        self._root = root
        self._keys: dict[str | None, str] = {}
        self._entries = {
            (self.key(each.upstream), each.name, each.path.parent.name)
            for each in selection.artifacts
        }

    def key(self, channel: str | None) -> str:
        """Return what tells a channel from others; empty for none."""
        if channel not in self._keys:
            self._keys[channel] = channel_key(channel, self._root) if channel else ""
        return self._keys[channel]

    def names(self, subdirs: set[str]) -> set[tuple[str, str]]:
        """Return all pairs of channel and package name that a solver would see for these."""
        return {(channel, name) for channel, name, subdir in self._entries if subdir in subdirs}


def channel_uses(
    manifest: Manifest, selection: Selection, root: PurePath
) -> tuple[ChannelUse, ...]:
    """Look at every environment of the manifest; `root` is the workspace's folder."""
    mirror = _Mirror(selection, root)
    mirrored = {each.name: each for each in selection.environments}
    return tuple(
        _use(manifest, each, mirrored.get(each.name), mirror) for each in manifest.environments
    )


def channel_report(uses: tuple[ChannelUse, ...], flat_conflicts: tuple[str, ...]) -> Report:
    """Say it for people and for programs.

    `flat_conflicts` are the names that keep this mirror from being flat, which it is to be.
    """
    return Report(
        lines=tuple(_lines(uses, flat_conflicts)),
        data={
            "environments": [_json(each) for each in uses],
            "not-to-be-flat": list(flat_conflicts),
        },
    )


def names_of_two_channels(selection: Selection, root: PurePath) -> tuple[str, ...]:
    """Return the package names that two channels serve: a flat mirror is refused for them."""
    mirror = _Mirror(selection, root)
    pairs = mirror.names({each.path.parent.name for each in selection.artifacts})
    times = Counter(name for _, name in pairs)
    return tuple(sorted(name for name, count in times.items() if count > 1))


def _use(
    manifest: Manifest, environment: Environment, locked: LockedEnvironment | None, mirror: _Mirror
) -> ChannelUse:
    order = environment_channels(manifest, environment)
    names = tuple(map(channel_name, order))
    if locked is None:
        return ChannelUse(environment=environment.name, channels=names)
    words = {mirror.key(url): channel_name(url) for url in reversed((*order, *locked.channels))}
    asked = [mirror.key(url) for url in locked_channels(manifest, environment)]
    is_current = asked == [mirror.key(url) for url in locked.channels]
    artifacts = {
        (
            mirror.key(package.channel),
            package.name,
            package.record.subdir,
            str(package.file_name),
        )
        for rows in locked.platforms
        for package in rows.packages
    }
    counts = Counter(channel for channel, *_ in artifacts)
    every = list(dict.fromkeys([*map(mirror.key, order), *sorted(counts)]))
    for each in every:
        words.setdefault(each, channel_name(each))
    return ChannelUse(
        environment=environment.name,
        channels=names,
        served=tuple((words[each], counts[each]) for each in every),
        shared=tuple(_shared(locked, every, words, mirror)),
        solved_with=None if is_current else tuple(map(channel_name, locked.channels)),
    )


def _shared(
    locked: LockedEnvironment, order: list[str], words: dict[str, str], mirror: _Mirror
) -> Iterator[Shared]:
    """Yield the names that another channel of the environment has in the mirror, too."""
    found: dict[tuple[str, str], set[str]] = {}
    for rows in locked.platforms:
        visible = mirror.names({rows.platform.subdir, NOARCH})
        for package in rows.packages:
            served_by = mirror.key(package.channel)
            others = {each for each in order if (each, package.name) in visible}
            found.setdefault((package.name, served_by), set()).update(others - {served_by})
    for (name, served_by), others in sorted(found.items()):
        if others:
            rank = order.index(served_by)
            yield Shared(
                name=name,
                served_by=words[served_by],
                lower=tuple(words[each] for each in order[rank + 1 :] if each in others),
                higher=tuple(words[each] for each in order[:rank] if each in others),
            )


def channel_name(channel: str) -> str:
    """Write a channel as people know it: `nvidia/label/cuda-11.8.0`, or a URL without secrets."""
    return redact(channel_base_url(channel).removeprefix(f"{ANACONDA}/")) if channel else "local"


def _lines(uses: tuple[ChannelUse, ...], flat_conflicts: tuple[str, ...]) -> Iterator[str]:
    width = max((len(use.environment) for use in uses), default=0)
    for use in uses:
        order = ", ".join(use.channels) or "none"
        note = "  (not mirrored)" if use.served is None else ""
        yield f"{use.environment.ljust(width)}  {order}{note}"
        if use.served:
            yield "  serves: " + ", ".join(f"{name} {count}" for name, count in use.served)
        if use.solved_with is not None:
            with_these = ", ".join(use.solved_with) or "none"
            yield f"  pixi.lock was solved with {with_these}; `pixi lock` renews it"
        for each in use.shared:
            others = [f"{name} (lower)" for name in each.lower]
            others += [f"{name} (higher)" for name in each.higher]
            yield f"  {each.name}: from {each.served_by}; in the mirror also {', '.join(others)}"
    if flat_conflicts:
        yield (
            f"from two channels, so this mirror cannot be flat: {', '.join(flat_conflicts)}; "
            f'set layout = "by-channel" under [{TABLE}]'
        )


def _json(use: ChannelUse) -> Json:
    return {
        "name": use.environment,
        "channels": list(use.channels),
        "mirrored": use.served is not None,
        "served": None if use.served is None else dict(use.served),
        "shared": [
            {
                "name": each.name,
                "from": each.served_by,
                "lower": list(each.lower),
                "higher": list(each.higher),
            }
            for each in use.shared
        ],
        "solved-with": None if use.solved_with is None else list(use.solved_with),
    }
