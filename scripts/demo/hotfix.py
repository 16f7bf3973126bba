"""Find records that say other than their archives: the hotfixes that were kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.index.artifact import read_index_record
from scripts.index.repodata import REPODATA, parse_repodata


@dataclass(frozen=True, slots=True, kw_only=True)
class Hotfix:
    """The requirements of one artifact: as its archive has them, and as the channel has."""

    artifact: str
    archive: tuple[str, ...]
    channel: tuple[str, ...]


def find_hotfixes(channel: Path) -> Iterator[Hotfix]:
    """Compare all records of a channel with the archives they describe, sorted by path."""
    for repodata in sorted(channel.glob(f"*/{REPODATA}")):
        subdir = repodata.parent
        records = parse_repodata(repodata.read_bytes(), f"{subdir.name}/{REPODATA}").records
        for file_name in sorted(records):
            subject = f"{subdir.name}/{file_name}"
            archive = read_index_record(subdir / file_name, subject)
            here = records[file_name].depends
            if here != archive.depends:
                yield Hotfix(artifact=subject, archive=archive.depends, channel=here)
