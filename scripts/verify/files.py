"""The levels `files` and `archives`: every byte of every locked artifact, read and compared.

No known digest is believed here, and none is written down: what was right at its download may
have changed on the disk since.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, Problem
from scripts.core.files import hash_file
from scripts.core.record import Digest
from scripts.core.redact import redact
from scripts.core.report import counted, human_size
from scripts.core.symlinks import link_above
from scripts.fetch.archives import archive_problem, open_archives
from scripts.index.files import IndexedArtifact
from scripts.verify.findings import (
    EnvironmentPlatform,
    Finding,
    Level,
    LevelResult,
    UsageIndex,
    used_by,
)

# One more than can hash at a time: it opens the next file meanwhile.
_THREADS = (os.cpu_count() or 1) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A file to read, and what is expected of it.

    `source` is where that is said; `locked` is the artifact of this lock, None of what the index
    names alone.
    """

    path: PurePosixPath
    size: int | None
    digest: Digest | None
    source: str = "pixi.lock"
    locked: Artifact | None = None
    is_retained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A file as it is on the disk: its size and digest, or what is in its place."""

    size: int = 0
    digest: str | None = None
    instead: str | None = None
    error: OSError | None = None

    @property
    def is_file(self) -> bool:
        """Whether it could be read."""
        return self.instead is None and self.error is None


def check_files(
    folder: Path,
    artifacts: Sequence[Artifact],
    uses: UsageIndex,
    *,
    allow_unhashed: bool,
    retained: Sequence[IndexedArtifact] = (),
    others: Sequence[IndexedArtifact] = (),
) -> LevelResult:
    """Compare all artifacts with what the lock says of them.

    An artifact of which the lock has no hash is a finding, unless they are allowed. `retained`
    and `others` are artifacts that the index names and this lock does not, others that another
    workspace's lock names: they are what their records say.
    """
    wanted = [
        _Wanted(path=each.path, size=each.size, digest=each.digest, locked=each)
        for each in artifacts
    ]
    for kept, is_retained in ((retained, True), (others, False)):
        for other in kept:
            record = other.record
            wanted.append(
                _Wanted(
                    path=other.path,
                    size=record.size,
                    digest=record.digest,
                    source="its record",
                    is_retained=is_retained,
                )
            )
    seen = _read_all(folder, wanted)
    problems = [
        (_compare(each, seen[each.path], uses, allow_unhashed=allow_unhashed), each)
        for each in wanted
    ]
    read = [(seen[each.path], each) for problem, each in problems if seen[each.path].is_file]
    size = sum(each.size for each, _ in read)
    unhashed = sum(each.locked is not None and each.digest is None for _, each in read)
    line = f"read: {counted(len(read), 'artifact')}, {human_size(size)}"
    without = f"the lock has neither sha256 nor md5 of {counted(unhashed, 'artifact')}"
    return dataclasses.replace(
        _result(
            Level.FILES,
            (
                (
                    problem,
                    uses.places(each.path) if each.locked else frozenset[EnvironmentPlatform](),
                )
                for problem, each in problems
            ),
        ),
        lines=(f"{line}; {unhashed} of them without a hash" if unhashed else line,),
        caveats=(f"files: {without}",) if unhashed else (),
        data={"artifacts": len(read), "bytes": size, "unhashed": unhashed},
    )


def _result(
    level: Level, problems: Iterable[tuple[Problem | None, frozenset[EnvironmentPlatform]]]
) -> LevelResult:
    """Tell what is wrong with the channel from what is wrong with this machine."""
    findings: list[Finding] = []
    environment_problems: list[Problem] = []
    unproven: set[EnvironmentPlatform] = set()
    for problem, places in problems:
        if problem is not None and problem.code is ExitCode.FINDINGS:
            findings.append(Finding(level=level, problem=problem, places=places))
        elif problem is not None:
            environment_problems.append(problem)
            unproven |= places
    return LevelResult(
        findings=tuple(sorted(findings, key=lambda each: each.problem.subject)),
        environment_problems=tuple(environment_problems),
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
    code, advice = ExitCode.FINDINGS, "pixi run fetch"
    contrast: tuple[str, str] | None = None
    digest = wanted.digest
    if seen.error is not None:
        code, advice = ExitCode.USAGE, "see to the disk and its permissions, then run this again"
        message = f"cannot be read: {seen.error.strerror}"
    elif seen.instead is not None:
        message = seen.instead
        if "link" in message:
            advice = "put the files themselves in the place of the link"
    elif wanted.size is not None and seen.size != wanted.size:
        message = f"size differs from {wanted.source}"
        contrast = (f"{wanted.size} bytes", f"{seen.size} bytes")
    elif digest is not None and seen.digest != digest.hex:
        message = f"{digest.algorithm} differs from {wanted.source}"
        contrast = (digest.hex, str(seen.digest))
        # fetch believes a digest that it knows, and a disk may forget bits without telling
        advice = "remove this file, then `pixi run fetch`"
    elif digest is None and wanted.locked is not None and not allow_unhashed:
        message = "nothing can be proven of it: pixi.lock has neither sha256 nor md5"
        advice = "allow-unhashed = true under [tool.pixi-mirror], if that will do"
    else:
        return None
    details = tuple(zip(("expected", "actual"), contrast or (), strict=False))
    if wanted.locked is not None:
        origin = ("from", redact(wanted.locked.urls[0]))
        details = (*details, origin, used_by(uses.places(wanted.path)))
    elif code is ExitCode.FINDINGS and wanted.is_retained:
        message, advice = f"retained, {message}", f"pixi run prune --drop {wanted.path}"
    elif code is ExitCode.FINDINGS:
        advice = "remove this file, then `pixi run mirror` in the workspace that names it"
    return Problem(
        subject=str(wanted.path), message=message, code=code, details=details, help=advice
    )


def check_archives(
    folder: Path, artifacts: Sequence[Artifact], uses: UsageIndex, files: LevelResult | None
) -> LevelResult:
    """Open every locked artifact anew, whatever its platform.

    `files` is what that level found, None where it was not looked at: what it has just found
    missing or other than the lock's is told of there, and not opened.
    """
    told = (
        ()
        if files is None
        else (*(each.problem for each in files.findings), *files.environment_problems)
    )
    wrong = {each.subject for each in told}
    opened = list(open_archives(folder, [x for x in artifacts if str(x.path) not in wrong]))
    problems = []
    for each in opened:
        if not each.is_right:
            places = uses.places(each.artifact.path)
            is_proven = files is not None
            problems.append((archive_problem(each, used_by(places), is_proven=is_proven), places))
    result = _result(Level.ARCHIVES, problems)
    left_alone = (uses.places(each.path) for each in artifacts if str(each.path) in wrong)
    return dataclasses.replace(
        result,
        unproven=result.unproven.union(*left_alone),
        data={"opened": sum(each.is_right for each in opened)},
    )
