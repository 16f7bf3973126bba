"""What of the lock the mirror does not hold, by name and with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from scripts.core.redact import redact
from scripts.core.report import Json
from scripts.lock.location import url_subdir
from scripts.lock.model import Unmirrorable
from scripts.lock.select import Selection

_SHOWN: Final = 5  # artifacts that the line about moved ones names


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
    return (*lines, *_moved_lines(selection))


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


def _moved_lines(selection: Selection) -> Iterable[str]:
    """Say once which URLs of the lock a `[mirrors]` rule cannot lead here, and why.

    Locations that no such rule is for are left to the levels and `doctor`.
    """
    moved = [
        f"{artifact.path} (the lock: {subdir})"
        for artifact in selection.artifacts
        for subdir in [url_subdir(artifact.urls[0])]
        if subdir not in {None, artifact.path.parent.name}
    ]
    if moved:
        more = f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
        yield (
            f"an unchanged pixi.lock will not find here {', '.join(moved[:_SHOWN])}{more}: a flat"
            f" mirror goes by the record's subdir, and `[mirrors]` replaces but the beginning of"
            f' a URL; layout = "by-channel" keeps the URL\'s own path'
        )


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
