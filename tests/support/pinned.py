"""Locked packages as a channel of their own, and the question whether they install together.

    question = pinned_question(closing, "linux-64", tmp_path / "channel")
    call_rattler("solve", {"cache": …, "questions": [question]})

What the solver says of a set from which there is nothing to choose: it is whole, or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from scripts.core.file_name import FileName
from scripts.core.record import Record
from scripts.core.report import Json
from scripts.core.subdir import NOARCH
from scripts.index.repodata import REPODATA, render_repodata
from scripts.lock.model import LockedPackage
from scripts.lock.select import Selection
from scripts.verify.closure.plan import Closing

_Row = tuple[str, Record]  # a file name, and what it is


def pinned_question(closing: Closing, subdir: str, folder: Path) -> Json:
    """Write the set as a channel in `folder`; ask for all of it, and what the manifest asks for.

    A source package stands there as it will be once it is built.
    """
    packages = (*closing.packages, *_built(closing))
    subdirs: dict[str, list[_Row]] = {subdir: [], NOARCH: []}
    for each in packages:
        subdirs.setdefault(each.record.subdir, []).append((str(each.file_name), each.record))
    write_records(folder, {PurePosixPath(name): rows for name, rows in subdirs.items()})
    asked = [each.spec for each in closing.requirements if not each.is_conditional]
    return {
        "channels": [folder.as_uri()],
        "undeclared": [],
        "subdir": subdir,
        "specs": [
            *(
                f"{each.record.name}[version='=={each.record.version}',build='{each.record.build}']"
                for each in packages
            ),
            *asked,
        ],
        "constraints": [each.spec for each in closing.constraints],
        "virtual_packages": [
            [each.name, each.version, each.build] for each in closing.virtual_packages or ()
        ],
        "channel_priority": "disabled",
        "strategy": "highest",
    }


def write_mirror(folder: Path, selection: Selection) -> None:
    """Write the repodata of a whole mirror, as the lock has it; no artifact."""
    subdirs: dict[PurePosixPath, list[_Row]] = {}
    for channel in selection.channels:
        subdirs[channel / NOARCH] = []
    for artifact in selection.artifacts:
        subdirs.setdefault(artifact.path.parent, []).append(
            (artifact.path.name, artifact.conda_record)
        )
    write_records(folder, subdirs)


def write_records(folder: Path, subdirs: Mapping[PurePosixPath, Iterable[_Row]]) -> None:
    """Write a repodata.json for each subdir, of file names and records."""
    for path, rows in subdirs.items():
        (folder / path).mkdir(parents=True, exist_ok=True)
        (folder / path / REPODATA).write_bytes(render_repodata(path.name, list(rows)))


def _built(closing: Closing) -> Iterator[LockedPackage]:
    """Yield a package for each source package; of the version 0 where the lock does not say."""
    there = {each.record.name.lower() for each in closing.packages}
    told = {each.name.partition(" ")[0].lower(): each for each in closing.sources}
    for name in sorted(closing.built - there):
        source = told.get(name)
        version = (source.name.partition(" ")[2] if source else "") or "0"
        yield LockedPackage(
            url=f"./{name}",
            channel=None,
            file_name=FileName(name=name, version=version, build="0", extension=".conda"),
            record=Record(
                subdir=NOARCH,
                name=name,
                version=version,
                build="0",
                build_number=0,
                depends=source.depends if source else (),
                constrains=source.constrains if source else (),
            ),
        )
