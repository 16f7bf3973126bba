"""The levels `files` and `archives`: every byte of every locked artifact, read and compared.

No known digest is believed here, and none is written down: what was right at its download may
have changed on the disk since.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, Problem
from scripts.core.files import hash_file
from scripts.core.record import Digest
from scripts.core.redact import redact
from scripts.core.symlinks import link_above
from scripts.fetch.archives import archive_problem, open_archives
from scripts.index.account import Indexed
from scripts.verify.findings import Finding, Level, Place, UsageIndex, used_by

# One more than can hash at a time: it opens the next file meanwhile.
_THREADS = (os.cpu_count() or 1) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesResult:
    """What the level found.

    `unread` is what this machine could not read, and no fault of the channel's, at `unproven`.
    `unhashed` counts artifacts compared by their size alone, if that.
    """

    findings: tuple[Finding, ...]
    artifacts: int
    size: int
    unhashed: int
    unread: tuple[Problem, ...] = ()
    unproven: frozenset[Place] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivesResult:
    """What the level found; `unproven` are the places of what could not be opened for a reason."""

    findings: tuple[Finding, ...]
    artifacts: int
    unread: tuple[Problem, ...] = ()
    unproven: frozenset[Place] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A file to read, and what is expected of it.

    `source` is where that is said; `locked` is the artifact of this lock, else None.
    """

    path: PurePosixPath
    size: int | None
    digest: Digest | None
    source: str
    locked: Artifact | None = None
    is_retained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A file as it is on the disk: its size and digest, or what is in its place."""

    size: int = 0
    digest: str | None = None
    instead: str | None = None
    error: OSError | None = None


def check_files(
    folder: Path,
    artifacts: Sequence[Artifact],
    uses: UsageIndex,
    *,
    allow_unhashed: bool,
    retained: Sequence[Indexed] = (),
    others: Sequence[Indexed] = (),
) -> FilesResult:
    """Compare all artifacts with what the lock says of them.

    An artifact of which the lock has no hash is a finding, unless they are allowed. `retained`
    and `others` are artifacts that the index names and this lock does not, others that another
    workspace's lock names: they are what their records say.
    """
    wanted = [
        *(
            _Wanted(
                path=each.path, size=each.size, digest=each.digest, source="pixi.lock", locked=each
            )
            for each in artifacts
        ),
        *(
            _Wanted(
                path=each.path,
                size=each.record.size,
                digest=each.record.digest,
                source="its record",
                is_retained=each in retained,
            )
            for each in (*retained, *others)
        ),
    ]
    seen = _read_all(folder, wanted)
    findings: list[Finding] = []
    unread: list[Problem] = []
    unproven: set[Place] = set()
    for each in wanted:
        problem = _compare(each, seen[each.path], uses, allow_unhashed=allow_unhashed)
        places = uses.places(each.path) if each.locked else frozenset[Place]()
        if problem is None:
            continue
        if problem.code is ExitCode.NO:
            findings.append(Finding(level=Level.FILES, problem=problem, places=places))
        else:
            unread.append(problem)
            unproven |= places
    read = [each for each in seen.values() if each.instead is None and each.error is None]
    return FilesResult(
        findings=tuple(sorted(findings, key=lambda finding: finding.problem.subject)),
        artifacts=len(read),
        size=sum(each.size for each in read),
        unhashed=sum(
            each.locked is not None and each.digest is None and seen[each.path] in read
            for each in wanted
        ),
        unread=tuple(unread),
        unproven=frozenset(unproven),
    )


def _read_all(folder: Path, wanted: Sequence[_Wanted]) -> dict[PurePosixPath, _Seen]:
    """Read all files, side by side."""
    # The largest first, so that no thread is left with one of them at the end.
    ordered = sorted(wanted, key=lambda each: each.size or 0, reverse=True)
    waiting = iter(ordered)  # a list's iterator gives each artifact to one thread only

    def read_on(_thread: int) -> list[tuple[PurePosixPath, _Seen]]:
        return [(each.path, _read(folder, each)) for each in waiting]

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return dict(each for part in pool.map(read_on, range(_THREADS)) for each in part)


def _read(folder: Path, wanted: _Wanted) -> _Seen:
    """Read one artifact; not its bytes where its size is wrong already."""
    file = folder / wanted.path
    try:
        link = link_above(folder, wanted.path)
        if link is not None:
            where = "" if link == wanted.path else f", since {link} is one"
            return _Seen(instead=f"is a link, not the file itself{where}")
        status = file.lstat()
        if not S_ISREG(status.st_mode):
            return _Seen(instead="is not a file")
        size = status.st_size
        if wanted.digest is None or (wanted.size is not None and size != wanted.size):
            return _Seen(size=size)
        return _Seen(size=size, digest=hash_file(file, wanted.digest.algorithm))
    except (FileNotFoundError, NotADirectoryError):
        return _Seen(instead="is missing")
    except OSError as error:
        return _Seen(error=error)


def _compare(
    wanted: _Wanted, seen: _Seen, uses: UsageIndex, *, allow_unhashed: bool
) -> Problem | None:
    """Say what is wrong with an artifact; the first thing only."""
    code, help = ExitCode.NO, "pixi run fetch"
    contrast: tuple[str, str] | None = None
    digest = wanted.digest
    if seen.error is not None:
        code, help = ExitCode.USAGE, "see to the disk and its permissions, then run this again"
        trouble = f"cannot be read: {seen.error.strerror}"
    elif seen.instead is not None:
        trouble = seen.instead
        if "link" in trouble:
            help = "put the files themselves in the place of the link"
    elif wanted.size is not None and seen.size != wanted.size:
        trouble = f"size differs from {wanted.source}"
        contrast = (f"{wanted.size} bytes", f"{seen.size} bytes")
    elif digest is not None and seen.digest != digest.hex:
        trouble = f"{digest.algorithm} differs from {wanted.source}"
        contrast = (digest.hex, str(seen.digest))
        # fetch believes a digest that it knows, and a disk may forget bits without telling
        help = "remove this file, then `pixi run fetch`"
    elif digest is None and wanted.locked is not None and not allow_unhashed:
        trouble = "nothing can be proven of it: pixi.lock has neither sha256 nor md5"
        help = "allow-unhashed = true under [tool.pixi-mirror], if that will do"
    else:
        return None
    facts = tuple(zip(("expected", "actual"), contrast or (), strict=False))
    if wanted.locked is not None:
        origin = ("from", redact(wanted.locked.urls[0]))
        facts = (*facts, origin, used_by(uses.places(wanted.path)))
    elif code is ExitCode.NO and wanted.is_retained:
        trouble, help = f"retained, {trouble}", f"pixi run prune --drop {wanted.path}"
    elif code is ExitCode.NO:
        help = "remove this file, then `pixi run mirror` in the workspace that names it"
    return Problem(subject=str(wanted.path), trouble=trouble, code=code, facts=facts, help=help)


def check_archives(
    folder: Path, artifacts: Sequence[Artifact], uses: UsageIndex, files: FilesResult | None
) -> ArchivesResult:
    """Open every locked artifact anew, whatever its platform.

    `files` is what that level found, None where it was not looked at: what it has just found
    missing or other than the lock's is told of there, and not opened.
    """
    told = () if files is None else (*(each.problem for each in files.findings), *files.unread)
    wrong = {each.subject for each in told}
    wanted = [each for each in artifacts if str(each.path) not in wrong]
    unproven = {
        place for each in artifacts if str(each.path) in wrong for place in uses.places(each.path)
    }
    findings: list[Finding] = []
    unread: list[Problem] = []
    opened = list(open_archives(folder, wanted))
    for each in opened:
        if each.is_right:
            continue
        places = uses.places(each.artifact.path)
        problem = archive_problem(each, used_by(places), is_proven=files is not None)
        if problem.code is ExitCode.NO:
            findings.append(Finding(level=Level.ARCHIVES, problem=problem, places=places))
        else:
            unread.append(problem)
            unproven |= places
    return ArchivesResult(
        findings=tuple(sorted(findings, key=lambda each: each.problem.subject)),
        artifacts=sum(each.is_right for each in opened),
        unread=tuple(unread),
        unproven=frozenset(unproven),
    )
