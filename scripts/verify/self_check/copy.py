"""A copy of parts of the channel that may be broken, and proof that the channel was not.

The copy is made of links, so it costs neither room nor time; what is broken in it is a new file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

    def take(self, artifacts: Iterable[PurePosixPath], folders: Iterable[PurePosixPath]) -> None:
        """Take artifacts, and beside them all files below folders; what is missing stays away.

        As hard links; where there are none (another disk, exFAT) the artifacts as copies, since a
        link is no artifact, and what is only beside them as symbolic links.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in artifacts:
            self._take(path, (os.link, shutil.copyfile))
        for folder in folders:
            for path in files_below(self.source / folder):
                self._take(folder / path, (os.link, os.symlink, shutil.copyfile))

    def _take(self, path: PurePosixPath, ways: Sequence[Callable[[Path, Path], object]]) -> None:
        source, target = self.source / path, self.folder / path
        if target.exists() or not source.is_file():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        for take in ways[:-1]:
            with contextlib.suppress(OSError):
                take(source, target)
                return
        ways[-1](source, target)

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
