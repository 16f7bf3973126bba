"""A copy of parts of the channel that may be broken, and proof that the channel was not.

The copy is made of links, so it costs neither room nor time; what is broken in it is a new file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.channel.digest_cache import Fingerprint
from scripts.core.files import hash_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Files of the channel folder `source` at the same places below `folder`."""

    source: Path
    folder: Path

    def take(self, paths: Iterable[PurePosixPath]) -> None:
        """Link files into the copy; one that is not there stays away."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            target = self.folder / path
            if not target.exists() and (self.source / path).is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(self.source / path, target)

    def take_folders(self, paths: Iterable[PurePosixPath]) -> None:
        """Link all files below folders of the channel."""
        for path in paths:
            self.take(path / file for file in files_below(self.source / path))

    def read(self, path: PurePosixPath) -> bytes:
        """Return the bytes of a file of the copy."""
        return (self.folder / path).read_bytes()

    def write(self, path: PurePosixPath, data: bytes) -> None:
        """Put a new file in the place of a link, or where there is nothing."""
        self._clear(path).write_bytes(data)

    def fill(self, path: PurePosixPath, origin: PurePosixPath, size: int) -> Path:
        """Put a new file with the first `size` bytes of the channel's file `origin` at `path`."""
        target = self._clear(path)
        shutil.copyfile(self.source / origin, target)
        os.truncate(target, size)
        return target

    def move(self, path: PurePosixPath, target: PurePosixPath) -> None:
        """Move a link; the file that it leads to stays."""
        (self.folder / path).rename(self._clear(target))

    def remove(self, path: PurePosixPath) -> None:
        """Remove a link; the file that it leads to stays."""
        (self.folder / path).unlink()

    def _clear(self, path: PurePosixPath) -> Path:
        """Make room for a new file: to write into a link would write into the channel."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        return target


def _link(source: Path, target: Path) -> None:
    """Make a hard link; where there are none (another disk, exFAT) a symbolic one, else a copy."""
    for make in (os.link, os.symlink):
        try:
            make(source, target)
        except OSError:
            continue
        return
    shutil.copyfile(source, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """What all files of a channel look like, and their sha256: a time of change can be set back."""

    files: Mapping[PurePosixPath, tuple[Fingerprint, str]]

    def unlike(self, other: ChannelState) -> Iterator[PurePosixPath]:
        """Yield the files that differ between two states, sorted."""
        paths = sorted(self.files.keys() | other.files.keys())
        yield from (path for path in paths if self.files.get(path) != other.files.get(path))


def state_of(folder: Path) -> ChannelState:
    """Look at all files of a channel, and read every byte of them."""
    paths = list(files_below(folder))

    def look(path: PurePosixPath) -> tuple[Fingerprint, str]:
        file = folder / path
        return Fingerprint.of(file.stat()), hash_file(file, "sha256")

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return ChannelState(files=dict(zip(paths, pool.map(look, paths), strict=True)))


def files_below(folder: Path) -> Iterator[PurePosixPath]:
    """Yield all files below a folder, relative to it."""
    for root, _, names in os.walk(folder):
        for name in names:
            file = Path(root, name)
            if file.is_file():
                yield PurePosixPath(file.relative_to(folder).as_posix())
