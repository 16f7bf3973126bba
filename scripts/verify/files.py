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
from functools import partial
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
    link_problem,
    used_by,
)

# One more than can hash at a time: it opens the next file meanwhile.
_THREADS = (os.cpu_count() or 1) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A file to read, and what is expected of it."""

    path: PurePosixPath
    size: int | None
    digest: Digest | None
    locked: Artifact | None
    """The artifact of this lock; None: its record says what is expected."""
    is_retained: bool = False


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
            size, digest = other.record.size, other.record.digest
            one = _Wanted(path=other.path, size=size, digest=digest, locked=None)
            wanted.append(dataclasses.replace(one, is_retained=is_retained))
    # The largest first, so that no thread is left with one of them at the end.
    wanted.sort(key=lambda each: each.size or 0, reverse=True)
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        read = list(pool.map(partial(_read, folder), wanted))
    size = sum(size for size, _ in read if size is not None)
    problems: list[tuple[Problem, frozenset[EnvironmentPlatform]]] = []
    unhashed = 0
    for each, (found, problem) in zip(wanted, read, strict=True):
        if found is not None and each.locked is not None and each.digest is None:
            unhashed += 1
            if problem is None and not allow_unhashed:
                problem = _problem(  # noqa: PLW2901
                    each,
                    "nothing can be proven of it: pixi.lock has neither sha256 nor md5",
                    "allow-unhashed = true under [tool.pixi-mirror], if that will do",
                )
        if problem is not None:
            problems.append(_blamed(each, problem, uses))
    count = sum(found is not None for found, _ in read)
    line = f"read: {counted(count, 'artifact')}, {human_size(size)}"
    without = f"the lock has neither sha256 nor md5 of {counted(unhashed, 'artifact')}"
    return dataclasses.replace(
        _result(Level.FILES, problems),
        lines=(f"{line}; {unhashed} of them without a hash" if unhashed else line,),
        caveats=(f"files: {without}",) if unhashed else (),
        data={"artifacts": count, "bytes": size, "unhashed": unhashed},
    )


def _read(folder: Path, wanted: _Wanted) -> tuple[int | None, Problem | None]:
    """Read one artifact: its size, where it is a file, and the first thing that is wrong with it.

    Not its bytes where its size is wrong already.
    """
    file, digest = folder / wanted.path, wanted.digest
    source = "its record" if wanted.locked is None else "pixi.lock"
    try:
        link = link_above(folder, wanted.path)
        if link is not None:
            since = "" if link == wanted.path else f", since {link} is one"
            return None, link_problem(wanted.path, since)
        status = file.lstat()
        if not S_ISREG(status.st_mode):
            return None, _problem(wanted, "is not a file")
        size = status.st_size
        if wanted.size is not None and size != wanted.size:
            sizes = f"{wanted.size} bytes", f"{size} bytes"
            return size, _problem(wanted, f"size differs from {source}", actual=sizes)
        actual = None if digest is None else hash_file(file, digest.algorithm)
    except (FileNotFoundError, NotADirectoryError):
        return None, _problem(wanted, "is missing")
    except OSError as error:
        advice = "see to the disk and its permissions, then run this again"
        unread = _problem(wanted, f"cannot be read: {error.strerror}", advice)
        return None, dataclasses.replace(unread, code=ExitCode.USAGE)
    problem: Problem | None = None
    if digest is not None and actual != digest.hex:
        # fetch believes a digest that it knows, and a disk may forget bits without telling
        advice = "remove this file, then `pixi run fetch`"
        message = f"{digest.algorithm} differs from {source}"
        problem = _problem(wanted, message, advice, actual=(digest.hex, str(actual)))
    return size, problem


def _problem(
    wanted: _Wanted,
    message: str,
    advice: str = "pixi run fetch",
    actual: tuple[str, ...] = (),
) -> Problem:
    return Problem(
        subject=str(wanted.path),
        message=message,
        code=ExitCode.FINDINGS,
        details=tuple(zip(("expected", "actual"), actual, strict=False)),
        help=advice,
    )


def _blamed(
    wanted: _Wanted, problem: Problem, uses: UsageIndex
) -> tuple[Problem, frozenset[EnvironmentPlatform]]:
    """Add to a problem whom it concerns; what no lock of this run names has another remedy."""
    if wanted.locked is not None:
        places = uses.places(wanted.path)
        more = (("from", redact(wanted.locked.urls[0])), used_by(places))
        return dataclasses.replace(problem, details=(*problem.details, *more)), places
    if problem.code is not ExitCode.FINDINGS:
        return problem, frozenset()
    message, advice = problem.message, "remove this file, then `pixi run mirror` in the workspace"
    if wanted.is_retained:
        message, advice = f"retained, {message}", f"pixi run prune --drop {wanted.path}"
    else:
        advice = f"{advice} that names it"
    return dataclasses.replace(problem, message=message, help=advice), frozenset()


def _result(
    level: Level, problems: Iterable[tuple[Problem, frozenset[EnvironmentPlatform]]]
) -> LevelResult:
    """Tell what is wrong with the channel from what is wrong with this machine."""
    every = sorted(problems, key=lambda each: each[0].subject)
    mine = [each for each in every if each[0].code is not ExitCode.FINDINGS]
    return LevelResult(
        findings=tuple(
            Finding(level=level, problem=problem, places=places)
            for problem, places in every
            if problem.code is ExitCode.FINDINGS
        ),
        environment_problems=tuple(problem for problem, _ in mine),
        unproven=frozenset[EnvironmentPlatform]().union(*(places for _, places in mine)),
    )


def check_archives(
    folder: Path, artifacts: Sequence[Artifact], uses: UsageIndex, files: LevelResult | None
) -> LevelResult:
    """Open every locked artifact anew, whatever its platform.

    `files` is what that level found, None where it was not looked at: what it has just found
    missing or other than the lock's is told of there, and not opened.
    """
    wrong: set[str] = set()
    if files is not None:
        told = (*(each.problem for each in files.findings), *files.environment_problems)
        wrong = {each.subject for each in told}
    opened = list(open_archives(folder, [x for x in artifacts if str(x.path) not in wrong]))
    wrong_ones = [(x, uses.places(x.artifact.path)) for x in opened if not x.is_right]
    is_proven = files is not None
    result = _result(
        Level.ARCHIVES,
        (
            (archive_problem(each, used_by(places), is_proven=is_proven), places)
            for each, places in wrong_ones
        ),
    )
    left_alone = (uses.places(each.path) for each in artifacts if str(each.path) in wrong)
    return dataclasses.replace(
        result,
        unproven=result.unproven.union(*left_alone),
        data={"opened": sum(each.is_right for each in opened)},
    )
