"""The channels that a lock names, and what is from none of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from scripts.core.channel_url import channel_base_url
from scripts.core.errors import usage_error
from scripts.core.layout import Layout, folder_of_channel
from scripts.core.redact import redact, without_secrets
from scripts.lock.conda_rows import Row
from scripts.lock.location import is_sound_url
from scripts.lock.model import LockedEnvironment, LockedPackage, PlatformPackages

_SHOWN: Final = 3  # packages of one channel that a line names


def environment_channels(row: Row) -> tuple[str, ...]:
    """Read `channels` in order of priority: bare names, URLs, paths, texts or `{url: …}`."""
    value = row.fields.get("channels")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise row.wrong("channels", "a list")
    channels = []
    for each in value:
        text = each.get("url") if isinstance(each, dict) else each
        if not isinstance(text, str) or not text.strip():
            raise usage_error(row.subject, f"a channel of {row.what} has no url")
        if not is_sound_url(text.strip()):
            raise usage_error(row.subject, f"a channel of {row.what} is not a URL: {redact(text)}")
        channels.append(channel_base_url(text))
    return tuple(channels)


def undeclared_packages(
    environment: LockedEnvironment, rows: PlatformPackages
) -> tuple[LockedPackage, ...]:
    """Return the packages whose location is under none of the environment's channels.

    So wrote an older pixi behind a mirror of another path; and one that the manifest asks for by
    its location has no channel at all.
    """
    declared = {folder_of_channel(Layout.BY_CHANNEL, url) for url in environment.channels}
    return tuple(
        each
        for each in rows.packages
        if folder_of_channel(Layout.BY_CHANNEL, each.channel) not in declared
    )


def every_channel(environment: LockedEnvironment) -> tuple[str, ...]:
    """Return its channels, then those of packages that are from none of them."""
    undeclared = (
        each.channel
        for rows in environment.platforms
        for each in undeclared_packages(environment, rows)
        if each.channel is not None
    )
    return tuple(dict.fromkeys((*environment.channels, *undeclared)))


def undeclared_lines(environments: Iterable[LockedEnvironment]) -> Iterator[str]:
    """Name what is from a channel that no environment with it declares, a line for each channel."""
    found: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    for environment in environments:
        for rows in environment.platforms:
            for each in undeclared_packages(environment, rows):
                if each.channel is not None:
                    key = (without_secrets(each.channel), environment.channels)
                    found.setdefault(key, {})[each.url] = each.record.name
    for (channel, declared), packages in found.items():
        shown = [f"{name} ({redact(url)})" for url, name in packages.items()][:_SHOWN]
        more = len(packages) - len(shown)
        yield (
            f"from {channel}, which is no declared channel: {', '.join(shown)}"
            + (f" and {more} more" if more else "")
            + f"; declared: {redact(', '.join(declared)) or 'none'}"
        )
