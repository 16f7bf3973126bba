"""The channels that a lock names, as URLs. Decides; does no I/O."""

from __future__ import annotations

from scripts.core.channel_url import channel_base_url
from scripts.core.errors import usage_error
from scripts.core.redact import redact
from scripts.lock.derive import is_sound_url
from scripts.lock.row import Row


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
