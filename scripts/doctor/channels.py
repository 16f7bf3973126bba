"""What `channels` says: each environment's channels in order, and what each serves."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
class SharedName:
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
    shared: tuple[SharedName, ...] = ()
    solved_with: tuple[str, ...] | None = None


def channel_report(
    manifest: Manifest, selection: Selection, root: PurePath, *, is_flat: bool
) -> Report:
    """Look at every environment of the manifest; `root` is the workspace's folder.

    `selection` is that of a by-channel mirror: what a flat one is refused for is to be seen, too.
    """
    key = functools.cache(lambda channel: channel_key(channel, root) if channel else "")
    locked = {each.name: each for each in selection.environments}
    mirrored = {
        (key(each.upstream), each.name, each.path.parent.name) for each in selection.artifacts
    }
    uses = [
        _use(manifest, each, locked.get(each.name), mirrored, key) for each in manifest.environments
    ]
    times = Counter(name for _, name in {each[:2] for each in mirrored})
    conflicts = sorted(name for name, count in times.items() if is_flat and count > 1)
    return Report(
        lines=tuple(_lines(uses, conflicts)),
        data={"environments": [_json(each) for each in uses], "flat-conflicts": conflicts},
    )


def _use(
    manifest: Manifest,
    environment: Environment,
    locked: LockedEnvironment | None,
    mirrored: set[tuple[str, str, str]],
    key: Callable[[str | None], str],
) -> ChannelUse:
    """Look at one environment; `mirrored` are channel, package name and subdir of all artifacts."""
    order = environment_channels(manifest, environment)
    names = tuple(map(channel_name, order))
    if locked is None:
        return ChannelUse(environment=environment.name, channels=names)
    artifacts = {
        (key(each.channel), each.name, each.record.subdir, str(each.file_name))
        for rows in locked.platforms
        for each in rows.packages
    }
    counts = Counter(channel for channel, *_ in artifacts)
    every = list(dict.fromkeys([*map(key, order), *sorted(counts)]))
    words = {key(url): channel_name(url) for url in (*every, *reversed((*order, *locked.channels)))}
    asked = [key(url) for url in locked_channels(manifest, environment)]
    is_current = asked == [key(url) for url in locked.channels]
    shared: dict[tuple[str, str], set[str]] = {}
    for rows in locked.platforms:
        subdirs = {rows.platform.subdir, NOARCH}
        visible = {(channel, name) for channel, name, subdir in mirrored if subdir in subdirs}
        for each in rows.packages:
            served_by = key(each.channel)
            others = {channel for channel in every if (channel, each.name) in visible}
            shared.setdefault((each.name, served_by), set()).update(others - {served_by})
    return ChannelUse(
        environment=environment.name,
        channels=names,
        served=tuple((words[each], counts[each]) for each in every),
        shared=tuple(
            SharedName(
                name=name,
                served_by=words[served_by],
                lower=tuple(words[each] for each in every[rank + 1 :] if each in others),
                higher=tuple(words[each] for each in every[:rank] if each in others),
            )
            for (name, served_by), others in sorted(shared.items())
            for rank in [every.index(served_by)]
            if others
        ),
        solved_with=None if is_current else tuple(map(channel_name, locked.channels)),
    )


def channel_name(channel: str) -> str:
    """Write a channel as people know it: `nvidia/label/cuda-11.8.0`, or a URL without secrets."""
    return redact(channel_base_url(channel).removeprefix(f"{ANACONDA}/")) if channel else "local"


def _lines(uses: Sequence[ChannelUse], flat_conflicts: Sequence[str]) -> Iterator[str]:
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
    shared = [
        {"name": each.name, "from": each.served_by, "lower": each.lower, "higher": each.higher}
        for each in use.shared
    ]
    return {
        "name": use.environment,
        "channels": use.channels,
        "mirrored": use.served is not None,
        "served": None if use.served is None else dict(use.served),
        "shared": shared,
        "solved-with": use.solved_with,
    }
