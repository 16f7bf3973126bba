"""Environments of which the lock wants more than any channel holds."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from scripts.core.errors import ExitCode, Problem
from scripts.core.redact import redact
from scripts.lock.select import Selection, unmirrorable
from scripts.verify.findings import Finding, places_of
from scripts.workspace.settings import TABLE, Kind


def incomplete(selection: Selection, allowed: AbstractSet[Kind]) -> tuple[Finding, ...]:
    """Make a finding of each row that no artifact stands for, unless its kind is allowed."""
    places = {str(place): place for place, _, _ in places_of(selection)}
    return tuple(
        Finding(
            level=None,
            problem=Problem(
                subject=row.name,
                trouble=f"is not in the channel: {row.reason}",
                code=ExitCode.NO,
                facts=(("from", redact(row.location)), ("used by", ", ".join(where))),
                help=f'allow-incomplete = ["{row.kind}"] under [{TABLE}], if that will do',
            ),
            places=frozenset(places[each] for each in where),
        )
        for row, where in unmirrorable(selection).items()
        if row.kind not in allowed
    )
