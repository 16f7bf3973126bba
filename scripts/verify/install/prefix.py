"""Compare an installed prefix with what the artifacts say that they bring.

The artifact's own list is asked, not the one that the installer wrote into `conda-meta/` or
`.dist-info/`. What an sdist brings is known once it is built: it must be there, and no more.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from scripts.channel.archive import (
    INDEX_JSON,
    WANTED,
    BadArchiveError,
    damaged_artifact,
    package_files,
    read_info_files,
    told_as_bad_archive,
)
from scripts.core.artifact import Artifact, ArtifactKind
from scripts.core.errors import MirrorError, Problem, finding_problem, first_details
from scripts.core.files import hash_file
from scripts.core.pep508 import pypi_name
from scripts.core.record import Record
from scripts.core.redact import printable
from scripts.index.distribution import DIST_INFO, dist_info_folder, hash_member
from scripts.verify.install.plan import InstallJob

# Where noarch python packages have what their python decides about, and their programs.
_SITE_PACKAGES: Final = "site-packages/"
_SCRIPTS: Final = "python-scripts/"
# What installers write into `.dist-info/` anew.
_OF_INSTALLERS: Final = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"})

_SHOWN: Final = 5  # files of one artifact that its problem names

# A file that did not arrive: its path in the prefix, the sha256 expected (None: its bytes may
# differ once installed), the sha256 found (None: it is missing).
_Fault = tuple[str, str | None, str | None]


def check_prefix(
    prefix: Path,
    folders: Mapping[str, str],
    title: str,
    folder: Path,
    artifacts: Sequence[Artifact],
) -> tuple[Problem, ...]:
    """Look for each file of each artifact, and hash those that are installed as they are.

    `folders` are those of `folders_of`, `title` is how a person knows the installed environment,
    `folder` the channel folder. Nothing read of artifacts is kept, since some bring very many
    files.
    """

    def look(artifact: Artifact) -> tuple[list[_Fault], tuple[Problem, ...]]:
        if not _is_known(prefix, folders, artifact):
            message = f"was not installed with {title}"
            problem = finding_problem(artifact.path, message)
            return [], (problem,)
        try:
            files = _installed_files(folder, artifact, folders)
            return [fault for each in files if (fault := _compare(prefix, *each)) is not None], ()
        except MirrorError as error:
            return [], error.problems

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        looked = list(pool.map(look, artifacts))
    problems = [problem for _, some in looked for problem in some]
    readable = [each for each, (_, some) in zip(artifacts, looked, strict=True) if not some]
    innocent = _innocent(
        [each for faults, _ in looked for each in faults], folder, readable, folders
    )
    for artifact, (faults, _) in zip(artifacts, looked, strict=True):
        real = [each for each in faults if (each[0], each[2]) not in innocent]
        if real:
            problems.append(_problem(str(artifact.path), real, title))
    return tuple(sorted(problems, key=lambda problem: problem.subject))


def _innocent(
    faults: Iterable[_Fault],
    folder: Path,
    artifacts: Iterable[Artifact],
    folders: Mapping[str, str],
) -> set[tuple[str, str]]:
    """Return path and sha256 of what is no fault: the file that another artifact brings there."""
    found: dict[str, set[str]] = {}
    for path, _, actual in faults:
        if actual is not None:
            found.setdefault(path, set()).add(actual)
    return {
        (path, actual)
        for artifact in (artifacts if found else ())
        for path, sha256 in _installed_files(folder, artifact, folders)
        for actual in found.get(path, ())
        if sha256 in {None, actual}
    }


def _installed_files(
    folder: Path, artifact: Artifact, folders: Mapping[str, str]
) -> Iterator[tuple[str, str | None]]:
    """Yield where each file of an artifact goes in the prefix, and its sha256 there, if known.

    Raises a MirrorError where the artifact cannot be read.
    """
    subject = str(artifact.path)
    if artifact.kind is ArtifactKind.WHEEL:
        try:
            yield from (
                (installed_path(path, folders), sha256)
                for path, sha256 in wheel_files(folder / artifact.path)
            )
        except BadArchiveError as error:
            raise damaged_artifact(subject, str(error)) from None
    if not artifact.is_conda:
        return
    info = read_info_files(folder / artifact.path, subject, WANTED)
    try:
        is_noarch_python = json.loads(info.get(INDEX_JSON, b"{}")).get("noarch") == "python"
        for path, sha256 in package_files(info):
            yield installed_path(path, folders if is_noarch_python else {}), sha256
    except (ValueError, AttributeError) as error:
        raise damaged_artifact(subject, f"its list of files is damaged: {error}") from None


def _is_known(prefix: Path, folders: Mapping[str, str], artifact: Artifact) -> bool:
    """Tell whether the installer has noted that it is installed."""
    if artifact.is_conda:
        return (prefix / "conda-meta" / f"{artifact.distribution}.json").is_file()
    names = (x.name for x in (prefix / folders[_SITE_PACKAGES]).glob(f"*{DIST_INFO}"))
    return artifact.name in {pypi_name(each.partition("-")[0]) for each in names}


def _compare(prefix: Path, installed: str, expected: str | None) -> _Fault | None:
    path = prefix / installed
    if not os.path.lexists(path):
        return installed, expected, None
    if expected is None:
        return None
    try:  # an artifact's link may lead to a device, which has no end
        found = hash_file(path, "sha256") if path.is_file() else "unreadable: not a file"
    except OSError as error:
        found = f"unreadable: {error.strerror}"
    return None if found == expected else (installed, expected, found)


def _problem(subject: str, faults: Sequence[_Fault], title: str) -> Problem:
    details = [
        ("missing", printable(path))
        if actual is None
        else ("differs", f"{printable(path)} (sha256 {actual}, not {expected})")
        for path, expected, actual in faults
    ]
    count = "a file of it" if len(faults) == 1 else f"{len(faults)} files of it"
    return finding_problem(
        subject, f"{count} did not arrive in {title}", *first_details(details, _SHOWN)
    )


def folders_of(job: InstallJob) -> Mapping[str, str]:
    """Say where its python, or uv without one, puts what Python packages have in a folder."""
    if job.wheels_only:
        return {_SITE_PACKAGES: "", _SCRIPTS: "bin/"}
    python = next((each.conda_record for each in job.artifacts if each.name == "python"), None)
    return python_folders(python, job.subdir)


def python_folders(python: Record | None, subdir: str) -> Mapping[str, str]:
    """Say where the environment's python looks for what noarch python packages have in a folder.

    As rattler does (install/python.rs); without python there are no such packages to place.
    """
    if subdir.startswith("win-"):
        return {_SITE_PACKAGES: "Lib/site-packages/", _SCRIPTS: "Scripts/"}
    version = ".".join((python.version if python else "").split(".")[:2])
    written = python.python_site_packages_path if python else None
    folder = written or f"lib/python{version}/site-packages"
    return {_SITE_PACKAGES: f"{folder}/", _SCRIPTS: "bin/"}


def installed_path(path: str, folders: Mapping[str, str]) -> str:
    """Say where in the prefix a file goes; `folders` for Python packages alone."""
    for folder, target in folders.items():
        if path.startswith(folder):
            return f"{target}{path.removeprefix(folder)}"
    return path


def wheel_files(file: Path) -> list[tuple[str, str | None]]:
    """Return path and sha256 of the files in a wheel, as a noarch package has them.

    The sha256 is None where an installer changes the file. Headers are left out, which every
    installer puts elsewhere. Raises BadArchiveError for a damaged wheel.
    """
    with told_as_bad_archive(), zipfile.ZipFile(file) as wheel:
        info = dist_info_folder(wheel)
        members = [each for each in wheel.infolist() if not each.is_dir()]
        rows = [(x.filename, hash_member(wheel, x, "sha256")[0].hex()) for x in members]
    data, found = f"{info.removesuffix(DIST_INFO)}.data/", list[tuple[str, str | None]]()
    for path, sha256 in rows:
        kind, _, rest = path.removeprefix(data).partition("/")
        if not path.startswith(data):
            is_kept = path.removeprefix(f"{info}/") not in _OF_INSTALLERS
            found.append((_SITE_PACKAGES + path, sha256 if is_kept else None))
        elif kind in {"purelib", "platlib"}:
            found.append((_SITE_PACKAGES + rest, sha256))
        elif kind == "scripts":
            found.append((_SCRIPTS + rest, None))
        elif kind == "data":
            found.append((rest, sha256))
    return found
