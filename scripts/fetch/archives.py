"""Open each artifact once, so that none is indexed or carried on that nobody can open.

That one was opened is kept in the journal of digests, for that very file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import Final

from scripts.channel.digest_cache import DigestCache
from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, Problem, finding_problem
from scripts.core.redact import redact
from scripts.core.report import counted

_OPENED: Final = "opened"  # in the journal, in place of an algorithm; the identity is the digest
_UPSTREAM: Final = (
    "the fault is upstream's, not the mirror's: lock another version (`pixi add 'NAME!=VERSION'`),"
    " or tell the channel's keeper"
)
_UPSTREAM_PYPI: Final = (
    "the fault is upstream's, not the mirror's: lock another version or file of it, or tell who"
    " published it"
)
_UNHASHED: Final = "remove this file, then `pixi run fetch`; pixi.lock has no digest to tell it by"
_UNPROVEN: Final = "`pixi run verify --level files` tells whether these are the bytes of pixi.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveCheck:
    """The result of opening one artifact: `identity` is its own name, version and build.

    Else `damage` is why it cannot be opened, or `unread` why the file cannot be read.
    """

    artifact: Artifact
    status: os.stat_result | None = None
    identity: str | None = None
    damage: str | None = None
    unread: OSError | None = None

    @property
    def expected(self) -> str:
        """Its name, version and build as pixi.lock has them."""
        if not self.artifact.is_conda:
            return f"{self.artifact.name} {self.artifact.version}".rstrip()
        record = self.artifact.conda_record
        return f"{record.name} {record.version} {record.build}"

    @property
    def is_right(self) -> bool:
        """Tell whether it is the package that pixi.lock says, whatever the case of letters."""
        return self.identity is not None and self.identity.lower() == self.expected.lower()


def check_new_archives(
    folder: Path,
    artifacts: Iterable[Artifact],
    digests: DigestCache,
    note: Callable[[str], None],
    read: Callable[[Path, Artifact], tuple[str, Mapping[str, str]]] | None = None,
) -> tuple[tuple[Problem, ...], int]:
    """Open what was not opened before; return what is wrong, and how many were opened now.

    `read` returns an artifact's identity and what else is to be kept of it; None: all are conda
    artifacts.
    """
    more: dict[PurePosixPath, Mapping[str, str]] = {}

    def identify(file: Path, artifact: Artifact) -> str:
        from scripts.channel.archive import read_identity

        if read is None:
            return read_identity(file)
        identity, more[artifact.path] = read(file, artifact)
        return identity

    results: list[ArchiveCheck] = []
    unknown = [each for each in artifacts if not _is_known(folder, each, digests)]
    if unknown:
        note(f"opening {counted(len(unknown), 'artifact' if read is None else 'PyPI artifact')}")
        for each in open_archives(folder, unknown, identify):
            path = each.artifact.path
            if each.identity is not None and each.status is not None:
                kept = {**more.get(path, {}), _OPENED: each.identity}
                for key, text in kept.items():
                    digests.add_read(folder, path, key, text, each.status)
            results.append(each)
    bad = [each for each in results if not each.is_right]
    wrong = [_other_bytes(folder, each.artifact, digests) or archive_problem(each) for each in bad]
    return tuple(sorted(wrong, key=lambda each: each.subject)), len(unknown)


def _other_bytes(folder: Path, artifact: Artifact, digests: DigestCache) -> Problem | None:
    """Make the problem of a file with other bytes than pixi.lock says; None: they are not other."""
    with contextlib.suppress(OSError):  # which is told of it
        digest, path = artifact.digest, artifact.path
        if digest is not None and (folder / path).is_file():
            actual = digests.digest_of(folder, path, digest.algorithm)
            sides = ("expected", digest.hex), ("actual", actual)
            message = f"{digest.algorithm} differs from {artifact.digest_source}"
            if actual != digest.hex:
                return finding_problem(path, message, *sides, help="pixi run fetch")
    return None


def _is_known(folder: Path, artifact: Artifact, digests: DigestCache) -> bool:
    """Tell whether it was opened before, and was what it should be."""
    identity = remembered(folder, artifact, _OPENED, digests)
    return ArchiveCheck(artifact=artifact, identity=identity).is_right


def remembered(folder: Path, artifact: Artifact, key: str, digests: DigestCache) -> str | None:
    """Return what was kept under `key` when this very file was opened; None: nothing."""
    try:
        status = os.stat(f"{folder}/{artifact.path}")  # noqa: PTH116 -- a Path costs as much again
        return digests.known(artifact.path, key, status)
    except OSError:
        return None


def open_archives(
    folder: Path, artifacts: Iterable[Artifact], read: Callable[[Path, Artifact], str]
) -> Iterator[ArchiveCheck]:
    """Open them in several threads, as decompression frees the interpreter lock; largest first.

    `read` returns an artifact's identity, or raises BadArchiveError or OSError.
    """
    from concurrent.futures import ThreadPoolExecutor

    ordered = sorted(artifacts, key=lambda each: each.size or 0, reverse=True)
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
    try:
        yield from pool.map(lambda each: _open(folder, each, read), ordered)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C: not all the rest


def _open(folder: Path, artifact: Artifact, read: Callable[[Path, Artifact], str]) -> ArchiveCheck:
    from scripts.channel.archive import BadArchiveError

    file = folder / artifact.path
    try:
        status = file.stat()
        if not S_ISREG(status.st_mode):  # a pipe would be waited for
            return ArchiveCheck(artifact=artifact, damage="it is not a file")
        return ArchiveCheck(artifact=artifact, status=status, identity=read(file, artifact))
    except BadArchiveError as error:
        return ArchiveCheck(artifact=artifact, damage=str(error))
    except OSError as error:
        return ArchiveCheck(artifact=artifact, unread=error)


def archive_problem(
    check: ArchiveCheck, *details: tuple[str, str], is_proven: bool = True
) -> Problem:
    """Make the problem of an artifact: what is wrong, whose fault it is and what can be done.

    `is_proven`: its bytes are those of pixi.lock, where that has a digest.
    """
    code, digest, kind = ExitCode.FINDINGS, check.artifact.digest, check.artifact.kind
    upstream = _UPSTREAM if check.artifact.is_conda else _UPSTREAM_PYPI
    is_hashed = digest is not None and not check.artifact.is_unhashed
    help_line = _UNHASHED if not is_hashed else upstream if is_proven else _UNPROVEN
    found: list[tuple[str, str]] = []
    if isinstance(check.unread, FileNotFoundError | NotADirectoryError):
        message, help_line = "is missing", "pixi run fetch"
    elif check.unread is not None:
        message, help_line = f"cannot be read: {check.unread.strerror}", "see to the disk"
        code = ExitCode.USAGE
    elif check.damage is not None:
        sort = "artifact that can be opened" if check.artifact.is_conda else f"sound {kind}"
        message, found = f"is no {sort}", [("because", check.damage)]
    else:
        message = "is another package than pixi.lock says"
        found = [("expected", check.expected), ("actual", str(check.identity))]
    if found and is_proven and digest is not None and is_hashed:
        named = f"{digest.algorithm} {digest.hex}"
        found.append(("bytes", f"just those that pixi.lock names: {named}"))
    return Problem(
        subject=str(check.artifact.path),
        message=message,
        code=code,
        details=(*found, ("from", redact(check.artifact.urls[0])), *details),
        help=help_line,
    )
