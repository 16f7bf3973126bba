"""What of the lock the mirror does not hold, by name and with the reason. Decides; does no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from scripts.core.redact import redact
from scripts.core.report import Json
from scripts.lock.model import Unmirrorable
from scripts.lock.select import Selection


def left_out_lines(selection: Selection) -> tuple[str, ...]:
    """List excluded environments, empty ones, and rows that no artifact can stand for."""
    lines = []
    if selection.excluded:
        lines.append(f"left out: {', '.join(selection.excluded)} (environments not mirrored)")
    lines += [
        f"left out: {name}: it has no packages to mirror" for name in _empty_environments(selection)
    ]
    lines += [
        f"left out: {row.name} ({redact(row.location)}): {row.reason}; in {', '.join(where)}"
        for row, where in unmirrorable(selection).items()
    ]
    return tuple(lines)


def left_out_json(selection: Selection) -> Json:
    """Give the same as data."""
    return {
        "environments": list(selection.excluded),
        "empty-environments": list(_empty_environments(selection)),
        "packages": [
            {
                "name": row.name,
                "kind": row.kind.value,
                "location": redact(row.location),
                "reason": row.reason,
                "in": where,
            }
            for row, where in unmirrorable(selection).items()
        ],
    }


def unmirrorable(selection: Selection) -> dict[Unmirrorable, list[str]]:
    """Return each row that is left out, with the `environment/platform`s that want it."""
    rows: dict[Unmirrorable, list[str]] = {}
    for environment in selection.environments:
        for platform in environment.platforms:
            for row in platform.unmirrorable:
                rows.setdefault(row, []).append(f"{environment.name}/{platform.platform.name}")
    return rows


def _empty_environments(selection: Selection) -> Iterable[str]:
    return tuple(
        environment.name
        for environment in selection.environments
        if not any(rows.packages or rows.unmirrorable for rows in environment.platforms)
    )
