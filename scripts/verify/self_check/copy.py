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

State = Mapping[PurePosixPath, tuple[Fingerprint, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Files of the channel folder `source` at the same places below `folder`."""

    source: Path
    folder: Path

    def link(self, paths: Iterable[PurePosixPath]) -> None:
        """Link files, and all files below folders; what is not there stays away."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            below = files_below(self.source / path)
            for each in below if (self.source / path).is_dir() else (PurePosixPath(),):
                target = self.folder / path / each
                if not target.exists() and (self.source / path / each).is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link(self.source / path / each, target)

    def read(self, path: PurePosixPath) -> bytes:
        """Return the bytes of a file of the copy."""
        return (self.folder / path).read_bytes()

    def write(self, path: PurePosixPath, data: bytes) -> None:
        """Put a new file in the place of a link: to write into it would write into the channel."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(data)

    def remove(self, path: PurePosixPath) -> None:
        """Remove a link; the file that it leads to stays."""
        (self.folder / path).unlink()


def _link(source: Path, target: Path) -> None:
    """Make a hard link; where there are none (another disk, exFAT) a symbolic one, else a copy."""
    for make in (os.link, os.symlink):
        try:
            make(source, target)
        except OSError:
            continue
        return
    shutil.copyfile(source, target)


def read_state(folder: Path) -> State:
    """Read all files of a channel: what they look like, and their sha256.

    A time of change alone can be set back.
    """
    paths = list(files_below(folder))

    def read(path: PurePosixPath) -> tuple[Fingerprint, str]:
        file = folder / path
        return Fingerprint.of(file.stat()), hash_file(file, "sha256")

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return dict(zip(paths, pool.map(read, paths), strict=True))


def files_below(folder: Path) -> Iterator[PurePosixPath]:
    """Yield all files below a folder, relative to it."""
    for root, _, names in os.walk(folder):
        for name in names:
            file = Path(root, name)
            if file.is_file():
                yield PurePosixPath(file.relative_to(folder).as_posix())
