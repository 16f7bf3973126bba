"""What `update-mirror` asks pixi to update."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from scripts.core.errors import MirrorError, usage_error
from scripts.lock.model import LockFile
from scripts.workspace.model import Environment, Manifest
from scripts.workspace.resolve import environment_platforms, solve_group
from scripts.workspace.settings import TABLE, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """What the user asks for, in the words of `pixi update`; empty: all of it."""

    packages: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePlan:
    """What pixi is asked for.

    `beyond` are environments that nobody asked for, with the solve group that brings them in:
    pixi silently updates nothing of a group unless every member is named.
    """

    environments: tuple[str, ...]
    platforms: tuple[str, ...]
    packages: tuple[str, ...]
    beyond: tuple[tuple[str, str], ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command line behind `pixi`."""
        return (
            "update",
            *(part for name in self.environments for part in ("--environment", name)),
            *(part for name in self.platforms for part in ("--platform", name)),
            *(("--", *self.packages) if self.packages else ()),
        )


def plan_update(
    manifest: Manifest, lock: LockFile, settings: Settings, request: UpdateRequest
) -> UpdatePlan:
    """Choose environments and platforms for `pixi update`.

    Without a wish, the environments that are mirrored. Raises the error of exit code 2 for an
    environment that the lock does not have, a platform that none of them has, and where nothing
    is mirrored.
    """
    locked = [each.name for each in lock.environments]
    for name in request.environments:
        if name not in locked:
            raise _unknown("pixi.lock", "environment", name, locked)
    wanted = request.environments or _mirrored(manifest, locked, settings)
    chosen = [each for each in manifest.environments if each.name in wanted]
    if not chosen:
        raise usage_error(
            "update-mirror",
            "no environment is mirrored, so there is nothing to update",
            ("pixi.lock has", ", ".join(locked) or "none"),
            help=f"correct `environments` or `exclude-environments` under [{TABLE}]",
        )
    beyond = {
        member.name: member.solve_group
        for each in chosen
        for member in solve_group(manifest, each)
        if member not in chosen and member.solve_group is not None
    }
    every = [each for each in manifest.environments if each in chosen or each.name in beyond]
    return UpdatePlan(
        environments=tuple(each.name for each in every),
        platforms=_platforms(manifest, every, request.platforms),
        packages=request.packages,
        beyond=tuple(beyond.items()),
    )


def beyond_lines(plan: UpdatePlan, settings: Settings) -> tuple[str, ...]:
    """Name the environments that are updated though nobody asked for them."""
    return tuple(
        f"also updating {name}"
        + ("" if _is_mirrored(name, settings) else " (not mirrored)")
        + f": it shares the solve group {group}"
        for name, group in plan.beyond
    )


def _mirrored(manifest: Manifest, locked: Iterable[str], settings: Settings) -> tuple[str, ...]:
    return tuple(
        name
        for name in locked
        if _is_mirrored(name, settings) and manifest.environment(name) is not None
    )


def _is_mirrored(name: str, settings: Settings) -> bool:
    wanted = settings.environments is None or name in settings.environments
    return wanted and name not in settings.exclude_environments


def _platforms(
    manifest: Manifest, environments: Iterable[Environment], asked: tuple[str, ...]
) -> tuple[str, ...]:
    """Name platforms as pixi does: an unknown name, or a subdir that is none, it passes over."""
    known = {
        platform.name: platform.subdir
        for each in environments
        for platform in environment_platforms(manifest, each)
    }
    names: list[str] = []
    for text in asked:
        found = [name for name in known if name == text]
        found = found or [name for name, subdir in known.items() if subdir == text]
        if not found:
            raise _unknown(manifest.file_name, "platform", text, known)
        names += found
    return tuple(dict.fromkeys(names))


def _unknown(where: str, kind: str, name: str, known: Iterable[str]) -> MirrorError:
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return usage_error(
        where,
        f"has no {kind} {name!r} to update",
        ("it has", ", ".join(names) or "none"),
        help=f"did you mean {near[0]}?" if near else None,
    )
