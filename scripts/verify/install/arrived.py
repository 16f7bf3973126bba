"""Compare an installed prefix with what the artifacts say that they bring.

The artifact's own list is asked, not the one that the installer wrote into `conda-meta/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.files import hash_file
from scripts.core.redact import printable
from scripts.index.artifact import read_info_files
from scripts.verify.install.package_paths import (
    WANTED,
    Interpreter,
    PackageFile,
    installed_path,
    interpreter_of,
    is_noarch_python,
    package_files,
)

_SHOWN: Final = 5  # files of one artifact that its problem names


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """An installed environment: the folder, for which subdir, and how a person knows it."""

    folder: Path
    subdir: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """A file that did not arrive as it should: `found` is its sha256, None where it is missing."""

    file: PackageFile
    installed: str
    found: str | None


def check_prefix(
    prefix: Prefix, folder: Path, artifacts: Sequence[Artifact]
) -> tuple[Problem, ...]:
    """Look for each file of each artifact, and hash those that are installed as they are."""
    python = next((each.conda_record for each in artifacts if each.name == "python"), None)
    reader = _Reader(folder=folder, interpreter=interpreter_of(python, prefix.subdir))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        looked = list(pool.map(lambda each: _look(prefix, each, reader), artifacts))
    problems = [problem for _, problem in looked if problem is not None]
    faults = {each.path: faults for each, (faults, _) in zip(artifacts, looked, strict=True)}
    if any(faults.values()):
        overwritten = _overwritten(
            [each for some in faults.values() for each in some], reader, artifacts
        )
        for path, some in faults.items():
            real = [each for each in some if each not in overwritten]
            if real:
                problems.append(_problem(str(path), real, prefix))
    return tuple(sorted(problems, key=lambda problem: problem.subject))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Reads what artifacts bring; nothing is kept, since some bring very many files."""

    folder: Path
    interpreter: Interpreter

    def files(self, artifact: Artifact) -> Iterator[tuple[str, PackageFile]]:
        """Yield where each file goes in the prefix, and the file.

        Raises a MirrorError where the artifact cannot be read.
        """
        subject = str(artifact.path)
        info = read_info_files(self.folder / artifact.path, subject, WANTED)
        try:
            interpreter = self.interpreter if is_noarch_python(info) else None
            for file in package_files(info):
                yield installed_path(file.path, interpreter), file
        except ValueError as error:
            raise MirrorError(
                Problem(
                    subject=subject,
                    trouble=f"its list of files is damaged: {error}",
                    code=ExitCode.NO,
                    help="pixi run fetch",
                )
            ) from None


def _look(
    prefix: Prefix, artifact: Artifact, reader: _Reader
) -> tuple[tuple[_Fault, ...], Problem | None]:
    """Return the files of one artifact that did not arrive, and what else is wrong with it."""
    record = prefix.folder / "conda-meta" / f"{artifact.distribution}.json"
    if not record.is_file():
        trouble = f"was not installed with {prefix.title}"
        return (), Problem(subject=str(artifact.path), trouble=trouble, code=ExitCode.NO)
    try:
        looked = [_compared(prefix, installed, file) for installed, file in reader.files(artifact)]
    except MirrorError as error:
        return (), error.problems[0]
    return tuple(each for each in looked if each is not None), None


def _compared(prefix: Prefix, installed: str, file: PackageFile) -> _Fault | None:
    path = prefix.folder / installed
    if not os.path.lexists(path):
        return _Fault(file=file, installed=installed, found=None)
    if file.sha256 is None:
        return None
    try:
        found = hash_file(path, "sha256")
    except OSError as error:
        found = f"unreadable: {error.strerror}"
    return None if found == file.sha256 else _Fault(file=file, installed=installed, found=found)


def _overwritten(
    faults: Sequence[_Fault], reader: _Reader, artifacts: Sequence[Artifact]
) -> set[_Fault]:
    """Return the faults that are none: two artifacts bring one path, and the other's is there."""
    wanted: dict[str, list[_Fault]] = {}
    for fault in faults:
        if fault.found is not None:
            wanted.setdefault(fault.installed, []).append(fault)
    innocent: set[_Fault] = set()
    for artifact in artifacts if wanted else ():
        for installed, file in _readable(reader, artifact):
            innocent.update(
                fault
                for fault in wanted.get(installed, ())
                if file != fault.file and file.sha256 in {None, fault.found}
            )
    return innocent


def _readable(reader: _Reader, artifact: Artifact) -> list[tuple[str, PackageFile]]:
    try:
        return list(reader.files(artifact))
    except MirrorError:
        return []  # told already


def _problem(subject: str, faults: Sequence[_Fault], prefix: Prefix) -> Problem:
    facts = [
        ("missing", printable(fault.installed))
        if fault.found is None
        else (
            "differs",
            f"{printable(fault.installed)} (sha256 {fault.found}, not {fault.file.sha256})",
        )
        for fault in faults[:_SHOWN]
    ]
    if len(faults) > _SHOWN:
        facts.append(("and", f"{len(faults) - _SHOWN} more"))
    count = "a file of it" if len(faults) == 1 else f"{len(faults)} files of it"
    return Problem(
        subject=subject,
        trouble=f"{count} did not arrive in {prefix.title}",
        code=ExitCode.NO,
        facts=tuple(facts),
    )
