"""Find out how a mirror is laid out, and read the records that a consumer needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.core.errors import ExitCode, MirrorError, usage_error
from scripts.core.layout import Layout
from scripts.core.record import Record
from scripts.core.subdir import NOARCH
from scripts.doctor.mirror_place import (
    Consumer,
    MirrorContents,
    MirrorPlace,
    at_url_path,
    wanted_channel,
    wanted_path,
)
from scripts.doctor.source import HELP, Source
from scripts.index.repodata import REPODATA

_DEEPEST: Final = 3  # folders of a channel's name: nvidia/label/cuda-11.8.0


class _Reader:
    """Asks for each subdir once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.asked: dict[PurePosixPath, Mapping[str, Record] | None] = {}

    def records(self, subdir: PurePosixPath) -> Mapping[str, Record] | None:
        if subdir not in self.asked:
            self.asked[subdir] = self._source.records(subdir)
        return self.asked[subdir]


def read_contents(source: Source, place: MirrorPlace, consumer: Consumer) -> MirrorContents:
    """Read what the mirror says of the subdirs that the consumer's artifacts lie in.

    Raises the error of exit code 2 where there is nothing of a conda channel.
    """
    reader = _Reader(source)
    wanted_by = {each: sorted(set(_subdirs(place, consumer, each))) for each in Layout}
    for layout, wanted in wanted_by.items():
        # A lock made from the mirror says itself where a channel is: that is no sign of a flat one.
        signs = [each for each in wanted if layout is Layout.BY_CHANNEL or len(each.parts) == 1]
        there = [reader.records(subdir) is not None for subdir in signs]
        if any(there):
            # What was flat before it was by-channel keeps the old files until `prune`.
            if layout is Layout.FLAT and _is_whole_by_channel(reader, place, consumer):
                return _contents(reader, Layout.BY_CHANNEL, wanted_by[Layout.BY_CHANNEL])
            return _contents(reader, layout, wanted)
    others = () if place.folder is None else _other_channels(place.folder)
    if others:
        nothing = _contents(reader, Layout.BY_CHANNEL, [])
        return dataclasses.replace(nothing, others=others)
    raise _no_mirror(place, tuple(reader.asked))


def _subdirs(place: MirrorPlace, consumer: Consumer, layout: Layout) -> Iterator[PurePosixPath]:
    """Yield every subdir to look for in this layout; `noarch` is what makes a channel (CEP 26)."""
    if layout is Layout.FLAT:
        yield PurePosixPath(NOARCH)
    for environment in consumer.environments:
        for channel in environment.channels:
            yield wanted_channel(channel, place, consumer.root, layout) / NOARCH
        for rows in environment.platforms:
            for package in (*rows.packages, *rows.build_packages):
                subdir = wanted_path(package, place, consumer.root, layout).parent
                yield subdir
                yield at_url_path(package, subdir / "_").parent
                yield subdir.parent / NOARCH


def _is_whole_by_channel(reader: _Reader, place: MirrorPlace, consumer: Consumer) -> bool:
    """Tell whether every channel that something is locked from has a folder of its own.

    `noarch` is what makes a channel. Stops at the first that is not there.
    """
    layout = Layout.BY_CHANNEL
    channels = {
        wanted_path(package, place, consumer.root, layout).parent.parent
        for environment in consumer.environments
        for rows in environment.platforms
        for package in (*rows.packages, *rows.build_packages)
        if package.url not in consumer.files
    }
    try:
        return bool(channels) and all(
            each.parts and reader.records(each / NOARCH) is not None for each in sorted(channels)
        )
    except MirrorError as error:
        # A server may forbid what is not there (S3 does): the flat mirror has just answered.
        if place.folder is None and {each.code for each in error.problems} == {ExitCode.USAGE}:
            return False
        raise


def _contents(reader: _Reader, layout: Layout, wanted: list[PurePosixPath]) -> MirrorContents:
    there = {path: records for path in wanted if (records := reader.records(path)) is not None}
    return MirrorContents(
        layout=layout, channels=frozenset(path.parent for path in there), subdirs=there
    )


def _other_channels(folder: Path) -> tuple[PurePosixPath, ...]:
    """Look for channels that the lock does not name; over HTTP nobody lists them."""
    patterns = (f"{'*/' * depth}{NOARCH}/{REPODATA}" for depth in range(1, _DEEPEST + 1))
    found = chain.from_iterable(map(folder.glob, patterns))
    return tuple(sorted(PurePosixPath(*each.relative_to(folder).parts[:-2]) for each in found))


def _no_mirror(place: MirrorPlace, asked: tuple[PurePosixPath, ...]) -> MirrorError:
    return usage_error(
        place.shown,
        "there is no mirror here, or none of any channel that this lock names",
        ("looked for", ", ".join(str(path / REPODATA) for path in asked if path.name == NOARCH)),
        help=HELP,
    )
