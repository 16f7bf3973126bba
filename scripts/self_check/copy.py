"""A copy of parts of the channel that may be broken, and proof that the channel was not. Acts.

The copy is made of links, so it costs neither room nor time; what is broken in it is a new file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.channel.digests import Fingerprint
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
    """What all files of a channel look like, and the sha256 of some of them."""

    files: Mapping[PurePosixPath, Fingerprint]
    digests: Mapping[PurePosixPath, str]

    def unlike(self, other: ChannelState) -> Iterator[PurePosixPath]:
        """Yield the files that differ between two states, sorted."""
        pairs = ((self.files, other.files), (self.digests, other.digests))
        yield from sorted(
            {
                path
                for one, two in pairs
                for path in one.keys() | two.keys()
                if one.get(path) != two.get(path)
            }
        )


def state_of(folder: Path, broken: Iterable[PurePosixPath]) -> ChannelState:
    """Look at all files, and read every byte of those that are to be broken in copies.

    Whoever writes into a file, through whichever link, changes its time of modification; the
    bytes of those to whose copies something is done are compared besides, in case it is set back.
    To read all the others too would take as long as two verifications.
    """
    files = {path: Fingerprint.of((folder / path).stat()) for path in files_below(folder)}
    digests = {path: hash_file(folder / path, "sha256") for path in broken if path in files}
    return ChannelState(files=files, digests=digests)


def files_below(folder: Path) -> Iterator[PurePosixPath]:
    """Yield all files below a folder, relative to it."""
    for root, _, names in os.walk(folder):
        for name in names:
            file = Path(root, name)
            if file.is_file():
                yield PurePosixPath(file.relative_to(folder).as_posix())
