"""Show the platforms of each environment, and write a manifest with others."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable

from scripts.core.console import Console
from scripts.core.errors import usage_error
from scripts.core.files import write_atomically
from scripts.core.report import Json, Report, to_json
from scripts.workspace.edit_platforms import MIRROR, PlatformEdit
from scripts.workspace.model import Environment, Manifest, ManifestPlatform
from scripts.workspace.parse import parse_manifest
from scripts.workspace.resolve import environment_platforms
from scripts.workspace.settings import Settings
from scripts.workspace.workspace import Workspace


def show_platforms(manifest: Manifest, settings: Settings, console: Console) -> Report:
    """Report the platforms per environment; warn of those that miss the feature `mirror`."""
    warnings = tuple(_unnarrowed(manifest, settings))
    for warning in warnings:
        console.warn(warning)
    width = max(len(environment.name) for environment in manifest.environments)
    lines: list[str] = []
    rows: list[Json] = []
    for environment in manifest.environments:
        platforms = environment_platforms(manifest, environment)
        shown = ", ".join(_words(platform) for platform in platforms) or "none"
        is_mirrored = _is_mirrored(environment, settings)
        lines.append(
            f"{environment.name.ljust(width)}  {shown}"
            + ("" if is_mirrored else "  (not mirrored)")
        )
        rows.append(
            {
                "name": environment.name,
                "platforms": to_json(platforms),
                "mirrored": is_mirrored,
            }
        )
    if settings.platforms is not None:
        lines.append(f"mirrored of these by the settings: {', '.join(settings.platforms)}")
    data = {"manifest": manifest.file_name, "environments": rows, "warnings": list(warnings)}
    return Report(lines=tuple(lines), data=data)


def write_platforms(workspace: Workspace, edit: PlatformEdit, console: Console) -> Report:
    """Write an edited manifest whole, and report what became of its platforms."""
    manifest = parse_manifest(edit.text, name=workspace.manifest.file_name)
    is_changed = edit.after != edit.before
    last: tuple[str, ...] = ()
    if is_changed:
        _write(workspace, edit.text)
        change = f"{edit.table}: {', '.join(edit.before)} → {', '.join(edit.after)}"
        last = ("pixi.lock must be renewed: now run `pixi lock`",)
    else:
        change = f"{edit.table} is already {', '.join(edit.after)}; nothing was written"
    shown = show_platforms(manifest, workspace.settings, console)
    data = {
        **shown.data,
        "changed": is_changed,
        "list": edit.table,
        "before": list(edit.before),
        "after": list(edit.after),
        "notes": list(edit.notes),
    }
    return Report(lines=(change, *edit.notes, *shown.lines, *last), data=data)


def _write(workspace: Workspace, text: str) -> None:
    path = workspace.manifest_path
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        write_atomically(path, text.encode("utf-8"))
        path.chmod(mode)
    except OSError as error:
        raise usage_error(str(path), f"cannot write this manifest: {error.strerror}") from None


def _is_mirrored(environment: Environment, settings: Settings) -> bool:
    wanted = settings.environments
    return environment.name not in settings.exclude_environments and (
        wanted is None or environment.name in wanted
    )


def _words(platform: ManifestPlatform) -> str:
    """Write a platform for people: its name, and what a name does not say."""
    more = [] if platform.name == platform.subdir else [platform.subdir]
    more += platform.virtual_packages
    return f"{platform.name} ({', '.join(more)})" if more else platform.name


def _unnarrowed(manifest: Manifest, settings: Settings) -> Iterable[str]:
    """Warn of mirrored environments that the feature `mirror` does not narrow, with the cure."""
    mirror = manifest.feature(MIRROR)
    if mirror is None or mirror.platforms is None:
        return
    for environment in manifest.environments:
        if MIRROR in environment.features or not _is_mirrored(environment, settings):
            continue
        platforms = environment_platforms(manifest, environment)
        beyond = [
            each.name for each in platforms if not {each.name, each.subdir} & set(mirror.platforms)
        ]
        if beyond:
            yield (
                f"environment {environment.name} lacks the feature {MIRROR}, so it is locked for "
                f"{', '.join(beyond)} too; {_cure(environment)}"
            )


def _cure(environment: Environment) -> str:
    """Give the line that adds the feature; JSON writes texts as TOML does."""
    features = f"features = {json.dumps([*environment.features, MIRROR])}"
    if environment.own is not None:
        return f"write in [environments.{environment.name}]:\n  {features}"
    parts = [features]
    if environment.no_default_feature:
        parts.append("no-default-feature = true")
    if environment.solve_group is not None:
        parts.append(f"solve-group = {json.dumps(environment.solve_group)}")
    return f"write in [environments]:\n  {environment.name} = {{ {', '.join(parts)} }}"
