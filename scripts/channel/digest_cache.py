"""Known digests of the channel's files, so that unchanged bytes are hashed once.

A digest is believed only for the very file it was computed from: same size, mtime and inode.
And it is believed across a reboot only once the file was durable: a power cut may leave a file
of the right size and time full of zeros. Making each file durable costs a quarter of a whole
fetch, so instead a digest written in this boot is void after the next one, when the file is
hashed again, once; what has been read back after a reboot was on the disk and is believed for
good. Where the system has no boot id, files are made durable as they are placed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from scripts.core.files import FileStatus, fsync_file, hash_file, write_atomically

# Stands for the boot id where the bytes are known to be on the disk.
_DURABLE: Final = "*"
_AT_ONCE: Final = 1024  # lines that are parsed together
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Fingerprint(NamedTuple):
    """What must be unchanged for a digest to be believed: size in bytes, mtime in nanoseconds."""

    size: int
    mtime: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result | FileStatus) -> Fingerprint:
        """Take it from a file's status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class Damage(NamedTuple):
    """A damaged file: the digest that it has, in hex, and its status from before it was read."""

    path: PurePosixPath
    algorithm: str
    digest: str
    status: os.stat_result


class _Known(NamedTuple):
    """One believed digest, in hex, and the boot in which it was written down."""

    fingerprint: Fingerprint
    digest: str
    boot: str


def boot_id() -> str | None:
    """Return the id of this boot of the machine; None where the system has none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or None
    except OSError:
        return None


class DigestCache:
    """The journal of digests: read once, appended to, rewritten when most lines are outdated.

    Keys are a path relative to the channel folder, and an algorithm. A damaged or torn line is
    skipped: it costs one more hashing, never a wrong digest. Not for several processes at once.
    """

    def __init__(self, journal: Path, *, writes: bool = True) -> None:
        """Read the journal. `writes` False: it is not changed; digests are kept for this run."""
        self._journal = journal
        self.may_write = writes
        self._boot = boot_id()
        self._known: dict[tuple[str, str], _Known] = {}
        data = b""
        with contextlib.suppress(OSError):  # none yet, or not to be had: then nothing is believed
            data = journal.read_bytes()
        self._torn = data != b"" and not data.endswith(b"\n")  # the next line must not join it
        lines = data.splitlines()
        self._lines = len(lines)
        shared: dict[Fingerprint, Fingerprint] = {}  # what is known of one file has one
        for row in _parse_lines(lines):
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                path, algorithm, digest, size, mtime, inode, boot = row
                fingerprint = Fingerprint(int(size), int(mtime), int(inode))
                key = sys.intern(str(path)), sys.intern(str(algorithm))
                fingerprint = shared.setdefault(fingerprint, fingerprint)
                self._known[key] = _Known(fingerprint, str(digest), sys.intern(str(boot)))

    @property
    def must_be_durable(self) -> bool:
        """Tell whether a file must be made durable before its digest is added."""
        return self._boot is None

    def known(
        self, path: PurePosixPath | str, algorithm: str, status: os.stat_result | FileStatus
    ) -> str | None:
        """Return the digest of the file with this status, where it is believed."""
        found = self._known.get((str(path), algorithm))
        if found is None or found.fingerprint != Fingerprint.of(status):
            return None
        return found.digest if found.boot in {_DURABLE, self._boot} else None

    def digest_of(self, folder: Path, path: PurePosixPath | str, algorithm: str) -> str:
        """Return the digest of a file of the channel: the believed one, else by reading it."""
        status = (folder / path).stat()
        believed = self.known(path, algorithm, status)
        if believed is not None:
            return believed
        digest = hash_file(folder / path, algorithm)
        self.add_read(folder, path, algorithm, digest, status)
        return digest

    def add_read(
        self,
        folder: Path,
        path: PurePosixPath | str,
        algorithm: str,
        digest: str,
        status: os.stat_result | FileStatus,
    ) -> None:
        """Remember a digest just computed by reading, unless the file changed meanwhile.

        `status` is from before the reading. A file that was known under an earlier boot id has
        been read back from the disk after a reboot: from now on it is believed for good. Where
        the system has no boot id, the file is made durable first, and else not remembered.
        """
        if self._boot is None and self.may_write and not _made_durable(folder / path):
            return
        try:
            now = Fingerprint.of((folder / path).stat())
        except OSError:  # gone meanwhile
            return
        if now == Fingerprint.of(status):
            earlier = self._known.get((str(path), algorithm))
            survived = (
                earlier is not None
                and earlier.fingerprint == now
                and earlier.boot not in {_DURABLE, self._boot}
            )
            self.add(path, algorithm, digest, status, is_durable=survived)

    def add(
        self,
        path: PurePosixPath | str,
        algorithm: str,
        digest: str,
        status: os.stat_result | FileStatus,
        *,
        is_durable: bool = False,
    ) -> None:
        """Remember the digest of a file just written, with its status from after that.

        `is_durable`: its bytes have been on the disk before this boot.
        """
        key, boot = (str(path), algorithm), None if is_durable else self._boot
        known = _Known(Fingerprint.of(status), digest, boot or _DURABLE)
        self._known[key] = known
        if not self.may_write:
            return
        line = ("\n" if self._torn else "") + _line(key, known)
        self._torn = True
        # On a full disk it is lost, and costs one hashing; what must be written fails elsewhere.
        with contextlib.suppress(OSError):
            if not self._lines:
                self._journal.parent.mkdir(parents=True, exist_ok=True)
            with self._journal.open("ab", buffering=0) as file:
                self._torn = file.write(line.encode()) != len(line)  # all of it is ASCII
        self._lines += not self._torn

    def compact(self, keep: Collection[str]) -> None:
        """Rewrite the journal with the believed digests of these paths alone, if it is worth it."""
        self._known = {key: known for key, known in self._known.items() if key[0] in keep}
        stale = self._lines - len(self._known)
        if not self.may_write or (stale <= len(self._known) and stale < 1000):
            return
        text = "".join(_line(key, known) for key, known in self._known.items())
        with contextlib.suppress(OSError):  # a full disk: it stays as it is
            write_atomically(self._journal, text.encode())
            self._lines = len(self._known)
            self._torn = False


def note_damage(digests: DigestCache, damage: Damage) -> None:
    """Have later runs know that a file has this digest, and no other.

    A disk that forgets bits leaves size and time as they were, by which they would believe it.
    """
    for each in ("sha256", "md5"):  # the other one is not known, and is none of before
        digest = damage.digest if each == damage.algorithm else ""
        digests.add(damage.path, each, digest, damage.status)


def _parse_lines(lines: Sequence[bytes]) -> Iterator[Any]:
    """Parse many lines at once, which is much faster; where one is torn, each by itself."""
    for start in range(0, len(lines), _AT_ONCE):
        some = lines[start : start + _AT_ONCE]
        rows: list[Any] = []
        with contextlib.suppress(ValueError, RecursionError):
            rows = json.loads(b"[" + b",".join(some) + b"]")
        if len(rows) == len(some):  # two that are torn may make one
            yield from rows
            continue
        for line in some:
            with contextlib.suppress(ValueError, RecursionError):  # by a kill or a power cut
                yield json.loads(line)


def _made_durable(file: Path) -> bool:
    with contextlib.suppress(OSError):
        fsync_file(file)
        return True
    return False


def _line(key: tuple[str, str], known: _Known) -> str:
    return json.dumps([*key, known.digest, *known.fingerprint, known.boot]) + "\n"
