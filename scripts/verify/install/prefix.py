"""Compare an installed prefix with what the artifacts say that they bring.

The artifact's own list is asked, not the one that the installer wrote into `conda-meta/`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.channel.archive import read_info_files
from scripts.core.artifact import Artifact
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.files import hash_file
from scripts.core.record import Record
from scripts.core.redact import printable

INDEX: Final = "info/index.json"
PATHS: Final = "info/paths.json"
FILES: Final = "info/files"
WANTED: Final = frozenset({INDEX, PATHS, FILES})

_SHOWN: Final = 5  # files of one artifact that its problem names


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """A file that did not arrive as it should: `found` is its sha256, None where it is missing."""

    file: PackageFile
    installed: str
    found: str | None


def check_prefix(
    prefix: Path, subdir: str, title: str, folder: Path, artifacts: Sequence[Artifact]
) -> tuple[Problem, ...]:
    """Look for each file of each artifact, and hash those that are installed as they are.

    `title` is how a person knows the installed environment, `folder` the channel folder.
    """
    python = next((each.conda_record for each in artifacts if each.name == "python"), None)
    reader = _Reader(folder=folder, interpreter=interpreter_of(python, subdir))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        looked = list(pool.map(lambda each: _look(prefix, title, each, reader), artifacts))
    problems = [problem for _, problem in looked if problem is not None]
    faults = {each.path: faults for each, (faults, _) in zip(artifacts, looked, strict=True)}
    if any(faults.values()):
        overwritten = _overwritten(
            [each for some in faults.values() for each in some], reader, artifacts
        )
        for path, some in faults.items():
            real = [each for each in some if each not in overwritten]
            if real:
                problems.append(_problem(str(path), real, title))
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
                    message=f"its list of files is damaged: {error}",
                    code=ExitCode.FINDINGS,
                    help="pixi run fetch",
                )
            ) from None


def _look(
    prefix: Path, title: str, artifact: Artifact, reader: _Reader
) -> tuple[tuple[_Fault, ...], Problem | None]:
    """Return the files of one artifact that did not arrive, and what else is wrong with it."""
    record = prefix / "conda-meta" / f"{artifact.distribution}.json"
    if not record.is_file():
        message = f"was not installed with {title}"
        return (), Problem(subject=str(artifact.path), message=message, code=ExitCode.FINDINGS)
    try:
        looked = [_compared(prefix, installed, file) for installed, file in reader.files(artifact)]
    except MirrorError as error:
        return (), error.problems[0]
    return tuple(each for each in looked if each is not None), None


def _compared(prefix: Path, installed: str, file: PackageFile) -> _Fault | None:
    path = prefix / installed
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


def _problem(subject: str, faults: Sequence[_Fault], title: str) -> Problem:
    details = [
        ("missing", printable(fault.installed))
        if fault.found is None
        else (
            "differs",
            f"{printable(fault.installed)} (sha256 {fault.found}, not {fault.file.sha256})",
        )
        for fault in faults[:_SHOWN]
    ]
    if len(faults) > _SHOWN:
        details.append(("and", f"{len(faults) - _SHOWN} more"))
    count = "a file of it" if len(faults) == 1 else f"{len(faults)} files of it"
    return Problem(
        subject=subject,
        message=f"{count} did not arrive in {title}",
        code=ExitCode.FINDINGS,
        details=tuple(details),
    )


# What an artifact brings, and where it goes.


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """A file as the artifact names it; `sha256` None where its bytes may differ once installed."""

    path: str
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """Where the files of noarch python packages go: below which folders of the prefix."""

    site_packages: str
    scripts: str


def interpreter_of(python: Record | None, subdir: str) -> Interpreter:
    """Say where the environment's python looks (rattler, install/python.rs).

    An environment without python has no noarch python packages to place.
    """
    if subdir.startswith("win-"):
        return Interpreter(site_packages="Lib/site-packages", scripts="Scripts")
    version = ".".join((python.version if python else "").split(".")[:2])
    written = python.python_site_packages_path if python else None
    return Interpreter(site_packages=written or f"lib/python{version}/site-packages", scripts="bin")


def is_noarch_python(info: Mapping[str, bytes]) -> bool:
    """Tell by `info/index.json`; raises ValueError where it is not what it should be."""
    document = json.loads(info.get(INDEX, b"{}"))
    return isinstance(document, dict) and document.get("noarch") == "python"


def package_files(info: Mapping[str, bytes]) -> Iterator[PackageFile]:
    """Yield the files that an artifact names: in `info/paths.json`, or, old ones, `info/files`.

    Folders are left out: an empty one proves nothing. Raises ValueError for a damaged list.
    """
    if PATHS in info:
        for entry in _rows(json.loads(info[PATHS])):
            path = entry.get("_path")
            if not isinstance(path, str):
                raise ValueError(f"{PATHS} has an entry without a path")  # noqa: TRY004
            if entry.get("path_type") != "directory":
                yield PackageFile(path=path, sha256=_sha256(entry))
        return
    for line in info.get(FILES, b"").decode("utf-8").splitlines():
        if line.strip():
            yield PackageFile(path=line.strip(), sha256=None)


def installed_path(path: str, interpreter: Interpreter | None) -> str:
    """Say where in the prefix a file goes; `interpreter` for noarch python packages alone."""
    if interpreter is not None:
        for folder, target in (
            ("site-packages/", interpreter.site_packages),
            ("python-scripts/", interpreter.scripts),
        ):
            if path.startswith(folder):
                return f"{target}/{path.removeprefix(folder)}"
    return path


def _rows(document: Any) -> list[dict[str, Any]]:
    rows = document.get("paths") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{PATHS} is not a list of paths")
    return rows


def _sha256(entry: dict[str, Any]) -> str | None:
    """Take the sha256 of a file that is installed as it is; that of a link is its target's."""
    digest = entry.get("sha256")
    if entry.get("prefix_placeholder") or entry.get("path_type") == "softlink":
        return None
    return digest.lower() if isinstance(digest, str) else None


def files_size(info: Mapping[str, bytes]) -> int:
    """Add up the bytes of the files that `info/paths.json` names; 0 where it cannot be read."""
    try:
        sizes = [entry.get("size_in_bytes") for entry in _rows(json.loads(info.get(PATHS, b"{}")))]
    except ValueError:
        return 0
    return sum(size for size in sizes if isinstance(size, int))
