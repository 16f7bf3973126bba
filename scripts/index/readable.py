"""Refuse records that no indexer could read, before it is asked to.

rattler-index drops a whole repodata.json for one wrong type or version in it, in silence, and
ends at the first requirement that is no MatchSpec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath
from typing import Any

from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.record import Record, record_to_json
from scripts.index.parse_record import BadRecordError, parse_record
from scripts.index.seed import ChannelSeed


def refuse_unreadable(seed: ChannelSeed, named: AbstractSet[PurePosixPath]) -> None:
    """Raise the error of exit code 2 with every record of the seed that rattler cannot read.

    `named` is all that any workspace names.
    """
    from scripts.core.rattler_child import call_rattler

    records = [record for each in seed.subdirs for _, record in each.records()]
    if not records:
        return
    specs = {spec for record in records for _, spec in _specs(record)}
    versions = {record.version for record in records}
    reply = call_rattler("refusals", {"specs": sorted(specs), "versions": sorted(versions)})
    assert isinstance(reply, Mapping)
    refused: Mapping[str, Any] = reply
    problems = [
        _problem(path, record, what, is_locked=name in each.locked, is_named=path in named)
        for each in seed.subdirs
        for name, record in each.records()
        for path in [seed.path / each.subdir / name]
        for what in _refused(record, refused["specs"], refused["versions"])
    ]
    if problems:
        raise MirrorError(*problems)


def _specs(record: Record) -> Iterator[tuple[str, str]]:
    """Yield every MatchSpec, and the field that it is in."""
    yield from (("depends", spec) for spec in record.depends)
    yield from (("constrains", spec) for spec in record.constrains)
    for group, specs in record.extra_depends:
        yield from ((f"extra_depends of {group}", spec) for spec in specs)


def _refused(
    record: Record, specs: Mapping[str, str], versions: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with it, and why; of these specs and versions rattler has said it."""
    for field, spec in _specs(record):
        if spec in specs:
            yield f"{field} of its record holds {spec!r}, which is no MatchSpec", specs[spec]
    version = record.version
    if version in versions:
        yield f"the version of its record is {version!r}, which is none", versions[version]
    try:
        parse_record(record_to_json(record))
    except BadRecordError as error:
        yield "its record cannot be indexed", str(error)


def _problem(
    path: PurePosixPath,
    record: Record,
    what: tuple[str, str],
    *,
    is_locked: bool,
    is_named: bool,
) -> Problem:
    trouble, reason = what
    help_line = f"pixi update {record.name}, or correct its row in pixi.lock"
    if is_named and not is_locked:
        help_line = f"pixi update {record.name}, in the workspace that names it"
    elif not is_locked:
        help_line = "pixi run prune, which removes it"
    return Problem(
        subject=str(path),
        trouble=trouble,
        code=ExitCode.USAGE,
        facts=(
            ("from", "pixi.lock" if is_locked else "the index of before"),
            ("reason", reason.splitlines()[0]),
        ),
        help=help_line,
    )
