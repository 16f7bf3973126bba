"""What lies in the folders of a conda channel: artifacts and index files.

Only names and statuses are read, no bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from scripts.core.file_name import parse_file_name
from scripts.core.scratch import is_scratch
from scripts.core.subdir import is_known_subdir
from scripts.index.repodata import REPODATA, REPODATA_ZST, SHARD_END, SHARD_INDEX, SHARDS

INDEX_FILES: Final = (REPODATA, REPODATA_ZST, SHARD_INDEX)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubdirContents:
    """What is in one subdir; names are relative to it.

    `artifacts` are all files named like one, `index_files` what rattler-index writes (shards as
    `shards/<sha256>.msgpack.zst`) or a killed run left of it.
    """

    artifacts: Mapping[str, os.stat_result] = field(default_factory=dict)
    index_files: Mapping[str, os.stat_result] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelContents:
    """What is in one conda channel, by subdir; `path` is relative to the channel folder."""

    path: PurePosixPath
    subdirs: Mapping[str, SubdirContents]

    def subdir(self, name: str) -> SubdirContents:
        """Return what is in a subdir; nothing where there is no such folder."""
        return self.subdirs.get(name, _NOTHING)

    @property
    def is_empty(self) -> bool:
        """Tell whether there is neither an artifact nor an index file."""
        return not any(each.artifacts or each.index_files for each in self.subdirs.values())

    def index_files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield every index file as `<subdir>/<name>`, sorted."""
        for subdir, contents in sorted(self.subdirs.items()):
            for name, status in sorted(contents.index_files.items()):
                yield f"{subdir}/{name}", status


_NOTHING: Final = SubdirContents()


def look_into_channel(folder: Path, path: PurePosixPath) -> ChannelContents:
    """List one conda channel; one that does not exist is empty."""
    try:
        with os.scandir(folder / path) as entries:
            names = [each.name for each in entries if is_known_subdir(each.name) and each.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        names = []
    return ChannelContents(
        path=path, subdirs={name: _look_into_subdir(folder / path / name) for name in names}
    )


def _look_into_subdir(folder: Path) -> SubdirContents:
    artifacts: dict[str, os.stat_result] = {}
    index_files: dict[str, os.stat_result] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if entry.is_file() and parse_file_name(name) is not None:
                artifacts[name] = entry.stat()
            elif entry.is_file() and _is_index_file(name):
                index_files[name] = entry.stat()
            elif name == SHARDS and entry.is_dir():
                index_files |= _look_into_shards(Path(entry.path))
    return SubdirContents(artifacts=artifacts, index_files=index_files)


def is_index_path(path: PurePosixPath) -> bool:
    """Tell whether this is where an index file of a subdir lies, by its name alone."""
    above = path.parent
    if above.name == SHARDS:
        return is_known_subdir(above.parent.name) and (
            path.name.endswith(SHARD_END) or is_scratch(path.name)
        )
    return is_known_subdir(above.name) and _is_index_file(path.name)


def _is_index_file(name: str) -> bool:
    """Tell an index file, or what a kill left of one where a subdir is a file system of its own."""
    return name in INDEX_FILES or (name.startswith(INDEX_FILES) and is_scratch(name))


def _look_into_shards(folder: Path) -> dict[str, os.stat_result]:
    with os.scandir(folder) as entries:
        return {
            f"{SHARDS}/{entry.name}": entry.stat()
            for entry in entries
            if (entry.name.endswith(SHARD_END) or is_scratch(entry.name)) and entry.is_file()
        }
