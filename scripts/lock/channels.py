"""The report of the task `channels`: each environment's channels, and what each serves."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from scripts.core.channel_url import ANACONDA, channel_base_url
from scripts.core.redact import redact
from scripts.core.report import Line, Report, named
from scripts.core.subdir import NOARCH
from scripts.lock.mirrored import MirroredLock
from scripts.lock.model import LockedEnvironment
from scripts.lock.satisfiability import are_same_channels, channel_key
from scripts.lock.select import Selection
from scripts.workspace.resolve import environment_channels, locked_channels
from scripts.workspace.settings import TABLE


def channel_report(selection: Selection, *, is_flat: bool) -> Report:
    """Report every environment of the manifests, or of the lock where there is no manifest.

    `selection` is that of a by-channel mirror: what a flat one would be refused for is shown.
    """
    mirrored = dict[str, set[tuple[str | None, str]]]()
    for artifact in selection.conda_artifacts:
        place = artifact.upstream, artifact.path.parent.name
        mirrored.setdefault(artifact.name, set()).add(place)
    found: list[tuple[MirroredLock, dict[str, Any]]] = []
    for label, lock in selection.labelled:
        key = functools.cache(partial(channel_key, root=lock.root))
        of_lock = {"lock": label} if label else {}
        found += [
            (lock, {**of_lock, **_row(*each, mirrored=mirrored, key=key)})
            for each in _environments(lock)
        ]
    sources = {(each.channel, each.name) for each in selection.conda_artifacts}
    times = Counter(name for _, name in sources)
    conflicts = sorted(name for name, count in times.items() if is_flat and count > 1)
    return Report(
        lines=tuple(_lines(found, conflicts)),
        data={"environments": [row for _, row in found], "flat-conflicts": conflicts},
    )


def _environments(
    lock: MirroredLock,
) -> Iterator[tuple[str, Sequence[str], Sequence[str], LockedEnvironment | None]]:
    """Yield name, channels in the manifest, and channels to be locked with, of each environment.

    The last value is what is mirrored of it; None: nothing.
    """
    locked = {each.name: each for each in lock.environments}
    if lock.manifest is None:
        for each in lock.environments:
            yield each.name, each.channels, each.channels, each
        return
    for one in lock.manifest.environments:
        order = environment_channels(lock.manifest, one)
        yield one.name, order, locked_channels(lock.manifest, one), locked.get(one.name)


def _row(
    name: str,
    order: Sequence[str],
    wanted: Sequence[str],
    locked: LockedEnvironment | None,
    *,
    mirrored: Mapping[str, Collection[tuple[str | None, str]]],
    key: Callable[[str | None], str],
) -> dict[str, Any]:
    """Report one environment; `mirrored` are channel and subdir of all artifacts, by package name.

    `channels` are names or URLs in order of priority, without secrets. `served` counts artifacts
    by channel, on all mirrored platforms together, what source packages are built with included.
    `shared` are the names that one channel serves and others could, `lower` and `higher` in the
    order of priority: a higher one is passed over where the manifest says `channel =`.
    `solved-with` are the channels of pixi.lock where those are others.
    """
    row = {
        "name": name,
        "channels": [*map(channel_name, order)],
        "mirrored": locked is not None,
        "served": None,
        "shared": [],
        "solved-with": None,
    }
    if locked is None:
        return row
    artifacts = {
        (key(each.channel), each.name, each.record.subdir, str(each.file_name))
        for rows in locked.platforms
        for each in rows.all_packages
    }
    counts = Counter(channel for channel, *_ in artifacts)
    every = list(dict.fromkeys([*map(key, order), *sorted(counts)]))
    words = {key(url): channel_name(url) for url in (*every, *reversed((*order, *locked.channels)))}
    shared: dict[tuple[str, str], set[str]] = {}
    for rows in locked.platforms:
        subdirs = {rows.platform.subdir, NOARCH}
        for each in rows.packages:
            served_by = key(each.channel)
            others = {key(channel) for channel, at in mirrored[each.name] if at in subdirs}
            others = others.intersection(every) - {served_by}
            shared.setdefault((each.name, served_by), set()).update(others)
    row["served"] = {words[each]: counts[each] for each in every}
    row["shared"] = [
        {
            "name": name,
            "from": words[served_by],
            "lower": [words[each] for each in every[rank + 1 :] if each in others],
            "higher": [words[each] for each in every[:rank] if each in others],
        }
        for (name, served_by), others in sorted(shared.items())
        for rank in [every.index(served_by)]
        if others
    ]
    if not are_same_channels(wanted, locked.channels, key):
        row["solved-with"] = [*map(channel_name, locked.channels)]
    return row


def channel_name(channel: str) -> str:
    """Write a channel as people know it: `nvidia/label/cuda-11.8.0`, or a URL without secrets."""
    return redact(channel_base_url(channel)).removeprefix(f"{ANACONDA}/") if channel else "local"


def _lines(
    found: Sequence[tuple[MirroredLock, dict[str, Any]]], flat_conflicts: Sequence[str]
) -> Iterator[Line]:
    names = [f"{x['lock']}:{x['name']}" if "lock" in x else x["name"] for _, x in found]
    width = max(map(len, names), default=0)
    for name, (lock, row) in zip(names, found, strict=True):
        order = ", ".join(row["channels"]) or "none"
        note = "" if row["mirrored"] else "  (not mirrored)"
        yield f"{name.ljust(width)}  {order}{note}"
        if row["served"]:
            served = (f"{name} {count}" for name, count in row["served"].items())
            yield f"  serves: {', '.join(served)}"
        if row["solved-with"] is not None:
            with_these = ", ".join(row["solved-with"]) or "none"
            renews = lock.renewing("`pixi lock` renews it")
            yield f"  {lock.location} was solved with {with_these}; {renews}"
        shared = []
        for each in row["shared"]:
            ranks = ("lower", "higher")
            others = ", ".join(f"{name} ({rank})" for rank in ranks for name in each[rank])
            shared.append(f"  {each['name']}: from {each['from']}; in the mirror also {others}")
        yield tuple(shared)
    if flat_conflicts:
        yield named(
            "from two channels, so this mirror cannot be flat:",
            "package",
            flat_conflicts,
            f'; set layout = "by-channel" under [{TABLE}]',
        )
