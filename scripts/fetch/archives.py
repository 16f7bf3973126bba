"""Open each artifact once: what nobody can open is not to be indexed or carried on.

What was opened is remembered in the journal of digests, for the very file it was opened as.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Final

from scripts.channel.digest_cache import DigestCache
from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, Problem
from scripts.core.redact import redact

_OPENED: Final = "opened"  # in the journal where an algorithm stands; the identity is its digest
_UPSTREAM: Final = (
    "the fault is upstream's, not the mirror's: lock another build (`pixi update`), or tell the"
    " channel's keeper"
)
_UNHASHED: Final = "remove this file, then `pixi run fetch`; pixi.lock has no digest to tell it by"
_UNPROVEN: Final = "`pixi run verify --level files` tells whether these are the bytes of pixi.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What came of one artifact: `identity` is what it says that it is: name, version, build.

    Else `damage` is why it cannot be opened, or `unread` why the file cannot be read.
    """

    artifact: Artifact
    status: os.stat_result | None = None
    identity: str | None = None
    damage: str | None = None
    unread: OSError | None = None

    @property
    def expected(self) -> str:
        """What pixi.lock says that it is."""
        record = self.artifact.conda_record
        return f"{record.name} {record.version} {record.build}"

    @property
    def is_right(self) -> bool:
        """Tell whether it is the package that pixi.lock says; small and capital letters aside."""
        return self.identity is not None and self.identity.lower() == self.expected.lower()


def check_archives(
    folder: Path, artifacts: Iterable[Artifact], digests: DigestCache, note: Callable[[str], None]
) -> tuple[tuple[Problem, ...], int]:
    """Open what was not opened before; return what is wrong, and how many were opened now.

    The bytes are known to be those of pixi.lock, where it has a digest.
    """
    results: list[Opened] = []
    unknown: list[Artifact] = []
    for artifact in artifacts:
        identity = _known(folder, artifact, digests)
        if identity is None:
            unknown.append(artifact)
        else:
            results.append(Opened(artifact=artifact, identity=identity))
    if unknown:
        note(f"opening {len(unknown)} artifact{'' if len(unknown) == 1 else 's'}")
        for each in open_archives(folder, unknown):
            if each.identity is not None and each.status is not None:
                digests.add_read(folder, each.artifact.path, _OPENED, each.identity, each.status)
            results.append(each)
    wrong = [archive_problem(each) for each in results if not each.is_right]
    return tuple(sorted(wrong, key=lambda each: each.subject)), len(unknown)


def _known(folder: Path, artifact: Artifact, digests: DigestCache) -> str | None:
    try:
        return digests.known(artifact.path, _OPENED, (folder / artifact.path).stat())
    except OSError:  # opening it tells
        return None


def open_archives(folder: Path, artifacts: Iterable[Artifact]) -> Iterator[Opened]:
    """Open them side by side, as decompression frees the interpreter lock; the largest first."""
    from concurrent.futures import ThreadPoolExecutor

    ordered = sorted(artifacts, key=lambda each: each.size or 0, reverse=True)
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
    try:
        yield from pool.map(lambda each: _open(folder, each), ordered)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C: not all the rest


def _open(folder: Path, artifact: Artifact) -> Opened:
    from scripts.channel.archive import BadArchiveError, read_archive

    file = folder / artifact.path
    try:
        status = file.stat()
        if not S_ISREG(status.st_mode):  # a pipe would be waited for
            return Opened(artifact=artifact, damage="it is not a file")
        return Opened(artifact=artifact, status=status, identity=read_archive(file))
    except BadArchiveError as error:
        return Opened(artifact=artifact, damage=str(error))
    except OSError as error:
        return Opened(artifact=artifact, unread=error)


def archive_problem(opened: Opened, *facts: tuple[str, str], is_proven: bool = True) -> Problem:
    """Say what is wrong, whose fault it is and what can be done.

    `is_proven`: its bytes are those of pixi.lock, where it has a digest.
    """
    if opened.unread is not None:
        return _unread(opened, opened.unread, facts)
    digest = opened.artifact.digest
    if opened.damage is not None:
        trouble, details = "is no artifact that can be opened", [("because", opened.damage)]
    else:
        trouble = "is another package than pixi.lock says"
        details = [("expected", opened.expected), ("actual", str(opened.identity))]
    help_line = _UNHASHED if digest is None else _UPSTREAM if is_proven else _UNPROVEN
    if is_proven and digest is not None:
        named = f"{digest.algorithm} {digest.hex}"
        details.append(("bytes", f"just those that pixi.lock names: {named}"))
    return Problem(
        subject=str(opened.artifact.path),
        trouble=trouble,
        code=ExitCode.NO,
        facts=(*details, ("from", redact(opened.artifact.urls[0])), *facts),
        help=help_line,
    )


def _unread(opened: Opened, error: OSError, facts: tuple[tuple[str, str], ...]) -> Problem:
    """Tell a file that is not there from a disk that does not give it."""
    is_gone = isinstance(error, FileNotFoundError | NotADirectoryError)
    return Problem(
        subject=str(opened.artifact.path),
        trouble="is missing" if is_gone else f"cannot be read: {error.strerror}",
        code=ExitCode.NO if is_gone else ExitCode.USAGE,
        facts=(("from", redact(opened.artifact.urls[0])), *facts),
        help="pixi run fetch" if is_gone else "see to the disk",
    )
