"""The levels `files` and `archives`: every byte of every locked artifact, read and compared.

No digest that `fetch` knows is believed here: what was right at its download may have changed on
the disk since. What these levels have proven is, where the caller remembers it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from scripts.channel.archive import read_identity
from scripts.channel.digest_cache import Damage, DigestCache, note_damage
from scripts.channel.inventory import SEE_TO_DISK
from scripts.core.artifact import Artifact
from scripts.core.channel_paths import channel_paths
from scripts.core.errors import ExitCode, Problem, finding_problem, usage_problem
from scripts.core.files import hash_file
from scripts.core.redact import redact
from scripts.core.report import counted, human_size
from scripts.core.symlinks import link_above
from scripts.fetch.archives import archive_problem, open_archives
from scripts.index.file_classes import IndexedArtifact
from scripts.verify.findings import (
    EnvironmentPlatform,
    Level,
    LevelResult,
    UsageIndex,
    level_result,
    link_problem,
    used_by,
)
from scripts.verify.proofs import NO_PROOFS, Proofs, oldest_by_place
from scripts.workspace.settings import TABLE, IncompleteKind

# One more than can hash at a time: it opens the next file meanwhile.
_THREADS = (os.cpu_count() or 1) + 1


def check_files(
    folder: Path,
    artifacts: Sequence[Artifact],
    uses: UsageIndex,
    *,
    allow_unhashed: bool,
    proofs: Proofs = NO_PROOFS,
    retained: Sequence[IndexedArtifact] = (),
    others: Sequence[IndexedArtifact] = (),
) -> LevelResult:
    """Compare all artifacts with what the lock says of them.

    An artifact of which the lock has no hash is a finding, unless they are allowed. `retained`
    and `others` are artifacts that the index names and this lock does not, others that another
    workspace's lock names: they are what their records say.
    """
    kept = (*retained, *others)
    wanted = [*artifacts, *(each.artifact for each in kept)]
    # The largest first, so that no thread is left with one of them at the end.
    wanted.sort(key=lambda each: each.size or 0, reverse=True)
    keys = proofs.artifact_keys(Level.FILES, folder, wanted)
    proven = proofs.find(keys)
    read = list[tuple[int | None, Problem | None]]()
    digests = functools.cache(lambda: DigestCache(channel_paths(folder).digests))  # seldom needed
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        # Where all is proven, handing on would take longer than looking.
        every = map if len(proven) == len(wanted) else pool.map
        for size, problem, damage in every(partial(_read, folder, proven), wanted):
            read.append((size, problem))
            if damage is not None:  # noted at once, as the run may be killed
                note_damage(digests(), damage)
    total = sum(size for size, _ in read if size is not None)
    problems: list[tuple[Problem, frozenset[EnvironmentPlatform]]] = []
    unhashed, dropped = 0, {each.path for each in retained}
    for each, (found, problem) in zip(wanted, read, strict=True):
        if found is not None and each.urls and each.is_unhashed:
            unhashed += 1
            if problem is None and not allow_unhashed:
                problem = finding_problem(  # noqa: PLW2901
                    each.path,
                    "nothing can be proven of it: pixi.lock has neither sha256 nor md5",
                    help="allow-unhashed = true under [tool.pixi-mirror], if that will do",
                )
        if problem is not None:
            places = uses.places(each.path) if each.urls else frozenset[EnvironmentPlatform]()
            problems.append((_blamed(each, problem, places, dropped), places))
        elif each.path not in proven:
            proofs.add(keys.get(each.path))
    count = sum(found is not None for found, _ in read)
    line = f"read: {counted(count, 'artifact')}, {human_size(total)}"
    if proven:
        line += f", {len(proven)} of them in earlier runs"
    without = f"the lock has neither sha256 nor md5 of {counted(unhashed, 'artifact')}"
    return dataclasses.replace(
        level_result(Level.FILES, sorted(problems, key=lambda each: each[0].subject)),
        proven=oldest_by_place(proven, uses),
        lines=(f"{line}; {unhashed} of them without a hash" if unhashed else line,),
        caveats=(f"files: {without}",) if unhashed else (),
        data={"artifacts": count, "bytes": total, "unhashed": unhashed},
    )


def _read(
    folder: Path, proven: Container[PurePosixPath], artifact: Artifact
) -> tuple[int | None, Problem | None, Damage | None]:
    """Read one artifact: its size, where it is a file, and the first thing that is wrong with it.

    Not its bytes where its size is wrong already, or they are proven. Other bytes are damage.
    """
    path, size, problem, damage = artifact.path, None, None, None
    source = "pixi.lock" if artifact.urls else "its record"
    try:
        link = link_above(folder, path)
        if link is not None:
            problem = link_problem(path, "" if link == path else f", since {link} is one")
            return None, problem, None
        status = (folder / path).lstat()
        if not S_ISREG(status.st_mode):
            advice = "remove it, then `pixi run fetch`"
            return None, finding_problem(path, "is not a file", help=advice), None
        size, digest = status.st_size, artifact.digest
        if artifact.size is not None and size != artifact.size:
            sides = ("expected", f"{artifact.size} bytes"), ("actual", f"{size} bytes")
            message = f"size differs from {source}"
            problem = finding_problem(path, message, *sides, help="pixi run fetch")
        elif (
            digest
            and path not in proven
            and (actual := hash_file(folder / path, digest.algorithm)) != digest.hex
        ):
            damage = Damage(path, digest.algorithm, actual, status)
            advice = "remove this file, then `pixi run fetch`"
            sides = ("expected", digest.hex), ("actual", actual)
            message = f"{digest.algorithm} differs from {artifact.digest_source}"
            problem = finding_problem(path, message, *sides, help=advice)
    except (FileNotFoundError, NotADirectoryError):
        return None, finding_problem(path, "is missing", help="pixi run fetch"), None
    except OSError as error:
        problem = usage_problem(path, f"cannot be read: {error.strerror}", help=SEE_TO_DISK)
        return None, problem, None
    return size, problem, damage


def _blamed(
    artifact: Artifact,
    problem: Problem,
    places: Iterable[EnvironmentPlatform],
    dropped: Container[PurePosixPath],
) -> Problem:
    """Add to a problem whom it concerns; what this lock does not name has another remedy."""
    path, message = artifact.path, problem.message
    if artifact.urls:
        more = (("from", redact(artifact.urls[0])), used_by(places))
        return dataclasses.replace(problem, details=(*problem.details, *more))
    if problem.code is not ExitCode.FINDINGS:
        return problem
    advice = "remove this file, then `pixi run mirror` in the workspace that names it"
    if path in dropped:
        message, advice = f"retained, {message}", f"pixi run prune --drop {path}"
    return dataclasses.replace(problem, message=message, help=advice)


def _read_archive(
    bad_records: dict[PurePosixPath, str],
    allowed: Container[IncompleteKind],
    file: Path,
    artifact: Artifact,
) -> str:
    """Return what an artifact says that it is; raise BadArchiveError where it is not sound.

    What is wrong with RECORD is taken down, too.
    """
    if artifact.is_conda:
        return read_identity(file)
    from scripts.verify.pypi_archives import (
        BadWheelRecordError,
        read_pypi_identity,
    )  # seldom needed

    try:
        return read_pypi_identity(file, artifact.pypi_record)
    except BadWheelRecordError as error:
        bad_records[artifact.path] = str(error)
        if IncompleteKind.WHEEL_RECORD not in allowed:
            raise
        return error.identity


def check_archives(
    folder: Path,
    artifacts: Sequence[Artifact],
    uses: UsageIndex,
    files: LevelResult | None,
    proofs: Proofs,
    *,
    allowed: Container[IncompleteKind],
) -> LevelResult:
    """Open every locked artifact anew, whatever its platform.

    `files` is what that level found, None where it was not looked at: what it has just found
    missing or other than the lock's is told of there, and not opened. `allowed`: what settings let
    pass; then it is told, each time.
    """
    wrong: set[str] = set()
    if files is not None:
        told = (*(each.problem for each in files.findings), *files.environment_problems)
        wrong = {each.subject for each in told}
    keys = proofs.artifact_keys(Level.ARCHIVES, folder, artifacts)
    proven = {path: each for path, each in proofs.find(keys).items() if str(path) not in wrong}
    left = [x for x in artifacts if str(x.path) not in wrong and x.path not in proven]
    bad_records: dict[PurePosixPath, str] = {}
    opened = list(open_archives(folder, left, partial(_read_archive, bad_records, allowed)))
    for each in opened:
        if each.is_right and each.artifact.path not in bad_records:
            proofs.add(keys.get(each.artifact.path))
    problems = []
    for each in (x for x in opened if not x.is_right):
        places = uses.places(each.artifact.path)
        problem = archive_problem(each, used_by(places), is_proven=files is not None)
        if each.damage is not None and bad_records.pop(each.artifact.path, ""):
            advice = f'; or add "{IncompleteKind.WHEEL_RECORD}" to allow-incomplete under [{TABLE}]'
            advice = f"{problem.help}{advice}: pip, uv and pixi install it all the same"
            problem = dataclasses.replace(problem, help=advice)
        problems.append((problem, places))
    wrong_records = [f"{path}: {said}" for path, said in sorted(bad_records.items())]
    result = level_result(Level.ARCHIVES, sorted(problems, key=lambda each: each[0].subject))
    left_alone = (uses.places(each.path) for each in artifacts if str(each.path) in wrong)
    return dataclasses.replace(
        result,
        unproven=result.unproven.union(*left_alone),
        proven=oldest_by_place(proven, uses),
        lines=tuple(f"allowed: {each}" for each in wrong_records),
        caveats=tuple(f"{Level.ARCHIVES}: allowed: {each}" for each in wrong_records),
        data={
            "opened": len(proven) + sum(each.is_right for each in opened),
            "wrong-records": [*wrong_records],
        },
    )
