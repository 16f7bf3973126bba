"""The repodata of a mirror as its lock has it, without artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from scripts.core.record import Record
from scripts.core.subdir import NOARCH
from scripts.index.repodata import REPODATA, render_repodata
from scripts.lock.select import Selection

_Row = tuple[str, Record]  # a file name, and what it is


def write_mirror(folder: Path, selection: Selection) -> None:
    """Write the repodata of a whole mirror, as the lock has it; no artifact, no page of PyPI."""
    subdirs: dict[PurePosixPath, list[_Row]] = {}
    for channel in selection.channels:
        subdirs[channel / NOARCH] = []
    for artifact in selection.conda_artifacts:
        subdirs.setdefault(artifact.path.parent, []).append(
            (artifact.path.name, artifact.conda_record)
        )
    write_records(folder, subdirs)


def write_records(folder: Path, subdirs: Mapping[PurePosixPath, Iterable[_Row]]) -> None:
    """Write a repodata.json for each subdir, of file names and records."""
    for path, rows in subdirs.items():
        (folder / path).mkdir(parents=True, exist_ok=True)
        (folder / path / REPODATA).write_bytes(render_repodata(path.name, rows))
