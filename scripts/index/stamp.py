"""What the indexes were last made from, so that nothing is done when nothing changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from scripts.core.report import to_json
from scripts.index.work import Identity

# Goes up when the same inputs would give another index than before.
_FORMAT: Final = 3
_LONGEST: Final = 255  # characters of a folder's name, on all systems


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the index of one conda channel holds, for reports; `channel` is a relative path.

    `not_locked` are the artifacts in it that the lock it was made from does not name, with sizes.
    """

    channel: str
    subdirs: tuple[str, ...]
    records: int
    not_locked: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStamp:
    """What one channel's index was made from, by what, and what came of it.

    `files` is the one sha256 (hex) of all its index files.
    """

    made_from: Identity
    indexer: str
    files: str
    summary: Summary


def render_stamps(stamps: Sequence[ChannelStamp]) -> bytes:
    """Write the stamps of all channels."""
    document = {"format": _FORMAT, "channels": [to_json(stamp) for stamp in stamps]}
    return (json.dumps(document, indent=1) + "\n").encode()


def parse_stamps(data: bytes) -> tuple[ChannelStamp, ...]:
    """Read them; none where they are damaged or of another format, which costs one indexing."""
    try:
        document = json.loads(data)
        if document["format"] != _FORMAT:
            return ()
        return tuple(_parse(row) for row in document["channels"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()


def _parse(row: Any) -> ChannelStamp:
    summary = {key.replace("-", "_"): value for key, value in row["summary"].items()}
    summary["subdirs"] = tuple(summary["subdirs"])
    summary["not_locked"] = tuple((path, size) for path, size in summary["not_locked"])
    stamp = ChannelStamp(
        made_from=Identity(**row["made-from"]),
        indexer=row["indexer"],
        files=row["files"],
        summary=Summary(**summary),
    )
    _check(stamp)
    return stamp


def _check(stamp: ChannelStamp) -> None:
    """Raise TypeError or ValueError for what cannot have been written here."""
    made, summary = stamp.made_from, stamp.summary
    texts = (made.records, made.files, stamp.indexer, stamp.files)
    names = (summary.channel, *summary.subdirs, *(path for path, _ in summary.not_locked))
    numbers = (summary.records, *(size for _, size in summary.not_locked))
    if not all(isinstance(each, str) for each in (*texts, *names)):
        raise TypeError("a text is wanted")
    if not all(isinstance(each, int) for each in numbers):
        raise TypeError("a number is wanted")
    if any("\0" in name or len(name) > _LONGEST for name in summary.channel.split("/")):
        raise ValueError("no folder can have this name")
